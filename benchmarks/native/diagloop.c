// SPDX-License-Identifier: Apache-2.0
//
// diagloop PID: the floor of summing up the TCP sockets of the network namespace that process PID is in: ask sock_diag,
// receive, and step through the messages without looking into them. Commands on stdin, one a line:
//   both N    N passes of one dump of both families (TCPDIAG_GETSOCK)
//   each N    N passes of two dumps, one for each family (SOCK_DIAG_BY_FAMILY)
//   listen N  N passes of one dump of both families' listening sockets
//   ss N      N runs of "ss -tan > /dev/null", from its start to its end
//   poke N    N segments in the namespace, so that its counters move: a connection to a closed port
// The answer is a line "WALL CPU SOCKETS": nanoseconds per pass on the clock and of this thread, and sockets per pass.
#define _GNU_SOURCE
#include <fcntl.h>
#include <linux/inet_diag.h>
#include <linux/netlink.h>
#include <linux/sock_diag.h>
#include <netinet/in.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define LISTENING (1u << 10)
#define CONNECTIONS (0xfffu & ~LISTENING & ~(1u << 6))	// without TIME_WAIT, which sockstat counts

static char buffer[64 * 1024];

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

static long drain(int s)
{
	long sockets = 0;

	for (;;) {
		int left = (int)recv(s, buffer, sizeof(buffer), 0);

		if (left <= 0)
			fail("diagloop: recv");
		for (struct nlmsghdr *m = (void *)buffer; NLMSG_OK(m, left); m = NLMSG_NEXT(m, left)) {
			if (m->nlmsg_type == NLMSG_DONE)
				return sockets;
			if (m->nlmsg_type == NLMSG_ERROR) {
				fprintf(stderr, "diagloop: the kernel refuses\n");
				exit(1);
			}
			sockets++;
		}
	}
}

static long both(int s, unsigned states)
{
	struct {
		struct nlmsghdr header;
		struct inet_diag_req request;
	} ask = {
		.header = { .nlmsg_len = sizeof(ask), .nlmsg_type = TCPDIAG_GETSOCK, .nlmsg_flags = NLM_F_REQUEST | NLM_F_DUMP },
		.request = { .idiag_family = AF_INET, .idiag_states = states },
	};

	if (send(s, &ask, sizeof(ask), 0) < 0)
		fail("diagloop: send");
	return drain(s);
}

static long each(int s, unsigned char family, unsigned states)
{
	struct {
		struct nlmsghdr header;
		struct inet_diag_req_v2 request;
	} ask = {
		.header = { .nlmsg_len = sizeof(ask), .nlmsg_type = SOCK_DIAG_BY_FAMILY, .nlmsg_flags = NLM_F_REQUEST | NLM_F_DUMP },
		.request = { .sdiag_family = family, .sdiag_protocol = IPPROTO_TCP, .idiag_states = states },
	};

	if (send(s, &ask, sizeof(ask), 0) < 0)
		fail("diagloop: send");
	return drain(s);
}

// Returns the CPU time of the program, which is none of this thread's.
static long long run_ss(void)
{
	struct rusage used;
	int status;
	pid_t child = fork();

	if (child < 0)
		fail("diagloop: fork");
	if (child == 0) {
		int null = open("/dev/null", O_WRONLY);

		dup2(null, STDOUT_FILENO);
		execlp("ss", "ss", "-tan", NULL);
		_exit(127);
	}
	if (wait4(child, &status, 0, &used) != child || !WIFEXITED(status) || WEXITSTATUS(status) != 0) {
		fprintf(stderr, "diagloop: ss failed; is it installed?\n");
		exit(1);
	}
	return (used.ru_utime.tv_sec + used.ru_stime.tv_sec) * 1000000000LL + (used.ru_utime.tv_usec + used.ru_stime.tv_usec) * 1000LL;
}

static void poke(void)
{
	struct sockaddr_in closed = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK), .sin_port = htons(9) };
	int s = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	if (s < 0)
		fail("diagloop: socket");
	(void)!connect(s, (void *)&closed, sizeof(closed));
	close(s);
}

int main(int argc, char **argv)
{
	char command[8], path[64];
	long passes;

	if (argc != 2) {
		fprintf(stderr, "usage: diagloop PID\n");
		return 2;
	}
	snprintf(path, sizeof(path), "/proc/%s/ns/net", argv[1]);
	int ns = open(path, O_RDONLY | O_CLOEXEC);
	if (ns < 0 || setns(ns, CLONE_NEWNET) != 0)
		fail(path);
	close(ns);
	int s = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_SOCK_DIAG);
	if (s < 0)
		fail("diagloop: socket");

	while (scanf("%7s %ld", command, &passes) == 2 && passes > 0) {
		long sockets = 0;
		long long others = 0;
		long long wall = now(CLOCK_MONOTONIC), cpu = now(CLOCK_THREAD_CPUTIME_ID);

		for (long i = 0; i < passes; i++) {
			if (strcmp(command, "both") == 0)
				sockets = both(s, CONNECTIONS);
			else if (strcmp(command, "listen") == 0)
				sockets = both(s, LISTENING);
			else if (strcmp(command, "ss") == 0)
				others += run_ss();
			else if (strcmp(command, "poke") == 0)
				poke();
			else
				sockets = each(s, AF_INET, CONNECTIONS) + each(s, AF_INET6, CONNECTIONS);
		}
		cpu = now(CLOCK_THREAD_CPUTIME_ID) - cpu + others;
		wall = now(CLOCK_MONOTONIC) - wall;
		printf("%lld %lld %ld\n", wall / passes, cpu / passes, sockets);
		fflush(stdout);
	}
	return 0;
}
