// SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause
//
// alive: which network namespaces there are at this moment, by number and cookie. Nothing is attached.
#include <kubeskoop/settings.h>
#include <kubeskoop/namespaces.h>

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, 1U << 10);	// BPF_F_MMAPABLE
	__uint(max_entries, 16384);
	__type(key, __u32);
	__type(value, struct ks_netns);
} results SEC(".maps");

// In memory, not on the stack: see mibs.bpf.c.
static volatile struct ks_namespaces walk;
static volatile __u32 found;

static long take(__u64 index, void *unused)
{
	const struct net *net = ks_namespaces_here(&walk);

	if (net) {
		__u32 place = found;
		struct ks_netns *result = bpf_map_lookup_elem(&results, &place);

		if (!result)
			return 1;
		*result = ks_netns_of(net);
		found = place + 1;
	}
	return !ks_namespaces_next(&walk);
}

SEC("raw_tp")
int list(void *ctx)
{
	found = 0;
	if (ks_namespaces_begin(&walk))
		bpf_loop(KS_MOST_NAMESPACES, take, NULL, 0);
	return found;
}
