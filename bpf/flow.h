// SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause
#ifndef KUBESKOOP_FLOW_PROBE_H
#define KUBESKOOP_FLOW_PROBE_H

#include <kubeskoop/flow.h>
#include <kubeskoop/settings.h>

// C#: Probes/Flow/FlowTable.cs
enum flow_direction {
	FLOW_RECEIVE,
	FLOW_TRANSMIT,
	FLOW_DIRECTIONS,
};

// Who talks to whom, as one network namespace sees it.
struct flow_key {
	struct ks_netns netns;
	struct ks_flow flow;	// ports are 0 unless asked for
	__u32 direction;
	__u32 pad;
};

// Lies in memory that the reader maps. Its place is given out by the map 'places' and taken back by the reader alone.
struct flow_row {
	struct flow_key key;
	__u64 packets;
	__u64 bytes;
	__u32 used;	// the key is there, and may be found by it
	__u32 pad;
};

struct flow_other_key {
	struct ks_netns netns;
	__u32 direction;
	__u32 pad;
};

struct flow_counts {
	__u64 packets;
	__u64 bytes;
};

struct flow_settings {
	__u32 ports;	// whether flows differ by ports
	__u32 pad;
};

#endif
