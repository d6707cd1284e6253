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

/** Begin; with @keep_old FOLDER.old of an earlier pack goes now. */
MUST_CHECK int blob_removals_open(struct blob_dir *d, struct blob_removals **ret, struct err *e);
/** The blob of a revision that is not kept; nothing happens when it has none. */
MUST_CHECK int blob_removals_add(
	struct blob_removals *r, uint64_t oid, uint64_t tid, struct err *e);
/**
 * The packed file is in place: remove them, and the folders that are left empty; frees @r.
 * @keep_old  they are moved to FOLDER.old, and it gets hard links of all that stay
 */
MUST_CHECK int blob_removals_apply(struct blob_removals *r, bool keep_old, struct err *e);
/** The pack failed or changed nothing. NULL is fine. */
void blob_removals_drop(struct blob_removals *r);

#endif
