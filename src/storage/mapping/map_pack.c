/* Pack, in short steps under the lock, loads and commits in between.
 *
 * First go the revisions that were not current at the pack's time. Then everything that can be reached from the
 * root is marked. What commits meanwhile is not there for the pack to remove, and what it refers to is
 * marked at the end, before the sweep. */
#include "base/mem.h"
#include "codec/references.h"
#include "storage/mapping/map.h"

enum { STEP = 256 }; /* rows, or objects, looked at before the lock is given away */

struct map_pack {
	struct mapping *m;
	struct err *e;
	uint64_t stop;  /* revisions that were replaced up to then go */
	uint64_t mark;  /* objects seen by this pack have it */
	uint64_t start; /* the last tid when marking began */
	struct references *refs;
	uint64_t *todo; /* oids that were reached, and are to be looked at */
	size_t n_todo;
	size_t room;
	uint64_t missing; /* a reference that leads nowhere */
};

/* --- old revisions --- */

/* With the lock held. */
static void drop_revision(struct mapping *m, struct map_revision *rev)
{
	struct map_txn *t = rev->txn;

	m->size -= MAP_REVISION_BYTES + rev->len;
	t->status = 'p';
	map_revision_drop(rev);
	if (t->n_live)
		return;
	for (size_t i = map_txn_after(m, t->tid); i < m->n_txns; i++)
		m->txns[i - 1] = m->txns[i];
	m->n_txns--;
	map_txn_unref(t);
}

/* Those that were replaced by one that is not newer than the time. */
static void drop_old(struct map_pack *p, struct map_object *o)
{
	struct map_revision *rev = o->newest;

	while (rev && rev->txn->tid > p->stop)
		rev = rev->prev;
	while (rev && rev->prev) {
		struct map_revision *old = rev->prev;

		rev->prev = old->prev;
		drop_revision(p->m, old);
	}
}

/* A row that the table's growth moves behind the place reached is looked at twice; none is missed: the first
 * half of a grown table has the rows of before, and the second comes later. */
static void drop_all_old(struct map_pack *p)
{
	struct mapping *m = p->m;
	size_t at = 0;
	bool more = true;

	while (more) {
		pthread_mutex_lock(&m->lock);
		for (size_t n = 0; n < STEP && at < m->n_buckets; n++, at++)
			for (struct map_object *o = m->buckets[at]; o; o = o->chain)
				drop_old(p, o);
		more = at < m->n_buckets;
		pthread_mutex_unlock(&m->lock);
	}
}

/* --- marking --- */

static int push(struct map_pack *p, uint64_t oid)
{
	if (p->n_todo == p->room) {
		size_t room = p->room ? p->room * 2 : 1024;
		uint64_t *todo = mem_realloc(p->todo, room * sizeof(todo[0]));

		if (!todo)
			return err_set(p->e, ERR_NOMEM, "no memory to pack");
		p->todo = todo;
		p->room = room;
	}
	p->todo[p->n_todo++] = oid;
	return OK;
}

static int push_references(struct map_pack *p, const struct map_revision *rev)
{
	const uint64_t *oids = NULL;
	size_t n = 0;
	int rc = OK;

	if (rev->len)
		rc = references_scan(p->refs, slice_of(rev->data, rev->len), &oids, &n, p->e);
	if (rc != OK)
		err_wrap(p->e, "object %016llx", (unsigned long long)rev->oid);
	for (size_t i = 0; rc == OK && i < n; i++)
		rc = push(p, oids[i]);
	return rc;
}

/* With the lock held. */
static int visit(struct map_pack *p, uint64_t oid)
{
	struct map_object *o = map_find(p->m, oid);
	int rc = OK;

	if (!o || !o->newest) {
		p->missing = oid;
		return err_set(
			p->e, ERR_NOKEY, "there is no object %016llx", (unsigned long long)oid);
	}
	if (o->seen == p->mark)
		return OK;
	o->seen = p->mark;
	for (struct map_revision *rev = o->newest; rev && rc == OK; rev = rev->prev)
		rc = push_references(p, rev);
	return rc;
}

/* With the lock held: at most @n objects. */
static int visit_some(struct map_pack *p, size_t n)
{
	int rc = OK;

	while (rc == OK && p->n_todo && n--)
		rc = visit(p, p->todo[--p->n_todo]);
	return rc;
}

/* What was committed since marking began stays, with all it refers to. With the lock held. */
static int visit_new(struct map_pack *p)
{
	struct mapping *m = p->m;
	int rc = OK;

	for (size_t i = map_txn_after(m, p->start); i < m->n_txns; i++)
		for (size_t k = 0; rc == OK && k < m->txns[i]->n_revs; k++) {
			const struct map_revision *rev = m->txns[i]->revs[k];

			if (!rev)
				continue;
			rc = push(p, rev->oid);
			if (rc == OK)
				rc = push_references(p, rev);
		}
	return rc == OK ? visit_some(p, SIZE_MAX) : rc;
}

/* With the lock held. */
static void remove_object(struct mapping *m, struct map_object *o)
{
	while (o->newest) {
		struct map_revision *rev = o->newest;

		o->newest = rev->prev;
		drop_revision(m, rev);
	}
	m->size -= MAP_OBJECT_BYTES;
	m->n_objects--;
	map_forget(m, o);
}

/* With the lock held. */
static void sweep(struct map_pack *p)
{
	struct mapping *m = p->m;

	for (size_t i = 0; i < m->n_buckets; i++)
		for (struct map_object *o = m->buckets[i], *next; o; o = next) {
			next = o->chain;
			if (o->newest && o->seen != p->mark)
				remove_object(m, o);
		}
}

static int collect_garbage(struct map_pack *p)
{
	struct mapping *m = p->m;
	bool done = false;
	int rc;

	p->refs = references_new();
	if (!p->refs)
		return err_set(p->e, ERR_NOMEM, "no memory to pack");
	pthread_mutex_lock(&m->lock);
	p->start = pubchain_last_tid(&m->pubs);
	p->mark = ++m->n_packs;
	pthread_mutex_unlock(&m->lock);
	rc = push(p, OID_ROOT);
	while (rc == OK && !done) {
		pthread_mutex_lock(&m->lock);
		rc = visit_some(p, STEP);
		done = rc == OK && p->n_todo == 0;
		if (done)
			rc = visit_new(p);
		if (done && rc == OK)
			sweep(p);
		pthread_mutex_unlock(&m->lock);
	}
	mem_free(p->todo);
	references_free(p->refs);
	return rc;
}

/* --- the pack --- */

/* Clients are told the sizes that are left. With the lock held. */
static int publish(struct mapping *m, struct err *e)
{
	struct publication *pub = publication_new(0);

	if (!pub)
		return err_set(e, ERR_NOMEM, "no memory to pack");
	pub->kind = PUBLICATION_INFO;
	pub->tid = pubchain_last_tid(&m->pubs);
	pub->size_bytes = m->size;
	pub->length = m->n_objects;
	pubchain_publish(&m->pubs, pub);
	return OK;
}

/* ERR_EXISTS: there is nothing to do. */
static int begin(struct mapping *m, uint64_t stop, struct err *e)
{
	int rc = OK;

	if (stop == TID_NONE)
		return err_set(e, ERR_INVAL, "Invalid pack time");
	pthread_mutex_lock(&m->lock);
	if (m->packing)
		rc = err_set(e, ERR_BUSY, "Already packing");
	else if (!m->n_objects || m->packed_to == stop)
		rc = ERR_EXISTS;
	else if (m->packed_to > stop)
		rc = err_set(e, ERR_STATE, "Already packed to a later time");
	if (rc == OK) {
		m->packing = true;
		m->packed_to = stop;
	}
	pthread_mutex_unlock(&m->lock);
	return rc;
}

static void pack_work(struct job *j)
{
	struct pack_req *r = CONTAINER_OF(j, struct pack_req, job);
	struct mapping *m = mapping_of(r->storage);
	struct map_pack p = { .m = m, .e = &r->err, .stop = tid_of_seconds(r->time_s) };

	r->rc = begin(m, p.stop, &r->err);
	if (r->rc != OK) {
		if (r->rc == ERR_EXISTS)
			r->rc = OK;
		return;
	}
	drop_all_old(&p);
	if (!m->keep_garbage)
		r->rc = collect_garbage(&p);
	r->oid = p.missing;
	pthread_mutex_lock(&m->lock);
	m->packing = false;
	if (r->rc == OK)
		r->rc = publish(m, &r->err);
	pthread_mutex_unlock(&m->lock);
}

static void pack_done(struct job *j)
{
	struct pack_req *r = CONTAINER_OF(j, struct pack_req, job);

	r->done(r);
}

void mapping_pack(struct storage *s, struct pack_req *r)
{
	r->storage = s;
	r->job.work = pack_work;
	r->job.done = pack_done;
	r->exec->submit(r->exec, &r->job);
}

void mapping_keep_garbage(struct storage *s)
{
	mapping_of(s)->keep_garbage = true;
}
