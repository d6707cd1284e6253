/* What the files of the FileStorage share, and its core: the storage without thread, lock file
 * and path, over any disk file, stepped by whoever owns it (a simulation). */
#ifndef FILESTORAGE_FS_H
#define FILESTORAGE_FS_H

#include <pthread.h>
#include <semaphore.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/compiler.h"
#include "base/disk.h"
#include "base/errand.h"
#include "storage/filestorage/data_file.h"
#include "storage/filestorage/filestorage.h"
#include "storage/filestorage/format.h"
#include "storage/filestorage/fs_pack.h"
#include "storage/filestorage/log_writer.h"
#include "storage/filestorage/scan.h"
#include "storage/storage.h"

/** The largest oid a new object may have: ids above leave no room for those that follow (R10). */
#define FS_NEW_OID_MAX UINT64_C(0xffff000000000000)

struct filestorage {
	struct storage base;
	struct filestorage_options options;
	char *path; /* NULL: a core, which saves no index and no tail */
	struct pubchain pubs;
	_Atomic(struct data_file *) data;
	struct log_writer *writer; /* NULL when read-only */
	_Atomic(uint64_t) next_oid;

	pthread_mutex_t space_lock; /* guards the two below; docs/threads.md */
	uint64_t reserved;          /* bytes of all voted transactions */
	uint64_t reserved_until;    /* offset up to which the disk has blocks */
	uint64_t space_epoch;       /* grows when blocks were lost: a cut, another file */

	pthread_mutex_t pin_lock; /* guards the two below; docs/threads.md */
	uint32_t pins;            /* voting or voted transactions that hold offsets of the file */
	bool switching;           /* a pack is about to replace the file: no new pins */
	pthread_cond_t unpinned;  /* either has changed */

	struct packing packing;

	/* the shell: filestorage_open() only */
	int lock_fd;
	bool has_thread;
	pthread_t thread;
	sem_t wake; /* the log writer has something to do, or is to stop */
	pthread_mutex_t
		stepping;     /* held by the thread that steps the log writer; docs/threads.md */
	struct errand errand; /* a step, by who finishes a transaction */
	atomic_bool stop;
};

static inline struct filestorage *fs_of(struct storage *s)
{
	return CONTAINER_OF(s, struct filestorage, base);
}

/** Bytes of whole, published transactions. */
static inline uint64_t fs_end(struct filestorage *fs)
{
	uint64_t end = data_file_end(data_file_borrow(&fs->data));

	data_file_return();
	return end;
}

/** Line for the log, when there is one. */
void fs_log(struct filestorage *fs, int level, const char *fmt, ...) PRINTF(3, 4);

/**
 * Open over @file: read or rebuild the index, cut a torn tail, seed the publications. Writes no lock
 * file and starts no thread.
 * @o     of it path (NULL for none), read_only, quota_bytes, recent_txns, clock and log are used
 * @file  passes to the storage on success
 */
MUST_CHECK int filestorage_core_open(struct disk_file *file, const struct filestorage_options *o,
	struct storage **ret, struct err *e);
/** One step of its log writer; true: there is more to do at once. Not for one with a thread. */
bool filestorage_step(struct storage *s);
/** Free a core without writing a byte; what was queued is forgotten. @file is the caller's again. */
void filestorage_core_drop(struct storage *s);

/* --- between the files --- */

/** Read the header of the record at @off, and its back-pointer where it has one instead of data.
 * @oid  what is expected. Returns 0, ERR_AGAIN (not @may_block), ERR_CORRUPT, ERR_IO. */
MUST_CHECK int fs_read_record(struct data_file *d, uint64_t off, uint64_t oid, bool may_block,
	struct fs_rec_header *ret, uint64_t *ret_back, struct err *e);
/** Does the header fit there: the right object, a predecessor before it, within the file? */
MUST_CHECK int fs_check_record(const struct data_file *d, uint64_t off, uint64_t oid,
	const struct fs_rec_header *h, struct err *e);

/** The log writer has something to do. Threads: any. */
void fs_wake_writer(struct filestorage *fs);
/** Run it between two batches. Threads: any. */
void fs_call_writer(struct filestorage *fs, struct writer_job *j);

/** From here until the transaction is settled or aborted its offsets into the file hold: the end of a pack
 * waits for it, and it waits for one that has begun. Blocks: on the pool. */
void fs_pin(struct filestorage *fs, struct txn *t);
/** Nothing when it is not pinned. Threads: any. */
void fs_unpin(struct filestorage *fs, struct txn *t);

void fs_load(struct storage *s, struct load_req *r);
void fs_prefetch(struct storage *s, const uint64_t *oids, size_t n);
void fs_history(struct storage *s, struct history_req *r);
void fs_vote(struct storage *s, struct vote_req *v);
void fs_undo_log(struct storage *s, struct undo_log_req *r);
void fs_abort(struct storage *s, struct txn *t);
/** What the vote of @t reserved is free again; env.settle of the log writer. */
void fs_settle(void *ctx, struct txn *t, int rc);

/** The transactions of a storage from one tid to another, and their records; as storage_ops says. */
MUST_CHECK int fs_iter_open(
	struct storage *s, uint64_t start, uint64_t stop, struct storage_iter **ret, struct err *e);
MUST_CHECK int fs_iter_records(struct storage_iter *txns, struct storage_iter **ret, struct err *e);
void fs_iter_next(struct iter_req *r);
void fs_iter_close(struct storage *s, struct storage_iter *it);

/** A growing list of oids. Starts as zeros; mem_free() its oids. */
struct fs_changed {
	uint64_t *oids;
	size_t n;
	size_t room;
};

void fs_changes(struct storage *s, struct changes_req *r);
/** The header of the transaction that ends at *@pos, which moves to its start. ERR_CORRUPT, ERR_IO. */
MUST_CHECK int fs_scan_before(
	struct scan *s, uint64_t *pos, struct fs_txn_header *ret, struct err *e);
/** Append the oids of the transaction at @off. */
MUST_CHECK int fs_list_oids(struct scan *s, uint64_t off, const struct fs_txn_header *h,
	struct fs_changed *l, struct err *e);
/** Sort, and leave each once. */
void fs_changed_unique(struct fs_changed *l);

/** The folder of blobs, where the options name one; what an earlier life left there goes. */
MUST_CHECK int fs_blobs_open(struct filestorage *fs, struct err *e);
/** Is there a record of that revision? When the file cannot be read: true. blob_has_fn. */
bool fs_has_revision(void *fs, uint64_t oid, uint64_t tid);
/** The last step of a vote but for the space: the transaction's blobs. On the pool. */
MUST_CHECK int fs_vote_blobs(struct filestorage *fs, struct txn *t, struct err *e);
/** A TXN_BACK of an undo, the @rec-th record: gets a copy of the blob of the revision it goes back to, if that has
 * one. The transaction is pinned. On the pool. */
MUST_CHECK int fs_undo_blob(
	struct filestorage *fs, struct data_file *d, struct txn *t, size_t rec, struct err *e);

/** Index, recovery, publications: fills in a new storage. */
MUST_CHECK int fs_recover(struct filestorage *fs, struct err *e);
/** Save the index of a storage with a path. */
void fs_save_index(struct filestorage *fs);

#endif
