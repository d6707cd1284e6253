/* An exec for a pool thread: what is submitted runs in the middle of that thread's own job, so that a storage
 * around others can be written down in the order of its steps where it may block anyhow. */
#ifndef STORAGE_INLINE_EXEC_H
#define STORAGE_INLINE_EXEC_H

#include <stdbool.h>

#include "base/buf.h"
#include "base/compiler.h"
#include "base/exec.h"
#include "storage/storage.h"

struct inline_exec {
	struct exec base;
	struct job *first, *last;
};

void inline_exec_init(struct inline_exec *x);
/** Run what was submitted until *@done. Whoever sets it must have submitted, or be what was. */
void inline_exec_run(struct inline_exec *x, const bool *done);

/**
 * A load that blocks.
 * @r    kind, oid, tid and applied are set; afterwards data is empty, the rest the answer
 * @ret  the data is appended to it; may be NULL
 * Returns r->rc, or ERR_NOMEM.
 */
MUST_CHECK int inline_load(
	struct inline_exec *x, struct storage *s, struct load_req *r, struct buf *ret);

#endif
