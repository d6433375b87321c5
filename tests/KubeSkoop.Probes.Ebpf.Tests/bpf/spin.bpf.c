// SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause
//
// Takes the CPU for a known time where the kernel does not let go of it.
#include <kubeskoop/settings.h>

struct {
	__u64 hold_ns;	// with softirqs switched off, when run by a test
	__u64 slow_ns;	// for each packet that is received
} volatile spin SEC(".data.spin") = { .slow_ns = 1000000 };

static long tick(__u32 index, __u64 *end)
{
	return bpf_ktime_get_ns() >= *end;
}

static __always_inline void busy(__u64 ns)
{
	__u64 end = bpf_ktime_get_ns() + ns;

	bpf_loop(1 << 23, tick, &end, 0);
}

SEC("tc")
int hold(void *packet)
{
	busy(spin.hold_ns);
	return 0;
}

SEC("xdp")
int slow(void *packet)
{
	busy(spin.slow_ns);
	return 2; // XDP_PASS
}
