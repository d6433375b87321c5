// SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause
//
// netiftxlatency: how long packets wait in a device's qdisc, how long its driver takes to accept them, and, when asked for, how long
// until it is done with them. Devices without a qdisc (veth, loopback) have no queue and cost nothing there.
#include "netiftxlatency.h"
#include <kubeskoop/places.h>

#define MOST_IN_BULK 64
#define CLOSE_ENOUGH 50000LL	// ns
#define ONE_MS 1000000ULL
#define IFF_LOOPBACK 0x8	// include/uapi/linux/if.h
#define TCQ_F_MQROOT 0x8	// include/net/sch_generic.h
#define TCQ_F_NOLOCK 0x100

// Since when packets are in a qdisc: of those whose own stamp does not tell. An address is written before anybody can take the packet
// out again, so that of a packet which ended unseen (dropped, past an empty queue) is never taken for another's; it goes when room is
// needed. Only the segments that a qdisc cuts a packet into were not written: they have another length than what was at their address.
struct queued {
	struct ks_place at;
	__u32 length;
	__u32 pad;
};
KS_PLACES(queued, 14, struct queued)

// How many packets have come out of a qdisc once more, as far as is known. Not here: none.
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 4096);
	__type(key, __u64);
	__type(value, __u32);
} again SEC(".maps");

volatile struct netiftxlatency_settings netiftxlatency SEC(".data.netiftxlatency") = {};

struct call {
	__u64 number;
	__u64 skb;
	__u64 dev;
	__u64 since;
};

// The call into a driver that is under way. It cannot move to another CPU; one within it, of the device below, takes its place.
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct call);
} calls SEC(".maps");

struct handed {
	__u64 since;
	__u64 dev;
};

// Packets their driver has, when completions are asked for.
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 16384);
	__type(key, __u64);
	__type(value, struct handed);
} handed SEC(".maps");

KS_COUNTERS_PER_CPU(counts, struct ks_netns, struct netiftxlatency_counts)

// Counts a time. False when it is not to be told.
static __always_inline bool count(enum netiftxlatency_kind kind, const struct net_device *dev, __u64 latency)
{
	struct ks_netns netns = ks_netns_of(dev->nd_net.net);
	struct netiftxlatency_counts *counted;

	if (!ks_wanted(netns.inum))
		return false;
	counted = counts_of(&netns);
	if (counted) {
		ks_observe(&counted->times[kind], latency);
		if (latency >= ONE_MS)
			ks_add(&counted->over_1ms[kind], 1);
		if (latency >= 100 * ONE_MS)
			ks_add(&counted->over_100ms[kind], 1);
	}
	return latency >= settings.threshold_ns[kind];
}

// The event about a time that is. Submit what is given.
static __always_inline struct netiftxlatency_event *begin(enum netiftxlatency_kind kind, const struct net_device *dev, __u64 now, __u64 latency)
{
	struct netiftxlatency_event *event = ks_reserve(sizeof(*event), dev->nd_net.net->ns.inum, now);

	if (!event)
		return NULL;
	event->latency_ns = latency;
	event->kind = kind;
	event->device_index = dev->ifindex;
	bpf_probe_read_kernel(event->device, sizeof(event->device), dev->name);
	return event;
}

// TCP stamps what it sends, with the time when it may leave: later than now when it is paced. 0: there is no such stamp. A packet
// that was received and is forwarded is stamped too, but by then that is no news of this device.
static __always_inline __u64 tcp_stamp(const struct sk_buff *skb)
{
	const struct sock *sk = skb->sk;

	if (!sk || skb->skb_iif)
		return 0;
	if (sk->__sk_common.skc_state == TCP_TIME_WAIT || sk->__sk_common.skc_state == TCP_NEW_SYN_RECV || sk->sk_protocol != IPPROTO_TCP)
		return 0;
	return skb->tstamp;
}

static __always_inline bool is_close(__u64 stamp, __u64 now)
{
	return stamp && (__s64)(now - stamp) < CLOSE_ENOUGH;
}

static __always_inline int note(const struct sk_buff *skb, __u64 now)
{
	struct queued *queued = queued_take(skb, now);

	if (queued)
		queued->length = skb->len;
	return 0;
}

static __always_inline int note_unless_stamped(struct sk_buff *skb)
{
	__u64 now = bpf_ktime_get_ns();

	return is_close(tcp_stamp(skb), now) ? 0 : note(skb, now);
}

// Without a lock (pfifo_fast) another CPU may have sent the packet by now, and given its memory to the next.
SEC("tp_btf/qdisc_enqueue")
int BPF_PROG(enqueue, struct Qdisc *qdisc, const void *queue, struct sk_buff *skb)
{
	return qdisc->flags & TCQ_F_NOLOCK ? 0 : note_unless_stamped(skb);
}

// The flags of the qdisc that a packet is on its way to.
static __always_inline __u32 flags_of(const struct sk_buff *skb)
{
	const struct net_device *dev = skb->dev;
	__u32 flags = dev->qdisc->flags;
	const struct netdev_queue *queue;

	if (!(flags & TCQ_F_MQROOT))
		return flags;
	queue = (const void *)BPF_CORE_READ(dev, _tx) + skb->queue_mapping * (__u64)bpf_core_type_size(struct netdev_queue);
	return BPF_CORE_READ(queue, qdisc, flags);
}

// On its way into the device, also where it will go past the queue: the last moment at which the packet is ours alone. There TCP's
// packets are noted, too: the qdisc does not tell which ones come out again because the device did not take them.
SEC("tp_btf/net_dev_queue")
int BPF_PROG(enter_lockless, struct sk_buff *skb)
{
	return flags_of(skb) & TCQ_F_NOLOCK ? note(skb, bpf_ktime_get_ns()) : 0;
}

// Before 5.15 this is all there is.
SEC("tp_btf/net_dev_queue")
int BPF_PROG(enter, struct sk_buff *skb)
{
	struct Qdisc *qdisc = skb->dev->qdisc;

	if (!qdisc->enqueue && !(qdisc->flags & TCQ_F_MQROOT))
		return 0;
	return flags_of(skb) & TCQ_F_NOLOCK ? note(skb, bpf_ktime_get_ns()) : note_unless_stamped(skb);
}

// netem counts as put back what it lets overtake, too.
static __always_inline bool is_netem(const struct Qdisc *qdisc)
{
	char id[sizeof("netem")] = {};

	bpf_probe_read_kernel(id, sizeof(id), qdisc->ops->id);
	return id[0] == 'n' && id[1] == 'e' && id[2] == 't' && id[3] == 'e' && id[4] == 'm' && !id[5];
}

// Whether the packet left this qdisc before. What the device does not take is put back (qstats.requeues) and comes again, one by one
// and before all others (gso_skb), also as the segments of what was too large for it.
static __always_inline bool comes_again(const struct Qdisc *qdisc, int packets)
{
	__u32 more = qdisc->gso_skb.qlen, out = qdisc->qstats.requeues - more, *found, before;
	__u64 key = (__u64)qdisc;

	if (!out)
		return false;
	found = bpf_map_lookup_elem(&again, &key);
	before = found ? *found : 0;
	if (out == before)
		return more;
	if (found)
		*found = out;
	else
		bpf_map_update_elem(&again, &key, &out, BPF_ANY);
	// Those before the last are told by what is left, also after one that was not seen. The last comes alone; what a qdisc throws away
	// when it is emptied counts as come out, too, but then most often several come next.
	return more || (out == before + 1 && packets == 1 && !is_netem(qdisc));
}

// How long a packet was in the qdisc that leaves it now; negative when nobody knows.
static __always_inline __s64 time_in_queue(const struct sk_buff *skb, const struct Qdisc *qdisc, __u64 now)
{
	__u64 stamp = qdisc->flags & TCQ_F_NOLOCK ? 0 : tcp_stamp(skb), since = stamp;
	struct queued *found;

	if (!is_close(stamp, now)) {
		found = queued_find(skb);
		if (found) {
			// Older than the packet's own stamp, or not as long: another's.
			if (found->at.since > stamp && found->length == skb->len)
				since = found->at.since;
			ks_leave(&found->at);
		}
		if (!since)
			return -1;
	}
	return now > since ? now - since : 0;
}

// Maybe several packets at once, of which the first is told; or none, when the queue turns out to be empty.
SEC("tp_btf/qdisc_dequeue")
int dequeue(__u64 *ctx)
{
	const struct Qdisc *qdisc = (const void *)ctx[0];
	struct sk_buff *skb = (void *)ctx[3], *next;
	struct netiftxlatency_event *event;
	int packets = ctx[2];
	struct sock *sk;
	__s64 latency;
	__u64 now;

	if (!skb || !ks_nullable(ctx, 3))
		return 0;
	// Without a lock each packet is noted, and the note goes with it.
	if (!(qdisc->flags & TCQ_F_NOLOCK) && comes_again(qdisc, packets))
		return 0;
	now = bpf_ktime_get_ns();
	next = skb->next;
	for (int i = 1; i < MOST_IN_BULK && i < packets && next; i++) {
		latency = time_in_queue(next, qdisc, now);
		if (latency >= 0)
			count(NETIFTXLATENCY_QUEUE, next->dev, latency);
		next = next->next;
	}
	latency = time_in_queue(skb, qdisc, now);
	if (latency < 0 || !count(NETIFTXLATENCY_QUEUE, skb->dev, latency))
		return 0;
	event = begin(NETIFTXLATENCY_QUEUE, skb->dev, now, latency);
	if (!event)
		return 0;
	ks_flow_of_skb(&event->head.flow, skb, false);
	sk = skb->sk;
	if (sk)
		event->head.cgroup = ks_cgroup_of_sock(sk);
	event->bytes = skb->len;
	event->backlog = qdisc->q.qlen;
	bpf_probe_read_kernel_str(event->qdisc, sizeof(event->qdisc), qdisc->ops->id);
	bpf_ringbuf_submit(event, 0);
	return 0;
}

SEC("tp_btf/net_dev_start_xmit")
int BPF_PROG(call_driver, const struct sk_buff *skb, const struct net_device *dev)
{
	__u32 zero = 0;
	struct call *call = bpf_map_lookup_elem(&calls, &zero);

	if (!call || call->number++ & netiftxlatency.driver_mask)
		return 0;
	call->skb = (__u64)skb;
	call->dev = (__u64)dev;
	call->since = bpf_ktime_get_ns();
	return 0;
}

// The packet may be gone.
SEC("tp_btf/net_dev_xmit")
int BPF_PROG(driver_returns, const struct sk_buff *skb, int result, const struct net_device *dev, unsigned int bytes)
{
	struct netiftxlatency_event *event;
	__u32 zero = 0;
	struct call *call = bpf_map_lookup_elem(&calls, &zero);
	__u64 now, latency;

	if (!call || call->skb != (__u64)skb || call->dev != (__u64)dev)
		return 0;
	call->skb = 0;
	now = bpf_ktime_get_ns();
	latency = now - call->since;
	if (!count(NETIFTXLATENCY_DRIVER, dev, latency))
		return 0;
	event = begin(NETIFTXLATENCY_DRIVER, dev, now, latency);
	if (!event)
		return 0;
	event->bytes = bytes;
	bpf_ringbuf_submit(event, 0);
	return 0;
}

SEC("tp_btf/net_dev_start_xmit")
int BPF_PROG(hand, const struct sk_buff *skb, const struct net_device *dev)
{
	struct handed now = { .since = bpf_ktime_get_ns(), .dev = (__u64)dev };
	__u64 key = (__u64)skb;

	if (!(dev->flags & IFF_LOOPBACK))
		bpf_map_update_elem(&handed, &key, &now, BPF_ANY);
	return 0;
}

// A packet ends. Still on the device it was handed to: its driver is done with it. On another: it went through a veth pair, and was
// received.
SEC("tp_btf/consume_skb")
int BPF_PROG(complete, const struct sk_buff *skb)
{
	struct netiftxlatency_event *event;
	__u64 key = (__u64)skb, now, since, latency;
	struct handed *found = bpf_map_lookup_elem(&handed, &key);
	const struct net_device *dev = skb->dev;
	bool same;

	if (!found)
		return 0;
	since = found->since;
	same = dev && found->dev == (__u64)dev;
	bpf_map_delete_elem(&handed, &key);
	if (!same)
		return 0;
	now = bpf_ktime_get_ns();
	latency = now > since ? now - since : 0;
	if (!count(NETIFTXLATENCY_COMPLETION, dev, latency))
		return 0;
	event = begin(NETIFTXLATENCY_COMPLETION, dev, now, latency);
	if (!event)
		return 0;
	ks_flow_of_skb(&event->head.flow, skb, false);
	event->bytes = skb->len;
	bpf_ringbuf_submit(event, 0);
	return 0;
}

SEC("tp_btf/kfree_skb")
int BPF_PROG(drop, const struct sk_buff *skb)
{
	__u64 key = (__u64)skb;

	bpf_map_delete_elem(&handed, &key);
	return 0;
}
