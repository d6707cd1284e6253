/* The file of a cache, mapped: a head, and a ring of records (docs/cache.md).
 *
 * F1  What the ring has lies between two positions, tail and head, that only grow; both are in the file. The tail moves on before
 *     anything is overwritten, the head after a record is whole: after a kill all between them is right.
 * F2  An end that is half written, and a record that was dropped, do not agree with their check, and are passed over when the
 *     file is opened.
 * F3  After a power cut nothing is believed: while a file is in use it names the boot of the system that uses it.
 *
 * A file that fails (a page that cannot be read or written) is not touched any more: cache_file_failed().
 *
 * Threads: cache_file_data() and cache_file_failed() any; the rest one at a time. */
#ifndef CLIENT_CACHE_FILE_H
#define CLIENT_CACHE_FILE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/compiler.h"
#include "base/err.h"
#include "base/slice.h"

struct cache_file;

enum {
	CACHE_HEAD_BYTES = 4096,
	CACHE_RECORD_BYTES = 56, /* of a record before its data */
	CACHE_SIZE_MIN = 2 * CACHE_HEAD_BYTES,
};

/** What is between head and data. */
struct cache_record {
	uint64_t pos;
	uint64_t oid;
	uint64_t serial;
	uint64_t end_tid;
	uint32_t size; /* in the ring, with its head */
	uint32_t len;  /* of the data */
	uint32_t data_crc;
	bool dropped; /* its end does not agree with its check */
};

enum cache_found {
	CACHE_FRESH,   /* there was nothing */
	CACHE_KEPT,    /* it goes on with what it had */
	CACHE_EMPTIED, /* what it had is gone: the note says why */
};

/** A cache without a file, of @size bytes. */
MUST_CHECK int cache_file_anonymous(uint64_t size, struct cache_file **ret, struct err *e);
/**
 * Open, or make. The blocks are reserved on the disk: a disk that is full is an error here.
 * @size  of a file that is made, or emptied. What is kept has its own size
 * @ret_found, @note  see enum cache_found; the note has room for 256 bytes
 * Returns 0, ERR_IO, ERR_NOSPC, ERR_NOMEM.
 */
MUST_CHECK int cache_file_open(const char *path, uint64_t size, struct cache_file **ret,
	enum cache_found *ret_found, char *note, struct err *e);
/** Empty it. */
MUST_CHECK int cache_file_format(struct cache_file *f, struct err *e);
/** Sync, and say that it may be believed. @owner false: only let go of it (a child process). NULL is fine. */
void cache_file_close(struct cache_file *f, bool owner);

/** What a file of @size has: rounded, and not too small. */
uint64_t cache_file_size_for(uint64_t size);
uint64_t cache_file_size(const struct cache_file *f);
/** Bytes of the ring that are not free. Threads: any. */
uint64_t cache_file_used(const struct cache_file *f);
bool cache_file_failed(const struct cache_file *f);

/** Call @each for all records from the oldest on. False: something is there that is none. */
MUST_CHECK bool cache_file_scan(
	struct cache_file *f, bool (*each)(void *arg, const struct cache_record *r), void *arg);

/** How many bytes a record takes. */
uint64_t cache_file_need(size_t len);
/** Is there ever room for so much? */
bool cache_file_fits(const struct cache_file *f, uint64_t need);
/** Is there room now? */
bool cache_file_has_room(const struct cache_file *f, uint64_t need);
/** Are @n bytes free now, though perhaps in two pieces? */
bool cache_file_has_space(const struct cache_file *f, uint64_t n);
/** Have the processor fetch the @n free bytes that the next record will take, and the record that will be evicted next. */
void cache_file_fetch(const struct cache_file *f, uint64_t n);
/** Write to each page of the @n free bytes that come next: one that was never written to has to be made first. */
void cache_file_touch(struct cache_file *f, uint64_t n);
/** Nothing is in the ring. */
bool cache_file_is_empty(const struct cache_file *f);
/** Let the oldest record go. *ret is what it was, size 0: there was none yet, but the next time. False: it failed. */
MUST_CHECK bool cache_file_evict(struct cache_file *f, struct cache_record *ret);
/** Forget all records. */
void cache_file_drop_all(struct cache_file *f);
/** Write a record where there is room for it. @r->pos, size, len and data_crc are set. False: it failed. */
MUST_CHECK bool cache_file_append(struct cache_file *f, struct cache_record *r, struct slice data);
/** Write the record that was evicted last once more, if there is room and its data are not damaged. @r as cache_file_append(). */
MUST_CHECK bool cache_file_append_again(
	struct cache_file *f, struct cache_record *r, struct buf *scratch);
/** Write when a record's revision ended. */
void cache_file_set_end(struct cache_file *f, uint64_t pos, uint64_t end_tid);
/** A record that is not to be found again. */
void cache_file_drop(struct cache_file *f, uint64_t pos);

/** @tid 0 is written as well. */
void cache_file_set_last_tid(struct cache_file *f, uint64_t tid);
uint64_t cache_file_last_tid(const struct cache_file *f);

/**
 * The data of the record at @pos.
 * @room  gives a place for them
 * @check compare with the checksum
 * False: @pos was overwritten, or the place was not given, or they are damaged: *ret_damaged.
 */
MUST_CHECK bool cache_file_data(struct cache_file *f, uint64_t pos,
	void *(*room)(void *arg, size_t len), void *arg, bool check, bool *ret_damaged);

#endif
