/* Undo: for each record of the transaction to be undone one that takes it back. Its data is that of the revision
 * before, and so a back-pointer, or is merged from three states where the object has changed since.
 *
 * As ZODB's FileStorage._txn_undo_write() and ._transactionalUndoRecord() decide, record by record: the file is
 * the same. The transaction is alone: nobody else has voted or is finishing. */
#include "base/mem.h"
#include "storage/filestorage/fs_data.h"
#include "storage/filestorage/fs_vote.h"

typedef unsigned long long ull;

#define GONE        "_loadBack() failed"
#define GONE_BEFORE "_loadBack() failed for %s" /* as ZODB says it, literally */
#define MODIFIED    "Some data were modified by a later transaction"
#define ADDED       "Can't undo an add transaction followed by conflicting transactions."

/* A record to be undone. */
struct victim {
	uint64_t oid;
	uint64_t pos;
	uint64_t tid;
	uint64_t prev; /* the revision before, 0: it was created */
};

/* What is current: a record of this transaction, or of the file. */
struct current {
	uint64_t tid;     /* TID_NONE: this transaction's */
	uint64_t data_at; /* offset of the record whose data it has; 0 and !has_data: none */
	bool has_data;    /* it is in w->data[0] */
};

/* What is written for a victim. */
struct remedy {
	uint64_t back_off; /* 0 and !merged: the object is not there any more */
	bool merged;       /* the data is in w->data[1] */
};

/* --- the records of this transaction --- */

static int index_record(struct fs_voting *w, size_t i)
{
	uint64_t oid = w->v->txn->recs[i].oid;

	if (index_prepare(w->own, &oid, 1) != OK)
		return err_set(&w->v->err, ERR_NOMEM, "no memory to undo a transaction");
	index_set(w->own, oid, i + 1);
	return OK;
}

/* Those that were asked for before the @end-th. */
static int index_asked(struct fs_voting *w, size_t end)
{
	int rc = OK;

	if (!w->own)
		w->own = index_new();
	if (!w->own)
		return err_set(&w->v->err, ERR_NOMEM, "no memory to undo a transaction");
	for (; rc == OK && w->n_indexed < end; w->n_indexed++)
		if (txn_rec_is_written(&w->v->txn->recs[w->n_indexed]))
			rc = index_record(w, w->n_indexed);
	return rc;
}

/* What an undo has made, from the @first-th on: only now, as its own records do not see each other. */
static int index_made(struct fs_voting *w, size_t first)
{
	const struct txn *t = w->v->txn;
	int rc = OK;

	for (size_t i = first; rc == OK && i < t->n_recs; i++) {
		uint64_t oid = t->recs[i].oid;
		bool again = index_get(w->own, oid) > first;

		rc = index_record(w, i);
		if (rc == OK && !again)
			rc = fs_oid_list_add(&w->undone, oid, &w->v->err);
	}
	return rc;
}

/* --- one record --- */

static int own_current(struct fs_voting *w, const struct txn_rec *rec, struct current *ret)
{
	struct slice data;
	int rc;

	*ret = (struct current){ .tid = TID_NONE, .data_at = rec->back_off };
	if (!rec->has_data || rec->back_off)
		return OK;
	rc = txn_data(w->v->txn, rec, &w->data[2], &data, &w->v->err);
	buf_reset(&w->data[0]);
	if (rc == OK)
		buf_put_slice(&w->data[0], data);
	if (rc == OK && !buf_ok(&w->data[0]))
		rc = err_set(&w->v->err, ERR_NOMEM, "no memory for an object");
	ret->has_data = rc == OK;
	return rc;
}

static int file_current(
	struct fs_voting *w, const struct victim *x, uint64_t at, struct current *ret)
{
	struct fs_rec_header h;
	uint64_t back;
	int rc = fs_read_record(w->d, at, x->oid, true, &h, &back, &w->v->err);

	if (rc != OK)
		return rc;
	*ret = (struct current){ h.tid, h.plen ? at : back, h.plen != 0 };
	return h.plen ? fs_read_back(w->d, x->oid, at, &w->data[0], &w->v->err) : OK;
}

/* ERR_NOKEY is one more way in which an undo is impossible. */
static int impossible(int rc, const char *reason, const char **ret_reason)
{
	if (rc != ERR_NOKEY)
		return rc;
	*ret_reason = reason;
	return ERR_UNDO;
}

/* Has the object the same data as in the record that is to be undone? It is in w->data[0], if not. */
static int is_unchanged(struct fs_voting *w, const struct victim *x, const struct current *cur,
	bool *ret, const char **ret_reason)
{
	int rc;

	*ret = true;
	if (cur->data_at == x->pos && !cur->has_data)
		return OK;
	rc = fs_read_back(w->d, x->oid, x->pos, &w->data[1], &w->v->err);
	if (rc == OK && !cur->has_data)
		rc = fs_read_back(w->d, x->oid, cur->data_at, &w->data[0], &w->v->err);
	if (rc == OK)
		*ret = slice_eq(buf_slice(&w->data[0]), buf_slice(&w->data[1]));
	return impossible(rc, GONE, ret_reason);
}

static int merge(struct fs_voting *w, const struct victim *x, const struct current *cur,
	struct remedy *ret, const char **ret_reason)
{
	struct buf before = BUF_INIT(0);
	int rc;

	if (x->prev == 0) {
		*ret_reason = ADDED;
		return ERR_UNDO;
	}
	rc = impossible(
		fs_read_back(w->d, x->oid, x->prev, &before, &w->v->err), GONE_BEFORE, ret_reason);
	buf_reset(&w->data[1]);
	if (rc == OK)
		rc = fs_resolve(w, x->oid, cur->tid, x->tid, buf_slice(&w->data[0]),
			buf_slice(&before), &w->data[1]);
	buf_free(&before);
	if (rc == ERR_CONFLICT) {
		*ret_reason = MODIFIED;
		return ERR_UNDO;
	}
	ret->merged = rc == OK;
	return rc;
}

/* ERR_UNDO: it cannot be undone, *ret_reason tells why. */
static int find_remedy(
	struct fs_voting *w, const struct victim *x, struct remedy *ret, const char **ret_reason)
{
	uint64_t own = index_get(w->own, x->oid);
	uint64_t at = index_get(w->d->index, x->oid);
	struct current cur;
	bool unchanged;
	int rc;

	*ret = (struct remedy){ .back_off = x->prev };
	if (!own && at == x->pos)
		return OK;
	if (at < x->pos)
		return err_set(&w->v->err, ERR_CORRUPT,
			"damaged at %llu: a record of object %016llx that is not among its "
			"revisions",
			(ull)x->pos, (ull)x->oid);
	if (own)
		rc = own_current(w, &w->v->txn->recs[own - 1], &cur);
	else
		rc = file_current(w, x, at, &cur);
	if (rc == OK)
		rc = is_unchanged(w, x, &cur, &unchanged, ret_reason);
	return rc == OK && !unchanged ? merge(w, x, &cur, ret, ret_reason) : rc;
}

/* --- the records of a transaction --- */

static int add_remedy(struct fs_voting *w, size_t i, const struct victim *x, const struct remedy *r)
{
	struct txn_rec rec = {
		.oid = x->oid,
		.op = r->merged ? TXN_STORE : TXN_BACK,
		.back_off = r->merged ? 0 : r->back_off,
		.has_data = r->merged || r->back_off,
		.made_of = (uint32_t)i + 1,
	};

	int rc = txn_add_voted(w->v->txn, &rec,
		r->merged ? buf_slice(&w->data[1]) : slice_of(NULL, 0), &w->v->err);

	if (rc == OK && !r->merged)
		rc = fs_undo_blob(w->fs, w->d, w->v->txn, w->v->txn->n_recs - 1, &w->v->err);
	return rc;
}

/* Of an object there is one failure: that of its last record. */
static void forget_failure(struct fs_voting *w, uint64_t oid)
{
	uint64_t at = index_get(w->failed, oid);

	if (at)
		w->v->undo_failures[at - 1].reason = NULL;
}

static int add_failure(struct fs_voting *w, uint64_t oid, const char *reason)
{
	struct vote_req *v = w->v;
	size_t size = (v->n_undo_failures + 1) * sizeof(*v->undo_failures);
	struct undo_failure *all = mem_realloc(v->undo_failures, size);

	if (all)
		v->undo_failures = all;
	if (!all || index_prepare(w->failed, &oid, 1) != OK)
		return err_set(&v->err, ERR_NOMEM, "no memory for undo errors");
	all[v->n_undo_failures++] = (struct undo_failure){ oid, reason };
	index_set(w->failed, oid, v->n_undo_failures);
	return OK;
}

/* Leave those that were not forgotten. */
static int take_failures(struct vote_req *v)
{
	size_t n = 0;

	for (size_t i = 0; i < v->n_undo_failures; i++)
		if (v->undo_failures[i].reason)
			v->undo_failures[n++] = v->undo_failures[i];
	v->n_undo_failures = n;
	return n ? ERR_UNDO : OK;
}

/* Where it fails, another record of the object in the same transaction may succeed. */
static int undo_record(struct fs_voting *w, size_t i, const struct victim *x)
{
	const char *reason = NULL;
	struct remedy r;
	int rc;

	forget_failure(w, x->oid);
	rc = find_remedy(w, x, &r, &reason);
	if (rc == ERR_UNDO)
		return add_failure(w, x->oid, reason);
	return rc == OK ? add_remedy(w, i, x, &r) : rc;
}

static int refuse(struct fs_voting *w, const char *text)
{
	return err_set(&w->v->err, ERR_UNDO, "%s", text);
}

static int undo_records(struct fs_voting *w, size_t i, const struct fs_txn_walk *t)
{
	uint64_t pos = t->pos + fs_txn_header_size(&t->h);
	uint64_t end = t->pos + t->h.tlen;

	while (pos < end) {
		uint8_t bytes[FS_REC_HEADER_LEN];
		struct fs_rec_header h;
		struct victim x;
		int rc = fs_read_exactly(w->d, pos, bytes, sizeof(bytes), &w->v->err);

		if (rc != OK)
			return rc;
		fs_rec_header_get(bytes, &h);
		x = (struct victim){ h.oid, pos, h.tid, h.prev };
		rc = fs_check_record(w->d, pos, h.oid, &h, &w->v->err);
		if (rc == OK)
			rc = undo_record(w, i, &x);
		if (rc != OK)
			return rc;
		pos += fs_rec_size(&h);
	}
	if (pos > end)
		return refuse(w, "non-undoable transaction");
	return take_failures(w->v);
}

int fs_undo(struct fs_voting *w, size_t i)
{
	struct vote_req *v = w->v;
	struct fs_txn_walk t;
	size_t first = v->txn->n_recs;
	int rc = index_asked(w, i);

	if (rc != OK)
		return rc;
	rc = fs_find_txn(w->d, v->txn->recs[i].serial, &t, &v->err);
	if (rc == ERR_NOENT)
		return refuse(w, "Invalid transaction id");
	if (rc != OK)
		return rc;
	if (t.h.status != ' ')
		return refuse(w, "non-undoable transaction");
	w->failed = index_new();
	if (!w->failed)
		return err_set(&v->err, ERR_NOMEM, "no memory to undo a transaction");
	rc = undo_records(w, i, &t);
	index_free(w->failed);
	w->failed = NULL;
	return rc == OK ? index_made(w, first) : rc;
}
