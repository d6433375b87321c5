// SPDX-License-Identifier: Apache-2.0
//
// nsfarm COUNT [talk|listen]: makes COUNT processes, each in a network namespace of its own with loopback up, prints their pids
// and waits. When it ends, however it ends, its processes and with them the namespaces end too. With "talk" each has had
// some traffic on its loopback, as every pod has had: counters that have never counted are shorter, and a table of them
// may just fit the page that the kernel first gives to a reader. With "listen" each has a listening TCP socket and is
// silent, as an idle pod is.
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <net/if.h>
#include <netinet/in.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <unistd.h>

static int raise_loopback(void)
{
	struct ifreq request = { .ifr_name = "lo" };
	int s = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);

	if (s < 0)
		return -1;
	request.ifr_flags = IFF_UP | IFF_RUNNING;
	int result = ioctl(s, SIOCSIFFLAGS, &request);
	close(s);
	return result;
}

static int socket_pair(int listener, const struct sockaddr_in *address, int *accepted)
{
	int s = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	if (s < 0 || connect(s, (const void *)address, sizeof(*address)) != 0)
		return -1;
	*accepted = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
	return *accepted < 0 ? -1 : s;
}

// Connections, requests and answers, a bulk transfer, resets, refused connections, datagrams to a closed port.
static int talk(void)
{
	static char bulk[256 * 1024];
	struct sockaddr_in address = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	struct sockaddr_in closed = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK), .sin_port = htons(9) };
	socklen_t length = sizeof(address);
	int listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	if (listener < 0 || bind(listener, (void *)&address, sizeof(address)) != 0 || listen(listener, 16) != 0 ||
	    getsockname(listener, (void *)&address, &length) != 0)
		return -1;
	for (int i = 0; i < 12; i++) {
		int peer, s = socket_pair(listener, &address, &peer);

		if (s < 0)
			return -1;
		for (int k = 0; k < 100; k++)
			if (write(s, bulk, 200) != 200 || read(peer, bulk, 200) <= 0 || write(peer, bulk, 900) != 900 || read(s, bulk, 900) <= 0)
				return -1;
		if (i % 3 == 0 && send(s, bulk, sizeof(bulk), MSG_DONTWAIT) < 0)
			return -1;	// and closed unread: a reset
		close(i % 2 ? s : peer);
		close(i % 2 ? peer : s);
		int refused = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
		(void)!connect(refused, (void *)&closed, sizeof(closed));
		close(refused);
		int datagram = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
		(void)!sendto(datagram, bulk, 100, 0, (void *)&closed, sizeof(closed));
		close(datagram);
	}
	close(listener);
	return 0;
}

static int listen_silently(void)
{
	struct sockaddr_in address = { .sin_family = AF_INET, .sin_port = htons(80) };
	int s = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	return s < 0 || bind(s, (void *)&address, sizeof(address)) != 0 ? -1 : listen(s, 128);
}

static _Noreturn void live(pid_t parent, int ready, int talkative, int listening)
{
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	if (getppid() != parent)
		_exit(1);		// the parent ended before the line above
	if (unshare(CLONE_NEWNET) != 0 || raise_loopback() != 0) {
		perror("nsfarm: cannot make a network namespace (CAP_SYS_ADMIN is needed)");
		_exit(1);
	}
	if (talkative && talk() != 0) {
		perror("nsfarm: cannot talk on loopback");
		_exit(1);
	}
	if (listening && listen_silently() != 0) {
		perror("nsfarm: cannot listen");
		_exit(1);
	}
	if (write(ready, "r", 1) != 1)
		_exit(1);
	close(ready);
	for (;;)
		pause();
}

int main(int argc, char **argv)
{
	int count = argc == 2 || argc == 3 ? atoi(argv[1]) : -1;
	int talkative = argc == 3 && strcmp(argv[2], "talk") == 0;
	int listening = argc == 3 && strcmp(argv[2], "listen") == 0;
	pid_t self = getpid();

	if (count < 0 || count > 100000) {
		fprintf(stderr, "usage: nsfarm COUNT [talk|listen]\n");
		return 2;
	}
	for (int i = 0; i < count; i++) {
		int ready[2];
		char byte;

		if (pipe(ready) != 0) {
			perror("nsfarm: pipe");
			return 1;
		}
		pid_t child = fork();
		if (child < 0) {
			perror("nsfarm: fork");
			return 1;
		}
		if (child == 0) {
			close(ready[0]);
			close(STDOUT_FILENO);
			live(self, ready[1], talkative, listening);
		}
		close(ready[1]);
		if (read(ready[0], &byte, 1) != 1)
			return 1;	// the child has said why
		close(ready[0]);
		printf("%d\n", child);
	}
	printf("ready\n");
	fflush(stdout);
	close(STDOUT_FILENO);
	for (;;)
		pause();
}
