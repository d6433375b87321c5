// SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause
//
// socketlatency: how long the oldest unread byte has waited when a process reads, and how long written bytes wait before TCP sends
// them. What waits is marked when it comes, so sockets that are older than the probe are seen like all others. Mostly that is one
// mark of a TCP socket whose reader is there at once: it is kept in a table. More of them, and those of UDP, are kept in the
// socket's own storage, which takes a microsecond to make.
//
// Reading the clock and counting are most of the cost of a read. What waits as long as a tick of the kernel's clock sees it change: all
// of that is timed. Of the rest, where it is that one mark, a sample is, and stands for it.
#include "socketlatency.h"

#define MARKS 8
#define SLOTS 8192		// a power of two
#define SLOT_CLAIMED 1
#define MSG_OOB 0x1		// include/linux/socket.h
#define MSG_PEEK 0x2
#define MSG_WAITALL 0x100
#define MSG_ERRQUEUE 0x2000
#define TCP_CHRONO_RWND_LIMITED 2	// include/linux/tcp.h, enum tcp_chrono
#define ONE_MS 1000000ULL

volatile struct socketlatency_settings wanted SEC(".data.socketlatency") = {};

// Everything up to a position has been there since a time. Positions are sequence numbers; of datagrams, their number.
struct mark {
	__u64 since;
	__u32 end;
	__u32 detail;	// unread: the position it begins with, or one before it; unsent: enum socketlatency_cause
};

// The oldest first; a ring.
struct waiting {
	__u32 first;
	__u32 count;
	struct mark marks[MARKS];
};

struct kept {
	struct bpf_spin_lock lock;
	__u32 datagrams;	// read so far
	struct waiting unread;
	struct waiting unsent;
};

struct {
	__uint(type, BPF_MAP_TYPE_SK_STORAGE);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, int);
	__type(value, struct kept);
} sockets SEC(".maps");

// The oldest mark of unread data of one socket among those that fall here. It is older than what is in the socket's storage.
struct slot {
	__u64 owner;	// the socket; 0: free; SLOT_CLAIMED: about to be one's
	struct mark mark;
	__u32 tick;
	__u32 turn;	// goes through all numbers in no order that reads could follow
};

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, SLOTS);
	__type(key, __u32);
	__type(value, struct slot);
} slots SEC(".maps");

KS_COUNTERS_PER_CPU(counts, struct ks_netns, struct socketlatency_counts)

#define mark_of(waiting, i) (&(waiting)->marks[((waiting)->first + (i)) % MARKS])
#define is_after(a, b) ((__s32)((a) - (b)) > 0)

// Makes room. What lies before a position is gone, but for the oldest: a read that is under way may be about to ask for it. Else two
// neighbours are taken as one that is as old as the older: those closest in time, so that the error stays small beside the times.
static __always_inline void make_room(struct waiting *waiting, __u32 position)
{
	__u64 least = ~0ULL;
	__u32 at = 1;

	for (__u32 i = 1; i < MARKS; i++) {
		if (is_after(mark_of(waiting, 1)->end, position))
			break;
		*mark_of(waiting, 1) = *mark_of(waiting, 0);
		waiting->first++;
		waiting->count--;
	}
	if (waiting->count < MARKS)
		return;
	for (__u32 i = 1; i < MARKS; i++) {
		__u64 gap = mark_of(waiting, i)->since - mark_of(waiting, i - 1)->since;

		if (gap < least) {
			least = gap;
			at = i;
		}
	}
	mark_of(waiting, at - 1)->end = mark_of(waiting, at)->end;
	for (__u32 i = 1; i < MARKS - 1; i++)
		if (i >= at)
			*mark_of(waiting, i) = *mark_of(waiting, i + 1);
	waiting->count = MARKS - 1;
}

// Marks what there is up to end and was not marked before; position is how far it is gone again.
static __always_inline void add(struct waiting *waiting, __u64 now, __u32 position, __u32 end, __u32 detail)
{
	struct mark *mark;

	if (waiting->count && !is_after(end, mark_of(waiting, waiting->count - 1)->end))
		return;
	if (waiting->count >= MARKS)
		make_room(waiting, position);
	mark = mark_of(waiting, waiting->count);
	mark->since = now;
	mark->end = end;
	mark->detail = detail;
	waiting->count++;
}

// Forgets what lies before a position.
static __always_inline void forget(struct waiting *waiting, __u32 position)
{
	for (__u32 i = 0; i < MARKS; i++) {
		if (!waiting->count || is_after(mark_of(waiting, 0)->end, position))
			break;
		waiting->first++;
		waiting->count--;
	}
}

static __always_inline __u32 netns_of(const struct sock *sk)
{
	return sk->__sk_common.skc_net.net->ns.inum;
}

static __always_inline bool is_inet(const struct sock *sk)
{
	return sk->__sk_common.skc_family == AF_INET || sk->__sk_common.skc_family == AF_INET6;
}

static __always_inline bool is_udp(const struct sock *sk)
{
	return sk->sk_protocol == IPPROTO_UDP || sk->sk_protocol == IPPROTO_UDPLITE;
}

// Readers move what they are about to read to a queue of their own.
static __always_inline __u32 unread_datagrams(const struct sock *sk)
{
	return sk->sk_receive_queue.qlen + BPF_CORE_READ((const struct udp_sock *)sk, reader_queue.qlen);
}

// A time that was over the threshold of its kind; null when nobody wants an event. Submit what is given.
static __always_inline struct socketlatency_event *begin(enum socketlatency_kind kind, const struct sock *sk, __u64 now, __u64 latency)
{
	struct socketlatency_event *event;

	if (latency < settings.threshold_ns[kind])
		return NULL;
	event = ks_reserve(sizeof(*event), netns_of(sk), now);
	if (!event)
		return NULL;
	ks_flow_of_sock(&event->head.flow, sk);
	event->head.cgroup = ks_cgroup_of_sock(sk);
	event->latency_ns = latency;
	event->kind = kind;
	return event;
}

static __always_inline struct slot *slot_of(const struct sock *sk)
{
	__u32 at = sk->__sk_common.skc_hash % SLOTS;

	return bpf_map_lookup_elem(&slots, &at);
}

static __always_inline int mark_datagram(struct sock *sk)
{
	struct kept *socket = bpf_sk_storage_get(&sockets, sk, NULL, BPF_LOCAL_STORAGE_GET_F_CREATE);
	__u32 waiting = unread_datagrams(sk);
	__u64 now = bpf_ktime_get_ns();

	if (!socket) {
		ks_count(uncounted);
		return 0;
	}
	bpf_spin_lock(&socket->lock);
	add(&socket->unread, now, socket->datagrams, socket->datagrams + waiting, 0);
	bpf_spin_unlock(&socket->lock);
	return 0;
}

static __always_inline int on_ready(struct sock *sk)
{
	struct tcp_sock *tcp;
	struct kept *socket;
	struct slot *slot;
	__u32 end, taken;
	__u64 now;

	if (!is_inet(sk) || !ks_wanted(netns_of(sk)))
		return 0;
	tcp = bpf_skc_to_tcp_sock(sk);
	if (!tcp)
		return is_udp(sk) ? mark_datagram(sk) : 0;
	end = tcp->rcv_nxt;
	taken = tcp->copied_seq;
	now = tcp->tcp_clock_cache;
	if (!is_after(end, taken)) // a listening socket, or already read
		return 0;
	socket = bpf_sk_storage_get(&sockets, sk, NULL, 0);
	slot = slot_of(sk);
	if (slot && !slot->owner && (!socket || !socket->unread.count) && !__sync_val_compare_and_swap(&slot->owner, 0, SLOT_CLAIMED)) {
		slot->mark.since = now;
		slot->mark.end = end;
		slot->mark.detail = taken;
		slot->tick = bpf_jiffies64();
		__sync_lock_test_and_set(&slot->owner, (__u64)sk); // last: a read on another CPU would take the mark of who had it before
		return 0;
	}
	if (slot && slot->owner == (__u64)sk && !is_after(end, slot->mark.end))
		return 0;
	if (!socket)
		socket = bpf_sk_storage_get(&sockets, sk, NULL, BPF_LOCAL_STORAGE_GET_F_CREATE);
	if (!socket) {
		ks_count(uncounted);
		return 0;
	}
	bpf_spin_lock(&socket->lock);
	add(&socket->unread, now, taken, end, taken);
	bpf_spin_unlock(&socket->lock);
	return 0;
}

SEC("tp_btf/sk_data_ready")
int BPF_PROG(data_ready, struct sock *sk)
{
	return on_ready(sk);
}

// Before 6.3 that tracepoint is not there. This is where it was put.
SEC("fentry/sock_def_readable")
int BPF_PROG(enter_readable, struct sock *sk)
{
	return on_ready(sk);
}

// How many reads this one stands for; 0: another one stands for it.
static __always_inline __u32 times_of(struct slot *slot)
{
	if (slot->tick != (__u32)bpf_jiffies64())
		return 1;
	slot->turn = slot->turn * 1664525 + 1013904223;
	return slot->turn >> 16 & (wanted.sampling - 1) ? 0 : wanted.sampling;
}

// Since when the oldest byte of a read was there; 0: nobody knows. What was taken in ways that are not seen here (splice) is no part
// of it, nor is what came after it.
static __always_inline __u64 read_stream(struct sock *sk, struct kept *socket, __u32 taken, __u32 length, __u32 *times)
{
	struct slot *slot = slot_of(sk);
	__u64 since = 0;

	if (slot && slot->owner == (__u64)sk) {
		if (is_after(slot->mark.end, taken - length) && is_after(taken, slot->mark.detail)) {
			since = slot->mark.since;
			*times = times_of(slot);
		}
		if (!is_after(slot->mark.end, taken))
			slot->owner = 0;
	}
	if (!socket || !socket->unread.count)
		return since;
	bpf_spin_lock(&socket->lock);
	forget(&socket->unread, taken - length);
	if (!since && socket->unread.count && is_after(taken, mark_of(&socket->unread, 0)->detail))
		since = mark_of(&socket->unread, 0)->since;
	forget(&socket->unread, taken);
	bpf_spin_unlock(&socket->lock);
	return since;
}

static __always_inline __u64 read_datagram(struct kept *socket, __u32 left)
{
	__u64 since = 0;

	bpf_spin_lock(&socket->lock);
	forget(&socket->unread, socket->datagrams);
	if (socket->unread.count)
		since = mark_of(&socket->unread, 0)->since;
	socket->datagrams++;
	if (left)
		forget(&socket->unread, socket->datagrams);
	else
		socket->unread.count = 0;
	bpf_spin_unlock(&socket->lock);
	return since;
}

static __always_inline int on_received(struct sock *sk, int length, int flags)
{
	struct socketlatency_counts *counted;
	struct socketlatency_event *event;
	__u64 now, since = 0, latency;
	struct tcp_sock *tcp;
	struct kept *socket;
	__u32 left, times = 1;
	struct ks_netns netns;

	if (length < 0 || flags & (MSG_OOB | MSG_PEEK | MSG_ERRQUEUE) || !is_inet(sk))
		return 0;
	socket = bpf_sk_storage_get(&sockets, sk, NULL, 0);
	tcp = bpf_skc_to_tcp_sock(sk);
	if (tcp) {
		__u32 taken = tcp->copied_seq;

		left = tcp->rcv_nxt - taken;
		since = read_stream(sk, socket, taken, length, &times);
	} else {
		if (!socket)
			return 0;
		left = unread_datagrams(sk);
		since = read_datagram(socket, left);
	}
	// The end of a stream is no byte. Who waits for all of it took what came at once, and only returns now.
	if (!since || !times || (tcp && (!length || flags & MSG_WAITALL)))
		return 0;

	now = bpf_ktime_get_ns();
	latency = now > since ? now - since : 0;
	netns = ks_netns_of_sock(sk);
	counted = counts_of(&netns);
	if (counted) {
		ks_observe_many(tcp ? &counted->tcp_read : &counted->udp_read, latency, times);
		if (latency >= ONE_MS)
			ks_add(&counted->read_1ms, times);
		if (latency >= 100 * ONE_MS)
			ks_add(&counted->read_100ms, times);
	}
	event = begin(SOCKETLATENCY_READ, sk, now, latency);
	if (!event)
		return 0;
	ks_current(&event->head);
	event->bytes = length;
	event->waiting = left;
	event->state = tcp ? ks_state(sk) : 0;
	bpf_ringbuf_submit(event, 0);
	return 0;
}

// After every way to receive from a socket, also when there was nothing.
SEC("tp_btf/sock_recv_length")
int BPF_PROG(received, struct sock *sk, int length, int flags)
{
	return on_received(sk, length, flags);
}

// Before 6.3: what those ways call for IPv4 and IPv6.
SEC("fexit/inet_recvmsg")
int BPF_PROG(leave_receive, struct socket *socket, void *message, __u64 size, int flags, int length)
{
	return on_received(socket->sk, length, flags);
}

SEC("fexit/inet6_recvmsg")
int BPF_PROG(leave_receive6, struct socket *socket, void *message, __u64 size, int flags, int length)
{
	return on_received(socket->sk, length, flags);
}

static __always_inline enum socketlatency_cause cause_of(struct tcp_sock *tcp)
{
	if (BPF_CORE_READ_BITFIELD(tcp, chrono_type) == TCP_CHRONO_RWND_LIMITED)
		return SOCKETLATENCY_PEER_WINDOW;
	if (tcp->packets_out - tcp->sacked_out - tcp->lost_out + tcp->retrans_out >= tcp->snd_cwnd)
		return SOCKETLATENCY_CONGESTION_WINDOW;
	return SOCKETLATENCY_LOCAL;
}

static __always_inline int on_written(struct sock *sk, int length)
{
	struct tcp_sock *tcp;
	struct kept *socket;
	__u32 sent, end, cause;
	__u64 now;

	if (length <= 0 || !is_inet(sk))
		return 0;
	tcp = bpf_skc_to_tcp_sock(sk);
	if (!tcp)
		return 0;
	end = tcp->write_seq;
	sent = tcp->snd_nxt;
	if (!is_after(end, sent) || !ks_wanted(netns_of(sk)))
		return 0;
	socket = bpf_sk_storage_get(&sockets, sk, NULL, BPF_LOCAL_STORAGE_GET_F_CREATE);
	if (!socket) {
		ks_count(uncounted);
		return 0;
	}
	cause = cause_of(tcp);
	now = bpf_ktime_get_ns();
	bpf_spin_lock(&socket->lock);
	add(&socket->unsent, now, sent, end, cause);
	bpf_spin_unlock(&socket->lock);
	return 0;
}

// After every way to send to a socket. Mostly everything is on its way by then, and there is nothing to say.
SEC("tp_btf/sock_send_length")
int BPF_PROG(written, struct sock *sk, int length, int flags)
{
	return on_written(sk, length);
}

SEC("fexit/inet_sendmsg")
int BPF_PROG(leave_send, struct socket *socket, void *message, __u64 size, int length)
{
	return on_written(socket->sk, length);
}

SEC("fexit/inet6_sendmsg")
int BPF_PROG(leave_send6, struct socket *socket, void *message, __u64 size, int length)
{
	return on_written(socket->sk, length);
}

// A packet keeps its socket through tunnels, and comes by again with the headers of those; a later fragment has none of TCP. Ports tell
// nothing: they may have been translated.
static __always_inline bool is_segment(const struct sk_buff *skb)
{
	struct ks_flow flow;

	return ks_flow_of_skb(&flow, skb, false) && flow.protocol == IPPROTO_TCP && flow.local_port;
}

// The position after a segment's last byte.
static __always_inline __u32 end_of_segment(const struct sk_buff *skb, __u32 *payload)
{
	const unsigned char *head = BPF_CORE_READ(skb, head);
	__u32 transport = BPF_CORE_READ(skb, transport_header);
	__u32 before = BPF_CORE_READ(skb, data) - head;
	struct tcp_header tcp = {};

	bpf_probe_read_kernel(&tcp, sizeof(tcp), head + transport);
	*payload = BPF_CORE_READ(skb, len) - (transport - before) - (tcp.offset >> 4) * 4;
	return bpf_ntohl(tcp.sequence) + *payload;
}

SEC("tp_btf/net_dev_queue")
int BPF_PROG(transmit, struct sk_buff *skb)
{
	struct sock *sk = skb->sk;
	struct socketlatency_counts *counted;
	struct socketlatency_event *event;
	__u64 now, oldest = 0;
	struct ks_netns netns;
	__u32 already, end, payload, cause = 0;
	const struct tcp_sock *tcp = (const void *)sk; // what has unsent bytes is one
	bool passed = false;
	struct kept *socket;

	if (!sk)
		return 0;
	socket = bpf_sk_storage_get(&sockets, sk, NULL, 0); // null for what is no full socket
	if (!socket || !socket->unsent.count || !is_segment(skb))
		return 0;
	already = BPF_CORE_READ(tcp, snd_nxt); // not yet moved by this segment
	end = end_of_segment(skb, &payload);
	netns = ks_netns_of_sock(sk);
	counted = counts_of(&netns);
	if (!counted)
		return 0;
	now = bpf_ktime_get_ns();
	bpf_spin_lock(&socket->lock);
	// Marked while another CPU was just sending it.
	forget(&socket->unsent, already);
	if (socket->unsent.count) {
		oldest = mark_of(&socket->unsent, 0)->since;
		cause = mark_of(&socket->unsent, 0)->detail;
	}
	for (__u32 i = 0; i < MARKS; i++) {
		struct mark *mark = mark_of(&socket->unsent, 0);
		__u64 waited;

		if (!socket->unsent.count || is_after(mark->end, end))
			break;
		passed = true;
		waited = now > mark->since ? now - mark->since : 0;
		ks_observe(&counted->tcp_write, waited);
		if (waited >= ONE_MS) {
			ks_add(&counted->write_1ms, 1);
			if (mark->detail < SOCKETLATENCY_CAUSES)
				ks_add(&counted->write_1ms_for[mark->detail], 1);
		}
		if (waited >= 100 * ONE_MS)
			ks_add(&counted->write_100ms, 1);
		socket->unsent.first++;
		socket->unsent.count--;
	}
	bpf_spin_unlock(&socket->lock);
	if (!passed)
		return 0;
	event = begin(SOCKETLATENCY_WRITE, sk, now, now > oldest ? now - oldest : 0);
	if (!event)
		return 0;
	event->bytes = payload;
	event->waiting = BPF_CORE_READ(tcp, write_seq) - end;
	event->state = ks_state(sk);
	event->cause = cause;
	bpf_ringbuf_submit(event, 0);
	return 0;
}

static __always_inline void leave_slot(const struct sock *sk)
{
	struct slot *slot = slot_of(sk);

	if (slot && slot->owner == (__u64)sk)
		slot->owner = 0;
}

// What was never read.
SEC("tp_btf/tcp_destroy_sock")
int BPF_PROG(destroy, struct sock *sk)
{
	leave_slot(sk);
	return 0;
}

// A socket may be taken for a second connection (connect to AF_UNSPEC, then to somewhere else), which counts from another beginning.
SEC("tp_btf/inet_sock_set_state")
int BPF_PROG(set_state, struct sock *sk, int before, int after)
{
	if (after != TCP_SYN_SENT || sk->sk_protocol != IPPROTO_TCP)
		return 0;
	leave_slot(sk);
	bpf_sk_storage_delete(&sockets, sk);
	return 0;
}
