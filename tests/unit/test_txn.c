#include "cmocka_all.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/os.h"
#include "storage/txn.h"

static int add(struct txn *t, uint64_t oid, size_t len)
{
	struct txn_rec rec = { .oid = oid, .op = TXN_STORE, .has_data = true };
	uint8_t *p = malloc(len + 1);
	struct err e = ERR_INIT;
	int rc;

	memset(p, (int)('a' + oid % 26), len);
	rc = txn_add(t, &rec, slice_of(p, len), &e);
	free(p);
	return rc == OK && txn_wants_spill(t) ? txn_spill(t, &e) : rc;
}

static void assert_data(struct txn *t, size_t i, size_t len, struct buf *scratch)
{
	struct slice data = { NULL, 0 };
	struct err e = ERR_INIT;

	assert_int_equal(txn_data(t, &t->recs[i], scratch, &data, &e), OK);
	assert_int_equal(data.len, len);
	for (size_t k = 0; k < len; k++)
		if (data.data[k] != 'a' + t->recs[i].oid % 26)
			fail_msg("record %zu differs at %zu", i, k);
}

static void test_in_memory(void **state)
{
	struct txn *t = txn_new();
	struct buf scratch = BUF_INIT(0);

	assert_int_equal(t->state, TXN_BUFFERING);
	assert_int_equal(t->status, ' ');
	for (uint64_t i = 0; i < 100; i++)
		assert_int_equal(add(t, i, i), OK);
	assert_false(txn_spilled(t));
	assert_int_equal(t->n_recs, 100);
	for (size_t i = 0; i < 100; i++)
		assert_data(t, i, i, &scratch);
	txn_free(t);
	txn_free(NULL);
	buf_free(&scratch);
}

/* Past the limit data lies in a file; what is in memory stays bounded. */
static void test_spilled(void **state)
{
	static const size_t sizes[] = { 10, 3000000, 3000000, 0, 5, 9000000, 7 };
	struct txn *t = txn_new();
	struct buf scratch = BUF_INIT(0);

	for (uint64_t i = 0; i < ARRAY_LEN(sizes); i++)
		assert_int_equal(add(t, i, sizes[i]), OK);
	assert_true(txn_spilled(t));
	assert_true(t->data.len <= TXN_MEMORY_MAX);
	for (size_t i = 0; i < ARRAY_LEN(sizes); i++)
		assert_data(t, i, sizes[i], &scratch);
	txn_drop_data(t);
	assert_int_equal(t->recs[2].oid, 2);
	txn_free(t);
	buf_free(&scratch);
}

static int n_reads;

static int count_reads(const char *call)
{
	n_reads += strcmp(call, "pread") == 0;
	return 0;
}

static void assert_in_order(struct txn *t, size_t i, size_t len, struct txn_window *w)
{
	struct slice data = { NULL, 0 };
	struct err e = ERR_INIT;

	assert_int_equal(txn_data_in_order(t, &t->recs[i], w, &data, &e), OK);
	assert_int_equal(data.len, len);
	for (size_t k = 0; k < len; k++)
		if (data.data[k] != 'a' + t->recs[i].oid % 26)
			fail_msg("record %zu differs at %zu", i, k);
}

/* Small records are read many at a time; large ones, and others than the next, too. */
static void test_in_order(void **state)
{
	enum { SMALL = 500, LARGE = 100000, N = 20000 };
	struct txn *t = txn_new();
	struct txn_window w = { BUF_INIT(0), 0 };

	for (uint64_t i = 0; i < N; i++)
		assert_int_equal(add(t, i, i % 1000 ? SMALL : LARGE), OK);
	assert_true(txn_spilled(t) && t->data.len > 0);
	n_reads = 0;
	os_fault_hook = count_reads;
	for (size_t i = 0; i < N; i++)
		assert_in_order(t, i, i % 1000 ? SMALL : LARGE, &w);
	assert_in_range(n_reads, 1, N / 50);
	assert_in_order(t, 1, SMALL, &w);
	assert_in_order(t, 0, LARGE, &w);
	os_fault_hook = NULL;
	buf_free(&w.bytes);
	txn_free(t);
}

/* Adding waits for no disk: who has the transaction moves its data where that may be waited for. */
static void test_adding_does_not_spill(void **state)
{
	struct txn_rec rec = { .oid = 1, .op = TXN_STORE, .has_data = true };
	struct txn *t = txn_new();
	struct buf scratch = BUF_INIT(0);
	uint8_t *p = malloc(TXN_MEMORY_MAX);
	struct err e = ERR_INIT;

	memset(p, 'b', TXN_MEMORY_MAX);
	assert_int_equal(txn_add(t, &rec, slice_of(p, TXN_MEMORY_MAX), &e), OK);
	assert_false(txn_wants_spill(t));
	assert_int_equal(txn_add(t, &rec, slice_of(p, TXN_MEMORY_MAX), &e), OK);
	assert_true(txn_wants_spill(t));
	assert_false(txn_spilled(t));
	assert_int_equal(txn_spill(t, &e), OK);
	assert_false(txn_wants_spill(t));
	assert_data(t, 0, TXN_MEMORY_MAX, &scratch);
	assert_data(t, 1, TXN_MEMORY_MAX, &scratch);
	/* vote is on a thread that may wait */
	t->state = TXN_VOTING;
	assert_int_equal(txn_set_data(t, 0, slice_of(p, TXN_MEMORY_MAX), &e), OK);
	assert_int_equal(txn_set_data(t, 1, slice_of(p, TXN_MEMORY_MAX), &e), OK);
	assert_false(txn_wants_spill(t));
	assert_data(t, 0, TXN_MEMORY_MAX, &scratch);
	assert_data(t, 1, TXN_MEMORY_MAX, &scratch);
	free(p);
	txn_free(t);
	buf_free(&scratch);
}

static int no_space(const char *call)
{
	return strcmp(call, "pwrite") == 0 ? ENOSPC : 0;
}

static void test_spill_fails(void **state)
{
	struct txn *t = txn_new();

	assert_int_equal(add(t, 1, 3000000), OK);
	os_fault_hook = no_space;
	assert_int_equal(add(t, 2, 3000000), ERR_NOSPC);
	os_fault_hook = NULL;
	assert_int_equal(t->n_recs, 2);
	assert_false(txn_spilled(t));
	txn_free(t);
}

static void add_voted(struct txn *t, uint64_t oid, uint32_t made_of)
{
	struct txn_rec rec = { .oid = oid, .op = TXN_BACK, .made_of = made_of };
	struct err e = ERR_INIT;

	assert_int_equal(txn_add_voted(t, &rec, slice_of(NULL, 0), &e), OK);
}

static void assert_oids(const struct txn *t, const char *oids)
{
	assert_int_equal(t->n_recs, strlen(oids));
	for (size_t i = 0; i < t->n_recs; i++)
		assert_int_equal(t->recs[i].oid, oids[i] - '0');
}

/* What vote adds stands behind what it was made of, and can be taken away again. */
static void test_voted(void **state)
{
	struct txn *t = txn_new();
	struct err e = ERR_INIT;

	for (uint64_t i = 1; i <= 3; i++)
		assert_int_equal(add(t, i, 5), OK);
	t->state = TXN_VOTING;
	assert_int_equal(txn_place_voted(t, &e), OK); /* nothing to place */
	assert_oids(t, "123");
	for (int round = 0; round < 2; round++) {
		add_voted(t, 7, 1);
		add_voted(t, 8, 3);
		add_voted(t, 9, 3);
		assert_oids(t, "123789");
		assert_int_equal(t->n_asked, 3);
		assert_int_equal(txn_place_voted(t, &e), OK);
		assert_oids(t, "172389");
		txn_drop_voted(t);
		assert_oids(t, "123");
		assert_int_equal(t->n_asked, 0);
	}
	add_voted(t, 7, 2);
	txn_drop_voted(t); /* not placed */
	assert_oids(t, "123");
	txn_free(t);
}

/* A blob that vote made goes with its record; a client's stays. */
static void test_voted_blob(void **state)
{
	struct txn_rec rec = { .oid = 1, .op = TXN_STORE, .has_data = true };
	char mine[] = "/tmp/zkzeo-blob-XXXXXX";
	char votes[] = "/tmp/zkzeo-blob-XXXXXX";
	struct txn *t = txn_new();
	struct err e = ERR_INIT;

	os_close(mkstemp(mine));
	os_close(mkstemp(votes));
	assert_int_equal(txn_add_blob(t, &rec, slice_str("data"), mine, &e), OK);
	assert_int_equal(txn_add_blob(t, &rec, slice_str("data"), votes, &e), OK);
	t->recs[1].made_of = 1;
	t->n_asked = 1;
	txn_drop_voted(t);
	assert_int_equal(t->n_recs, 1);
	assert_int_equal(t->n_blobs, 1);
	assert_int_equal(access(votes, F_OK), -1);
	assert_int_equal(access(mine, F_OK), 0);
	txn_free(t);
	assert_int_equal(access(mine, F_OK), -1);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_in_memory),
		cmocka_unit_test(test_spilled),
		cmocka_unit_test(test_in_order),
		cmocka_unit_test(test_adding_does_not_spill),
		cmocka_unit_test(test_spill_fails),
		cmocka_unit_test(test_voted),
		cmocka_unit_test(test_voted_blob),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
