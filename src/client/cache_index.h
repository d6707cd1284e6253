/* Where the cache has which revision: a hash table in shards.
 *
 * Finding takes no lock: a shard has a counter that is odd while it is changed, and who reads looks again when
 * it was, or has moved. Tables that grew out of use are kept until the end, so that one who still reads there
 * reads memory that is there.
 *
 * Threads: cache_index_find(), cache_index_mark() and the sums any; the rest one at a time. */
#ifndef CLIENT_CACHE_INDEX_H
#define CLIENT_CACHE_INDEX_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/compiler.h"

enum {
	REVISIONS_MAX = 32, /* of one object: what an object that changes all the time can hold */
	/* Marks in the lower bits of a position. */
	REVISION_CHECKED =
		1,         /* this process has written the data, or has seen that they are right */
	REVISION_USED = 2, /* was read since it came to its place */
	REVISION_MARKS = 7,
};

struct cache_index;

/** A revision: [serial, end_tid), TID_NONE: current. */
struct revision {
	uint64_t oid;
	uint64_t pos; /* a multiple of 8, not 0, of no other revision ever; and the marks */
	uint64_t serial;
	uint64_t end_tid;
};

/** NULL without memory. */
struct cache_index *cache_index_new(void);
/** NULL is fine. */
void cache_index_free(struct cache_index *ix);

/** The revision of @oid that was current before @tid. */
bool cache_index_find(struct cache_index *ix, uint64_t oid, uint64_t tid, struct revision *ret);
/** Put @marks on a revision that was found, if it is there still. */
void cache_index_mark(struct cache_index *ix, const struct revision *r, uint64_t marks);
/** Count a load that was answered, or was not. */
void cache_index_count_load(struct cache_index *ix, uint64_t oid, bool hit);

/** All revisions of @oid, in no order; returns how many. */
size_t cache_index_all(struct cache_index *ix, uint64_t oid, struct revision ret[REVISIONS_MAX]);
/** Not more than REVISIONS_MAX of an object, which the caller sees to. False without memory. */
MUST_CHECK bool cache_index_add(struct cache_index *ix, const struct revision *r);
/** The entry of @r's object and position. False when it is not there. */
bool cache_index_remove(struct cache_index *ix, const struct revision *r, struct revision *ret);
void cache_index_set_end(struct cache_index *ix, const struct revision *r, uint64_t end_tid);
void cache_index_clear(struct cache_index *ix);

uint64_t cache_index_entries(struct cache_index *ix);
void cache_index_loads(struct cache_index *ix, uint64_t *ret_hits, uint64_t *ret_misses);

#endif
