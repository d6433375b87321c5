// SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause
#ifndef KUBESKOOP_VIRTCMDLATENCY_H
#define KUBESKOOP_VIRTCMDLATENCY_H

#include <kubeskoop/event.h>
#include <kubeskoop/histogram.h>

struct virtcmdlatency_counts {
	struct ks_histogram times;
	__u64 failed;
	__u64 over_10ms;	// includes those over 100 ms
	__u64 over_100ms;
};

// C#: Probes/VirtCmdLatency/VirtCmdLatencyEvent.cs
struct virtcmdlatency_event {
	struct ks_event head;	// the process: the one that had to wait; none where a thread of the kernel did
	__u64 latency_ns;
	__u32 device_index;
	__u8 device_class;	// VIRTIO_NET_CTRL_*
	__u8 command;
	__u8 failed;
	__u8 pad;
	char device[16];	// empty where it cannot be told
};
KS_RECORD(virtcmdlatency_event);

#endif
