// SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause
#ifndef KUBESKOOP_MIBS_H
#define KUBESKOOP_MIBS_H

#include <kubeskoop/settings.h>

#define MIBS_CPUS 1024

// Room for the counters of each MIB. Kernels add some in most releases; what lies beyond is not read, and its reader knows.
#define MIBS_IP 64
#define MIBS_TCP 32
#define MIBS_LINUX 256
#define MIBS_UDP 16
#define MIBS_ICMP 32
#define MIBS_ICMPV6 16

// ICMP messages by type; of ICMPv6 the errors and the informational ones, which begin with 128.
#define MIBS_ICMP_TYPES 20
#define MIBS_ICMPV6_ERRORS 8
#define MIBS_ICMPV6_FIRST 128
#define MIBS_ICMPV6_TYPES 16

// What a namespace has, in mibs.present.
enum mibs_kind {
	MIBS_HAS_IP = 1 << 0,
	MIBS_HAS_TCP = 1 << 1,
	MIBS_HAS_LINUX = 1 << 2,
	MIBS_HAS_UDP = 1 << 3,
	MIBS_HAS_ICMP = 1 << 4,
	MIBS_HAS_ICMP_TYPES = 1 << 5,
	MIBS_HAS_IPV6 = 1 << 6,
	MIBS_HAS_UDPV6 = 1 << 7,
	MIBS_HAS_ICMPV6 = 1 << 8,
	MIBS_HAS_ICMPV6_TYPES = 1 << 9,
};

// C#: Sources/RawMibs.cs
struct mibs {
	__u64 cookie;
	__u32 netns;
	__u32 present;
	__u64 forwarding;	// as /proc/net/snmp has it: 1 or 2
	__u64 default_ttl;
	__u64 ip[MIBS_IP];
	__u64 tcp[MIBS_TCP];
	__u64 linux_[MIBS_LINUX];
	__u64 udp[MIBS_UDP];
	__u64 icmp[MIBS_ICMP];
	__u64 icmp_in[MIBS_ICMP_TYPES];
	__u64 icmp_out[MIBS_ICMP_TYPES];
	__u64 ipv6[MIBS_IP];
	__u64 udpv6[MIBS_UDP];
	__u64 icmpv6[MIBS_ICMPV6];
	__u64 icmpv6_in_errors[MIBS_ICMPV6_ERRORS];
	__u64 icmpv6_out_errors[MIBS_ICMPV6_ERRORS];
	__u64 icmpv6_in[MIBS_ICMPV6_TYPES];
	__u64 icmpv6_out[MIBS_ICMPV6_TYPES];
};

// C#: Sources/RawMibs.cs
struct mibs_request {
	__u32 from;	// the place of the first namespace wanted
	__u32 most;	// namespaces wanted
	__u32 cpus;
	__u32 pad;
	__u64 offsets[MIBS_CPUS];	// of each possible CPU's counters; its number, until cpu_offsets has run
};

#endif
