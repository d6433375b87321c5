// SPDX-License-Identifier: Apache-2.0
//
// procloop PIDS FILE... [@FILE...]: the floor of reading /proc/PID/net/FILE of every pid in the file PIDS (and of each
// @FILE only once, of the first pid), without looking at what was read. Commands on stdin, one a line:
//   kept N    N passes over descriptors that stay open, each read at offset 0
//   open N    N passes that open, read and close each file
// The answer is a line "WALL CPU BYTES": nanoseconds per pass on the clock and of this thread, and bytes per pass.
#define _GNU_SOURCE
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

struct file {
	char *path;
	int fd;
};

static char buffer[1 << 20];

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

static long long pass_kept(const struct file *files, int count)
{
	long long bytes = 0;

	for (int i = 0; i < count; i++) {
		ssize_t got = pread(files[i].fd, buffer, sizeof(buffer), 0);
		if (got <= 0)
			fail(files[i].path);
		bytes += got;
	}
	return bytes;
}

static long long pass_open(const struct file *files, int count)
{
	long long bytes = 0;

	for (int i = 0; i < count; i++) {
		int fd = open(files[i].path, O_RDONLY | O_CLOEXEC);
		if (fd < 0)
			fail(files[i].path);
		ssize_t got = read(fd, buffer, sizeof(buffer));
		close(fd);
		if (got <= 0)
			fail(files[i].path);
		bytes += got;
	}
	return bytes;
}

static void add(struct file **files, int *count, int pid, const char *name)
{
	struct file *file;

	if ((*count & (*count - 1)) == 0)
		*files = realloc(*files, sizeof(**files) * (*count ? *count * 2 : 1));
	if (!*files)
		fail("procloop");
	file = &(*files)[(*count)++];
	if (asprintf(&file->path, "/proc/%d/net/%s", pid, name) < 0)
		fail("procloop");
	file->fd = open(file->path, O_RDONLY | O_CLOEXEC);
	if (file->fd < 0)
		fail(file->path);
}

int main(int argc, char **argv)
{
	struct rlimit limit;
	struct file *files = NULL;
	char command[8];
	int count = 0, pid, first = 0;
	long passes;

	if (argc < 3) {
		fprintf(stderr, "usage: procloop PIDS FILE... [@FILE...]\n");
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
		for (int i = 2; i < argc; i++)
			if (argv[i][0] != '@')
				add(&files, &count, pid, argv[i]);
		if (!first)
			first = pid;
	}
	fclose(pids);
	for (int i = 2; i < argc; i++)
		if (argv[i][0] == '@')
			add(&files, &count, first, argv[i] + 1);

	printf("files %d\n", count);
	fflush(stdout);
	while (scanf("%7s %ld", command, &passes) == 2 && passes > 0) {
		int kept = strcmp(command, "kept") == 0;
		long long bytes = 0, wall = now(CLOCK_MONOTONIC), cpu = now(CLOCK_THREAD_CPUTIME_ID);

		for (long i = 0; i < passes; i++)
			bytes = kept ? pass_kept(files, count) : pass_open(files, count);
		cpu = now(CLOCK_THREAD_CPUTIME_ID) - cpu;
		wall = now(CLOCK_MONOTONIC) - wall;
		printf("%lld %lld %lld\n", wall / passes, cpu / passes, bytes);
		fflush(stdout);
	}
	return 0;
}
