// SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause
#ifndef KUBESKOOP_SOCKETLATENCY_H
#define KUBESKOOP_SOCKETLATENCY_H

#include <kubeskoop/event.h>
#include <kubeskoop/histogram.h>

// Thresholds of events, by their place in ks_settings.
enum socketlatency_kind {
	SOCKETLATENCY_READ,
	SOCKETLATENCY_WRITE,
};

// C#: Probes/SocketLatency/SocketLatencyProbe.cs
struct socketlatency_settings {
	__u32 sampling;	// one in this many short reads is timed; a power of two
};

// What written bytes waited for, when the call that wrote them returned.
enum socketlatency_cause {
	SOCKETLATENCY_LOCAL,		// Nagle's algorithm, a cork, pacing, a queue of this machine
	SOCKETLATENCY_PEER_WINDOW,	// room in the receiver's buffer
	SOCKETLATENCY_CONGESTION_WINDOW,
	SOCKETLATENCY_CAUSES,
};

// C#: Probes/SocketLatency/SocketLatencyEvent.cs
struct socketlatency_event {
	struct ks_event head;
	__u64 latency_ns;
	__u32 bytes;	// read: given by this call; write: of the segment that ended the wait
	__u32 waiting;	// read: bytes, or datagrams, that are still unread; write: bytes that are still unsent
	__u8 kind;
	__u8 state;	// TCP_*; 0: UDP
	__u8 cause;
	__u8 pad[5];
};
KS_RECORD(socketlatency_event);

struct socketlatency_counts {
	struct ks_histogram tcp_read;
	struct ks_histogram udp_read;
	struct ks_histogram tcp_write;
	__u64 read_1ms;		// of both protocols; includes those over 100 ms
	__u64 read_100ms;
	__u64 write_1ms;
	__u64 write_100ms;
	__u64 write_1ms_for[SOCKETLATENCY_CAUSES];
};

#endif
