/* ZODB's BlobStorage: blobs for a storage that has none of its own, in a folder beside it.
 *
 * A FileStorage is given its folder by filestorage_options.blob_dir instead, also within <blobstorage>: it knows
 * which revisions an undo and a pack concern. */
#ifndef BLOB_BLOB_STORAGE_H
#define BLOB_BLOB_STORAGE_H

#include "base/compiler.h"
#include "base/err.h"
#include "storage/blob/blob_dir.h"
#include "storage/storage.h"

/**
 * Put @dir around @inner. Both become the wrapper's, which closes them; on failure they stay the caller's.
 * @inner must have no blobs, and must call the hooks of a transaction (txn.h: prepare, settled).
 */
MUST_CHECK int blob_storage_open(
	struct storage *inner, struct blob_dir *dir, struct storage **ret, struct err *e);

/** storage_ops.open_blob for a storage with a folder: on the pool. */
void blob_storage_open_blob(struct storage *s, struct blob_req *r);

#endif
