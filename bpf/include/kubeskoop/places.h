// SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause
//
// What a program keeps of objects of the kernel (packets, requests) between two hooks, found by their addresses.
#ifndef KUBESKOOP_PLACES_H
#define KUBESKOOP_PLACES_H

#include <kubeskoop/kernel.h>

// What each value begins with.
struct ks_place {
	__u64 address;	// 0: none
	__u64 since;	// 0 then
};

#define KS_PLACES_PER_SET 4

// A map, by the given name, of 2^sets_log2 sets of places, one set for each value that an address is hashed to. Nothing is allocated
// and nothing can leak: what finds a set full takes the place of the oldest in it. While 1,000 objects are kept in 4,096 sets, one of
// them loses its place once in forty times.
//   NAME_find(address): its place, or null.
//   NAME_take(address): the same, or a place for it; null never, but the verifier does not know. Only 'at' is filled in.
// Two CPUs may take the same place of a full set at the same moment, or one take what the other leaves: one of both then goes without,
// and the other may find what belongs to both, or no time. Who cannot bear that has to check.
#define KS_PLACES(name, sets_log2, value_type)                                                     \
	struct name##_set {                                                                        \
		value_type places[KS_PLACES_PER_SET];                                              \
	};                                                                                         \
	struct {                                                                                   \
		__uint(type, BPF_MAP_TYPE_ARRAY);                                                  \
		__uint(max_entries, 1 << (sets_log2));                                             \
		__type(key, __u32);                                                                \
		__type(value, struct name##_set);                                                  \
	} name SEC(".maps");                                                                       \
                                                                                                   \
	static __always_inline struct name##_set *name##_set_of(const void *address)               \
	{                                                                                          \
		__u32 index = ks_hash_of(address, sets_log2);                                      \
                                                                                                   \
		return bpf_map_lookup_elem(&name, &index);                                         \
	}                                                                                          \
                                                                                                   \
	static __always_inline value_type *name##_find(const void *address)                        \
	{                                                                                          \
		struct name##_set *set = name##_set_of(address);                                   \
                                                                                                   \
		if (!set)                                                                          \
			return NULL;                                                               \
		for (int i = 0; i < KS_PLACES_PER_SET; i++) {                                      \
			if (set->places[i].at.address == (__u64)address)                           \
				return &set->places[i];                                            \
		}                                                                                  \
		return NULL;                                                                       \
	}                                                                                          \
                                                                                                   \
	static __always_inline value_type *name##_take(const void *address, __u64 since)           \
	{                                                                                          \
		struct name##_set *set = name##_set_of(address);                                   \
		value_type *place;                                                                 \
                                                                                                   \
		if (!set)                                                                          \
			return NULL;                                                               \
		place = &set->places[0];                                                           \
		for (int i = 0; i < KS_PLACES_PER_SET; i++) {                                      \
			if (set->places[i].at.address == (__u64)address) {                         \
				place = &set->places[i];                                           \
				break;                                                             \
			}                                                                          \
			if (set->places[i].at.since < place->at.since)                             \
				place = &set->places[i];                                           \
		}                                                                                  \
		place->at.address = (__u64)address;                                                \
		place->at.since = since;                                                           \
		return place;                                                                      \
	}

static __always_inline void ks_leave(struct ks_place *place)
{
	place->address = 0;
	place->since = 0;
}

#endif
