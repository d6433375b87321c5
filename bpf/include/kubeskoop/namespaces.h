// SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause
//
// A walk over all network namespaces, by the kernel's own list of them. They go from it with list_del_rcu, and what belongs to them goes
// later: in a program that holds RCU from begin to end, as raw tracepoints do, what the walk meets is there.
#ifndef KUBESKOOP_NAMESPACES_H
#define KUBESKOOP_NAMESPACES_H

#include <kubeskoop/kernel.h>

#define KS_MOST_NAMESPACES (1 << 20)

struct list_head___listed {
	struct list_head___listed *next;
} __core;

struct ns_common___listed {
	const void *ops;
} __core;

struct net___listed {
	struct list_head___listed list;
	struct ns_common___listed ns;
} __core;

struct nsproxy___listed {
	struct net___listed *net_ns;
} __core;

struct task_struct___listed {
	struct nsproxy___listed *nsproxy;
} __core;

// Keep it in memory, not on the stack: see mibs.bpf.c.
struct ks_namespaces {
	struct list_head___listed *at;
	struct list_head___listed *first;
	const void *ops;	// what all network namespaces have in common, and the list's head, which is none, has not
};

// From the namespace of whoever runs the program. False where that has none any more.
static __always_inline bool ks_namespaces_begin(volatile struct ks_namespaces *walk)
{
	const struct task_struct___listed *task = (const void *)bpf_get_current_task();
	const struct net___listed *own = BPF_CORE_READ(task, nsproxy, net_ns);

	if (!own)
		return false;
	walk->at = walk->first = (void *)own + bpf_core_field_offset(struct net___listed, list);
	walk->ops = BPF_CORE_READ(own, ns.ops);
	return true;
}

// Where the walk is: a namespace, or null for the list's head.
static __always_inline const void *ks_namespaces_here(const volatile struct ks_namespaces *walk)
{
	const struct net___listed *net = (const void *)walk->at - bpf_core_field_offset(struct net___listed, list);

	return BPF_CORE_READ(net, ns.ops) == walk->ops ? net : NULL;
}

// False when it has come round.
static __always_inline bool ks_namespaces_next(volatile struct ks_namespaces *walk)
{
	struct list_head___listed *at = walk->at;

	walk->at = BPF_CORE_READ(at, next);
	return walk->at && walk->at != walk->first;
}

#endif
