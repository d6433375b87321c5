// SPDX-License-Identifier: Apache-2.0
//
// tcpwork: TCP over loopback, client and server on the last CPU, for what a probe takes away from it. Commands on standard
// input, an answer each: "rr MS" (64 bytes there and back on one connection) and "crr MS" (connect, 64 bytes there and back,
// close) work for that long and print how often, and the nanoseconds it took.
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define SIZE 64

static struct sockaddr_in address = { .sin_family = AF_INET };

static void fail(const char *what)
{
	perror(what);
	exit(1);
}

static long long now(void)
{
	struct timespec time;

	clock_gettime(CLOCK_MONOTONIC, &time);
	return time.tv_sec * 1000000000LL + time.tv_nsec;
}

static void without_delay(int s)
{
	int on = 1;

	setsockopt(s, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
}

static void serve(int listener)
{
	char bytes[SIZE];

	for (;;) {
		int s = accept(listener, NULL, NULL);

		if (s < 0)
			fail("accept");
		without_delay(s);
		while (read(s, bytes, SIZE) == SIZE && write(s, bytes, SIZE) == SIZE)
			;
		close(s);
	}
}

static int open_connection(void)
{
	int s = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	if (s < 0 || connect(s, (void *)&address, sizeof(address)) != 0)
		fail("connect");
	without_delay(s);
	return s;
}

static void there_and_back(int s)
{
	char bytes[SIZE] = {};

	if (write(s, bytes, SIZE) != SIZE || read(s, bytes, SIZE) != SIZE)
		fail("a round trip");
}

int main(void)
{
	socklen_t length = sizeof(address);
	int listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	char work[16];
	int milliseconds;
	cpu_set_t cpus;

	address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	if (listener < 0 || bind(listener, (void *)&address, sizeof(address)) != 0 || listen(listener, 1024) != 0 ||
	    getsockname(listener, (void *)&address, &length) != 0)
		fail("listen");
	CPU_ZERO(&cpus);
	CPU_SET(sysconf(_SC_NPROCESSORS_ONLN) - 1, &cpus);
	sched_setaffinity(0, sizeof(cpus), &cpus);
	switch (fork()) {
	case -1:
		fail("fork");
		break;
	case 0:
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		serve(listener);
	}
	close(listener);
	printf("ready\n");
	fflush(stdout);
	while (scanf("%15s %d", work, &milliseconds) == 2) {
		long long begun = now(), end = begun + milliseconds * 1000000LL, time;
		long done = 0;
		int s = strcmp(work, "rr") == 0 ? open_connection() : -1;

		do {
			if (s >= 0) {
				for (int i = 0; i < 64; i++)
					there_and_back(s);
				done += 64;
			} else {
				for (int i = 0; i < 16; i++) {
					int one = open_connection();

					there_and_back(one);
					close(one);
				}
				done += 16;
			}
		} while ((time = now()) < end);
		if (s >= 0)
			close(s);
		printf("%ld %lld\n", done, time - begun);
		fflush(stdout);
	}
	return 0;
}
