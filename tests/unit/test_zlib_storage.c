#include "storage_util.h"

#include "codec/zrecord.h"
#include "storage/mapping/mapping.h"
#include "storage/zlib/zlib_storage.h"

#define LONG_TEXT "aaaaaaaaaabbbbbbbbbbaaaaaaaaaabbbbbbbbbbaaaaaaaaaabbbbbbbbbb"

static struct test_clock test_time = TEST_CLOCK(TEST_NOW_US);

/* A storage in memory, and the wrapper around it. */
struct pair {
	struct storage *inner;
	struct storage *outer;
};

static struct pair open_pair(bool inflate, bool deflate)
{
	struct zlib_storage_options o = { .inflate = inflate, .deflate = deflate };
	struct pair p = { 0 };
	struct err e = ERR_INIT;

	assert_int_equal(mapping_open("memory", &test_time.base, 10, &p.inner, &e), OK);
	assert_int_equal(zlib_storage_open(p.inner, &o, &p.outer, &e), OK);
	return p;
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

static uint64_t commit_bytes(struct storage *s, uint64_t oid, uint64_t serial, struct slice data)
{
	struct txn_rec rec = { .oid = oid, .serial = serial, .op = TXN_STORE, .has_data = true };
	struct txn *t = test_txn("user", "");
	struct err e = ERR_INIT;

	assert_int_equal(txn_add(t, &rec, data, &e), OK);
	return commit(s, t);
}

static bool is_compressed(struct storage *s, uint64_t oid)
{
	struct load_req r = test_load(s, LOAD_BEFORE, oid, TID_MAX, TID_MAX);
	bool is;

	assert_int_equal(r.rc, OK);
	is = zrecord_is(r.data);
	test_load_free(&r);
	return is;
}

static void test_compresses(void **state)
{
	struct pair p = open_pair(true, true);
	uint64_t tid = commit_bytes(p.outer, 1, 0, slice_str(LONG_TEXT));
	struct load_req r;

	commit_bytes(p.outer, 2, 0, slice_str("short"));
	assert_current(p.outer, 1, LONG_TEXT, tid);
	assert_true(is_compressed(p.inner, 1));
	assert_current(p.inner, 2, "short", 0);
	assert_current(p.outer, 2, "short", 0);
	r = test_load(p.outer, LOAD_SERIAL, 1, tid, TID_MAX);
	assert_true(slice_is(r.data, LONG_TEXT));
	test_load_free(&r);
	r = test_load(p.outer, LOAD_BEFORE, 1, tid, TID_MAX);
	assert_true(r.rc == OK && r.none && r.end_tid == tid);
	assert_no_object(p.outer, 9);
	assert_true(p.outer->pubs == p.inner->pubs);
	p.outer->ops->close(p.outer);
}

static void test_only_reads(void **state)
{
	struct pair p = open_pair(true, false);
	struct buf b = BUF_INIT(0);
	struct err e = ERR_INIT;

	commit_bytes(p.outer, 1, 0, slice_str(LONG_TEXT));
	assert_false(is_compressed(p.inner, 1));
	assert_int_equal(zrecord_deflate(slice_str(LONG_TEXT), &b, &e), OK);
	commit_bytes(p.outer, 2, 0, buf_slice(&b));
	assert_true(is_compressed(p.inner, 2));
	assert_current(p.outer, 2, LONG_TEXT, 0);
	buf_free(&b);
	p.outer->ops->close(p.outer);
}

/* <serverzlibstorage>: the clients compress. */
static void test_passes(void **state)
{
	struct pair p = open_pair(false, false);
	struct buf b = BUF_INIT(0);
	struct err e = ERR_INIT;

	assert_int_equal(zrecord_deflate(slice_str(LONG_TEXT), &b, &e), OK);
	commit_bytes(p.outer, 1, 0, buf_slice(&b));
	commit_bytes(p.outer, 2, 0, slice_str(LONG_TEXT));
	assert_true(is_compressed(p.outer, 1));
	assert_current(p.outer, 2, LONG_TEXT, 0);
	buf_free(&b);
	p.outer->ops->close(p.outer);
}

/* Records of some size are not inflated on a loop. */
static void test_large(void **state)
{
	struct pair p = open_pair(true, true);
	size_t n = 8 << 20;
	uint8_t *bytes = malloc(n);
	uint32_t x = 1;
	struct load_req r;

	for (size_t i = 0; i < n; i++) {
		x = x * 1103515245 + 12345;
		bytes[i] = (uint8_t)(x >> 16 & 3);
	}
	commit_bytes(p.outer, 1, 0, slice_of(bytes, n));
	r = test_load(p.inner, LOAD_BEFORE, 1, TID_MAX, TID_MAX);
	assert_true(r.data.len > 1 << 20 && r.data.len < n / 2);
	test_load_free(&r);
	r = test_load(p.outer, LOAD_BEFORE, 1, TID_MAX, TID_MAX);
	assert_int_equal(r.rc, OK);
	assert_int_equal(r.data.len, n);
	assert_memory_equal(r.data.data, bytes, n);
	test_load_free(&r);
	free(bytes);
	p.outer->ops->close(p.outer);
}

static void test_damaged(void **state)
{
	struct pair p = open_pair(true, true);
	struct load_req r;

	commit_bytes(p.outer, 1, 0, slice_str(".z is no stream"));
	r = test_load(p.outer, LOAD_BEFORE, 1, TID_MAX, TID_MAX);
	assert_int_equal(r.rc, ERR_CORRUPT);
	assert_non_null(strstr(r.err.text, "compressed record"));
	p.outer->ops->close(p.outer);
}

/* A client is told of a conflict with the data it sent, and votes again. */
static void test_conflict(void **state)
{
	struct pair p = open_pair(true, true);
	uint64_t tid = commit_bytes(p.outer, 1, 0, slice_str("one"));
	struct txn *t = test_txn("", "");
	struct buf scratch = BUF_INIT(0);
	struct err e = ERR_INIT;
	struct vote_req v;
	struct slice data;

	test_store(t, 1, 5, LONG_TEXT);
	test_store(t, 2, 0, LONG_TEXT);
	v = test_vote(p.outer, t, true);
	assert_int_equal(v.rc, ERR_CONFLICT);
	assert_int_equal(v.n_conflicts, 1);
	assert_int_equal(txn_data(t, &t->recs[0], &scratch, &data, &e), OK);
	assert_true(slice_is(data, LONG_TEXT));
	mem_free(v.conflicts);
	t->recs[0].dropped = true;
	test_store(t, 1, tid, LONG_TEXT);
	commit(p.outer, t);
	assert_true(is_compressed(p.inner, 1) && is_compressed(p.inner, 2));
	buf_free(&scratch);
	p.outer->ops->close(p.outer);
}

static void test_info(void **state)
{
	struct pair p = open_pair(true, true);
	struct storage_info info;

	p.outer->ops->info(p.outer, &info);
	assert_true(info.supports_record_iternext);
	assert_string_equal(info.interfaces[1], "IStorage");
	assert_string_equal(info.interfaces[3], "IStorageIteration");
	assert_string_equal(info.interfaces[5], "IStorageWrapper");
	assert_string_equal(info.interfaces[7], "Interface");
	assert_null(info.interfaces[8]);
	assert_string_equal(p.outer->name, "memory");
	assert_null(p.outer->ops->undo_log);
	assert_null(p.outer->ops->open_blob);
	p.outer->ops->close(p.outer);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_compresses),
		cmocka_unit_test(test_only_reads),
		cmocka_unit_test(test_passes),
		cmocka_unit_test(test_large),
		cmocka_unit_test(test_damaged),
		cmocka_unit_test(test_conflict),
		cmocka_unit_test(test_info),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
