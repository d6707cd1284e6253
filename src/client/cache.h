/* The client's cache of object revisions: in a file that outlives the process, or anonymous.
 *
 * C1  What the cache gives for (oid, tid) is what the storage had: a revision is "current" only as far as last_tid.
 * C2  After a kill at any moment (and a power cut: each entry is checked) the file opens as a cache in which C1 holds for
 *     the last_tid that it has: what is doubtful is not there (T28).
 * C3  One process at a time has a file.
 * C4  A hit takes no lock that another thread may hold for long: readers do not wait for each other, nor for a writer's disk.
 *
 * Threads: loads any; what changes it (store, invalidate, last_tid, clear) by one thread at a time, which the caller sees to. */
#ifndef CLIENT_CACHE_H
#define CLIENT_CACHE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/compiler.h"
#include "base/err.h"
#include "base/slice.h"

struct cache;

struct cache_stats {
	uint64_t hits, misses, stores, evictions, entries, used_bytes, size_bytes;
};

/**
 * Open or make a cache.
 * @path  NULL: anonymous memory. A file that is no cache of ours (an older format, another program's, damaged at its head) is
 *        replaced: *ret_note says so, for the log
 * @size  bytes of the file; a file of another size is taken over as far as what it holds fits
 * @ret_note  a text to be logged, "" when there is none; room for 256 bytes
 * Returns 0, ERR_BUSY (another process has it), ERR_IO, ERR_NOSPC, ERR_NOMEM.
 */
MUST_CHECK int cache_open(
	const char *path, uint64_t size, struct cache **ret, char *ret_note, struct err *e);
/** NULL is fine. */
void cache_close(struct cache *c);

/** The revision of @oid that was current before @tid: as client_cached(). */
MUST_CHECK int cache_load_before(struct cache *c, uint64_t oid, uint64_t tid,
	void *(*room)(void *arg, size_t len), void *arg, uint64_t *ret_serial,
	uint64_t *ret_end_tid);
/** Is it there? */
bool cache_has(struct cache *c, uint64_t oid, uint64_t tid);

/** A revision that the storage has given: [serial, end_tid), TID_NONE: current as of the last message handled. What does not fit, or is
 * there already, is passed over; so is a failing disk (the cache goes on without it). */
void cache_store(
	struct cache *c, uint64_t oid, uint64_t serial, uint64_t end_tid, struct slice data);
/** Do what the next cache_store() would have to do first, in a while in which nothing else is to be done. */
void cache_prepare(struct cache *c);
/** As cache_prepare(), of @n objects that together have @data_bytes. */
void cache_prepare_many(struct cache *c, size_t n, uint64_t data_bytes);
/** @oid has changed in @tid; TID_NONE: some time: forget what was current. */
void cache_invalidate(struct cache *c, uint64_t oid, uint64_t tid);

/** All up to this transaction is known. Grows only, but for cache_clear(). */
void cache_set_last_tid(struct cache *c, uint64_t tid);
/** Threads: any. */
uint64_t cache_last_tid(const struct cache *c);
/** Nothing is in it. */
bool cache_is_empty(const struct cache *c);
/** Forget everything, last_tid as well. */
void cache_clear(struct cache *c);

void cache_stats(const struct cache *c, struct cache_stats *ret);

#endif
