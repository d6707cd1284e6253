#include "storage_util.h"

#include <limits.h>

#include "storage/blob/blob_dir.h"
#include "storage/blob/blob_storage.h"
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

/* --- pack --- */

/* A record that refers to @n objects. */
static void put_record(struct buf *b, const uint64_t *oids, size_t n)
{
	buf_reset(b);
	buf_put_str(b, "\x80\x03"
		       "cmodule\nClass\n."
		       "\x80\x03]");
	for (size_t i = 0; i < n; i++) {
		buf_put(b, "C\x08", 2);
		buf_put_be64(b, oids[i]);
		buf_put_str(b, "Qa");
	}
	buf_put_str(b, ".");
}

static void store_record(
	struct txn *t, uint64_t oid, uint64_t serial, const uint64_t *oids, size_t n)
{
	struct txn_rec rec = { .oid = oid, .serial = serial, .op = TXN_STORE, .has_data = true };
	struct buf b = BUF_INIT(0);
	struct err e = ERR_INIT;

	put_record(&b, oids, n);
	assert_int_equal(txn_add(t, &rec, buf_slice(&b), &e), OK);
	buf_free(&b);
}

static uint64_t commit_record(
	struct storage *s, uint64_t oid, uint64_t serial, const uint64_t *oids, size_t n)
{
	struct txn *t = test_txn("", "");

	test_time.now_us += 1000000;
	store_record(t, oid, serial, oids, n);
	return commit(s, t);
}

static void pack_done(struct pack_req *r)
{
	r->exec = NULL;
}

static struct pack_req pack(struct storage *s, double time_s)
{
	struct test_exec x = TEST_EXEC;
	struct pack_req r = { .exec = &x.base, .done = pack_done, .time_s = time_s };

	s->ops->pack(s, &r);
	test_exec_run(&x);
	assert_null(r.exec);
	return r;
}

static double now_s(void)
{
	return (double)test_time.now_us / 1e6;
}

static bool has(struct storage *s, uint64_t oid, uint64_t serial)
{
	struct load_req r = test_load(s, LOAD_SERIAL, oid, serial, TID_MAX);
	bool found = r.rc == OK;

	assert_true(found || r.rc == ERR_NOKEY);
	test_load_free(&r);
	return found;
}

static void test_pack_revisions(void **state)
{
	struct storage *s = open_mapping();
	uint64_t t0 = commit_record(s, 0, 0, NULL, 0);
	uint64_t t1 = commit_record(s, 0, t0, NULL, 0);
	double then = now_s();
	uint64_t t2 = commit_record(s, 0, t1, NULL, 0);
	struct storage_info before, after;
	struct publication *p;

	s->ops->info(s, &before);
	assert_int_equal(pack(s, then).rc, OK);
	assert_false(has(s, 0, t0));
	assert_true(has(s, 0, t1)); /* current at that time */
	assert_true(has(s, 0, t2));
	s->ops->info(s, &after);
	assert_int_equal(before.size - after.size, before.size / 3 - 50 / 3);
	p = atomic_load(&s->pubs->newest);
	assert_true(p->kind == PUBLICATION_INFO && p->tid == t2);
	assert_true(p->size_bytes == after.size && p->length == 1);
	assert_int_equal(pack(s, then).rc, OK);             /* redundant */
	assert_int_equal(pack(s, then - 10).rc, ERR_STATE); /* as ZODB's */
	assert_int_equal(pack(s, now_s() + 86400).rc, OK);
	assert_false(has(s, 0, t1));
	assert_true(has(s, 0, t2));
	s->ops->close(s);
}

static void test_pack_garbage(void **state)
{
	struct storage *s = open_mapping();
	uint64_t one[] = { 1 }, two[] = { 2 }, three[] = { 3, 3 };
	struct txn *t = test_txn("", "");
	uint64_t t0, t1;
	struct storage_info info;

	assert_int_equal(pack(s, now_s()).rc, OK); /* empty */
	store_record(t, 0, 0, one, 1);
	store_record(t, 1, 0, two, 1);
	store_record(t, 2, 0, one, 1);
	store_record(t, 3, 0, NULL, 0);
	store_record(t, 4, 0, three, 2); /* nobody refers to it, nor to 3 then */
	t0 = commit(s, t);
	assert_int_equal(pack(s, now_s()).rc, OK);
	assert_true(has(s, 0, t0) && has(s, 1, t0) && has(s, 2, t0));
	assert_false(has(s, 3, t0) || has(s, 4, t0));
	s->ops->info(s, &info);
	assert_int_equal(info.length, 3);
	t1 = commit_record(s, 0, t0, NULL, 0);
	assert_int_equal(pack(s, now_s() - 0.5).rc, OK);
	assert_true(has(s, 2, t0)); /* an older revision of the root is still there */
	assert_int_equal(pack(s, now_s()).rc, OK);
	assert_false(has(s, 1, t0) || has(s, 2, t0));
	assert_true(has(s, 0, t1));
	s->ops->close(s);
}

static void test_pack_dangling(void **state)
{
	struct storage *s = open_mapping();
	uint64_t nine[] = { 9 };
	uint64_t t1 = commit_record(s, 1, 0, NULL, 0);
	struct pack_req r = pack(s, now_s());

	assert_int_equal(r.rc, ERR_NOKEY); /* T53: there is no root */
	assert_int_equal(r.oid, 0);
	commit_record(s, 0, 0, nine, 1);
	r = pack(s, now_s());
	assert_int_equal(r.rc, ERR_NOKEY);
	assert_int_equal(r.oid, 9);
	assert_true(has(s, 1, t1)); /* nothing is removed then */
	mapping_keep_garbage(s);
	assert_int_equal(pack(s, now_s() + 1).rc, OK);
	assert_true(has(s, 1, t1));
	s->ops->close(s);
}

static void put_blob(struct blob_dir *dir, uint64_t oid, uint64_t tid)
{
	struct err e = ERR_INIT;
	char path[PATH_MAX];

	assert_int_equal(blob_dir_make_oid_dir(dir, oid, &e), OK);
	assert_int_equal(blob_dir_file_path(dir, oid, tid, path, sizeof(path), &e), OK);
	test_write_file(path, "blob", 4);
}

/* Blobs beside it: their folder is gone through where it may block, not where the storage tells that it is packed. */
static void test_pack_blobs(void **state)
{
	struct test_dir *d = *state;
	struct storage *inner = open_mapping(), *s = NULL;
	uint64_t t0 = commit_record(inner, 0, 0, NULL, 0);
	uint64_t t1 = commit_record(inner, 0, t0, NULL, 0);
	struct blob_dir_options o = { .path = test_path(d, ".blobs") };
	struct test_exec x = TEST_EXEC;
	struct pack_req r = { .exec = &x.base, .done = pack_done, .time_s = now_s() };
	struct blob_dir *dir = NULL;
	struct err e = ERR_INIT;

	assert_int_equal(blob_dir_open(&o, &dir, &e), OK);
	assert_int_equal(blob_storage_open(inner, dir, &s, &e), OK);
	put_blob(dir, 0, t0);
	put_blob(dir, 0, t1);
	s->ops->pack(s, &r);
	test_exec_run(&x);
	assert_null(r.exec);
	assert_int_equal(r.rc, OK);
	assert_int_equal(x.submitted, 2);
	assert_false(blob_dir_has_file(dir, 0, t0));
	assert_true(blob_dir_has_file(dir, 0, t1));
	s->ops->close(s);
}

/* A load that shows a revision keeps it, whatever a pack does meanwhile. */
static struct storage *packed_meanwhile;

static void pack_in_load(struct load_req *r)
{
	const uint8_t *data = r->data.data;
	struct buf b = BUF_INIT(0);

	assert_int_equal(pack(packed_meanwhile, now_s()).rc, OK);
	put_record(&b, NULL, 0);
	assert_int_equal(r->data.len, b.len);
	assert_memory_equal(data, b.data, b.len);
	buf_free(&b);
}

static void test_pack_under_load(void **state)
{
	struct storage *s = open_mapping();
	uint64_t t0 = commit_record(s, 0, 0, NULL, 0);
	struct load_req r = {
		.done = pack_in_load, .kind = LOAD_SERIAL, .tid = t0, .applied = TID_MAX
	};

	commit_record(s, 0, t0, NULL, 0);
	packed_meanwhile = s;
	s->ops->load(s, &r);
	assert_false(has(s, 0, t0));
	s->ops->close(s);
}

/* --- a commit's hooks --- */

static int refuse(struct txn *t, struct err *e)
{
	*(uint64_t *)t->prepare_ctx = t->tid;
	return err_set(e, ERR_IO, "no");
}

static void settled(struct txn *t, int rc)
{
	*(int *)(t->prepare_ctx) += rc == ERR_IO;
}

static void test_hooks(void **state)
{
	struct storage *s = open_mapping();
	struct txn *t = test_txn("", "");
	struct test_outcome o;
	uint64_t seen = 0;

	test_store(t, 1, 0, "x");
	assert_int_equal(test_vote(s, t, false).rc, OK);
	t->prepare = refuse;
	t->settled = settled;
	t->prepare_ctx = &seen;
	t->after_tid = tid_of_time(test_time.now_us) + 1000;
	test_finish(s, t, &o);
	assert_int_equal(o.rc, ERR_IO);
	assert_int_equal(seen, t->tid + 1);
	assert_true(t->tid > t->after_tid);
	assert_no_object(s, 1);
	txn_free(t);
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
		cmocka_unit_test(test_pack_revisions),
		cmocka_unit_test(test_pack_garbage),
		cmocka_unit_test(test_pack_dangling),
		cmocka_unit_test_setup_teardown(test_pack_blobs, test_dir_setup, test_dir_teardown),
		cmocka_unit_test(test_pack_under_load),
		cmocka_unit_test(test_hooks),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
