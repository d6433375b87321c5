// SPDX-License-Identifier: Apache-2.0
//
// Debian's static archives are made for programs, not for shared libraries. What stands in the way of linking one from them is
// replaced here; every other object of libelf stays as it is. build.sh renames libbpf's references to stderr.
#include <stdio.h>

#define HIDDEN __attribute__((visibility("hidden")))

// Code of a program may reach stderr only by copying it into the program.
HIDDEN FILE *libbpf_stderr;

__attribute__((constructor)) static void set_stderr(void)
{
	libbpf_stderr = stderr;
}

// elf_error.o: libelf's last error, there in thread-local storage as only a program may have it.
static __thread int last_error;

HIDDEN void __libelf_seterrno(int error)
{
	last_error = error;
}

HIDDEN int elf_errno(void)
{
	int error = last_error;

	last_error = 0;
	return error;
}

HIDDEN const char *elf_errmsg(int error)
{
	static __thread char text[32];

	if (error == -1)
		error = last_error;
	snprintf(text, sizeof(text), "libelf error %d", error);
	return text;
}

// elf_compress.o, which would bring in zstd: compressed sections are refused. BPF objects have none.
#define ELF_E_INVALID_SECTION_TYPE 0x1c

HIDDEN int __libelf_decompress_elf(void *section, size_t *size, size_t *alignment)
{
	(void)section;
	(void)size;
	(void)alignment;
	last_error = ELF_E_INVALID_SECTION_TYPE;
	return -1;
}

// eu-search.o, which Debian's libelf.a of 0.192 lacks: the tree of what elf_getdata_rawchunk() gave. Nothing here calls that
// function (the link would fail for want of eu_tsearch()), so the tree is always empty.
HIDDEN void eu_search_tree_init(void *tree)
{
	(void)tree;
}

HIDDEN void eu_search_tree_fini(void *tree, void (*free_node)(void *))
{
	(void)tree;
	(void)free_node;
}
