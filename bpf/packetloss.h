// SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause
#ifndef KUBESKOOP_PACKETLOSS_H
#define KUBESKOOP_PACKETLOSS_H

#include <kubeskoop/event.h>

#define PACKETLOSS_REASONS 256	// those of the core; subsystems number theirs above
#define PACKETLOSS_FRAMES 32

// C#: Probes/PacketLoss/PacketLossProbe.cs
struct packetloss_settings {
	__u64 normal[PACKETLOSS_REASONS / 64];	// a bit per reason: freed so, a packet is not lost
	__u64 stray[PACKETLOSS_REASONS / 64];	// nor is one so that was for a group
	__u32 stacks;
	__u32 pad;
};

struct packetloss_key {
	struct ks_netns netns;
	__u32 reason;	// enum skb_drop_reason, numbered as on this kernel; 0: this kernel has none
	__u32 pad;
	__u64 location;	// the address of the caller
};
KS_RECORD(packetloss_key);

struct packetloss_counts {
	__u64 packets;
	__u64 bytes;
};

// C#: Probes/PacketLoss/PacketLossEvent.cs
struct packetloss_event {
	struct ks_event head;
	__u64 location;
	__u32 reason;
	__u32 length;
	__u16 ethertype;
	__u8 sent;	// a socket here has sent it
	__u8 frames;	// of the stack, which follows
	__u32 ifindex;
	char device[16];
};
KS_RECORD(packetloss_event);

struct packetloss_event_with_stack {
	struct packetloss_event event;
	__u64 stack[PACKETLOSS_FRAMES];
};

#endif
