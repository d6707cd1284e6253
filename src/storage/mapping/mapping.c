#include "storage/mapping/mapping.h"

#include <pthread.h>
#include <stdlib.h>

#include "base/mem.h"
#include "codec/tid.h"

/* One lock guards everything. What was stored stays until the storage is closed, so data can be lent
 * out without it. */

struct revision {
	struct revision *prev; /* older */
	struct meta *txn;
	size_t len;
	uint8_t data[];
};

/* What is known of a transaction. */
struct meta {
	struct meta *next;
	uint64_t tid;
	struct buf user;
	struct buf desc;
	struct buf ext;
};

struct object {
	struct object *chain;
	uint64_t oid;
	struct revision *newest;
};

struct mapping {
	struct storage base;
	struct pubchain pubs;
	const struct clock *clock;
	pthread_mutex_t lock; /* guards the rest; docs/threads.md */
	struct object **buckets;
	size_t n_buckets; /* a power of two */
	size_t n_objects;
	struct meta *txns;
	uint64_t last_tid;
	uint64_t next_oid;
	uint64_t size; /* as MappingStorage.getSize() counts */
};

enum {
	OBJECT_BYTES = 50,
	REVISION_BYTES = 100,
};

/* T57 */
/* clang-format off */
static const char *const interfaces[] = {
	"ZODB.interfaces", "IStorage",
	"ZODB.interfaces", "IStorageIteration",
	"zope.interface", "Interface",
	NULL,
};
/* clang-format on */

static struct mapping *mapping_of(struct storage *s)
{
	return CONTAINER_OF(s, struct mapping, base);
}

static struct object **bucket(struct mapping *m, uint64_t oid)
{
	return &m->buckets[(oid * UINT64_C(0x9e3779b97f4a7c15) >> 32) & (m->n_buckets - 1)];
}

static struct object *find(struct mapping *m, uint64_t oid)
{
	struct object *o = *bucket(m, oid);

	while (o && o->oid != oid)
		o = o->chain;
	return o;
}

static int grow(struct mapping *m)
{
	struct object **old = m->buckets;
	size_t n_old = m->n_buckets;
	struct object **buckets = mem_zalloc(n_old * 2, sizeof(*buckets));

	if (!buckets)
		return ERR_NOMEM;
	m->buckets = buckets;
	m->n_buckets = n_old * 2;
	for (size_t i = 0; i < n_old; i++)
		while (old[i]) {
			struct object *o = old[i];

			old[i] = o->chain;
			o->chain = *bucket(m, o->oid);
			*bucket(m, o->oid) = o;
		}
	mem_free(old);
	return OK;
}

/* The object, made without revisions when there is none. */
static struct object *find_or_add(struct mapping *m, uint64_t oid)
{
	struct object *o = find(m, oid);

	if (o || (m->n_objects >= m->n_buckets && grow(m) != OK))
		return o;
	o = mem_zalloc(1, sizeof(*o));
	if (!o)
		return NULL;
	o->oid = oid;
	o->chain = *bucket(m, oid);
	*bucket(m, oid) = o;
	return o;
}

/* --- reading --- */

/* The revision that the request asks for, with its successor's tid; NULL: none. */
static struct revision *select_revision(struct revision *rev, struct load_req *r, bool *ret_existed)
{
	*ret_existed = false;
	r->end_tid = TID_NONE;
	for (; rev; rev = rev->prev) {
		uint64_t tid = rev->txn->tid;

		if (tid > r->applied)
			continue; /* R1 */
		*ret_existed = true;
		if (r->kind == LOAD_TID || (r->kind == LOAD_BEFORE && tid < r->tid) ||
			(r->kind == LOAD_SERIAL && tid == r->tid))
			return rev;
		r->end_tid = tid;
	}
	return NULL;
}

static void mapping_load(struct storage *s, struct load_req *r)
{
	struct mapping *m = mapping_of(s);
	struct revision *rev = NULL;
	bool existed = false;
	struct object *o;

	r->none = false;
	r->data = slice_of(NULL, 0);
	r->serial = TID_NONE;
	pthread_mutex_lock(&m->lock);
	o = find(m, r->oid);
	if (o)
		rev = select_revision(o->newest, r, &existed);
	pthread_mutex_unlock(&m->lock);
	r->rc = OK;
	if (rev) {
		r->serial = rev->txn->tid;
		if (r->kind != LOAD_TID)
			r->data = slice_of(rev->data, rev->len);
	} else if (existed && r->kind == LOAD_BEFORE) {
		r->none = true;
	} else {
		r->rc = ERR_NOKEY;
	}
	r->done(r);
}

static void fill_item(struct history_item *it, const struct revision *rev)
{
	it->tid = rev->txn->tid;
	it->size = rev->len;
	it->user = buf_slice(&rev->txn->user);
	it->desc = buf_slice(&rev->txn->desc);
	it->ext = buf_slice(&rev->txn->ext);
}

static int history_locked(struct mapping *m, struct history_req *r)
{
	struct object *o = find(m, r->oid);
	struct revision *first = o ? o->newest : NULL;
	struct revision *rev;
	uint32_t n = 0;

	while (first && first->txn->tid > r->applied)
		first = first->prev;
	if (!first)
		return ERR_NOKEY;
	for (rev = first; rev && n < r->size; rev = rev->prev)
		n++;
	r->items = arena_alloc(r->arena, (n + 1) * sizeof(r->items[0]));
	if (!r->items)
		return err_set(&r->err, ERR_NOMEM, "no memory for a history");
	for (rev = first; rev && r->n_items < n; rev = rev->prev)
		fill_item(&r->items[r->n_items++], rev);
	return OK;
}

static void mapping_history(struct storage *s, struct history_req *r)
{
	struct mapping *m = mapping_of(s);

	r->items = NULL;
	r->n_items = 0;
	pthread_mutex_lock(&m->lock);
	r->rc = history_locked(m, r);
	pthread_mutex_unlock(&m->lock);
	r->done(r);
}

static uint64_t mapping_new_oids(struct storage *s, uint32_t n)
{
	struct mapping *m = mapping_of(s);
	uint64_t first;

	pthread_mutex_lock(&m->lock);
	first = m->next_oid;
	m->next_oid += n;
	pthread_mutex_unlock(&m->lock);
	return first;
}

static void mapping_info(struct storage *s, struct storage_info *ret)
{
	struct mapping *m = mapping_of(s);

	pthread_mutex_lock(&m->lock);
	*ret = (struct storage_info){
		.length = m->n_objects,
		.size = m->size,
		.interfaces = interfaces,
	};
	pthread_mutex_unlock(&m->lock);
}

/* --- voting --- */

static int check_record(struct mapping *m, const struct txn_rec *rec, struct conflict *ret,
	bool *ret_conflict, struct err *e)
{
	struct object *o = find(m, rec->oid);
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
		(t->given_tid <= m->last_tid || t->given_tid >> 32 == UINT32_MAX))
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

static void mapping_vote(struct storage *s, struct vote_req *v)
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

static void mapping_abort(struct storage *s, struct txn *t)
{
	(void)s;
	(void)t; /* a vote holds nothing */
}

/* --- finishing --- */

static void meta_free(struct meta *meta)
{
	if (!meta)
		return;
	buf_free(&meta->user);
	buf_free(&meta->desc);
	buf_free(&meta->ext);
	mem_free(meta);
}

static struct meta *meta_of(const struct txn *t, uint64_t tid)
{
	struct meta *meta = mem_zalloc(1, sizeof(*meta));

	if (!meta)
		return NULL;
	meta->tid = tid;
	buf_put_slice(&meta->user, buf_slice(&t->user));
	buf_put_slice(&meta->desc, buf_slice(&t->desc));
	buf_put_slice(&meta->ext, buf_slice(&t->ext));
	if (buf_ok(&meta->user) && buf_ok(&meta->desc) && buf_ok(&meta->ext))
		return meta;
	meta_free(meta);
	return NULL;
}

/* Everything a transaction needs, made before anything of it can be seen. */
struct prepared {
	struct meta *meta;
	struct publication *pub;
	struct object **objects;
	struct revision **revisions;
	size_t n;
};

static void prepared_free(struct prepared *p)
{
	for (size_t i = 0; i < p->n; i++)
		mem_free(p->revisions[i]);
	meta_free(p->meta);
	publication_free(p->pub);
	mem_free(p->objects);
	mem_free(p->revisions);
}

static int prepare_record(struct mapping *m, const struct txn *t, const struct txn_rec *rec,
	struct buf *scratch, struct prepared *p, struct err *e)
{
	struct object *o = find_or_add(m, rec->oid);
	struct slice data = { NULL, 0 };
	struct revision *rev;
	int rc = txn_data(t, rec, scratch, &data, e);

	if (rc != OK)
		return rc;
	rev = mem_alloc(sizeof(*rev) + data.len);
	if (!o || !rev) {
		mem_free(rev);
		return err_set(e, ERR_NOMEM, "no memory for an object of %zu bytes", data.len);
	}
	rev->txn = p->meta;
	rev->len = data.len;
	if (data.len)
		memcpy(rev->data, data.data, data.len);
	p->objects[p->n] = o;
	p->revisions[p->n++] = rev;
	return OK;
}

static int prepare(
	struct mapping *m, const struct txn *t, uint64_t tid, struct prepared *p, struct err *e)
{
	struct buf scratch = BUF_INIT(0);
	int rc = OK;

	p->meta = meta_of(t, tid);
	p->pub = publication_new((uint32_t)t->n_recs);
	p->objects = mem_zalloc(t->n_recs + 1, sizeof(p->objects[0]));
	p->revisions = mem_zalloc(t->n_recs + 1, sizeof(p->revisions[0]));
	if (!p->meta || !p->pub || !p->objects || !p->revisions)
		rc = err_set(e, ERR_NOMEM, "no memory for a transaction");
	for (size_t i = 0; rc == OK && i < t->n_recs; i++)
		if (!t->recs[i].dropped && t->recs[i].op == TXN_STORE)
			rc = prepare_record(m, t, &t->recs[i], &scratch, p, e);
	buf_free(&scratch);
	return rc;
}

/* A second store of an object in one transaction takes the place of the first. */
static void link_revision(struct mapping *m, struct object *o, struct revision *rev)
{
	struct revision *old = o->newest;

	if (!old) {
		m->n_objects++;
		m->size += OBJECT_BYTES;
	}
	if (old && old->txn == rev->txn) {
		rev->prev = old->prev;
		m->size -= REVISION_BYTES + old->len;
		mem_free(old);
	} else {
		rev->prev = old;
	}
	m->size += REVISION_BYTES + rev->len;
	o->newest = rev;
}

static void apply(struct mapping *m, struct prepared *p, struct txn *t)
{
	uint32_t n = 0;

	for (size_t i = 0; i < p->n; i++) {
		struct revision *old = p->objects[i]->newest;

		if (!old || old->txn != p->meta)
			p->pub->oids[n++] = p->objects[i]->oid;
		link_revision(m, p->objects[i], p->revisions[i]);
	}
	p->n = 0;
	p->meta->next = m->txns;
	m->txns = p->meta;
	m->last_tid = t->tid = p->meta->tid;
	p->pub->tid = t->tid;
	p->pub->origin = t->origin;
	p->pub->n_oids = n;
	p->pub->size_bytes = m->size;
	p->pub->length = m->n_objects;
	pubchain_publish(&m->pubs, p->pub);
	p->meta = NULL;
	p->pub = NULL;
}

static void mapping_finish(struct storage *s, struct txn *t)
{
	struct mapping *m = mapping_of(s);
	struct prepared p = { 0 };
	struct err e = ERR_INIT;
	uint64_t tid;
	int rc;

	pthread_mutex_lock(&m->lock);
	tid = t->given_tid != TID_NONE ? t->given_tid
				       : tid_next(clock_wall_us(m->clock), m->last_tid); /* R4 */
	rc = tid > m->last_tid ? prepare(m, t, tid, &p, &e)
			       : err_set(&e, ERR_INVAL, "the given tid is not newer than the last");
	if (rc == OK)
		apply(m, &p, t);
	pthread_mutex_unlock(&m->lock);
	prepared_free(&p);
	t->done(t, rc, &e);
}

/* --- opening and closing --- */

static void free_objects(struct mapping *m)
{
	for (size_t i = 0; i < m->n_buckets; i++)
		while (m->buckets[i]) {
			struct object *o = m->buckets[i];

			m->buckets[i] = o->chain;
			while (o->newest) {
				struct revision *rev = o->newest;

				o->newest = rev->prev;
				mem_free(rev);
			}
			mem_free(o);
		}
}

static void mapping_close(struct storage *s)
{
	struct mapping *m = mapping_of(s);

	pubchain_close(&m->pubs);
	free_objects(m);
	while (m->txns) {
		struct meta *meta = m->txns;

		m->txns = meta->next;
		meta_free(meta);
	}
	pthread_mutex_destroy(&m->lock);
	mem_free(m->buckets);
	mem_free((char *)m->base.name);
	mem_free(m);
}

static const struct storage_ops ops = {
	.load = mapping_load,
	.history = mapping_history,
	.vote = mapping_vote,
	.abort = mapping_abort,
	.finish = mapping_finish,
	.new_oids = mapping_new_oids,
	.info = mapping_info,
	.close = mapping_close,
};

int mapping_open(const char *name, const struct clock *clock, uint32_t recent_txns,
	struct storage **ret, struct err *e)
{
	struct mapping *m = mem_zalloc(1, sizeof(*m));

	if (!m)
		return err_set(e, ERR_NOMEM, "no memory for a storage");
	m->n_buckets = 64;
	m->buckets = mem_zalloc(m->n_buckets, sizeof(m->buckets[0]));
	m->base.name = mem_strdup(name ? name : "MappingStorage");
	if (!m->buckets || !m->base.name ||
		pubchain_init(&m->pubs, TID_NONE, recent_txns) != OK) {
		mem_free(m->buckets);
		mem_free((char *)m->base.name);
		mem_free(m);
		return err_set(e, ERR_NOMEM, "no memory for a storage");
	}
	m->base.ops = &ops;
	m->base.pubs = &m->pubs;
	m->clock = clock;
	m->next_oid = 1;
	pthread_mutex_init(&m->lock, NULL);
	*ret = &m->base;
	return OK;
}
