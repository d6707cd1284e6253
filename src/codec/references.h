/* The objects that a data record refers to: what ZODB.serialize.referencesf gives, for all pickle
 * protocols. Nothing is built: a pickle is followed with one byte for each value that Python would have
 * on its stack, and eight more for what may be an oid.
 *
 * A persistent id is a tuple (oid, class), a bare oid (bytes, or text as Python 2 wrote them), or a list:
 * those are weak references and references into other databases, which keep nothing alive. */
#ifndef CODEC_REFERENCES_H
#define CODEC_REFERENCES_H

#include <stddef.h>
#include <stdint.h>

#include "base/compiler.h"
#include "base/err.h"
#include "base/slice.h"

struct references;

/** A scanner, whose memory is used again for the next record; NULL without memory. */
struct references *references_new(void);
/** NULL is fine. */
void references_free(struct references *r);

/**
 * Scan both pickles of a record; one that zc.zlibstorage compressed is decompressed before. What
 * follows the second pickle is passed over, as ZODB does.
 * @ret_oids  in the order of the record, repeated where it repeats them; borrowed until the next call
 * Returns 0; ERR_FORMAT: no record, or a persistent id that ZODB never writes (the text names the
 * offset and what was found); ERR_LIMIT; ERR_NOMEM. Threads: one at a time.
 */
MUST_CHECK int references_scan(struct references *r, struct slice record, const uint64_t **ret_oids,
	size_t *ret_n, struct err *e);

#endif
