/* libzkzeo: blobs, which are files that belong to objects of class ZODB.blob.Blob.
 *
 * They need the option blob_dir: a folder of what the server has, or the server's own (shared_blob_dir). All of these
 * functions may wait for the server and the disk; not in callbacks. ZKZEO_UNSUPPORTED: there is no blob_dir. */
#ifndef ZKZEO_BLOB_H
#define ZKZEO_BLOB_H

#include <stddef.h>
#include <stdint.h>

#include "zkzeo/client.h"
#include "zkzeo/db.h"
#include "zkzeo/error.h"

#ifdef __cplusplus
extern "C" {
#endif

#define ZKZEO_PBLOB "ZODB.blob.Blob"

/* ---- of objects ---- */

/** A new Blob with the file at @path. The file is taken: moved away by the commit, removed when the transaction is not
 * committed; who runs a transaction again makes the file again. */
ZKZEO_MUST_CHECK int zkzeo_connection_new_blob(struct zkzeo_connection *conn, const char *path,
	struct zkzeo_object **ret, struct zkzeo_error *e);
/** Another file for a Blob. Taken as above. */
ZKZEO_MUST_CHECK int zkzeo_object_set_blob(
	struct zkzeo_object *o, const char *path, struct zkzeo_error *e);
/** Its file, opened for reading; the caller closes it. The one of the snapshot, or the new one. */
ZKZEO_MUST_CHECK int zkzeo_object_open_blob(
	struct zkzeo_object *o, int *ret_fd, struct zkzeo_error *e);

/* ---- of revisions ---- */

/** A folder on the same disk as blob_dir, for files to come; lives as long as @c. NULL: there is no blob_dir. */
ZKZEO_API const char *zkzeo_client_blob_tmp(const struct zkzeo_client *c);
/** The file of a revision, downloaded where it is not there. ZKZEO_NOKEY: it has no blob. A cache may remove the file later:
 * freed with zkzeo_free(). */
ZKZEO_MUST_CHECK int zkzeo_client_blob_path(
	struct zkzeo_client *c, uint64_t oid, uint64_t serial, char **ret, struct zkzeo_error *e);
/** The same, opened for reading; the caller closes it. It can be read also when the file is removed. */
ZKZEO_MUST_CHECK int zkzeo_client_open_blob(
	struct zkzeo_client *c, uint64_t oid, uint64_t serial, int *ret_fd, struct zkzeo_error *e);
/** As zkzeo_txn_store(), with the file at @path, which is taken. */
ZKZEO_MUST_CHECK int zkzeo_txn_store_blob(struct zkzeo_txn *t, uint64_t oid, uint64_t serial,
	const void *data, size_t len, const char *path, struct zkzeo_error *e);

#ifdef __cplusplus
}
#endif

#endif
