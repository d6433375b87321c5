// SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause
#ifndef KUBESKOOP_NETIFTXLATENCY_H
#define KUBESKOOP_NETIFTXLATENCY_H

#include <kubeskoop/event.h>
#include <kubeskoop/histogram.h>

// Thresholds of events, by their place in ks_settings.
enum netiftxlatency_kind {
	NETIFTXLATENCY_QUEUE,		// in the qdisc
	NETIFTXLATENCY_DRIVER,		// in the driver's call
	NETIFTXLATENCY_COMPLETION,	// from that call to the end of the packet
	NETIFTXLATENCY_KINDS,
};

// C#: Probes/NetifTxLatency/NetifTxLatencyEvent.cs
struct netiftxlatency_event {
	struct ks_event head;	// no flow for the driver: the packet may be gone when its call returns
	__u64 latency_ns;
	__u32 bytes;
	__u32 backlog;		// packets behind it in the qdisc
	__u32 device_index;
	__u32 kind;
	char device[16];
	char qdisc[16];
};
KS_RECORD(netiftxlatency_event);

// C#: Probes/NetifTxLatency/NetifTxLatencyEvent.cs
struct netiftxlatency_settings {
	__u32 driver_mask;	// of each CPU's calls into drivers those are timed whose number has none of these bits
	__u32 pad;
};

struct netiftxlatency_counts {
	struct ks_histogram times[NETIFTXLATENCY_KINDS];
	__u64 over_1ms[NETIFTXLATENCY_KINDS];	// includes those over 100 ms
	__u64 over_100ms[NETIFTXLATENCY_KINDS];
};

#endif
