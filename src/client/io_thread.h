/* The one I/O thread of a process, shared by all clients: started by the first, ended with the last. */
#ifndef CLIENT_IO_THREAD_H
#define CLIENT_IO_THREAD_H

#include <stdbool.h>

#include "base/compiler.h"
#include "base/err.h"
#include "net/loop.h"

struct io_thread;

/** Something to be run on the I/O thread. */
struct io_task {
	void (*run)(struct io_task *t);
	struct io_task *next; /* the thread's own */
};

/** Start it, or count one more user. */
MUST_CHECK int io_thread_acquire(struct io_thread **ret, struct err *e);
/** The last one ends it. Jobs that still run in the pool (a name being looked up) are not waited for.
 * Threads: not the I/O thread. */
void io_thread_release(struct io_thread *io);

/** Threads: any; its lock is the last to be taken. A task runs once for each post; it is not posted twice at a time. */
void io_thread_post(struct io_thread *io, struct io_task *t);
/** For handles. Threads: the I/O thread. */
uv_loop_t *io_thread_loop(struct io_thread *io);
/** Run @j in the pool; done() comes on the I/O thread. Threads: the I/O thread. */
void io_thread_submit(struct io_thread *io, struct job *j);
/** Every use of the pool is between these two, so that the end of the thread does not wait for it. Threads: the I/O thread. */
void io_thread_job_begins(struct io_thread *io);
void io_thread_job_ends(struct io_thread *io);
/** The caller is the I/O thread. */
bool io_thread_is_self(const struct io_thread *io);

/** After a fork, in the child: the thread is not there any more, a new client starts another. */
void io_thread_forget(void);
/** Around a fork, so that the child finds no lock taken. */
void io_thread_lock_for_fork(void);
void io_thread_unlock_after_fork(void);

#endif
