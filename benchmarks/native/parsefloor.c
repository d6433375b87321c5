// SPDX-License-Identifier: Apache-2.0
//
// parsefloor FILE: the floor of parsing a snapshot of /proc/net/snmp or netstat: each line of names is compared with the
// one kept from before, each line of numbers is put into an array. Commands on stdin: "parse N"; the answer is a line
// "WALL CPU VALUES": picoseconds per parse on the clock and of this thread, and numbers per parse.
#define _GNU_SOURCE
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

static char text[1 << 16], names[1 << 16];
static int64_t values[4096];

static long long now(clockid_t clock)
{
	struct timespec t;

	clock_gettime(clock, &t);
	return t.tv_sec * 1000000000LL + t.tv_nsec;
}

// Where the line of numbers begins, or NULL when the names are not the kept ones.
static const char *skip_names(const char *at, const char *end, const char **kept)
{
	const char *newline = memchr(at, '\n', end - at);

	if (!newline || memcmp(at, *kept, newline - at) != 0)
		return NULL;
	*kept += newline - at;
	return newline + 1;
}

__attribute__((noinline)) static int parse(const char *at, const char *end)
{
	const char *kept = names;
	int count = 0;

	while (at < end) {
		at = skip_names(at, end, &kept);
		if (!at)
			return -1;
		while (*at != ' ')
			at++;
		while (*at != '\n') {
			uint64_t number = 0;
			unsigned int digit;
			int negative = *++at == '-';

			at += negative;
			while ((digit = (unsigned char)*at - '0') < 10) {
				number = number * 10 + digit;
				at++;
			}
			values[count++] = negative ? -(int64_t)number : (int64_t)number;
		}
		at++;
	}
	return count;
}

static void keep_names(const char *at, const char *end)
{
	char *to = names;

	for (int line = 0; at < end; line++) {
		const char *newline = memchr(at, '\n', end - at);

		if (!newline)
			return;
		if (line % 2 == 0) {
			memcpy(to, at, newline - at);
			to += newline - at;
		}
		at = newline + 1;
	}
}

int main(int argc, char **argv)
{
	FILE *file = argc == 2 ? fopen(argv[1], "r") : NULL;
	char command[8];
	long times;
	int count = 0;

	if (!file) {
		fprintf(stderr, "usage: parsefloor FILE\n");
		return 2;
	}
	const char *end = text + fread(text, 1, sizeof(text) - 1, file);
	fclose(file);
	keep_names(text, end);
	while (scanf("%7s %ld", command, &times) == 2 && times > 0) {
		long long wall = now(CLOCK_MONOTONIC), cpu = now(CLOCK_THREAD_CPUTIME_ID);

		for (long i = 0; i < times; i++) {
			count = parse(text, end);
			asm volatile("" ::: "memory");
		}
		cpu = now(CLOCK_THREAD_CPUTIME_ID) - cpu;
		wall = now(CLOCK_MONOTONIC) - wall;
		printf("%lld %lld %d\n", wall * 1000 / times, cpu * 1000 / times, count);
		fflush(stdout);
	}
	return count > 0 ? 0 : 1;
}
