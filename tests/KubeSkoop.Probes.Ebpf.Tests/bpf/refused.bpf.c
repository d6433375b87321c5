// SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause
//
// What a kernel that is locked down for confidentiality does to every program that reads its memory, for another reason: a function that
// is not there for programs of this kind.
#include <kubeskoop/kernel.h>

char LICENSE[] SEC("license") = "Dual BSD/GPL";

SEC("socket")
int refused(void *ctx)
{
	__u64 stack[4];

	return bpf_get_stack(ctx, stack, sizeof(stack), 0);
}
