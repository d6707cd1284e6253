#include "base/mem.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

int (*mem_fault_hook)(void);

static int fails(void)
{
	return mem_fault_hook && mem_fault_hook();
}

void *mem_alloc(size_t size)
{
	return fails() ? NULL : malloc(size ? size : 1);
}

void *mem_zalloc(size_t n, size_t size)
{
	if (fails())
		return NULL;
	return n && size ? calloc(n, size) : calloc(1, 1);
}

void *mem_realloc(void *p, size_t size)
{
	return fails() ? NULL : realloc(p, size ? size : 1);
}

char *mem_strdup(const char *s)
{
	return fails() ? NULL : strdup(s);
}

void mem_free(void *p)
{
	free(p);
}

/* Huge pages begin where they are aligned: twice the bytes have such a place, the rest goes back. */
void *mem_alloc_huge(void)
{
	uint8_t *all = fails() ? MAP_FAILED
			       : mmap(NULL, 2 * MEM_HUGE_BYTES, PROT_READ | PROT_WRITE,
					 MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	size_t before;

	if (all == MAP_FAILED)
		return NULL;
	before = -(uintptr_t)all % MEM_HUGE_BYTES;
	if (before)
		munmap(all, before);
	munmap(all + before + MEM_HUGE_BYTES, MEM_HUGE_BYTES - before);
	(void)madvise(all + before, MEM_HUGE_BYTES, MADV_HUGEPAGE);
	return all + before;
}

void mem_free_huge(void *p)
{
	if (p)
		munmap(p, MEM_HUGE_BYTES);
}
