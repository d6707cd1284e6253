/* Votes: serials are compared with the changes and, for what they have not got, with the base; then the
 * changes vote. All of it on a pool thread. */
#include "base/mem.h"
#include "storage/demo/demo_core.h"
#include "storage/inline_exec.h"
#include "storage/resolver.h"

struct voting {
	struct demo *demo;
	struct vote_req *v;
	struct inline_exec exec;
	size_t *skipped; /* checks of objects that only the base has: nothing for the changes */
	size_t n_skipped;
};

/* Where the object's current revision is, and its serial; TID_NONE: there is none. */
static int find_current(
	struct voting *g, uint64_t oid, bool *ret_changed, uint64_t *ret, struct err *e)
{
	struct load_req r = { .kind = LOAD_TID, .oid = oid, .applied = TID_MAX };
	int rc = inline_load(&g->exec, g->demo->changes, &r, NULL);

	*ret_changed = rc == OK;
	if (rc == ERR_NOKEY)
		rc = inline_load(&g->exec, g->demo->base, &r, NULL);
	*ret = rc == OK ? r.serial : TID_NONE;
	if (rc == OK || rc == ERR_NOKEY)
		return OK;
	*e = r.err;
	return rc;
}

/* --- conflicts --- */

static int add_conflict(struct vote_req *v, const struct conflict *c)
{
	struct conflict *all = mem_realloc(v->conflicts, (v->n_conflicts + 1) * sizeof(*all));

	if (!all)
		return err_set(&v->err, ERR_NOMEM, "no memory for conflicts");
	all[v->n_conflicts++] = *c;
	v->conflicts = all;
	return OK;
}

static int add_changed(struct vote_req *v, const uint64_t *oids, size_t n)
{
	uint64_t *all = mem_realloc(v->changed_oids, (v->n_changed_oids + n + 1) * sizeof(*all));

	if (!all)
		return err_set(&v->err, ERR_NOMEM, "no memory for a list of objects");
	v->changed_oids = all;
	for (size_t i = 0; i < n; i++)
		all[v->n_changed_oids++] = oids[i];
	return OK;
}

struct states {
	struct buf old;
	struct buf committed;
	struct buf changed; /* when it is not in memory */
	struct buf merged;
};

static void states_free(struct states *st)
{
	buf_free(&st->old);
	buf_free(&st->committed);
	buf_free(&st->changed);
	buf_free(&st->merged);
}

static int load_state(
	struct voting *g, uint64_t oid, uint64_t serial, struct buf *ret, struct err *e)
{
	struct load_req r = { .kind = LOAD_SERIAL, .oid = oid, .tid = serial, .applied = TID_MAX };
	int rc = inline_load(&g->exec, &g->demo->storage, &r, ret);

	if (rc != OK)
		*e = r.err;
	return rc;
}

static int load_states(
	struct voting *g, struct resolve_req *q, size_t rec, struct states *st, struct err *e)
{
	struct txn *t = g->v->txn;
	int rc = load_state(g, q->oid, q->old_serial, &st->old, e);

	if (rc == OK)
		rc = load_state(g, q->oid, q->committed_serial, &st->committed, e);
	if (rc == OK)
		rc = txn_data(t, &t->recs[rec], &st->changed, &q->changed, e);
	q->old = buf_slice(&st->old);
	q->committed = buf_slice(&st->committed);
	return rc;
}

/* The transaction gets the merged state, as if it had been made from the one that is current. */
static int take_merged(
	struct voting *g, const struct conflict *c, struct slice merged, struct err *e)
{
	struct txn *t = g->v->txn;
	int rc = txn_set_data(t, c->rec, merged, e);

	if (rc != OK)
		return rc;
	t->recs[c->rec].serial = c->committed_serial;
	g->v->n_resolved++;
	return add_changed(g->v, &c->oid, 1);
}

static int resolve_with(struct voting *g, const struct conflict *c, struct states *st)
{
	struct resolver *resolver = g->v->resolver;
	struct resolve_req q = {
		.oid = c->oid,
		.committed_serial = c->committed_serial,
		.old_serial = c->old_serial,
	};
	struct err e = ERR_INIT;
	int rc = load_states(g, &q, c->rec, st, &e);

	if (rc == OK)
		rc = resolver->resolve(resolver, &q, &st->merged, &e);
	if (rc == OK)
		rc = take_merged(g, c, buf_slice(&st->merged), &e);
	if (rc == ERR_NOKEY)
		rc = ERR_CONFLICT; /* without its states nobody resolves it */
	else if (rc != OK && rc != ERR_CONFLICT)
		g->v->err = e;
	return rc;
}

/* 0, ERR_CONFLICT when it stays one, or a failure. */
static int resolve(struct voting *g, const struct conflict *c)
{
	struct states st = { 0 };
	int rc = ERR_CONFLICT;

	if (g->v->resolver && !g->v->collect && c->op == TXN_STORE)
		rc = resolve_with(g, c, &st);
	states_free(&st);
	return rc;
}

/* --- the records --- */

static void skip(struct voting *g, size_t i)
{
	g->v->txn->recs[i].dropped = true;
	g->skipped[g->n_skipped++] = i;
}

static int check_current(struct voting *g, size_t i)
{
	const struct txn_rec *rec = &g->v->txn->recs[i];
	struct conflict c = { .rec = i, .op = rec->op, .oid = rec->oid, .old_serial = rec->serial };
	bool changed;
	int rc = find_current(g, rec->oid, &changed, &c.committed_serial, &g->v->err);

	if (rc != OK)
		return rc;
	c.missing = rec->op == TXN_CHECK && c.committed_serial == TID_NONE;
	if (c.missing)
		return add_conflict(g->v, &c);
	if (c.committed_serial != TID_NONE && c.committed_serial != rec->serial) {
		rc = resolve(g, &c);
		return rc == ERR_CONFLICT ? add_conflict(g->v, &c) : rc;
	}
	if (rec->op == TXN_CHECK && !changed)
		skip(g, i);
	return OK;
}

static int check_record(struct voting *g, size_t i)
{
	const struct txn_rec *rec = &g->v->txn->recs[i];

	if (rec->dropped)
		return OK;
	switch (rec->op) {
	case TXN_STORE:
	case TXN_CHECK:
		return check_current(g, i);
	case TXN_UNDO:
		if (g->demo->ops.undo_log)
			return OK;
		return err_set(&g->v->err, ERR_UNSUPPORTED, "the changes do not offer undo");
	default:
		return err_set(&g->v->err, ERR_UNSUPPORTED,
			"a DemoStorage offers neither restore nor deleteObject");
	}
}

/* --- the vote --- */

struct waiting_vote {
	struct vote_req req;
	bool done;
};

static void inner_voted(struct vote_req *r)
{
	CONTAINER_OF(r, struct waiting_vote, req)->done = true;
}

static int vote_changes(struct voting *g)
{
	struct vote_req *v = g->v;
	struct waiting_vote w = { .req = {
					  .exec = &g->exec.base,
					  .done = inner_voted,
					  .txn = v->txn,
					  .collect = v->collect,
					  .resolver = v->resolver,
				  } };
	struct vote_req *in = &w.req;
	int rc;

	g->demo->changes->ops->vote(g->demo->changes, in);
	inline_exec_run(&g->exec, &w.done);
	v->conflicts = in->conflicts;
	v->n_conflicts = in->n_conflicts;
	v->undo_failures = in->undo_failures;
	v->n_undo_failures = in->n_undo_failures;
	v->n_resolved += in->n_resolved;
	rc = in->rc;
	if (rc != OK)
		v->err = in->err;
	else if (in->n_changed_oids)
		rc = add_changed(v, in->changed_oids, in->n_changed_oids);
	if (rc != OK && in->rc == OK)
		g->demo->changes->ops->abort(g->demo->changes, v->txn);
	mem_free(in->changed_oids);
	return rc;
}

static int check_all(struct voting *g)
{
	struct vote_req *v = g->v;
	size_t n = v->txn->n_recs;
	int rc = OK;

	g->skipped = mem_alloc((n + 1) * sizeof(g->skipped[0]));
	if (!g->skipped)
		return err_set(&v->err, ERR_NOMEM, "no memory to vote");
	for (size_t i = 0; i < n && rc == OK && (v->collect || v->n_conflicts == 0); i++)
		rc = check_record(g, i);
	if (rc == OK && v->n_conflicts)
		rc = ERR_CONFLICT;
	return rc;
}

static void undo_vote(struct voting *g, int rc)
{
	struct vote_req *v = g->v;

	/* it may be voted again: then they are to be checked again */
	for (size_t i = 0; i < g->n_skipped; i++)
		v->txn->recs[g->skipped[i]].dropped = false;
	mem_free(v->changed_oids);
	v->changed_oids = NULL;
	v->n_changed_oids = 0;
	v->n_resolved = 0;
	if (rc == ERR_CONFLICT)
		return;
	mem_free(v->conflicts);
	v->conflicts = NULL;
	v->n_conflicts = 0;
}

static void vote_work(struct job *j)
{
	struct vote_req *v = CONTAINER_OF(j, struct vote_req, job);
	struct voting g = { .demo = demo_of(v->storage), .v = v };
	struct txn *t = v->txn;

	inline_exec_init(&g.exec);
	v->rc = check_all(&g);
	if (v->rc == OK) {
		if (t->after_tid < g.demo->base_last)
			t->after_tid = g.demo->base_last; /* I2 */
		v->rc = vote_changes(&g);
	}
	if (v->rc != OK)
		undo_vote(&g, v->rc);
	mem_free(g.skipped);
	inline_exec_end(&g.exec);
}

static void vote_done(struct job *j)
{
	struct vote_req *v = CONTAINER_OF(j, struct vote_req, job);

	v->done(v);
}

void demo_vote(struct storage *s, struct vote_req *v)
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
