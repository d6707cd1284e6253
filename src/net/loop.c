#include "net/loop.h"

#include <errno.h>
#include <stddef.h>
#include <stdio.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "base/check.h"

_Static_assert(sizeof(uv_work_t) <= JOB_ROOM, "a job has room for libuv's request");

static struct job *job_of(uv_work_t *w)
{
	return w->data;
}

static void work(uv_work_t *w)
{
	job_of(w)->work(job_of(w));
}

static void after_work(uv_work_t *w, int status)
{
	(void)status; /* nothing is ever cancelled */
	job_of(w)->done(job_of(w));
}

static void submit(struct exec *x, struct job *j)
{
	struct loop *l = CONTAINER_OF(x, struct loop, exec);
	uv_work_t *w = (uv_work_t *)(void *)j->room;
	int rc;

	w->data = j;
	rc = uv_queue_work(&l->uv, w, work, after_work);
	CHECK(rc == 0);
}

static void post(struct exec *x, struct job *j)
{
	struct loop *l = CONTAINER_OF(x, struct loop, exec);

	j->work = NULL;
	j->link = NULL;
	pthread_mutex_lock(&l->posted_lock);
	*l->posted_end = j;
	l->posted_end = (struct job **)&j->link;
	loop_wake(l); /* under the lock: afterwards the loop may be gone */
	pthread_mutex_unlock(&l->posted_lock);
}

static struct job *take_posted(struct loop *l)
{
	struct job *j;

	pthread_mutex_lock(&l->posted_lock);
	j = l->posted;
	l->posted = NULL;
	l->posted_end = &l->posted;
	pthread_mutex_unlock(&l->posted_lock);
	return j;
}

static void on_event(uv_poll_t *p, int status, int events)
{
	struct loop *l = p->data;
	struct job *j;
	uint64_t n;

	(void)status, (void)events;
	if (read(l->event, &n, sizeof(n)) < 0)
		return; /* nothing is there */
	/* Who wakes after this writes again; what was left before is found from here on. */
	atomic_store(&l->woken, false);
	j = take_posted(l);
	l->on_wake(l);
	while (j) {
		struct job *next = j->link;

		j->done(j);
		j = next;
	}
}

static int open_event(struct loop *l, struct err *e)
{
	l->event = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (l->event < 0)
		return err_sys(e, errno, "cannot make an eventfd for an event loop");
	uv_poll_init(&l->uv, &l->poll, l->event);
	l->poll.data = l;
	uv_poll_start(&l->poll, UV_READABLE, on_event);
	return OK;
}

int loop_init(struct loop *l, void (*on_wake)(struct loop *l), struct err *e)
{
	int rc;

	l->on_wake = on_wake;
	l->exec.submit = submit;
	l->exec.post = post;
	l->posted = NULL;
	l->posted_end = &l->posted;
	l->started = false;
	l->run = NULL;
	rc = uv_loop_init(&l->uv);
	if (rc != 0)
		return err_set(e, ERR_IO, "cannot make an event loop: %s", uv_strerror(rc));
	atomic_init(&l->woken, false);
	rc = open_event(l, e);
	if (rc != OK)
		uv_loop_close(&l->uv);
	else
		pthread_mutex_init(&l->posted_lock, NULL);
	return rc;
}

static void *run(void *arg)
{
	struct loop *l = arg;

	if (l->run)
		l->run(l);
	else
		uv_run(&l->uv, UV_RUN_DEFAULT);
	return NULL;
}

int loop_start(struct loop *l, const char *thread_name, struct err *e)
{
	int rc = pthread_create(&l->thread, NULL, run, l);

	if (rc != 0)
		return err_sys(e, rc, "cannot start a thread for an event loop");
	pthread_setname_np(l->thread, thread_name);
	l->started = true;
	return OK;
}

/* Those that this thread is to wake, once each. */
static _Thread_local struct {
	bool holds;
	struct loop *first;
} held;

static bool is_held(struct loop *l)
{
	struct loop *h = held.first;

	while (h && h != l)
		h = h->next_held;
	return h;
}

void loop_hold_wakes(void)
{
	held.holds = true;
}

void loop_release_wakes(void)
{
	held.holds = false;
	while (held.first) {
		struct loop *l = held.first;

		held.first = l->next_held;
		loop_wake(l);
	}
}

void loop_wake(struct loop *l)
{
	const uint64_t one = 1;

	if (held.holds) {
		if (!is_held(l)) {
			l->next_held = held.first;
			held.first = l;
		}
		return;
	}
	if (atomic_exchange(&l->woken, true))
		return;
	while (write(l->event, &one, sizeof(one)) < 0 && errno == EINTR)
		;
}

void loop_finish(struct loop *l)
{
	uv_close((uv_handle_t *)&l->poll, NULL);
}

void loop_join(struct loop *l)
{
	if (l->started)
		pthread_join(l->thread, NULL);
}

void loop_fini(struct loop *l)
{
	if (!l->started) { /* nobody has run it: close the handle here */
		loop_finish(l);
		uv_run(&l->uv, UV_RUN_DEFAULT);
	}
	uv_loop_close(&l->uv);
	pthread_mutex_destroy(&l->posted_lock);
	close(l->event);
}
