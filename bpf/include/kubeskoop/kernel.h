// SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause
//
// The kernel's types, as far as the programs here touch them. Only names matter: where a field lies is looked up in the running
// kernel's BTF when a program is loaded (CO-RE), so a type lists just the fields that are read, in any order.
#ifndef KUBESKOOP_KERNEL_H
#define KUBESKOOP_KERNEL_H

typedef unsigned char __u8;
typedef signed char __s8;
typedef unsigned short __u16;
typedef signed short __s16;
typedef unsigned int __u32;
typedef signed int __s32;
typedef unsigned long long __u64;
typedef signed long long __s64;
typedef __u16 __be16;
typedef __u32 __be32;
typedef __u64 __be64;
typedef __u16 __sum16;
typedef __u32 __wsum;
typedef _Bool bool;

#define true 1
#define false 0
#define NULL ((void *)0)

// include/uapi/linux/bpf.h
enum bpf_map_type {
	BPF_MAP_TYPE_HASH = 1,
	BPF_MAP_TYPE_ARRAY = 2,
	BPF_MAP_TYPE_PERCPU_HASH = 5,
	BPF_MAP_TYPE_PERCPU_ARRAY = 6,
	BPF_MAP_TYPE_STACK_TRACE = 7,
	BPF_MAP_TYPE_LRU_HASH = 9,
	BPF_MAP_TYPE_QUEUE = 22,
	BPF_MAP_TYPE_SK_STORAGE = 24,
	BPF_MAP_TYPE_RINGBUF = 27,
	BPF_MAP_TYPE_TASK_STORAGE = 29,
};

enum {
	BPF_ANY = 0,
	BPF_NOEXIST = 1,
	BPF_EXIST = 2,
};

enum {
	BPF_F_NO_PREALLOC = 1U << 0,
	BPF_F_MMAPABLE = 1U << 10,
};

enum {
	BPF_LOCAL_STORAGE_GET_F_CREATE = 1U << 0,
};

enum {
	BPF_RB_NO_WAKEUP = 1U << 0,
	BPF_RB_FORCE_WAKEUP = 1U << 1,
};

// In the value of a map, where programs that interrupt one another change more than one word.
struct bpf_spin_lock {
	__u32 val;
};

#include <bpf/bpf_helpers.h>
#include <bpf/bpf_core_read.h>
#include <bpf/bpf_endian.h>
#include <bpf/bpf_tracing.h>

// include/linux/socket.h, include/uapi/linux/in.h
#define AF_INET 2
#define AF_INET6 10
#define IPPROTO_TCP 6
#define IPPROTO_UDP 17
#define IPPROTO_SCTP 132
#define IPPROTO_UDPLITE 136

// include/uapi/linux/if_packet.h: sk_buff.pkt_type
enum {
	PACKET_BROADCAST = 1,
	PACKET_MULTICAST = 2,
};

// include/net/tcp_states.h
enum {
	TCP_ESTABLISHED = 1,
	TCP_SYN_SENT = 2,
	TCP_SYN_RECV = 3,
	TCP_TIME_WAIT = 6,
	TCP_CLOSE = 7,
	TCP_LISTEN = 10,
	TCP_NEW_SYN_RECV = 12,
};

#define __core __attribute__((preserve_access_index))

struct ns_common {
	unsigned int inum;
} __core;

struct net {
	struct ns_common ns;
	__u64 net_cookie;	// since 5.12 of every namespace
	struct net_device *loopback_dev;
} __core;

typedef struct {
	struct net *net;
} __core possible_net_t;

struct in6_addr {
	union {
		__be32 u6_addr32[4];
	} in6_u;
} __core;

struct kernfs_node {
	__u64 id;
} __core;

struct cgroup_root {
	int hierarchy_id;	// 0: of version 2
} __core;

struct cgroup {
	struct kernfs_node *kn;
	struct cgroup_root *root;
} __core;

struct css_set {
	struct cgroup *dfl_cgrp;	// of version 2
} __core;

struct task_struct {
	unsigned int flags;	// PF_*
	int pid;
	int tgid;
	__u64 start_time;	// as bpf_ktime_get_ns
	char comm[16];
	struct css_set *cgroups;
} __core;

#define PF_KTHREAD 0x00200000	// include/linux/sched.h: a thread of the kernel

struct rtable {
	__u16 rt_type;		// RTN_*
} __core;

struct rt6_info {
	__u32 rt6i_flags;	// RTF_*
} __core;

struct socket {
	struct sock *sk;
} __core;

// What a kprobe sees of a function's arguments, by architecture.
struct pt_regs___x86 {
	unsigned long di;
	unsigned long si;
	unsigned long dx;
	unsigned long ax;
} __core;

struct pt_regs___arm64 {
	unsigned long regs[31];
} __core;

struct sock_cgroup_data {
	struct cgroup *cgroup;
} __core;

// Before 5.15: the cgroup's address, with flags in its low bits.
struct sock_cgroup_data___before_5_15 {
	__u64 val;
} __core;

// What all sockets begin with, also those that are only half there: struct request_sock and struct inet_timewait_sock.
struct sock_common {
	__be32 skc_daddr;
	__be32 skc_rcv_saddr;
	__be16 skc_dport;
	__u16 skc_num;
	unsigned int skc_hash;	// of a connection, by its addresses and ports
	unsigned short skc_family;
	volatile unsigned char skc_state;
	possible_net_t skc_net;
	struct in6_addr skc_v6_daddr;
	struct in6_addr skc_v6_rcv_saddr;
} __core;

typedef struct {
	int owned;
} __core socket_lock_t;

struct sk_buff_head {
	struct sk_buff *prev;	// the last one; of an empty queue, the queue itself
	__u32 qlen;
} __core;

struct sock {
	struct sock_common __sk_common;
	socket_lock_t sk_lock;
	struct sk_buff_head sk_receive_queue;
	__u16 sk_protocol;
	struct sock_cgroup_data sk_cgrp_data;
} __core;

struct inet_sock {
	struct sock sk;
	__be16 inet_sport;
} __core;

struct inet_connection_sock {
	struct inet_sock icsk_inet;
	__u8 icsk_ca_state:5;	// enum tcp_ca_state
	__u8 icsk_retransmits;	// timeouts since the last acknowledgement
} __core;

// Of a socket's pointer by bpf_skc_to_tcp_sock(). Sequence numbers: copied_seq <= rcv_nxt, snd_una <= snd_nxt <= write_seq.
struct tcp_sock {
	__u64 tcp_clock_cache;	// CLOCK_MONOTONIC, ns: when TCP last looked, which it does for every segment that comes
	__u32 rcv_nxt;
	__u32 copied_seq;
	__u32 snd_nxt;
	__u32 write_seq;
	__u32 snd_cwnd;
	__u32 packets_out;
	__u32 retrans_out;
	__u32 lost_out;
	__u32 sacked_out;
	__u32 undo_marker;	// what was unacknowledged when TCP made its window smaller; 0: it did not
	__u8 chrono_type:2;	// enum tcp_chrono
} __core;

struct udp_sock {
	struct sk_buff_head reader_queue;
} __core;

// What TCP keeps in a packet's control block, struct sk_buff.cb.
struct tcp_skb_cb {
	__u32 seq;
	__u32 end_seq;
	__u16 tcp_gso_segs;
} __core;

struct Qdisc_ops {
	char id[16];
} __core;

struct qdisc_skb_head {
	__u32 qlen;
} __core;

struct gnet_stats_queue {
	__u32 requeues;
} __core;

struct Qdisc {
	void *enqueue;	// a function; null: there is no queue
	unsigned int flags;
	const struct Qdisc_ops *ops;
	struct sk_buff_head gso_skb;	// packets the device did not take, which it is offered first
	struct qdisc_skb_head q;
	struct gnet_stats_queue qstats;
} __core;

struct netdev_queue {
	struct Qdisc *qdisc;
} __core;

struct net_device {
	char name[16];
	int ifindex;
	unsigned int flags;
	struct Qdisc *qdisc;
	struct netdev_queue *_tx;	// an array, by sk_buff.queue_mapping
	possible_net_t nd_net;
} __core;

struct sk_buff {
	struct sk_buff *next;
	struct sock *sk;
	struct net_device *dev;
	unsigned long _skb_refdst;	// a struct dst_entry, with flags in its low bits
	__s64 tstamp;
	unsigned int len;
	int skb_iif;
	__u8 cloned:1;		// its data may have other packets, too
	__u8 pkt_type:3;
	__u16 queue_mapping;
	__be16 protocol;
	__u16 transport_header;
	__u16 network_header;
	unsigned int tail;	// an offset from head on 64-bit kernels
	char cb[48];
	unsigned char *head;
	unsigned char *data;
} __core;

// What IP keeps of a received packet, in sk_buff.cb.
struct inet_skb_parm {
	__u16 frag_max_size;	// of what was put together of fragments; else 0
} __core;

struct inet6_skb_parm {
	__u16 frag_max_size;
} __core;

struct gendisk {
	char disk_name[32];
} __core;

struct queue_limits {
	unsigned int features;	// since 6.11
} __core;

struct request_queue {
	struct gendisk *disk;
} __core;

struct cgroup_subsys_state {
	struct cgroup *cgroup;
} __core;

struct blkcg {
	struct cgroup_subsys_state css;
} __core;

struct blkcg_gq {
	struct blkcg *blkcg;
} __core;

struct bio {
	struct blkcg_gq *bi_blkg;
} __core;

struct request {
	struct request_queue *q;
	unsigned int cmd_flags;	// an operation, and REQ_*
	unsigned int rq_flags;	// RQF_*
	unsigned int __data_len;
	__u64 __sector;
	struct bio *bio;
	__u64 start_time_ns;
} __core;

struct request___before_5_16 {
	struct gendisk *rq_disk;
} __core;

// The wire's formats: laid out by their protocols, not by the kernel.
struct ipv4_header {
	__u8 version_length;
	__u8 service;
	__be16 total_length;
	__be16 id;
	__be16 fragment;
	__u8 ttl;
	__u8 protocol;
	__sum16 checksum;
	__be32 source;
	__be32 destination;
};

struct tcp_header {
	__be16 source;
	__be16 destination;
	__be32 sequence;
	__be32 acknowledgement;
	__u8 offset;	// its upper half, in words
	__u8 flags;
	__be16 window;
	__sum16 checksum;
	__be16 urgent;
};

struct ipv6_header {
	__be32 version_class_label;
	__be16 payload_length;
	__u8 next;
	__u8 hop_limit;
	__be32 source[4];
	__be32 destination[4];
};

// A network namespace. Its number may be another one's at once when it has ended; its cookie never is.
struct ks_netns {
	__u32 inum;
	__u32 cookie;	// its lower half; 0: this kernel has none
};

static __always_inline struct ks_netns ks_netns_of(const struct net *net)
{
	struct ks_netns netns = { .inum = BPF_CORE_READ(net, ns.inum) };

	if (bpf_core_field_exists(net->net_cookie))
		netns.cookie = BPF_CORE_READ(net, net_cookie);
	return netns;
}

// An argument of a tp_btf program that may be null. The verifier of kernels before 6.13 holds that such arguments never are, and
// removes the check for null from the program; what was read from memory it knows nothing about.
static __always_inline void *ks_nullable(const void *ctx, int index)
{
	void *argument = NULL;

	bpf_probe_read_kernel(&argument, sizeof(argument), (const __u64 *)ctx + index);
	return argument;
}

// An argument of a function that a kprobe is on: one of the first three.
static __always_inline void *ks_argument(const void *ctx, int index)
{
	const struct pt_regs___x86 *x86 = ctx;
	const struct pt_regs___arm64 *arm64 = ctx;

	if (bpf_core_field_exists(x86->di))
		return (void *)(index == 0 ? BPF_CORE_READ(x86, di) : index == 1 ? BPF_CORE_READ(x86, si) : BPF_CORE_READ(x86, dx));
	return (void *)(index == 0 ? BPF_CORE_READ(arm64, regs[0]) : index == 1 ? BPF_CORE_READ(arm64, regs[1]) : BPF_CORE_READ(arm64, regs[2]));
}

// What a function returns that a kretprobe is on.
static __always_inline long ks_returned(const void *ctx)
{
	const struct pt_regs___x86 *x86 = ctx;
	const struct pt_regs___arm64 *arm64 = ctx;

	return bpf_core_field_exists(x86->ax) ? BPF_CORE_READ(x86, ax) : BPF_CORE_READ(arm64, regs[0]);
}

// The lower half of an address. The verifier lets nobody calculate with an address, but a copy of its lower half is a number.
static __always_inline __u32 ks_number_of(const void *address)
{
	__u32 lower = (__u32)(unsigned long)address, number;

	asm volatile("%0 = %1" : "=w"(number) : "w"(lower));
	return number;
}

// One of 2^bits numbers for an address, which neighbours do not share (Fibonacci hashing).
static __always_inline __u32 ks_hash_of(const void *address, int bits)
{
	return (ks_number_of(address) >> 6) * 0x9e3779b1U >> (32 - bits);
}

// Where a packet belongs in a table of that many places, a power of two, by its address. What lies within 256
// bytes has one place: a packet of TCP and its clone, of which one is sent, and no others.
static __always_inline __u32 ks_place_of_skb(const struct sk_buff *skb, __u32 places)
{
	return (ks_number_of(skb) >> 8) & (places - 1);
}

#endif
