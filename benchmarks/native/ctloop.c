// SPDX-License-Identifier: Apache-2.0
//
// ctloop ENTRIES: makes a network namespace of its own with ENTRIES tracked connections, half TCP and half UDP, prints its pid and
// then "ready"; it is also the floor of counting them: dump, receive, and step through the messages without looking into them.
// Commands on stdin, one a line:
//   dump N    N passes of one dump
//   list N    N runs of "conntrack -L > /dev/null", from its start to its end
// The answer is a line "WALL CPU ENTRIES": nanoseconds per pass on the clock and of this thread, and entries per pass.
// The connections end with the namespace, and that with this process.
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <fcntl.h>
#include <linux/netfilter/nf_conntrack_common.h>
#include <linux/netfilter/nfnetlink.h>
#include <linux/netfilter/nfnetlink_conntrack.h>
#include <linux/netlink.h>
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

static char buffer[64 * 1024];

struct request {
	struct nlmsghdr header;
	struct nfgenmsg family;
	char attributes[400];
};

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

static void start(struct request *r, int type, int flags)
{
	memset(r, 0, sizeof(*r));
	r->header.nlmsg_len = NLMSG_LENGTH(sizeof(r->family));
	r->header.nlmsg_type = (NFNL_SUBSYS_CTNETLINK << 8) | (unsigned)type;
	r->header.nlmsg_flags = (__u16)(NLM_F_REQUEST | flags);
	r->family.nfgen_family = type == IPCTNL_MSG_CT_GET ? AF_UNSPEC : AF_INET;
	r->family.version = NFNETLINK_V0;
}

static struct nlattr *put(struct request *r, int type, const void *value, int length)
{
	struct nlattr *a = (void *)((char *)r + r->header.nlmsg_len);

	a->nla_type = (__u16)type;
	a->nla_len = (__u16)(NLA_HDRLEN + length);
	if (length > 0)
		memcpy((char *)a + NLA_HDRLEN, value, (size_t)length);
	r->header.nlmsg_len += (unsigned)NLA_ALIGN(a->nla_len);
	return a;
}

static void end(struct request *r, struct nlattr *a)
{
	a->nla_len = (__u16)((char *)r + r->header.nlmsg_len - (char *)a);
}

static void put_tuple(struct request *r, int type, in_addr_t from, in_addr_t to, unsigned char protocol, in_port_t from_port, in_port_t to_port)
{
	struct nlattr *tuple = put(r, type | NLA_F_NESTED, NULL, 0);
	struct nlattr *part = put(r, CTA_TUPLE_IP | NLA_F_NESTED, NULL, 0);

	put(r, CTA_IP_V4_SRC, &from, sizeof(from));
	put(r, CTA_IP_V4_DST, &to, sizeof(to));
	end(r, part);
	part = put(r, CTA_TUPLE_PROTO | NLA_F_NESTED, NULL, 0);
	put(r, CTA_PROTO_NUM, &protocol, sizeof(protocol));
	put(r, CTA_PROTO_SRC_PORT, &from_port, sizeof(from_port));
	put(r, CTA_PROTO_DST_PORT, &to_port, sizeof(to_port));
	end(r, part);
	end(r, tuple);
}

static void make(int s, int entries)
{
	in_addr_t server = htonl(0x0afffffe);
	unsigned timeout = htonl(3600), status = htonl(IPS_SEEN_REPLY | IPS_ASSURED | IPS_CONFIRMED);
	struct request r;

	for (int i = 0; i < entries; i++) {
		unsigned char protocol = i & 1 ? IPPROTO_UDP : IPPROTO_TCP;
		in_addr_t client = htonl(0x0a000001 + (unsigned)i);

		start(&r, IPCTNL_MSG_CT_NEW, NLM_F_CREATE | NLM_F_EXCL | NLM_F_ACK);
		put_tuple(&r, CTA_TUPLE_ORIG, client, server, protocol, htons(40000), htons(443));
		put_tuple(&r, CTA_TUPLE_REPLY, server, client, protocol, htons(443), htons(40000));
		put(&r, CTA_TIMEOUT, &timeout, sizeof(timeout));
		put(&r, CTA_STATUS, &status, sizeof(status));
		if (protocol == IPPROTO_TCP) {
			unsigned char state = (unsigned char)(i % 20 == 0 ? 7 : 3);	// TIME_WAIT, ESTABLISHED
			struct nlattr *info = put(&r, CTA_PROTOINFO | NLA_F_NESTED, NULL, 0);
			struct nlattr *tcp = put(&r, CTA_PROTOINFO_TCP | NLA_F_NESTED, NULL, 0);

			put(&r, CTA_PROTOINFO_TCP_STATE, &state, sizeof(state));
			end(&r, tcp);
			end(&r, info);
		}
		if (send(s, &r, r.header.nlmsg_len, 0) < 0 || recv(s, buffer, sizeof(buffer), 0) < (ssize_t)NLMSG_LENGTH(sizeof(struct nlmsgerr)))
			fail("ctloop: making an entry");
		struct nlmsgerr *answer = NLMSG_DATA((struct nlmsghdr *)(void *)buffer);
		if (answer->error != 0) {
			fprintf(stderr, "ctloop: entry %d: %s (is net.netfilter.nf_conntrack_max large enough?)\n", i, strerror(-answer->error));
			exit(1);
		}
	}
}

static long dump(int s)
{
	struct request r;
	long entries = 0;

	start(&r, IPCTNL_MSG_CT_GET, NLM_F_DUMP);
	if (send(s, &r, r.header.nlmsg_len, 0) < 0)
		fail("ctloop: send");
	for (;;) {
		int left = (int)recv(s, buffer, sizeof(buffer), 0);

		if (left <= 0)
			fail("ctloop: recv");
		for (struct nlmsghdr *m = (void *)buffer; NLMSG_OK(m, left); m = NLMSG_NEXT(m, left)) {
			if (m->nlmsg_type == NLMSG_DONE)
				return entries;
			if (m->nlmsg_type == NLMSG_ERROR) {
				fprintf(stderr, "ctloop: the kernel refuses\n");
				exit(1);
			}
			entries++;
		}
	}
}

// Returns the CPU time of the program, which is none of this thread's.
static long long run_list(void)
{
	struct rusage used;
	int status;
	pid_t child = fork();

	if (child < 0)
		fail("ctloop: fork");
	if (child == 0) {
		int null = open("/dev/null", O_WRONLY);

		dup2(null, STDOUT_FILENO);
		dup2(null, STDERR_FILENO);
		execlp("conntrack", "conntrack", "-L", NULL);
		_exit(127);
	}
	if (wait4(child, &status, 0, &used) != child || !WIFEXITED(status) || WEXITSTATUS(status) != 0) {
		fprintf(stderr, "ctloop: 'conntrack -L' failed; is it installed?\n");
		exit(1);
	}
	return (used.ru_utime.tv_sec + used.ru_stime.tv_sec) * 1000000000LL + (used.ru_utime.tv_usec + used.ru_stime.tv_usec) * 1000LL;
}

int main(int argc, char **argv)
{
	int entries = argc == 2 ? atoi(argv[1]) : -1;
	char command[8];
	long passes;

	if (entries < 0 || entries > 2000000) {
		fprintf(stderr, "usage: ctloop ENTRIES\n");
		return 2;
	}
	if (unshare(CLONE_NEWNET) != 0)
		fail("ctloop: cannot make a network namespace (CAP_SYS_ADMIN is needed)");
	int s = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_NETFILTER);
	if (s < 0)
		fail("ctloop: socket");
	make(s, entries);
	printf("%d\nready\n", getpid());
	fflush(stdout);

	while (scanf("%7s %ld", command, &passes) == 2 && passes > 0) {
		long seen = 0;
		long long others = 0;
		long long wall = now(CLOCK_MONOTONIC), cpu = now(CLOCK_THREAD_CPUTIME_ID);

		for (long i = 0; i < passes; i++) {
			if (strcmp(command, "list") == 0)
				others += run_list();
			else
				seen = dump(s);
		}
		cpu = now(CLOCK_THREAD_CPUTIME_ID) - cpu + others;
		wall = now(CLOCK_MONOTONIC) - wall;
		printf("%lld %lld %ld\n", wall / passes, cpu / passes, seen);
		fflush(stdout);
	}
	return 0;
}
