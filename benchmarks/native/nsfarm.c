// SPDX-License-Identifier: Apache-2.0
//
// nsfarm COUNT: makes COUNT processes, each in a network namespace of its own with loopback up, prints their pids and
// waits. When it ends, however it ends, its processes and with them the namespaces end too.
#define _GNU_SOURCE
#include <net/if.h>
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

static _Noreturn void live(pid_t parent, int ready)
{
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	if (getppid() != parent)
		_exit(1);		// the parent ended before the line above
	if (unshare(CLONE_NEWNET) != 0 || raise_loopback() != 0) {
		perror("nsfarm: cannot make a network namespace (CAP_SYS_ADMIN is needed)");
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
	int count = argc == 2 ? atoi(argv[1]) : -1;
	pid_t self = getpid();

	if (count < 0 || count > 100000) {
		fprintf(stderr, "usage: nsfarm COUNT\n");
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
			live(self, ready[1]);
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
