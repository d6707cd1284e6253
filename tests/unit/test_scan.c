/* Windows over a file: whatever is asked for in whatever order, and little more than it is read. */
#include "cmocka_all.h"

#include <stdlib.h>
#include <string.h>

#include "base/disk.h"
#include "base/mem.h"
#include "storage/filestorage/scan.h"

enum {
	SIZE = 3 << 20,
	TXN = 560000, /* more than the small window, less than the large one */
	RECORD = 542,
};

static uint8_t *content;
static size_t bytes_read;

static int fake_pread(struct disk_file *f, void *p, size_t n, uint64_t off, bool may_block,
	size_t *ret_n, struct err *e)
{
	(void)f, (void)may_block, (void)e;
	assert_true(off <= SIZE);
	*ret_n = n < SIZE - off ? n : SIZE - off;
	memcpy(p, content + off, *ret_n);
	bytes_read += *ret_n;
	return OK;
}

static const struct disk_ops fake_ops = { .pread = fake_pread };
static struct disk_file file = { &fake_ops };

static int setup(void **state)
{
	(void)state;
	bytes_read = 0;
	content = mem_alloc(SIZE);
	if (!content)
		return -1;
	srand(1);
	for (size_t i = 0; i < SIZE; i++)
		content[i] = (uint8_t)rand();
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	mem_free(content);
	return 0;
}

static void get(struct scan *s, uint64_t off, size_t n)
{
	struct err e = ERR_INIT;
	const uint8_t *p;

	assert_int_equal(scan_get(s, off, n, &p, &e), OK);
	assert_memory_equal(p, content + off, n);
}

static void read_anywhere(struct scan *s, size_t most)
{
	struct err e = ERR_INIT;
	const uint8_t *p;

	for (int i = 0; i < 3000; i++) {
		size_t n = 1 + (size_t)rand() % most;

		get(s, (uint64_t)rand() % (SIZE - n + 1), n);
	}
	get(s, 0, most);
	get(s, SIZE - most, most);
	assert_int_equal(scan_get(s, SIZE - 7, 8, &p, &e), ERR_FORMAT);
	assert_int_equal(scan_get(s, SIZE + 1, 1, &p, &e), ERR_FORMAT);
}

static void test_anywhere(void **state)
{
	struct err e = ERR_INIT;
	struct scan s;

	(void)state;
	assert_int_equal(scan_open(&s, &file, SIZE, &e), OK);
	read_anywhere(&s, 256 << 10);
	scan_close(&s);
	assert_int_equal(scan_open_back(&s, &file, SIZE, &e), OK);
	read_anywhere(&s, 16 << 10);
	scan_close(&s);
}

static void test_forward(void **state)
{
	struct err e = ERR_INIT;
	struct scan s;

	(void)state;
	assert_int_equal(scan_open(&s, &file, SIZE, &e), OK);
	for (uint64_t at = 0; at + RECORD <= SIZE; at += RECORD)
		get(&s, at, RECORD);
	scan_close(&s);
	assert_true(bytes_read <= SIZE + 4 * RECORD);
}

/* As the last transactions are read: where one ends, its start, its records from there on. */
static void test_back(void **state)
{
	struct err e = ERR_INIT;
	uint64_t end = SIZE;
	struct scan s;

	(void)state;
	assert_int_equal(scan_open_back(&s, &file, SIZE, &e), OK);
	for (; end >= TXN; end -= TXN) {
		get(&s, end - 8, 8);
		for (uint64_t at = end - TXN; at < end - 8; at += RECORD)
			get(&s, at, 42);
	}
	scan_close(&s);
	assert_true(bytes_read <= (SIZE - end) / 4 * 5);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_anywhere, setup, teardown),
		cmocka_unit_test_setup_teardown(test_forward, setup, teardown),
		cmocka_unit_test_setup_teardown(test_back, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
