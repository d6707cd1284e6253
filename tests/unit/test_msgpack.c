/* Reading msgpack: meanings, limits, hostile input (T44). */
#include "cmocka_all.h"

#include "base/mem.h"
#include "codec/msgpack.h"

static struct arena arena = ARENA_INIT(1 << 20);

/* The input in memory of its own, so that a sanitizer sees a read behind it. */
static int decode_exact(const void *bytes, size_t n, const struct pickle_limits *limits,
	struct val *ret, struct err *e)
{
	uint8_t *copy = mem_alloc(n);
	int rc;

	assert_non_null(copy);
	if (n)
		memcpy(copy, bytes, n);
	arena_reset(&arena);
	rc = msgpack_decode(slice_of(copy, n), limits, &arena, ret, e);
	mem_free(copy);
	return rc;
}

static struct val decode(const char *bytes, size_t n)
{
	struct err e = ERR_INIT;
	struct val v = { .type = VAL_NONE };

	arena_reset(&arena);
	assert_int_equal(
		msgpack_decode(slice_of(bytes, n), &pickle_limits_message, &arena, &v, &e), OK);
	return v;
}

#define DECODE(text) decode((text), sizeof(text) - 1)

static void refuse(const char *bytes, size_t n, int code, const char *part)
{
	struct err e = ERR_INIT;
	struct val v;

	assert_int_equal(decode_exact(bytes, n, &pickle_limits_message, &v, &e), code);
	assert_int_equal(e.code, code);
	if (!strstr(e.text, part))
		fail_msg("'%s' does not say '%s'", e.text, part);
}

#define REFUSE(text, code, part) refuse((text), sizeof(text) - 1, (code), (part))

static void test_scalars(void **state)
{
	assert_int_equal(DECODE("\xc0").type, VAL_NONE);
	assert_true(DECODE("\xc3").b);
	assert_int_equal(DECODE("\x7f").i, 127);
	assert_int_equal(DECODE("\xff").i, -1);
	assert_int_equal(DECODE("\xd3\x80\0\0\0\0\0\0\0").i, INT64_MIN);
	assert_int_equal(DECODE("\xcf\x80\0\0\0\0\0\0\0").type, VAL_BIGINT);
	assert_true(DECODE("\xcb\x3f\xf8\0\0\0\0\0\0").f == 1.5);
	assert_true(DECODE("\xca\x3f\xc0\0\0").f == 1.5);
	assert_true(slice_is(DECODE("\xa2hi").s, "hi"));
	assert_int_equal(DECODE("\xc4\x00").type, VAL_BYTES);
	assert_int_equal(DECODE("\xc4\x00").s.len, 0);
}

static void test_containers(void **state)
{
	struct val v = DECODE("\x93\x01\x90\x82\xa1"
			      "a\x92\x02\x03\xc4\x01"
			      "b\xc0");

	assert_int_equal(v.type, VAL_TUPLE);
	assert_int_equal(v.n, 3);
	assert_int_equal(v.items[1].n, 0);
	assert_int_equal(v.items[2].type, VAL_DICT);
	assert_int_equal(v.items[2].n, 4);
	assert_int_equal(val_get(&v.items[2], "a")->items[1].i, 3);
	assert_true(val_is_none(val_get(&v.items[2], "b")));
	assert_null(val_get(&v.items[2], "c"));
}

static void test_truncated(void **state)
{
	static const char whole[] = "\x95\xcd\x01\x02\xc4\x03"
				    "abc\xd9\x02hi\x81\xa1k\xcb\x3f\xf8\0\0\0\0\0\0\xdc\0\1\xc0";

	DECODE(whole);
	for (size_t n = 0; n < sizeof(whole) - 1; n++)
		refuse(whole, n, ERR_FORMAT, "at byte");
}

static void test_refused(void **state)
{
	REFUSE("", ERR_FORMAT, "at byte 0");
	REFUSE("\x92\x91\xc0", ERR_FORMAT, "at byte 3");
	REFUSE("\xc1", ERR_FORMAT, "starts nothing");
	REFUSE("\xc0\xc0", ERR_FORMAT, "bytes after its end");
	REFUSE("\xa1\xff", ERR_FORMAT, "UTF-8");
	REFUSE("\xa3\xed\xa0\x80", ERR_FORMAT, "UTF-8");
	REFUSE("\xa2\xc0\x80", ERR_FORMAT, "UTF-8");
	REFUSE("\xd4\x01\x00", ERR_FORMAT, "extension");
	REFUSE("\x81\x01\xc0", ERR_FORMAT, "key");
	REFUSE("\x81\x91\xc0\xc0", ERR_FORMAT, "key");
}

/* Lengths that were never sent must cost nothing. */
static void test_huge_lengths(void **state)
{
	REFUSE("\xdd\xff\xff\xff\xff", ERR_FORMAT, "more values");
	REFUSE("\xdf\x7f\xff\xff\xff", ERR_FORMAT, "more values");
	REFUSE("\xdf\xff\xff\xff\xff", ERR_LIMIT, "too many");
	REFUSE("\xc6\xff\xff\xff\xff", ERR_FORMAT, "ends too early");
	REFUSE("\xdb\xff\xff\xff\xff", ERR_FORMAT, "ends too early");
	assert_true(arena.used < 1000);
}

static void test_depth(void **state)
{
	struct err e = ERR_INIT;
	char deep[1000];
	struct val v;

	memset(deep, 0x91, sizeof(deep));
	deep[pickle_limits_message.depth] = 0x01;
	assert_int_equal(
		decode_exact(deep, pickle_limits_message.depth + 1, &pickle_limits_message, &v, &e),
		OK);
	deep[pickle_limits_message.depth] = (char)0x91;
	refuse(deep, sizeof(deep), ERR_LIMIT, "deep");
}

static void test_too_many(void **state)
{
	struct pickle_limits limits = { .depth = 4, .memo = 0, .items = 4 };
	struct err e = ERR_INIT;
	struct val v;

	assert_int_equal(decode_exact("\x93\1\1\1", 4, &limits, &v, &e), OK);
	assert_int_equal(decode_exact("\x94\1\1\1\1", 5, &limits, &v, &e), ERR_LIMIT);
}

static int clean_up(void **state)
{
	arena_free(&arena);
	return 0;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_scalars),
		cmocka_unit_test(test_containers),
		cmocka_unit_test(test_truncated),
		cmocka_unit_test(test_refused),
		cmocka_unit_test(test_huge_lengths),
		cmocka_unit_test(test_depth),
		cmocka_unit_test(test_too_many),
	};

	return cmocka_run_group_tests(tests, NULL, clean_up);
}
