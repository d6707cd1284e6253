/* An event loop with a thread of its own: libuv's, and a pool for what may block. */
#ifndef NET_LOOP_H
#define NET_LOOP_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <uv.h>

#include "base/compiler.h"
#include "base/err.h"
#include "base/exec.h"

struct loop {
	uv_loop_t uv;
	/* What loop_wake() writes to. uv_async_t would do, but libuv lets the loop spin until the system call
	 * that woke it has returned to its thread. */
	int event;
	uv_poll_t poll;
	atomic_bool woken;               /* and not yet come around to it */
	struct exec exec;                /* libuv's thread pool; done() on this loop */
	void (*on_wake)(struct loop *l); /* on the loop's thread, after loop_wake() */
	pthread_mutex_t posted_lock;     /* guards posted; docs/threads.md */
	struct job *posted;              /* first of those that came back, linked by job.link */
	struct job **posted_end;
	struct loop *next_held; /* loop_hold_wakes() */
	/* The thread's, in place of running the loop until all handles are closed (crew.h); NULL: just that. */
	void (*run)(struct loop *l);
	void *run_ctx;
	pthread_t thread;
	bool started;
};

/** @on_wake may be called any number of times for any number of loop_wake(). */
MUST_CHECK int loop_init(struct loop *l, void (*on_wake)(struct loop *l), struct err *e);
/** Start the thread. */
MUST_CHECK int loop_start(struct loop *l, const char *thread_name, struct err *e);
/** Threads: any. */
void loop_wake(struct loop *l);
/** What this thread wakes from here on is woken at loop_release_wakes(), and has to be there until then: who is on an errand shall not
 * wake who minds its loop. */
void loop_hold_wakes(void);
void loop_release_wakes(void);
/** To be called on the loop's thread: closes the loop's own handle; the thread ends when all
 * other handles are closed, too. */
void loop_finish(struct loop *l);
/** Wait for the thread to end. */
void loop_join(struct loop *l);
/** After loop_join(), or instead of loop_start(). */
void loop_fini(struct loop *l);

#endif
