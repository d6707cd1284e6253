/* The state of a bucket or set as keys and values, converted and compared as BTrees does. */
#ifndef RESOLVER_BUCKET_H
#define RESOLVER_BUCKET_H

#include <stdbool.h>
#include <stdint.h>

#include "base/arena.h"
#include "base/compiler.h"
#include "base/err.h"
#include "codec/val.h"
#include "resolver/btrees_class.h"

struct bucket {
	struct val *items;      /* a set's keys, or keys and values in turn */
	uint32_t n;             /* keys */
	const struct val *next; /* the bucket that follows, or NULL */
};

static inline bool bucket_has_values(const struct btrees_class *class)
{
	return class->kind == BTREES_BUCKET || class->kind == BTREES_TREE;
}

/**
 * Read a bucket's state: what __setstate__ takes.
 * @ret  borrows from @arena and @state
 * Returns 0; ERR_CONFLICT where Python raises an exception; ERR_UNSUPPORTED where this code cannot
 * tell; ERR_NOMEM.
 */
MUST_CHECK int bucket_read(const struct btrees_class *class, const struct val *state,
	struct arena *arena, struct bucket *ret, struct err *e);

/** The sign of a - b as the class orders its keys. Errors as bucket_read(). */
MUST_CHECK int bucket_key_order(const struct btrees_class *class, const struct val *a,
	const struct val *b, int *ret, struct err *e);

/** Whether the class finds two values the same. Errors as bucket_read(). */
MUST_CHECK int bucket_value_same(const struct btrees_class *class, const struct val *a,
	const struct val *b, bool *ret, struct err *e);

/** What the class makes of a key or value that is assigned to one of its buckets. Errors as
 * bucket_read(). */
MUST_CHECK int bucket_convert(
	enum btrees_type type, const struct val *from, struct val *ret, struct err *e);

#endif
