/* Records of zc.zlibstorage. */
#include "cmocka_all.h"

#include <stdlib.h>

#include "base/compiler.h"
#include "base/mem.h"
#include "codec/zrecord.h"

/* zc.zlibstorage.compress(b'x' * 40 + b'y' * 40) */
static const uint8_t python_80[] = { '.', 'z', 0x78, 0x9c, 0xab, 0xa8, 0x20, 0x0e, 0x54, 0x12, 0x09,
	0x00, 0xf2, 0x8f, 0x25, 0xa9 };

static struct slice plain_80(void)
{
	static uint8_t p[80];

	memset(p, 'x', 40);
	memset(p + 40, 'y', 40);
	return slice_of(p, sizeof(p));
}

static void assert_slice(struct slice a, struct slice b)
{
	assert_int_equal(a.len, b.len);
	assert_memory_equal(a.data, b.data, a.len);
}

static void test_as_python(void **state)
{
	struct buf out = BUF_INIT(0);
	struct err e = ERR_INIT;

	assert_int_equal(zrecord_deflate(plain_80(), &out, &e), OK);
	assert_slice(buf_slice(&out), slice_of(python_80, sizeof(python_80)));
	assert_true(zrecord_is(buf_slice(&out)));
	buf_reset(&out);
	buf_put_str(&out, "before");
	assert_int_equal(zrecord_inflate(slice_of(python_80, sizeof(python_80)), &out, &e), OK);
	assert_int_equal(out.len, 86);
	assert_slice(slice_of(out.data + 6, 80), plain_80());
	buf_free(&out);
}

/* 20 bytes, what is compressed, and what would not get shorter stay as they are. */
static void test_stays(void **state)
{
	static const char *const records[] = { "aaaaaaaaaaaaaaaaaaaa",
		".zaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa", "abcdefghijklmnopqrstuvwxyz", "" };

	for (size_t i = 0; i < ARRAY_LEN(records); i++) {
		struct buf out = BUF_INIT(0);
		struct err e = ERR_INIT;

		assert_int_equal(zrecord_deflate(slice_str(records[i]), &out, &e), OK);
		assert_true(slice_is(buf_slice(&out), records[i]));
		buf_free(&out);
	}
}

/* Every cut of a stream, and what no stream is. What follows one does not count. */
static void test_damaged(void **state)
{
	uint8_t longer[sizeof(python_80) + 3];
	struct buf out = BUF_INIT(0);
	struct err e = ERR_INIT;

	for (size_t n = 2; n < sizeof(python_80); n++) {
		buf_reset(&out);
		assert_int_equal(zrecord_inflate(slice_of(python_80, n), &out, &e), ERR_FORMAT);
		assert_non_null(strstr(e.text, "ends too early"));
	}
	buf_reset(&out);
	assert_int_equal(zrecord_inflate(slice_str(".znothing of the kind"), &out, &e), ERR_FORMAT);
	memcpy(longer, python_80, sizeof(python_80));
	memset(longer + sizeof(python_80), 7, 3);
	buf_reset(&out);
	assert_int_equal(zrecord_inflate(slice_of(longer, sizeof(longer)), &out, &e), OK);
	assert_slice(buf_slice(&out), plain_80());
	longer[10] ^= 1;
	buf_reset(&out);
	assert_int_equal(zrecord_inflate(slice_of(longer, sizeof(longer)), &out, &e), ERR_FORMAT);
	buf_free(&out);
}

/* A small record may not become a large one: exactly as much as there may be is fine. */
static void test_limit(void **state)
{
	for (size_t max = 1; max < 100; max++) {
		struct buf out = BUF_INIT(max);
		struct err e = ERR_INIT;
		int rc = zrecord_inflate(slice_of(python_80, sizeof(python_80)), &out, &e);

		assert_int_equal(rc, max < 80 ? ERR_LIMIT : OK);
		assert_true(out.len <= max);
		buf_free(&out);
	}
}

static int countdown;

static int fail_nth(void)
{
	return countdown-- == 0;
}

static void test_no_memory(void **state)
{
	size_t len = 3 << 20;
	uint8_t *data = malloc(len);
	int failures = 0;
	int rc;

	for (size_t i = 0; i < len; i++)
		data[i] = (uint8_t)(i * i >> 7);
	do {
		struct buf packed = BUF_INIT(0);
		struct buf out = BUF_INIT(0);
		struct err e = ERR_INIT;

		countdown = failures;
		mem_fault_hook = fail_nth;
		rc = zrecord_deflate(slice_of(data, len), &packed, &e);
		if (rc == OK)
			rc = zrecord_inflate(buf_slice(&packed), &out, &e);
		mem_fault_hook = NULL;
		if (rc == OK)
			assert_slice(buf_slice(&out), slice_of(data, len));
		else
			assert_int_equal(rc, ERR_NOMEM);
		buf_free(&packed);
		buf_free(&out);
		failures++;
	} while (rc != OK);
	assert_true(failures > 5);
	free(data);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_as_python),
		cmocka_unit_test(test_stays),
		cmocka_unit_test(test_damaged),
		cmocka_unit_test(test_limit),
		cmocka_unit_test(test_no_memory),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
