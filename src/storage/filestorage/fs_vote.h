/* A vote under way: what fs_vote.c shares with the parts of it in files of their own. */
#ifndef FILESTORAGE_FS_VOTE_H
#define FILESTORAGE_FS_VOTE_H

#include "storage/filestorage/fs.h"

struct fs_oid_list {
	uint64_t *oids; /* mem_alloc()ed */
	size_t n;
	size_t room;
};

struct fs_voting {
	struct filestorage *fs;
	struct vote_req *v;
	struct data_file *d; /* stays the current one while the transaction is pinned */
	bool may_block;      /* it is on the pool */
	/* For undo: the records of the transaction so far, oid -> 1 + number of the newest; NULL until the first
	 * undo. */
	struct index *own;
	struct index *failed;      /* of the undo at hand: oid -> 1 + index in v->undo_failures */
	size_t n_indexed;          /* of the records that were asked for */
	struct fs_oid_list undone; /* what the client is told */
	struct fs_oid_list resolved;
	struct buf data[3]; /* records at hand */
};

MUST_CHECK int fs_oid_list_add(struct fs_oid_list *l, uint64_t oid, struct err *e);

/**
 * TXN_UNDO, the @i-th record: adds what is to be written for it to the transaction, which is pinned.
 * Returns 0; ERR_UNDO: see v->undo_failures or the text; ERR_CORRUPT, ERR_IO, ERR_NOMEM ...
 */
MUST_CHECK int fs_undo(struct fs_voting *w, size_t i);

/**
 * TXN_RESTORE, the @i-th record: sets its back_off where another revision has the same data. The transaction is
 * pinned. Returns 0; ERR_UNDO: the hint's transaction does not exist; ERR_INVAL, ERR_CORRUPT, ERR_IO, ERR_NOMEM.
 */
MUST_CHECK int fs_restore(struct fs_voting *w, size_t i);

/**
 * A conflict of the @i-th record, a TXN_STORE: merges it with what is current.
 * Returns 0: the record has the merged data; ERR_CONFLICT: it cannot be; ERR_CORRUPT, ERR_IO, ERR_NOMEM.
 */
MUST_CHECK int fs_resolve_store(struct fs_voting *w, size_t i, uint64_t committed_serial);

/**
 * Resolve between three states of an object, of which @changed and @committed are at hand and the old one is that of
 * transaction @old_serial. May use w->data[2].
 * Returns 0 with the merged record appended to @ret; ERR_CONFLICT: it cannot be resolved.
 */
MUST_CHECK int fs_resolve(struct fs_voting *w, uint64_t oid, uint64_t committed_serial,
	uint64_t old_serial, struct slice committed, struct slice changed, struct buf *ret);

#endif
