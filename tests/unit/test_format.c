#include "cmocka_all.h"

#include <string.h>

#include "storage/filestorage/format.h"

static void test_magic(void **state)
{
	assert_true(fs_magic_ok((const uint8_t *)"FS30"));
	assert_true(fs_magic_ok((const uint8_t *)"FS21"));
	assert_false(fs_magic_ok((const uint8_t *)"FS31"));
	assert_false(fs_magic_ok((const uint8_t *)"ZOPE"));
}

/* As struct.pack('>8sQcHHH', ...) in Python lays it out. */
static void test_txn_header(void **state)
{
	static const uint8_t bytes[FS_TXN_HEADER_LEN] = { 1, 2, 3, 4, 5, 6, 7, 8, /* tid */
		0, 0, 0, 0, 0, 0, 1, 0,                                           /* tlen */
		' ', 0, 3, 0, 4, 1, 5 };
	struct fs_txn_header h;
	uint8_t out[FS_TXN_HEADER_LEN];

	fs_txn_header_get(bytes, &h);
	assert_true(h.tid == UINT64_C(0x0102030405060708));
	assert_int_equal(h.tlen, 256);
	assert_int_equal(h.status, ' ');
	assert_int_equal(bytes[FS_STATUS_OFF], ' ');
	assert_int_equal(h.ulen, 3);
	assert_int_equal(h.dlen, 4);
	assert_int_equal(h.elen, 261);
	assert_int_equal(fs_txn_header_size(&h), 23 + 3 + 4 + 261);
	fs_txn_header_put(out, &h);
	assert_memory_equal(out, bytes, sizeof(bytes));
}

static void test_rec_header(void **state)
{
	static const uint8_t bytes[FS_REC_HEADER_LEN] = { 0, 0, 0, 0, 0, 0, 0, 9, /* oid */
		1, 2, 3, 4, 5, 6, 7, 8,                                           /* tid */
		0, 0, 0, 0, 0, 0, 2, 0,                                           /* prev */
		0, 0, 0, 0, 0, 0, 3, 0,                                           /* tloc */
		0, 0, 0, 0, 0, 0, 0, 0, 0, 7 };
	struct fs_rec_header h;
	uint8_t out[FS_REC_HEADER_LEN];

	fs_rec_header_get(bytes, &h);
	assert_int_equal(h.oid, 9);
	assert_true(h.tid == UINT64_C(0x0102030405060708));
	assert_int_equal(h.prev, 512);
	assert_int_equal(h.tloc, 768);
	assert_int_equal(h.vlen, 0);
	assert_int_equal(h.plen, 7);
	assert_int_equal(fs_rec_size(&h), 49);
	h.plen = 0;
	assert_int_equal(fs_rec_size(&h), 50); /* a back-pointer */
	h.plen = 7;
	fs_rec_header_put(out, &h);
	assert_memory_equal(out, bytes, sizeof(bytes));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_magic),
		cmocka_unit_test(test_txn_header),
		cmocka_unit_test(test_rec_header),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
