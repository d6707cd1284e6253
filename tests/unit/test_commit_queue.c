/* Who may vote: order, sharing, whole-storage entries; and a random run against a plain model. */
#include "cmocka_all.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "server/commit_queue.h"

struct waiter {
	struct cq_entry en;
	int n_granted;
};

static void on_granted(struct cq_entry *en)
{
	((struct waiter *)en)->n_granted++;
}

static void prepare(struct waiter *w, size_t n, const uint64_t *oids, const char *kinds)
{
	struct err e = ERR_INIT;

	memset(w, 0, sizeof(*w));
	w->en.granted_cb = on_granted;
	assert_int_equal(commit_queue_prepare(&w->en, n, &e), OK);
	for (size_t i = 0; i < n; i++)
		commit_queue_add(&w->en, oids[i], kinds[i] == 'w');
}

static int setup(void **state)
{
	struct err e = ERR_INIT;
	struct commit_queue *q = malloc(sizeof(*q));

	assert_int_equal(commit_queue_init(q, &e), OK);
	*state = q;
	return 0;
}

static int teardown(void **state)
{
	commit_queue_close(*state);
	free(*state);
	return 0;
}

static void test_disjoint_do_not_wait(void **state)
{
	struct commit_queue *q = *state;
	struct waiter a, b;

	prepare(&a, 2, (uint64_t[]){ 1, 2 }, "ww");
	prepare(&b, 2, (uint64_t[]){ 3, 4 }, "ww");
	assert_true(commit_queue_enter(q, &a.en));
	assert_true(commit_queue_enter(q, &b.en));
	commit_queue_leave(q, &a.en);
	commit_queue_leave(q, &b.en);
	assert_int_equal(a.n_granted + b.n_granted, 0); /* only those who waited are called */
}

static void test_fifo_per_object(void **state)
{
	struct commit_queue *q = *state;
	struct waiter a, b, c;

	prepare(&a, 1, (uint64_t[]){ 1 }, "w");
	prepare(&b, 2, (uint64_t[]){ 2, 1 }, "ww");
	prepare(&c, 1, (uint64_t[]){ 2 }, "w");
	assert_true(commit_queue_enter(q, &a.en));
	assert_false(commit_queue_enter(q, &b.en));
	assert_false(commit_queue_enter(q, &c.en)); /* does not overtake b, which waits for a */
	assert_int_equal(commit_queue_waiting(q), 2);
	assert_true(commit_queue_leave(q, &a.en));
	assert_int_equal(b.n_granted, 1);
	assert_int_equal(c.n_granted, 0);
	commit_queue_leave(q, &b.en);
	assert_int_equal(c.n_granted, 1);
	commit_queue_leave(q, &c.en);
}

static void test_checks_are_shared(void **state)
{
	struct commit_queue *q = *state;
	struct waiter a, b, w, c;

	prepare(&a, 1, (uint64_t[]){ 1 }, "c");
	prepare(&b, 1, (uint64_t[]){ 1 }, "c");
	prepare(&w, 1, (uint64_t[]){ 1 }, "w");
	prepare(&c, 1, (uint64_t[]){ 1 }, "c");
	assert_true(commit_queue_enter(q, &a.en));
	assert_true(commit_queue_enter(q, &b.en));
	assert_false(commit_queue_enter(q, &w.en));
	assert_false(commit_queue_enter(q, &c.en)); /* behind the writer: it must not starve */
	commit_queue_leave(q, &b.en);
	assert_int_equal(w.n_granted, 0);
	commit_queue_leave(q, &a.en);
	assert_int_equal(w.n_granted, 1);
	assert_int_equal(c.n_granted, 0);
	commit_queue_leave(q, &w.en);
	assert_int_equal(c.n_granted, 1);
	commit_queue_leave(q, &c.en);
}

static void test_leaving_while_waiting(void **state)
{
	struct commit_queue *q = *state;
	struct waiter a, b, c;

	prepare(&a, 1, (uint64_t[]){ 1 }, "w");
	prepare(&b, 1, (uint64_t[]){ 1 }, "w");
	prepare(&c, 1, (uint64_t[]){ 1 }, "w");
	commit_queue_enter(q, &a.en);
	commit_queue_enter(q, &b.en);
	commit_queue_enter(q, &c.en);
	assert_false(commit_queue_leave(q, &b.en)); /* had not been granted */
	commit_queue_leave(q, &a.en);
	assert_int_equal(b.n_granted, 0);
	assert_int_equal(c.n_granted, 1);
	commit_queue_leave(q, &c.en);
}

static void test_whole_storage(void **state)
{
	struct commit_queue *q = *state;
	struct waiter a, w, b;

	prepare(&a, 1, (uint64_t[]){ 1 }, "w");
	prepare(&w, 0, NULL, "");
	w.en.whole = true;
	prepare(&b, 1, (uint64_t[]){ 2 }, "w");
	assert_true(commit_queue_enter(q, &a.en));
	assert_false(commit_queue_enter(q, &w.en));
	assert_false(commit_queue_enter(q, &b.en));
	commit_queue_leave(q, &a.en);
	assert_int_equal(w.n_granted, 1);
	assert_int_equal(b.n_granted, 0);
	commit_queue_leave(q, &w.en);
	assert_int_equal(b.n_granted, 1);
	commit_queue_leave(q, &b.en);
}

static void test_same_object_twice(void **state)
{
	struct commit_queue *q = *state;
	struct waiter a, b;

	prepare(&a, 3, (uint64_t[]){ 7, 7, 7 }, "cwc");
	prepare(&b, 1, (uint64_t[]){ 7 }, "c");
	assert_true(commit_queue_enter(q, &a.en));
	assert_false(commit_queue_enter(q, &b.en)); /* a writes it */
	commit_queue_leave(q, &a.en);
	assert_int_equal(b.n_granted, 1);
	commit_queue_leave(q, &b.en);
}

enum { N = 12, OIDS = 5 };

/* Two that hold places at the same time must not share an object one of them writes. */
static void check_held(struct waiter *w, char (*kinds)[OIDS + 1], const int *held)
{
	for (int i = 0; i < N; i++)
		for (int j = 0; j < i; j++)
			for (int o = 0; held[i] && held[j] && o < OIDS; o++)
				if ((kinds[i][o] == 'w' && kinds[j][o] != '-') ||
					(kinds[j][o] == 'w' && kinds[i][o] != '-'))
					fail_msg("%d and %d both hold %d", i, j, o);
	(void)w;
}

/* Everybody enters, waits, and leaves in a random order: nobody is forgotten, none clash. */
static void test_random(void **state)
{
	struct commit_queue *q = *state;
	struct waiter w[N];
	char kinds[N][OIDS + 1];
	int inside[N] = { 0 };
	int held[N] = { 0 };
	unsigned seed = getenv("SEED") ? (unsigned)atoi(getenv("SEED")) : 1;

	print_message("SEED=%u\n", seed);
	srand(seed);
	for (int step = 0; step < 20000; step++) {
		int i = rand() % N;
		uint64_t oids[OIDS];
		char k[OIDS + 1];
		size_t n = 0;

		if (inside[i]) {
			held[i] |= w[i].n_granted;
			if (held[i] || rand() % 8 == 0) {
				commit_queue_leave(q, &w[i].en);
				inside[i] = held[i] = 0;
			}
		} else {
			for (int o = 0; o < OIDS; o++) {
				kinds[i][o] = "--cw"[rand() % 4];
				if (kinds[i][o] != '-') {
					oids[n] = (uint64_t)o;
					k[n++] = kinds[i][o];
				}
			}
			prepare(&w[i], n, oids, k);
			held[i] = commit_queue_enter(q, &w[i].en);
			inside[i] = 1;
		}
		for (int j = 0; j < N; j++)
			held[j] |= inside[j] && w[j].n_granted;
		check_held(w, kinds, held);
	}
	/* All that is left drains: each leaves once it holds its places. */
	for (int left = 1; left;) {
		int moved = 0;

		left = 0;
		for (int i = 0; i < N; i++) {
			held[i] |= inside[i] && w[i].n_granted;
			if (held[i]) {
				commit_queue_leave(q, &w[i].en);
				inside[i] = held[i] = 0;
				moved = 1;
			}
			left |= inside[i];
		}
		assert_true(moved || !left);
	}
}

/* A vote that names many objects makes room for them before it enters: rows stay short. */
static void test_large_vote(void **state)
{
	struct commit_queue *q = *state;
	size_t n = 100000;
	uint64_t *oids = malloc(n * sizeof(*oids));
	char *kinds = malloc(n);
	struct waiter w;

	for (size_t i = 0; i < n; i++)
		oids[i] = i;
	memset(kinds, 'w', n);
	prepare(&w, n, oids, kinds);
	assert_true(commit_queue_enter(q, &w.en));
	assert_true(q->n_fifos <= q->n_rows * 2);
	commit_queue_leave(q, &w.en);
	assert_int_equal(q->n_fifos, 0);
	free(oids);
	free(kinds);
}

/* Of several at once, the one that has held its places for the longest time. */
static void test_locked_since(void **state)
{
	struct commit_queue *q = *state;
	struct waiter a, b;

	prepare(&a, 1, (uint64_t[]){ 1 }, "w");
	prepare(&b, 1, (uint64_t[]){ 2 }, "w");
	assert_int_equal(commit_queue_locked_since(q), 0);
	commit_queue_enter(q, &a.en);
	commit_queue_stamp(q, &a.en, 100);
	commit_queue_enter(q, &b.en);
	commit_queue_stamp(q, &b.en, 200);
	assert_int_equal(commit_queue_locked_since(q), 100);
	commit_queue_leave(q, &a.en);
	assert_int_equal(commit_queue_locked_since(q), 200);
	commit_queue_leave(q, &b.en);
	assert_int_equal(commit_queue_locked_since(q), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_disjoint_do_not_wait, setup, teardown),
		cmocka_unit_test_setup_teardown(test_fifo_per_object, setup, teardown),
		cmocka_unit_test_setup_teardown(test_checks_are_shared, setup, teardown),
		cmocka_unit_test_setup_teardown(test_leaving_while_waiting, setup, teardown),
		cmocka_unit_test_setup_teardown(test_whole_storage, setup, teardown),
		cmocka_unit_test_setup_teardown(test_same_object_twice, setup, teardown),
		cmocka_unit_test_setup_teardown(test_random, setup, teardown),
		cmocka_unit_test_setup_teardown(test_large_vote, setup, teardown),
		cmocka_unit_test_setup_teardown(test_locked_since, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
