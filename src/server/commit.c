#include "server/commit.h"

#include <stdatomic.h>

#include "base/check.h"
#include "base/log.h"
#include "base/mem.h"
#include "codec/pickle.h"
#include "server/commit_queue.h"
#include "server/hub.h"
#include "server/server.h"
#include "server/upload.h"
#include "storage/blob/blob_txn.h"
#include "zeo/exception.h"
#include "zeo/message.h"

enum { ENTER_INLINE = 512 }; /* objects; more are entered into the queue by a pool thread */

enum commit_state {
	COMMIT_BUFFERING,
	COMMIT_WAITING,
	COMMIT_VOTING,
	COMMIT_VOTED,
	COMMIT_FINISHING,
};

struct commit {
	struct txn *txn;
	struct hub *hub;
	struct server_storage *ss;
	struct session *session; /* NULL: gone, or it has aborted */
	enum commit_state state;
	bool is_watched;        /* on the hub's list of the locked */
	struct reply_id id;     /* as the client calls it */
	struct request request; /* the vote or tpc_finish to be answered */
	struct cq_entry entry;
	struct hub_msg granted_msg;
	struct hub_msg done_msg;
	struct vote_req vote;
	struct job spill_job;
	struct session
		*spilling; /* the data is being moved to a file, for this one: the pool has it */
	uint64_t spilling_bytes; /* of the transaction then */
	struct err spill_err;    /* of that, for the vote */
	struct job enter_job;
	struct session *entering; /* a pool thread enters it into the queue, for this one */
	int enter_rc;             /* what came of that */
	bool enter_granted;       /* its places were free */
	bool noticed;             /* they became free: on_granted() has been called */
	struct err enter_err;
	uint64_t origin;
	uint64_t locked_us;   /* monotonic: since when it holds its objects */
	uint64_t deadline_us; /* monotonic; R5 */
	int finish_rc;
	struct err finish_err;
	struct commit *prev, *next; /* hub->locked, then hub->finishing */
};

static atomic_uint_fast64_t last_origin;

int commit_begin(struct session *s, const struct val *id, struct err *e)
{
	struct commit *c = mem_zalloc(1, sizeof(*c));
	int rc = OK;

	CHECK(!s->commit);
	if (c)
		c->txn = txn_new();
	if (!c || !c->txn)
		rc = err_set(e, ERR_NOMEM, "no memory for a transaction");
	else
		rc = reply_id_set(&c->id, id, s->encoding, e);
	if (rc != OK) {
		if (c)
			txn_free(c->txn);
		mem_free(c);
		return rc;
	}
	c->hub = s->hub;
	c->ss = s->hs->ss;
	c->session = s;
	c->txn->owner = c;
	s->commit = c;
	upload_begin_txn(s);
	atomic_fetch_add(&c->ss->stats.active_txns, 1);
	return OK;
}

bool commit_is(const struct session *s, const struct val *id)
{
	struct err e = ERR_INIT;
	struct reply_id given;

	return s->commit && reply_id_set(&given, id, s->encoding, &e) == OK &&
	       slice_eq(slice_of(given.bytes, given.len), commit_id(s));
}

struct slice commit_id(const struct session *s)
{
	return slice_of(s->commit->id.bytes, s->commit->id.len);
}

struct txn *commit_txn(struct session *s)
{
	return s->commit->txn;
}

void commit_replace(struct session *s, uint64_t oid)
{
	struct commit *c = s->commit;

	for (size_t i = 0; i < c->vote.n_conflicts; i++)
		if (c->vote.conflicts[i].oid == oid)
			c->txn->recs[c->vote.conflicts[i].rec].dropped = true;
}

bool commit_is_buffering(const struct commit *c)
{
	return c->state == COMMIT_BUFFERING;
}

bool commit_is_locked(const struct commit *c)
{
	return c->state == COMMIT_VOTING || c->state == COMMIT_VOTED;
}

bool commit_is_finishing(const struct session *s)
{
	const struct commit *c = s->hub->finishing;

	while (c && c->session != s)
		c = c->next;
	return c != NULL;
}

struct session *commit_session(const struct commit *c)
{
	return c->session;
}

static void list_add(struct commit **list, struct commit *c)
{
	c->prev = NULL;
	c->next = *list;
	if (*list)
		(*list)->prev = c;
	*list = c;
}

static void list_remove(struct commit **list, struct commit *c)
{
	if (c->prev)
		c->prev->next = c->next;
	else
		*list = c->next;
	if (c->next)
		c->next->prev = c->prev;
}

/* Of the last vote. */
static void free_results(struct commit *c)
{
	mem_free(c->vote.conflicts);
	mem_free(c->vote.changed_oids);
	mem_free(c->vote.undo_failures);
}

static void commit_free(struct commit *c)
{
	CHECK(!c->entry.entered);
	upload_free_txn(c->hub->exec, c->txn);
	free_results(c);
	mem_free(c->entry.locks);
	mem_free(c);
}

/* The session and its transaction part. */
static void detach(struct commit *c)
{
	if (c->session && c->session->commit == c)
		c->session->commit = NULL;
	c->session = NULL;
}

static void watch(struct commit *c)
{
	commit_queue_stamp(&c->ss->queue, &c->entry, clock_wall_us(c->hub->clock));
	list_add(&c->hub->locked, c);
	c->is_watched = true;
}

static void unwatch(struct commit *c)
{
	if (!c->is_watched)
		return;
	list_remove(&c->hub->locked, c);
	c->is_watched = false;
}

/* It ends here, without having been finished; the client has been told, or is not to be told. */
static void end_unfinished(struct commit *c)
{
	bool granted = false;

	detach(c);
	atomic_fetch_sub(&c->ss->stats.active_txns, 1);
	unwatch(c);
	if (c->entering)
		return; /* enter_done() goes on */
	if (c->entry.entered)
		granted = commit_queue_leave(&c->ss->queue, &c->entry);
	if (c->state == COMMIT_WAITING && granted)
		return;   /* on_granted() is on its way to the hub and frees it */
	if (!c->spilling) /* else spill_done() frees it */
		commit_free(c);
}

/* --- what is too large for memory --- */

static void spill_work(struct job *j)
{
	struct commit *c = CONTAINER_OF(j, struct commit, spill_job);

	if (txn_spill(c->txn, &c->spill_err) != OK)
		buf_free(&c->txn->data); /* the vote fails */
}

static void spill_done(struct job *j)
{
	struct commit *c = CONTAINER_OF(j, struct commit, spill_job);
	struct session *s = c->spilling;

	c->spilling = NULL;
	s->spilling = false;
	if (!c->session)
		commit_free(c); /* the connection was lost meanwhile */
	session_load_ended(s);
}

void commit_added(struct session *s)
{
	struct commit *c = s->commit;

	if (!txn_wants_spill(c->txn) || c->spilling || c->spill_err.code != OK)
		return;
	c->spilling = s;
	c->spilling_bytes = c->txn->data_spilled + c->txn->data.len;
	s->spilling = true;
	c->spill_job.work = spill_work;
	c->spill_job.done = spill_done;
	session_load_started(s);
	s->hub->exec->submit(s->hub->exec, &c->spill_job);
}

int commit_add(struct session *s, const struct txn_rec *rec, struct slice data, struct err *e)
{
	struct commit *c = s->commit;
	int rc;

	if (c->spill_err.code != OK)
		return OK; /* the vote fails */
	rc = txn_add(c->txn, rec, data, e);
	if (rc == OK)
		commit_added(s);
	return rc;
}

/* --- vote --- */

static void write_conflicts(struct enc *en, struct commit *c)
{
	struct buf scratch = BUF_INIT(0);
	struct err e = ERR_INIT;

	enc_list(en, (uint32_t)c->vote.n_conflicts);
	for (size_t i = 0; i < c->vote.n_conflicts; i++) {
		const struct conflict *f = &c->vote.conflicts[i];
		struct slice data = { NULL, 0 };

		if (txn_data(c->txn, &c->txn->recs[f->rec], &scratch, &data, &e) != OK)
			session_fail(c->session, "%s", e.text);
		enc_dict(en, 3);
		enc_str(en, slice_str("oid"));
		enc_id(en, f->oid);
		enc_str(en, slice_str("serials"));
		enc_tuple(en, 2);
		enc_id(en, f->committed_serial);
		enc_id(en, f->old_serial);
		enc_end(en);
		enc_str(en, slice_str("data"));
		enc_bytes(en, data);
		enc_end(en);
	}
	enc_end(en);
	buf_free(&scratch);
}

/* The transaction is back at the client's, who resolves the conflicts and votes again. */
static void answer_conflicts(struct commit *c)
{
	struct reply rep;

	if (reply_begin(&rep, &c->request)) {
		write_conflicts(&rep.w.enc, c);
		reply_send(&rep);
	}
	unwatch(c);
	commit_queue_leave(&c->ss->queue, &c->entry);
	c->txn->state = TXN_BUFFERING;
	c->state = COMMIT_BUFFERING;
}

static void conflict_class(struct commit *c, const struct conflict *f, char *out, size_t room)
{
	struct buf scratch = BUF_INIT(0);
	struct err e = ERR_INIT;
	struct slice data;

	out[0] = 0;
	if (txn_data(c->txn, &c->txn->recs[f->rec], &scratch, &data, &e) == OK)
		pickle_class_name(data, out, room);
	buf_free(&scratch);
}

static void reply_conflict(struct commit *c, const struct conflict *f)
{
	struct exception_conflict x = { NULL, f->oid, f->committed_serial, f->old_serial };
	char class_name[256];
	struct reply rep;

	atomic_fetch_add(&c->ss->stats.conflicts, 1);
	if (!reply_begin_error(&rep, &c->request, "conflict"))
		return;
	if (f->missing) {
		exception_pos_key(&rep.w.enc, f->oid);
	} else if (f->op == TXN_CHECK) {
		exception_read_conflict(&rep.w.enc, &x);
	} else {
		if (f->op == TXN_STORE) { /* a deletion shows no data, and so no class */
			conflict_class(c, f, class_name, sizeof(class_name));
			x.class_name = class_name;
		}
		exception_conflict(&rep.w.enc, &x);
	}
	reply_send(&rep);
}

static void reply_undo_failed(struct commit *c)
{
	const struct vote_req *v = &c->vote;
	struct reply rep;

	if (!reply_begin_error(&rep, &c->request, "undo is not possible"))
		return;
	if (v->n_undo_failures == 0) {
		exception_undo(&rep.w.enc, v->err.text);
	} else {
		exception_undo_begin(&rep.w.enc, (uint32_t)v->n_undo_failures,
			v->undo_failures[0].oid, v->undo_failures[0].reason);
		for (size_t i = 0; i < v->n_undo_failures; i++)
			exception_undo_failure(
				&rep.w.enc, v->undo_failures[i].oid, v->undo_failures[i].reason);
		exception_undo_end(&rep.w.enc);
	}
	reply_send(&rep);
}

/* The first conflict that the client cannot resolve, or NULL. */
static const struct conflict *fatal_conflict(const struct commit *c)
{
	for (size_t i = 0; i < c->vote.n_conflicts; i++)
		if (!c->vote.collect || c->vote.conflicts[i].op != TXN_STORE)
			return &c->vote.conflicts[i];
	return NULL;
}

static void reply_other_server(struct commit *c)
{
	if (c->vote.rc == ERR_CONFLICT)
		atomic_fetch_add(&c->ss->stats.conflicts, 1);
	reply_failed(&c->request, c->vote.rc, &c->vote.err, OID_ROOT, c->txn->raised);
}

static void vote_refused(struct commit *c)
{
	const struct conflict *fatal = fatal_conflict(c);

	if (c->vote.rc == ERR_CONFLICT && !fatal && !c->txn->raised) {
		answer_conflicts(c);
		return;
	}
	if (c->txn->raised)
		reply_other_server(c);
	else if (c->vote.rc == ERR_CONFLICT)
		reply_conflict(c, fatal);
	else if (c->vote.rc == ERR_UNDO)
		reply_undo_failed(c);
	else
		reply_failure(&c->request, c->vote.rc, &c->vote.err, OID_ROOT);
	end_unfinished(c);
}

static void vote_done(struct vote_req *v)
{
	struct commit *c = CONTAINER_OF(v, struct commit, vote);
	struct storage *st = c->ss->storage;
	struct reply rep;

	if (!c->session || !session_alive(c->session)) {
		if (v->rc == OK)
			st->ops->abort(st, c->txn);
		end_unfinished(c);
		return;
	}
	if (v->rc != OK) {
		vote_refused(c);
		return;
	}
	c->state = COMMIT_VOTED;
	c->txn->state = TXN_VOTED;
	atomic_fetch_add(&c->ss->stats.conflicts_resolved, v->n_resolved);
	if (reply_begin(&rep, &c->request)) {
		enc_list(&rep.w.enc, (uint32_t)v->n_changed_oids);
		for (size_t i = 0; i < v->n_changed_oids; i++)
			enc_id(&rep.w.enc, v->changed_oids[i]);
		enc_end(&rep.w.enc);
		reply_send(&rep);
	}
}

/* All its objects are its own: R5's time starts. */
static void vote_now(struct commit *c)
{
	uint64_t timeout_us = c->hub->server->options.transaction_timeout_us;
	struct storage *st = c->ss->storage;

	c->state = COMMIT_VOTING;
	c->txn->state = TXN_VOTING;
	c->locked_us = clock_mono_us(c->hub->clock);
	c->deadline_us = UINT64_MAX;
	if (timeout_us) {
		c->deadline_us = c->locked_us + timeout_us;
		hub_wake_at(c->hub, c->deadline_us);
	}
	watch(c);
	free_results(c);
	c->vote = (struct vote_req){
		.exec = c->hub->exec,
		.done = vote_done,
		.txn = c->txn,
		.collect = c->hub->server->options.client_conflict_resolution,
		.resolver = c->hub->server->options.resolver,
	};
	st->ops->vote(st, &c->vote);
}

static void on_granted(struct hub *h, struct hub_msg *m)
{
	struct commit *c = CONTAINER_OF(m, struct commit, granted_msg);

	(void)h;
	if (c->entering)
		c->noticed = true; /* enter_done() goes on */
	else if (c->entry.entered)
		vote_now(c);
	else
		commit_free(c); /* it left while the notice was on its way */
}

/* Under the queue's lock, on any thread. */
static void post_granted(struct cq_entry *en)
{
	struct commit *c = CONTAINER_OF(en, struct commit, entry);

	c->granted_msg.run = on_granted;
	hub_post(c->hub, &c->granted_msg);
}

/* What it touches is not known before it is granted, or it is not to be mixed with others. */
static bool needs_whole(const struct txn_rec *rec)
{
	return rec->op == TXN_UNDO || rec->op == TXN_RESTORE || rec->op == TXN_DELETE;
}

static int prepare_locks(struct commit *c, struct err *e)
{
	struct txn *t = c->txn;
	int rc = commit_queue_prepare(&c->entry, t->n_recs, e);

	if (rc != OK)
		return rc;
	c->entry.granted_cb = post_granted;
	c->entry.whole = t->given_tid != TID_NONE || c->ss->storage->one_at_a_time;
	for (size_t i = 0; i < t->n_recs; i++) {
		c->entry.whole |= needs_whole(&t->recs[i]);
		commit_queue_add(&c->entry, t->recs[i].oid, t->recs[i].op != TXN_CHECK);
	}
	return OK;
}

/* What the vote compares with has been published: tell that first. */
static void vote_at_once(struct commit *c)
{
	hub_catch_up(c->hub);
	vote_now(c);
}

static void say_waiting(const struct commit *c)
{
	size_t waiting = commit_queue_waiting(&c->ss->queue);

	log_emit(waiting > 9   ? LOG_CRITICAL
		 : waiting > 3 ? LOG_WARNING
			       : LOG_DEBUG,
		SERVER_LOGGER, "(%s) ('%s') queue lock: transactions waiting: %zu",
		c->session->label, c->ss->id, waiting);
}

static void enter_failed(struct commit *c)
{
	reply_failure(&c->request, c->enter_rc, &c->enter_err, OID_ROOT);
	end_unfinished(c);
}

static void enter_work(struct job *j)
{
	struct commit *c = CONTAINER_OF(j, struct commit, enter_job);

	c->enter_granted = false;
	c->enter_rc = prepare_locks(c, &c->enter_err);
	if (c->enter_rc == OK)
		c->enter_granted = commit_queue_enter(&c->ss->queue, &c->entry);
}

/* It was aborted, or the connection was lost, on the way into the queue. */
static void leave_unwanted(struct commit *c)
{
	bool granted = c->entry.entered && commit_queue_leave(&c->ss->queue, &c->entry);

	if (!granted || c->enter_granted || c->noticed)
		commit_free(c);
	/* else on_granted() is on its way to the hub and frees it */
}

static void enter_done(struct job *j)
{
	struct commit *c = CONTAINER_OF(j, struct commit, enter_job);
	struct session *s = c->entering;

	c->entering = NULL;
	if (!c->session)
		leave_unwanted(c);
	else if (c->enter_rc != OK)
		enter_failed(c);
	else if (c->enter_granted || c->noticed)
		vote_at_once(c);
	else
		say_waiting(c);
	session_load_ended(s);
}

/* Sorting and locking that many takes milliseconds. */
static void enter_on_pool(struct commit *c)
{
	struct session *s = c->session;

	c->entering = s;
	c->noticed = false;
	c->enter_job.work = enter_work;
	c->enter_job.done = enter_done;
	session_load_started(s);
	s->hub->exec->submit(s->hub->exec, &c->enter_job);
}

void commit_vote(const struct request *r)
{
	struct commit *c = r->session->commit;
	struct err e = ERR_INIT;

	if (c->state != COMMIT_BUFFERING) {
		reply_error_text(r, EXC_STATE, "Already voting (%s)",
			c->state == COMMIT_WAITING ? "waiting" : "locked");
		return;
	}
	c->request = *r;
	e = c->spill_err;
	if (e.code != OK || upload_error(r->session, &e) != OK ||
		blob_txn_order(c->txn, &e) != OK) {
		reply_failure(r, e.code, &e, OID_ROOT);
		end_unfinished(c);
		return;
	}
	c->state = COMMIT_WAITING;
	if (c->txn->n_recs > ENTER_INLINE) {
		enter_on_pool(c);
		return;
	}
	enter_work(&c->enter_job);
	if (c->enter_rc != OK)
		enter_failed(c);
	else if (c->enter_granted)
		vote_at_once(c);
	else
		say_waiting(c);
}

/* --- abort --- */

/* Whatever state it is in, but FINISHING. */
static void abort_now(struct commit *c)
{
	struct storage *st = c->ss->storage;

	atomic_fetch_add(&c->ss->stats.aborts, 1);
	if (c->state == COMMIT_VOTING) {
		detach(c); /* vote_done() ends it */
		return;
	}
	if (c->state == COMMIT_VOTED)
		st->ops->abort(st, c->txn);
	end_unfinished(c);
}

void commit_abort(const struct request *r)
{
	upload_abort(r->session); /* T13 */
	abort_now(r->session->commit);
	reply_none(r);
}

void commit_discard(struct session *s)
{
	if (s->commit)
		abort_now(s->commit);
}

void commit_abandon(struct session *s)
{
	struct commit *c;

	commit_discard(s);
	for (c = s->hub->finishing; c; c = c->next)
		if (c->session == s)
			c->session = NULL; /* it completes all the same (R5) */
}

/* --- finish --- */

static void finish_done(struct hub *h, struct hub_msg *m)
{
	struct commit *c = CONTAINER_OF(m, struct commit, done_msg);

	list_remove(&h->finishing, c);
	atomic_fetch_sub(&c->ss->stats.active_txns, 1);
	if (c->finish_rc == OK)
		atomic_fetch_add(&c->ss->stats.commits, 1);
	else if (c->session)
		reply_failed(&c->request, c->finish_rc, &c->finish_err, OID_ROOT, c->txn->raised);
	commit_free(c);
}

/* On the storage's thread, after the publication: those that wait for its objects may go on. */
static void on_txn_done(struct txn *t, int rc, const struct err *e)
{
	struct commit *c = t->owner;

	c->finish_rc = rc;
	if (rc != OK)
		c->finish_err = *e;
	commit_queue_leave(&c->ss->queue, &c->entry);
	c->done_msg.run = finish_done;
	hub_post(c->hub, &c->done_msg);
}

void commit_finish(const struct request *r)
{
	struct session *s = r->session;
	struct commit *c = s->commit;
	struct storage *st = c->ss->storage;

	if (c->state != COMMIT_VOTED) {
		reply_error_text(r, "builtins.AssertionError", "finished called wo lock");
		return;
	}
	unwatch(c);
	s->commit = NULL;
	c->state = COMMIT_FINISHING;
	c->request = *r;
	c->origin = atomic_fetch_add(&last_origin, 1) + 1;
	c->txn->origin = c->origin;
	c->txn->state = TXN_FINISHING;
	c->txn->done = on_txn_done;
	list_add(&c->hub->finishing, c);
	st->ops->finish(st, c->txn);
}

struct commit *commit_by_origin(struct hub *h, uint64_t origin)
{
	struct commit *c = h->finishing;

	while (c && c->origin != origin)
		c = c->next;
	return c;
}

void commit_send_info(struct session *s, const struct publication *p)
{
	struct message_writer w;
	size_t mark;
	struct buf *b = session_out(s, &mark);

	if (!b)
		return;
	message_call(&w, b, s->encoding, "info");
	enc_tuple(&w.enc, 1);
	enc_dict(&w.enc, 2);
	enc_str(&w.enc, slice_str("length"));
	enc_int(&w.enc, (int64_t)p->length);
	enc_str(&w.enc, slice_str("size"));
	enc_int(&w.enc, (int64_t)p->size_bytes);
	enc_end(&w.enc);
	enc_end(&w.enc);
	message_end(&w);
	session_out_done(s, b, mark);
}

void commit_published(struct commit *c, const struct publication *p)
{
	commit_send_info(c->session, p);
	reply_id(&c->request, p->tid);
}

/* --- timeout --- */

void commit_check_timeouts(struct hub *h, uint64_t now_us)
{
	struct commit *c = h->locked;
	struct commit *next;

	for (; c; c = next) {
		next = c->next;
		if (now_us < c->deadline_us) {
			hub_wake_at(h, c->deadline_us);
		} else if (c->session && session_alive(c->session)) {
			log_emit(LOG_CRITICAL, SERVER_LOGGER,
				"(%s) Transaction timeout after %s seconds", c->session->label,
				h->server->options.transaction_timeout_text);
			session_close(c->session, false);
		}
	}
}

void commit_describe(const struct commit *c, struct commit_info *ret)
{
	static const char *const names[] = {
		[COMMIT_BUFFERING] = "buffering",
		[COMMIT_WAITING] = "waiting",
		[COMMIT_VOTING] = "voting",
		[COMMIT_VOTED] = "voted",
		[COMMIT_FINISHING] = "finishing",
	};

	ret->state = names[c->state];
	ret->objects = c->txn->n_recs;
	ret->bytes = c->spilling ? c->spilling_bytes : c->txn->data_spilled + c->txn->data.len;
	ret->locked_s = commit_is_locked(c)
				? (double)(clock_mono_us(c->hub->clock) - c->locked_us) / 1e6
				: 0;
}
