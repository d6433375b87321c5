// SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause
//
// Takes its time where a request to a disk starts, as an interrupt may.
#include <kubeskoop/kernel.h>

#define PAUSE_NS 3000000ULL

static long tick(__u32 index, __u64 *end)
{
	return bpf_ktime_get_ns() >= *end;
}

SEC("tp_btf/block_io_start")
int BPF_PROG(start, const struct request *rq)
{
	__u64 end = bpf_ktime_get_ns() + PAUSE_NS;
	char comm[16];

	if (!bpf_get_current_comm(comm, sizeof(comm)) && comm[0] == 'd' && comm[1] == 'd' && !comm[2])
		bpf_loop(1 << 23, tick, &end, 0);
	return 0;
}
