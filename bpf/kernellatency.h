// SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause
#ifndef KUBESKOOP_KERNELLATENCY_H
#define KUBESKOOP_KERNELLATENCY_H

#include <kubeskoop/event.h>
#include <kubeskoop/histogram.h>

enum kernellatency_path {
	KERNELLATENCY_RECEIVE,	// device to socket
	KERNELLATENCY_TRANSMIT,	// socket to device
	KERNELLATENCY_FORWARD,	// device to device
	KERNELLATENCY_PATHS,
};

// Where a packet is. What is not within a chain of netfilter is of the stage around it.
enum kernellatency_stage {
	KERNELLATENCY_DEVICE,		// from the device to IP
	KERNELLATENCY_PREROUTING,	// netfilter
	KERNELLATENCY_ROUTING,		// header checks and the look-up of the route
	KERNELLATENCY_LOCAL_IN,		// netfilter
	KERNELLATENCY_SOCKET,		// reassembly, and the look-up of the socket
	KERNELLATENCY_FORWARDING,	// netfilter, and what is around it
	KERNELLATENCY_LOCAL_OUT,	// netfilter
	KERNELLATENCY_POSTROUTING,	// netfilter
	KERNELLATENCY_OUTPUT,		// fragmentation, neighbour, and on to the device
	KERNELLATENCY_STAGES,
};

// C#: Probes/KernelLatency/KernelLatencyEvent.cs
struct kernellatency_event {
	struct ks_event head;	// of a forwarded packet, local is its source
	__u64 latency_ns;
	__u64 stages_ns[KERNELLATENCY_STAGES];
	__u32 entered;		// stages it was in, a bit each
	__u32 path;
	__u32 bytes;		// from the IP header on
	__u32 device_index;
	char device[16];
};
KS_RECORD(kernellatency_event);

// C#: Probes/KernelLatency/KernelLatencyEvent.cs
struct kernellatency_settings {
	__u32 sampling_mask;	// of the fast packets those are counted whose random number has none of these bits
	__u32 follows;		// whether every packet's end is seen, so that what is still in its place is on its way
};

// Stages in the order of each path.
struct kernellatency_counts {
	struct ks_histogram total[KERNELLATENCY_PATHS];
	struct ks_histogram receive[5];		// device, prerouting, routing, local-in, socket
	struct ks_histogram transmit[4];	// local-out, routing, postrouting, output
	struct ks_histogram forward[6];		// device, prerouting, routing, forwarding, postrouting, output
	__u64 over_10ms[KERNELLATENCY_PATHS];	// includes those over 100 ms
	__u64 over_100ms[KERNELLATENCY_PATHS];
};

#endif
