#include "base/mem.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

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
