/* An exec for a pool thread: what is submitted runs in the middle of that thread's own job, so that a storage
 * around others can be written down in the order of its steps where it may block anyhow. What another thread is
 * to post is waited for. */
#ifndef STORAGE_INLINE_EXEC_H
#define STORAGE_INLINE_EXEC_H

#include <pthread.h>
#include <stdbool.h>

#include "base/buf.h"
#include "base/compiler.h"
#include "base/exec.h"
#include "storage/storage.h"

struct inline_exec {
	struct exec base;
	pthread_mutex_t lock; /* guards the list; docs/threads.md */
	pthread_cond_t more;
	struct job *first, *last;
};

void inline_exec_init(struct inline_exec *x);
/** Run what is submitted and posted until *@done. Whoever sets it does so in a job of this exec, or before the call. */
void inline_exec_run(struct inline_exec *x, const bool *done);
void inline_exec_end(struct inline_exec *x);

/**
 * A load that blocks.
 * @r    kind, oid, tid and applied are set; afterwards data is empty, the rest the answer
 * @ret  the data is appended to it; may be NULL
 * Returns r->rc, or ERR_NOMEM.
 */
MUST_CHECK int inline_load(
	struct inline_exec *x, struct storage *s, struct load_req *r, struct buf *ret);

#endif
