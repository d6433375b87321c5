// SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause
//
// Histograms of times in microseconds. They lie among the counters of a map that each CPU has its own of.
#ifndef KUBESKOOP_HISTOGRAM_H
#define KUBESKOOP_HISTOGRAM_H

#include <kubeskoop/settings.h>

// As in Log2Histogram: bucket i counts times up to and including 2^i us, the last everything above.
#define KS_BUCKETS 28

struct ks_histogram {
	__u64 buckets[KS_BUCKETS];
	__u64 sum_ns;
};

// Rounded up, so that no time lies above its bucket's bound.
static __always_inline __u32 ks_bucket(__u64 ns)
{
	__u64 value = ns > 1000 ? (ns + 999) / 1000 - 1 : 0;
	__u32 bucket = 0;

	if (value >= 1ULL << (KS_BUCKETS - 2))
		return KS_BUCKETS - 1;
	// The number of bits in value. BPF has no instruction that counts zeros.
	if (value >> 16) {
		bucket += 16;
		value >>= 16;
	}
	if (value >> 8) {
		bucket += 8;
		value >>= 8;
	}
	if (value >> 4) {
		bucket += 4;
		value >>= 4;
	}
	if (value >> 2) {
		bucket += 2;
		value >>= 2;
	}
	if (value >> 1) {
		bucket += 1;
		value >>= 1;
	}
	return bucket + value;
}

static __always_inline void ks_observe(struct ks_histogram *histogram, __u64 ns)
{
	__u32 bucket = ks_bucket(ns);

	if (bucket >= KS_BUCKETS) // for the verifier
		return;
	ks_add(&histogram->buckets[bucket], 1);
	ks_add(&histogram->sum_ns, ns);
}

#endif
