/* Data.fs.index in ZODB's own format (fsIndex.save): pickles of the position, then of
 * (6-byte oid prefix, fsBucket string) pairs in order, then None. */
#ifndef FILESTORAGE_INDEX_FILE_H
#define FILESTORAGE_INDEX_FILE_H

#include <stdint.h>

#include "base/compiler.h"
#include "base/err.h"
#include "storage/filestorage/index.h"

/**
 * Read an index written by us or by ZODB 4 to 6 (pickle protocols 1 to 3, str or bytes keys).
 * @ret_pos  offset in the data file up to which it is complete
 * Returns 0, ERR_NOENT, ERR_FORMAT (also truncated or damaged), ERR_IO, ERR_NOMEM. The caller checks
 * the content against the data file (recovery.h).
 */
MUST_CHECK int index_file_load(
	const char *path, struct index **ret, uint64_t *ret_pos, struct err *e);

/** Write to PATH.index_tmp, sync, rename over PATH, as ZODB names it. A failure leaves the old
 * one or none, never a damaged one. */
MUST_CHECK int index_file_save(
	const char *path, const struct index *ix, uint64_t pos, struct err *e);

#endif
