// SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause
//
// Runs what bpf/include offers on input that the tests make (BPF_PROG_TEST_RUN).
#include <kubeskoop/event.h>
#include <kubeskoop/histogram.h>
#include <kubeskoop/places.h>

struct parsed {
	struct ks_flow received;
	struct ks_flow sent;
	__u32 netns;
	__u32 is_ip;
};

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct parsed);
} result SEC(".maps");

struct counted {
	__u64 hits;
};

KS_COUNTERS_PER_CPU(times, __u32, struct ks_histogram)
KS_COUNTERS(counters, __u32, struct counted)

struct kept {
	struct ks_place at;
	__u64 value;
};
KS_PLACES(two_sets, 1, struct kept)

extern void *bpf_cast_to_kern_ctx(void *ctx) __ksym;

SEC("tc")
int parse(struct __sk_buff *ctx)
{
	const struct sk_buff *skb = bpf_cast_to_kern_ctx(ctx);
	__u32 zero = 0;
	struct parsed *parsed = bpf_map_lookup_elem(&result, &zero);

	if (!parsed)
		return -1;
	parsed->is_ip = ks_flow_of_skb(&parsed->received, skb, true);
	if (ks_flow_of_skb(&parsed->sent, skb, false) != parsed->is_ip)
		return -1;
	parsed->netns = ks_netns_of_skb(skb).inum;
	return 0;
}

SEC("raw_tp")
int observe(__u64 *ctx)
{
	__u32 key = ctx[0];
	struct ks_histogram *times = times_of(&key);

	if (times)
		ks_observe(times, ctx[1]);
	return 0;
}

SEC("raw_tp")
int count(__u64 *ctx)
{
	__u32 key = ctx[0];
	struct counted *counted = counters_of(&key);

	if (counted)
		ks_add(&counted->hits, ctx[1]);
	return 0;
}

SEC("raw_tp")
int wanted(__u64 *ctx)
{
	return ks_wanted(ctx[0]);
}

SEC("raw_tp")
int send(__u64 *ctx)
{
	struct ks_event *event = ks_reserve(sizeof(*event), ctx[1], ctx[0]);

	if (!event)
		return 0;
	bpf_ringbuf_submit(event, 0);
	return 1;
}

SEC("raw_tp")
int take(__u64 *ctx)
{
	struct kept *kept = two_sets_take((const void *)ctx[0], ctx[1]);

	if (!kept)
		return -1;
	kept->value = ctx[2];
	return 0;
}

SEC("raw_tp")
int find(__u64 *ctx)
{
	const struct kept *kept = two_sets_find((const void *)ctx[0]);

	return kept ? kept->value : 0;
}

SEC("raw_tp")
int leave(__u64 *ctx)
{
	struct kept *kept = two_sets_find((const void *)ctx[0]);

	if (kept)
		ks_leave(&kept->at);
	return 0;
}
