/* The index: oid -> offset of the object's newest record. Readers take no lock.
 *
 * Dense ranges of oids lie in pages of atomic 64-bit entries; scattered ones in a compact
 * hash (32 bytes an object, a little more in the worst clusters), so that a hostile client
 * cannot make a page per oid. A range becomes a page when enough of its oids are there.
 *
 * I1  An oid is in its range's page, or, when the range has none, in one segment of the hash.
 * I2  Memory a reader may look at is freed by index_free() only: segments and pages are never given
 *     back, tables that were outgrown wait in a list (each half as large as the one that followed).
 * I3  A segment is rearranged only while its sequence number is odd; what moves away is at its new
 *     place before it leaves the old one.
 *
 * Threads: one writer at a time; any number of readers at any time. A reader sees an entry
 * that was there before the last index_set() it synchronised with, or a newer one. */
#ifndef FILESTORAGE_INDEX_H
#define FILESTORAGE_INDEX_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/compiler.h"

struct index;

/** Empty, or NULL. */
struct index *index_new(void);
void index_free(struct index *ix);

/** Offset, or 0 when there is none. Threads: any, no lock. */
uint64_t index_get(const struct index *ix, uint64_t oid);

enum { INDEX_GET_MANY_MAX = 32 };

/** index_get() for each of @n oids, at most INDEX_GET_MANY_MAX; what that looks at in memory is fetched for all of them together.
 * Each offset is that of some moment during the call, not all of the same. Threads: any, no lock. */
void index_get_many(const struct index *ix, const uint64_t *oids, size_t n, uint64_t *ret_offs);

/**
 * The smallest oid present that is not smaller than @oid. In a dense range that is a look at its page;
 * beyond, the ranges are needed in order, which is prepared once, when it is asked for.
 * @may_block  false: ERR_AGAIN where it would take long
 * Returns 0; ERR_NOENT: there is none; ERR_NOMEM. Threads: any.
 */
MUST_CHECK int index_next(struct index *ix, uint64_t oid, bool may_block, uint64_t *ret_oid);

/** Make room so that the following @n index_set() of new oids cannot fail. Returns 0 or ERR_NOMEM. */
MUST_CHECK int index_prepare(struct index *ix, const uint64_t *oids, size_t n);
/** Set; the oid must be present or prepared. Threads: the writer. */
void index_set(struct index *ix, uint64_t oid, uint64_t off);

/** Number of oids present. Threads: any. */
uint64_t index_count(const struct index *ix);
/** The largest oid present, 0 when empty. Threads: any. */
uint64_t index_max_oid(const struct index *ix);
/** Bytes of memory in use, but for what a block of pages has left. */
size_t index_bytes(const struct index *ix);

/** All entries in oid order. Threads: the writer, or any when nothing writes, between open and
 * close. */
struct index_iter;

/** NULL without memory. */
struct index_iter *index_iter_open(const struct index *ix);
/** False at the end. */
bool index_iter_next(struct index_iter *it, uint64_t *ret_oid, uint64_t *ret_off);
void index_iter_close(struct index_iter *it);

#endif
