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

// A token bucket per CPU, kept as one number: the time up to which events are paid for.
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, __u64);
} limit SEC(".maps");

// Takes a token, or counts that there was none.
static __always_inline bool ks_take(__u64 now)
{
	__u64 interval = settings.event_interval_ns, burst = settings.event_burst_ns, most = now + burst + interval;
	__u32 zero = 0;
	__u64 *paid;

	if (!interval)
		return true;
	paid = bpf_map_lookup_elem(&limit, &zero);
	if (!paid)
		return false;
	if (*paid > most) // under other settings, which do not bind those that are in force
		*paid = most;
	if (*paid > now + burst) {
		ks_count(suppressed);
		return false;
	}
	*paid = (*paid > now ? *paid : now) + interval;
	return true;
}

// Room for an event of a size known when compiling, zeroed but for time and namespace; null when nobody wants one, when it is over the limit
// or when the ring is full. Submit what is given. Call it last: after every reason there may be to send nothing.
static __always_inline void *ks_reserve(__u64 size, __u32 netns, __u64 now)
{
	struct ks_event *event;

	if (!settings.send_events || !ks_take(now))
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
