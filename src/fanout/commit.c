/* Transactions: what a client of ours has stored is voted on the server, and finished or aborted there.
 *
 * A vote waits on a pool thread: there is one at a time (F4). What follows it is for the committer. A vote that leaves
 * conflicts to the client is given up on the server; the next one says everything anew. */
#include <stdlib.h>
#include <string.h>

#include "base/check.h"
#include "base/mem.h"
#include "codec/tid.h"
#include "fanout/core.h"

enum { ABORT_MS = 1 }; /* to wait for a connection: without one there is nothing to abort */

/* What is kept with a transaction. */
struct fan_txn {
	struct fanout *f;
	struct txn *txn;
	struct upstream *up; /* voted; NULL: not */
	struct raised raised;
	struct publication *pub;
	struct fan_txn *next; /* L: fanout.finishing */
};

static void free_kept(void *kept)
{
	struct fan_txn *ft = kept;

	CHECK(!ft->up);
	raised_end(&ft->raised);
	publication_free(ft->pub);
	mem_free(ft);
}

static struct fan_txn *keep(struct fanout *f, struct txn *t)
{
	struct fan_txn *ft = t->kept;

	if (!ft) {
		ft = mem_zalloc(1, sizeof(*ft));
		if (!ft)
			return NULL;
		ft->f = f;
		ft->txn = t;
		t->kept = ft;
		t->free_kept = free_kept;
	}
	raised_end(&ft->raised);
	t->raised = NULL;
	return ft;
}

/* The client is told what the server said, as it came. */
static void set_raised(
	struct fan_txn *ft, int rc, const struct client_failure *failure, const struct err *e)
{
	if (failure->reply.len)
		raised_frame(&ft->raised, buf_slice(&failure->reply), failure->encoding);
	if (!ft->raised.is_set && rc == ERR_CLOSED)
		raised_text(&ft->raised, "ZEO.Exceptions.ClientDisconnected", e);
	ft->txn->raised = raised_val(&ft->raised);
}

/* --- what was stored --- */

static int say_record(struct client_txn *up, const struct txn *t, const struct txn_rec *rec,
	struct buf *scratch, struct err *e)
{
	struct slice data = { NULL, 0 };
	int rc = OK;

	if (rec->has_data)
		rc = txn_data(t, rec, scratch, &data, e);
	if (rc != OK)
		return rc;
	switch (rec->op) {
	case TXN_STORE:
		return client_txn_store(up, rec->oid, rec->serial, data, e);
	case TXN_CHECK:
		return client_txn_check(up, rec->oid, rec->serial, e);
	case TXN_DELETE:
		return client_txn_delete(up, rec->oid, rec->serial, e);
	case TXN_UNDO:
		return client_txn_undo(up, rec->serial, e);
	case TXN_RESTORE:
		return client_txn_restore(
			up, rec->oid, rec->serial, data, rec->has_data, rec->prev_txn, e);
	default:
		return err_set(e, ERR_UNSUPPORTED, "a record that no client stores");
	}
}

static int say_records(struct client_txn *up, const struct txn *t, struct err *e)
{
	struct buf scratch = BUF_INIT(0);
	int rc = OK;

	for (size_t i = 0; i < t->n_recs && rc == OK; i++) {
		const struct txn_rec *rec = &t->recs[i];

		if (!rec->dropped && !(rec->op == TXN_STORE && fan_blobs_has(t, rec)))
			rc = say_record(up, t, rec, &scratch, e);
	}
	buf_free(&scratch);
	return rc;
}

/* The connection is the one that was found to be good (F5). */
static bool is_up(struct fanout *f, uint64_t generation)
{
	bool is;

	pthread_mutex_lock(&f->lock);
	is = f->state == FAN_UP && f->up_generation == generation;
	pthread_mutex_unlock(&f->lock);
	return is;
}

static int begin(struct fanout *f, const struct txn *t, struct client_txn **ret, struct err *e)
{
	struct val ext = { .type = VAL_DICT };
	int rc;

	if (t->ext.len)
		ext = (struct val){ .type = VAL_BYTES, .s = buf_slice(&t->ext) };
	rc = client_txn_begin(f->client, buf_slice(&t->user), buf_slice(&t->desc), &ext,
		t->given_tid, t->status ? (char)t->status : ' ', ret, e);
	if (rc == OK && !is_up(f, client_txn_generation(*ret)))
		rc = err_set(e, ERR_CLOSED, "the connection was lost");
	return rc;
}

/* --- conflicts that are left to our client --- */

/* The record that the client stored last of the object; n_recs: none. */
static size_t find_stored(const struct txn *t, uint64_t oid)
{
	for (size_t i = t->n_recs; i-- > 0;)
		if (t->recs[i].oid == oid && t->recs[i].op == TXN_STORE && !t->recs[i].dropped)
			return i;
	return t->n_recs;
}

static int hand_over(struct vote_req *v, const struct client_conflict *c, size_t n, struct err *e)
{
	struct conflict *all = mem_zalloc(n, sizeof(*all));

	if (!all)
		return err_set(e, ERR_NOMEM, "no memory for conflicts");
	for (size_t i = 0; i < n; i++) {
		size_t rec = find_stored(v->txn, c[i].oid);

		if (rec == v->txn->n_recs) {
			mem_free(all);
			return err_set(e, ERR_FORMAT,
				"the server names a conflict of an object that was not stored");
		}
		all[i] = (struct conflict){
			.rec = rec,
			.op = TXN_STORE,
			.oid = c[i].oid,
			.committed_serial = c[i].committed_serial,
			.old_serial = c[i].old_serial,
		};
	}
	v->conflicts = all;
	v->n_conflicts = n;
	return err_set(e, ERR_CONFLICT, "conflicts for the client to resolve");
}

/* --- the vote --- */

static int by_value(const void *a, const void *b)
{
	uint64_t x = *(const uint64_t *)a;
	uint64_t y = *(const uint64_t *)b;

	return x < y ? -1 : x > y;
}

static uint32_t make_unique(uint64_t *oids, uint32_t n)
{
	uint32_t used = 0;

	if (n)
		qsort(oids, n, sizeof(oids[0]), by_value);
	for (uint32_t i = 0; i < n; i++)
		if (used == 0 || oids[used - 1] != oids[i])
			oids[used++] = oids[i];
	return used;
}

/* Of the @n oids in @oids, sorted: how many the client has stored. */
static int count_stored(
	const struct txn *t, const uint64_t *oids, size_t n, size_t *ret, struct err *e)
{
	bool *stored = mem_zalloc(n, sizeof(*stored));

	if (!stored)
		return err_set(e, ERR_NOMEM, "no memory for a list of objects");
	*ret = 0;
	for (size_t i = 0; i < t->n_recs; i++) {
		const struct txn_rec *rec = &t->recs[i];
		const uint64_t *at = bsearch(&rec->oid, oids, n, sizeof(oids[0]), by_value);

		if (!at || rec->op != TXN_STORE || rec->dropped || stored[at - oids])
			continue;
		stored[at - oids] = true;
		++*ret;
	}
	mem_free(stored);
	return OK;
}

static int take_resolved(struct vote_req *v, const struct client_txn *up, struct err *e)
{
	const uint64_t *oids;
	size_t n;

	client_txn_resolved(up, &oids, &n);
	if (n == 0)
		return OK;
	v->changed_oids = mem_alloc(n * sizeof(oids[0]));
	if (!v->changed_oids)
		return err_set(e, ERR_NOMEM, "no memory for a list of objects");
	memcpy(v->changed_oids, oids, n * sizeof(oids[0]));
	v->n_changed_oids = make_unique(v->changed_oids, (uint32_t)n);
	return count_stored(v->txn, v->changed_oids, v->n_changed_oids, &v->n_resolved, e);
}

static int ask(
	struct vote_req *v, struct client_txn *up, struct client_failure *failure, struct err *e)
{
	const struct client_conflict *conflicts;
	size_t n;
	int rc;

	if (!v->collect && v->resolver)
		return client_txn_vote_resolving(up, v->resolver, failure, e);
	rc = client_txn_vote(up, &conflicts, &n, failure, e);
	return rc == OK && n ? hand_over(v, conflicts, n, e) : rc;
}

/* What is published when it is finished. */
static int prepare_publication(struct fan_txn *ft, const struct vote_req *v, struct err *e)
{
	const struct txn *t = ft->txn;
	uint32_t n = 0;

	publication_free(ft->pub);
	ft->pub = publication_new((uint32_t)(t->n_recs + v->n_changed_oids));
	if (!ft->pub)
		return err_set(e, ERR_NOMEM, "no memory to publish a transaction");
	for (size_t i = 0; i < t->n_recs; i++)
		if (txn_rec_is_written(&t->recs[i]))
			ft->pub->oids[n++] = t->recs[i].oid;
	for (size_t i = 0; i < v->n_changed_oids; i++)
		ft->pub->oids[n++] = v->changed_oids[i];
	ft->pub->n_oids = make_unique(ft->pub->oids, n);
	return OK;
}

static int vote_on(struct fan_txn *ft, struct vote_req *v, struct upstream *up,
	struct client_failure *failure, struct err *e)
{
	int rc = say_records(up->txn, v->txn, e);

	if (rc == OK)
		rc = fan_blobs_say(ft->f, &up->blobs, up->txn, v->txn, e);
	if (rc == OK)
		rc = ask(v, up->txn, failure, e);
	if (rc == OK)
		rc = take_resolved(v, up->txn, e);
	if (rc == OK)
		rc = prepare_publication(ft, v, e);
	return rc;
}

static void give_up(struct fanout *f, struct upstream *up)
{
	client_txn_abort(up->txn, ABORT_MS);
	fan_blobs_aborted(f, &up->blobs);
	mem_free(up);
}

static int vote_upstream(
	struct fan_txn *ft, struct vote_req *v, struct client_failure *failure, struct err *e)
{
	struct upstream *up = mem_zalloc(1, sizeof(*up));
	int rc;

	if (!up)
		return err_set(e, ERR_NOMEM, "no memory for a transaction");
	rc = link_wait(ft->f, ft->f->wait_ms, NULL, NULL, e);
	if (rc == ERR_TIMEOUT)
		rc = e->code = ERR_CLOSED;
	if (rc == OK)
		rc = begin(ft->f, v->txn, &up->txn, e);
	if (rc == OK)
		rc = vote_on(ft, v, up, failure, e);
	if (rc == OK) {
		ft->up = up;
		return OK;
	}
	give_up(ft->f, up);
	return rc;
}

static void vote_work(struct job *j)
{
	struct vote_req *v = CONTAINER_OF(j, struct vote_req, job);
	struct fanout *f = fanout_of(v->storage);
	struct fan_txn *ft = keep(f, v->txn);
	struct client_failure failure = { 0 };

	if (!ft) {
		v->rc = err_set(&v->err, ERR_NOMEM, "no memory for a transaction");
		return;
	}
	v->rc = vote_upstream(ft, v, &failure, &v->err);
	if (v->rc != OK && v->n_conflicts == 0)
		set_raised(ft, v->rc, &failure, &v->err);
	if (v->rc != OK) {
		mem_free(v->changed_oids);
		v->changed_oids = NULL;
		v->n_changed_oids = 0;
	}
	buf_free(&failure.reply);
}

static void vote_done(struct job *j)
{
	struct vote_req *v = CONTAINER_OF(j, struct vote_req, job);

	v->done(v);
}

void fan_vote(struct storage *s, struct vote_req *v)
{
	v->storage = s;
	v->conflicts = NULL;
	v->n_conflicts = 0;
	v->changed_oids = NULL;
	v->n_changed_oids = 0;
	v->n_resolved = 0;
	v->undo_failures = NULL;
	v->n_undo_failures = 0;
	v->job.work = vote_work;
	v->job.done = vote_done;
	v->exec->submit(v->exec, &v->job);
}

/* --- the end --- */

void fan_abort(struct storage *s, struct txn *t)
{
	struct fanout *f = fanout_of(s);
	struct fan_txn *ft = t->kept;
	struct upstream *up = ft->up;

	CHECK(up);
	ft->up = NULL;
	pthread_mutex_lock(&f->lock);
	up->next = NULL;
	*f->aborting_end = up;
	f->aborting_end = &up->next;
	pthread_cond_broadcast(&f->changed);
	pthread_mutex_unlock(&f->lock);
}

void fan_finish(struct storage *s, struct txn *t)
{
	struct fanout *f = fanout_of(s);
	struct fan_txn *ft = t->kept;

	CHECK(ft->up);
	pthread_mutex_lock(&f->lock);
	ft->next = NULL;
	*f->finishing_end = ft;
	f->finishing_end = &ft->next;
	pthread_cond_broadcast(&f->changed);
	pthread_mutex_unlock(&f->lock);
}

/* On the thread that reads, where the invalidation would stand (R3). */
static void told(void *arg, uint64_t tid)
{
	struct fan_txn *ft = arg;
	struct publication *p = ft->pub;

	ft->pub = NULL;
	p->tid = tid;
	p->origin = ft->txn->origin;
	link_publish(ft->f, p);
}

/* Once it was sent nobody knows, until there is a connection again: who looks at the storage then is told. */
static void say_unknown(struct err *e)
{
	err_wrap(e, "the connection to the storage's server was lost before it said whether the "
		    "transaction is committed: it may be");
}

static void finish(struct fan_txn *ft)
{
	struct client_failure failure = { 0 };
	struct upstream *up = ft->up;
	struct txn *t = ft->txn;
	struct err e = ERR_INIT;
	uint64_t tid = TID_NONE;
	int rc;

	ft->up = NULL;
	atomic_store(&ft->f->in_finish, true);
	rc = client_txn_finish(up->txn, told, ft, &tid, &failure, &e);
	atomic_store(&ft->f->in_finish, false);
	if (rc == OK)
		fan_blobs_finished(ft->f, &up->blobs, tid);
	else
		fan_blobs_aborted(ft->f, &up->blobs);
	mem_free(up);
	if (rc == ERR_CLOSED)
		say_unknown(&e);
	if (rc != OK)
		set_raised(ft, rc, &failure, &e);
	else
		t->tid = tid;
	buf_free(&failure.reply);
	t->done(t, rc, &e);
}

static struct fan_txn *take_finishing(struct fanout *f)
{
	struct fan_txn *ft = f->finishing;

	if (ft)
		f->finishing = ft->next;
	if (!f->finishing)
		f->finishing_end = &f->finishing;
	return ft;
}

static struct upstream *take_aborting(struct fanout *f)
{
	struct upstream *up = f->aborting;

	if (up)
		f->aborting = up->next;
	if (!f->aborting)
		f->aborting_end = &f->aborting;
	return up;
}

bool fan_commit_next(struct fanout *f)
{
	struct upstream *up = take_aborting(f);
	struct fan_txn *ft = up ? NULL : take_finishing(f);

	if (!up && !ft)
		return false;
	pthread_mutex_unlock(&f->lock);
	if (up) {
		give_up(f, up);
	} else {
		finish(ft);
	}
	pthread_mutex_lock(&f->lock);
	return true;
}
