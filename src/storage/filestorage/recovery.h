/* Opening a Data.fs: checks a saved index against the file, scans what the index does not
 * cover, and finds where the file's whole transactions end (R7, T62). Reads only: what to cut is
 * reported, the caller cuts. */
#ifndef FILESTORAGE_RECOVERY_H
#define FILESTORAGE_RECOVERY_H

#include <stdbool.h>
#include <stdint.h>

#include "base/compiler.h"
#include "base/disk.h"
#include "base/err.h"
#include "storage/filestorage/index.h"

/** FileStorage believes in no index of a smaller file, and it is not worth one. */
enum { RECOVERY_INDEX_POS_MIN = 100 };

struct recovery {
	uint64_t end;  /* whole transactions end here */
	uint64_t size; /* the file's; > end: a tail to cut */
	uint64_t last_tid;
	uint64_t max_oid;
	bool empty;    /* the file had no bytes: the magic is to be written */
	char why[160]; /* when size > end: what the tail looks like, with its offset */
};

/**
 * Is the saved index one of this file? Does what FileStorage._check_sanity does (the last records
 * before @pos are where the index says, up to 5 of them), and the tid before @pos goes to *ret_tid.
 * Returns 0, ERR_FORMAT (not of this file), ERR_IO.
 */
MUST_CHECK int recovery_check_index(struct disk_file *f, const struct index *ix, uint64_t pos,
	uint64_t *ret_tid, struct err *e);

/**
 * Scan transactions from @start (FS_FIRST_TXN, or a checked index's pos with @ltid its tid) to the end
 * and put their records into @ix. Large sequential reads. What a crash can leave behind is a tail to
 * cut: docs/format.md#recovery has the rule.
 * Returns 0; ERR_FORMAT (no Data.fs); ERR_CORRUPT: damage that is not at the end of the file (the text
 * names the offset and what was expected): a header that makes no sense although whole
 * transactions follow, a record outside its transaction, a wrong second length, tids that go back.
 */
MUST_CHECK int recovery_scan(struct disk_file *f, struct index *ix, uint64_t start, uint64_t ltid,
	struct recovery *ret, struct err *e);

/** Copy [end, size) to PATH.trN (N: the first that is free), sync it, and cut the file. Writes the
 * name used to @name. */
MUST_CHECK int recovery_cut_tail(struct disk_file *f, const char *path, const struct recovery *r,
	char *name, size_t room, struct err *e);

#endif
