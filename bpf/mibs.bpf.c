// SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause
//
// mibs: the SNMP counters of every network namespace, as /proc/net/snmp, netstat and snmp6 show them, in one pass. Nothing is
// attached; the owner runs the program when it wants numbers, and reads them from the map's memory.
#include "mibs.h"
#include <kubeskoop/namespaces.h>

#define ICMP_OUT 256	// in the arrays by type: of messages sent (net/ipv4/icmp.c, net/ipv6/icmp.c)

// Of each only the array is looked at, and its size.
struct ipstats_mib { __u64 mibs[1]; } __core;
struct tcp_mib { unsigned long mibs[1]; } __core;
struct linux_mib { unsigned long mibs[1]; } __core;
struct udp_mib { unsigned long mibs[1]; } __core;
struct icmp_mib { unsigned long mibs[1]; } __core;
struct icmpv6_mib { unsigned long mibs[1]; } __core;

struct netns_mib {
	void *ip_statistics;
	void *tcp_statistics;
	void *net_statistics;
	void *udp_statistics;
	void *icmp_statistics;
	__u64 *icmpmsg_statistics;
	void *ipv6_statistics;
	void *udp_stats_in6;
	void *icmpv6_statistics;
	__u64 *icmpv6msg_statistics;
} __core;

struct ipv4_devconf {
	int data[1];	// by IPV4_DEVCONF_* - 1, include/uapi/linux/ip.h; forwarding is the first
} __core;

struct netns_ipv4___mibs {
	struct ipv4_devconf *devconf_all;
	__u8 sysctl_ip_default_ttl;
} __core;

struct ns_common___mibs {
	unsigned int inum;
} __core;

struct net___mibs {
	struct ns_common___mibs ns;
	struct netns_mib mib;
	struct netns_ipv4___mibs ipv4;
	__u64 net_cookie;
} __core;

struct bpf_array {
	void *pptrs[1];
} __core;

volatile struct mibs_request request SEC(".data.request") = {};

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, 1U << 10);	// BPF_F_MMAPABLE
	__uint(max_entries, 1024);
	__type(key, __u32);
	__type(value, struct mibs);
} results SEC(".maps");

// One CPU's share, while it is added up.
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct mibs);
} share SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, __u64);
} per_cpu SEC(".maps");

// In memory, whose contents the verifier knows nothing of. From what it knows of a stack, kernels before 6.7 conclude what all rounds
// of a loop do from the first one, and drop the rest; later ones follow round after round until they have had enough.
static volatile struct {
	struct ks_namespaces namespaces;
	__u32 place;	// of the next namespace
	__u32 end;
} walk;

// Where the counters of one namespace would lie on a CPU whose offset is 0.
struct bases {
	void *ip;
	void *tcp;
	void *linux_;
	void *udp;
	void *icmp;
	void *ipv6;
	void *udpv6;
	void *icmpv6;
	__u32 place;
};

// What cannot be read is not there. It is said in the map's memory, and nothing is skipped: of every branch more the verifier
// would follow all that comes behind it twice.
#define read(member, from, kind)                                             \
	do {                                                                 \
		if (bpf_probe_read_kernel(sum->member, sizeof(sum->member), from)) \
			sum->present &= ~(kind);                             \
	} while (0)

#define words_of(type, room)                                                 \
	({                                                                   \
		__u32 words_ = bpf_core_field_size(struct type, mibs) / 8;   \
		words_ < (room) ? words_ : (room);                           \
	})

// The first CPU's share is the sum so far; the others' go through 'share'.
#define add(member, type, room, kind)                                        \
	do {                                                                 \
		__u32 words_ = words_of(type, room);                         \
                                                                             \
		if (bpf_probe_read_kernel(index ? cpu->member : sum->member, \
					  words_ * 8, bases->member + offset)) \
			sum->present &= ~(kind);                             \
		else if (index)                                              \
			for (__u32 i_ = 0; i_ < words_; i_++)                \
				sum->member[i_] += cpu->member[i_];          \
	} while (0)

static long add_cpu(__u64 index, struct bases *bases)
{
	__u64 offset = request.offsets[index & (MIBS_CPUS - 1)];
	struct mibs *sum, *cpu;
	__u32 zero = 0;

	sum = bpf_map_lookup_elem(&results, &bases->place);
	cpu = bpf_map_lookup_elem(&share, &zero);
	if (!sum || !cpu)
		return 1;
	add(ip, ipstats_mib, MIBS_IP, MIBS_HAS_IP);
	add(tcp, tcp_mib, MIBS_TCP, MIBS_HAS_TCP);
	add(linux_, linux_mib, MIBS_LINUX, MIBS_HAS_LINUX);
	add(udp, udp_mib, MIBS_UDP, MIBS_HAS_UDP);
	add(icmp, icmp_mib, MIBS_ICMP, MIBS_HAS_ICMP);
	add(ipv6, ipstats_mib, MIBS_IP, MIBS_HAS_IPV6);
	add(udpv6, udp_mib, MIBS_UDP, MIBS_HAS_UDPV6);
	add(icmpv6, icmpv6_mib, MIBS_ICMPV6, MIBS_HAS_ICMPV6);
	return 0;
}

// The bit, if the pointer is not null, without a branch.
static __always_inline __u32 has(const void *pointer, __u32 kind)
{
	__u64 value = (__u64)pointer;

	return kind & -(__u32)((value | -value) >> 63);
}

static __always_inline void fill(struct mibs *sum, const struct net___mibs *net, __u32 place)
{
	const struct netns_mib *mib = __builtin_preserve_access_index(&net->mib);
	struct ipv4_devconf *all = BPF_CORE_READ(net, ipv4.devconf_all);
	__u64 *types = BPF_CORE_READ(mib, icmpmsg_statistics), *types_v6 = NULL;
	struct bases bases = { .place = place };

	bases.ip = BPF_CORE_READ(mib, ip_statistics);
	bases.tcp = BPF_CORE_READ(mib, tcp_statistics);
	bases.linux_ = BPF_CORE_READ(mib, net_statistics);
	bases.udp = BPF_CORE_READ(mib, udp_statistics);
	bases.icmp = BPF_CORE_READ(mib, icmp_statistics);
	if (bpf_core_field_exists(mib->ipv6_statistics)) {
		bases.ipv6 = BPF_CORE_READ(mib, ipv6_statistics);
		bases.udpv6 = BPF_CORE_READ(mib, udp_stats_in6);
		bases.icmpv6 = BPF_CORE_READ(mib, icmpv6_statistics);
		types_v6 = BPF_CORE_READ(mib, icmpv6msg_statistics);
	}
	sum->present = has(bases.ip, MIBS_HAS_IP) | has(bases.tcp, MIBS_HAS_TCP) | has(bases.linux_, MIBS_HAS_LINUX) |
		       has(bases.udp, MIBS_HAS_UDP) | has(bases.icmp, MIBS_HAS_ICMP) | has(types, MIBS_HAS_ICMP_TYPES) |
		       has(bases.ipv6, MIBS_HAS_IPV6) | has(bases.udpv6, MIBS_HAS_UDPV6) |
		       has(bases.icmpv6, MIBS_HAS_ICMPV6) | has(types_v6, MIBS_HAS_ICMPV6_TYPES);
	read(icmp_in, types, MIBS_HAS_ICMP_TYPES);
	read(icmp_out, types + ICMP_OUT, MIBS_HAS_ICMP_TYPES);
	read(icmpv6_in_errors, types_v6, MIBS_HAS_ICMPV6_TYPES);
	read(icmpv6_out_errors, types_v6 + ICMP_OUT, MIBS_HAS_ICMPV6_TYPES);
	read(icmpv6_in, types_v6 + MIBS_ICMPV6_FIRST, MIBS_HAS_ICMPV6_TYPES);
	read(icmpv6_out, types_v6 + ICMP_OUT + MIBS_ICMPV6_FIRST, MIBS_HAS_ICMPV6_TYPES);
	bpf_loop(request.cpus, add_cpu, &bases, 0);
	sum->forwarding = BPF_CORE_READ(all, data[0]) ? 1 : 2;
	sum->default_ttl = BPF_CORE_READ_BITFIELD_PROBED(net, ipv4.sysctl_ip_default_ttl);
	sum->cookie = BPF_CORE_READ(net, net_cookie);
	sum->netns = BPF_CORE_READ(net, ns.inum);
}

static long visit(__u64 index, void *unused)
{
	const struct net___mibs *net = ks_namespaces_here(&walk.namespaces);

	if (net) {
		__u32 place = walk.place;

		if (place >= walk.end)
			return 1;
		if (place >= request.from) {
			struct mibs *sum = bpf_map_lookup_elem(&results, &place);

			if (!sum)
				return 1;
			fill(sum, net, place);
		}
		walk.place = place + 1;
	}
	return !ks_namespaces_next(&walk.namespaces);
}

SEC("raw_tp")
int collect(void *ctx)
{
	walk.place = 0;
	walk.end = request.from + request.most;
	if (!ks_namespaces_begin(&walk.namespaces))
		return 0;
	bpf_loop(KS_MOST_NAMESPACES, visit, NULL, 0);
	return walk.place > request.from ? walk.place - request.from : 0;
}

// Numbers of CPUs become the distances between a per-CPU variable of that CPU and the address all per-CPU variables are known by. The
// kernel's own table of them is not in the symbols of every kernel; a map per CPU is such a variable.
SEC("raw_tp")
int cpu_offsets(void *ctx)
{
	struct bpf_array *volatile spilled = (void *)&per_cpu;
	struct bpf_array *array = NULL;
	__u32 done = 0, zero = 0;
	void *base;

	bpf_probe_read_kernel(&array, sizeof(array), (const void *)&spilled);
	base = BPF_CORE_READ(array, pptrs[0]);
	if (!base)
		return 0;
	for (__u32 i = 0; i < MIBS_CPUS && i < request.cpus; i++) {
		void *volatile there = bpf_map_lookup_percpu_elem(&per_cpu, &zero, request.offsets[i]);
		void *address = NULL;

		bpf_probe_read_kernel(&address, sizeof(address), (const void *)&there);
		if (!address)
			break;
		request.offsets[i] = address - base;
		done++;
	}
	return done;
}
