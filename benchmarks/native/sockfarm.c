// SPDX-License-Identifier: Apache-2.0
//
// sockfarm SOCKETS: makes SOCKETS established TCP sockets (both ends counted) on the loopback of a network namespace of
// its own, prints the pid of a process in it and then "ready", and waits. When it ends, however it ends, its processes
// and with them the sockets and the namespace end too.
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <net/if.h>
#include <netinet/in.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

// Descriptors per process are limited, and so are local ports per address.
#define MOST_CONNECTIONS 8000

static _Noreturn void fail(const char *what)
{
	perror(what);
	exit(1);
}

static void raise_loopback(void)
{
	struct ifreq request = { .ifr_name = "lo", .ifr_flags = IFF_UP | IFF_RUNNING };
	int s = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);

	if (s < 0 || ioctl(s, SIOCSIFFLAGS, &request) != 0)
		fail("sockfarm: loopback");
	close(s);
}

static _Noreturn void live(pid_t parent, int ready, int process, int connections)
{
	struct sockaddr_in address = { .sin_family = AF_INET, .sin_port = htons((in_port_t)(7000 + process)) };
	int listener = socket(AF_INET, SOCK_STREAM, 0);

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	if (getppid() != parent)
		_exit(1);
	address.sin_addr.s_addr = htonl(INADDR_LOOPBACK + (unsigned)process);
	if (listener < 0 || bind(listener, (void *)&address, sizeof(address)) != 0 || listen(listener, 1024) != 0)
		fail("sockfarm: listen");
	for (int i = 0; i < connections; i++) {
		int s = socket(AF_INET, SOCK_STREAM, 0);

		if (s < 0 || connect(s, (void *)&address, sizeof(address)) != 0 || accept(listener, NULL, NULL) < 0)
			fail("sockfarm: connect");
	}
	close(listener);
	if (write(ready, "r", 1) != 1)
		_exit(1);
	close(ready);
	for (;;)
		pause();
}

int main(int argc, char **argv)
{
	int left = argc == 2 ? atoi(argv[1]) / 2 : -1;
	pid_t self = getpid();
	struct rlimit limit;

	if (left < 0 || left > 1000000) {
		fprintf(stderr, "usage: sockfarm SOCKETS\n");
		return 2;
	}
	if (getrlimit(RLIMIT_NOFILE, &limit) == 0) {
		limit.rlim_cur = limit.rlim_max;
		setrlimit(RLIMIT_NOFILE, &limit);
	}
	if (unshare(CLONE_NEWNET) != 0)
		fail("sockfarm: cannot make a network namespace (CAP_SYS_ADMIN is needed)");
	raise_loopback();
	for (int process = 0; left > 0; process++) {
		int connections = left < MOST_CONNECTIONS ? left : MOST_CONNECTIONS;
		int ready[2];
		char byte;

		if (pipe(ready) != 0)
			fail("sockfarm: pipe");
		pid_t child = fork();
		if (child < 0)
			fail("sockfarm: fork");
		if (child == 0) {
			close(ready[0]);
			close(STDOUT_FILENO);
			live(self, ready[1], process, connections);
		}
		close(ready[1]);
		if (read(ready[0], &byte, 1) != 1)
			return 1;	// the child has said why
		close(ready[0]);
		left -= connections;
	}
	printf("%d\nready\n", self);
	fflush(stdout);
	close(STDOUT_FILENO);
	for (;;)
		pause();
}
