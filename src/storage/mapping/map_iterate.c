/* Iterators over a MappingStorage, and what changed since a tid. */
#include <stdlib.h>

#include "base/mem.h"
#include "storage/mapping/map.h"

struct storage_iter {
	struct mapping *m;
	/* of transactions */
	uint64_t start; /* the smallest tid that may come next */
	uint64_t stop;
	struct map_txn *given; /* a reference; NULL: none yet */
	/* of records */
	struct map_txn *txn; /* a reference; NULL: of transactions */
	size_t slot;         /* the next one in txn->revs */
};

int mapping_iter_open(
	struct storage *s, uint64_t start, uint64_t stop, struct storage_iter **ret, struct err *e)
{
	struct storage_iter *it = mem_zalloc(1, sizeof(*it));

	if (!it)
		return err_set(e, ERR_NOMEM, "no memory for an iterator");
	it->m = mapping_of(s);
	it->start = start;
	it->stop = stop;
	*ret = it;
	return OK;
}

int mapping_iter_records(struct storage_iter *txns, struct storage_iter **ret, struct err *e)
{
	struct storage_iter *it;

	if (!txns->given)
		return err_set(e, ERR_STATE, "the iterator gave no transaction");
	it = mem_zalloc(1, sizeof(*it));
	if (!it)
		return err_set(e, ERR_NOMEM, "no memory for an iterator");
	it->m = txns->m;
	it->txn = map_txn_ref(txns->given);
	*ret = it;
	return OK;
}

void mapping_iter_close(struct storage *s, struct storage_iter *it)
{
	(void)s;
	if (!it)
		return;
	map_txn_unref(it->given);
	map_txn_unref(it->txn);
	mem_free(it);
}

/* A reference to the next transaction, or NULL. */
static struct map_txn *next_txn(struct storage_iter *it, uint64_t applied)
{
	struct mapping *m = it->m;
	struct map_txn *t = NULL;
	size_t at;

	pthread_mutex_lock(&m->lock);
	at = it->start ? map_txn_after(m, it->start - 1) : 0;
	if (at < m->n_txns && m->txns[at]->tid <= applied && m->txns[at]->tid <= it->stop)
		t = map_txn_ref(m->txns[at]);
	pthread_mutex_unlock(&m->lock);
	return t;
}

static void give_txn(struct iter_req *r)
{
	struct storage_iter *it = r->it;
	struct map_txn *t = next_txn(it, r->applied);

	r->end = !t;
	if (t) {
		map_txn_unref(it->given);
		it->given = t;
		it->start = t->tid + 1;
		r->txn = (struct txn_info){
			.tid = t->tid,
			.status = t->status,
			.user = buf_slice(&t->user),
			.desc = buf_slice(&t->desc),
			.ext = buf_slice(&t->ext),
		};
	}
	r->done(r); /* the iterator, and with it the texts, may be gone */
}

/* A reference to the next record that no pack has taken away, or NULL. */
static struct map_revision *next_revision(struct storage_iter *it)
{
	struct map_revision *rev = NULL;

	pthread_mutex_lock(&it->m->lock);
	while (!rev && it->slot < it->txn->n_revs)
		rev = it->txn->revs[it->slot++];
	if (rev)
		map_revision_ref(rev);
	pthread_mutex_unlock(&it->m->lock);
	return rev;
}

static void give_record(struct iter_req *r)
{
	struct map_revision *rev = next_revision(r->it);

	r->end = !rev;
	if (rev) {
		r->oid = rev->oid;
		r->tid = r->it->txn->tid;
		r->data_txn = TID_NONE;
		r->has_data = true;
		r->data = slice_of(rev->data, rev->len);
	}
	r->done(r);
	map_revision_unref(rev);
}

void mapping_iter_next(struct iter_req *r)
{
	r->rc = OK;
	if (r->it->txn)
		give_record(r);
	else
		give_txn(r);
}

/* --- what changed --- */

static int by_value(const void *a, const void *b)
{
	uint64_t x = *(const uint64_t *)a;
	uint64_t y = *(const uint64_t *)b;

	return x < y ? -1 : x > y;
}

static void sort_unique(struct changes_req *r)
{
	size_t used = 0;

	if (r->n_oids)
		qsort(r->oids, r->n_oids, sizeof(r->oids[0]), by_value);
	for (size_t i = 0; i < r->n_oids; i++)
		if (used == 0 || r->oids[used - 1] != r->oids[i])
			r->oids[used++] = r->oids[i];
	r->n_oids = used;
}

static int list_changes(struct mapping *m, struct changes_req *r)
{
	size_t first = map_txn_after(m, r->tid);
	size_t end = map_txn_after(m, r->applied);
	size_t n = 0;

	for (size_t i = first; i < end; i++)
		n += m->txns[i]->n_live;
	r->oids = mem_alloc((n + 1) * sizeof(r->oids[0]));
	if (!r->oids)
		return err_set(&r->err, ERR_NOMEM, "no memory for the last invalidations");
	for (size_t i = first; i < end; i++)
		for (size_t k = 0; k < m->txns[i]->n_revs; k++)
			if (m->txns[i]->revs[k])
				r->oids[r->n_oids++] = m->txns[i]->revs[k]->oid;
	return OK;
}

void mapping_changes(struct storage *s, struct changes_req *r)
{
	struct mapping *m = mapping_of(s);

	r->oids = NULL;
	r->n_oids = 0;
	pthread_mutex_lock(&m->lock);
	r->rc = list_changes(m, r);
	pthread_mutex_unlock(&m->lock);
	sort_unique(r);
	r->done(r);
}
