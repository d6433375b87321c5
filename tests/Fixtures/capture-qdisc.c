// SPDX-License-Identifier: Apache-2.0
//
// capture-qdisc send COUNT BYTES    sends datagrams to 10.98.0.2, ten from a socket
// capture-qdisc qdiscs              writes the answer to a dump to stdout, as the kernel sent it
// capture-qdisc classes DEVICE HANDLE
// capture-qdisc links | stats
#include <arpa/inet.h>
#include <linux/if_link.h>
#include <linux/netlink.h>
#include <linux/rtnetlink.h>
#include <net/if.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

static char buffer[1 << 17];

static int send_datagrams(int count, size_t bytes)
{
	struct sockaddr_in to = { .sin_family = AF_INET, .sin_port = htons(9) };
	int s = -1;

	inet_aton("10.98.0.2", &to.sin_addr);
	for (int i = 0; i < count; i++) {
		if (i % 10 == 0)
			s = socket(AF_INET, SOCK_DGRAM, 0);
		sendto(s, buffer, bytes, 0, (void *)&to, sizeof(to));
	}
	return 0;
}

int main(int argc, char **argv)
{
	const char *what = argc > 1 ? argv[1] : "";
	struct {
		struct nlmsghdr header;
		union {
			struct tcmsg traffic;
			struct ifinfomsg link;
			struct if_stats_msg stats;
		};
	} request = { .header = { .nlmsg_flags = NLM_F_REQUEST | NLM_F_DUMP, .nlmsg_seq = 1 } };
	size_t body;

	if (argc == 4 && strcmp(what, "send") == 0)
		return send_datagrams(atoi(argv[2]), atoi(argv[3]));
	if (strcmp(what, "qdiscs") == 0) {
		request.header.nlmsg_type = RTM_GETQDISC;
		body = sizeof(request.traffic);
	} else if (argc == 4 && strcmp(what, "classes") == 0) {
		request.header.nlmsg_type = RTM_GETTCLASS;
		request.traffic.tcm_ifindex = if_nametoindex(argv[2]);
		request.traffic.tcm_parent = strtoul(argv[3], NULL, 16);
		body = sizeof(request.traffic);
	} else if (strcmp(what, "links") == 0) {
		request.header.nlmsg_type = RTM_GETLINK;
		body = sizeof(request.link);
	} else if (strcmp(what, "stats") == 0) {
		request.header.nlmsg_type = RTM_GETSTATS;
		request.stats.filter_mask = 1 << (IFLA_STATS_LINK_64 - 1);
		body = sizeof(request.stats);
	} else {
		return 2;
	}
	request.header.nlmsg_len = NLMSG_LENGTH(body);

	int s = socket(AF_NETLINK, SOCK_RAW, NETLINK_ROUTE), one = 1;

	setsockopt(s, SOL_NETLINK, NETLINK_GET_STRICT_CHK, &one, sizeof(one));
	if (send(s, &request, request.header.nlmsg_len, 0) < 0)
		return 1;
	for (;;) {
		int got = recv(s, buffer, sizeof(buffer), 0);

		if (got <= 0 || write(1, buffer, got) != got)
			return 1;
		for (struct nlmsghdr *m = (void *)buffer; NLMSG_OK(m, (unsigned)got); m = NLMSG_NEXT(m, got))
			if (m->nlmsg_type == NLMSG_DONE || m->nlmsg_type == NLMSG_ERROR)
				return m->nlmsg_type != NLMSG_DONE;
	}
}
