#include "storage_util.h"

#include "storage/mapping/mapping.h"

static struct test_clock test_time = TEST_CLOCK(TEST_NOW_US);

static struct storage *open_mapping(void)
{
	struct storage *s = NULL;
	struct err e = ERR_INIT;

	assert_int_equal(mapping_open("memory", &test_time.base, 10, &s, &e), OK);
	return s;
}

static uint64_t commit(struct storage *s, struct txn *t)
{
	struct vote_req v = test_vote(s, t, false);
	struct test_outcome o;
	uint64_t tid;

	assert_int_equal(v.rc, OK);
	test_finish(s, t, &o);
	assert_true(o.done);
	assert_int_equal(o.rc, OK);
	tid = t->tid;
	txn_free(t);
	return tid;
}

static uint64_t commit_one(struct storage *s, uint64_t oid, uint64_t serial, const char *text)
{
	struct txn *t = test_txn("user", "description");

	test_store(t, oid, serial, text);
	return commit(s, t);
}

static void test_loads(void **state)
{
	struct storage *s = open_mapping();
	uint64_t tid1 = commit_one(s, 1, 0, "one");
	uint64_t tid2 = commit_one(s, 1, tid1, "two");
	struct load_req r;

	assert_string_equal(s->name, "memory");
	assert_true(tid2 > tid1); /* R4: the clock stands */
	assert_current(s, 1, "two", tid2);
	assert_no_object(s, 2);
	r = test_load(s, LOAD_BEFORE, 1, TID_MAX, tid1); /* R1 */
	assert_true(r.serial == tid1 && r.end_tid == TID_NONE);
	test_load_free(&r);
	r = test_load(s, LOAD_BEFORE, 1, tid2, TID_MAX);
	assert_true(r.serial == tid1 && r.end_tid == tid2);
	test_load_free(&r);
	r = test_load(s, LOAD_BEFORE, 1, tid1, TID_MAX); /* T19 */
	assert_true(r.rc == OK && r.none);
	r = test_load(s, LOAD_BEFORE, 1, TID_MAX, tid1 - 1);
	assert_int_equal(r.rc, ERR_NOKEY);
	r = test_load(s, LOAD_SERIAL, 1, tid1, TID_MAX);
	assert_true(slice_is(r.data, "one"));
	test_load_free(&r);
	r = test_load(s, LOAD_SERIAL, 1, tid1 + 100, TID_MAX);
	assert_int_equal(r.rc, ERR_NOKEY);
	r = test_load(s, LOAD_TID, 1, 0, TID_MAX);
	assert_true(r.serial == tid2);
	s->ops->close(s);
}

static void test_conflicts(void **state)
{
	struct storage *s = open_mapping();
	uint64_t tid1 = commit_one(s, 1, 0, "one");
	struct txn *t = test_txn("", "");
	struct vote_req v;

	test_store(t, 2, tid1, "a new object may have any serial");
	test_store(t, 1, 5, "conflict");
	test_check(t, 1, 5);
	test_check(t, 9, 5);
	v = test_vote(s, t, false);
	assert_int_equal(v.rc, ERR_CONFLICT);
	assert_int_equal(v.n_conflicts, 1);
	assert_int_equal(v.conflicts[0].rec, 1);
	assert_true(v.conflicts[0].committed_serial == tid1);
	assert_int_equal(v.conflicts[0].old_serial, 5);
	mem_free(v.conflicts);
	v = test_vote(s, t, true);
	assert_int_equal(v.n_conflicts, 3);
	assert_true(v.conflicts[2].missing);
	mem_free(v.conflicts);
	txn_free(t);
	s->ops->close(s);
}

/* Sizes and lengths as MappingStorage counts them. */
static void test_info(void **state)
{
	struct storage *s = open_mapping();
	uint64_t tid1 = commit_one(s, 1, 0, "12345");
	struct txn *t = test_txn("", "");
	struct storage_info info;
	struct publication *p;

	commit_one(s, 1, tid1, "1234567890");
	test_store(t, 2, 0, "first");
	test_store(t, 2, 0, "second"); /* takes its place */
	t->origin = 7;
	commit(s, t);
	s->ops->info(s, &info);
	assert_int_equal(info.length, 2);
	assert_int_equal(info.size, 50 + 105 + 110 + 50 + 106);
	assert_string_equal(info.interfaces[1], "IStorage");
	assert_current(s, 2, "second", 0);
	p = atomic_load(&s->pubs->newest);
	assert_int_equal(p->n_oids, 1);
	assert_int_equal(p->origin, 7);
	assert_int_equal(p->size_bytes, info.size);
	assert_int_equal(p->length, 2);
	s->ops->close(s);
}

static void answered(struct history_req *r)
{
	r->exec = NULL;
}

static void test_history(void **state)
{
	struct storage *s = open_mapping();
	struct arena arena = ARENA_INIT(0);
	uint64_t tid1 = commit_one(s, 1, 0, "one");
	uint64_t tid2 = commit_one(s, 1, tid1, "two!");
	struct history_req r = {
		.done = answered, .oid = 1, .applied = tid2, .size = 5, .arena = &arena
	};

	commit_one(s, 1, tid2, "three");
	s->ops->history(s, &r);
	assert_int_equal(r.rc, OK);
	assert_int_equal(r.n_items, 2);
	assert_true(r.items[0].tid == tid2 && r.items[0].size == 4);
	assert_true(slice_is(r.items[1].user, "user"));
	r.oid = 2;
	s->ops->history(s, &r);
	assert_int_equal(r.rc, ERR_NOKEY);
	arena_free(&arena);
	s->ops->close(s);
}

static void test_oids(void **state)
{
	struct storage *s = open_mapping();

	assert_int_equal(s->ops->new_oids(s, 100), 1);
	assert_int_equal(s->ops->new_oids(s, 1), 101);
	commit_one(s, 500, 0, "x");
	assert_int_equal(s->ops->new_oids(s, 1), 501); /* R10 */
	for (uint64_t i = 0; i < 1000; i++)
		commit_one(s, 1000 + i, 0, "many");
	for (uint64_t i = 0; i < 1000; i++)
		assert_current(s, 1000 + i, "many", 0);
	s->ops->close(s);
}

static void test_given_tid(void **state)
{
	struct storage *s = open_mapping();
	uint64_t tid1 = commit_one(s, 1, 0, "x");
	struct txn *t = test_txn("", "");
	struct vote_req v;

	t->given_tid = tid1;
	v = test_vote(s, t, false);
	assert_int_equal(v.rc, ERR_INVAL); /* R4 */
	t->given_tid = TID_MAX;
	v = test_vote(s, t, false);
	assert_int_equal(v.rc, ERR_INVAL);
	t->given_tid = tid1 + 5;
	assert_true(commit(s, t) == tid1 + 5);
	s->ops->close(s);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_loads),
		cmocka_unit_test(test_conflicts),
		cmocka_unit_test(test_info),
		cmocka_unit_test(test_history),
		cmocka_unit_test(test_oids),
		cmocka_unit_test(test_given_tid),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
