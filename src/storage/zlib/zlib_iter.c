/* Iteration: records leave as they were before they were compressed. */
#include "base/mem.h"
#include "codec/zrecord.h"
#include "storage/pass_on.h"
#include "storage/zlib/zlib_core.h"

struct storage_iter {
	struct zlib_storage *z;
	struct storage_iter *inner;
	struct iter_req in;
	struct iter_req *out;
	struct job job;
	struct buf stored; /* of the record given last */
	struct buf data;
};

void zlib_iter_close(struct storage *s, struct storage_iter *it)
{
	struct storage *inner = zlib_of(s)->inner;

	if (!it)
		return;
	if (it->inner)
		inner->ops->iter_close(inner, it->inner);
	buf_free(&it->stored);
	buf_free(&it->data);
	mem_free(it);
}

static struct storage_iter *iter_new(struct zlib_storage *z, struct err *e)
{
	struct storage_iter *it = mem_zalloc(1, sizeof(*it));

	if (it)
		it->z = z;
	else
		err_set(e, ERR_NOMEM, "no memory for an iterator");
	return it;
}

int zlib_iter_open(
	struct storage *s, uint64_t start, uint64_t stop, struct storage_iter **ret, struct err *e)
{
	struct zlib_storage *z = zlib_of(s);
	struct storage_iter *it = iter_new(z, e);
	int rc;

	if (!it)
		return ERR_NOMEM;
	rc = z->inner->ops->iter_open(z->inner, start, stop, &it->inner, e);
	if (rc == OK)
		*ret = it;
	else
		zlib_iter_close(s, it);
	return rc;
}

int zlib_iter_records(struct storage_iter *txns, struct storage_iter **ret, struct err *e)
{
	struct storage_iter *it = iter_new(txns->z, e);
	int rc;

	if (!it)
		return ERR_NOMEM;
	rc = txns->z->inner->ops->iter_records(txns->inner, &it->inner, e);
	if (rc == OK)
		*ret = it;
	else
		zlib_iter_close(&txns->z->storage, it);
	return rc;
}

static void inflate_iter(struct storage_iter *it, struct slice record)
{
	buf_reset(&it->data);
	it->in.rc = zlib_inflate_record(record, &it->data, &it->in.err);
	it->in.data = it->in.rc == OK ? buf_slice(&it->data) : slice_of(NULL, 0);
}

static void iter_work(struct job *j)
{
	struct storage_iter *it = CONTAINER_OF(j, struct storage_iter, job);

	inflate_iter(it, buf_slice(&it->stored));
}

static void iter_worked(struct job *j)
{
	struct storage_iter *it = CONTAINER_OF(j, struct storage_iter, job);

	pass_on_iter(it->out, &it->in);
}

static void iterated(struct iter_req *in)
{
	struct storage_iter *it = CONTAINER_OF(in, struct storage_iter, in);

	if (in->rc != OK || in->end || !in->has_data || !zrecord_is(in->data)) {
		pass_on_iter(it->out, &it->in);
		return;
	}
	if (in->data.len <= ZLIB_INLINE) {
		inflate_iter(it, in->data);
		pass_on_iter(it->out, &it->in);
		return;
	}
	buf_reset(&it->stored);
	buf_put_slice(&it->stored, in->data);
	if (!buf_ok(&it->stored)) {
		in->rc = err_set(&in->err, ERR_NOMEM, "no memory for a record");
		pass_on_iter(it->out, &it->in);
		return;
	}
	it->job.work = iter_work;
	it->job.done = iter_worked;
	in->exec->submit(in->exec, &it->job);
}

void zlib_iter_next(struct iter_req *r)
{
	struct storage_iter *it = r->it;

	it->out = r;
	it->in = (struct iter_req){
		.exec = r->exec, .done = iterated, .it = it->inner, .applied = r->applied
	};
	it->z->inner->ops->iter_next(&it->in);
}
