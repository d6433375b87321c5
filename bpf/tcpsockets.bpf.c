// SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause
//
// tcpsockets: every TCP socket of the machine, added up by network namespace. The kernel's own iterator (iter/tcp) walks the same tables,
// and shows the sockets of one namespace only; here all are met in one walk. Nothing is attached.
#include "tcpsockets.h"
#include <kubeskoop/namespaces.h>

#define TCP_FIN_WAIT2 5
#define BLOCK 64	// buckets read at once
#define MOST_STEPS (1 << 20)
#define STEPS_PER_RUN (1 << 12)	// a run cannot be interrupted: about a millisecond
#define SOCKETS_PER_RUN 4096
#define LISTENING_NULLS_BASE (1U << 29)	// include/net/inet_hashtables.h

struct hlist_nulls_node {
	struct hlist_nulls_node *next;	// at the end of a chain: 1, and the number of the chain above
} __core;

struct hlist_nulls_head {
	struct hlist_nulls_node *first;
} __core;

struct inet_ehash_bucket {
	struct hlist_nulls_head chain;
} __core;

struct inet_listen_hashbucket {
	struct hlist_nulls_head nulls_head;	// since 5.19
} __core;

struct inet_hashinfo {
	struct inet_ehash_bucket *ehash;
	unsigned int ehash_mask;
	unsigned int lhash2_mask;
	struct inet_listen_hashbucket *lhash2;
	bool pernet;	// 6.1
} __core;

struct inet_timewait_death_row {
	struct inet_hashinfo *hashinfo;
} __core;

struct netns_ipv4___sockets {
	struct inet_timewait_death_row tcp_death_row;
} __core;

struct net___sockets {
	struct ns_common ns;
	struct netns_ipv4___sockets ipv4;
	__u64 net_cookie;
} __core;

struct sock_common___hashed {
	struct hlist_nulls_node skc_nulls_node;
} __core;

struct sock___listening {
	__u32 sk_ack_backlog;
	__u32 sk_max_ack_backlog;
} __core;

struct tcp_sock___sockets {
	__u32 rcv_nxt;
	__u32 copied_seq;
	__u32 write_seq;
	__u32 snd_una;
} __core;

struct inet_timewait_sock___sockets {
	unsigned char tw_substate;
} __core;

volatile struct tcpsockets_request request SEC(".data.request") = {};

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, 1U << 10);	// BPF_F_MMAPABLE
	__uint(max_entries, 1024);
	__type(key, __u32);
	__type(value, struct tcpsockets);
} results SEC(".maps");

// The place of a namespace in 'results', by its address; for one pass.
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 1024);
	__type(key, __u64);
	__type(value, __u32);
} places SEC(".maps");

struct block {
	struct hlist_nulls_node *first[BLOCK];
};

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct block);
} blocks SEC(".maps");

// In memory, not on the stack: see mibs.bpf.c.
static volatile struct {
	struct inet_hashinfo *table;
	struct hlist_nulls_node *at;
	__u64 net;	// the one 'place' belongs to
	__u32 place;
	__u32 bucket;	// the next
	__u32 buckets;
	__u32 sockets;
	__u32 listeners;
	__u32 begun;	// whether a block has been read
} walk;

static volatile struct ks_namespaces listed;

static __always_inline struct tcpsockets *new_place(__u64 net, __u32 *place)
{
	const struct net___sockets *of = (const void *)net;
	struct tcpsockets *sums;

	*place = request.found;
	sums = bpf_map_lookup_elem(&results, place);
	if (!sums || bpf_map_update_elem(&places, &net, place, BPF_ANY)) {
		request.full++;
		return NULL;
	}
	request.found = *place + 1;
	__builtin_memset(sums, 0, sizeof(*sums));
	sums->net = net;
	sums->cookie = BPF_CORE_READ(of, net_cookie);
	sums->netns = BPF_CORE_READ(of, ns.inum);
	return sums;
}

static __always_inline struct tcpsockets *sums_of(__u64 net)
{
	__u32 *known, place;

	if (net != walk.net) {
		known = bpf_map_lookup_elem(&places, &net);
		if (!known) {
			struct tcpsockets *sums = new_place(net, &place);

			if (!sums)
				return NULL;
			walk.net = net;
			walk.place = place;
			return sums;
		}
		walk.net = net;
		walk.place = *known;
	}
	place = walk.place;
	return bpf_map_lookup_elem(&results, &place);
}

// net/ipv4/tcp_diag.c, tcp_diag_get_info
static __always_inline void count_connection(struct tcpsockets *sums, const void *sk)
{
	const struct tcp_sock___sockets *tp = sk;
	__s32 unread = BPF_CORE_READ(tp, rcv_nxt) - BPF_CORE_READ(tp, copied_seq);
	__u32 receive = unread > 0 ? unread : 0, send = BPF_CORE_READ(tp, write_seq) - BPF_CORE_READ(tp, snd_una);

	sums->receive += receive;
	sums->send += send;
	if (receive > sums->largest_receive)
		sums->largest_receive = receive;
	if (send > sums->largest_send)
		sums->largest_send = send;
	if (receive > request.threshold)
		sums->receive_above++;
	if (send > request.threshold)
		sums->send_above++;
}

static __always_inline void count_listener(struct tcpsockets *sums, const void *socket)
{
	const struct sock___listening *sk = socket;
	const struct sock_common *common = socket;
	__u32 waiting = BPF_CORE_READ(sk, sk_ack_backlog), limit = BPF_CORE_READ(sk, sk_max_ack_backlog);
	__u64 here, there;

	sums->waiting += waiting;
	sums->limit += limit;
	// One more than the limit may wait (sk_acceptq_is_full), also where the limit is 0.
	here = waiting * ((__u64)sums->fullest_limit + 1);
	there = sums->fullest_waiting * ((__u64)limit + 1);
	if (sums->fullest_family && (here < there || (here == there && waiting <= sums->fullest_waiting)))
		return;
	sums->fullest_waiting = waiting;
	sums->fullest_limit = limit;
	sums->fullest_port = BPF_CORE_READ(common, skc_num);
	sums->fullest_family = BPF_CORE_READ(common, skc_family);
	if (sums->fullest_family == AF_INET6)
		BPF_CORE_READ_INTO(&sums->fullest_address, common, skc_v6_rcv_saddr.in6_u.u6_addr32);
	else
		BPF_CORE_READ_INTO(&sums->fullest_address[0], common, skc_rcv_saddr);
}

static __always_inline void count(const void *sk)
{
	const struct sock_common *common = sk;
	__u16 family = BPF_CORE_READ(common, skc_family);
	__u8 state = BPF_CORE_READ(common, skc_state);
	struct tcpsockets *sums;

	if (family != AF_INET && family != AF_INET6)
		return;
	sums = sums_of((__u64)BPF_CORE_READ(common, skc_net.net));
	if (!sums)
		return;
	if (state == TCP_TIME_WAIT) {
		const struct inet_timewait_sock___sockets *rest = sk;

		state = BPF_CORE_READ(rest, tw_substate);
		if (state == TCP_FIN_WAIT2)
			sums->closed_fin_wait2++;
	} else if (state == TCP_LISTEN) {
		count_listener(sums, sk);
	} else if (state != TCP_NEW_SYN_RECV) {
		count_connection(sums, sk);
	}
	sums->states[state & 15]++;
}

static __always_inline bool ends(const void *node)
{
	return (__u64)node & 1;
}

static __always_inline struct hlist_nulls_node *next_listening_chain(void)
{
	struct inet_hashinfo *table = walk.table;
	struct inet_listen_hashbucket *bucket = BPF_CORE_READ(table, lhash2);

	bucket = (void *)bucket + (__u64)walk.bucket++ * bpf_core_type_size(struct inet_listen_hashbucket);
	return BPF_CORE_READ(bucket, nulls_head.first);
}

// The next chain that is not empty, or the last of its block. Most chains are empty on most machines, so this is what counts there.
static __always_inline struct hlist_nulls_node *next_chain(void)
{
	struct inet_hashinfo *table = walk.table;
	struct hlist_nulls_node *at = (void *)1;
	__u32 bucket = walk.bucket, zero = 0;
	struct block *block = bpf_map_lookup_elem(&blocks, &zero);

	if (!block)
		return NULL;
	if (!walk.begun || bucket % BLOCK == 0) {
		__u64 chains = (__u64)BPF_CORE_READ(table, ehash) + (__u64)(bucket / BLOCK) * sizeof(*block);

		walk.begun = 1;
		if (bpf_probe_read_kernel(block, sizeof(*block), (const void *)chains))
			return NULL;
	}
	for (int i = 0; i < BLOCK; i++) {
		at = block->first[bucket % BLOCK];
		bucket++;
		if (!ends(at) || bucket % BLOCK == 0 || bucket >= walk.buckets)
			break;
	}
	walk.bucket = bucket;
	return at;
}

// Finds a chain, or takes a socket of the one it has.
static long step(__u64 index, void *unused)
{
	struct hlist_nulls_node *at = walk.at;

	if (ends(at)) {
		if (walk.bucket >= walk.buckets || walk.sockets >= SOCKETS_PER_RUN || index >= STEPS_PER_RUN)
			return 1;
		at = walk.listeners ? next_listening_chain() : next_chain();
	} else {
		const void *sk = (const void *)at - bpf_core_field_offset(struct sock_common___hashed, skc_nulls_node);

		// Memory of sockets may become another socket's at any time (SLAB_TYPESAFE_BY_RCU), never anything else.
		at = BPF_CORE_READ(at, next);
		count(sk);
		walk.sockets++;
	}
	if (!at || (ends(at) && (__u64)at >> 1 != walk.bucket - 1 + (walk.listeners ? LISTENING_NULLS_BASE : 0))) {
		request.broken++;	// this is the end of another chain
		at = (void *)1;
	}
	walk.at = at;
	return 0;
}

// Looks through a part of the table that 'begin' has found; 1 when there is more.
SEC("raw_tp")
int walk_tables(void *ctx)
{
	struct inet_hashinfo *table = (void *)request.table;

	walk.table = table;
	walk.at = (void *)1;
	walk.net = 0;
	walk.bucket = request.bucket;
	walk.sockets = 0;
	walk.listeners = request.listeners;
	walk.begun = 0;
	walk.buckets = (walk.listeners ? BPF_CORE_READ(table, lhash2_mask) : BPF_CORE_READ(table, ehash_mask)) + 1;
	bpf_loop(MOST_STEPS, step, NULL, 0);
	if (!ends(walk.at))
		request.broken++;
	request.bucket = walk.bucket;
	return walk.bucket < walk.buckets;
}

static long forget(__u64 index, void *unused)
{
	__u32 place = index;
	struct tcpsockets *sums = bpf_map_lookup_elem(&results, &place);

	if (!sums)
		return 1;
	bpf_map_delete_elem(&places, &sums->net);
	return 0;
}

static long look(__u64 index, void *unused)
{
	const struct net___sockets *net = ks_namespaces_here(&listed);

	if (net) {
		struct inet_hashinfo *table = BPF_CORE_READ(net, ipv4.tcp_death_row.hashinfo);

		if (bpf_core_field_exists(table->pernet) && BPF_CORE_READ(table, pernet))
			request.private_++;
		else
			request.table = (__u64)table;
	}
	return !ks_namespaces_next(&listed);
}

// Forgets the last pass, and finds the table that namespaces share, which is there as long as the kernel.
SEC("raw_tp")
int begin(void *ctx)
{
	bpf_loop(request.found, forget, NULL, 0);
	request.found = request.private_ = request.broken = request.full = 0;
	request.table = 0;
	if (ks_namespaces_begin(&listed))
		bpf_loop(KS_MOST_NAMESPACES, look, NULL, 0);
	return request.table != 0;
}
