// SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause
//
// tcpretrans: segments that TCP sends again, and what made it do so.
#include "tcpretrans.h"

#define TCP_CA_RECOVERY 3	// include/uapi/linux/tcp.h, enum tcp_ca_state
#define TCP_CA_LOSS 4

KS_COUNTERS(counts, struct ks_netns, struct tcpretrans_counts)

static __always_inline bool count(struct ks_netns netns, enum tcpretrans_kind kind, __u64 segments, int error)
{
	struct tcpretrans_counts *counted;

	if (!ks_wanted(netns.inum))
		return false;
	counted = counts_of(&netns);
	if (counted)
		ks_add(error ? &counted->failed : &counted->segments[kind], segments);
	return true;
}

// TCP takes a segment that was too large for the path for lost without a timeout, and for no sign of congestion: it marks no place up
// to which to undo that. After a timeout there is such a mark, or, until the first acknowledgement, the timeout is counted.
static __always_inline bool was_too_large(const struct sock *sk)
{
	return !BPF_CORE_READ((const struct tcp_sock *)sk, undo_marker) && !BPF_CORE_READ((const struct inet_connection_sock *)sk, icsk_retransmits);
}

static __always_inline enum tcpretrans_kind kind_of(const struct sock *sk, __u8 state, __u8 congestion)
{
	if (state == TCP_SYN_SENT)
		return TCPRETRANS_SYN;
	if (congestion == TCP_CA_LOSS)
		return was_too_large(sk) ? TCPRETRANS_PATH_MTU : TCPRETRANS_TIMEOUT;
	if (congestion == TCP_CA_RECOVERY)
		return TCPRETRANS_FAST;
	// Without a loss that TCP knows of, only the probe sends again.
	return TCPRETRANS_TAIL;
}

static __always_inline int on_retransmit(const struct sock *sk, const struct sk_buff *skb, int error)
{
	const struct inet_connection_sock *icsk = (const void *)sk;
	const struct tcp_skb_cb *cb = (const void *)__builtin_preserve_access_index(&skb->cb);
	__u8 state = ks_state(sk), congestion = BPF_CORE_READ_BITFIELD_PROBED(icsk, icsk_ca_state);
	enum tcpretrans_kind kind = kind_of(sk, state, congestion);
	struct ks_netns netns = ks_netns_of_sock(sk);
	__u32 segments = BPF_CORE_READ(cb, tcp_gso_segs);
	struct tcpretrans_event *event;

	if (!count(netns, kind, segments, error))
		return 0;
	event = ks_reserve(sizeof(*event), netns.inum, bpf_ktime_get_ns());
	if (!event)
		return 0;
	ks_flow_of_sock(&event->head.flow, sk);
	event->head.cgroup = ks_cgroup_of_sock(sk);
	event->sequence = BPF_CORE_READ(cb, seq);
	event->bytes = BPF_CORE_READ(skb, len);
	event->segments = segments;
	event->error = error;
	event->kind = kind;
	event->state = state;
	event->congestion = congestion;
	bpf_ringbuf_submit(event, 0);
	return 0;
}

// Since 6.16: also when it failed.
SEC("tp_btf/tcp_retransmit_skb")
int BPF_PROG(retransmit_with_error, const struct sock *sk, const struct sk_buff *skb, int error)
{
	return on_retransmit(sk, skb, error);
}

SEC("tp_btf/tcp_retransmit_skb")
int BPF_PROG(retransmit, const struct sock *sk, const struct sk_buff *skb)
{
	return on_retransmit(sk, skb, 0);
}

// The handshake is no socket yet; it begins like one.
SEC("tp_btf/tcp_retransmit_synack")
int BPF_PROG(retransmit_synack, const struct sock *listener, const struct sock *request)
{
	struct ks_netns netns = ks_netns_of_sock(listener);
	struct tcpretrans_event *event;

	if (!count(netns, TCPRETRANS_SYNACK, 1, 0))
		return 0;
	event = ks_reserve(sizeof(*event), netns.inum, bpf_ktime_get_ns());
	if (!event)
		return 0;
	ks_flow_of_sock(&event->head.flow, request);
	event->head.cgroup = ks_cgroup_of_sock(listener);
	event->segments = 1;
	event->kind = TCPRETRANS_SYNACK;
	event->state = TCP_SYN_RECV;
	bpf_ringbuf_submit(event, 0);
	return 0;
}
