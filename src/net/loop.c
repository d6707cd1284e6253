#include "net/loop.h"

#include <stddef.h>
#include <stdio.h>

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
	uv_async_send(&l->async); /* under the lock: afterwards the loop may be gone */
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

static void on_async(uv_async_t *a)
{
	struct loop *l = a->data;
	struct job *j = take_posted(l);

	l->on_wake(l);
	while (j) {
		struct job *next = j->link;

		j->done(j);
		j = next;
	}
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
	rc = uv_loop_init(&l->uv);
	if (rc != 0)
		return err_set(e, ERR_IO, "cannot make an event loop: %s", uv_strerror(rc));
	l->async.data = l;
	rc = uv_async_init(&l->uv, &l->async, on_async);
	if (rc != 0) {
		uv_loop_close(&l->uv);
		return err_set(e, ERR_IO, "cannot make an event loop: %s", uv_strerror(rc));
	}
	pthread_mutex_init(&l->posted_lock, NULL);
	return OK;
}

static void *run(void *arg)
{
	struct loop *l = arg;

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

void loop_wake(struct loop *l)
{
	uv_async_send(&l->async);
}

void loop_finish(struct loop *l)
{
	uv_close((uv_handle_t *)&l->async, NULL);
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
}
