/* The merge of three states of one bucket: the one both changes began with, the one that is
 * committed, and the new one. */
#ifndef RESOLVER_MERGE_H
#define RESOLVER_MERGE_H

#include "base/arena.h"
#include "base/compiler.h"
#include "base/err.h"
#include "resolver/bucket.h"

/**
 * Merge as BTrees does.
 * @ret  borrows from @arena and the buckets
 * Returns 0; ERR_CONFLICT, the text with the positions and the number of the reason as
 * BTreesConflictError has them; ERR_UNSUPPORTED when a comparison is needed that this code does
 * not know; ERR_NOMEM.
 */
MUST_CHECK int merge_buckets(const struct btrees_class *class, const struct bucket *old,
	const struct bucket *committed, const struct bucket *changed, struct arena *arena,
	struct bucket *ret, struct err *e);

/** A conflict that has no positions in the buckets. */
int merge_conflict(int reason, struct err *e);

#endif
