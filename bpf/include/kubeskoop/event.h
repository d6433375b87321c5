// SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause
//
// Events: how each begins, the ring they go through, and the limit on how many.
#ifndef KUBESKOOP_EVENT_H
#define KUBESKOOP_EVENT_H

#include <kubeskoop/flow.h>
#include <kubeskoop/settings.h>

// C#: Events/RawEvent.cs
struct ks_event {
	__u64 time;	// CLOCK_MONOTONIC, ns
	__u64 cgroup;	// inode of the cgroup of the socket or process; 0: none
	struct ks_flow flow;
	__u32 netns;
	__u32 tgid;	// of the process that is the cause; 0: a packet or a timer is
	char comm[16];
};

// Keeps a record's layout in the object, for the test that compares it with C#: nothing else there names the type.
#define KS_RECORD(record) const struct record *const ks_record_##record = NULL

KS_RECORD(ks_event);

struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 1 << 20);
} events SEC(".maps");

#define KS_ALL_TOGETHER 10	// all namespaces may send as much as this many; EbpfEventOptions promises it
#define KS_SHARE_BITS 10
#define KS_SHARES (1 << KS_SHARE_BITS)

// Token buckets per CPU, each kept as one number: the time up to which its events are paid for. The first is for all together. Each namespace
// has one of the others, so that who floods silences nobody else, but for the few that have the same one.
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1 + KS_SHARES);
	__type(key, __u32);
	__type(value, __u64);
} limit SEC(".maps");

// Whether there is a token; what was paid for under other settings does not bind those that are in force.
static __always_inline bool ks_has_token(__u64 *paid, __u64 interval, __u64 most)
{
	if (*paid > most)
		*paid = most;
	return *paid + interval <= most;
}

static __always_inline void ks_pay(__u64 *paid, __u64 interval, __u64 now)
{
	*paid = (*paid > now ? *paid : now) + interval;
}

// Inodes of namespaces that are made alike lie equally far apart: a remainder would give them few of the buckets. So all bits are mixed (as
// MurmurHash3 ends), and of a hundred namespaces some nine share a bucket with another.
static __always_inline __u32 ks_share_of(__u32 netns)
{
	netns ^= netns >> 16;
	netns *= 0x85ebca6b;
	netns ^= netns >> 13;
	netns *= 0xc2b2ae35;
	return 1 + (netns >> (32 - KS_SHARE_BITS));
}

// Takes a token of the namespace's and one of all, or counts that one was missing.
static __always_inline bool ks_take(__u32 netns, __u64 now)
{
	__u64 interval = settings.event_interval_ns, of_all = interval / KS_ALL_TOGETHER, most = now + settings.event_burst_ns + interval;
	__u32 first = 0, share = ks_share_of(netns);
	__u64 *own, *all;
	bool taken;

	if (!interval)
		return true;
	own = bpf_map_lookup_elem(&limit, &share);
	all = bpf_map_lookup_elem(&limit, &first);
	if (!own || !all)
		return false;
	taken = ks_has_token(own, interval, most);
	taken &= ks_has_token(all, of_all, most);	// both are asked, so that both forget other settings
	if (taken) {
		ks_pay(own, interval, now);
		ks_pay(all, of_all, now);
	} else {
		ks_count(suppressed);
	}
	return taken;
}

// Room for an event of a size known when compiling, zeroed but for time and namespace; null when nobody wants one, when it is over the limit
// or when the ring is full. Submit what is given. Call it last: after every reason there may be to send nothing.
static __always_inline void *ks_reserve(__u64 size, __u32 netns, __u64 now)
{
	struct ks_event *event;

	if (!settings.send_events || !ks_take(netns, now))
		return NULL;
	event = bpf_ringbuf_reserve(&events, size, 0);
	if (!event) {
		ks_count(lost);
		return NULL;
	}
	ks_count(sent);
	__builtin_memset(event, 0, size);
	event->time = now;
	event->netns = netns;
	return event;
}

// The process that runs now. Only where that process is the cause.
static __always_inline void ks_current(struct ks_event *event)
{
	event->tgid = bpf_get_current_pid_tgid() >> 32;
	bpf_get_current_comm(event->comm, sizeof(event->comm));
}

// Whether a task that was noted earlier is still that one. Its memory may be another's by now, which has other numbers.
static __always_inline bool ks_task_is(const struct task_struct *task, __u64 pid_tgid)
{
	return BPF_CORE_READ(task, pid) == (int)pid_tgid && BPF_CORE_READ(task, tgid) == (int)(pid_tgid >> 32);
}

#endif
