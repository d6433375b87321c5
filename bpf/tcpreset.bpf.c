// SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause
//
// tcpreset: connections that end with a reset, sent or received, and why.
#include "tcpreset.h"

KS_COUNTERS(counts, __u32, struct tcpreset_counts)

static __always_inline void count(__u32 netns, enum tcpreset_kind kind)
{
	struct tcpreset_counts *counted = counts_of(&netns);

	if (counted)
		ks_add(&counted->by_kind[kind], 1);
}

// sk: null for TCPRESET_NO_SOCKET. skb: the segment that is answered, null when there is none.
static __always_inline void on_reset(enum tcpreset_kind kind, const struct sock *sk, const struct sk_buff *skb, bool has_reason,
				     __u32 reason)
{
	bool has_sock = kind != TCPRESET_NO_SOCKET;
	__u32 netns = has_sock ? ks_netns_of_sock(sk) : ks_netns_of_skb(skb);
	struct tcpreset_event *event;

	if (!ks_wanted(netns))
		return;
	count(netns, kind);
	event = ks_reserve(sizeof(*event), netns, bpf_ktime_get_ns());
	if (!event)
		return;
	event->kind = kind;
	event->has_reason = has_reason;
	event->reason = reason;
	// A listening socket does not know whom it answers; the segment does.
	if (kind == TCPRESET_ACTIVE || kind == TCPRESET_RECEIVED)
		ks_flow_of_sock(&event->head.flow, sk);
	else
		ks_flow_of_skb(&event->head.flow, skb, true);
	if (has_sock) {
		event->state = ks_state(sk);
		event->head.cgroup = ks_cgroup_of_sock(sk);
	}
	// The process that holds the socket's lock is the one that runs. Without that, this is the work of a timer.
	if (kind == TCPRESET_ACTIVE && BPF_CORE_READ(sk, sk_lock.owned))
		ks_current(&event->head);
	bpf_ringbuf_submit(event, 0);
}

static __always_inline int on_sent(const struct sock *sk, const struct sk_buff *skb, bool has_reason, __u32 reason)
{
	if (!skb)
		on_reset(TCPRESET_ACTIVE, sk, NULL, has_reason, reason);
	else if (sk)
		on_reset(TCPRESET_ON_SOCKET, sk, skb, has_reason, reason);
	else
		on_reset(TCPRESET_NO_SOCKET, NULL, skb, has_reason, reason);
	return 0;
}

// Since 6.10: (const struct sock *, const struct sk_buff *, enum sk_rst_reason); also where there is no socket.
SEC("tp_btf/tcp_send_reset")
int send_reset_with_reason(__u64 *ctx)
{
	return on_sent(ks_nullable(ctx, 0), ks_nullable(ctx, 1), true, ctx[2]);
}

// Before: (const struct sock *, const struct sk_buff *).
SEC("tp_btf/tcp_send_reset")
int send_reset(__u64 *ctx)
{
	return on_sent(ks_nullable(ctx, 0), ks_nullable(ctx, 1), false, 0);
}

SEC("tp_btf/tcp_receive_reset")
int BPF_PROG(receive_reset, struct sock *sk)
{
	on_reset(TCPRESET_RECEIVED, sk, NULL, false, 0);
	return 0;
}
