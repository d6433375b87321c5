// SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause
#ifndef KUBESKOOP_TCPRETRANS_H
#define KUBESKOOP_TCPRETRANS_H

#include <kubeskoop/event.h>

enum tcpretrans_kind {
	TCPRETRANS_SYN,
	TCPRETRANS_SYNACK,
	TCPRETRANS_FAST,	// lost by the word of the receiver (SACK, duplicate acknowledgements)
	TCPRETRANS_TIMEOUT,	// no acknowledgement came in time
	TCPRETRANS_TAIL,	// tail loss probe: the last segment once more, to make the receiver speak
	TCPRETRANS_PATH_MTU,	// it was too large for the path
	TCPRETRANS_KINDS,
};

// C#: Probes/TcpRetrans/TcpRetransEvent.cs
struct tcpretrans_event {
	struct ks_event head;
	__u32 sequence;	// of the first byte
	__u32 bytes;
	__u32 segments;
	__s32 error;	// 0: sent
	__u8 kind;
	__u8 state;	// TCP_*
	__u8 congestion;	// TCP_CA_*
	__u8 pad[5];
};
KS_RECORD(tcpretrans_event);

struct tcpretrans_counts {
	__u64 segments[TCPRETRANS_KINDS];
	__u64 failed;	// segments that could not be handed down, of whatever kind; they are in none of those
};

#endif
