// SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause
//
// Fills a ring with records, as many as the context's first word says and of 64 bytes or, when its second is not 0, of 128.
#include <kubeskoop/kernel.h>

char LICENSE[] SEC("license") = "Dual BSD/GPL";

struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 1 << 22);
} events SEC(".maps");

struct small {
	__u64 words[8];
};

struct large {
	__u64 words[16];
};

static long emit_small(__u32 i, void *context)
{
	struct small *record = bpf_ringbuf_reserve(&events, sizeof(*record), 0);

	if (!record)
		return 1;
	for (int word = 0; word < 8; word++)
		record->words[word] = i + word;
	bpf_ringbuf_submit(record, BPF_RB_NO_WAKEUP);
	return 0;
}

static long emit_large(__u32 i, void *context)
{
	struct large *record = bpf_ringbuf_reserve(&events, sizeof(*record), 0);

	if (!record)
		return 1;
	for (int word = 0; word < 16; word++)
		record->words[word] = i + word;
	bpf_ringbuf_submit(record, BPF_RB_NO_WAKEUP);
	return 0;
}

SEC("raw_tp")
int fill(__u64 *ctx)
{
	bpf_loop(ctx[0], ctx[1] ? emit_large : emit_small, NULL, 0);
	return 0;
}
