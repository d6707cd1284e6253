#include "storage/inline_exec.h"

#include "base/check.h"

static void submit(struct exec *base, struct job *j)
{
	struct inline_exec *x = CONTAINER_OF(base, struct inline_exec, base);

	j->link = NULL;
	if (x->first)
		x->last->link = j;
	else
		x->first = j;
	x->last = j;
}

void inline_exec_init(struct inline_exec *x)
{
	*x = (struct inline_exec){ .base.submit = submit };
}

void inline_exec_run(struct inline_exec *x, const bool *done)
{
	while (!*done) {
		struct job *j = x->first;

		CHECK(j);
		x->first = j->link;
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
