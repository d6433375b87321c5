// SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause
//
// net_softirq: how long the softirqs of the network wait from raise to entry, and how long they run. All three happen on one CPU, and
// a softirq is not entered again before its exit, so what is known of one lies in that CPU's own memory and needs no key.
//
// Reading the clock is most of the cost. What takes as long as two ticks of the kernel's clock sees them change, which costs nothing to
// know: all of that is timed. Of the rest a sample is, and stands for it. What is not of the sample began when the clock was last read on
// this CPU in the same tick: never more than a tick too early, and on a busy CPU some softirqs ago.
#include "net_softirq.h"

#define NET_TX_SOFTIRQ 2	// include/linux/interrupt.h
#define NET_RX_SOFTIRQ 3
#define ONE_MS 1000000ULL

volatile struct net_softirq_settings wanted SEC(".data.net_softirq") = {};

struct vector {
	struct net_softirq_counts counts; // with the runs at its end, beside what else every softirq touches
	__u64 raised;	// when; 0: it is not
	__u64 entered;	// when; 0: it does not run
	__u64 task;	// what ran when it was raised
	__u64 stamp;	// the clock when it was last read here
	__u32 stamp_tick;
	__u32 raised_tick;
	__u32 entered_tick;
	__u16 raised_sampled;
	__u16 run_sampled;
	__u64 turn;	// goes through all numbers in no order that softirqs could follow
};

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, NET_RX_SOFTIRQ - NET_TX_SOFTIRQ + 1);
	__type(key, __u32);
	__type(value, struct vector);
} vectors SEC(".maps");

static __always_inline struct vector *vector_of(unsigned int number)
{
	__u32 index = number - NET_TX_SOFTIRQ;

	if (index > NET_RX_SOFTIRQ - NET_TX_SOFTIRQ || !(wanted.vectors & 1U << number))
		return NULL;
	return bpf_map_lookup_elem(&vectors, &index);
}

// Decides about the next one.
static __always_inline bool is_sampled(struct vector *vector)
{
	vector->turn = vector->turn * 6364136223846793005ULL + 1442695040888963407ULL;
	return !(vector->turn >> 32 & (wanted.sampling - 1));
}

// The time, or one of this tick that was read before.
static __always_inline __u64 time(struct vector *vector, __u32 tick, bool exact)
{
	if (exact || vector->stamp_tick != tick || !vector->stamp) {
		vector->stamp = bpf_ktime_get_ns();
		vector->stamp_tick = tick;
	}
	return vector->stamp;
}

// Counts a time. False when it is not to be told.
static __always_inline bool count(struct net_softirq_counts *counts, enum net_softirq_kind kind, __u64 latency, bool each)
{
	ks_observe_many(&counts->times[kind], latency, each ? 1 : wanted.sampling);
	if (latency >= 10 * ONE_MS)
		ks_add(&counts->over_10ms[kind], 1);
	if (latency >= 100 * ONE_MS)
		ks_add(&counts->over_100ms[kind], 1);
	return latency >= settings.threshold_ns[kind];
}

// No process may pass for one: only the kernel makes threads of its own.
static __always_inline bool is_ksoftirqd(const struct task_struct *task)
{
	static const char name[] = "ksoftirqd/";
	char comm[16] = {};

	if (!(BPF_CORE_READ(task, flags) & PF_KTHREAD))
		return false;
	BPF_CORE_READ_INTO(&comm, task, comm);
	for (int i = 0; i < (int)sizeof(name) - 1; i++)
		if (comm[i] != name[i])
			return false;
	return true;
}

// Notes a process; not the idle one.
static __always_inline bool note(struct ks_event *event, const struct task_struct *task)
{
	event->tgid = BPF_CORE_READ(task, tgid);
	if (!event->tgid)
		return false;
	BPF_CORE_READ_INTO(&event->comm, task, comm);
	event->cgroup = BPF_CORE_READ(task, cgroups, dfl_cgrp, kn, id);
	return true;
}

// raiser: what ran at the raise; null for a run. Its memory may have become another one's, which has been started since.
static __always_inline void tell(enum net_softirq_kind kind, unsigned int number, __u64 now, __u64 latency, const struct task_struct *raiser, __u64 raised)
{
	const struct task_struct *current = (const void *)bpf_get_current_task();
	struct net_softirq_event *event = ks_reserve(sizeof(*event), 0, now);

	if (!event)
		return;
	event->latency_ns = latency;
	event->cpu = bpf_get_smp_processor_id();
	event->kind = kind;
	event->vector = number;
	event->ksoftirqd = is_ksoftirqd(current);
	if (!raiser || BPF_CORE_READ(raiser, start_time) > raised || is_ksoftirqd(raiser) || !note(&event->head, raiser)) {
		if (!event->ksoftirqd)
			note(&event->head, current);
	}
	bpf_ringbuf_submit(event, 0);
}

// Also from another context, and while it is raised already: it waits since the first time.
SEC("tp_btf/softirq_raise")
int BPF_PROG(raise, unsigned int number)
{
	struct vector *vector = vector_of(number);
	__u32 tick;

	if (!vector || vector->raised)
		return 0;
	tick = bpf_jiffies64();
	vector->task = bpf_get_current_task();
	vector->raised_tick = tick;
	vector->raised_sampled = is_sampled(vector);
	vector->raised = time(vector, tick, vector->raised_sampled);
	return 0;
}

SEC("tp_btf/softirq_entry")
int BPF_PROG(enter, unsigned int number)
{
	struct vector *vector = vector_of(number);
	__u64 raised, task;
	__u32 tick;
	bool each;

	if (!vector)
		return 0;
	raised = vector->raised;
	task = vector->task;
	tick = bpf_jiffies64();
	each = raised && tick - vector->raised_tick >= 2;
	vector->run_sampled = raised ? vector->raised_sampled : is_sampled(vector);
	vector->raised = 0; // what it raises while it runs is the next one's
	vector->entered_tick = tick;
	vector->entered = time(vector, tick, each || vector->run_sampled);
	ks_add(&vector->counts.runs, 1);
	if (raised && (each || vector->run_sampled) && count(&vector->counts, NET_SOFTIRQ_DELAY, vector->entered - raised, each))
		tell(NET_SOFTIRQ_DELAY, number, vector->entered, vector->entered - raised, (const void *)task, raised);
	return 0;
}

SEC("tp_btf/softirq_exit")
int BPF_PROG(leave, unsigned int number)
{
	struct vector *vector = vector_of(number);
	__u64 now, entered;
	__u32 tick;
	bool each;

	if (!vector || !vector->entered)
		return 0;
	entered = vector->entered;
	vector->entered = 0;
	tick = bpf_jiffies64();
	each = tick - vector->entered_tick >= 2;
	if (!each && !vector->run_sampled)
		return 0;
	now = time(vector, tick, true);
	if (count(&vector->counts, NET_SOFTIRQ_RUN, now - entered, each))
		tell(NET_SOFTIRQ_RUN, number, now, now - entered, NULL, 0);
	return 0;
}
