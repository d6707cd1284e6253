/* Reads: the changes are asked first, and the base for what they have not got. */
#include "base/mem.h"
#include "storage/demo/demo_core.h"
#include "storage/pass_on.h"

/* --- loads --- */

struct demo_load_op {
	struct load_req in;
	struct load_req *out;
	struct demo *demo;
	bool changed_later; /* the changes have the object, but from first_tid on only */
	uint64_t first_tid;
};

static void answer_load(struct demo_load_op *op)
{
	pass_on_load(op->out, &op->in);
	mem_free(op);
}

/* The seam: what is the newest in the base ended where the changes begin. */
static void base_loaded(struct load_req *in)
{
	struct demo_load_op *op = CONTAINER_OF(in, struct demo_load_op, in);

	if (op->changed_later && in->rc == ERR_NOKEY) {
		in->rc = OK;
		in->none = true;
		in->end_tid = op->first_tid;
	} else if (op->changed_later && in->rc == OK && in->end_tid == TID_NONE) {
		in->end_tid = op->first_tid;
	}
	answer_load(op);
}

static void changes_loaded(struct load_req *in)
{
	struct demo_load_op *op = CONTAINER_OF(in, struct demo_load_op, in);
	bool has_none = in->rc == OK && in->none;

	if (!has_none && in->rc != ERR_NOKEY) {
		answer_load(op);
		return;
	}
	op->changed_later = has_none;
	op->first_tid = in->end_tid;
	in->applied = TID_MAX; /* I1 */
	in->done = base_loaded;
	op->demo->base->ops->load(op->demo->base, in);
}

void demo_load(struct storage *s, struct load_req *r)
{
	struct demo *d = demo_of(s);
	struct demo_load_op *op = NULL;

	if (r->kind == LOAD_NEXT)
		r->rc = err_set(
			&r->err, ERR_UNSUPPORTED, "a DemoStorage does not offer record_iternext");
	else if (!(op = mem_zalloc(1, sizeof(*op))))
		r->rc = err_set(&r->err, ERR_NOMEM, "no memory to load an object");
	if (!op) {
		r->done(r);
		return;
	}
	op->out = r;
	op->demo = d;
	op->in.exec = r->exec;
	op->in.done = changes_loaded;
	op->in.kind = r->kind;
	op->in.oid = r->oid;
	op->in.tid = r->tid;
	op->in.applied = r->applied;
	d->changes->ops->load(d->changes, &op->in);
}

/* --- histories --- */

struct demo_history_op {
	struct history_req in;
	struct history_req *out;
	struct demo *demo;
};

static void answer_history(struct demo_history_op *op)
{
	struct history_req *out = op->out;

	out->done(out);
	mem_free(op);
}

/* Behind what the changes gave. */
static int append_items(struct history_req *out, const struct history_req *in)
{
	size_t n = out->n_items + in->n_items;
	struct history_item *all = arena_alloc(out->arena, (n + 1) * sizeof(*all));

	if (!all)
		return err_set(&out->err, ERR_NOMEM, "no memory for a history");
	for (uint32_t i = 0; i < n; i++)
		all[i] = i < out->n_items ? out->items[i] : in->items[i - out->n_items];
	out->items = all;
	out->n_items = (uint32_t)n;
	return OK;
}

static void base_has_history(struct history_req *in)
{
	struct demo_history_op *op = CONTAINER_OF(in, struct demo_history_op, in);
	struct history_req *out = op->out;

	if (in->rc == OK) {
		out->rc = append_items(out, in);
	} else if (in->rc != ERR_NOKEY || out->n_items == 0) {
		out->rc = in->rc;
		out->err = in->err;
	}
	answer_history(op);
}

static void changes_have_history(struct history_req *in)
{
	struct demo_history_op *op = CONTAINER_OF(in, struct demo_history_op, in);
	struct history_req *out = op->out;

	if (in->rc == OK) {
		out->items = in->items;
		out->n_items = in->n_items;
	} else if (in->rc != ERR_NOKEY) {
		out->rc = in->rc;
		out->err = in->err;
	}
	if (out->rc != OK || out->n_items >= out->size) {
		answer_history(op);
		return;
	}
	in->size = out->size - out->n_items;
	in->applied = TID_MAX; /* I1 */
	in->done = base_has_history;
	op->demo->base->ops->history(op->demo->base, in);
}

void demo_history(struct storage *s, struct history_req *r)
{
	struct demo *d = demo_of(s);
	struct demo_history_op *op = mem_zalloc(1, sizeof(*op));

	r->rc = OK;
	r->items = NULL;
	r->n_items = 0;
	if (!op) {
		r->rc = err_set(&r->err, ERR_NOMEM, "no memory for a history");
		r->done(r);
		return;
	}
	op->out = r;
	op->demo = d;
	op->in.exec = r->exec;
	op->in.done = changes_have_history;
	op->in.oid = r->oid;
	op->in.applied = r->applied;
	op->in.size = r->size;
	op->in.arena = r->arena;
	d->changes->ops->history(d->changes, &op->in);
}

/* --- blobs --- */

struct demo_blob_op {
	struct blob_req in;
	struct blob_req *out;
	struct demo *demo;
};

static void answer_blob(struct demo_blob_op *op)
{
	struct blob_req *out = op->out;

	out->rc = op->in.rc;
	out->fd = op->in.fd;
	out->size_bytes = op->in.size_bytes;
	if (out->rc != OK)
		out->err = op->in.err;
	out->done(out);
	mem_free(op);
}

static void base_has_blob(struct blob_req *in)
{
	answer_blob(CONTAINER_OF(in, struct demo_blob_op, in));
}

static void changes_have_blob(struct blob_req *in)
{
	struct demo_blob_op *op = CONTAINER_OF(in, struct demo_blob_op, in);
	struct storage *base = op->demo->base;

	if (in->rc != ERR_NOKEY || !base->ops->open_blob) {
		answer_blob(op);
		return;
	}
	in->done = base_has_blob;
	base->ops->open_blob(base, in);
}

void demo_open_blob(struct storage *s, struct blob_req *r)
{
	struct demo *d = demo_of(s);
	struct demo_blob_op *op = mem_zalloc(1, sizeof(*op));

	if (!op) {
		r->rc = err_set(&r->err, ERR_NOMEM, "no memory to read a blob");
		r->done(r);
		return;
	}
	op->out = r;
	op->demo = d;
	op->in.exec = r->exec;
	op->in.done = changes_have_blob;
	op->in.oid = r->oid;
	op->in.serial = r->serial;
	d->changes->ops->open_blob(d->changes, &op->in);
}
