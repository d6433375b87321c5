// SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause
#ifndef KUBESKOOP_BIOLATENCY_H
#define KUBESKOOP_BIOLATENCY_H

#include <kubeskoop/event.h>
#include <kubeskoop/histogram.h>

#define BIOLATENCY_DISK 32	// include/linux/blkdev.h, DISK_NAME_LEN

enum biolatency_operation {
	BIOLATENCY_READ,
	BIOLATENCY_WRITE,
	BIOLATENCY_FLUSH,
	BIOLATENCY_DISCARD,
	BIOLATENCY_OTHER,
};

enum biolatency_part {
	BIOLATENCY_TOTAL,	// from the request's start to its completion
	BIOLATENCY_QUEUE,	// of that, until the driver got it
	BIOLATENCY_DEVICE,	// and the rest
	BIOLATENCY_PARTS,
};

// C#: Probes/BioLatency/BioLatencyProbe.cs
struct biolatency_settings {
	__u32 flush_sequence;	// RQF_FLUSH_SEQ of this kernel, where its enumeration is known
	__u32 statistics;	// RQF_IO_STAT, likewise
	__u32 starts_told;	// by block_io_start
	__u32 pad;
};

struct biolatency_key {
	char disk[BIOLATENCY_DISK];
	__u32 operation;
	__u32 pad;
};
KS_RECORD(biolatency_key);

struct biolatency_counts {
	__u64 operations;
	__u64 bytes;
	__u64 errors;
	struct ks_histogram times[BIOLATENCY_PARTS];
};

// C#: Probes/BioLatency/BioLatencyEvent.cs
struct biolatency_event {
	struct ks_event head;	// the process: only one that waits for it; the cgroup: that of the bio
	__u64 total_ns;
	__u64 queue_ns;		// of a request whose way to the driver was seen
	__u64 sector;		// of 512 bytes
	__u32 bytes;
	__s32 status;		// 0: done; negative: an errno, before 5.16; else a blk_status_t
	__u8 operation;
	__u8 issued;		// whether queue_ns is known
	__u8 own_hierarchy;	// of version 1: the cgroup's number is none of version 2
	__u8 pad[5];
	char disk[BIOLATENCY_DISK];
};
KS_RECORD(biolatency_event);

#endif
