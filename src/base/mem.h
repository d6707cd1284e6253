/* Allocation. Every allocation of the project goes through here, so that a
 * test can fail the n-th one (tests/fault). */
#ifndef BASE_MEM_H
#define BASE_MEM_H

#include <stddef.h>

#include "base/compiler.h"

/** @size bytes, not cleared, or NULL. Freed by mem_free(). @size 0 gives a valid pointer. */
MUST_CHECK void *mem_alloc(size_t size);
/** @n times @size bytes of zeros, or NULL (also when the product overflows). */
MUST_CHECK void *mem_zalloc(size_t n, size_t size);
/** As realloc(): NULL leaves @p as it was. */
MUST_CHECK void *mem_realloc(void *p, size_t size);
/** A copy of @s, or NULL. */
MUST_CHECK char *mem_strdup(const char *s);
/** Frees; NULL is fine. */
void mem_free(void *p);

enum { MEM_HUGE_BYTES = 2 << 20 };

/** MEM_HUGE_BYTES of zeros, on one huge page where the system has them, or NULL. Freed by mem_free_huge(). For much memory that is
 * looked at here and there: the processor finds it without walking page tables. */
MUST_CHECK void *mem_alloc_huge(void);
/** NULL is fine. */
void mem_free_huge(void *p);

/** Fault injection (tests only): when set, called before each allocation; true fails it.
 * Not for use while other threads allocate. */
extern int (*mem_fault_hook)(void);

#endif
