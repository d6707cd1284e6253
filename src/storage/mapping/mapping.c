#include "storage/mapping/mapping.h"

#include <string.h>

#include "base/mem.h"
#include "storage/mapping/map.h"

/* T57 */
/* clang-format off */
static const char *const interfaces[] = {
	"ZODB.interfaces", "IStorage",
	"ZODB.interfaces", "IStorageIteration",
	"zope.interface", "Interface",
	NULL,
};
/* clang-format on */

/* --- objects and revisions --- */

static struct map_object **bucket(struct mapping *m, uint64_t oid)
{
	return &m->buckets[(oid * UINT64_C(0x9e3779b97f4a7c15) >> 32) & (m->n_buckets - 1)];
}

struct map_object *map_find(struct mapping *m, uint64_t oid)
{
	struct map_object *o = *bucket(m, oid);

	while (o && o->oid != oid)
		o = o->chain;
	return o;
}

static int grow(struct mapping *m)
{
	struct map_object **old = m->buckets;
	size_t n_old = m->n_buckets;
	struct map_object **buckets = mem_zalloc(n_old * 2, sizeof(*buckets));

	if (!buckets)
		return ERR_NOMEM;
	m->buckets = buckets;
	m->n_buckets = n_old * 2;
	for (size_t i = 0; i < n_old; i++)
		while (old[i]) {
			struct map_object *o = old[i];

			old[i] = o->chain;
			o->chain = *bucket(m, o->oid);
			*bucket(m, o->oid) = o;
		}
	mem_free(old);
	return OK;
}

struct map_object *map_find_or_add(struct mapping *m, uint64_t oid)
{
	struct map_object *o = map_find(m, oid);

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

void map_forget(struct mapping *m, struct map_object *o)
{
	struct map_object **p = bucket(m, o->oid);

	while (*p != o)
		p = &(*p)->chain;
	*p = o->chain;
	mem_free(o);
}

size_t map_txn_after(const struct mapping *m, uint64_t tid)
{
	size_t low = 0;
	size_t high = m->n_txns;

	while (low < high) {
		size_t mid = low + (high - low) / 2;

		if (m->txns[mid]->tid > tid)
			high = mid;
		else
			low = mid + 1;
	}
	return low;
}

void map_revision_unref(struct map_revision *rev)
{
	if (rev && atomic_fetch_sub(&rev->refs, 1) == 1)
		mem_free(rev);
}

void map_txn_unref(struct map_txn *t)
{
	if (!t || atomic_fetch_sub(&t->refs, 1) > 1)
		return;
	buf_free(&t->user);
	buf_free(&t->desc);
	buf_free(&t->ext);
	mem_free(t->revs);
	mem_free(t);
}

void map_revision_drop(struct map_revision *rev)
{
	struct map_txn *t = rev->txn;

	t->revs[rev->slot] = NULL;
	t->n_live--;
	rev->txn = NULL;
	map_revision_unref(rev);
}

/* --- reading --- */

/* The revision that the request asks for, with its successor's tid; NULL: none. */
static struct map_revision *select_revision(
	struct map_revision *rev, struct load_req *r, bool *ret_existed)
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

/* A reference to the revision, and what the answer says of it. */
static struct map_revision *find_revision(struct mapping *m, struct load_req *r, bool *ret_existed)
{
	struct map_revision *rev = NULL;
	struct map_object *o;

	*ret_existed = false;
	pthread_mutex_lock(&m->lock);
	o = map_find(m, r->oid);
	if (o)
		rev = select_revision(o->newest, r, ret_existed);
	if (rev) {
		r->serial = rev->txn->tid;
		map_revision_ref(rev);
	}
	pthread_mutex_unlock(&m->lock);
	return rev;
}

static void mapping_load(struct storage *s, struct load_req *r)
{
	struct map_revision *rev = NULL;
	bool existed = false;

	r->none = false;
	r->data = slice_of(NULL, 0);
	r->serial = TID_NONE;
	r->rc = OK;
	if (r->kind == LOAD_NEXT)
		r->rc = err_set(&r->err, ERR_UNSUPPORTED,
			"a MappingStorage does not offer record_iternext");
	else
		rev = find_revision(mapping_of(s), r, &existed);
	if (rev && r->kind != LOAD_TID)
		r->data = slice_of(rev->data, rev->len);
	else if (!rev && existed && r->kind == LOAD_BEFORE)
		r->none = true;
	else if (!rev && r->rc == OK)
		r->rc = ERR_NOKEY;
	r->done(r);
	map_revision_unref(rev);
}

/* A pack may take the transaction away while the answer is written. */
static bool copy_text(struct slice *ret, const struct buf *b, struct arena *arena)
{
	uint8_t *p = arena_alloc(arena, b->len + 1);

	if (!p)
		return false;
	if (b->len)
		memcpy(p, b->data, b->len);
	*ret = slice_of(p, b->len);
	return true;
}

static bool fill_item(struct history_item *it, const struct map_revision *rev, struct arena *arena)
{
	it->tid = rev->txn->tid;
	it->size = rev->len;
	return copy_text(&it->user, &rev->txn->user, arena) &&
	       copy_text(&it->desc, &rev->txn->desc, arena) &&
	       copy_text(&it->ext, &rev->txn->ext, arena);
}

static int history_locked(struct mapping *m, struct history_req *r)
{
	struct map_object *o = map_find(m, r->oid);
	struct map_revision *first = o ? o->newest : NULL;
	struct map_revision *rev;
	uint32_t n = 0;

	while (first && first->txn->tid > r->applied)
		first = first->prev;
	if (!first)
		return ERR_NOKEY;
	for (rev = first; rev && n < r->size; rev = rev->prev)
		n++;
	r->items = arena_alloc(r->arena, (n + 1) * sizeof(r->items[0]));
	for (rev = first; r->items && rev && r->n_items < n; rev = rev->prev)
		if (!fill_item(&r->items[r->n_items++], rev, r->arena))
			r->items = NULL;
	return r->items ? OK : err_set(&r->err, ERR_NOMEM, "no memory for a history");
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

/* --- the rest --- */

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

static bool mapping_has_oid(struct storage *s, uint64_t oid)
{
	struct mapping *m = mapping_of(s);
	struct map_object *o;
	bool has;

	pthread_mutex_lock(&m->lock);
	o = map_find(m, oid);
	has = o && o->newest;
	pthread_mutex_unlock(&m->lock);
	return has;
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

static void free_objects(struct mapping *m)
{
	for (size_t i = 0; i < m->n_buckets; i++)
		while (m->buckets[i]) {
			struct map_object *o = m->buckets[i];

			m->buckets[i] = o->chain;
			while (o->newest) {
				struct map_revision *rev = o->newest;

				o->newest = rev->prev;
				map_revision_unref(rev);
			}
			mem_free(o);
		}
}

static void mapping_close(struct storage *s)
{
	struct mapping *m = mapping_of(s);

	pubchain_close(&m->pubs);
	free_objects(m);
	for (size_t i = 0; i < m->n_txns; i++)
		map_txn_unref(m->txns[i]);
	pthread_mutex_destroy(&m->lock);
	pthread_mutex_destroy(&m->finish_lock);
	mem_free(m->txns);
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
	.iter_open = mapping_iter_open,
	.iter_records = mapping_iter_records,
	.iter_next = mapping_iter_next,
	.iter_close = mapping_iter_close,
	.changes = mapping_changes,
	.pack = mapping_pack,
	.new_oids = mapping_new_oids,
	.has_oid = mapping_has_oid,
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
	if (!m->buckets || !m->base.name || pubchain_init(&m->pubs, TID_NONE, recent_txns) != OK) {
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
	pthread_mutex_init(&m->finish_lock, NULL);
	*ret = &m->base;
	return OK;
}
