#include "storage/zlib/zlib_storage.h"

#include <string.h>

#include "base/mem.h"
#include "codec/zrecord.h"

enum {
	INFLATE_INLINE = 64 << 10, /* bytes: larger records are inflated on the pool */
	NAMES_MAX = 2 * 12,
};

struct zlib_storage {
	struct storage storage;
	struct storage_ops ops; /* without those that the inner one does not offer */
	struct storage *inner;
	const char *interfaces[NAMES_MAX + 3];
};

static struct zlib_storage *zlib_of(struct storage *s)
{
	return CONTAINER_OF(s, struct zlib_storage, storage);
}

/* --- loads --- */

struct zlib_load {
	struct load_req in;
	struct load_req *out;
	struct job job;
	struct buf stored; /* a copy, to be inflated on the pool */
	struct buf data;
};

static void answer_load(struct zlib_load *op)
{
	struct load_req *out = op->out;

	out->rc = op->in.rc;
	out->none = op->in.none;
	out->data = op->in.data;
	out->serial = op->in.serial;
	out->end_tid = op->in.end_tid;
	out->found_oid = op->in.found_oid;
	out->next_oid = op->in.next_oid;
	if (out->rc != OK)
		out->err = op->in.err;
	out->done(out); /* it may be gone, or under way again */
	buf_free(&op->stored);
	buf_free(&op->data);
	mem_free(op);
}

/* A record that cannot be inflated is damaged: nobody reads it. */
static int inflate_record(struct slice record, struct buf *ret, struct err *e)
{
	int rc = zrecord_inflate(record, ret, e);

	if (rc != ERR_FORMAT)
		return rc;
	e->code = ERR_CORRUPT;
	return ERR_CORRUPT;
}

static void inflate_load(struct zlib_load *op, struct slice record)
{
	op->in.rc = inflate_record(record, &op->data, &op->in.err);
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
	if (in->data.len <= INFLATE_INLINE) {
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

static void zlib_load(struct storage *s, struct load_req *r)
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

static void plain_load(struct storage *s, struct load_req *r)
{
	struct storage *inner = zlib_of(s)->inner;

	inner->ops->load(inner, r);
}

static void zlib_history(struct storage *s, struct history_req *r)
{
	struct storage *inner = zlib_of(s)->inner;

	inner->ops->history(inner, r); /* sizes are those stored, as zc.zlibstorage's */
}

/* --- votes --- */

/* Where a record's data was before it was compressed: a client that is told of a conflict gets it back, and
 * may vote again. */
struct original {
	size_t rec;
	uint64_t oid;
	uint64_t data_off;
	uint64_t data_len;
};

struct zlib_vote {
	struct vote_req in;
	struct vote_req *out;
	struct zlib_storage *z;
	struct job job;
	struct original *originals;
	size_t n_originals;
	int rc;
};

static int deflate_record(
	struct txn *t, size_t i, struct buf *scratch, struct buf *z, struct err *e)
{
	struct slice data;
	int rc = txn_data(t, &t->recs[i], scratch, &data, e);

	if (rc != OK)
		return rc;
	buf_reset(z);
	rc = zrecord_deflate(data, z, e);
	if (rc == OK && z->len < data.len)
		rc = txn_set_data(t, i, buf_slice(z), e);
	return rc;
}

static int deflate_all(struct zlib_vote *op)
{
	struct txn *t = op->out->txn;
	struct buf scratch = BUF_INIT(0);
	struct buf z = BUF_INIT(0);
	int rc = OK;

	op->originals = mem_alloc((t->n_recs + 1) * sizeof(op->originals[0]));
	if (!op->originals)
		rc = err_set(&op->in.err, ERR_NOMEM, "no memory to vote");
	for (size_t i = 0; i < t->n_recs && rc == OK; i++) {
		const struct txn_rec *rec = &t->recs[i];

		if (rec->dropped || !rec->has_data || !rec->data_len ||
			(rec->op != TXN_STORE && rec->op != TXN_RESTORE))
			continue;
		op->originals[op->n_originals++] =
			(struct original){ i, rec->oid, rec->data_off, rec->data_len };
		rc = deflate_record(t, i, &scratch, &z, &op->in.err);
	}
	buf_free(&scratch);
	buf_free(&z);
	return rc;
}

static void vote_work(struct job *j)
{
	struct zlib_vote *op = CONTAINER_OF(j, struct zlib_vote, job);

	op->rc = deflate_all(op);
}

static void restore_originals(struct zlib_vote *op)
{
	struct txn *t = op->out->txn;

	for (size_t i = 0; i < op->n_originals; i++) {
		const struct original *o = &op->originals[i];

		t->recs[o->rec].data_off = o->data_off;
		t->recs[o->rec].data_len = o->data_len;
	}
}

static void answer_vote(struct zlib_vote *op)
{
	struct vote_req *out = op->out;
	const struct vote_req *in = &op->in;

	out->rc = in->rc;
	out->conflicts = in->conflicts;
	out->n_conflicts = in->n_conflicts;
	out->changed_oids = in->changed_oids;
	out->n_changed_oids = in->n_changed_oids;
	out->n_resolved = in->n_resolved;
	out->undo_failures = in->undo_failures;
	out->n_undo_failures = in->n_undo_failures;
	if (out->rc != OK) {
		out->err = in->err;
		restore_originals(op);
	}
	out->done(out);
	mem_free(op->originals);
	mem_free(op);
}

static void voted(struct vote_req *in)
{
	answer_vote(CONTAINER_OF(in, struct zlib_vote, in));
}

static void vote_worked(struct job *j)
{
	struct zlib_vote *op = CONTAINER_OF(j, struct zlib_vote, job);
	struct storage *inner = op->z->inner;

	if (op->rc == OK) {
		inner->ops->vote(inner, &op->in);
		return;
	}
	op->in.rc = op->rc;
	answer_vote(op);
}

static void zlib_vote(struct storage *s, struct vote_req *v)
{
	struct zlib_vote *op = mem_zalloc(1, sizeof(*op));

	if (!op) {
		v->conflicts = NULL;
		v->n_conflicts = 0;
		v->rc = err_set(&v->err, ERR_NOMEM, "no memory to vote");
		v->done(v);
		return;
	}
	op->out = v;
	op->z = zlib_of(s);
	op->in.exec = v->exec;
	op->in.done = voted;
	op->in.txn = v->txn;
	op->in.collect = v->collect;
	op->in.resolver = v->resolver;
	op->job.work = vote_work;
	op->job.done = vote_worked;
	v->exec->submit(v->exec, &op->job);
}

static void plain_vote(struct storage *s, struct vote_req *v)
{
	struct storage *inner = zlib_of(s)->inner;

	inner->ops->vote(inner, v);
}

static void zlib_abort(struct storage *s, struct txn *t)
{
	struct storage *inner = zlib_of(s)->inner;

	inner->ops->abort(inner, t);
}

static void zlib_finish(struct storage *s, struct txn *t)
{
	struct storage *inner = zlib_of(s)->inner;

	inner->ops->finish(inner, t);
}

/* --- iteration --- */

struct storage_iter {
	struct zlib_storage *z;
	struct storage_iter *inner;
	struct iter_req in;
	struct iter_req *out;
	struct job job;
	struct buf stored; /* of the record given last */
	struct buf data;
};

static void zlib_iter_close(struct storage *s, struct storage_iter *it)
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

static int zlib_iter_open(
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

static int zlib_iter_records(struct storage_iter *txns, struct storage_iter **ret, struct err *e)
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

static void answer_iter(struct storage_iter *it)
{
	struct iter_req *out = it->out;
	const struct iter_req *in = &it->in;

	out->rc = in->rc;
	out->end = in->end;
	out->txn = in->txn;
	out->oid = in->oid;
	out->tid = in->tid;
	out->data_txn = in->data_txn;
	out->has_data = in->has_data;
	out->data = in->data;
	if (out->rc != OK)
		out->err = in->err;
	out->done(out); /* the iterator may be gone */
}

static void inflate_iter(struct storage_iter *it, struct slice record)
{
	buf_reset(&it->data);
	it->in.rc = inflate_record(record, &it->data, &it->in.err);
	it->in.data = it->in.rc == OK ? buf_slice(&it->data) : slice_of(NULL, 0);
}

static void iter_work(struct job *j)
{
	struct storage_iter *it = CONTAINER_OF(j, struct storage_iter, job);

	inflate_iter(it, buf_slice(&it->stored));
}

static void iter_worked(struct job *j)
{
	answer_iter(CONTAINER_OF(j, struct storage_iter, job));
}

static void iterated(struct iter_req *in)
{
	struct storage_iter *it = CONTAINER_OF(in, struct storage_iter, in);

	if (in->rc != OK || in->end || !in->has_data || !zrecord_is(in->data)) {
		answer_iter(it);
		return;
	}
	if (in->data.len <= INFLATE_INLINE) {
		inflate_iter(it, in->data);
		answer_iter(it);
		return;
	}
	buf_reset(&it->stored);
	buf_put_slice(&it->stored, in->data);
	if (!buf_ok(&it->stored)) {
		in->rc = err_set(&in->err, ERR_NOMEM, "no memory for a record");
		answer_iter(it);
		return;
	}
	it->job.work = iter_work;
	it->job.done = iter_worked;
	in->exec->submit(in->exec, &it->job);
}

static void zlib_iter_next(struct iter_req *r)
{
	struct storage_iter *it = r->it;

	it->out = r;
	it->in = (struct iter_req){
		.exec = r->exec, .done = iterated, .it = it->inner, .applied = r->applied
	};
	it->z->inner->ops->iter_next(&it->in);
}

static void plain_iter_close(struct storage *s, struct storage_iter *it)
{
	struct storage *inner = zlib_of(s)->inner;

	inner->ops->iter_close(inner, it);
}

static int plain_iter_open(
	struct storage *s, uint64_t start, uint64_t stop, struct storage_iter **ret, struct err *e)
{
	struct storage *inner = zlib_of(s)->inner;

	return inner->ops->iter_open(inner, start, stop, ret, e);
}

/* --- what is the same on both sides --- */

static void zlib_undo_log(struct storage *s, struct undo_log_req *r)
{
	struct storage *inner = zlib_of(s)->inner;

	inner->ops->undo_log(inner, r);
}

static void zlib_changes(struct storage *s, struct changes_req *r)
{
	struct storage *inner = zlib_of(s)->inner;

	inner->ops->changes(inner, r);
}

static void zlib_pack(struct storage *s, struct pack_req *r)
{
	struct storage *inner = zlib_of(s)->inner;

	inner->ops->pack(inner, r);
}

static void zlib_pack_progress(struct storage *s, struct pack_progress *ret)
{
	struct storage *inner = zlib_of(s)->inner;

	inner->ops->pack_progress(inner, ret);
}

static void zlib_open_blob(struct storage *s, struct blob_req *r)
{
	struct storage *inner = zlib_of(s)->inner;

	inner->ops->open_blob(inner, r);
}

static uint64_t zlib_new_oids(struct storage *s, uint32_t n)
{
	struct storage *inner = zlib_of(s)->inner;

	return inner->ops->new_oids(inner, n);
}

static bool zlib_has_oid(struct storage *s, uint64_t oid)
{
	struct storage *inner = zlib_of(s)->inner;

	return inner->ops->has_oid(inner, oid);
}

static void zlib_info(struct storage *s, struct storage_info *ret)
{
	struct zlib_storage *z = zlib_of(s);

	z->inner->ops->info(z->inner, ret);
	ret->supports_record_iternext = true; /* as zc.zlibstorage says, whatever is inside */
	ret->interfaces = z->interfaces;
}

static void zlib_close(struct storage *s)
{
	struct zlib_storage *z = zlib_of(s);

	z->inner->ops->close(z->inner);
	mem_free(z);
}

/* T57: a wrapper provides what the storage inside does, and IStorageWrapper before the last one, which
 * is zope.interface's own. */
static int set_interfaces(struct zlib_storage *z, struct err *e)
{
	struct storage_info info;
	size_t n = 0;

	z->inner->ops->info(z->inner, &info);
	for (; info.interfaces[n]; n++) {
		if (n == NAMES_MAX)
			return err_set(e, ERR_LIMIT, "a storage with too many interfaces");
		z->interfaces[n] = info.interfaces[n];
	}
	z->interfaces[n] = z->interfaces[n - 2];
	z->interfaces[n + 1] = z->interfaces[n - 1];
	z->interfaces[n - 2] = "ZODB.interfaces";
	z->interfaces[n - 1] = "IStorageWrapper";
	z->interfaces[n + 2] = NULL;
	return OK;
}

static const struct storage_ops ops = {
	.load = zlib_load,
	.history = zlib_history,
	.vote = zlib_vote,
	.abort = zlib_abort,
	.finish = zlib_finish,
	.undo_log = zlib_undo_log,
	.iter_open = zlib_iter_open,
	.iter_records = zlib_iter_records,
	.iter_next = zlib_iter_next,
	.iter_close = zlib_iter_close,
	.changes = zlib_changes,
	.pack = zlib_pack,
	.pack_progress = zlib_pack_progress,
	.open_blob = zlib_open_blob,
	.new_oids = zlib_new_oids,
	.has_oid = zlib_has_oid,
	.info = zlib_info,
	.close = zlib_close,
};

static void set_ops(struct zlib_storage *z, const struct zlib_storage_options *o)
{
	const struct storage_ops *in = z->inner->ops;

	z->ops = ops;
	if (!o->inflate) {
		z->ops.load = plain_load;
		z->ops.iter_open = plain_iter_open;
		z->ops.iter_records = in->iter_records;
		z->ops.iter_next = in->iter_next;
		z->ops.iter_close = plain_iter_close;
	}
	if (!o->deflate)
		z->ops.vote = plain_vote;
	if (!in->undo_log)
		z->ops.undo_log = NULL;
	if (!in->iter_open)
		z->ops.iter_open = NULL;
	if (!in->changes)
		z->ops.changes = NULL;
	if (!in->pack)
		z->ops.pack = NULL;
	if (!in->pack_progress)
		z->ops.pack_progress = NULL;
	if (!in->open_blob)
		z->ops.open_blob = NULL;
	z->storage.ops = &z->ops;
}

int zlib_storage_open(struct storage *inner, const struct zlib_storage_options *o,
	struct storage **ret, struct err *e)
{
	struct zlib_storage *z = mem_zalloc(1, sizeof(*z));
	int rc = z ? OK : err_set(e, ERR_NOMEM, "no memory for a storage");

	if (rc != OK)
		return rc;
	z->inner = inner;
	rc = set_interfaces(z, e);
	if (rc != OK) {
		mem_free(z);
		return rc;
	}
	z->storage.name = inner->name;
	z->storage.read_only = inner->read_only;
	z->storage.pubs = inner->pubs;
	z->storage.blobs = inner->blobs;
	set_ops(z, o);
	*ret = &z->storage;
	return OK;
}
