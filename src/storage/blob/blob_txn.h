/* The blobs of a transaction on their way to their places: the same for every storage with a folder
 * of blobs.
 *
 *   upload (tmp/zkzeo-upload-N) -> voted, synced (tmp/zkzeo-voted-OID-N) -> linked as the revision's
 *   file when the tid is known, before the transaction is durable -> durable: the name in tmp goes
 *                                                                 -> failed: both go */
#ifndef BLOB_BLOB_TXN_H
#define BLOB_BLOB_TXN_H

#include "base/compiler.h"
#include "base/err.h"
#include "storage/blob/blob_dir.h"
#include "storage/txn.h"

/**
 * The last step of a vote that is to succeed: every blob is on the disk, read-only, and the transaction's prepare
 * and settled hooks are set. Nothing to do without blobs. What it did is undone by txn_free(); after a failure,
 * too.
 * Returns 0, ERR_NOSPC, ERR_INVAL (a shared file that is none), ERR_IO.
 * Threads: the pool's.
 */
MUST_CHECK int blob_txn_vote(struct blob_dir *d, struct txn *t, struct err *e);

/**
 * Give a record of the transaction a blob.
 * @path  of a complete file in the folder's tmp; becomes the transaction's, also on failure
 * Returns 0 or ERR_NOMEM.
 */
MUST_CHECK int blob_txn_attach(struct txn *t, size_t rec, const char *path, struct err *e);

/** Before a vote: ZEO's server stores blobs after everything else, the last one first (T52). Indices of records do not
 * hold any more. */
MUST_CHECK int blob_txn_order(struct txn *t, struct err *e);

#endif
