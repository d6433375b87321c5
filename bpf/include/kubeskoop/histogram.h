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

// Moves a value's upper half down when it has one; the sign of a difference tells. Without a branch: every one of them is two ways
// for the verifier to walk.
#define KS_HALVE(value, bucket, bits)                                        \
	do {                                                                 \
		__u64 moved_ = (((1ULL << (bits)) - 1 - (value)) >> 63) * (bits); \
                                                                             \
		(bucket) += moved_;                                          \
		(value) >>= moved_;                                          \
	} while (0)

// Rounded up, so that no time lies above its bucket's bound.
static __always_inline __u64 ks_bucket(__u64 ns)
{
	__u64 value = ns > 1000 ? (ns + 999) / 1000 - 1 : 0, bucket = 0;

	if (value >= 1ULL << (KS_BUCKETS - 2))
		return KS_BUCKETS - 1;
	// The number of bits in value. BPF has no instruction that counts zeros.
	KS_HALVE(value, bucket, 16);
	KS_HALVE(value, bucket, 8);
	KS_HALVE(value, bucket, 4);
	KS_HALVE(value, bucket, 2);
	KS_HALVE(value, bucket, 1);
	return bucket + value;
}

// times: how many it stands for.
static __always_inline void ks_observe_many(struct ks_histogram *histogram, __u64 ns, __u64 times)
{
	__u64 bucket = ks_bucket(ns);

	if (bucket >= KS_BUCKETS) // for the verifier
		return;
	ks_add(&histogram->buckets[bucket], times);
	ks_add(&histogram->sum_ns, ns * times);
}

static __always_inline void ks_observe(struct ks_histogram *histogram, __u64 ns)
{
	ks_observe_many(histogram, ns, 1);
}

#endif
