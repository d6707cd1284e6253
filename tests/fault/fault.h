/* Failing the n-th call: the scenario is run again and again, each time the next call of the kind fails,
 * until it runs through without a failure. */
#ifndef TESTS_FAULT_H
#define TESTS_FAULT_H

#include "unit/cmocka_all.h"

#include <dirent.h>
#include <errno.h>

#include "base/mem.h"
#include "base/os.h"

enum fault_kind {
	FAULT_OS,    /* calls of base/os.h */
	FAULT_ALLOC, /* allocations */
};

static struct {
	int left; /* calls until the failure */
	bool all; /* those that follow fail, too */
	bool fired;
	int errnum;
} fault;

static inline bool fault_now(void)
{
	if (fault.left > 0) {
		fault.left--;
		return false;
	}
	if (fault.fired && !fault.all)
		return false;
	fault.fired = true;
	return true;
}

static inline int fault_os(const char *call)
{
	return fault_now() ? fault.errnum : 0;
}

static inline int fault_alloc(void)
{
	return fault_now();
}

/** Calls do not fail any more: for the part of a scenario that looks at what is left. */
static inline void fault_off(void)
{
	os_fault_hook = NULL;
	mem_fault_hook = NULL;
}

static inline int open_descriptors(void)
{
	DIR *d = opendir("/proc/self/fd");
	int n = 0;

	while (readdir(d))
		n++;
	closedir(d);
	return n;
}

/**
 * @scenario  calls fault_off() before it checks; @all: was that the first of many failures?
 * Descriptors are counted; memory is watched by the sanitizer build.
 */
static inline void fail_until_ok(
	enum fault_kind kind, int errnum, void (*scenario)(void *ctx, bool all), void *ctx)
{
	for (int all = 0; all < 2; all++)
		for (int n = 0;; n++) {
			int descriptors = open_descriptors();

			assert_true(n < 10000);
			fault.left = n;
			fault.all = all;
			fault.fired = false;
			fault.errnum = errnum;
			if (kind == FAULT_OS)
				os_fault_hook = fault_os;
			else
				mem_fault_hook = fault_alloc;
			scenario(ctx, all);
			fault_off();
			assert_int_equal(open_descriptors(), descriptors);
			if (!fault.fired)
				break;
		}
}

#endif
