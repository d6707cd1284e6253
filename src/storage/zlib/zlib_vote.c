/* Votes: new records are compressed before the storage inside sees them. */
#include "base/mem.h"
#include "codec/zrecord.h"
#include "storage/zlib/zlib_core.h"

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

void zlib_vote(struct storage *s, struct vote_req *v)
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
