// SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause
#ifndef KUBESKOOP_TCPRESET_H
#define KUBESKOOP_TCPRESET_H

#include <kubeskoop/event.h>

enum tcpreset_kind {
	TCPRESET_NO_SOCKET,	// sent: a segment came for which there is no socket
	TCPRESET_ON_SOCKET,	// sent: a segment came that the socket cannot take
	TCPRESET_ACTIVE,	// sent: this side gave the connection up
	TCPRESET_RECEIVED,
	TCPRESET_KINDS,
};

// C#: Probes/TcpReset/TcpResetEvent.cs
struct tcpreset_event {
	struct ks_event head;
	__u32 reason;		// enum sk_rst_reason, numbered as on this kernel
	__u8 kind;
	__u8 state;		// TCP_*; 0 without a socket
	__u8 has_reason;
	__u8 pad;
};
KS_RECORD(tcpreset_event);

struct tcpreset_counts {
	__u64 by_kind[TCPRESET_KINDS];
};

#endif
