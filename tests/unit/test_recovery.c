#include "storage_util.h"

#include "base/bigendian.h"
#include "base/buf.h"
#include "base/disk.h"
#include "storage/filestorage/format.h"
#include "storage/filestorage/recovery.h"

/* A file being made: transactions of one record each. */
struct image {
	struct buf bytes;
	uint64_t start[64]; /* of each transaction */
	uint32_t n;
};

static void put_txn(struct image *im, uint64_t tid, uint8_t status, uint64_t oid, size_t len)
{
	uint64_t start = im->bytes.len;
	struct fs_txn_header h = {
		.tid = tid, .status = status, .tlen = FS_TXN_HEADER_LEN + FS_REC_HEADER_LEN + len
	};
	struct fs_rec_header r = { .oid = oid, .tid = tid, .tloc = start, .plen = len };

	im->start[im->n++] = start;
	fs_txn_header_put(buf_reserve(&im->bytes, FS_TXN_HEADER_LEN), &h);
	buf_advance(&im->bytes, FS_TXN_HEADER_LEN);
	fs_rec_header_put(buf_reserve(&im->bytes, FS_REC_HEADER_LEN), &r);
	buf_advance(&im->bytes, FS_REC_HEADER_LEN);
	for (size_t i = 0; i < len; i++)
		buf_put_u8(&im->bytes, 'd');
	buf_put_be64(&im->bytes, h.tlen);
}

/* @n transactions of tids and oids 1 to n. */
static struct image make(uint32_t n, size_t len)
{
	struct image im = { 0 };

	buf_put_str(&im.bytes, "FS30");
	for (uint32_t i = 1; i <= n; i++)
		put_txn(&im, i, ' ', i, len);
	return im;
}

struct opened {
	struct disk_file *f;
	struct index *ix;
	struct recovery r;
	struct err e;
};

static int scan_from(
	const struct image *im, struct test_dir *d, uint64_t start, uint64_t ltid, struct opened *o)
{
	o->e.text[0] = 0;
	test_write_file(d->data, im->bytes.data, im->bytes.len);
	assert_int_equal(disk_open(d->data, O_RDWR, &o->f, &o->e), OK);
	o->ix = index_new();
	return recovery_scan(o->f, o->ix, start, ltid, &o->r, &o->e);
}

static int scan(const struct image *im, struct test_dir *d, struct opened *o)
{
	return scan_from(im, d, FS_FIRST_TXN, TID_NONE, o);
}

static void close_opened(struct opened *o)
{
	o->f->ops->close(o->f);
	index_free(o->ix);
}

/* The first @n transactions are there, and the rest is a tail. */
static void assert_tail(const struct image *im, struct test_dir *d, uint32_t n)
{
	struct opened o;

	if (scan(im, d, &o) != OK)
		fail_msg("%s", o.e.text);
	assert_int_equal(o.r.end, im->start[n]);
	assert_int_equal(o.r.size, im->bytes.len);
	assert_int_equal(o.r.last_tid, n);
	assert_int_equal(o.r.max_oid, n);
	assert_int_equal(index_count(o.ix), n);
	if (o.r.size > o.r.end)
		assert_int_not_equal(strlen(o.r.why), 0);
	close_opened(&o);
}

static void assert_corrupt(const struct image *im, struct test_dir *d, uint64_t at)
{
	struct opened o;
	char text[40];

	assert_int_equal(scan(im, d, &o), ERR_CORRUPT);
	snprintf(text, sizeof(text), "damaged at %lu", at);
	if (!strstr(o.e.text, text))
		fail_msg("%s, '%s' was expected", o.e.text, text);
	close_opened(&o);
}

static void test_whole(void **state)
{
	struct image im = make(10, 50);
	struct opened o;

	assert_int_equal(scan(&im, *state, &o), OK);
	assert_int_equal(o.r.end, im.bytes.len);
	assert_int_equal(o.r.last_tid, 10);
	assert_false(o.r.empty);
	for (uint64_t i = 1; i <= 10; i++)
		assert_int_equal(index_get(o.ix, i), im.start[i - 1] + FS_TXN_HEADER_LEN);
	close_opened(&o);
	assert_int_equal(scan_from(&im, *state, im.start[7], 7, &o), OK); /* after an index */
	assert_int_equal(index_count(o.ix), 3);
	close_opened(&o);
	buf_free(&im.bytes);
}

static void test_not_a_file(void **state)
{
	struct image im = { 0 };
	struct opened o;

	assert_int_equal(scan(&im, *state, &o), OK);
	assert_true(o.r.empty);
	close_opened(&o);
	buf_put_str(&im.bytes, "FS");
	assert_int_equal(scan(&im, *state, &o), ERR_FORMAT);
	close_opened(&o);
	buf_put_str(&im.bytes, "ZZ and so on");
	assert_int_equal(scan(&im, *state, &o), ERR_FORMAT);
	assert_non_null(strstr(o.e.text, "FS30"));
	close_opened(&o);
	buf_free(&im.bytes);
}

/* T62: cut anywhere. */
static void test_cut_anywhere(void **state)
{
	struct image im = make(4, 50);
	size_t len = im.bytes.len;
	size_t last = im.start[3];

	im.start[4] = len;
	for (size_t n = len; n-- > last;) {
		im.bytes.len = n;
		assert_tail(&im, *state, 3);
	}
	buf_free(&im.bytes);
}

/* T62: zeros at the end, as long as one likes. */
static void test_zeros(void **state)
{
	struct image im = make(3, 50);

	im.start[3] = im.bytes.len;
	for (int i = 0; i < 3000; i++) {
		buf_put_u8(&im.bytes, 0);
		if (i < 60 || i % 100 == 0)
			assert_tail(&im, *state, 3);
	}
	buf_free(&im.bytes);
}

/* T62: everything from the first 'c' on. */
static void test_unfinished(void **state)
{
	struct image im = make(3, 50);

	put_txn(&im, 4, 'c', 4, 50);
	put_txn(&im, 5, ' ', 5, 50);
	assert_tail(&im, *state, 3);
	buf_free(&im.bytes);
}

/* A page of the last batch never reached the disk: its first header is zeros, what follows is whole. */
static void test_lost_page(void **state)
{
	struct image im = make(30, 300);
	size_t page;

	for (uint32_t i = 10; i < 25; i++) {
		struct image lost = make(30, 300);

		page = im.start[i] / 512 * 512 + 512;
		memset(lost.bytes.data + im.start[i], 0, page + 512 - im.start[i]);
		assert_tail(&lost, *state, i);
		buf_free(&lost.bytes);
	}
	buf_free(&im.bytes);
}

/* R7: damage with whole transactions behind it is not cut away. */
static void test_damage_in_the_middle(void **state)
{
	struct image im = make(10, 300);
	uint8_t *txn = im.bytes.data + im.start[5];
	uint8_t saved[600];

	memcpy(saved, txn, sizeof(saved));
	memset(txn, 'x', FS_TXN_HEADER_LEN); /* a header that makes no sense */
	assert_corrupt(&im, *state, im.start[5]);
	memcpy(txn, saved, sizeof(saved));
	put_be64(txn + 8, 1 << 20); /* longer than the file */
	assert_corrupt(&im, *state, im.start[5]);
	put_be64(txn + 8, 3); /* too short */
	assert_corrupt(&im, *state, im.start[5]);
	memcpy(txn, saved, sizeof(saved));
	put_be64(txn, 5); /* a tid that goes back */
	assert_corrupt(&im, *state, im.start[5]);
	memcpy(txn, saved, sizeof(saved));
	put_be64(txn + FS_TXN_HEADER_LEN + 24, 4); /* another transaction's record */
	assert_corrupt(&im, *state, im.start[5] + FS_TXN_HEADER_LEN);
	memcpy(txn, saved, sizeof(saved));
	put_be64(txn + FS_TXN_HEADER_LEN + 34, 1000); /* a record that is too long */
	assert_corrupt(&im, *state, im.start[5] + FS_TXN_HEADER_LEN);
	memcpy(txn, saved, sizeof(saved));
	put_be64(txn + FS_TXN_HEADER_LEN + 16, im.start[7]); /* a predecessor that comes later */
	assert_corrupt(&im, *state, im.start[5] + FS_TXN_HEADER_LEN);
	memcpy(txn, saved, sizeof(saved));
	put_be64(im.bytes.data + im.start[6] - 8, 77); /* the second length */
	assert_corrupt(&im, *state, im.start[6] - 8);
	buf_free(&im.bytes);
}

/* A transaction of status 'u' has no current records; of 'p' it has. */
static void test_statuses(void **state)
{
	struct image im = make(1, 50);
	struct opened o;

	put_txn(&im, 2, 'p', 2, 50);
	put_txn(&im, 3, 'u', 3, 50);
	assert_int_equal(scan(&im, *state, &o), OK);
	assert_int_equal(o.r.end, im.bytes.len);
	assert_int_equal(o.r.last_tid, 3);
	assert_int_equal(index_count(o.ix), 2);
	assert_int_equal(index_get(o.ix, 3), 0);
	close_opened(&o);
	buf_free(&im.bytes);
}

static void test_cut_tail(void **state)
{
	struct image im = make(3, 50);
	char name[200];
	struct opened o;
	struct test_dir *d = *state;
	size_t len;
	uint8_t *p;

	buf_put_str(&im.bytes, "tail");
	for (int n = 0; n < 2; n++) {
		char expected[100];

		assert_int_equal(scan(&im, d, &o), OK);
		assert_int_equal(
			recovery_cut_tail(o.f, d->data, &o.r, name, sizeof(name), &o.e), OK);
		close_opened(&o);
		snprintf(expected, sizeof(expected), "%s.tr%d", d->data, n);
		assert_string_equal(name, expected);
		p = test_read_file(name, &len);
		assert_int_equal(len, 4);
		assert_memory_equal(p, "tail", 4);
		free(p);
		free(test_read_file(d->data, &len));
		assert_int_equal(len, im.bytes.len - 4);
	}
	buf_free(&im.bytes);
}

static int check_index(struct opened *o, uint64_t pos, uint64_t *tid)
{
	return recovery_check_index(o->f, o->ix, pos, tid, &o->e);
}

static void test_check_index(void **state)
{
	struct image im = make(10, 50);
	struct opened o;
	uint64_t tid = 0;

	assert_int_equal(scan(&im, *state, &o), OK);
	assert_int_equal(check_index(&o, im.bytes.len, &tid), OK);
	assert_int_equal(tid, 10);
	assert_int_equal(check_index(&o, im.start[5], &tid), OK);
	assert_int_equal(tid, 5);
	assert_int_equal(check_index(&o, im.bytes.len + 1, &tid), ERR_FORMAT);
	assert_int_equal(check_index(&o, im.bytes.len - 1, &tid), ERR_FORMAT);
	assert_int_equal(check_index(&o, 4, &tid), ERR_FORMAT);
	index_set(o.ix, 10, 999);
	assert_int_equal(check_index(&o, im.bytes.len, &tid), ERR_FORMAT);
	assert_int_equal(check_index(&o, im.start[9], &tid), OK);
	close_opened(&o);
	buf_free(&im.bytes);
}

/* Any bytes: an answer, never worse. */
/* Damage near the start and a torn end: all of it is no tail. */
static void test_damage_before_a_large_tail(void **state)
{
	struct test_dir *d = *state;
	struct image im = make(60, 2 << 20);
	struct opened o;

	im.bytes.len -= 100;
	put_be64(im.bytes.data + im.start[3] + 8, UINT64_C(1) << 40); /* its length */
	assert_int_equal(scan(&im, d, &o), ERR_CORRUPT);
	close_opened(&o);
	buf_free(&im.bytes);
}

/* A whole batch that was not marked yet follows the damage: what is before it had been synced. */
static void test_damage_before_an_unmarked_batch(void **state)
{
	struct image im = make(4, 10);
	struct opened o;

	put_txn(&im, 5, 'c', 5, 10);
	put_be64(im.bytes.data + im.start[1] + 8, 1);
	assert_int_equal(scan(&im, *state, &o), ERR_CORRUPT);
	close_opened(&o);
	buf_free(&im.bytes);
}

/* A saved index is this file's also when the last transaction stores an object twice. */
static void test_check_index_of_a_double_store(void **state)
{
	struct image im = make(2, 10);
	struct fs_rec_header r = { .oid = 2, .tid = 3, .plen = 10 };
	uint64_t tlen = FS_TXN_HEADER_LEN + 2 * (FS_REC_HEADER_LEN + 10);
	uint64_t pos, tid;
	struct opened o;

	put_txn(&im, 3, ' ', 2, 10);
	r.tloc = im.start[2];
	im.bytes.len -= 8;
	put_be64(im.bytes.data + im.start[2] + 8, tlen);
	fs_rec_header_put(buf_reserve(&im.bytes, FS_REC_HEADER_LEN), &r);
	buf_advance(&im.bytes, FS_REC_HEADER_LEN);
	buf_put(&im.bytes, "0123456789", 10);
	buf_put_be64(&im.bytes, tlen);
	assert_int_equal(scan(&im, *state, &o), OK);
	pos = o.r.end;
	assert_int_equal(check_index(&o, pos, &tid), OK);
	assert_int_equal(tid, 3);
	close_opened(&o);
	buf_free(&im.bytes);
}

static void test_random_damage(void **state)
{
	unsigned seed = 5;

	for (int n = 0; n < 1500; n++) {
		struct image im = make(6, 40);
		struct opened o;
		uint64_t tid;
		int rc;

		for (int k = rand_r(&seed) % 4; k >= 0; k--)
			im.bytes.data[4 + (size_t)rand_r(&seed) % (im.bytes.len - 4)] =
				(uint8_t)(rand_r(&seed) % 3 ? rand_r(&seed) : 0);
		rc = scan(&im, *state, &o);
		assert_true(rc == OK || rc == ERR_CORRUPT);
		if (rc == OK)
			assert_true(o.r.end <= o.r.size);
		rc = check_index(&o, im.bytes.len, &tid);
		assert_true(rc == OK || rc == ERR_FORMAT);
		close_opened(&o);
		buf_free(&im.bytes);
	}
}

int main(void)
{
#define DIR_TEST(f) cmocka_unit_test_setup_teardown(f, test_dir_setup, test_dir_teardown)
	const struct CMUnitTest tests[] = {
		DIR_TEST(test_whole),
		DIR_TEST(test_not_a_file),
		DIR_TEST(test_cut_anywhere),
		DIR_TEST(test_zeros),
		DIR_TEST(test_unfinished),
		DIR_TEST(test_lost_page),
		DIR_TEST(test_damage_in_the_middle),
		DIR_TEST(test_statuses),
		DIR_TEST(test_cut_tail),
		DIR_TEST(test_check_index),
		DIR_TEST(test_damage_before_a_large_tail),
		DIR_TEST(test_damage_before_an_unmarked_batch),
		DIR_TEST(test_check_index_of_a_double_store),
		DIR_TEST(test_random_damage),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
