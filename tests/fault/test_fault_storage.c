/* The commit path and recovery with every call and every allocation failing in its turn. */
#include "unit/storage_util.h"

#include "fault/fault.h"
#include "storage/filestorage/filestorage.h"
#include "storage/filestorage/fs.h"

static struct test_clock test_time = TEST_CLOCK(TEST_NOW_US);

static int open_storage(
	struct test_dir *d, struct disk_file **file, struct storage **ret, struct err *e)
{
	struct filestorage_options o = {
		.path = d->data, .recent_txns = 10, .clock = &test_time.base
	};
	int rc = disk_open(d->data, O_RDWR | O_CREAT, file, e);

	if (rc != OK)
		return rc;
	rc = filestorage_core_open(*file, &o, ret, e);
	if (rc != OK)
		(*file)->ops->close(*file);
	return rc;
}

static struct storage *must_open(struct test_dir *d)
{
	struct disk_file *file;
	struct storage *s = NULL;
	struct err e = ERR_INIT;

	if (open_storage(d, &file, &s, &e) != OK)
		fail_msg("%s", e.text);
	return s;
}

/* A transaction of two records that share a fate; NULL when there was no memory for it. */
static struct txn *make_txn(uint64_t oid, uint64_t serial, const char *text)
{
	struct txn *t = txn_new();
	struct err e = ERR_INIT;

	for (uint64_t i = 0; t && i < 2; i++) {
		struct txn_rec rec = {
			.oid = oid + i * 100, .serial = serial, .op = TXN_STORE, .has_data = true
		};

		if (txn_add(t, &rec, slice_str(text), &e) != OK) {
			txn_free(t);
			return NULL;
		}
	}
	return t;
}

/* True when it was acknowledged. */
static bool try_commit(struct storage *s, uint64_t oid, uint64_t serial, const char *text)
{
	struct txn *t = make_txn(oid, serial, text);
	struct test_outcome o = { .rc = ERR_NOMEM };
	struct vote_req v = { 0 };

	if (!t)
		return false;
	v = test_vote(s, t, false);
	if (v.rc == OK) {
		test_finish(s, t, &o);
		while (filestorage_step(s))
			;
		assert_true(o.done);
	}
	mem_free(v.conflicts);
	txn_free(t);
	return o.rc == OK;
}

static bool has_object(struct storage *s, uint64_t oid)
{
	struct load_req r = test_load(s, LOAD_TID, oid, 0, TID_MAX);

	assert_true(r.rc == OK || r.rc == ERR_NOKEY);
	return r.rc == OK;
}

/* --- commit --- */

static void clear(struct test_dir *d)
{
	char command[200];

	snprintf(command, sizeof(command), "rm -f %s*", d->data);
	assert_int_equal(system(command), 0);
}

static void commit_scenario(void *ctx, bool all)
{
	struct test_dir *d = ctx;
	struct disk_file *file;
	struct storage *s = NULL;
	struct err e = ERR_INIT;
	bool acked[3] = { false, false, false };

	if (open_storage(d, &file, &s, &e) == OK) {
		for (uint64_t i = 0; i < 3; i++)
			acked[i] = try_commit(s, i + 1, 0, "some data");
		s->ops->close(s);
	} else {
		assert_int_not_equal(strlen(e.text), 0);
	}
	fault_off();
	s = must_open(d);
	for (uint64_t i = 0; i < 3; i++) {
		bool there = has_object(s, i + 1);

		assert_true(there == has_object(s, i + 101)); /* whole or not at all */
		assert_true(there || !acked[i]);
		/* With a disk that is gone for good even the mark that hides it cannot be written. */
		assert_true(all || there == acked[i]);
	}
	assert_true(try_commit(s, 50, 0, "goes on"));
	s->ops->close(s);
	clear(d);
}

static void test_commit_os(void **state)
{
	fail_until_ok(FAULT_OS, EIO, commit_scenario, *state);
	fail_until_ok(FAULT_OS, ENOSPC, commit_scenario, *state);
}

static void test_commit_memory(void **state)
{
	fail_until_ok(FAULT_ALLOC, 0, commit_scenario, *state);
}

/* --- recovery --- */

/* Three transactions, an index of the first one, half a transaction. */
static void make_torn(struct test_dir *d)
{
	struct storage *s = must_open(d);
	size_t len, index_len;
	uint8_t *p, *index;

	assert_true(
		try_commit(s, 1, 0, "first, long enough to make the index worth to be believed"));
	s->ops->close(s);
	index = test_read_file(test_path(d, ".index"), &index_len);
	s = must_open(d);
	assert_true(try_commit(s, 2, 0, "second") && try_commit(s, 3, 0, "third"));
	s->ops->close(s);
	p = test_read_file(d->data, &len);
	p = realloc(p, len + 100);
	memcpy(p + len, p + 4, 100);
	test_write_file(d->data, p, len + 100);
	test_write_file(test_path(d, ".index"), index, index_len);
	free(index);
	free(p);
}

static void recovery_scenario(void *ctx, bool all)
{
	struct test_dir *d = ctx;
	int (*os_hook)(const char *) = os_fault_hook;
	int (*mem_hook)(void) = mem_fault_hook;
	struct disk_file *file;
	struct storage *s = NULL;
	struct err e = ERR_INIT;

	fault_off();
	make_torn(d);
	os_fault_hook = os_hook;
	mem_fault_hook = mem_hook;
	if (open_storage(d, &file, &s, &e) == OK)
		s->ops->close(s);
	fault_off();
	s = must_open(d);
	for (uint64_t i = 1; i <= 3; i++)
		assert_true(has_object(s, i));
	assert_true(test_exists(test_path(d, ".tr0")));
	s->ops->close(s);
	clear(d);
}

static void test_recovery_os(void **state)
{
	fail_until_ok(FAULT_OS, EIO, recovery_scenario, *state);
}

static void test_recovery_memory(void **state)
{
	fail_until_ok(FAULT_ALLOC, 0, recovery_scenario, *state);
}

int main(void)
{
#define DIR_TEST(f) cmocka_unit_test_setup_teardown(f, test_dir_setup, test_dir_teardown)
	const struct CMUnitTest tests[] = {
		DIR_TEST(test_commit_os),
		DIR_TEST(test_commit_memory),
		DIR_TEST(test_recovery_os),
		DIR_TEST(test_recovery_memory),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
