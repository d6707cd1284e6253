/* A storage of another server against a server that says exactly what the test wants, in the order it wants. */
#include "script_server.h"

#include <pthread.h>
#include <stdlib.h>

#include "base/clock.h"
#include "base/mem.h"
#include "fanout/fanout.h"
#include "storage/inline_exec.h"

enum { TID = 1000 };

static struct fixture {
	struct script s;
	struct storage *st;
	struct pub_cursor cursor;
	pthread_mutex_t lock;
	pthread_cond_t published;
	char log[4096];
} f;

/* --- the storage --- */

static void on_log(void *ctx, int level, const char *logger, const char *text)
{
	(void)ctx;
	(void)logger;
	pthread_mutex_lock(&f.lock);
	if (level >= 50)
		snprintf(f.log, sizeof(f.log), "%s", text);
	pthread_cond_broadcast(&f.published);
	pthread_mutex_unlock(&f.lock);
}

static void on_publish(struct pub_cursor *c)
{
	(void)c;
	pthread_mutex_lock(&f.lock);
	pthread_cond_broadcast(&f.published);
	pthread_mutex_unlock(&f.lock);
}

/* Wait for what other threads say; @is_there is asked under the lock. */
static void wait_for(const char *what, bool (*is_there)(void))
{
	struct timespec until;
	int rc = 0;

	clock_gettime(CLOCK_REALTIME, &until);
	until.tv_sec += 20;
	pthread_mutex_lock(&f.lock);
	while (!is_there() && rc == 0)
		rc = pthread_cond_timedwait(&f.published, &f.lock, &until);
	pthread_mutex_unlock(&f.lock);
	if (rc)
		fail_msg("waited for %s", what);
}

static bool has_next(void)
{
	return pub_cursor_peek(&f.cursor) != NULL;
}

static void expect_published(enum publication_kind kind, uint64_t tid, uint32_t n, uint64_t oid)
{
	struct publication *p;

	wait_for("a publication", has_next);
	p = pub_cursor_peek(&f.cursor);
	assert_int_equal(p->kind, kind);
	assert_int_equal(p->tid, tid);
	assert_int_equal(p->n_oids, n);
	if (n)
		assert_int_equal(p->oids[0], oid);
	pub_cursor_take(&f.cursor, p);
}

static void open_storage(uint32_t wait_timeout_ms)
{
	struct fanout_options o = {
		.client = { .min_poll_ms = 20, .wait_timeout_ms = wait_timeout_ms },
		.servers = &f.s.listener.bound,
		.servers_n = 1,
		.keep = 100,
		.clock = &clock_system,
		.log = on_log,
	};
	struct err e = ERR_INIT;

	if (fanout_open(&o, &f.st, &e) != OK)
		fail_msg("%s", e.text);
	f.cursor.wake = on_publish;
	pub_cursor_attach(f.st->pubs, &f.cursor);
}

static int setup(void **state)
{
	(void)state;
	f = (struct fixture){ .s = { .fd = -1 } };
	pthread_mutex_init(&f.lock, NULL);
	pthread_cond_init(&f.published, NULL);
	script_listen(&f.s);
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	pub_cursor_detach(f.st->pubs, &f.cursor);
	f.st->ops->close(f.st);
	script_close(&f.s);
	pthread_cond_destroy(&f.published);
	pthread_mutex_destroy(&f.lock);
	return 0;
}

/* --- the server --- */

static uint64_t id_arg(uint32_t i)
{
	assert_int_equal(f.s.message.args[i].type, VAL_BYTES);
	return get_be64(f.s.message.args[i].s.data);
}

/* The probe is answered as by a server that does not have the object. */
static void answer_probe(void)
{
	script_expect(&f.s, "loadBefore");
	assert_int_equal(id_arg(0) >> 48, 0x3f5a);
	script_reply_error(&f.s, script_id(&f.s), "ZODB.POSException.POSKeyError", "x");
}

static void serve(uint64_t tid)
{
	script_serve(&f.s, ENC_PICKLE, tid);
	answer_probe();
}

static void reply_list(uint64_t id)
{
	struct message_writer w;
	struct buf b = BUF_INIT(0);

	script_reply_begin(&f.s, &w, &b, id, MESSAGE_REPLY);
	enc_list(&w.enc, 0);
	enc_end(&w.enc);
	script_say(&f.s, &w, &b);
}

static void reply_changes(uint64_t id, uint64_t tid, uint64_t oid)
{
	struct message_writer w;
	struct buf b = BUF_INIT(0);

	script_reply_begin(&f.s, &w, &b, id, MESSAGE_REPLY);
	enc_tuple(&w.enc, 2);
	enc_id(&w.enc, tid);
	enc_list(&w.enc, 1);
	enc_id(&w.enc, oid);
	enc_end(&w.enc);
	enc_end(&w.enc);
	script_say(&f.s, &w, &b);
}

/* --- loads --- */

struct load {
	struct load_req r;
	struct inline_exec x;
	bool done;
	pthread_t thread;
	char data[16];
	char raised[80];
};

static void load_done(struct load_req *r)
{
	struct load *l = CONTAINER_OF(r, struct load, r);

	snprintf(l->data, sizeof(l->data), "%.*s", (int)r->data.len, (const char *)r->data.data);
	if (r->raised)
		snprintf(l->raised, sizeof(l->raised), "%.*s", (int)r->raised->items[0].s.len,
			(const char *)r->raised->items[0].s.data);
	l->done = true;
}

static void *load(void *arg)
{
	struct load *l = arg;

	inline_exec_init(&l->x);
	l->r.exec = &l->x.base;
	f.st->ops->load(f.st, &l->r);
	inline_exec_run(&l->x, &l->done);
	inline_exec_end(&l->x);
	return NULL;
}

static void begin_load(struct load *l, uint64_t oid, uint64_t tid, uint64_t applied)
{
	*l = (struct load){ .r = {
				    .kind = LOAD_BEFORE,
				    .oid = oid,
				    .tid = tid,
				    .applied = applied,
				    .done = load_done,
			    } };
	assert_int_equal(pthread_create(&l->thread, NULL, load, l), 0);
}

static void end_load(struct load *l)
{
	pthread_join(l->thread, NULL);
}

static void serve_object(
	uint64_t oid, const char *data, uint64_t before, uint64_t serial, uint64_t end_tid)
{
	script_expect(&f.s, "loadBefore");
	assert_int_equal(id_arg(0), oid);
	assert_int_equal(id_arg(1), before);
	script_reply_record(&f.s, script_id(&f.s), data, serial, end_tid);
}

/* R1: what comes behind the applied tid does not exist; a revision that it ends is current. */
static void test_as_of_the_applied_tid(void **state)
{
	struct load l;

	(void)state;
	open_storage(20000);
	serve(TID);
	expect_published(PUBLICATION_GAP, TID, 0, 0);
	begin_load(&l, 5, TID_MAX, TID);
	serve_object(5, "old", TID + 1, 900, 1200);
	end_load(&l);
	assert_string_equal(l.data, "old");
	assert_int_equal(l.r.serial, 900);
	assert_int_equal(l.r.end_tid, TID_NONE);
	script_invalidate(&f.s, 1200, 5);
	expect_published(PUBLICATION_TXN, 1200, 1, 5);
	begin_load(&l, 5, TID_MAX, TID); /* of a loop that has not taken it yet */
	end_load(&l);
	assert_string_equal(l.data, "old");
	assert_int_equal(l.r.end_tid, TID_NONE);
	begin_load(&l, 5, TID_MAX, 1200);
	serve_object(5, "new", 1201, 1200, TID_NONE);
	end_load(&l);
	assert_string_equal(l.data, "new");
	begin_load(&l, 5, 1200, 1200); /* both are in the cache */
	end_load(&l);
	assert_string_equal(l.data, "old");
	assert_int_equal(l.r.end_tid, 1200);
}

/* An object that was created behind the applied tid is not there; before its creation it is None. */
static void test_not_there_yet(void **state)
{
	struct load l;

	(void)state;
	open_storage(20000);
	serve(TID);
	begin_load(&l, 6, TID_MAX, TID);
	script_expect(&f.s, "loadBefore");
	script_reply_none(&f.s, script_id(&f.s));
	end_load(&l);
	assert_int_equal(l.r.rc, ERR_NOKEY);
	begin_load(&l, 6, 500, TID);
	script_expect(&f.s, "loadBefore");
	assert_int_equal(id_arg(1), 500);
	script_reply_none(&f.s, script_id(&f.s));
	end_load(&l);
	assert_int_equal(l.r.rc, OK);
	assert_true(l.r.none);
}

/* --- connections --- */

/* F6: it is asked for again, and what other threads cannot know is not said twice. */
static void test_lost_under_a_load(void **state)
{
	struct load l;

	(void)state;
	open_storage(20000);
	serve(TID);
	begin_load(&l, 5, TID_MAX, TID);
	script_expect(&f.s, "loadBefore");
	script_hang_up(&f.s);
	serve(TID);
	serve_object(5, "it", TID + 1, 900, TID_NONE);
	end_load(&l);
	assert_string_equal(l.data, "it");
}

static void test_waits_for_a_bounded_time(void **state)
{
	struct load l;

	(void)state;
	open_storage(300);
	begin_load(&l, 5, TID_MAX, TID);
	end_load(&l);
	assert_int_equal(l.r.rc, ERR_CLOSED);
	assert_string_equal(l.raised, "ZEO.Exceptions.ClientDisconnected");
}

/* Also where the server that is there says nothing. */
static void test_waits_for_a_bounded_time_for_the_probe(void **state)
{
	struct load l;

	(void)state;
	open_storage(300);
	script_serve(&f.s, ENC_PICKLE, TID);
	script_expect(&f.s, "loadBefore"); /* the probe is not answered */
	begin_load(&l, 5, TID_MAX, TID);
	end_load(&l);
	assert_int_equal(l.r.rc, ERR_CLOSED);
	assert_string_equal(l.raised, "ZEO.Exceptions.ClientDisconnected");
}

/* What the server raises comes as it came. */
static void test_raised(void **state)
{
	struct load l;

	(void)state;
	open_storage(20000);
	serve(TID);
	begin_load(&l, 5, TID_MAX, TID);
	script_expect(&f.s, "loadBefore");
	script_reply_error(&f.s, script_id(&f.s), "builtins.RuntimeError", "no");
	end_load(&l);
	assert_int_equal(l.r.rc, ERR_REMOTE);
	assert_string_equal(l.raised, "builtins.RuntimeError");
}

static void fill_cache(void)
{
	struct load l;

	begin_load(&l, 5, TID_MAX, TID);
	serve_object(5, "old", TID + 1, 900, TID_NONE);
	end_load(&l);
}

/* F3: several transactions that are not told apart; then some that nobody can list. */
static void test_changed_while_away(void **state)
{
	(void)state;
	open_storage(20000);
	serve(TID);
	expect_published(PUBLICATION_GAP, TID, 0, 0);
	fill_cache();
	script_hang_up(&f.s);
	script_reply_tid(&f.s, script_greet(&f.s, ENC_PICKLE), 1500);
	script_expect(&f.s, "getInvalidations");
	assert_int_equal(id_arg(0), TID);
	reply_changes(script_id(&f.s), 1500, 5);
	script_expect(&f.s, "get_info");
	script_reply_info(&f.s, script_id(&f.s));
	answer_probe();
	expect_published(PUBLICATION_CATCH_UP, 1500, 1, 5);
	script_hang_up(&f.s);
	serve(1500); /* nothing new: nothing is published */
	fill_cache();
	script_hang_up(&f.s);
	script_reply_tid(&f.s, script_greet(&f.s, ENC_PICKLE), 1600);
	script_expect(&f.s, "getInvalidations");
	script_reply_none(&f.s, script_id(&f.s));
	script_expect(&f.s, "get_info");
	script_reply_info(&f.s, script_id(&f.s));
	answer_probe();
	expect_published(PUBLICATION_GAP, 1600, 0, 0);
}

static bool is_logged(void)
{
	return strstr(f.log, "is behind what was shown") ||
	       strstr(f.log, "has it from this server");
}

/* T5, T56: a server that is behind is left; one that is not is followed again. */
static void test_behind(void **state)
{
	struct load l;

	(void)state;
	open_storage(20000);
	serve(TID);
	expect_published(PUBLICATION_GAP, TID, 0, 0);
	script_hang_up(&f.s);
	script_serve(&f.s, ENC_PICKLE, 900);
	wait_for("the refusal", is_logged);
	script_expect_end(&f.s);
	assert_int_equal(pubchain_last_tid(f.st->pubs), TID);
	serve(1100);
	begin_load(&l, 5, TID_MAX, TID);
	serve_object(5, "it", TID + 1, 900, TID_NONE);
	end_load(&l);
	expect_published(PUBLICATION_GAP, 1100, 0, 0);
}

/* F5: what is asked of the server comes back. */
static void test_cycle(void **state)
{
	struct load l;
	uint64_t id;

	(void)state;
	open_storage(20000);
	script_serve(&f.s, ENC_PICKLE, TID);
	script_expect(&f.s, "loadBefore");
	id = script_id(&f.s);
	begin_load(&l, id_arg(0), TID_MAX, TID); /* as a client of ours */
	end_load(&l);
	assert_int_equal(l.r.rc, ERR_NOKEY);
	script_reply_error(&f.s, id, "ZODB.POSException.POSKeyError", "x");
	wait_for("the refusal", is_logged);
	script_expect_end(&f.s);
	serve(TID); /* another server has taken its place */
	begin_load(&l, 5, TID_MAX, TID);
	serve_object(5, "it", TID + 1, 900, TID_NONE);
	end_load(&l);
	assert_string_equal(l.data, "it");
}

/* --- a server that was not found to be good --- */

static struct asking {
	struct undo_log_req r;
	struct exec exec;
	struct job *job;
	pthread_t thread;
	bool done;
} asking;

/* Between the look at the connection and the request: it is lost, and there is another one. */
static void submit_late(struct exec *x, struct job *j)
{
	(void)x;
	asking.job = j;
	script_hang_up(&f.s);
	script_serve(&f.s, ENC_PICKLE, TID);
	script_expect(&f.s, "loadBefore"); /* the probe: calls go through, and it is not answered */
}

static void post_now(struct exec *x, struct job *j)
{
	(void)x;
	j->done(j);
}

static void *work_late(void *arg)
{
	(void)arg;
	asking.job->work(asking.job);
	asking.job->done(asking.job);
	return NULL;
}

static bool take_none(struct undo_log_req *r, const struct txn_info *t)
{
	(void)r;
	(void)t;
	return true;
}

static void log_done(struct undo_log_req *r)
{
	(void)r;
	pthread_mutex_lock(&f.lock);
	asking.done = true;
	pthread_cond_broadcast(&f.published);
	pthread_mutex_unlock(&f.lock);
}

static bool is_asked(void)
{
	return asking.done;
}

/* F5 */
static void test_not_probed_yet(void **state)
{
	(void)state;
	open_storage(20000);
	serve(TID);
	fill_cache(); /* it is found to be good */
	asking = (struct asking){
		.exec = { .submit = submit_late, .post = post_now },
		.r = { .exec = &asking.exec, .take = take_none, .applied = TID, .done = log_done },
	};
	f.st->ops->undo_log(f.st, &asking.r);
	assert_int_equal(pthread_create(&asking.thread, NULL, work_late, NULL), 0);
	wait_for("the end of a request", is_asked);
	pthread_join(asking.thread, NULL);
	assert_int_equal(asking.r.rc, ERR_CLOSED);
}

/* --- transactions --- */

struct commit {
	struct vote_req v;
	struct txn *t;
	struct inline_exec x;
	bool voted, finished;
	int rc;
	pthread_t thread;
};

static void voted(struct vote_req *v)
{
	CONTAINER_OF(v, struct commit, v)->voted = true;
}

static void finished(struct txn *t, int rc, const struct err *e)
{
	struct commit *c = t->owner;

	(void)e;
	pthread_mutex_lock(&f.lock);
	c->rc = rc;
	c->finished = true;
	pthread_cond_broadcast(&f.published);
	pthread_mutex_unlock(&f.lock);
}

static void *vote(void *arg)
{
	struct commit *c = arg;

	inline_exec_init(&c->x);
	c->v = (struct vote_req){ .exec = &c->x.base, .done = voted, .txn = c->t };
	f.st->ops->vote(f.st, &c->v);
	inline_exec_run(&c->x, &c->voted);
	inline_exec_end(&c->x);
	return NULL;
}

static struct commit *current;

static bool is_finished(void)
{
	return current->finished;
}

/* A transaction that stores an object, voted. */
static void begin_commit(struct commit *c, uint64_t oid)
{
	struct txn_rec rec = { .oid = oid, .serial = 900, .op = TXN_STORE, .has_data = true };
	struct err e = ERR_INIT;

	*c = (struct commit){ .t = txn_new() };
	current = c;
	assert_int_equal(txn_add(c->t, &rec, slice_str("new"), &e), OK);
	assert_int_equal(pthread_create(&c->thread, NULL, vote, c), 0);
	script_expect(&f.s, "tpc_begin");
	script_expect(&f.s, "storea");
	assert_int_equal(id_arg(0), oid);
	script_expect(&f.s, "vote");
	reply_list(script_id(&f.s));
	pthread_join(c->thread, NULL);
	assert_int_equal(c->v.rc, OK);
	c->t->owner = c;
	c->t->origin = 77;
	c->t->done = finished;
	f.st->ops->finish(f.st, c->t);
	script_expect(&f.s, "tpc_finish");
}

static void end_commit(struct commit *c, int rc)
{
	wait_for("the finish", is_finished);
	assert_int_equal(c->rc, rc);
	txn_free(c->t);
}

/* All that was stored was merged: found by a walk for each, it would take minutes. */
static void test_many_resolved(void **state)
{
	enum { N = 200000 };
	struct commit c = { .t = txn_new() };
	struct message_writer w;
	struct buf b = BUF_INIT(0);
	struct timespec from, to;
	struct err e = ERR_INIT;

	(void)state;
	open_storage(20000);
	serve(TID);
	for (uint64_t i = 0; i < N; i++) {
		struct txn_rec rec = { .oid = i, .serial = 900, .op = TXN_STORE, .has_data = true };

		assert_int_equal(txn_add(c.t, &rec, slice_str("x"), &e), OK);
	}
	assert_int_equal(pthread_create(&c.thread, NULL, vote, &c), 0);
	script_expect(&f.s, "tpc_begin");
	for (int i = 0; i < N; i++)
		script_expect(&f.s, "storea");
	script_expect(&f.s, "vote");
	script_reply_begin(&f.s, &w, &b, script_id(&f.s), MESSAGE_REPLY);
	enc_list(&w.enc, N);
	for (uint64_t i = 0; i < N; i++)
		enc_id(&w.enc, i + 1); /* one of them was not stored: undone */
	enc_end(&w.enc);
	clock_gettime(CLOCK_MONOTONIC, &from);
	script_say(&f.s, &w, &b);
	pthread_join(c.thread, NULL);
	clock_gettime(CLOCK_MONOTONIC, &to);
	assert_int_equal(c.v.rc, OK);
	assert_int_equal(c.v.n_changed_oids, N);
	assert_int_equal(c.v.n_resolved, N - 1);
	assert_true(to.tv_sec - from.tv_sec < 10);
	mem_free(c.v.changed_oids);
	f.st->ops->abort(f.st, c.t);
	script_expect(&f.s, "tpc_abort");
	script_hang_up(&f.s);
	txn_free(c.t);
}

/* R3: it stands where its invalidation would. */
static void test_finish_in_its_place(void **state)
{
	struct commit c;
	struct publication *p;
	struct load l;

	(void)state;
	open_storage(20000);
	serve(TID);
	expect_published(PUBLICATION_GAP, TID, 0, 0);
	begin_commit(&c, 5);
	script_invalidate(&f.s, 1700, 6);
	script_reply_tid(&f.s, script_id(&f.s), 1800);
	script_invalidate(&f.s, 1900, 7);
	end_commit(&c, OK);
	expect_published(PUBLICATION_TXN, 1700, 1, 6);
	wait_for("the own one", has_next);
	p = pub_cursor_peek(&f.cursor);
	assert_int_equal(p->origin, 77);
	expect_published(PUBLICATION_TXN, 1800, 1, 5);
	expect_published(PUBLICATION_TXN, 1900, 1, 7);
	begin_load(&l, 5, TID_MAX, 1900); /* in the cache */
	end_load(&l);
	assert_string_equal(l.data, "new");
	assert_int_equal(l.r.serial, 1800);
}

/* T45: a server that tells of it too late. It cannot be told at its place; who looks comes back and verifies. */
static void test_finish_out_of_its_place(void **state)
{
	struct commit c;

	(void)state;
	open_storage(20000);
	serve(TID);
	expect_published(PUBLICATION_GAP, TID, 0, 0);
	begin_commit(&c, 5);
	script_invalidate(&f.s, 1900, 7);
	script_reply_tid(&f.s, script_id(&f.s), 1800);
	end_commit(&c, OK);
	expect_published(PUBLICATION_TXN, 1900, 1, 7);
	expect_published(PUBLICATION_CATCH_UP, 1901, 1, 5);
	script_hang_up(&f.s);
	serve(1900); /* that is not behind */
	script_invalidate(&f.s, 2000, 8);
	expect_published(PUBLICATION_TXN, 2000, 1, 8);
}

/* Nobody knows how it ended: the client is told so. */
static void test_finish_without_an_answer(void **state)
{
	struct commit c;

	(void)state;
	open_storage(300);
	serve(TID);
	begin_commit(&c, 5);
	script_hang_up(&f.s);
	wait_for("the finish", is_finished);
	assert_int_equal(c.rc, ERR_CLOSED);
	assert_true(slice_is(c.t->raised->items[0].s, "ZEO.Exceptions.ClientDisconnected"));
	assert_non_null(strstr(
		(const char *)c.t->raised->items[1].items[0].s.data, "committed: it may be"));
	txn_free(c.t);
}

/* --- iterators --- */

struct closing {
	struct storage_iter *it;
	struct iter_req r;
	struct inline_exec x;
	bool done;
	pthread_t thread;
};
static bool is_closed;

static void iter_done(struct iter_req *r)
{
	CONTAINER_OF(r, struct closing, r)->done = true;
}

static void *next_txn(void *arg)
{
	struct closing *c = arg;

	inline_exec_init(&c->x);
	c->r.exec = &c->x.base;
	f.st->ops->iter_next(&c->r);
	inline_exec_run(&c->x, &c->done);
	inline_exec_end(&c->x);
	return NULL;
}

static void *close_iter(void *arg)
{
	struct closing *c = arg;

	f.st->ops->iter_close(f.st, c->it);
	pthread_mutex_lock(&f.lock);
	is_closed = true;
	pthread_cond_broadcast(&f.published);
	pthread_mutex_unlock(&f.lock);
	return NULL;
}

static bool closed(void)
{
	return is_closed;
}

static void reply_int(uint64_t id, int64_t i)
{
	struct message_writer w;
	struct buf b = BUF_INIT(0);

	script_reply_begin(&f.s, &w, &b, id, MESSAGE_REPLY);
	enc_int(&w.enc, i);
	script_say(&f.s, &w, &b);
}

/* More than the sockets take. */
static void begin_large_vote(struct commit *c)
{
	struct txn_rec rec = { .oid = 5, .serial = 900, .op = TXN_STORE, .has_data = true };
	size_t len = 32 << 20;
	uint8_t *data = calloc(len, 1);
	struct err e = ERR_INIT;

	assert_non_null(data);
	c->t = txn_new();
	assert_int_equal(txn_add(c->t, &rec, slice_of(data, len), &e), OK);
	free(data);
	assert_int_equal(pthread_create(&c->thread, NULL, vote, c), 0);
	script_expect(&f.s, "tpc_begin");
}

/* Whoever closes an iterator has others to serve: it is not held up by a server that does not read. */
static void test_close_while_the_server_is_slow(void **state)
{
	struct closing c = { .r = { .applied = TID, .done = iter_done } };
	struct commit vote = { .voted = false };
	struct err e = ERR_INIT;

	(void)state;
	open_storage(20000);
	serve(TID);
	expect_published(PUBLICATION_GAP, TID, 0, 0);
	assert_int_equal(f.st->ops->iter_open(f.st, 0, TID, &c.it, &e), OK);
	c.r.it = c.it;
	assert_int_equal(pthread_create(&c.thread, NULL, next_txn, &c), 0);
	script_expect(&f.s, "iterator_start");
	reply_int(script_id(&f.s), 7);
	script_expect(&f.s, "iterator_next");
	script_reply_error(&f.s, script_id(&f.s), "builtins.RuntimeError", "no");
	pthread_join(c.thread, NULL);
	begin_large_vote(&vote);
	is_closed = false;
	assert_int_equal(pthread_create(&c.thread, NULL, close_iter, &c), 0);
	wait_for("the end of an iterator", closed);
	pthread_join(c.thread, NULL);
	script_hang_up(&f.s);
	pthread_join(vote.thread, NULL);
	assert_int_equal(vote.v.rc, ERR_CLOSED);
	txn_free(vote.t);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_as_of_the_applied_tid, setup, teardown),
		cmocka_unit_test_setup_teardown(test_not_there_yet, setup, teardown),
		cmocka_unit_test_setup_teardown(test_lost_under_a_load, setup, teardown),
		cmocka_unit_test_setup_teardown(test_waits_for_a_bounded_time, setup, teardown),
		cmocka_unit_test_setup_teardown(
			test_waits_for_a_bounded_time_for_the_probe, setup, teardown),
		cmocka_unit_test_setup_teardown(test_raised, setup, teardown),
		cmocka_unit_test_setup_teardown(test_changed_while_away, setup, teardown),
		cmocka_unit_test_setup_teardown(test_behind, setup, teardown),
		cmocka_unit_test_setup_teardown(test_cycle, setup, teardown),
		cmocka_unit_test_setup_teardown(test_not_probed_yet, setup, teardown),
		cmocka_unit_test_setup_teardown(test_many_resolved, setup, teardown),
		cmocka_unit_test_setup_teardown(test_finish_in_its_place, setup, teardown),
		cmocka_unit_test_setup_teardown(test_finish_out_of_its_place, setup, teardown),
		cmocka_unit_test_setup_teardown(test_finish_without_an_answer, setup, teardown),
		cmocka_unit_test_setup_teardown(
			test_close_while_the_server_is_slow, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
