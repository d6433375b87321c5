// SPDX-License-Identifier: Apache-2.0
//
// qdiscloop PIDS: the floor of dumping the qdiscs of the network namespace of every pid in the file PIDS: one kept rtnetlink socket
// each, messages are received and stepped through, nothing is parsed. Commands on stdin, one a line:
//   kept N    N passes over sockets that stay open
//   open N    N passes that enter the namespace, open a socket, dump, and close it
// The answer is a line "WALL CPU MESSAGES": nanoseconds per pass on the clock and of this thread, and messages per pass.
#define _GNU_SOURCE
#include <fcntl.h>
#include <linux/netlink.h>
#include <linux/rtnetlink.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

struct space {
	int ns;
	int socket;
};

static char buffer[1 << 16];

static long long now(clockid_t clock)
{
	struct timespec t;

	clock_gettime(clock, &t);
	return t.tv_sec * 1000000000LL + t.tv_nsec;
}

static _Noreturn void fail(const char *what)
{
	perror(what);
	exit(1);
}

static int open_socket(int ns)
{
	struct sockaddr_nl address = { .nl_family = AF_NETLINK };
	int s, one = 1;

	if (setns(ns, CLONE_NEWNET) != 0)
		fail("qdiscloop: setns");
	s = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_ROUTE);
	if (s < 0 || bind(s, (void *)&address, sizeof(address)) != 0)
		fail("qdiscloop: socket");
	setsockopt(s, SOL_NETLINK, NETLINK_GET_STRICT_CHK, &one, sizeof(one));
	return s;
}

static long long dump(int s)
{
	static unsigned sequence;
	struct {
		struct nlmsghdr header;
		struct tcmsg traffic;
	} request = { .header = { sizeof(request), RTM_GETQDISC, NLM_F_REQUEST | NLM_F_DUMP, ++sequence, 0 } };
	struct sockaddr_nl kernel = { .nl_family = AF_NETLINK };
	long long messages = 0;

	if (sendto(s, &request, sizeof(request), 0, (void *)&kernel, sizeof(kernel)) < 0)
		fail("qdiscloop: sendto");
	for (;;) {
		socklen_t length = sizeof(kernel);
		int got = recvfrom(s, buffer, sizeof(buffer), 0, (void *)&kernel, &length);

		if (got <= 0)
			fail("qdiscloop: recvfrom");
		for (struct nlmsghdr *m = (void *)buffer; NLMSG_OK(m, (unsigned)got); m = NLMSG_NEXT(m, got)) {
			if (m->nlmsg_type == NLMSG_DONE)
				return messages;
			if (m->nlmsg_type == NLMSG_ERROR)
				exit(1);
			messages++;
		}
	}
}

int main(int argc, char **argv)
{
	struct rlimit limit;
	struct space *spaces = NULL;
	char command[8], path[64];
	int count = 0, pid;
	long passes;

	if (argc != 2) {
		fprintf(stderr, "usage: qdiscloop PIDS\n");
		return 2;
	}
	if (getrlimit(RLIMIT_NOFILE, &limit) == 0) {
		limit.rlim_cur = limit.rlim_max;
		setrlimit(RLIMIT_NOFILE, &limit);
	}
	FILE *pids = fopen(argv[1], "r");
	if (!pids)
		fail(argv[1]);
	while (fscanf(pids, "%d", &pid) == 1) {
		spaces = realloc(spaces, sizeof(*spaces) * (count + 1));
		snprintf(path, sizeof(path), "/proc/%d/ns/net", pid);
		if (!spaces || (spaces[count].ns = open(path, O_RDONLY | O_CLOEXEC)) < 0)
			fail(path);
		spaces[count].socket = open_socket(spaces[count].ns);
		count++;
	}
	fclose(pids);
	printf("namespaces %d\n", count);
	fflush(stdout);
	while (scanf("%7s %ld", command, &passes) == 2 && passes > 0) {
		int kept = strcmp(command, "kept") == 0;
		long long messages = 0, wall = now(CLOCK_MONOTONIC), cpu = now(CLOCK_THREAD_CPUTIME_ID);

		for (long i = 0; i < passes; i++) {
			messages = 0;
			for (int k = 0; k < count; k++) {
				int s = kept ? spaces[k].socket : open_socket(spaces[k].ns);

				messages += dump(s);
				if (!kept)
					close(s);
			}
		}
		cpu = now(CLOCK_THREAD_CPUTIME_ID) - cpu;
		wall = now(CLOCK_MONOTONIC) - wall;
		printf("%lld %lld %lld\n", wall / passes, cpu / passes, messages);
		fflush(stdout);
	}
	return 0;
}
