/* All there is to resolve conflicts with: the classes of BTrees in C, others in the resolver processes,
 * when there are any. docs/conflict-resolution.md */
#ifndef RESOLVER_RESOLVERS_H
#define RESOLVER_RESOLVERS_H

#include "resolver/helper_pool.h"
#include "storage/resolver.h"

/**
 * Records that are compressed (codec/zrecord.h) are seen through, and what is made of them is compressed
 * where that is shorter.
 * @processes  NULL: no processes. Copied.
 * Returns 0, or what helper_pool_open() returns: the text says what is wrong with Python or ZODB.
 */
MUST_CHECK int resolvers_open(
	const struct helper_pool_options *processes, struct resolver **ret, struct err *e);

/** Kills the processes. No resolve() may be under way. NULL is fine. */
void resolvers_close(struct resolver *r);

#endif
