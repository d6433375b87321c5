// SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause
//
// A program that kernels load and cannot attach, and one that they attach.
#include <kubeskoop/settings.h>

SEC("kprobe/kubeskoop_no_such_function")
int refused(void *ctx)
{
	return 0;
}

SEC("tp_btf/sched_switch")
int taken(void *ctx)
{
	return 0;
}
