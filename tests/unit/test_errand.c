/* Who finishes a transaction may write it, too, when there is nothing else to do (base/errand.h). */
#include "storage_util.h"

#include "base/errand.h"
#include "storage/filestorage/filestorage.h"

static struct storage *open_in(struct test_dir *d)
{
	struct filestorage_options o = { .path = d->data, .clock = &clock_system };
	struct storage *s = NULL;
	struct err e = ERR_INIT;

	if (filestorage_open(&o, &s, &e) != OK)
		fail_msg("%s", e.text);
	return s;
}

static void wait_for(const struct test_outcome *o)
{
	while (!__atomic_load_n(&o->done, __ATOMIC_ACQUIRE))
		usleep(100);
}

static struct errand *left; /* to this thread */

static bool take_errand(struct errand_taker *t, struct errand *er)
{
	(void)t;
	assert_null(left);
	left = er;
	return true;
}

static struct errand_taker taker = { take_errand };

static void run_left(void)
{
	struct errand *er = left;

	assert_non_null(er);
	left = NULL;
	er->run(er);
}

static struct txn *voted(struct storage *s, uint64_t oid)
{
	struct txn *t = test_txn("", "");
	struct vote_req v;

	test_store(t, oid, 0, "text");
	v = test_vote(s, t, false);
	assert_int_equal(v.rc, OK);
	return t;
}

static void test_writes_itself(void **state)
{
	struct storage *s = open_in(*state);
	struct txn *first = voted(s, 1);
	struct txn *second = voted(s, 2);
	struct test_outcome o[2];

	errand_set_taker(&taker);
	test_finish(s, first, &o[0]);
	test_finish(s, second, &o[1]); /* goes along */
	errand_set_taker(NULL);
	assert_false(__atomic_load_n(&o[0].done, __ATOMIC_ACQUIRE));
	run_left();
	assert_true(o[0].done && o[1].done);
	assert_int_equal(o[0].rc, OK);
	assert_int_equal(o[1].rc, OK);
	assert_current(s, 1, "text", first->tid);
	assert_current(s, 2, "text", second->tid);
	txn_free(first);
	txn_free(second);
	s->ops->close(s);
}

/* A batch has its bounds: what is left goes to the writer's thread, which nobody else has woken. */
static void test_more_than_a_batch(void **state)
{
	enum { LARGE = 9 << 20 };
	struct storage *s = open_in(*state);
	struct txn *t[2];
	struct test_outcome o[2];
	char *text = malloc(LARGE + 1);

	memset(text, 'x', LARGE);
	text[LARGE] = 0;
	for (uint64_t i = 0; i < 2; i++) {
		struct vote_req v;

		t[i] = test_txn("", "");
		test_store(t[i], i + 1, 0, text);
		v = test_vote(s, t[i], false);
		assert_int_equal(v.rc, OK);
	}
	errand_set_taker(&taker);
	for (int i = 0; i < 2; i++)
		test_finish(s, t[i], &o[i]);
	errand_set_taker(NULL);
	run_left();
	for (int i = 0; i < 2; i++) {
		wait_for(&o[i]);
		assert_int_equal(o[i].rc, OK);
		txn_free(t[i]);
	}
	free(text);
	s->ops->close(s);
}

struct chain {
	struct test_outcome outcome; /* of the first */
	struct storage *s;
	struct txn *second;
	struct test_outcome second_outcome;
};

static void first_done(struct txn *t, int rc, const struct err *e)
{
	struct chain *c = t->owner;

	test_txn_done(t, rc, e);
	test_finish(c->s, c->second, &c->second_outcome);
}

/* What comes meanwhile is the writer's thread's, which waits for this one. */
static void test_leaves_the_rest(void **state)
{
	struct storage *s = open_in(*state);
	struct txn *first = voted(s, 1);
	struct chain c = { .s = s, .second = voted(s, 2) };

	first->owner = &c;
	first->done = first_done;
	first->state = TXN_FINISHING;
	errand_set_taker(&taker);
	s->ops->finish(s, first);
	errand_set_taker(NULL);
	run_left();
	assert_true(c.outcome.done);
	wait_for(&c.second_outcome);
	assert_int_equal(c.second_outcome.rc, OK);
	assert_current(s, 2, "text", c.second->tid);
	txn_free(first);
	txn_free(c.second);
	s->ops->close(s);
}

enum after { IS_FINISHED, IS_ABORTED, IS_CLOSED };

/* A writer's thread that waits for one that has voted: it comes, it does not, or the storage is closed meanwhile. */
static void test_one_that_has_voted(void **state)
{
	struct storage *s = open_in(*state);

	for (uint64_t i = 0; i < 90; i++) {
		enum after after = i % 3;
		struct test_outcome o[3] = { 0 };
		struct txn *t[3] = { voted(s, 10 * i) };

		test_finish(s, t[0], &o[0]); /* so that it knows what a sync takes */
		wait_for(&o[0]);
		t[1] = voted(s, 10 * i + 1);
		t[2] = voted(s, 10 * i + 2);
		test_finish(s, t[1], &o[1]);
		if (after == IS_FINISHED)
			test_finish(s, t[2], &o[2]);
		if (after == IS_ABORTED)
			s->ops->abort(s, t[2]);
		if (after == IS_CLOSED) {
			s->ops->close(s);
			s = open_in(*state);
		}
		for (int j = 1; j < (after == IS_FINISHED ? 3 : 2); j++)
			wait_for(&o[j]);
		for (int j = 0; j < 3; j++)
			txn_free(t[j]);
		assert_current(s, 10 * i + 1, "text", TID_NONE);
	}
	s->ops->close(s);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(
			test_writes_itself, test_dir_setup, test_dir_teardown),
		cmocka_unit_test_setup_teardown(
			test_more_than_a_batch, test_dir_setup, test_dir_teardown),
		cmocka_unit_test_setup_teardown(
			test_leaves_the_rest, test_dir_setup, test_dir_teardown),
		cmocka_unit_test_setup_teardown(
			test_one_that_has_voted, test_dir_setup, test_dir_teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
