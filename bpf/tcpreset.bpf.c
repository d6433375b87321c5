// SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause
//
// tcpreset: connections that end with a reset, sent or received, and why.
#include "tcpreset.h"

#define RTN_LOCAL 2		// include/uapi/linux/rtnetlink.h
#define RTF_LOCAL 0x80000000	// include/uapi/linux/ipv6_route.h
#define TCP_RST 0x04

KS_COUNTERS(counts, struct ks_netns, struct tcpreset_counts)

static __always_inline void count(struct ks_netns netns, enum tcpreset_kind kind)
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
	struct ks_netns netns = has_sock ? ks_netns_of_sock(sk) : ks_netns_of_skb(skb);
	struct tcpreset_event *event;

	if (!ks_wanted(netns.inum))
		return;
	count(netns, kind);
	event = ks_reserve(sizeof(*event), netns.inum, bpf_ktime_get_ns());
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

// Before 6.10 nothing is told where the answered segment has no socket, or one that is past its end (TIME_WAIT). These functions see all, before
// they look at what is not answered: another reset, and what was not sent to this machine.
static __always_inline int on_answer(const struct sock *sk, const struct sk_buff *skb, bool is_local)
{
	struct tcp_header tcp = {};
	const unsigned char *head = BPF_CORE_READ(skb, head);

	if (sk && BPF_CORE_READ(sk, __sk_common.skc_state) != TCP_TIME_WAIT)
		return 0;
	bpf_probe_read_kernel(&tcp, sizeof(tcp), head + BPF_CORE_READ(skb, transport_header));
	if (tcp.flags & TCP_RST || (!sk && !is_local))
		return 0;
	return on_sent(sk, skb, false, 0);
}

static __always_inline const void *route_of(const struct sk_buff *skb)
{
	return (const void *)(BPF_CORE_READ(skb, _skb_refdst) & ~1UL);
}

static __always_inline bool is_local(const struct sk_buff *skb)
{
	return BPF_CORE_READ((const struct rtable *)route_of(skb), rt_type) == RTN_LOCAL;
}

static __always_inline bool is_local6(const struct sk_buff *skb)
{
	return BPF_CORE_READ((const struct rt6_info *)route_of(skb), rt6i_flags) & RTF_LOCAL;
}

SEC("fentry/tcp_v4_send_reset")
int answer(__u64 *ctx)
{
	const struct sk_buff *skb = (const void *)ctx[1];

	return on_answer(ks_nullable(ctx, 0), skb, is_local(skb));
}

SEC("fentry/tcp_v6_send_reset")
int answer6(__u64 *ctx)
{
	const struct sk_buff *skb = (const void *)ctx[1];

	return on_answer(ks_nullable(ctx, 0), skb, is_local6(skb));
}

SEC("kprobe/tcp_v4_send_reset")
int answer_by_kprobe(void *ctx)
{
	const struct sk_buff *skb = ks_argument(ctx, 1);

	return on_answer(ks_argument(ctx, 0), skb, is_local(skb));
}

SEC("kprobe/tcp_v6_send_reset")
int answer6_by_kprobe(void *ctx)
{
	const struct sk_buff *skb = ks_argument(ctx, 1);

	return on_answer(ks_argument(ctx, 0), skb, is_local6(skb));
}

SEC("tp_btf/tcp_receive_reset")
int BPF_PROG(receive_reset, struct sock *sk)
{
	on_reset(TCPRESET_RECEIVED, sk, NULL, false, 0);
	return 0;
}
