/* Loads: records leave as they were before they were compressed. */
#include "base/mem.h"
#include "codec/zrecord.h"
#include "storage/pass_on.h"
#include "storage/zlib/zlib_core.h"

int zlib_inflate_record(struct slice record, struct buf *ret, struct err *e)
{
	int rc = zrecord_inflate(record, ret, e);

	if (rc != ERR_FORMAT)
		return rc;
	e->code = ERR_CORRUPT;
	return ERR_CORRUPT;
}

struct zlib_load {
	struct load_req in;
	struct load_req *out;
	struct job job;
	struct buf stored; /* a copy, to be inflated on the pool */
	struct buf data;
};

static void answer_load(struct zlib_load *op)
{
	pass_on_load(op->out, &op->in);
	buf_free(&op->stored);
	buf_free(&op->data);
	mem_free(op);
}

static void inflate_load(struct zlib_load *op, struct slice record)
{
	op->in.rc = zlib_inflate_record(record, &op->data, &op->in.err);
	op->in.data = op->in.rc == OK ? buf_slice(&op->data) : slice_of(NULL, 0);
}

static void load_work(struct job *j)
{
	struct zlib_load *op = CONTAINER_OF(j, struct zlib_load, job);

	inflate_load(op, buf_slice(&op->stored));
}

static void load_worked(struct job *j)
{
	answer_load(CONTAINER_OF(j, struct zlib_load, job));
}

static void loaded(struct load_req *in)
{
	struct zlib_load *op = CONTAINER_OF(in, struct zlib_load, in);

	if (in->rc != OK || !zrecord_is(in->data)) {
		answer_load(op);
		return;
	}
	if (in->data.len <= ZLIB_INLINE) {
		inflate_load(op, in->data);
		answer_load(op);
		return;
	}
	buf_put_slice(&op->stored, in->data);
	if (!buf_ok(&op->stored)) {
		in->data = slice_of(NULL, 0);
		in->rc = err_set(&in->err, ERR_NOMEM, "no memory to load an object");
		answer_load(op);
		return;
	}
	op->job.work = load_work;
	op->job.done = load_worked;
	in->exec->submit(in->exec, &op->job);
}

void zlib_load(struct storage *s, struct load_req *r)
{
	struct storage *inner = zlib_of(s)->inner;
	struct zlib_load *op = mem_zalloc(1, sizeof(*op));

	if (!op) {
		r->rc = err_set(&r->err, ERR_NOMEM, "no memory to load an object");
		r->done(r);
		return;
	}
	op->out = r;
	op->in.exec = r->exec;
	op->in.done = loaded;
	op->in.kind = r->kind;
	op->in.oid = r->oid;
	op->in.tid = r->tid;
	op->in.applied = r->applied;
	inner->ops->load(inner, &op->in);
}
