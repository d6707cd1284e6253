/* Iterators, record_iternext and changes, of FileStorage and MappingStorage. */
#include "storage_util.h"

#include <pthread.h>
#include <stdatomic.h>

#include "storage/filestorage/data_file.h"
#include "storage/filestorage/filestorage.h"
#include "storage/filestorage/format.h"
#include "storage/filestorage/fs.h"
#include "storage/filestorage/index.h"
#include "storage/mapping/mapping.h"

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

static struct storage *open_mapping(void)
{
	struct storage *s = NULL;
	struct err e = ERR_INIT;

	assert_int_equal(mapping_open("memory", &test_time.base, 10, &s, &e), OK);
	return s;
}

/* Vote and finish; returns the tid. */
static uint64_t commit(struct storage *s, struct txn *t)
{
	struct vote_req v = test_vote(s, t, false);
	struct test_outcome o;
	uint64_t tid;

	if (v.rc != OK)
		fail_msg("%s", v.err.text);
	test_finish(s, t, &o);
	while (!__atomic_load_n(&o.done, __ATOMIC_ACQUIRE))
		usleep(100);
	assert_int_equal(o.rc, OK);
	tid = t->tid;
	txn_free(t);
	return tid;
}

static uint64_t commit_two(struct storage *s, uint64_t a, uint64_t b, uint64_t serial)
{
	struct txn *t = test_txn("user", "description");

	buf_put_str(&t->ext, "extension");
	test_store(t, a, serial, "a");
	test_store(t, b, serial, "bb");
	return commit(s, t);
}

/* --- iterators --- */

struct answer {
	struct iter_req req;
	bool done;
	char text[200];
};

static void next_done(struct iter_req *r)
{
	struct answer *a = CONTAINER_OF(r, struct answer, req);

	a->done = true;
	if (r->rc == OK && !r->end)
		snprintf(a->text, sizeof(a->text), "%.*s|%.*s|%.*s|%.*s", (int)r->txn.user.len,
			(const char *)r->txn.user.data, (int)r->txn.desc.len,
			(const char *)r->txn.desc.data, (int)r->txn.ext.len,
			(const char *)r->txn.ext.data, (int)r->data.len,
			r->data.len ? (const char *)r->data.data : "");
}

static struct answer next(struct storage *s, struct storage_iter *it, uint64_t applied)
{
	struct test_exec x = TEST_EXEC;
	struct answer a = {
		.req = { .exec = &x.base, .done = next_done, .it = it, .applied = applied }
	};

	s->ops->iter_next(&a.req);
	test_exec_run(&x);
	assert_true(a.done);
	return a;
}

static struct storage_iter *iterate(struct storage *s, uint64_t start, uint64_t stop)
{
	struct storage_iter *it = NULL;
	struct err e = ERR_INIT;

	assert_int_equal(s->ops->iter_open(s, start, stop, &it, &e), OK);
	return it;
}

static void assert_next(struct storage *s, struct storage_iter *it, uint64_t applied, uint64_t tid)
{
	struct answer a = next(s, it, applied);

	if (a.req.rc != OK)
		fail_msg("%s", a.req.err.text);
	assert_true(a.req.end == (tid == TID_NONE));
	if (tid != TID_NONE)
		assert_true(a.req.txn.tid == tid);
}

/* All of them from @start to @stop. */
static void assert_all(
	struct storage *s, uint64_t start, uint64_t stop, const uint64_t *tids, size_t n)
{
	struct storage_iter *it = iterate(s, start, stop);

	for (size_t i = 0; i < n; i++)
		assert_next(s, it, TID_MAX, tids[i]);
	assert_next(s, it, TID_MAX, TID_NONE);
	s->ops->iter_close(s, it);
}

static void check_iterator(struct storage *s)
{
	uint64_t tids[5];
	struct storage_iter *it, *recs;
	struct err e = ERR_INIT;
	struct answer a;

	assert_all(s, 0, TID_MAX, NULL, 0);
	for (unsigned i = 0; i < 5; i++)
		tids[i] = commit_two(s, 10 * i + 1, 10 * i + 2, 0);
	for (unsigned i = 0; i < 5; i++) {
		assert_all(s, tids[i], TID_MAX, tids + i, 5 - i);
		assert_all(s, tids[i] + 1, TID_MAX, tids + i + 1, 4 - i);
		assert_all(s, 0, tids[i], tids, i + 1);
		assert_all(s, 0, tids[i] - 1, tids, i);
	}
	assert_all(s, 1, TID_MAX, tids, 5);
	assert_all(s, TID_MAX, TID_MAX, NULL, 0);

	it = iterate(s, 0, TID_MAX);
	assert_int_equal(s->ops->iter_records(it, &recs, &e), ERR_STATE);
	assert_next(s, it, tids[0] - 1, TID_NONE); /* not there yet */
	a = next(s, it, tids[0]);
	assert_true(a.req.txn.tid == tids[0] && a.req.txn.status == ' ');
	assert_string_equal(a.text, "user|description|extension|");
	assert_int_equal(s->ops->iter_records(it, &recs, &e), OK);
	assert_next(s, it, tids[0], TID_NONE);
	s->ops->iter_close(s, it); /* the records live on */
	a = next(s, recs, TID_MAX);
	assert_true(a.req.oid == 1 && a.req.tid == tids[0] && a.req.has_data);
	assert_true(a.req.data_txn == TID_NONE);
	assert_string_equal(a.text, "|||a");
	a = next(s, recs, TID_MAX);
	assert_string_equal(a.text, "|||bb");
	a = next(s, recs, TID_MAX);
	assert_true(a.req.rc == OK && a.req.end);
	s->ops->iter_close(s, recs);
	s->ops->iter_close(s, NULL);
}

static void test_filestorage(void **state)
{
	struct storage *s = open_in(*state);

	check_iterator(s);
	s->ops->close(s);
}

static void test_mapping(void **state)
{
	struct storage *s = open_mapping();

	check_iterator(s);
	s->ops->close(s);
}

/* T26 */
static void test_goes_on(void **state)
{
	struct storage *s = open_in(*state);
	struct storage_iter *it = iterate(s, 0, TID_MAX);
	uint64_t tid;

	assert_next(s, it, TID_MAX, TID_NONE);
	tid = commit_two(s, 1, 2, 0);
	assert_next(s, it, TID_MAX, tid);
	assert_next(s, it, TID_MAX, TID_NONE);
	tid = commit_two(s, 3, 4, 0);
	assert_next(s, it, TID_MAX, tid);
	s->ops->iter_close(s, it);
	s->ops->close(s);
}

/* Put a byte of the closed file to another value. */
static void spoil(struct test_dir *d, uint64_t off, uint8_t value)
{
	FILE *f = fopen(d->data, "r+b");

	assert_non_null(f);
	fseek(f, (long)off, SEEK_SET);
	fputc(value, f);
	fclose(f);
}

static void test_damage(void **state)
{
	struct test_dir *d = *state;
	struct storage *s = open_in(d);
	uint64_t tid = commit_two(s, 1, 2, 0);
	struct storage_iter *it = iterate(s, 0, TID_MAX);
	struct storage_iter *recs;
	struct err e = ERR_INIT;
	struct answer a;
	uint64_t rec_off;

	assert_next(s, it, TID_MAX, tid);
	assert_int_equal(s->ops->iter_records(it, &recs, &e), OK);
	rec_off = FS_FIRST_TXN + FS_TXN_HEADER_LEN + strlen("userdescriptionextension");
	spoil(d, rec_off + 34, 1); /* its length */
	a = next(s, recs, TID_MAX);
	assert_int_equal(a.req.rc, ERR_CORRUPT);
	assert_non_null(strstr(a.req.err.text, "damaged at 51"));
	s->ops->iter_close(s, recs);
	s->ops->iter_close(s, it);

	it = iterate(s, 0, TID_MAX);
	spoil(d, FS_FIRST_TXN + 8 + 6, 0xff); /* the transaction's */
	a = next(s, it, TID_MAX);
	assert_int_equal(a.req.rc, ERR_CORRUPT);
	assert_non_null(strstr(a.req.err.text, "damaged at 4"));
	s->ops->iter_close(s, it);
	s->ops->close(s);
}

/* R8: the file is replaced; what was committed until then is given once. */
static void test_replaced_file(void **state)
{
	struct storage *s = open_in(*state);
	struct filestorage *fs = fs_of(s);
	uint64_t first = commit_two(s, 1, 2, 0);
	uint64_t second = commit_two(s, 3, 4, 0);
	struct storage_iter *it = iterate(s, 0, TID_MAX);
	struct data_file *old = data_file_get(&fs->data);
	struct data_file *d = data_file_new(old->disk, old->index);

	assert_next(s, it, TID_MAX, first);
	atomic_store(&d->end, data_file_end(old));
	atomic_store(&fs->data, d); /* as a pack's end does */
	assert_next(s, it, TID_MAX, second);
	assert_next(s, it, TID_MAX, TID_NONE);
	s->ops->iter_close(s, it);
	atomic_store(&fs->data, old);
	d->index = NULL;
	data_file_forget(d);
	data_file_unref(old);
	s->ops->close(s);
}

/* --- record_iternext --- */

static struct load_req load_next(struct storage *s, uint64_t oid, uint64_t applied)
{
	return test_load(s, LOAD_NEXT, oid, TID_NONE, applied);
}

static void test_load_next(void **state)
{
	struct storage *s = open_in(*state);
	struct load_req r = load_next(s, 0, TID_MAX);
	uint64_t first, second;

	assert_true(r.rc == OK && r.none);
	first = commit_two(s, 5, UINT64_C(1) << 40, 0);
	second = commit_two(s, 6, 700, 0);
	r = load_next(s, 0, TID_MAX);
	assert_true(r.rc == OK && r.found_oid == 5 && r.serial == first && r.next_oid == 6);
	assert_int_equal(r.data.len, 1);
	test_load_free(&r);
	r = load_next(s, 5, first); /* R1: the second one is not there */
	assert_true(r.found_oid == 5 && r.next_oid == UINT64_C(1) << 40);
	test_load_free(&r);
	r = load_next(s, 6, first);
	assert_true(r.found_oid == UINT64_C(1) << 40 && r.next_oid == OID_NONE);
	test_load_free(&r);
	r = load_next(s, 7, TID_MAX);
	assert_true(r.found_oid == 700 && r.serial == second);
	test_load_free(&r);
	r = load_next(s, (UINT64_C(1) << 40) + 1, TID_MAX);
	assert_true(r.rc == OK && r.none);
	s->ops->close(s);
}

static int by_value(const void *a, const void *b)
{
	uint64_t x = *(const uint64_t *)a;
	uint64_t y = *(const uint64_t *)b;

	return x < y ? -1 : x > y;
}

static void put(struct index *ix, uint64_t oid)
{
	assert_int_equal(index_prepare(ix, &oid, 1), OK);
	index_set(ix, oid, 4);
}

/* All kinds of ranges, also those that come after the order was built. */
static void test_index_next(void **state)
{
	enum { N = 20000, PARTS = 4 };
	struct index *ix = index_new();
	uint64_t *oids = malloc(N * sizeof(*oids));
	uint64_t seed = 7;
	uint64_t found = 0;

	for (int part = 0; part < PARTS; part++) {
		int n = (part + 1) * (N / PARTS);

		for (int i = part * (N / PARTS); i < n; i++) {
			seed = seed * UINT64_C(6364136223846793005) + 1442695040888963407u;
			oids[i] = i % 3 ? seed >> (8 + seed % 48) : (uint64_t)i;
			put(ix, oids[i]);
		}
		if (part == 1)
			put(ix, oids[0] = UINT64_MAX);
		qsort(oids, (size_t)n, sizeof(*oids), by_value);
		for (int i = 0; i < n; i++) {
			uint64_t from = i ? oids[i - 1] + 1 : 0;

			if (i && oids[i] == oids[i - 1])
				continue;
			assert_int_equal(index_next(ix, from, true, &found), OK);
			if (part && found == 0 && i == 0)
				continue; /* the one that became UINT64_MAX in the list */
			assert_true(found == oids[i]);
			assert_int_equal(index_next(ix, oids[i], true, &found), OK);
			assert_true(found == oids[i]);
		}
		if (oids[n - 1] != UINT64_MAX)
			assert_int_equal(index_next(ix, oids[n - 1] + 1, true, &found), ERR_NOENT);
	}
	free(oids);
	index_free(ix);
}

static void test_index_next_may_have_to_wait(void **state)
{
	struct index *ix = index_new();
	uint64_t found = 0;

	put(ix, 1);
	put(ix, UINT64_C(1) << 50);
	assert_int_equal(index_next(ix, 0, false, &found), OK);
	assert_true(found == 1);
	assert_int_equal(index_next(ix, 2, false, &found), ERR_AGAIN);
	assert_int_equal(index_next(ix, 2, true, &found), OK);
	assert_true(found == UINT64_C(1) << 50);
	assert_int_equal(index_next(ix, 2, false, &found), OK); /* once and for all */
	index_free(ix);
}

struct race {
	struct index *ix;
	atomic_uint written; /* oids race_oid() of 1 to this are there */
};

enum { RACE_N = 60000 };

static uint64_t race_oid(unsigned i)
{
	return i % 4 ? (uint64_t)i * UINT64_C(0x9e3779b97f4a7c15) >> 20 : i;
}

static void *write_race(void *arg)
{
	struct race *r = arg;

	for (unsigned i = 1; i < RACE_N; i++) {
		put(r->ix, race_oid(i));
		atomic_store(&r->written, i);
	}
	return NULL;
}

/* Whatever was there before is found, while segments split and ranges become pages. */
static void test_index_next_beside_the_writer(void **state)
{
	struct race r = { .ix = index_new() };
	unsigned checked = 0;
	pthread_t thread;
	uint64_t found;

	assert_int_equal(pthread_create(&thread, NULL, write_race, &r), 0);
	for (unsigned seed = 1; atomic_load(&r.written) < RACE_N - 1 || checked < 1000; checked++) {
		unsigned n = atomic_load(&r.written);
		uint64_t oid;

		seed = seed * 1103515245 + 12345;
		if (!n)
			continue;
		oid = race_oid(1 + (seed >> 8) % n);
		assert_int_equal(index_next(r.ix, oid ? oid - 1 : 0, true, &found), OK);
		assert_true(found == oid || found == oid - 1);
	}
	pthread_join(thread, NULL);
	index_free(r.ix);
}

/* --- changes --- */

static void changes_done(struct changes_req *r)
{
	r->storage = NULL;
}

static void assert_changes(
	struct storage *s, uint64_t tid, uint64_t applied, const uint64_t *oids, size_t n)
{
	struct test_exec x = TEST_EXEC;
	struct changes_req r = {
		.exec = &x.base, .done = changes_done, .tid = tid, .applied = applied
	};

	s->ops->changes(s, &r);
	test_exec_run(&x);
	assert_int_equal(r.rc, OK);
	assert_int_equal(r.n_oids, n);
	for (size_t i = 0; i < n; i++)
		assert_true(r.oids[i] == oids[i]);
	mem_free(r.oids);
}

static void check_changes(struct storage *s)
{
	uint64_t first = commit_two(s, 9, 2, 0);
	uint64_t second = commit_two(s, 3, 4, 0);
	uint64_t third = commit_two(s, 2, 9, first);

	assert_changes(s, third, TID_MAX, NULL, 0);
	assert_changes(s, second, TID_MAX, (uint64_t[]){ 2, 9 }, 2);
	assert_changes(s, first, TID_MAX, (uint64_t[]){ 2, 3, 4, 9 }, 4);
	assert_changes(s, first, second, (uint64_t[]){ 3, 4 }, 2); /* R1 */
	assert_changes(s, first - 1, first, (uint64_t[]){ 2, 9 }, 2);
	assert_changes(s, TID_NONE, TID_MAX, (uint64_t[]){ 2, 3, 4, 9 }, 4);
}

static void test_changes(void **state)
{
	struct storage *s = open_in(*state);

	check_changes(s);
	s->ops->close(s);
	s = open_mapping();
	check_changes(s);
	s->ops->close(s);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(
			test_filestorage, test_dir_setup, test_dir_teardown),
		cmocka_unit_test(test_mapping),
		cmocka_unit_test_setup_teardown(test_goes_on, test_dir_setup, test_dir_teardown),
		cmocka_unit_test_setup_teardown(test_damage, test_dir_setup, test_dir_teardown),
		cmocka_unit_test_setup_teardown(
			test_replaced_file, test_dir_setup, test_dir_teardown),
		cmocka_unit_test_setup_teardown(test_load_next, test_dir_setup, test_dir_teardown),
		cmocka_unit_test(test_index_next),
		cmocka_unit_test(test_index_next_may_have_to_wait),
		cmocka_unit_test(test_index_next_beside_the_writer),
		cmocka_unit_test_setup_teardown(test_changes, test_dir_setup, test_dir_teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
