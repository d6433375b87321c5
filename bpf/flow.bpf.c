// SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause
//
// flow: packets and bytes by who talks to whom, at the moment a socket takes a packet or has sent one. Attached to the root of the
// control groups, which sees the sockets of all network namespaces.
#include "flow.h"

#define ALLOW 1

// include/uapi/linux/bpf.h: what a program for packets is given. A part of the interface, so its layout is the same everywhere.
struct __sk_buff {
	__u32 len;
	__u32 others[40];
	__u32 gso_segs;
	__u64 sk;
	__u32 gso_size;
};

volatile struct flow_settings flow SEC(".data.flow") = {};

// Where a flow's row is. Entries are freed only when no program can still see them, so that a packet never counts for the flow that
// comes after its own.
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, 16384);
	__type(key, struct flow_key);
	__type(value, __u32);
} flows SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_MMAPABLE);
	__uint(max_entries, 16384);
	__type(key, __u32);
	__type(value, struct flow_row);
} rows SEC(".maps");

// Places of rows that are free. Its owner fills it.
struct {
	__uint(type, BPF_MAP_TYPE_QUEUE);
	__uint(max_entries, 16384);
	__type(value, __u32);
} places SEC(".maps");

// What found no row of its own.
KS_COUNTERS(others, struct flow_other_key, struct flow_counts)

static __always_inline struct flow_row *find(const struct flow_key *key)
{
	__u32 *place = bpf_map_lookup_elem(&flows, key);

	return place ? bpf_map_lookup_elem(&rows, place) : NULL;
}

static __always_inline struct flow_row *make(const struct flow_key *key)
{
	struct flow_row *row;
	__u32 place;

	if (bpf_map_pop_elem(&places, &place))
		return NULL;
	row = bpf_map_lookup_elem(&rows, &place);
	if (!row)
		return NULL;
	row->key = *key;
	if (bpf_map_update_elem(&flows, key, &place, BPF_NOEXIST)) {
		// Another CPU was first, or there is no memory.
		bpf_map_push_elem(&places, &place, BPF_ANY);
		return find(key);
	}
	row->used = 1;
	return row;
}

// The kernel's own structure: a program for packets is given its address, dressed up.
static __always_inline const struct sk_buff *skb_of(struct __sk_buff *ctx)
{
	const struct sk_buff *skb = NULL;

	bpf_probe_read_kernel(&skb, sizeof(skb), &ctx);
	return skb;
}

// Headers that each segment of a large packet gets.
static __always_inline __u32 headers_of(const struct sk_buff *skb, __u8 protocol)
{
	__u32 transport = BPF_CORE_READ(skb, transport_header), headers = transport - BPF_CORE_READ(skb, network_header);
	__u8 offset = 0;

	if (protocol != IPPROTO_TCP)
		return headers + 8;
	bpf_probe_read_kernel(&offset, sizeof(offset), BPF_CORE_READ(skb, head) + transport + __builtin_offsetof(struct tcp_header, offset));
	return headers + (offset >> 4) * 4;
}

static __always_inline int count(struct __sk_buff *ctx, enum flow_direction direction)
{
	const struct sk_buff *skb = skb_of(ctx);
	const struct sock *sk = BPF_CORE_READ(skb, sk);
	struct flow_key key = { .direction = direction };
	__u64 packets = 1, bytes = ctx->len;
	struct flow_row *row;
	__u32 size = ctx->gso_size;
	bool known;

	if (!sk)
		return ALLOW;
	key.netns = ks_netns_of_sock(sk);
	known = ks_flow_of_skb(&key.flow, skb, direction == FLOW_RECEIVE);
	if (known && size) {
		__u32 headers = headers_of(skb, key.flow.protocol);

		packets = ctx->gso_segs;
		// Who hands a large packet to the kernel need not say how many it will be.
		if (!packets)
			packets = bytes > headers ? (bytes - headers + size - 1) / size : 1;
		bytes += (packets - 1) * headers;
	}
	if (!flow.ports) {
		key.flow.local_port = 0;
		key.flow.remote_port = 0;
	}
	row = known ? find(&key) : NULL;
	if (known && !row)
		row = make(&key);
	if (row) {
		ks_add(&row->packets, packets);
		ks_add(&row->bytes, bytes);
	} else {
		struct flow_other_key other_key = { .netns = key.netns, .direction = direction };
		struct flow_counts *other = others_of(&other_key);

		if (other) {
			ks_add(&other->packets, packets);
			ks_add(&other->bytes, bytes);
		}
	}
	return ALLOW;
}

SEC("cgroup_skb/ingress")
int received(struct __sk_buff *ctx)
{
	return count(ctx, FLOW_RECEIVE);
}

SEC("cgroup_skb/egress")
int sent(struct __sk_buff *ctx)
{
	return count(ctx, FLOW_TRANSMIT);
}
