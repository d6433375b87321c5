// SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause
//
// kernellatency: how long packets take in the kernel's IP layer, and in which part of it. A packet is followed by its address in a table
// where addresses have fixed places: written anew at each packet's beginning and given up at its end, so nothing can stay or run full,
// and a look costs no hash. It works on whichever CPU a packet goes on, also after it has waited for a neighbour or in a queue of netfilter.
//
// The functions are those that are called through pointers or from other files, so no compiler has inlined them. Where functions
// cannot be hooked, tracepoints give the time from the device to the socket, and of TCP from the socket to the device: no stages.
#include "kernellatency.h"

#define PLACES_LOG2 14
#define PLACES (1 << PLACES_LOG2)
#define ONE_MS 1000000ULL
#define MOST_NESTED 8
#define MOST_PADDING 128	// bytes a received packet may lose on its way: to a frame's least length, a VLAN's tag, IPsec

// include/uapi/linux/netfilter.h
#define NFPROTO_IPV4 2
#define NFPROTO_IPV6 10
#define NF_ACCEPTED 1		// what nf_hook_slow returns when the packet goes on
enum {
	NF_INET_PRE_ROUTING = 0,
	NF_INET_LOCAL_IN = 1,
	NF_INET_LOCAL_OUT = 3,
	NF_INET_POST_ROUTING = 4,
};

#define SKIPPED KERNELLATENCY_STAGES	// sent, by a namespace that is not looked at

struct nf_hook_state {
	__u8 hook;	// 32 bits in 5.10
	__u8 pf;
	struct net *net;
} __core;

volatile struct kernellatency_settings kernellatency SEC(".data.kernellatency") = {};

struct packet {
	__u64 skb;	// 0: none
	__u64 start;
	__u64 since;	// of the stage it is in
	__u32 stage;
	__u16 entered;	// stages, a bit each
	__u16 sent;	// by this machine, not received
	__u64 times[KERNELLATENCY_STAGES];
	__u64 shared;	// with packets that have gone to their second places, once or ever since
	__u32 length;	// of a received one, with the padding of its frame
	__u32 pad[3];	// two cache lines
};

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, PLACES);
	__type(key, __u32);
	__type(value, struct packet);
} packets SEC(".maps");

// When IP was last given a packet, or a list of them, on this CPU. It handles them before it is given more.
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, __u64);
} arrivals SEC(".maps");

KS_COUNTERS_PER_CPU(counts, struct ks_netns, struct kernellatency_counts)

static __always_inline struct packet *first_place(const void *skb)
{
	__u32 at = ks_place_of_skb(skb, PLACES);

	return bpf_map_lookup_elem(&packets, &at);
}

// For when the first is another's.
static __always_inline struct packet *second_place(const void *skb)
{
	__u32 at = ks_hash_of(skb, PLACES_LOG2);

	return bpf_map_lookup_elem(&packets, &at);
}

static __always_inline struct packet *find(const void *skb)
{
	struct packet *packet = first_place(skb);

	if (!packet || packet->skb == (__u64)skb)
		return packet;
	if (!packet->shared)
		return NULL;
	packet = second_place(skb);
	return packet && packet->skb == (__u64)skb ? packet : NULL;
}

// Whether a place is that of a packet on its way, which will not be seen to arrive.
static __always_inline bool is_taken_from(const struct packet *packet, const void *skb)
{
	return kernellatency.follows && packet->skb && packet->skb != (__u64)skb && packet->stage != SKIPPED;
}

// Where a packet is to be kept.
static __always_inline struct packet *place_of(const void *skb)
{
	struct packet *packet = find(skb), *first, *second;

	if (packet)
		return packet;
	first = first_place(skb);
	if (!first || !is_taken_from(first, skb))
		return first;
	second = second_place(skb);
	if (!second || is_taken_from(second, skb))
		return first;
	first->shared = 1;
	return second;
}

static __always_inline bool chosen(const struct net *net)
{
	return !settings.filter || ks_wanted(BPF_CORE_READ(net, ns.inum));
}

// How many packets one stands for that took this long; 0: for none. Counting is half of what a packet costs, and most are fast. At
// random: packets there and back take turns, and so would their numbers.
static __always_inline __u32 stands_for(__u64 latency)
{
	__u32 mask = kernellatency.sampling_mask;

	if (!mask || latency >= ONE_MS)
		return 1;
	return bpf_get_prandom_u32() & mask ? 0 : mask + 1;
}

static __always_inline void begin(struct packet *packet, const void *skb, __u32 stage, bool sent, __u64 now)
{
	if (is_taken_from(packet, skb))
		ks_count(uncounted);
	packet->skb = 0;
	packet->start = now;
	packet->since = now;
	packet->stage = stage;
	packet->entered = 1 << stage;
	packet->sent = sent;
	for (int i = 0; i < KERNELLATENCY_STAGES; i++)
		packet->times[i] = 0;
	packet->skb = (__u64)skb;
}

static __always_inline void pass(struct packet *packet, __u32 next, __u64 now)
{
	__u32 left = packet->stage;

	if (left < KERNELLATENCY_STAGES && now > packet->since)
		packet->times[left] += now - packet->since;
	packet->since = now;
	packet->stage = next;
	packet->entered |= 1 << next;
}

// Whether a received packet is with IP, rather than with a bridge that shows it to netfilter.
static __always_inline bool is_with_ip(struct packet *packet)
{
	__u32 zero = 0;
	__u64 *arrival;

	if (packet->sent)
		return false;
	if (packet->stage != KERNELLATENCY_DEVICE)
		return true;
	arrival = bpf_map_lookup_elem(&arrivals, &zero);
	if (!arrival || *arrival < packet->start)
		return false;
	pass(packet, KERNELLATENCY_ROUTING, *arrival);
	return true;
}

// From the IP header on, wherever the packet's data begins by now.
static __always_inline __u32 length_of(const struct sk_buff *skb)
{
	return BPF_CORE_READ(skb, len) + (__u32)(BPF_CORE_READ(skb, data) - BPF_CORE_READ(skb, head)) - BPF_CORE_READ(skb, network_header);
}

#define observe(histogram, stage)                                            \
	do {                                                                 \
		if (packet->entered & 1 << (stage))                          \
			ks_observe_many(histogram, packet->times[stage], times); \
	} while (0)

// The end of a packet's way. packet: null where nothing is known of stages.
static __always_inline void finish(enum kernellatency_path path, const struct sk_buff *skb, const struct sock *sk, const struct net *net, __u64 start, __u64 now, const struct packet *packet)
{
	__u64 latency = now > start ? now - start : 0;
	__u32 times = stands_for(latency);
	struct kernellatency_counts *counted;
	struct kernellatency_event *event;
	struct net_device *dev;
	struct ks_netns netns;

	if (!times && latency < settings.threshold_ns[0])
		return;
	netns = ks_netns_of(net);
	counted = times ? counts_of(&netns) : NULL;
	if (counted) {
		ks_observe_many(&counted->total[path], latency, times);
		if (latency >= 10 * ONE_MS)
			ks_add(&counted->over_10ms[path], 1);
		if (latency >= 100 * ONE_MS)
			ks_add(&counted->over_100ms[path], 1);
	}
	if (counted && packet && path == KERNELLATENCY_RECEIVE) {
		observe(&counted->receive[0], KERNELLATENCY_DEVICE);
		observe(&counted->receive[1], KERNELLATENCY_PREROUTING);
		observe(&counted->receive[2], KERNELLATENCY_ROUTING);
		observe(&counted->receive[3], KERNELLATENCY_LOCAL_IN);
		observe(&counted->receive[4], KERNELLATENCY_SOCKET);
	}
	if (counted && packet && path == KERNELLATENCY_TRANSMIT) {
		observe(&counted->transmit[0], KERNELLATENCY_LOCAL_OUT);
		observe(&counted->transmit[1], KERNELLATENCY_ROUTING);
		observe(&counted->transmit[2], KERNELLATENCY_POSTROUTING);
		observe(&counted->transmit[3], KERNELLATENCY_OUTPUT);
	}
	if (counted && packet && path == KERNELLATENCY_FORWARD) {
		observe(&counted->forward[0], KERNELLATENCY_DEVICE);
		observe(&counted->forward[1], KERNELLATENCY_PREROUTING);
		observe(&counted->forward[2], KERNELLATENCY_ROUTING);
		observe(&counted->forward[3], KERNELLATENCY_FORWARDING);
		observe(&counted->forward[4], KERNELLATENCY_POSTROUTING);
		observe(&counted->forward[5], KERNELLATENCY_OUTPUT);
	}
	if (latency < settings.threshold_ns[0])
		return;
	event = ks_reserve(sizeof(*event), netns.inum, now);
	if (!event)
		return;
	ks_flow_of_skb(&event->head.flow, skb, path == KERNELLATENCY_RECEIVE);
	event->latency_ns = latency;
	event->path = path;
	event->bytes = length_of(skb);
	if (packet) {
		event->entered = packet->entered;
		__builtin_memcpy(event->stages_ns, packet->times, sizeof(event->stages_ns));
	}
	if (sk)
		event->head.cgroup = ks_cgroup_of_sock(sk);
	dev = ks_dev_of_skb(skb);
	if (dev) {
		event->device_index = BPF_CORE_READ(dev, ifindex);
		bpf_probe_read_kernel(event->device, sizeof(event->device), dev->name);
	}
	bpf_ringbuf_submit(event, 0);
}

// From the device: after RPS, and again when a bridge or tunnel hands a packet to its own device.
SEC("tp_btf/netif_receive_skb")
int BPF_PROG(receive, struct sk_buff *skb)
{
	struct packet *packet = place_of(skb);

	if (!packet)
		return 0;
	if (chosen(skb->dev->nd_net.net)) {
		packet->length = skb->len;
		begin(packet, skb, KERNELLATENCY_DEVICE, false, bpf_ktime_get_ns());
	} else if (packet->skb == (__u64)skb) {
		packet->skb = 0;
	}
	return 0;
}

static __always_inline int on_arrival(const void *none)
{
	__u32 zero = 0;
	__u64 *arrival = bpf_map_lookup_elem(&arrivals, &zero);

	if (arrival)
		*arrival = bpf_ktime_get_ns();
	return 0;
}

static __always_inline int begin_sent(const struct sk_buff *skb, const struct net *net, __u32 stage)
{
	struct packet *packet = place_of(skb);

	if (!packet)
		return 0;
	if (chosen(net)) {
		begin(packet, skb, stage, true, bpf_ktime_get_ns());
		return 0;
	}
	// Else it would begin again at the next stage.
	packet->stage = SKIPPED;
	packet->sent = true;
	packet->skb = (__u64)skb;
	return 0;
}

// A packet of this machine goes on; one that is seen here first begins here.
static __always_inline void go_on(const struct sk_buff *skb, const struct net *net, struct packet *packet, bool goes_on, __u32 stage)
{
	if (packet && packet->sent && packet->stage == SKIPPED)
		return;
	if (packet && packet->sent && goes_on)
		pass(packet, stage, bpf_ktime_get_ns());
	else
		begin_sent(skb, net, stage);
}

static __always_inline int on_chain(const struct sk_buff *skb, __u8 hook, __u8 pf, bool received, const struct net *net)
{
	struct packet *packet;

	if (pf != NFPROTO_IPV4 && pf != NFPROTO_IPV6)
		return 0;
	packet = find(skb);
	if (hook == NF_INET_LOCAL_OUT) {
		if (!received)
			go_on(skb, net, packet, packet && packet->stage == KERNELLATENCY_ROUTING, KERNELLATENCY_LOCAL_OUT);
		return 0;
	}
	if (!packet)
		return 0;
	if (hook == NF_INET_PRE_ROUTING && is_with_ip(packet) && packet->stage == KERNELLATENCY_ROUTING)
		pass(packet, KERNELLATENCY_PREROUTING, bpf_ktime_get_ns());
	else if (hook == NF_INET_LOCAL_IN && packet->stage == KERNELLATENCY_SOCKET)
		pass(packet, KERNELLATENCY_LOCAL_IN, bpf_ktime_get_ns());
	else if (hook == NF_INET_POST_ROUTING && packet->stage == KERNELLATENCY_OUTPUT)
		pass(packet, KERNELLATENCY_POSTROUTING, bpf_ktime_get_ns());
	return 0;
}

// The packet may be gone, and on its own way: then it is in another stage. One that waits in a queue stays in its chain.
static __always_inline int on_chain_end(const void *skb, __u8 hook, __u8 pf, int result)
{
	struct packet *packet;

	if (result != NF_ACCEPTED || (pf != NFPROTO_IPV4 && pf != NFPROTO_IPV6))
		return 0;
	packet = find(skb);
	if (!packet)
		return 0;
	if (hook == NF_INET_PRE_ROUTING && packet->stage == KERNELLATENCY_PREROUTING)
		pass(packet, KERNELLATENCY_ROUTING, bpf_ktime_get_ns());
	else if (hook == NF_INET_LOCAL_IN && packet->stage == KERNELLATENCY_LOCAL_IN)
		pass(packet, KERNELLATENCY_SOCKET, bpf_ktime_get_ns());
	else if (hook == NF_INET_POST_ROUTING && packet->stage == KERNELLATENCY_POSTROUTING)
		pass(packet, KERNELLATENCY_OUTPUT, bpf_ktime_get_ns());
	// Where the route was looked up before there was a packet there is no such stage.
	else if (hook == NF_INET_LOCAL_OUT && packet->stage == KERNELLATENCY_LOCAL_OUT && packet->entered & 1 << KERNELLATENCY_ROUTING)
		pass(packet, KERNELLATENCY_ROUTING, bpf_ktime_get_ns());
	return 0;
}

static __always_inline int on_deliver(const struct sk_buff *skb)
{
	struct packet *packet = find(skb);

	if (packet && is_with_ip(packet) && packet->stage <= KERNELLATENCY_ROUTING)
		pass(packet, KERNELLATENCY_SOCKET, bpf_ktime_get_ns());
	return 0;
}

static __always_inline int on_forward(const struct sk_buff *skb)
{
	struct packet *packet = find(skb);

	if (packet && is_with_ip(packet) && packet->stage <= KERNELLATENCY_ROUTING)
		pass(packet, KERNELLATENCY_FORWARDING, bpf_ktime_get_ns());
	return 0;
}

// TCP hands a packet to IP. Others look up the route first, and have a packet then.
static __always_inline int on_queue(const struct sk_buff *skb, const struct sock *sk)
{
	return begin_sent(skb, BPF_CORE_READ(sk, __sk_common.skc_net.net), KERNELLATENCY_ROUTING);
}

static __always_inline int on_output(const struct sk_buff *skb, const struct net *net, bool received)
{
	struct packet *packet = find(skb);

	if (!received) {
		go_on(skb, net, packet, packet && (packet->stage == KERNELLATENCY_ROUTING || packet->stage == KERNELLATENCY_LOCAL_OUT), KERNELLATENCY_OUTPUT);
		return 0;
	}
	if (!packet || packet->sent)
		return 0;
	// IPVS forwards from the chain of what is delivered here.
	if (packet->stage != KERNELLATENCY_FORWARDING && packet->stage != KERNELLATENCY_LOCAL_IN && packet->stage != KERNELLATENCY_SOCKET)
		return 0;
	pass(packet, KERNELLATENCY_OUTPUT, bpf_ktime_get_ns());
	packet->times[KERNELLATENCY_FORWARDING] += packet->times[KERNELLATENCY_LOCAL_IN] + packet->times[KERNELLATENCY_SOCKET];
	packet->times[KERNELLATENCY_LOCAL_IN] = packet->times[KERNELLATENCY_SOCKET] = 0;
	packet->entered &= ~(1 << KERNELLATENCY_LOCAL_IN | 1 << KERNELLATENCY_SOCKET);
	packet->entered |= 1 << KERNELLATENCY_FORWARDING;
	return 0;
}

SEC("tp_btf/net_dev_queue")
int BPF_PROG(queue_to_device, struct sk_buff *skb)
{
	struct packet *packet = find(skb);
	__u64 now;

	if (!packet)
		return 0;
	if (packet->stage == KERNELLATENCY_OUTPUT || packet->stage == KERNELLATENCY_POSTROUTING) {
		now = bpf_ktime_get_ns();
		pass(packet, SKIPPED, now);
		if (packet->sent)
			finish(KERNELLATENCY_TRANSMIT, skb, skb->sk, skb->dev->nd_net.net, packet->start, now, packet);
		else
			finish(KERNELLATENCY_FORWARD, skb, NULL, skb->dev->nd_net.net, packet->start, now, packet);
	}
	packet->skb = 0;
	return 0;
}

// What sockets of other families are given (netlink, Unix) came from no device.
static __always_inline bool is_from_device(const struct sk_buff *skb, const struct sock *sk)
{
	__u16 family = BPF_CORE_READ(sk, __sk_common.skc_family);

	return (family == AF_INET || family == AF_INET6) && BPF_CORE_READ(skb, skb_iif);
}

// Every socket's filter is asked, whether it has one or not.
static __always_inline int on_socket(const struct sk_buff *skb, const struct sock *sk)
{
	struct packet *packet = find(skb);
	__u64 now;

	if (!packet)
		return 0;
	if (!packet->sent && (packet->stage == KERNELLATENCY_SOCKET || packet->stage == KERNELLATENCY_LOCAL_IN) && is_from_device(skb, sk)) {
		now = bpf_ktime_get_ns();
		pass(packet, SKIPPED, now);
		finish(KERNELLATENCY_RECEIVE, skb, sk, BPF_CORE_READ(sk, __sk_common.skc_net.net), packet->start, now, packet);
	}
	packet->skb = 0;
	return 0;
}

// What is dropped, and what IP itself has taken (ping, neighbours, groups, what was cut up): its memory is another one's at once.
static __always_inline int on_end(const struct sk_buff *skb)
{
	struct packet *packet = find(skb);

	if (packet)
		packet->skb = 0;
	return 0;
}

SEC("tp_btf/kfree_skb")
int BPF_PROG(drop, const struct sk_buff *skb)
{
	return on_end(skb);
}

SEC("tp_btf/consume_skb")
int BPF_PROG(consume, const struct sk_buff *skb)
{
	return on_end(skb);
}

// A function's argument that is asked for, by each way to hook it.
#define ON(function, handler, argument)                                      \
	SEC("fentry/" #function) int at_##function(__u64 *ctx)               \
	{                                                                    \
		return handler((const void *)ctx[argument]);                 \
	}                                                                    \
	SEC("kprobe/" #function) int probe_##function(void *ctx)             \
	{                                                                    \
		return handler(ks_argument(ctx, argument));                  \
	}

#define ON_TWO(function, handler, first, second)                             \
	SEC("fentry/" #function) int at_##function(__u64 *ctx)               \
	{                                                                    \
		return handler((const void *)ctx[first], (const void *)ctx[second]); \
	}                                                                    \
	SEC("kprobe/" #function) int probe_##function(void *ctx)             \
	{                                                                    \
		return handler(ks_argument(ctx, first), ks_argument(ctx, second)); \
	}

#define ON_OUTPUT(function)                                                  \
	SEC("fentry/" #function) int at_##function(__u64 *ctx)               \
	{                                                                    \
		const struct sk_buff *skb = (const void *)ctx[2];            \
                                                                             \
		return on_output(skb, (const void *)ctx[0], skb->skb_iif);   \
	}                                                                    \
	SEC("kprobe/" #function) int probe_##function(void *ctx)             \
	{                                                                    \
		const struct sk_buff *skb = ks_argument(ctx, 2);             \
                                                                             \
		return on_output(skb, ks_argument(ctx, 0), BPF_CORE_READ(skb, skb_iif)); \
	}

ON(ip_rcv, on_arrival, 0)
ON(ip_list_rcv, on_arrival, 0)
ON(ip_local_deliver, on_deliver, 0)
ON(ip_forward, on_forward, 0)
ON_TWO(__ip_queue_xmit, on_queue, 1, 0)
ON_OUTPUT(ip_output)
ON_OUTPUT(ip_mc_output)
ON_TWO(sk_filter_trim_cap, on_socket, 1, 0)

ON(ipv6_rcv, on_arrival, 0)
ON(ipv6_list_rcv, on_arrival, 0)
ON(ip6_input, on_deliver, 0)
ON(ip6_mc_input, on_deliver, 0)
ON(ip6_forward, on_forward, 0)
ON_TWO(inet6_csk_xmit, on_queue, 1, 0)
ON_OUTPUT(ip6_output)

SEC("fentry/nf_hook_slow")
int at_nf_hook_slow(__u64 *ctx)
{
	const struct sk_buff *skb = (const void *)ctx[0];
	const struct nf_hook_state *state = (const void *)ctx[1];

	return on_chain(skb, state->hook, state->pf, skb->skb_iif, state->net);
}

SEC("fexit/nf_hook_slow")
int after_nf_hook_slow(__u64 *ctx)
{
	const struct nf_hook_state *state = (const void *)ctx[1];

	return on_chain_end((const void *)ctx[0], state->hook, state->pf, ctx[4]);
}

// What a kprobe at a function's end does not know any more. Calls of this one are within one another: a packet that is sent from a
// chain, or while another is interrupted. One that ends on another CPU than it began on leaves its chain only at the next stage.
struct call {
	__u64 task;
	__u64 skb;
	__u8 hook;
	__u8 pf;
};

struct calls {
	__u64 depth;
	struct call calls[MOST_NESTED];
};

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct calls);
} calls SEC(".maps");

SEC("kprobe/nf_hook_slow")
int probe_nf_hook_slow(void *ctx)
{
	const struct sk_buff *skb = ks_argument(ctx, 0);
	const struct nf_hook_state *state = ks_argument(ctx, 1);
	__u32 zero = 0;
	struct calls *nested = bpf_map_lookup_elem(&calls, &zero);
	struct call *call;

	if (!nested)
		return 0;
	if (nested->depth >= MOST_NESTED) // left by calls that ended elsewhere
		nested->depth = 0;
	call = &nested->calls[nested->depth++ % MOST_NESTED];
	call->task = bpf_get_current_task();
	call->skb = (__u64)skb;
	call->hook = BPF_CORE_READ(state, hook);
	call->pf = BPF_CORE_READ(state, pf);
	return on_chain(skb, call->hook, call->pf, BPF_CORE_READ(skb, skb_iif), BPF_CORE_READ(state, net));
}

SEC("kretprobe/nf_hook_slow")
int probe_after_nf_hook_slow(void *ctx)
{
	__u64 task = bpf_get_current_task();
	__u32 zero = 0;
	struct calls *nested = bpf_map_lookup_elem(&calls, &zero);

	if (!nested)
		return 0;
	for (int i = 0; i < MOST_NESTED && nested->depth; i++) {
		struct call *call = &nested->calls[--nested->depth % MOST_NESTED];

		if (call->task == task)
			return on_chain_end((const void *)call->skb, call->hook, call->pf, ks_returned(ctx));
	}
	return 0;
}

// Without functions: what TCP was given while no process had its socket; else it went to the backlog, nobody says when.
SEC("tp_btf/tcp_probe")
int BPF_PROG(take_segment, struct sock *sk, struct sk_buff *skb)
{
	struct packet *packet = find(skb);

	if (!packet || packet->sent)
		return 0;
	if (!sk->sk_lock.owned)
		finish(KERNELLATENCY_RECEIVE, skb, sk, sk->__sk_common.skc_net.net, packet->start, bpf_ktime_get_ns(), NULL);
	packet->skb = 0;
	return 0;
}

// A segment that a socket has cut a packet into (GSO) did not begin: at its address is what a packet left that ended unseen, as TCP's do
// while they connect and close. That has another length; only what was put together of fragments has grown.
static __always_inline bool is_as_received(const struct packet *packet, const struct sk_buff *skb, __u16 family)
{
	__u32 length = length_of(skb), padding = packet->length - length;

	if (packet->length >= length)
		return padding <= MOST_PADDING;
	if (family == AF_INET)
		return BPF_CORE_READ((const struct inet_skb_parm *)skb->cb, frag_max_size);
	return BPF_CORE_READ((const struct inet6_skb_parm *)skb->cb, frag_max_size);
}

// A datagram is the last in its socket's queue when the socket is told; if its reader was not faster. Where a group has several receivers
// it is a copy, which did not begin where it lies.
SEC("tp_btf/sk_data_ready")
int BPF_PROG(take_datagram, struct sock *sk)
{
	struct sk_buff *skb;
	struct packet *packet;

	if (sk->sk_protocol != IPPROTO_UDP || (sk->__sk_common.skc_family != AF_INET && sk->__sk_common.skc_family != AF_INET6))
		return 0;
	skb = sk->sk_receive_queue.prev;
	packet = find(skb);
	if (!packet || packet->sent || (BPF_CORE_READ_BITFIELD(skb, cloned) && BPF_CORE_READ_BITFIELD(skb, pkt_type)))
		return 0;
	if (is_as_received(packet, skb, sk->__sk_common.skc_family))
		finish(KERNELLATENCY_RECEIVE, skb, sk, sk->__sk_common.skc_net.net, packet->start, bpf_ktime_get_ns(), NULL);
	packet->skb = 0;
	return 0;
}

// TCP stamps what it sends with the time when it may leave: later than now when it is paced. A bridge, bond, VLAN or tunnel hands it on to
// the device below, with the same stamp.
SEC("tp_btf/net_dev_queue")
int BPF_PROG(queue_segment, struct sk_buff *skb)
{
	const struct sock *sk = skb->sk;
	struct packet *packet;

	if (!sk || skb->skb_iif || !skb->tstamp)
		return 0;
	if (sk->__sk_common.skc_state == TCP_TIME_WAIT || sk->__sk_common.skc_state == TCP_NEW_SYN_RECV || sk->sk_protocol != IPPROTO_TCP)
		return 0;
	if (!chosen(skb->dev->nd_net.net))
		return 0;
	packet = place_of(skb);
	if (!packet || (packet->sent && packet->skb == (__u64)skb && packet->start == (__u64)skb->tstamp))
		return 0;
	packet->skb = 0;
	packet->start = skb->tstamp;
	packet->sent = true;
	packet->skb = (__u64)skb;
	finish(KERNELLATENCY_TRANSMIT, skb, sk, skb->dev->nd_net.net, skb->tstamp, bpf_ktime_get_ns(), NULL);
	return 0;
}
