/* The resolver processes: a conflict each at a time, started again when they die. */
#ifndef RESOLVER_HELPER_POOL_H
#define RESOLVER_HELPER_POOL_H

#include "base/compiler.h"
#include "storage/resolver.h"

struct helper_pool;

struct helper_pool_options {
	const char *python;      /* a path, or a name looked for in PATH */
	const char *const *path; /* entries in front of sys.path */
	size_t path_n;
	uint32_t processes;  /* at least one */
	uint32_t timeout_ms; /* for a conflict, the start of a process included */
};

/** Start the first process, so that a wrong configuration is found at once; the others start when
 * they are needed. @o is copied. Returns 0, ERR_IO, ERR_TIMEOUT or ERR_NOMEM. */
MUST_CHECK int helper_pool_open(
	const struct helper_pool_options *o, struct helper_pool **ret, struct err *e);

/** Kill all. No helper_pool_resolve() may be under way. NULL is fine. */
void helper_pool_close(struct helper_pool *p);

/**
 * As struct resolver's resolve(). Waits for a free process a second at most, then for its answer until
 * the timeout. A process that hangs, dies or answers what it should not is killed; when several do
 * so in a row, the next start waits for up to 10 s, and conflicts are answered without it.
 * Threads: any.
 */
MUST_CHECK int helper_pool_resolve(
	struct helper_pool *p, const struct resolve_req *q, struct buf *ret, struct err *e);

#endif
