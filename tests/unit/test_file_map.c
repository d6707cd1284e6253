/* Reads without a system call: only of pages that were seen, and what cannot be read is left to others. */
#include "cmocka_all.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/disk.h"
#include "base/file_map.h"
#include "base/os.h"

enum { SIZE = 5 * 4096 };

static int fd;
static struct file_map *map;
static uint8_t content[SIZE];

static int setup(void **state)
{
	struct err e = ERR_INIT;

	(void)state;
	for (size_t i = 0; i < SIZE; i++)
		content[i] = (uint8_t)(i * 7 + i / 256);
	map = NULL;
	if (os_open_unnamed("/tmp", &fd, &e) != OK || os_pwrite(fd, content, SIZE, 0, &e) != OK)
		return -1;
	map = file_map_new(fd);
	return map ? 0 : -1;
}

static int teardown(void **state)
{
	(void)state;
	file_map_free(map);
	os_close(fd);
	return 0;
}

static void test_only_what_was_seen(void **state)
{
	uint8_t got[SIZE];

	(void)state;
	assert_false(file_map_read(map, got, 10, 0));
	file_map_seen(map, 4096, 2 * 4096);
	assert_false(file_map_read(map, got, 10, 4090)); /* reaches into a page that was seen */
	assert_false(file_map_read(map, got, 10, 3 * 4096 - 5)); /* and out of one */
	assert_true(file_map_read(map, got, 2 * 4096, 4096));
	assert_memory_equal(got, content + 4096, 2 * 4096);
	assert_true(file_map_read(map, got, 1, 3 * 4096 - 1));
	assert_int_equal(got[0], content[3 * 4096 - 1]);
	assert_false(file_map_read(map, got, 0, 4096));
	assert_false(file_map_read(map, got, 1, UINT64_MAX - 1)); /* behind what is mapped */
	file_map_seen(map, UINT64_MAX - 1, 1);
}

/* What was just written is in memory; the kernel knows, one question for several pages. */
static void test_the_kernel_is_asked(void **state)
{
	char name[64];
	uint8_t got[4];
	int read_only;
	uint64_t anywhere[64] = { 4096, 6 * 4096, (1 << 26) - 100, UINT64_MAX };

	(void)state;
	assert_true(file_map_ask(map, 4096));
	assert_true(file_map_read(map, got, 4, 3 * 4096));
	assert_memory_equal(got, content + 3 * 4096, 4);
	assert_false(file_map_read(map, got, 4, 6 * 4096)); /* behind the end */
	assert_false(file_map_ask(map, UINT64_MAX));
	file_map_prefetch(
		map, 5000, anywhere, ARRAY_LEN(anywhere)); /* a hint, whatever it is about */

	/* of a file that may only be read it need not tell the truth */
	file_map_free(map);
	snprintf(name, sizeof(name), "/proc/self/fd/%d", fd);
	read_only = open(name, O_RDONLY | O_CLOEXEC);
	assert_true(read_only >= 0);
	map = file_map_new(read_only);
	assert_non_null(map);
	assert_false(file_map_ask(map, 4096));
	close(read_only);
}

static void test_what_is_written_is_seen(void **state)
{
	struct err e = ERR_INIT;
	uint8_t got[4];

	(void)state;
	file_map_seen(map, 0, SIZE);
	assert_int_equal(os_pwrite(fd, "new!", 4, 100, &e), OK);
	assert_true(file_map_read(map, got, 4, 100));
	assert_memory_equal(got, "new!", 4);
	assert_int_equal(os_pwrite(fd, "more", 4, SIZE, &e), OK); /* the file grows */
	file_map_seen(map, SIZE, 4);
	assert_true(file_map_read(map, got, 4, SIZE));
	assert_memory_equal(got, "more", 4);
}

/* Somebody truncated the file (T18), or the disk fails: no signal gets out, and the next read works. */
static void test_pages_that_are_gone(void **state)
{
	struct err e = ERR_INIT;
	uint8_t got[4];

	(void)state;
	file_map_free(map);
	map = file_map_new(fd); /* its handler, not cmocka's */
	file_map_seen(map, 0, SIZE);
	assert_int_equal(os_ftruncate(fd, 4096, &e), OK);
	for (int i = 0; i < 3; i++) {
		assert_false(file_map_read(map, got, 4, 2 * 4096));
		assert_true(file_map_read(map, got, 4, 0));
		assert_memory_equal(got, content, 4);
	}
}

static void test_disk_reads_agree(void **state)
{
	char name[] = "/tmp/zkzeo-test-XXXXXX";
	struct disk_file *f;
	struct err e = ERR_INIT;
	uint8_t got[100];
	size_t n;

	(void)state;
	close(mkstemp(name));
	assert_int_equal(disk_open(name, 2 /* O_RDWR */, &f, &e), OK);
	assert_int_equal(f->ops->pwrite(f, content, SIZE - 1000, 0, &e), OK);
	for (int i = 0; i < 3; i++) { /* the second time from the map */
		assert_int_equal(f->ops->pread(f, got, 100, 8150, false, &n, &e), OK);
		assert_int_equal(n, 100);
		assert_memory_equal(got, content + 8150, 100);
	}
	for (int i = 0; i < 3; i++) {
		assert_int_equal(f->ops->pread(f, got, 100, SIZE - 1010, false, &n, &e), OK);
		assert_int_equal(n, 10); /* and not the rest of the page */
	}
	assert_int_equal(f->ops->pwrite(f, content + SIZE - 1000, 90, SIZE - 1000, &e), OK);
	assert_int_equal(f->ops->pread(f, got, 100, SIZE - 1010, false, &n, &e), OK);
	assert_int_equal(n, 100);
	assert_memory_equal(got, content + SIZE - 1010, 100);
	f->ops->close(f);
	unlink(name);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_only_what_was_seen, setup, teardown),
		cmocka_unit_test_setup_teardown(test_the_kernel_is_asked, setup, teardown),
		cmocka_unit_test_setup_teardown(test_what_is_written_is_seen, setup, teardown),
		cmocka_unit_test_setup_teardown(test_pages_that_are_gone, setup, teardown),
		cmocka_unit_test(test_disk_reads_agree),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
