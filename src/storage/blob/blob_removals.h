/* Which blobs a pack takes away: written down while it copies, applied after the swap of the files,
 * forgotten when it fails. The list is the file .removed in the folder of blobs, as ZODB's pack writes it.
 *
 * Threads: one at a time; blocks. */
#ifndef BLOB_BLOB_REMOVALS_H
#define BLOB_BLOB_REMOVALS_H

#include "base/compiler.h"
#include "base/err.h"
#include "storage/blob/blob_dir.h"

struct blob_removals;

/** Begin. FOLDER.old of an earlier pack goes now. */
MUST_CHECK int blob_removals_open(struct blob_dir *d, struct blob_removals **ret, struct err *e);
/** A record that is not kept, which may have a blob. */
MUST_CHECK int blob_removals_add(
	struct blob_removals *r, uint64_t oid, uint64_t tid, struct err *e);
/** All are written down durably: before the packed file takes its place. */
MUST_CHECK int blob_removals_sync(struct blob_removals *r, struct err *e);
/**
 * The packed file is in place: remove them, and the folders that are left empty; frees @r. What fails leaves
 * the list behind, for the next start.
 * @has       does the storage still have that revision? Then its blob stays: ZEO writes two records for one
 * @keep_old  they are moved to FOLDER.old, and it gets hard links of all that stay
 */
MUST_CHECK int blob_removals_apply(
	struct blob_removals *r, blob_has_fn *has, void *ctx, bool keep_old, struct err *e);
/** What a pack that was killed after the swap has left to do. Nothing without a list. */
MUST_CHECK int blob_removals_resume(struct blob_dir *d, blob_has_fn *has, void *ctx, struct err *e);
/** The pack failed or changed nothing. NULL is fine. */
void blob_removals_drop(struct blob_removals *r);

#endif
