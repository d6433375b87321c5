// SPDX-License-Identifier: Apache-2.0
//
// What libbpf's consumer calls with each record, in C: adds up its words.
#include <stddef.h>
#include <stdint.h>

uint64_t ringpeer_sum;
uint64_t ringpeer_records;

int ringpeer_take(void *context, void *data, size_t size)
{
	const uint64_t *words = data;

	(void)context;
	for (size_t i = 0; i < size / sizeof(*words); i++)
		ringpeer_sum += words[i];
	ringpeer_records++;
	return 0;
}
