// SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause
//
// virtcmdlatency: how long the host takes to carry out commands to virtio network devices. The driver waits for the answer, spinning
// on older kernels, and whoever wants anything of the device waits for the driver.
#include "virtcmdlatency.h"

#define TEN_MS 10000000ULL
#define NETDEV_ALIGN 32	// include/linux/netdevice.h

// Since when a task waits. A thread may come back on another CPU, but waits for one command at a time.
struct waiting {
	__u64 since;
	__u64 driver;
	__u8 device_class;
	__u8 command;
	__u8 pad[6];
};

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 1024);
	__type(key, __u64);
	__type(value, struct waiting);
} tasks SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct virtcmdlatency_counts);
} commands SEC(".maps");

// The begin of the driver's own data, drivers/net/virtio_net.c. Modules of older kernels have no type information; what follows below
// shows whether it is right.
struct virtnet_info {
	const void *vdev;
	const void *cvq;
	const struct net_device *dev;
};

static __always_inline const struct net_device *device_of(__u64 driver)
{
	const struct net_device *dev = NULL;
	__u64 size = (bpf_core_type_size(struct net_device) + NETDEV_ALIGN - 1) & ~(NETDEV_ALIGN - 1ULL);

	bpf_probe_read_kernel(&dev, sizeof(dev), &((const struct virtnet_info *)driver)->dev);
	// What is the driver's own lies right behind the device.
	return (__u64)dev + size == driver ? dev : NULL;
}

static __always_inline int on_enter(void *ctx)
{
	__u64 task = bpf_get_current_pid_tgid();
	struct waiting now = {
		.since = bpf_ktime_get_ns(),
		.driver = (__u64)ks_argument(ctx, 0),
		.device_class = (__u64)ks_argument(ctx, 1),
		.command = (__u64)ks_argument(ctx, 2),
	};

	if (bpf_map_update_elem(&tasks, &task, &now, BPF_ANY))
		ks_count(uncounted);
	return 0;
}

static __always_inline void tell(const struct waiting *waiting, __u64 now, bool failed)
{
	const struct task_struct *task = (const void *)bpf_get_current_task();
	const struct net_device *dev = device_of(waiting->driver);
	__u32 netns = dev ? BPF_CORE_READ(dev, nd_net.net, ns.inum) : 0;
	struct virtcmdlatency_event *event = ks_reserve(sizeof(*event), netns, now);

	if (!event)
		return;
	event->latency_ns = now - waiting->since;
	event->device_class = waiting->device_class;
	event->command = waiting->command;
	event->failed = failed;
	if (dev) {
		event->device_index = BPF_CORE_READ(dev, ifindex);
		BPF_CORE_READ_INTO(&event->device, dev, name);
	}
	if (!(BPF_CORE_READ(task, flags) & PF_KTHREAD))
		ks_current(&event->head);
	bpf_ringbuf_submit(event, 0);
}

static __always_inline int on_return(void *ctx)
{
	__u64 task = bpf_get_current_pid_tgid(), now = bpf_ktime_get_ns(), latency;
	bool failed = !(__u8)ks_returned(ctx);
	struct virtcmdlatency_counts *counts;
	struct waiting *found = bpf_map_lookup_elem(&tasks, &task), waiting;
	__u32 zero = 0;

	if (!found) // it began before the probe did
		return 0;
	waiting = *found;
	bpf_map_delete_elem(&tasks, &task);
	latency = now - waiting.since;
	counts = bpf_map_lookup_elem(&commands, &zero);
	if (counts) {
		ks_observe(&counts->times, latency);
		if (failed)
			ks_add(&counts->failed, 1);
		if (latency >= TEN_MS)
			ks_add(&counts->over_10ms, 1);
		if (latency >= 10 * TEN_MS)
			ks_add(&counts->over_100ms, 1);
	}
	if (failed || latency >= settings.threshold_ns[0])
		tell(&waiting, now, failed);
	return 0;
}

// Since 6.11; what had the other name calls it.
SEC("kprobe/virtnet_send_command_reply")
int enter_reply(void *ctx)
{
	return on_enter(ctx);
}

SEC("kretprobe/virtnet_send_command_reply")
int leave_reply(void *ctx)
{
	return on_return(ctx);
}

SEC("kprobe/virtnet_send_command")
int enter(void *ctx)
{
	return on_enter(ctx);
}

SEC("kretprobe/virtnet_send_command")
int leave(void *ctx)
{
	return on_return(ctx);
}
