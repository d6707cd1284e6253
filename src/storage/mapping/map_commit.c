/* Commits: serials are checked by the vote; a transaction appears in one step. */
#include <string.h>

#include "base/mem.h"
#include "storage/mapping/map.h"

/* --- voting --- */

static int check_record(struct mapping *m, const struct txn_rec *rec, struct conflict *ret,
	bool *ret_conflict, struct err *e)
{
	struct map_object *o = map_find(m, rec->oid);
	uint64_t committed = o && o->newest ? o->newest->txn->tid : TID_NONE;

	if (rec->op != TXN_STORE && rec->op != TXN_CHECK)
		return err_set(e, ERR_UNSUPPORTED, "a MappingStorage can only store");
	ret->missing = rec->op == TXN_CHECK && committed == TID_NONE;
	ret->committed_serial = committed;
	*ret_conflict = ret->missing || (committed != TID_NONE && committed != rec->serial);
	/* R10, and the counter must not wrap */
	if (rec->op == TXN_STORE && rec->oid >= m->next_oid && rec->oid >> 48 != 0xffff)
		m->next_oid = rec->oid + 1;
	return OK;
}

static int add_conflict(struct vote_req *v, const struct conflict *c)
{
	struct conflict *all = mem_realloc(v->conflicts, (v->n_conflicts + 1) * sizeof(*all));

	if (!all)
		return err_set(&v->err, ERR_NOMEM, "no memory for conflicts");
	all[v->n_conflicts++] = *c;
	v->conflicts = all;
	return OK;
}

static int vote_locked(struct mapping *m, struct vote_req *v)
{
	const struct txn *t = v->txn;

	if (t->given_tid != TID_NONE &&
		(t->given_tid <= pubchain_last_tid(&m->pubs) || t->given_tid >> 32 == UINT32_MAX))
		return err_set(&v->err, ERR_INVAL,
			"tid %016llx is not newer than the last one, or no time",
			(unsigned long long)t->given_tid);
	for (size_t i = 0; i < t->n_recs; i++) {
		const struct txn_rec *rec = &t->recs[i];
		struct conflict c = {
			.rec = i, .op = rec->op, .oid = rec->oid, .old_serial = rec->serial
		};
		bool found = false;
		int rc;

		if (rec->dropped)
			continue;
		rc = check_record(m, rec, &c, &found, &v->err);
		if (rc == OK && found)
			rc = add_conflict(v, &c);
		if (rc != OK)
			return rc;
		if (found && !v->collect)
			break;
	}
	return v->n_conflicts ? ERR_CONFLICT : OK;
}

void mapping_vote(struct storage *s, struct vote_req *v)
{
	struct mapping *m = mapping_of(s);

	v->conflicts = NULL;
	v->n_conflicts = 0;
	pthread_mutex_lock(&m->lock);
	v->rc = vote_locked(m, v);
	pthread_mutex_unlock(&m->lock);
	if (v->rc != OK && v->rc != ERR_CONFLICT) {
		mem_free(v->conflicts);
		v->conflicts = NULL;
		v->n_conflicts = 0;
	}
	v->done(v);
}

void mapping_abort(struct storage *s, struct txn *t)
{
	(void)s;
	(void)t; /* a vote holds nothing */
}

/* --- finishing --- */

static struct map_txn *map_txn_of(const struct txn *t, uint64_t tid)
{
	struct map_txn *mt = mem_zalloc(1, sizeof(*mt));

	if (!mt)
		return NULL;
	mt->tid = tid;
	mt->status = t->status;
	mt->refs = 1;
	buf_put_slice(&mt->user, buf_slice(&t->user));
	buf_put_slice(&mt->desc, buf_slice(&t->desc));
	buf_put_slice(&mt->ext, buf_slice(&t->ext));
	mt->revs = mem_zalloc(t->n_recs + 1, sizeof(mt->revs[0]));
	if (mt->revs && buf_ok(&mt->user) && buf_ok(&mt->desc) && buf_ok(&mt->ext))
		return mt;
	map_txn_unref(mt);
	return NULL;
}

/* Everything a transaction needs, made before anything of it can be seen. */
struct prepared {
	struct map_txn *txn;
	struct publication *pub;
	struct map_object **objects; /* of txn->revs */
};

static void prepared_free(struct prepared *p)
{
	for (size_t i = 0; p->txn && i < p->txn->n_revs; i++)
		map_revision_unref(p->txn->revs[i]);
	map_txn_unref(p->txn);
	publication_free(p->pub);
	mem_free(p->objects);
}

static int prepare_record(struct mapping *m, const struct txn *t, const struct txn_rec *rec,
	struct buf *scratch, struct prepared *p, struct err *e)
{
	struct map_object *o = map_find_or_add(m, rec->oid);
	struct slice data = { NULL, 0 };
	struct map_revision *rev;
	int rc = txn_data(t, rec, scratch, &data, e);

	if (rc != OK)
		return rc;
	rev = mem_alloc(sizeof(*rev) + data.len);
	if (!o || !rev) {
		mem_free(rev);
		return err_set(e, ERR_NOMEM, "no memory for an object of %zu bytes", data.len);
	}
	*rev = (struct map_revision){
		.txn = p->txn,
		.oid = rec->oid,
		.slot = p->txn->n_revs,
		.refs = 1,
		.len = data.len,
	};
	if (data.len)
		memcpy(rev->data, data.data, data.len);
	p->objects[p->txn->n_revs] = o;
	p->txn->revs[p->txn->n_revs++] = rev;
	return OK;
}

static int room_for_txn(struct mapping *m)
{
	size_t room = m->txns_room ? m->txns_room * 2 : 64;
	struct map_txn **txns;

	if (m->n_txns < m->txns_room)
		return OK;
	txns = mem_realloc(m->txns, room * sizeof(txns[0]));
	if (!txns)
		return ERR_NOMEM;
	m->txns = txns;
	m->txns_room = room;
	return OK;
}

static int prepare(
	struct mapping *m, const struct txn *t, uint64_t tid, struct prepared *p, struct err *e)
{
	struct buf scratch = BUF_INIT(0);
	int rc = room_for_txn(m);

	p->txn = map_txn_of(t, tid);
	p->pub = publication_new((uint32_t)t->n_recs);
	p->objects = mem_zalloc(t->n_recs + 1, sizeof(p->objects[0]));
	if (rc != OK || !p->txn || !p->pub || !p->objects)
		rc = err_set(e, ERR_NOMEM, "no memory for a transaction");
	for (size_t i = 0; rc == OK && i < t->n_recs; i++)
		if (!t->recs[i].dropped && t->recs[i].op == TXN_STORE)
			rc = prepare_record(m, t, &t->recs[i], &scratch, p, e);
	buf_free(&scratch);
	return rc;
}

/* A second store of an object in one transaction takes the place of the first; returns whether it does. */
static bool link_revision(struct mapping *m, struct map_object *o, struct map_revision *rev)
{
	struct map_revision *old = o->newest;
	bool replaces = old && old->txn == rev->txn;

	if (!old) {
		m->n_objects++;
		m->size += MAP_OBJECT_BYTES;
	}
	rev->prev = replaces ? old->prev : old;
	if (replaces) {
		m->size -= MAP_REVISION_BYTES + old->len;
		map_revision_drop(old);
	}
	m->size += MAP_REVISION_BYTES + rev->len;
	o->newest = rev;
	return replaces;
}

static void apply(struct mapping *m, struct prepared *p, struct txn *t)
{
	struct map_txn *mt = p->txn;
	uint32_t n = 0;

	mt->n_live = mt->n_revs;
	for (size_t i = 0; i < mt->n_revs; i++) {
		uint64_t oid = mt->revs[i]->oid;

		if (!link_revision(m, p->objects[i], mt->revs[i]))
			p->pub->oids[n++] = oid;
	}
	m->txns[m->n_txns++] = mt;
	p->pub->tid = mt->tid;
	p->pub->origin = t->origin;
	p->pub->n_oids = n;
	p->pub->size_bytes = m->size;
	p->pub->length = m->n_objects;
	pubchain_publish(&m->pubs, p->pub);
	p->txn = NULL;
	p->pub = NULL;
}

static int assign_tid(struct mapping *m, struct txn *t, struct err *e)
{
	uint64_t last = pubchain_last_tid(&m->pubs);
	uint64_t after = t->after_tid > last ? t->after_tid : last;

	t->tid = t->given_tid != TID_NONE ? t->given_tid : tid_next(clock_wall_us(m->clock), after);
	if (t->tid > last) /* R4 */
		return OK;
	return err_set(e, ERR_INVAL, "the given tid is not newer than the last");
}

void mapping_finish(struct storage *s, struct txn *t)
{
	struct mapping *m = mapping_of(s);
	struct prepared p = { 0 };
	struct err e = ERR_INIT;
	int rc;

	pthread_mutex_lock(&m->finish_lock);
	rc = assign_tid(m, t, &e);
	if (rc == OK && t->prepare)
		rc = t->prepare(t, &e);
	if (rc == OK) {
		pthread_mutex_lock(&m->lock);
		rc = prepare(m, t, t->tid, &p, &e);
		if (rc == OK)
			apply(m, &p, t);
		pthread_mutex_unlock(&m->lock);
	}
	pthread_mutex_unlock(&m->finish_lock);
	prepared_free(&p);
	if (t->settled)
		t->settled(t, rc);
	t->done(t, rc, &e);
}
