// SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause
//
// Counts the softirqs that run while a thread of process 1 is current.
#include <kubeskoop/kernel.h>

char LICENSE[] SEC("license") = "Dual BSD/GPL";

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, __u64);
} first SEC(".maps");

SEC("tp_btf/softirq_entry")
int entry(void *ctx)
{
	__u32 zero = 0;
	__u64 *count = bpf_map_lookup_elem(&first, &zero);

	if (count && bpf_get_current_pid_tgid() >> 32 == 1)
		__sync_fetch_and_add(count, 1);
	return 0;
}
