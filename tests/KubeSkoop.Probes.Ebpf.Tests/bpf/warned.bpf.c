// SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause
//
// An object that libbpf loads and has something to say about: a map whose kind the kernel takes without its types only.
#include <kubeskoop/kernel.h>

char LICENSE[] SEC("license") = "Dual BSD/GPL";

struct locked {
	struct bpf_spin_lock lock;
	__u32 pad;
};

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_HASH);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct locked);
} odd SEC(".maps");

SEC("socket")
int warned(void *ctx)
{
	return 0;
}
