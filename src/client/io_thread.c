#include "client/io_thread.h"

#include <stddef.h>

#include "base/check.h"
#include "base/mem.h"

struct io_thread {
	struct loop loop;
	unsigned users; /* under io_lock, like what follows */
	bool stopping;
	struct io_task *first, **last;
	atomic_uint jobs;       /* of the pool */
	struct io_thread *next; /* of those that were to end while they had jobs */
};

static pthread_mutex_t io_lock = PTHREAD_MUTEX_INITIALIZER;
static struct io_thread *current;
static struct io_thread *leftover;

static struct io_task *take_tasks(struct io_thread *io, bool *ret_stopping)
{
	struct io_task *t;

	pthread_mutex_lock(&io_lock);
	t = io->first;
	io->first = NULL;
	io->last = &io->first;
	*ret_stopping = io->stopping;
	pthread_mutex_unlock(&io_lock);
	return t;
}

static void on_wake(struct loop *l)
{
	struct io_thread *io = CONTAINER_OF(l, struct io_thread, loop);
	bool stopping;
	struct io_task *t = take_tasks(io, &stopping);

	while (t) {
		struct io_task *next = t->next;

		t->run(t);
		t = next;
	}
	if (stopping)
		loop_finish(l);
}

static int start(struct io_thread **ret, struct err *e)
{
	struct io_thread *io = mem_zalloc(1, sizeof(*io));
	int rc;

	if (!io)
		return err_set(e, ERR_NOMEM, "no memory for the clients' thread");
	io->last = &io->first;
	rc = loop_init(&io->loop, on_wake, e);
	if (rc == OK) {
		rc = loop_start(&io->loop, "zkzeo-client", e);
		if (rc != OK)
			loop_fini(&io->loop);
	}
	if (rc != OK) {
		mem_free(io);
		return rc;
	}
	*ret = io;
	return OK;
}

int io_thread_acquire(struct io_thread **ret, struct err *e)
{
	int rc = OK;

	pthread_mutex_lock(&io_lock);
	if (!current)
		rc = start(&current, e);
	if (rc == OK) {
		current->users++;
		*ret = current;
	}
	pthread_mutex_unlock(&io_lock);
	return rc;
}

static void end(struct io_thread *io)
{
	loop_join(&io->loop);
	loop_fini(&io->loop);
	mem_free(io);
}

/* A job of the pool cannot be stopped: its thread ends by itself later, and is given back with another one. */
static struct io_thread *take_ended(void)
{
	struct io_thread **p = &leftover;
	struct io_thread *ended = NULL;

	while (*p) {
		struct io_thread *io = *p;

		if (atomic_load(&io->jobs)) {
			p = &io->next;
			continue;
		}
		*p = io->next;
		io->next = ended;
		ended = io;
	}
	return ended;
}

void io_thread_release(struct io_thread *io)
{
	struct io_thread *ended = NULL;

	CHECK(!io_thread_is_self(io));
	pthread_mutex_lock(&io_lock);
	if (--io->users == 0) {
		current = NULL;
		io->stopping = true;
		loop_wake(&io->loop);
		io->next = leftover;
		leftover = io;
		ended = take_ended();
	}
	pthread_mutex_unlock(&io_lock);
	while (ended) {
		struct io_thread *next = ended->next;

		end(ended);
		ended = next;
	}
}

void io_thread_post(struct io_thread *io, struct io_task *t)
{
	bool wake;

	t->next = NULL;
	pthread_mutex_lock(&io_lock);
	wake = !io->first;
	*io->last = t;
	io->last = &t->next;
	pthread_mutex_unlock(&io_lock);
	if (wake)
		loop_wake(&io->loop);
}

uv_loop_t *io_thread_loop(struct io_thread *io)
{
	return &io->loop.uv;
}

void io_thread_submit(struct io_thread *io, struct job *j)
{
	io->loop.exec.submit(&io->loop.exec, j);
}

void io_thread_job_begins(struct io_thread *io)
{
	atomic_fetch_add(&io->jobs, 1);
}

void io_thread_job_ends(struct io_thread *io)
{
	atomic_fetch_sub(&io->jobs, 1);
}

bool io_thread_is_self(const struct io_thread *io)
{
	return pthread_equal(io->loop.thread, pthread_self());
}

void io_thread_forget(void)
{
	current = NULL;
	leftover = NULL;
}

void io_thread_lock_for_fork(void)
{
	pthread_mutex_lock(&io_lock);
}

void io_thread_unlock_after_fork(void)
{
	pthread_mutex_unlock(&io_lock);
}
