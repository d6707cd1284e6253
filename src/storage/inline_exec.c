#include "storage/inline_exec.h"

#include "base/check.h"

static void submit(struct exec *base, struct job *j)
{
	struct inline_exec *x = CONTAINER_OF(base, struct inline_exec, base);

	j->link = NULL;
	pthread_mutex_lock(&x->lock);
	if (x->first)
		x->last->link = j;
	else
		x->first = j;
	x->last = j;
	pthread_cond_signal(&x->more); /* under the lock: afterwards x may be gone */
	pthread_mutex_unlock(&x->lock);
}

static void post(struct exec *base, struct job *j)
{
	j->work = NULL;
	submit(base, j);
}

void inline_exec_init(struct inline_exec *x)
{
	*x = (struct inline_exec){ .base = { .submit = submit, .post = post } };
	pthread_mutex_init(&x->lock, NULL);
	pthread_cond_init(&x->more, NULL);
}

void inline_exec_end(struct inline_exec *x)
{
	CHECK(!x->first);
	pthread_cond_destroy(&x->more);
	pthread_mutex_destroy(&x->lock);
}

static struct job *take(struct inline_exec *x)
{
	struct job *j;

	pthread_mutex_lock(&x->lock);
	while (!x->first)
		pthread_cond_wait(&x->more, &x->lock);
	j = x->first;
	x->first = j->link;
	pthread_mutex_unlock(&x->lock);
	return j;
}

void inline_exec_run(struct inline_exec *x, const bool *done)
{
	while (!*done) {
		struct job *j = take(x);

		if (j->work)
			j->work(j);
		j->done(j);
	}
}

struct waiting_load {
	struct load_req req;
	struct buf *copy;
	bool done;
};

static void load_done(struct load_req *r)
{
	struct waiting_load *w = CONTAINER_OF(r, struct waiting_load, req);

	if (r->rc == OK && w->copy) {
		buf_put_slice(w->copy, r->data);
		if (!buf_ok(w->copy))
			r->rc = err_set(&r->err, ERR_NOMEM, "no memory to load an object");
	}
	r->data = slice_of(NULL, 0);
	r->raised = NULL;
	w->done = true;
}

int inline_load(struct inline_exec *x, struct storage *s, struct load_req *r, struct buf *ret)
{
	struct waiting_load w = { .req = *r, .copy = ret };

	w.req.exec = &x->base;
	w.req.done = load_done;
	s->ops->load(s, &w.req);
	inline_exec_run(x, &w.done);
	*r = w.req;
	return r->rc;
}
