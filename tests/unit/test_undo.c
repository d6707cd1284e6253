/* Undo, restore, deletion and conflict resolution at a FileStorage's vote. */
#include "storage_util.h"

#include "storage/filestorage/filestorage.h"
#include "storage/filestorage/format.h"
#include "storage/filestorage/fs.h"
#include "storage/resolver.h"

static struct test_clock test_time = TEST_CLOCK(TEST_NOW_US);

static struct storage *open_in(struct test_dir *d)
{
	struct filestorage_options o = {
		.path = d->data, .recent_txns = 100, .clock = &test_time.base
	};
	struct storage *s = NULL;
	struct err e = ERR_INIT;

	if (filestorage_open(&o, &s, &e) != OK)
		fail_msg("%s", e.text);
	return s;
}

static void add(struct txn *t, struct txn_rec rec, const char *text)
{
	struct err e = ERR_INIT;

	rec.has_data = text != NULL;
	assert_int_equal(txn_add(t, &rec, slice_str(text ? text : ""), &e), OK);
}

static void add_undo(struct txn *t, uint64_t tid)
{
	add(t, (struct txn_rec){ .op = TXN_UNDO, .serial = tid }, NULL);
}

static void free_results(struct vote_req *v)
{
	mem_free(v->conflicts);
	mem_free(v->changed_oids);
	mem_free(v->undo_failures);
}

/* With a resolver; the results are the caller's. */
static struct vote_req vote_with(struct storage *s, struct txn *t, struct resolver *r)
{
	struct test_exec x = TEST_EXEC;
	struct vote_req v = { .exec = &x.base, .done = test_vote_done, .txn = t, .resolver = r };

	t->state = TXN_VOTING;
	s->ops->vote(s, &v);
	test_exec_run(&x);
	assert_null(v.txn);
	t->state = v.rc == OK ? TXN_VOTED : TXN_BUFFERING;
	return v;
}

static uint64_t finish(struct storage *s, struct txn *t)
{
	struct test_outcome o;
	uint64_t tid;

	test_finish(s, t, &o);
	while (!__atomic_load_n(&o.done, __ATOMIC_ACQUIRE))
		usleep(100);
	assert_int_equal(o.rc, OK);
	assert_false(t->pinned);
	tid = t->tid;
	txn_free(t);
	return tid;
}

static uint64_t commit(struct storage *s, struct txn *t)
{
	struct vote_req v = vote_with(s, t, NULL);

	if (v.rc != OK)
		fail_msg("%s", v.err.text);
	free_results(&v);
	return finish(s, t);
}

static uint64_t store(struct storage *s, uint64_t oid, uint64_t serial, const char *text)
{
	struct txn *t = test_txn("user", "store");

	test_store(t, oid, serial, text);
	return commit(s, t);
}

static uint64_t undo(struct storage *s, uint64_t tid)
{
	struct txn *t = test_txn("user", "undo");

	add_undo(t, tid);
	return commit(s, t);
}

/* The undo is refused: with @reason for @oid, or as a whole when @oid is 0. */
static void assert_refused(struct storage *s, uint64_t tid, uint64_t oid, const char *reason)
{
	struct txn *t = test_txn("user", "undo");
	struct vote_req v;

	add_undo(t, tid);
	v = vote_with(s, t, NULL);
	assert_int_equal(v.rc, ERR_UNDO);
	assert_int_equal(v.n_undo_failures, oid ? 1 : 0);
	if (oid)
		assert_true(v.undo_failures[0].oid == oid);
	assert_string_equal(oid ? v.undo_failures[0].reason : v.err.text, reason);
	assert_false(t->pinned);
	assert_int_equal(t->n_recs, 1);
	assert_int_equal(fs_of(s)->pins, 0);
	free_results(&v);
	txn_free(t);
}

static uint64_t size_of(struct storage *s)
{
	struct storage_info i;

	s->ops->info(s, &i);
	return i.size;
}

static void test_change(void **state)
{
	struct storage *s = open_in(*state);
	uint64_t tid1 = store(s, 1, 0, "one");
	uint64_t tid2 = store(s, 1, tid1, "two");
	uint64_t before = size_of(s);
	uint64_t tid3 = undo(s, tid2);

	assert_current(s, 1, "one", tid3);
	assert_int_equal(size_of(s) - before, FS_TXN_HEADER_LEN + 8 + FS_REC_HEADER_LEN + 8 + 8);
	assert_current(s, 1, "two", undo(s, tid3));
	s->ops->close(s);
}

static void test_creation(void **state)
{
	struct storage *s = open_in(*state);
	uint64_t tid1 = store(s, 1, 0, "one");
	uint64_t tid2 = undo(s, tid1);

	assert_no_object(s, 1);
	assert_current(s, 1, "one", undo(s, tid2));
	s->ops->close(s);
}

/* Later undos see what earlier ones made; each record stands where it was asked for. */
static void test_several(void **state)
{
	struct storage *s = open_in(*state);
	uint64_t tid1 = store(s, 1, 0, "one");
	uint64_t tid2 = store(s, 1, tid1, "two");
	uint64_t tid3 = store(s, 1, tid2, "three");
	struct txn *t = test_txn("", "");
	struct vote_req v;

	test_store(t, 7, 0, "first");
	add_undo(t, tid3);
	test_store(t, 8, 0, "between");
	add_undo(t, tid2);
	test_store(t, 9, 0, "last");
	v = vote_with(s, t, NULL);
	assert_int_equal(v.rc, OK);
	assert_int_equal(v.n_changed_oids, 2); /* as ZEO: once for each undo */
	assert_true(v.changed_oids[0] == 1 && v.changed_oids[1] == 1);
	assert_int_equal(v.n_resolved, 0);
	assert_true(t->pinned);
	assert_int_equal(t->n_recs, 7);
	assert_true(t->recs[2].op == TXN_BACK && t->recs[2].made_of == 2);
	assert_true(t->recs[5].op == TXN_BACK && t->recs[5].made_of == 4);
	free_results(&v);
	assert_current(s, 1, "one", finish(s, t));
	assert_current(s, 8, "between", 0);
	s->ops->close(s);
}

static void test_refused(void **state)
{
	struct storage *s = open_in(*state);
	uint64_t tid1 = store(s, 1, 0, "one");
	uint64_t tid2 = store(s, 1, tid1, "two");

	store(s, 1, tid2, "three");
	assert_refused(s, tid1 - 1, 0, "Invalid transaction id");
	assert_refused(s, tid2, 1, "Some data were modified by a later transaction");
	assert_refused(
		s, tid1, 1, "Can't undo an add transaction followed by conflicting transactions.");
	s->ops->close(s);
}

/* The second record of an object makes up for the first; its failure is forgotten. */
static void test_second_chance(void **state)
{
	struct storage *s = open_in(*state);
	uint64_t tid1 = store(s, 1, 0, "one");
	struct txn *t = test_txn("", "");
	uint64_t tid2;

	test_store(t, 1, tid1, "two");
	test_store(t, 1, tid1, "three");
	tid2 = commit(s, t);
	assert_current(s, 1, "one", undo(s, tid2));
	s->ops->close(s);
}

/* No undo of what was packed. */
static void test_packed(void **state)
{
	struct storage *s = open_in(*state);
	uint64_t tid1 = store(s, 1, 0, "one");
	struct txn *t = test_txn("", "");
	uint64_t tid2;

	test_store(t, 2, 0, "two");
	t->status = 'p';
	tid2 = commit(s, t);
	assert_refused(s, tid2, 0, "non-undoable transaction");
	undo(s, tid1); /* what was restored as packed stops nobody, as in ZODB */
	assert_no_object(s, 1);
	s->ops->close(s);
}

/* --- conflicts --- */

/* Puts the three states one behind the other, or refuses when one of them is "no". */
static int join(struct resolver *r, const struct resolve_req *q, struct buf *ret, struct err *e)
{
	(void)r;
	if (slice_is(q->changed, "no") || slice_is(q->committed, "no") || slice_is(q->old, "no"))
		return err_set(e, ERR_CONFLICT, "no");
	buf_put_slice(ret, q->old);
	buf_put_str(ret, ",");
	buf_put_slice(ret, q->committed);
	buf_put_str(ret, ",");
	buf_put_slice(ret, q->changed);
	return OK;
}

static struct resolver joining = { join };

static void test_undo_resolves(void **state)
{
	struct storage *s = open_in(*state);
	uint64_t tid1 = store(s, 1, 0, "one");
	uint64_t tid2 = store(s, 1, tid1, "two");
	struct txn *t = test_txn("", "");
	struct vote_req v;

	store(s, 1, tid2, "three");
	add_undo(t, tid2);
	v = vote_with(s, t, &joining);
	assert_int_equal(v.rc, OK);
	assert_int_equal(v.n_changed_oids, 1);
	assert_int_equal(v.n_resolved, 0); /* it is an undo, not a client's conflict */
	free_results(&v);
	assert_current(s, 1, "two,three,one", finish(s, t));
	s->ops->close(s);
}

/* T17: also where the state is that of the current revision. */
static void test_stores_resolve(void **state)
{
	struct storage *s = open_in(*state);
	uint64_t tid1 = store(s, 1, 0, "one");
	uint64_t tid2 = store(s, 1, tid1, "two");
	uint64_t tid3 = store(s, 2, 0, "two's");
	struct txn *t = test_txn("", "");
	struct vote_req v;

	test_store(t, 1, tid1, "two");
	add_undo(t, tid3);
	v = vote_with(s, t, &joining);
	assert_int_equal(v.rc, OK);
	assert_int_equal(v.n_changed_oids, 2); /* what was undone first */
	assert_true(v.changed_oids[0] == 2 && v.changed_oids[1] == 1);
	assert_int_equal(v.n_resolved, 1);
	free_results(&v);
	finish(s, t);
	assert_current(s, 1, "one,two,two", 0);
	assert_no_object(s, 2);
	(void)tid2;
	s->ops->close(s);
}

static void test_not_resolved(void **state)
{
	static const char *const changed[] = { "no", "yes" };
	struct storage *s = open_in(*state);
	uint64_t tid1 = store(s, 1, 0, "one");
	uint64_t tid2 = store(s, 1, tid1, "two");

	for (size_t i = 0; i < 2; i++) { /* the resolver refuses; there is no such old revision */
		struct txn *t = test_txn("", "");
		struct vote_req v;

		test_store(t, 1, i ? tid1 - 1 : tid1, changed[i]);
		v = vote_with(s, t, &joining);
		assert_int_equal(v.rc, ERR_CONFLICT);
		assert_int_equal(v.n_conflicts, 1);
		assert_true(v.conflicts[0].committed_serial == tid2);
		free_results(&v);
		txn_free(t);
	}
	s->ops->close(s);
}

/* What the client resolves itself: the vote after that starts anew. */
static void test_vote_again(void **state)
{
	struct storage *s = open_in(*state);
	uint64_t tid1 = store(s, 1, 0, "one");
	uint64_t tid2 = store(s, 1, tid1, "two");
	uint64_t tid3 = store(s, 2, 0, "of two");
	struct txn *t = test_txn("", "");
	struct vote_req v;

	add_undo(t, tid3);
	test_store(t, 1, tid1, "mine");
	v = test_vote(s, t, true);
	assert_int_equal(v.rc, ERR_CONFLICT);
	assert_int_equal(v.conflicts[0].rec, 1);
	assert_int_equal(t->n_recs, 2);
	free_results(&v);
	t->recs[1].dropped = true;
	test_store(t, 1, tid2, "merged");
	v = test_vote(s, t, true);
	assert_int_equal(v.rc, OK);
	assert_int_equal(v.n_changed_oids, 1);
	free_results(&v);
	assert_current(s, 1, "merged", finish(s, t));
	assert_no_object(s, 2);
	s->ops->close(s);
}

/* --- restore and deletion --- */

static struct txn *restoring(uint64_t tid)
{
	struct txn *t = test_txn("", "");

	t->given_tid = tid;
	return t;
}

static void add_restore(struct txn *t, uint64_t oid, uint64_t hint, const char *text)
{
	add(t,
		(struct txn_rec){
			.op = TXN_RESTORE, .oid = oid, .serial = t->given_tid, .prev_txn = hint },
		text);
}

static int refused(struct storage *s, struct txn *t)
{
	struct vote_req v = vote_with(s, t, NULL);

	assert_int_not_equal(v.rc, OK);
	assert_false(t->pinned);
	free_results(&v);
	txn_free(t);
	return v.rc;
}

static void test_restore(void **state)
{
	struct storage *s = open_in(*state);
	struct txn *t = restoring(1000);
	uint64_t before;

	add_restore(t, 1, TID_NONE, "one");
	assert_int_equal(commit(s, t), 1000);
	t = restoring(2000);
	add_restore(t, 1, TID_NONE, "two");
	assert_int_equal(commit(s, t), 2000);
	before = size_of(s);
	t = restoring(3000);
	add_restore(t, 1, 1000, "one"); /* a back-pointer */
	commit(s, t);
	assert_int_equal(size_of(s) - before, FS_TXN_HEADER_LEN + FS_REC_HEADER_LEN + 8 + 8);
	assert_current(s, 1, "one", 3000);
	before = size_of(s);
	t = restoring(4000);
	add_restore(t, 1, 1000, "other"); /* a hint that is wrong */
	commit(s, t);
	assert_int_equal(size_of(s) - before, FS_TXN_HEADER_LEN + FS_REC_HEADER_LEN + 5 + 8);
	t = restoring(5000);
	add_restore(t, 1, TID_NONE, NULL);
	commit(s, t);
	assert_no_object(s, 1);
	s->ops->close(s);
}

/* R4 and the order of revisions. */
static void test_refused_restores(void **state)
{
	struct storage *s = open_in(*state);
	struct txn *t = restoring(1000);

	add_restore(t, 1, TID_NONE, "one");
	commit(s, t);
	t = restoring(1000);
	add_restore(t, 2, TID_NONE, "old tid");
	assert_int_equal(refused(s, t), ERR_INVAL);
	t = restoring(2000);
	add_restore(t, 1, 999, "no such hint");
	assert_int_equal(refused(s, t), ERR_UNDO);
	t = restoring(2000);
	add_restore(t, 1, 1000, NULL);
	assert_int_equal(refused(s, t), ERR_INVAL);
	t = restoring(2000);
	add_restore(t, 1, TID_NONE, "ahead of its transaction");
	t->recs[0].serial = 2001;
	assert_int_equal(refused(s, t), ERR_INVAL);
	t = restoring(2000);
	add_restore(t, 1, TID_NONE, "behind what is there");
	t->recs[0].serial = 1000;
	assert_int_equal(refused(s, t), ERR_INVAL);
	t = restoring(TID_NONE);
	t->given_tid = TID_NONE;
	add(t, (struct txn_rec){ .op = TXN_RESTORE, .oid = 1, .serial = 5000 }, "without a tid");
	assert_int_equal(refused(s, t), ERR_INVAL);
	assert_current(s, 1, "one", 1000);
	s->ops->close(s);
}

static void test_delete(void **state)
{
	struct storage *s = open_in(*state);
	uint64_t tid1 = store(s, 1, 0, "one");
	struct txn *t;
	struct vote_req v;

	for (uint64_t oid = 1; oid <= 2; oid++) { /* a serial that is not current; no such object */
		t = test_txn("", "");
		add(t, (struct txn_rec){ .op = TXN_DELETE, .oid = oid, .serial = tid1 - 1 }, NULL);
		v = vote_with(s, t, &joining);
		assert_int_equal(v.rc, ERR_CONFLICT);
		assert_int_equal(v.conflicts[0].missing, oid == 2);
		free_results(&v);
		txn_free(t);
	}
	t = test_txn("", "");
	add(t, (struct txn_rec){ .op = TXN_DELETE, .oid = 1, .serial = tid1 }, NULL);
	tid1 = commit(s, t);
	assert_no_object(s, 1);
	assert_current(s, 1, "one", undo(s, tid1));
	s->ops->close(s);
}

/* --- the log --- */

struct listing {
	struct undo_log_req req;
	uint64_t tids[8];
	size_t n;
	size_t most;
};

static bool take(struct undo_log_req *r, const struct txn_info *t)
{
	struct listing *l = CONTAINER_OF(r, struct listing, req);

	assert_true(slice_is(t->user, "user"));
	assert_true(slice_is(t->desc, "store"));
	assert_int_equal(t->ext.len, 0);
	assert_true(t->size_bytes > FS_TXN_HEADER_LEN + FS_REC_HEADER_LEN);
	l->tids[l->n++] = t->tid;
	return l->n < l->most;
}

static void listed(struct undo_log_req *r)
{
	r->exec = NULL;
}

static struct listing list(struct storage *s, uint64_t applied, size_t most)
{
	struct test_exec x = TEST_EXEC;
	struct listing l = { .most = most };

	l.req.exec = &x.base;
	l.req.done = listed;
	l.req.take = take;
	l.req.applied = applied;
	s->ops->undo_log(s, &l.req);
	test_exec_run(&x);
	assert_null(l.req.exec);
	assert_int_equal(l.req.rc, OK);
	return l;
}

static void test_undo_log(void **state)
{
	struct storage *s = open_in(*state);
	uint64_t tids[3];
	struct listing l = list(s, TID_MAX, 8);

	assert_int_equal(l.n, 0);
	for (uint64_t i = 0; i < 3; i++)
		tids[i] = store(s, i + 1, 0, "data");
	l = list(s, TID_MAX, 8);
	assert_int_equal(l.n, 3);
	for (size_t i = 0; i < 3; i++)
		assert_true(l.tids[i] == tids[2 - i]);
	l = list(s, tids[1], 8); /* R1 */
	assert_true(l.n == 2 && l.tids[0] == tids[1]);
	l = list(s, TID_MAX, 1);
	assert_int_equal(l.n, 1);
	s->ops->close(s);
}

#define UNDO_TEST(f) cmocka_unit_test_setup_teardown(f, test_dir_setup, test_dir_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		UNDO_TEST(test_change),
		UNDO_TEST(test_creation),
		UNDO_TEST(test_several),
		UNDO_TEST(test_refused),
		UNDO_TEST(test_second_chance),
		UNDO_TEST(test_packed),
		UNDO_TEST(test_undo_resolves),
		UNDO_TEST(test_stores_resolve),
		UNDO_TEST(test_not_resolved),
		UNDO_TEST(test_vote_again),
		UNDO_TEST(test_restore),
		UNDO_TEST(test_refused_restores),
		UNDO_TEST(test_delete),
		UNDO_TEST(test_undo_log),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
