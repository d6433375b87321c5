// SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause
#ifndef KUBESKOOP_NET_SOFTIRQ_H
#define KUBESKOOP_NET_SOFTIRQ_H

#include <kubeskoop/event.h>
#include <kubeskoop/histogram.h>

// Thresholds of events, by their place in ks_settings.
enum net_softirq_kind {
	NET_SOFTIRQ_DELAY,	// from raise to entry
	NET_SOFTIRQ_RUN,	// from entry to exit
	NET_SOFTIRQ_KINDS,
};

// C#: Probes/NetSoftirq/NetSoftirqProbe.cs
struct net_softirq_settings {
	__u32 vectors;		// a bit for each that is looked at
	__u32 sampling;		// of those within two ticks of the kernel's clock, one in this many is timed; a power of two
};

// C#: Probes/NetSoftirq/NetSoftirqEvent.cs
struct net_softirq_event {
	struct ks_event head;	// the process that kept the CPU, or in whose place the softirq ran; none when idle or ksoftirqd
	__u64 latency_ns;
	__u32 cpu;
	__u8 kind;
	__u8 vector;
	__u8 ksoftirqd;		// whether it ran there
	__u8 pad;
};
KS_RECORD(net_softirq_event);

// C#: Probes/NetSoftirq/NetSoftirqProbe.cs, which reads it as words
struct net_softirq_counts {
	struct ks_histogram times[NET_SOFTIRQ_KINDS];
	__u64 over_10ms[NET_SOFTIRQ_KINDS];	// includes those over 100 ms
	__u64 over_100ms[NET_SOFTIRQ_KINDS];
	__u64 runs;
};

#endif
