#include "cmocka_all.h"

#include <stdlib.h>
#include <string.h>

#include "storage/publication.h"

static int woken;

static void count_wake(struct pub_cursor *c)
{
	woken++;
}

static struct publication *make(uint64_t tid, uint64_t oid)
{
	struct publication *p = publication_new(1);

	assert_non_null(p);
	p->tid = tid;
	p->oids[0] = oid;
	return p;
}

static void test_take(void **state)
{
	struct pubchain c;
	struct pub_cursor a = { .wake = count_wake };
	struct pub_cursor b = { .wake = count_wake };

	assert_int_equal(pubchain_init(&c, 5, 10), 0);
	assert_int_equal(pubchain_last_tid(&c), 5);
	pub_cursor_attach(&c, &a);
	assert_int_equal(a.at->tid, 5);
	assert_null(pub_cursor_peek(&a));
	pubchain_publish(&c, make(6, 1));
	assert_int_equal(woken, 1);
	pub_cursor_attach(&c, &b);
	pubchain_publish(&c, make(7, 2));
	assert_int_equal(woken, 3);
	assert_int_equal(pubchain_last_tid(&c), 7);
	assert_int_equal(pub_cursor_peek(&a)->tid, 6);
	pub_cursor_take(&a, pub_cursor_peek(&a));
	assert_int_equal(pub_cursor_peek(&a)->tid, 7);
	assert_int_equal(pub_cursor_peek(&b)->tid, 7);
	pub_cursor_detach(&c, &a);
	pub_cursor_detach(&c, &b);
	pubchain_close(&c);
}

/* One batch, one wake; and none for who has taken it already. */
static void test_append_and_wake(void **state)
{
	struct pubchain c;
	struct pub_cursor a = { .wake = count_wake };
	struct pub_cursor b = { .wake = count_wake };

	woken = 0;
	assert_int_equal(pubchain_init(&c, 5, 10), 0);
	pub_cursor_attach(&c, &a);
	pub_cursor_attach(&c, &b);
	pubchain_append(&c, make(6, 1));
	pubchain_append(&c, make(7, 2));
	assert_int_equal(woken, 0);
	assert_int_equal(pub_cursor_peek(&a)->tid, 6);
	pub_cursor_take(&a, pub_cursor_peek(&a));
	pub_cursor_take(&a, pub_cursor_peek(&a));
	pubchain_wake(&c);
	assert_int_equal(woken, 1);
	pubchain_wake(&c); /* it has not come yet */
	assert_int_equal(woken, 2);
	pub_cursor_detach(&c, &a);
	pub_cursor_detach(&c, &b);
	pubchain_close(&c);
}

/* I4: nobody waits for what it takes. It is woken when too much is kept for it, and holds up no pack. */
static void test_who_does_not_listen(void **state)
{
	struct pubchain c;
	struct pub_cursor a = { .wake = count_wake };
	uint64_t tid = 5;

	woken = 0;
	assert_int_equal(pubchain_init(&c, tid, 10), 0);
	pub_cursor_attach(&c, &a);
	pub_cursor_listen(&c, &a, false);
	for (int i = 0; i < 50; i++)
		pubchain_publish(&c, make(++tid, 1));
	assert_int_equal(woken, 0);
	assert_int_equal(c.n_kept, 51);
	assert_int_equal(pubchain_min_tid(&c), tid);
	for (int i = 0; i < 100; i++)
		pubchain_publish(&c, make(++tid, 1));
	assert_in_range(woken, 1, 99);
	pub_cursor_listen(&c, &a, true);
	assert_int_equal(pubchain_min_tid(&c), 5);
	while (pub_cursor_peek(&a))
		pub_cursor_take(&a, pub_cursor_peek(&a));
	woken = 0;
	pubchain_publish(&c, make(++tid, 1));
	assert_int_equal(woken, 1);
	assert_int_equal(c.n_kept, 10);
	pub_cursor_detach(&c, &a);
	pubchain_close(&c);
}

static int freed;

static void count_free(void *frame)
{
	freed++;
	free(frame);
}

/* I3: what a cursor has not passed stays, whatever is to be kept. */
static void test_keep(void **state)
{
	struct pubchain c;
	struct pub_cursor a = { .wake = count_wake };

	assert_int_equal(pubchain_init(&c, 0, 3), 0);
	c.free_frame = count_free;
	pub_cursor_attach(&c, &a);
	for (uint64_t tid = 1; tid <= 10; tid++) {
		struct publication *p = make(tid, tid);

		atomic_store(&p->frame[1], malloc(1));
		pubchain_publish(&c, p);
	}
	assert_int_equal(c.n_kept, 11);
	assert_int_equal(freed, 0);
	for (uint64_t tid = 1; tid <= 10; tid++) {
		assert_int_equal(pub_cursor_peek(&a)->tid, tid);
		pub_cursor_take(&a, pub_cursor_peek(&a));
	}
	pubchain_publish(&c, make(11, 11));
	assert_int_equal(c.n_kept, 3);
	assert_int_equal(c.oldest->tid, 9);
	assert_int_equal(freed, 8);
	pub_cursor_detach(&c, &a);
	pubchain_close(&c);
	assert_int_equal(freed, 10);
}

static int made;

static void count_make(struct publication *p)
{
	made++;
	atomic_store(&p->frame[0], malloc(1));
}

/* What takes long to encode is encoded before it is appended, the rest by those that send it. */
static void test_prepare(void **state)
{
	struct publication *large = publication_new(20000);
	struct publication *small = make(1, 1);
	struct pubchain c;

	freed = made = 0;
	assert_int_equal(pubchain_init(&c, 0, 3), 0);
	c.free_frame = count_free;
	pubchain_prepare(&c, small);
	pubchain_prepare(&c, large);
	assert_int_equal(made, 0); /* nobody makes any */
	c.make_frame = count_make;
	pubchain_prepare(&c, small);
	assert_int_equal(made, 0);
	pubchain_prepare(&c, large);
	assert_int_equal(made, 1);
	large->tid = 2;
	pubchain_publish(&c, small);
	pubchain_publish(&c, large);
	pubchain_close(&c);
	assert_int_equal(freed, 1);
}

struct seen {
	uint64_t oids[20];
	int n;
};

static void see(void *ctx, uint64_t oid)
{
	struct seen *s = ctx;

	s->oids[s->n++] = oid;
}

/* T55 */
static void test_since(void **state)
{
	struct pubchain c;
	struct pub_cursor a = { .wake = count_wake };
	struct seen s = { .n = 0 };
	uint64_t last = 0;

	assert_int_equal(pubchain_init(&c, 10, 5), 0);
	pubchain_seed(&c, make(10, 1)); /* takes the place-holder's place */
	pubchain_seed(&c, make(8, 2));
	pubchain_seed(&c, make(6, 3));
	pub_cursor_attach(&c, &a);
	assert_false(pubchain_since(&c, &a, 5, see, &s, &last));
	assert_int_equal(s.n, 0);
	assert_true(pubchain_since(&c, &a, 6, see, &s, &last));
	assert_int_equal(s.n, 2);
	assert_int_equal(last, 10);
	s.n = 0;
	assert_true(pubchain_since(&c, &a, 10, see, &s, &last));
	assert_int_equal(s.n, 0);
	pubchain_publish(&c, make(12, 4)); /* the cursor has not taken it: not yet */
	assert_true(pubchain_since(&c, &a, 8, see, &s, &last));
	assert_int_equal(s.n, 1);
	assert_int_equal(last, 10);
	pub_cursor_take(&a, pub_cursor_peek(&a));
	s.n = 0;
	assert_true(pubchain_since(&c, &a, 8, see, &s, &last));
	assert_int_equal(s.n, 2);
	assert_int_equal(last, 12);
	pub_cursor_detach(&c, &a);
	pubchain_close(&c);
}

/* What is not told apart is listed; nothing is listed across a gap. */
static void test_since_gap(void **state)
{
	struct publication *p = make(12, 2);
	struct pubchain c;
	struct pub_cursor a = { .wake = count_wake };
	struct seen s = { .n = 0 };
	uint64_t last;

	(void)state;
	assert_int_equal(pubchain_init(&c, 10, 5), 0);
	pub_cursor_attach(&c, &a);
	p->kind = PUBLICATION_CATCH_UP;
	pubchain_publish(&c, p);
	p = make(14, 3);
	p->kind = PUBLICATION_GAP;
	pubchain_publish(&c, p);
	pub_cursor_take(&a, pub_cursor_peek(&a));
	assert_true(pubchain_since(&c, &a, 10, see, &s, &last));
	assert_int_equal(s.n, 1);
	pub_cursor_take(&a, pub_cursor_peek(&a));
	assert_false(pubchain_since(&c, &a, 10, see, &s, &last));
	assert_false(pubchain_since(&c, &a, 13, see, &s, &last));
	assert_true(pubchain_since(&c, &a, 14, see, &s, &last));
	assert_int_equal(last, 14);
	pub_cursor_detach(&c, &a);
	pubchain_close(&c);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_take),
		cmocka_unit_test(test_append_and_wake),
		cmocka_unit_test(test_who_does_not_listen),
		cmocka_unit_test(test_keep),
		cmocka_unit_test(test_prepare),
		cmocka_unit_test(test_since),
		cmocka_unit_test(test_since_gap),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
