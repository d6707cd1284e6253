/* FileStorage: ZODB's Data.fs, read and written in place.
 *
 * I1  Bytes before `end` never change, but for the status byte of the batch being made durable.
 * I2  The index maps an oid to a record of a published transaction, or one being published.
 * I3  One thread, the log writer, changes file and index.
 * I4  After a failed fdatasync or truncation nothing is written any more (R6).
 * I5  tids in the file grow strictly (R4). */
#ifndef STORAGE_FILESTORAGE_H
#define STORAGE_FILESTORAGE_H

#include <stdbool.h>
#include <stdint.h>

#include "base/clock.h"
#include "base/compiler.h"
#include "base/err.h"
#include "storage/storage.h"

struct filestorage_options {
	const char *path;        /* of the data file */
	bool create;             /* start empty although a file is there, as ZODB's create=True */
	bool read_only;          /* no lock file, nothing is written; the file must exist */
	const char *blob_dir;    /* folder of the blobs, NULL: none are kept */
	uint64_t quota_bytes;    /* 0: none */
	bool pack_gc;            /* a pack removes objects that cannot be reached */
	bool pack_keep_old;      /* and leaves the file as it was before as PATH.old */
	uint64_t pack_bandwidth; /* bytes a second that it reads and writes; 0: no limit */
	uint32_t recent_txns;    /* invalidation-queue-size */
	const struct clock *clock;
	/** Log lines of opening and of the writer's failures; may be NULL. Level as base/log.h. */
	void (*log)(void *ctx, int level, const char *text);
	void *log_ctx;
};

/**
 * Open, or create when there is none. Takes the .lock (refused when another process has it, T22), reads
 * or rebuilds the index, cuts a torn tail (saved as .trN) and starts the log-writer thread.
 * Returns 0; ERR_BUSY (locked), ERR_FORMAT (not a Data.fs), ERR_CORRUPT (damage that is not at the
 * end; the text names the offset), ERR_NOENT, ERR_IO, ERR_NOSPC, ERR_NOMEM.
 */
MUST_CHECK int filestorage_open(
	const struct filestorage_options *o, struct storage **ret, struct err *e);

#endif
