// SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause
//
// packetloss: packets the kernel drops, where and why.
#include "packetloss.h"

volatile struct packetloss_settings packetloss SEC(".data.packetloss") = {};

KS_COUNTERS(counts, struct packetloss_key, struct packetloss_counts)

static __always_inline bool has(volatile __u64 *reasons, __u32 reason)
{
	__u32 word = reason / 64 & (PACKETLOSS_REASONS / 64 - 1);

	barrier_var(word);	// or the compiler proves the bound another way than the verifier
	if (reason >= PACKETLOSS_REASONS || word >= PACKETLOSS_REASONS / 64)
		return false;
	return reasons[word] >> (reason % 64) & 1;
}

// Messages of netlink and of unix sockets travel in the same buffers, and are no packets.
static __always_inline bool is_packet(const struct sk_buff *skb, const struct sock *sk)
{
	__u16 family;

	if (BPF_CORE_READ(skb, protocol))
		return true;
	if (!sk)
		return false;
	family = BPF_CORE_READ(sk, __sk_common.skc_family);
	return family == AF_INET || family == AF_INET6;
}

// Sent to a group, and nobody here is in it: what every listener on a shared medium does with most of it.
static __always_inline bool is_stray(const struct sk_buff *skb, __u32 reason)
{
	__u8 type;

	if (!has(packetloss.stray, reason))
		return false;
	type = BPF_CORE_READ_BITFIELD_PROBED(skb, pkt_type);
	return type == PACKET_BROADCAST || type == PACKET_MULTICAST;
}

// Whether a packet, read as one that was sent, is on its way to a socket. One that was sent has its sender's socket, also on the other side of a
// veth pair. One that was received has none, or was given its receiver's early (early demux).
static __always_inline bool is_for(const struct ks_flow *flow, const struct sock *sk)
{
	__u16 port = BPF_CORE_READ(sk, __sk_common.skc_num);
	__be32 address = BPF_CORE_READ(sk, __sk_common.skc_rcv_saddr);

	if (!port || flow->remote_port != port)
		return false;
	return flow->local_port != port || (flow->family == AF_INET && address && flow->local[0] != address);
}

static __always_inline void fill(struct packetloss_event *event, const struct sk_buff *skb, const struct sock *sk, const struct sock *receiver, __u64 location,
				 __u32 reason)
{
	struct net_device *dev = ks_dev_of_skb(skb);
	bool sent = sk && !receiver, known = ks_flow_of_skb(&event->head.flow, skb, !sent);

	if (sent && ((dev && BPF_CORE_READ(dev, nd_net.net) != BPF_CORE_READ(sk, __sk_common.skc_net.net)) || (known && is_for(&event->head.flow, sk)))) {
		sent = false;
		known = ks_flow_of_skb(&event->head.flow, skb, true);
	}
	if (!known && sk)
		ks_flow_of_sock(&event->head.flow, sk);
	if (sk || receiver)
		event->head.cgroup = ks_cgroup_of_sock(receiver ? receiver : sk);
	event->location = location;
	event->reason = reason;
	event->length = BPF_CORE_READ(skb, len);
	event->ethertype = bpf_ntohs(BPF_CORE_READ(skb, protocol));
	event->sent = sent;
	if (dev) {
		event->ifindex = BPF_CORE_READ(dev, ifindex);
		BPF_CORE_READ_STR_INTO(&event->device, dev, name);
	}
}

static __always_inline int on_drop(void *ctx, const struct sk_buff *skb, __u64 location, __u32 reason, const struct sock *receiver)
{
	const struct sock *sk = BPF_CORE_READ(skb, sk);
	struct packetloss_key key = { .reason = reason, .location = location };
	struct packetloss_counts *counted;
	struct packetloss_event *event;

	if (has(packetloss.normal, reason) || !is_packet(skb, receiver ? receiver : sk) || is_stray(skb, reason))
		return 0;
	key.netns = receiver ? ks_netns_of_sock(receiver) : ks_netns_of_skb(skb);
	if (!ks_wanted(key.netns.inum))
		return 0;
	counted = counts_of(&key);
	if (counted) {
		ks_add(&counted->packets, 1);
		ks_add(&counted->bytes, BPF_CORE_READ(skb, len));
	}
	if (packetloss.stacks) {
		struct packetloss_event_with_stack *with = ks_reserve(sizeof(*with), key.netns.inum, bpf_ktime_get_ns());
		long bytes;

		if (!with)
			return 0;
		fill(&with->event, skb, sk, receiver, location, reason);
		bytes = bpf_get_stack(ctx, with->stack, sizeof(with->stack), 0);
		with->event.frames = bytes > 0 ? bytes / sizeof(__u64) : 0;
		bpf_ringbuf_submit(with, 0);
		return 0;
	}
	event = ks_reserve(sizeof(*event), key.netns.inum, bpf_ktime_get_ns());
	if (!event)
		return 0;
	fill(event, skb, sk, receiver, location, reason);
	bpf_ringbuf_submit(event, 0);
	return 0;
}

// Since 6.11: (struct sk_buff *, void *location, enum skb_drop_reason, struct sock *receiver or null).
SEC("tp_btf/kfree_skb")
int drop_with_receiver(__u64 *ctx)
{
	return on_drop(ctx, (const struct sk_buff *)ctx[0], ctx[1], ctx[2], ks_nullable(ctx, 3));
}

// Since 5.17: with a reason.
SEC("tp_btf/kfree_skb")
int drop_with_reason(__u64 *ctx)
{
	return on_drop(ctx, (const struct sk_buff *)ctx[0], ctx[1], ctx[2], NULL);
}

SEC("tp_btf/kfree_skb")
int drop(__u64 *ctx)
{
	return on_drop(ctx, (const struct sk_buff *)ctx[0], ctx[1], 0, NULL);
}
