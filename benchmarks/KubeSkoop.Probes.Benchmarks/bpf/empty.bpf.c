// SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause
//
// Programs that do nothing, one on each tracepoint the probes use: what being called costs.
#include <kubeskoop/kernel.h>

char LICENSE[] SEC("license") = "Dual BSD/GPL";

#define EMPTY(tracepoint)                  \
	SEC("tp_btf/" #tracepoint)         \
	int at_##tracepoint(__u64 *ctx)    \
	{                                  \
		return 0;                  \
	}

EMPTY(tcp_send_reset)
EMPTY(tcp_receive_reset)
EMPTY(tcp_retransmit_skb)
EMPTY(tcp_retransmit_synack)
EMPTY(tcp_destroy_sock)
EMPTY(inet_sock_set_state)
EMPTY(kfree_skb)
EMPTY(consume_skb)
EMPTY(sk_data_ready)
EMPTY(sock_recv_length)
EMPTY(sock_send_length)
EMPTY(netif_receive_skb)
EMPTY(tcp_probe)
EMPTY(net_dev_queue)
EMPTY(net_dev_start_xmit)
EMPTY(net_dev_xmit)
EMPTY(qdisc_enqueue)
EMPTY(qdisc_dequeue)
EMPTY(softirq_raise)
EMPTY(softirq_entry)
EMPTY(softirq_exit)
EMPTY(block_io_start)
EMPTY(block_io_done)
EMPTY(block_rq_issue)
EMPTY(block_rq_complete)
