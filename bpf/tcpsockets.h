// SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause
#ifndef KUBESKOOP_TCPSOCKETS_H
#define KUBESKOOP_TCPSOCKETS_H

#include <kubeskoop/settings.h>

// C#: Sources/RawTcpSockets.cs. The sums of one namespace; what they mean is what sock_diag says of each socket.
struct tcpsockets {
	__u64 net;	// its address, by which it is found while a pass lasts
	__u64 cookie;
	__u64 receive;
	__u64 send;
	__u64 waiting;
	__u64 limit;
	__u32 netns;
	__u32 states[16];	// by TCP_*, also TIME_WAIT and NEW_SYN_RECV
	__u32 closed_fin_wait2;	// of those in FIN_WAIT2, what the kernel keeps as it keeps TIME_WAIT
	__u32 largest_receive;
	__u32 largest_send;
	__u32 receive_above;
	__u32 send_above;
	__u32 fullest_waiting;
	__u32 fullest_limit;
	__u32 fullest_address[4];
	__u16 fullest_port;
	__u16 fullest_family;
};

// C#: Sources/RawTcpSockets.cs
struct tcpsockets_request {
	__u64 table;	// struct inet_hashinfo, by 'begin'
	__u32 threshold;
	__u32 listeners;	// which of its tables 'walk' is to look through
	__u32 bucket;	// where it is to begin; where it has ended
	__u32 found;	// namespaces with sockets
	__u32 private_;	// namespaces with a table of their own
	__u32 broken;	// chains that changed under the walk, or could not be read
	__u32 full;	// namespaces without room
	__u32 pad;
};

#endif
