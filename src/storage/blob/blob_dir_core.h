/* What the files of the folder of blobs share. */
#ifndef BLOB_BLOB_DIR_CORE_H
#define BLOB_BLOB_DIR_CORE_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/compiler.h"
#include "base/err.h"
#include "storage/blob/blob_dir.h"

/* Names in tmp. Others are those of clients that share the folder: they are left alone. */
#define UPLOAD_PREFIX "zkzeo-upload-"
#define VOTED_PREFIX  "zkzeo-voted-"

enum { REPR_ROOM = 2 + 16 + 1 };

struct blob_dir {
	char *path;
	bool lawn;
	int tmp_fd; /* of the folder tmp, locked; -1: read-only */
	atomic_uint last_name;
};

/** A name in tmp for a blob of a voted transaction; does the path have such a name? */
MUST_CHECK int blob_dir_voted_name(
	struct blob_dir *d, uint64_t oid, char *out, size_t room, struct err *e);
bool blob_dir_is_voted_name(const struct blob_dir *d, const char *path);

/** A second name, or a copy where the file system has none. */
MUST_CHECK int blob_link_or_copy(const char *from, const char *to, struct err *e);

/** As blob_dir_walk(), for the revisions of one object. */
MUST_CHECK int blob_dir_walk_oid(struct blob_dir *d, uint64_t oid,
	int (*take)(void *ctx, uint64_t oid, uint64_t tid, struct err *e), void *ctx,
	struct err *e);

#endif
