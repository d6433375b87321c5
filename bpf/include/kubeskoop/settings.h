// SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause
//
// What can be set while a probe runs, which namespaces it looks at, and what it lost. One of each per object.
#ifndef KUBESKOOP_SETTINGS_H
#define KUBESKOOP_SETTINGS_H

#include <kubeskoop/kernel.h>

char LICENSE[] SEC("license") = "Dual BSD/GPL";

#define KS_THRESHOLDS 4

// A data section of its own, so that the owner can map it and write to it: a program sees a new value at its next run.
struct ks_settings {
	__u64 threshold_ns[KS_THRESHOLDS];	// events: only what took at least this long; the probe says what each is for
	__u64 event_interval_ns;		// of each namespace on each CPU: 10^9 / events per second; 0: no limit
	__u64 event_burst_ns;			// how far events may run ahead of that: interval * (burst - 1)
	__u32 send_events;			// whether anybody wants events
	__u32 filter;				// only namespaces in the map 'namespaces'
};

volatile struct ks_settings settings SEC(".data.settings") = {};

// Inodes of the network namespaces of interest.
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 4096);
	__type(key, __u32);
	__type(value, __u8);
} namespaces SEC(".maps");

// All of them only ever grow.
struct ks_tally {
	__u64 sent;		// events
	__u64 suppressed;	// events over the limit
	__u64 lost;		// events without room in the ring
	__u64 uncounted;	// hits that found no room in a map of counters or histograms
};

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct ks_tally);
} tally SEC(".maps");

// Programs interrupt one another, so also what is kept per CPU is added to in one instruction.
#define ks_add(counter, value) ((void)__sync_fetch_and_add((counter), (value)))

#define ks_count(what)                                                       \
	do {                                                                 \
		__u32 zero_ = 0;                                             \
		struct ks_tally *tally_ = bpf_map_lookup_elem(&tally, &zero_); \
                                                                             \
		if (tally_)                                                  \
			ks_add(&tally_->what, 1);                            \
	} while (0)

static __always_inline bool ks_wanted(__u32 netns)
{
	return !settings.filter || bpf_map_lookup_elem(&namespaces, &netns);
}

// A map, by the given name, of key to counters that outlive the events about them. A key is a struct ks_netns, or begins with one: its
// owner deletes what belongs to namespaces that are gone. NAME_of(&key) gives the counters, zeroed when they are new, or null when
// the map is full.
#define KS_COUNTERS(name, key_type, value_type) KS_COUNTERS_IN(BPF_MAP_TYPE_HASH, 0, name, key_type, value_type)

// Each CPU has its own, and memory only for keys that are in use: for what is counted at every packet.
#define KS_COUNTERS_PER_CPU(name, key_type, value_type) \
	KS_COUNTERS_IN(BPF_MAP_TYPE_PERCPU_HASH, BPF_F_NO_PREALLOC, name, key_type, value_type)

#define KS_COUNTERS_IN(map_type, flags, name, key_type, value_type)          \
	struct {                                                             \
		__uint(type, map_type);                                      \
		__uint(map_flags, flags);                                    \
		__uint(max_entries, 4096);                                   \
		__type(key, key_type);                                       \
		__type(value, value_type);                                   \
	} name SEC(".maps");                                                 \
                                                                             \
	static __always_inline value_type *name##_of(const key_type *key)    \
	{                                                                    \
		value_type *found = bpf_map_lookup_elem(&name, key);         \
                                                                             \
		if (!found) {                                                \
			static const value_type zero;                        \
                                                                             \
			bpf_map_update_elem(&name, key, &zero, BPF_NOEXIST); \
			found = bpf_map_lookup_elem(&name, key);             \
			if (!found)                                          \
				ks_count(uncounted);                         \
		}                                                            \
		return found;                                                \
	}

#endif
