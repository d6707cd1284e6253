#include "storage_util.h"

#include <errno.h>

#include "base/os.h"

#include "storage/filestorage/index.h"
#include "storage/filestorage/index_file.h"

/* What make_storage_fixtures.py puts into index.bin. */
static void fill(struct index *ix, void (*put)(struct index *ix, uint64_t oid, uint64_t off))
{
	for (uint64_t i = 0; i < 300; i++)
		put(ix, i, i * 1000 + 4);
	for (uint64_t i = 0; i < 50; i++)
		put(ix, 65536 + i * 7, UINT64_C(1) << 32 | i);
	put(ix, UINT64_C(1) << 40, (UINT64_C(1) << 48) - 1);
	put(ix, UINT64_MAX, 5);
}

static void set(struct index *ix, uint64_t oid, uint64_t off)
{
	assert_int_equal(index_prepare(ix, &oid, 1), OK);
	index_set(ix, oid, off);
}

static void is(struct index *ix, uint64_t oid, uint64_t off)
{
	assert_true(index_get(ix, oid) == off);
}

static void test_load_python(void **state)
{
	struct index *ix = NULL;
	struct err e = ERR_INIT;
	uint64_t pos = 0;

	assert_int_equal(index_file_load(TESTS_DATA "/index.bin", &ix, &pos, &e), OK);
	assert_true(pos == UINT64_C(12345678901));
	assert_int_equal(index_count(ix), 352);
	fill(ix, is);
	index_free(ix);
}

static void test_save_as_python(void **state)
{
	static const uint64_t positions[] = { 4, 300, 70000, 0x7fffffff, 0x80000000, 12345678901 };
	struct index *ix = index_new();
	struct err e = ERR_INIT;
	char *path = test_path(*state, ".index");
	size_t len, expected_len;
	uint8_t *bytes, *expected = test_read_file(TESTS_DATA "/index.bin", &expected_len);
	uint64_t pos;

	fill(ix, set);
	for (size_t i = 0; i < ARRAY_LEN(positions); i++) {
		struct index *again = NULL;

		assert_int_equal(index_file_save(path, ix, positions[i], &e), OK);
		assert_int_equal(index_file_load(path, &again, &pos, &e), OK);
		assert_true(pos == positions[i]);
		assert_int_equal(index_count(again), 352);
		index_free(again);
	}
	bytes = test_read_file(path, &len);
	assert_int_equal(len, expected_len);
	assert_memory_equal(bytes, expected, len);
	assert_false(test_exists(test_path(*state, ".index.index_tmp")));
	free(bytes);
	free(expected);
	index_free(ix);
}

/* As Python 2 wrote it: protocol 1, str. */
static void test_old_protocol(void **state)
{
	static const char bytes[] =
		"J\x00\x00\x01\x00.(U\x06\0\0\0\0\0\1q\1U\x08\0\2\0\0\0\0\1\0q\2tq\3.N.";
	struct index *ix = NULL;
	struct err e = ERR_INIT;
	char *path = test_path(*state, ".index");
	uint64_t pos;

	test_write_file(path, bytes, sizeof(bytes) - 1);
	assert_int_equal(index_file_load(path, &ix, &pos, &e), OK);
	assert_int_equal(pos, 65536);
	assert_int_equal(index_get(ix, 65538), 256);
	assert_int_equal(index_count(ix), 1);
	index_free(ix);
}

static void test_damaged(void **state)
{
	size_t len;
	uint8_t *bytes = test_read_file(TESTS_DATA "/index.bin", &len);
	char *path = test_path(*state, ".index");
	struct index *ix = NULL;
	struct err e = ERR_INIT;
	uint64_t pos;

	assert_int_equal(index_file_load(path, &ix, &pos, &e), ERR_NOENT);
	for (size_t n = 0; n < len; n += n < 100 ? 1 : 97) {
		test_write_file(path, bytes, n);
		assert_int_equal(index_file_load(path, &ix, &pos, &e), ERR_FORMAT);
	}
	for (size_t n = 0; n < len; n++) { /* any byte wrong: refused or read, never worse */
		bytes[n] ^= 0x55;
		test_write_file(path, bytes, len);
		if (index_file_load(path, &ix, &pos, &e) == OK)
			index_free(ix);
		bytes[n] ^= 0x55;
	}
	free(bytes);
}

/* The old index stays when the new one cannot be written. */
static int fail_rename(const char *call)
{
	return strcmp(call, "rename") == 0 ? EIO : 0;
}

static void test_failed_save(void **state)
{
	struct index *ix = index_new();
	struct err e = ERR_INIT;
	char *path = test_path(*state, ".index");
	size_t len;

	test_write_file(path, "old", 3);
	set(ix, 1, 4);
	os_fault_hook = fail_rename;
	assert_int_equal(index_file_save(path, ix, 4, &e), ERR_IO);
	os_fault_hook = NULL;
	free(test_read_file(path, &len));
	assert_int_equal(len, 3);
	assert_false(test_exists(test_path(*state, ".index.index_tmp")));
	set(ix, 2, UINT64_C(1) << 48); /* more than the format can hold */
	assert_int_equal(index_file_save(path, ix, 4, &e), ERR_LIMIT);
	index_free(ix);
}

/* T27: a million objects; how long that takes is the benchmark's (start). */
static void test_large(void **state)
{
	struct index *ix = index_new();
	struct index *again = NULL;
	struct err e = ERR_INIT;
	char *path = test_path(*state, ".index");
	uint64_t pos;

	for (uint64_t i = 0; i < 1000000; i++)
		set(ix, i, i * 300 + 4);
	assert_int_equal(index_file_save(path, ix, 300000004, &e), OK);
	assert_int_equal(index_file_load(path, &again, &pos, &e), OK);
	assert_int_equal(index_count(again), 1000000);
	assert_int_equal(index_get(again, 999999), 999999 * 300 + 4);
	index_free(ix);
	index_free(again);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_load_python),
		cmocka_unit_test_setup_teardown(
			test_save_as_python, test_dir_setup, test_dir_teardown),
		cmocka_unit_test_setup_teardown(
			test_old_protocol, test_dir_setup, test_dir_teardown),
		cmocka_unit_test_setup_teardown(test_damaged, test_dir_setup, test_dir_teardown),
		cmocka_unit_test_setup_teardown(
			test_failed_save, test_dir_setup, test_dir_teardown),
		cmocka_unit_test_setup_teardown(test_large, test_dir_setup, test_dir_teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
