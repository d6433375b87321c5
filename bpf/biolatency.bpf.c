// SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause
//
// biolatency: how long requests to disks take: waiting for the driver, and with the device.
#include "biolatency.h"
#include <kubeskoop/places.h>

#define LONGEST_INTERRUPT 10000000000ULL	// ns
#define REQ_OP_MASK 0xff		// include/linux/blk_types.h, as all below since 4.10
#define REQ_OP_READ 0
#define REQ_OP_WRITE 1
#define REQ_OP_FLUSH 2
#define REQ_OP_DISCARD 3
#define REQ_SYNC (1U << 11)
#define RQF_FLUSH_SEQ_BEFORE_6_12 (1U << 4)	// include/linux/blk-mq.h

volatile struct biolatency_settings flags SEC(".data.biolatency") = {};

// A request on its way. A disk's requests are allocated with it and used again and again, so an address stands for one after the other.
struct on_its_way {
	struct ks_place at;	// since its start
	__u64 issued;		// to the driver, for the last time when it gave it back; 0: not yet
	__u64 task;		// what ran when it started
	__u64 pid_tgid;
	__u64 told;		// whether the kernel told the start, as it then does of each that comes after this one at its address
};

KS_PLACES(requests, 12, struct on_its_way)

KS_COUNTERS_PER_CPU(disks, struct biolatency_key, struct biolatency_counts)

// When the kernel noted the start; 0: it did not. Since 6.12 it leaves what it noted of an earlier request at this address. A flush
// is made anew each time.
static __always_inline __u64 noted_start(const struct request *rq)
{
	if (flags.statistics && !(rq->rq_flags & flags.statistics) && (rq->cmd_flags & REQ_OP_MASK) != REQ_OP_FLUSH)
		return 0;
	return BPF_CORE_READ(rq, start_time_ns);
}

static __always_inline void begin(const struct request *rq, __u64 started, __u64 issued, bool told)
{
	struct on_its_way *place = requests_take(rq, started);

	if (!place)
		return;
	place->issued = issued;
	// Who runs where a start is told, but was not for this request, only hands it on.
	place->task = told || !flags.starts_told ? bpf_get_current_task() : 0;
	place->pid_tgid = bpf_get_current_pid_tgid();
	place->told = told;
}

// What is known of a request; null when that was of an earlier one at its address: one that was merged into another has no end of its
// own. Where the start is told the kernel notes it afterwards, later by as long as it is interrupted. A place without a time is one that
// two CPUs took and left at once.
static __always_inline struct on_its_way *find(const struct request *rq)
{
	struct on_its_way *place = requests_find(rq);

	if (!place || !place->at.since)
		return NULL;
	return place->at.since + (place->told ? LONGEST_INTERRUPT : 0) >= noted_start(rq) ? place : NULL;
}

// Since 6.5. The kernel's own note of this moment is no better: since 6.9 it may be as old as the plug that the request waits behind.
SEC("tp_btf/block_io_start")
int BPF_PROG(start, const struct request *rq)
{
	begin(rq, bpf_ktime_get_ns(), 0, true);
	return 0;
}

// Before that: on its way into the scheduler. Kernels of then note the start themselves, and rightly.
static __always_inline int on_insert(const struct request *rq)
{
	__u64 noted = noted_start(rq);

	if (!noted || !find(rq))
		begin(rq, noted ?: bpf_ktime_get_ns(), 0, false);
	return 0;
}

static __always_inline int on_issue(const struct request *rq)
{
	struct on_its_way *request = find(rq);
	__u64 now = bpf_ktime_get_ns();

	if (request)
		request->issued = now;
	else // past the scheduler, a flush, or one that waited when the programs were attached
		begin(rq, noted_start(rq) ?: now, now, false);
	return 0;
}

SEC("tp_btf/block_rq_insert")
int BPF_PROG(insert, const struct request *rq)
{
	return on_insert(rq);
}

SEC("tp_btf/block_rq_issue")
int BPF_PROG(issue, const struct request *rq)
{
	return on_issue(rq);
}

// Before 5.11.
SEC("tp_btf/block_rq_insert")
int BPF_PROG(insert_with_queue, const void *queue, const struct request *rq)
{
	return on_insert(rq);
}

SEC("tp_btf/block_rq_issue")
int BPF_PROG(issue_with_queue, const void *queue, const struct request *rq)
{
	return on_issue(rq);
}

static __always_inline __u32 operation_of(const struct request *rq)
{
	switch (rq->cmd_flags & REQ_OP_MASK) {
	case REQ_OP_READ:
		return BIOLATENCY_READ;
	case REQ_OP_WRITE:
		return BIOLATENCY_WRITE;
	case REQ_OP_FLUSH:
		return BIOLATENCY_FLUSH;
	case REQ_OP_DISCARD:
		return BIOLATENCY_DISCARD;
	default:
		return BIOLATENCY_OTHER;
	}
}

static __always_inline const struct gendisk *disk_of(const struct request *rq)
{
	const struct request___before_5_16 *old = (const void *)rq;

	if (bpf_core_field_exists(old->rq_disk))
		return BPF_CORE_READ(old, rq_disk);
	return BPF_CORE_READ(rq, q, disk);
}

// A write that has to flush the disk's cache, before or after, completes once with its data and again at the end. Its bytes come with
// the first, and it counts with the second. 6.12 gave the flag another bit, and an enumeration with a name to find it by;
// a kernel between, which lacks that name, must not take another flag for it.
static __always_inline bool is_in_flush_sequence(const struct request *rq)
{
	const struct queue_limits *limits = NULL;
	__u32 flag = flags.flush_sequence;

	if (!flag && !bpf_core_field_exists(limits->features))
		flag = RQF_FLUSH_SEQ_BEFORE_6_12;
	return rq->rq_flags & flag && (rq->cmd_flags & REQ_OP_MASK) != REQ_OP_FLUSH;
}

static __always_inline void note_cgroup(struct biolatency_event *event, const struct request *rq)
{
	const struct bio *bio = BPF_CORE_READ(rq, bio);
	const struct cgroup *cgroup;

	event->head.cgroup = 0;
	event->own_hierarchy = 0;
	if (!bio || !bpf_core_field_exists(bio->bi_blkg))
		return;
	cgroup = BPF_CORE_READ(bio, bi_blkg, blkcg, css.cgroup);
	event->head.cgroup = BPF_CORE_READ(cgroup, kn, id);
	event->own_hierarchy = BPF_CORE_READ(cgroup, root, hierarchy_id) != 0;
}

// A process waits for what it reads, and for what it writes synchronously. The kernel's own threads work for others.
static __always_inline void note_process(struct ks_event *event, const struct request *rq, const struct on_its_way *request)
{
	const struct task_struct *task = (const void *)request->task;

	if ((rq->cmd_flags & REQ_OP_MASK) != REQ_OP_READ && !(rq->cmd_flags & REQ_SYNC))
		return;
	if (!task || BPF_CORE_READ(task, flags) & PF_KTHREAD || !ks_task_is(task, request->pid_tgid))
		return;
	event->tgid = request->pid_tgid >> 32;
	BPF_CORE_READ_INTO(&event->comm, task, comm);
}

static __always_inline void tell(const struct request *rq, const struct biolatency_key *key, const struct on_its_way *request, __u64 started, __u64 issued,
	__u64 now, unsigned int bytes, int status)
{
	struct biolatency_event *event = ks_reserve(sizeof(*event), 0, now);

	if (!event)
		return;
	event->total_ns = now - started;
	event->queue_ns = issued ? issued - started : 0;
	event->issued = issued != 0;
	event->sector = rq->__sector;
	event->bytes = bytes;
	event->status = status;
	event->operation = key->operation;
	note_cgroup(event, rq);
	if (request)
		note_process(&event->head, rq, request);
	__builtin_memcpy(event->disk, key->disk, sizeof(event->disk));
	bpf_ringbuf_submit(event, 0);
}

// Maybe of a part of the request. status: an errno until 5.16, a blk_status_t since.
SEC("tp_btf/block_rq_complete")
int BPF_PROG(complete, const struct request *rq, int status, unsigned int bytes)
{
	__u64 now, started, issued = 0;
	const struct gendisk *disk = disk_of(rq);
	struct biolatency_counts *counts;
	struct biolatency_key key = {};
	struct on_its_way *request;

	if (!disk) // a command to something that is no disk, or not yet
		return 0;
	bpf_probe_read_kernel_str(key.disk, sizeof(key.disk), disk->disk_name);
	key.operation = operation_of(rq);
	counts = disks_of(&key);
	if (counts)
		ks_add(&counts->bytes, bytes);
	if (bytes < rq->__data_len || is_in_flush_sequence(rq))
		return 0;
	request = find(rq);
	if (request) {
		started = request->at.since;
		issued = request->issued >= started ? request->issued : 0; // two CPUs may have had one place at once
	} else {
		started = noted_start(rq);
	}
	now = bpf_ktime_get_ns();
	if (counts) {
		ks_add(&counts->operations, 1);
		if (status)
			ks_add(&counts->errors, 1);
		if (started)
			ks_observe(&counts->times[BIOLATENCY_TOTAL], now - started);
		if (issued) {
			ks_observe(&counts->times[BIOLATENCY_QUEUE], issued - started);
			ks_observe(&counts->times[BIOLATENCY_DEVICE], now - issued);
		}
	}
	if (started && now - started >= settings.threshold_ns[0])
		tell(rq, &key, request, started, issued, now, bytes, status);
	if (request)
		ks_leave(&request->at);
	return 0;
}
