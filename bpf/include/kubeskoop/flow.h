// SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause
//
// Who talks to whom, and in which network namespace. Always in socket view: local is this namespace's side and remote the other,
// whichever way a packet went.
#ifndef KUBESKOOP_FLOW_H
#define KUBESKOOP_FLOW_H

#include <kubeskoop/kernel.h>

struct ks_flow {
	__be32 local[4];	// IPv4: the first word, the others are 0
	__be32 remote[4];
	__u16 local_port;	// host byte order; 0 where the protocol, or this fragment, has none
	__u16 remote_port;
	__u8 family;		// AF_INET, AF_INET6; 0: no IP, the rest is 0 too
	__u8 protocol;		// IPPROTO_*
	__u8 pad[2];
};

#define KS_MOST_EXTENSIONS 8	// IPv6 extension headers that are stepped over

static __always_inline __u8 ks_state(const struct sock *sk)
{
	return BPF_CORE_READ(sk, __sk_common.skc_state);
}

// Whether all of struct sock is there. What is left of a connection in TIME_WAIT, and what there is before it is accepted, begins
// with struct sock_common and goes on with something else.
static __always_inline bool ks_is_full(const struct sock *sk)
{
	__u8 state = ks_state(sk);

	return state != TCP_TIME_WAIT && state != TCP_NEW_SYN_RECV;
}

static __always_inline struct ks_netns ks_netns_of_sock(const struct sock *sk)
{
	return ks_netns_of(BPF_CORE_READ(sk, __sk_common.skc_net.net));
}

// The device a packet is on, or null. While a packet waits in a socket's queue, skb->dev's memory holds other things: a device is
// believed when its namespace's loopback device names that same namespace.
static __always_inline struct net_device *ks_dev_of_skb(const struct sk_buff *skb)
{
	struct net_device *dev = BPF_CORE_READ(skb, dev);
	struct net *net;

	if (!dev)
		return NULL;
	net = BPF_CORE_READ(dev, nd_net.net);
	return net && BPF_CORE_READ(net, loopback_dev, nd_net.net) == net ? dev : NULL;
}

// The namespace of a packet: its device's, else its socket's, else 0. A packet that crosses a veth pair keeps its sender's socket
// until the receiving side takes it, so the device goes first.
static __always_inline struct ks_netns ks_netns_of_skb(const struct sk_buff *skb)
{
	struct net_device *dev = ks_dev_of_skb(skb);
	struct sock *sk;

	if (dev)
		return ks_netns_of(BPF_CORE_READ(dev, nd_net.net));
	sk = BPF_CORE_READ(skb, sk);
	return sk ? ks_netns_of_sock(sk) : (struct ks_netns){};
}

// The inode of the cgroup (version 2) that the socket was made in; 0 when it has none, or is no full socket.
static __always_inline __u64 ks_cgroup_of_sock(const struct sock *sk)
{
	struct cgroup *cgroup;

	if (!ks_is_full(sk))
		return 0;
	if (bpf_core_field_exists(sk->sk_cgrp_data.cgroup)) {
		cgroup = BPF_CORE_READ(sk, sk_cgrp_data.cgroup);
	} else {
		const struct sock_cgroup_data___before_5_15 *data = (const void *)__builtin_preserve_access_index(&sk->sk_cgrp_data);
		__u64 value = BPF_CORE_READ(data, val);

		if (value & 1) // class and priority of version 1 instead
			return 0;
		cgroup = (struct cgroup *)(value & ~3ULL);
	}
	return cgroup ? BPF_CORE_READ(cgroup, kn, id) : 0;
}

static __always_inline void ks_set_ipv4(__be32 *address, __be32 value)
{
	address[0] = value;
	address[1] = 0;
	address[2] = 0;
	address[3] = 0;
}

static __always_inline bool ks_is_mapped(const __be32 *address)
{
	return !address[0] && !address[1] && address[2] == bpf_htonl(0xffff);
}

static __always_inline bool ks_is_unspecified(const __be32 *address)
{
	return !address[0] && !address[1] && !address[2] && !address[3];
}

// A socket's flow; also of those that are not full. False when it is no IP socket.
static __always_inline bool ks_flow_of_sock(struct ks_flow *flow, const struct sock *sk)
{
	__u16 family = BPF_CORE_READ(sk, __sk_common.skc_family);
	bool full = ks_is_full(sk);

	__builtin_memset(flow, 0, sizeof(*flow));
	if (family == AF_INET) {
		flow->local[0] = BPF_CORE_READ(sk, __sk_common.skc_rcv_saddr);
		flow->remote[0] = BPF_CORE_READ(sk, __sk_common.skc_daddr);
	} else if (family == AF_INET6) {
		BPF_CORE_READ_INTO(&flow->local, sk, __sk_common.skc_v6_rcv_saddr.in6_u.u6_addr32);
		BPF_CORE_READ_INTO(&flow->remote, sk, __sk_common.skc_v6_daddr.in6_u.u6_addr32);
		// IPv4 through a dual-stack socket.
		if (ks_is_mapped(flow->remote) || (ks_is_unspecified(flow->remote) && ks_is_mapped(flow->local))) {
			family = AF_INET;
			ks_set_ipv4(flow->local, flow->local[3]);
			ks_set_ipv4(flow->remote, flow->remote[3]);
		}
	} else {
		return false;
	}
	flow->family = family;
	flow->protocol = full ? (__u8)BPF_CORE_READ(sk, sk_protocol) : IPPROTO_TCP;
	flow->local_port = BPF_CORE_READ(sk, __sk_common.skc_num);
	// A socket gives its port back before the last segments of its connection are sent.
	if (!flow->local_port && full)
		flow->local_port = bpf_ntohs(BPF_CORE_READ((const struct inet_sock *)sk, inet_sport));
	flow->remote_port = bpf_ntohs(BPF_CORE_READ(sk, __sk_common.skc_dport));
	return true;
}

// Reads bytes of a packet's linear part, and nothing past it.
static __always_inline bool ks_load(void *to, __u32 size, const unsigned char *head, __u32 offset, __u32 end)
{
	return offset + size <= end && !bpf_probe_read_kernel(to, size, head + offset);
}

// Steps over IPv6 extension headers to the transport header. False when there is none to be read: the packet ends, it is a later
// fragment, or has too many of them; next is then the last one seen.
static __always_inline bool ks_skip_extensions(const unsigned char *head, __u32 *offset, __u32 end, __u8 *next)
{
	for (int i = 0; i < KS_MOST_EXTENSIONS; i++) {
		__u8 extension[4] = {};	// next header, length, and of a fragment its offset

		switch (*next) {
		case 0:		// hop by hop
		case 43:	// routing
		case 44:	// fragment
		case 51:	// authentication
		case 60:	// destination
		case 135:	// mobility
		case 139:	// host identity
		case 140:	// shim6
			break;
		default:
			return true;
		}
		if (!ks_load(extension, sizeof(extension), head, *offset, end))
			return false;
		if (*next == 44) {
			bool later = extension[2] || extension[3] & 0xf8;

			*offset += 8;
			*next = extension[0];
			if (later)
				return false;
		} else {
			*offset += *next == 51 ? ((__u32)extension[1] + 2) * 4 : ((__u32)extension[1] + 1) * 8;
			*next = extension[0];
		}
	}
	return false;
}

// A packet's flow, read from its IP header: what the kernel notes about its transport header is not set yet when a packet is
// dropped early. received: the packet came in, so its destination is the local side. False when it has no IP header.
static __always_inline bool ks_flow_of_skb(struct ks_flow *flow, const struct sk_buff *skb, bool received)
{
	const unsigned char *head = BPF_CORE_READ(skb, head);
	__u32 offset = BPF_CORE_READ(skb, network_header);
	__u32 end = BPF_CORE_READ(skb, tail);
	__be32 *source = received ? flow->remote : flow->local;
	__be32 *destination = received ? flow->local : flow->remote;
	__be16 ports[2] = {};
	__u8 version = 0, next;
	bool whole;

	__builtin_memset(flow, 0, sizeof(*flow));
	// New buffers hold 0 here, some paths set 0xffff.
	if (offset == 0 || offset == 0xffff || !ks_load(&version, 1, head, offset, end))
		return false;
	if (version >> 4 == 4) {
		struct ipv4_header ip;

		if (!ks_load(&ip, sizeof(ip), head, offset, end) || (version & 0xf) < 5)
			return false;
		flow->family = AF_INET;
		source[0] = ip.source;
		destination[0] = ip.destination;
		next = ip.protocol;
		offset += (version & 0xf) * 4;
		whole = !(ip.fragment & bpf_htons(0x1fff));
	} else if (version >> 4 == 6) {
		struct ipv6_header ip;

		if (!ks_load(&ip, sizeof(ip), head, offset, end))
			return false;
		flow->family = AF_INET6;
		__builtin_memcpy(source, ip.source, sizeof(ip.source));
		__builtin_memcpy(destination, ip.destination, sizeof(ip.destination));
		next = ip.next;
		offset += sizeof(ip);
		whole = ks_skip_extensions(head, &offset, end, &next);
	} else {
		return false;
	}
	flow->protocol = next;
	if (whole && (next == IPPROTO_TCP || next == IPPROTO_UDP || next == IPPROTO_SCTP || next == IPPROTO_UDPLITE) &&
	    ks_load(ports, sizeof(ports), head, offset, end)) {
		flow->local_port = bpf_ntohs(received ? ports[1] : ports[0]);
		flow->remote_port = bpf_ntohs(received ? ports[0] : ports[1]);
	}
	return true;
}

#endif
