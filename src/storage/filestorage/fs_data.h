/* Records and transactions of a data file that are looked at out of order: by undo, restore, conflict
 * resolution and undoLog. Everything here reads and may block: on the pool. */
#ifndef FILESTORAGE_FS_DATA_H
#define FILESTORAGE_FS_DATA_H

#include <stdint.h>

#include "base/buf.h"
#include "base/compiler.h"
#include "storage/filestorage/data_file.h"
#include "storage/filestorage/format.h"

/** ZODB's searches go no further back than that: an empty first transaction is not found. */
enum { FS_SEARCH_START = 39 };

/** Exactly @n bytes at @off. Returns 0, ERR_CORRUPT (the file ends before), ERR_IO. */
MUST_CHECK int fs_read_exactly(struct data_file *d, uint64_t off, void *p, size_t n, struct err *e);

/**
 * The data of the record at @off, or of the one its back-pointers lead to.
 * @out  receives it in place of what it held
 * Returns 0; ERR_NOKEY when the object is not there (@off is 0, or a back-pointer is); ERR_CORRUPT, ERR_IO, ERR_NOMEM.
 */
MUST_CHECK int fs_read_back(
	struct data_file *d, uint64_t oid, uint64_t off, struct buf *out, struct err *e);

/** The newest record of the object that transaction @tid wrote: its offset, 0 when there is none, or the object has
 * no records. Walks the object's revisions. */
MUST_CHECK int fs_find_revision(struct data_file *d, uint64_t oid, uint64_t tid, uint64_t *ret_off,
	struct fs_rec_header *ret, uint64_t *ret_back, struct err *e);

/** Transactions backwards, from the end of the file. */
struct fs_txn_walk {
	struct data_file *d;
	uint64_t pos;           /* where the transaction found last starts; at first the end */
	struct fs_txn_header h; /* its header */
};

/** The transaction before. Returns 0; ERR_NOENT: there is none; ERR_CORRUPT, ERR_IO. */
MUST_CHECK int fs_txn_before(struct fs_txn_walk *w, struct err *e);

/** The transaction of @tid, packed or not. Returns 0, or as fs_txn_before(). */
MUST_CHECK int fs_find_txn(
	struct data_file *d, uint64_t tid, struct fs_txn_walk *ret, struct err *e);

#endif
