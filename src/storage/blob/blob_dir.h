/* The folder of a storage's blobs, as ZODB lays it out: a folder for each object, in it a file for
 * each revision, named after its tid.
 *
 *   FOLDER/.layout                                    "bushy" or "lawn"
 *   FOLDER/0x00/0x00/0x00/0x00/0x00/0x00/0x01/0x2a/0x03d1c2b7f0a3e244.blob     (bushy)
 *   FOLDER/0x012a/0x03d1c2b7f0a3e244.blob                                      (lawn)
 *   FOLDER/tmp/                                       what is not committed
 *
 * I1  A file of a revision never changes: it is complete and synced before it gets its name.
 * I2  A transaction's blobs keep a name in tmp, which says the oid, until it is durable or has failed: what a
 *     kill leaves behind is found there, without a walk over the folders.
 *
 * Threads: any; what touches the disk blocks: on the pool. */
#ifndef BLOB_BLOB_DIR_H
#define BLOB_BLOB_DIR_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/compiler.h"
#include "base/err.h"
#include "base/slice.h"

struct blob_dir;

/** Does the storage have that revision? When it cannot tell: true. */
typedef bool blob_has_fn(void *ctx, uint64_t oid, uint64_t tid);

struct blob_dir_options {
	const char *path;
	bool create;    /* start empty although there are blobs, as ZODB's create=True */
	bool read_only; /* nothing is written; the folder must exist */
	/** Log lines of opening; may be NULL. Level as base/log.h. */
	void (*log)(void *ctx, int level, const char *text);
	void *log_ctx;
};

/**
 * Open a folder of blobs, or make one. Refuses one that cannot be read or written (T25), and one that another
 * storage has open. Its layout is what its marker says; without a marker bushy when it is empty, else lawn.
 * Returns 0, ERR_BUSY, ERR_FORMAT (another layout), ERR_NOENT, ERR_IO, ERR_NOSPC, ERR_NOMEM.
 */
MUST_CHECK int blob_dir_open(
	const struct blob_dir_options *o, struct blob_dir **ret, struct err *e);
/** NULL is fine. Nothing is removed. */
void blob_dir_close(struct blob_dir *d);

/** As given, made absolute, without a slash at the end. */
const char *blob_dir_path(const struct blob_dir *d);

/** The folder of an object, and the file of a revision. Returns 0, or ERR_LIMIT when @room is too small (PATH_MAX
 * never is). */
MUST_CHECK int blob_dir_oid_path(
	const struct blob_dir *d, uint64_t oid, char *out, size_t room, struct err *e);
MUST_CHECK int blob_dir_file_path(const struct blob_dir *d, uint64_t oid, uint64_t tid, char *out,
	size_t room, struct err *e);
/** The oid of a folder, the tid of a file in it: the inverse. False: it is none. @path is below the folder. */
bool blob_dir_parse_oid(const struct blob_dir *d, const char *path, uint64_t *ret_oid);
bool blob_dir_parse_file(const char *name, uint64_t *ret_tid);

/** A folder with all that is in it. */
MUST_CHECK int blob_dir_remove_tree(const char *path, struct err *e);

/** A name in tmp for an upload, not used before. Nothing is made. Does not block. */
MUST_CHECK int blob_dir_new_name(struct blob_dir *d, char *out, size_t room, struct err *e);

/**
 * The path of a file that a client of the same machine put into the object's folder (storeBlobShared): a plain
 * name that ends with ".tmp" and at most one more character. Does not block.
 * Returns 0, or ERR_INVAL: no such name, as ZEO's server checks it.
 */
MUST_CHECK int blob_dir_shared_path(const struct blob_dir *d, uint64_t oid, struct slice name,
	char *out, size_t room, struct err *e);

/** Make the object's folder durable where it is missing. */
MUST_CHECK int blob_dir_make_oid_dir(struct blob_dir *d, uint64_t oid, struct err *e);

/** Open the blob of a revision. Returns 0 (the descriptor is the caller's), or ERR_NOKEY when there is none. */
MUST_CHECK int blob_dir_open_file(struct blob_dir *d, uint64_t oid, uint64_t tid, int *ret_fd,
	uint64_t *ret_size, struct err *e);
/** Is there one? */
bool blob_dir_has_file(struct blob_dir *d, uint64_t oid, uint64_t tid);

/** Remove the file of a revision, and the folders that are empty then. Fine when there is none. */
MUST_CHECK int blob_dir_remove_file(struct blob_dir *d, uint64_t oid, uint64_t tid, struct err *e);
/** The folders of an object that are empty; others may be adding to them. */
void blob_dir_prune(struct blob_dir *d, uint64_t oid);

/**
 * A second name for the blob of a revision, for the transaction that undoes back to it: in tmp, to be given to
 * txn_set_blob().
 * Returns 0, ERR_NOKEY when there is no such blob, ERR_NOSPC ...
 */
MUST_CHECK int blob_dir_copy(
	struct blob_dir *d, uint64_t oid, uint64_t tid, char *out, size_t room, struct err *e);

/**
 * After a start, before anything is voted: what an earlier life left in tmp goes, and with it the files of
 * revisions that did not become durable. Takes time for what was under way then, not for what is stored.
 */
MUST_CHECK int blob_dir_recover(struct blob_dir *d, blob_has_fn *has, void *ctx, struct err *e);

/** For each revision's file in the folder, in no order; @take may remove it, and returns 0 to go on. */
MUST_CHECK int blob_dir_walk(struct blob_dir *d,
	int (*take)(void *ctx, uint64_t oid, uint64_t tid, struct err *e), void *ctx,
	struct err *e);

#endif
