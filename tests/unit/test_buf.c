/* Appending to a buffer: what fits, what does not, and that a failure stays. */
#include "cmocka_all.h"

#include "base/buf.h"
#include "base/mem.h"

static int no_memory(void)
{
	return 1;
}

static void test_append(void **state)
{
	struct buf b = BUF_INIT(0);
	uint8_t byte = 0;

	(void)state;
	buf_put(&b, NULL, 0); /* an empty slice's */
	assert_true(buf_ok(&b));
	assert_int_equal(b.len, 0);
	for (unsigned i = 0; i < 1000; i++)
		buf_put_u8(&b, (uint8_t)i);
	buf_put_slice(&b, slice_of("ab\0c", 4));
	buf_put_str(&b, "de");
	buf_put_be16(&b, 0x1234);
	buf_put_be32(&b, 0x56789abc);
	buf_put_be64(&b, 0x0123456789abcdef);
	assert_true(buf_ok(&b));
	assert_int_equal(b.len, 1020);
	for (unsigned i = 0; i < 1000; i++)
		assert_int_equal(b.data[i], (uint8_t)i);
	assert_memory_equal(b.data + 1000,
		"ab\0cde\x12\x34\x56\x78\x9a\xbc\x01\x23\x45\x67\x89\xab\xcd\xef", 20);
	assert_null(buf_reserve(&b, SIZE_MAX - 10)); /* more than there are addresses */
	buf_put(&b, &byte, 1);
	assert_int_equal(b.len, 1020);
	buf_free(&b);
}

static void test_cap(void **state)
{
	struct buf b = BUF_INIT(70); /* less than the room it comes to have */

	(void)state;
	buf_put(&b, "0123456789012345678901234567890123456789012345678901234567890123", 64);
	buf_put(&b, "012345", 6);
	assert_true(buf_ok(&b));
	assert_true(b.room > 70);
	assert_non_null(buf_reserve(&b, 0));
	assert_null(buf_reserve(&b, 1));
	assert_false(buf_ok(&b));
	assert_int_equal(b.len, 70);
	buf_reset(&b);
	buf_put(&b, "0", 1);
	assert_true(buf_ok(&b));
	assert_null(buf_reserve(&b, SIZE_MAX));
	buf_put_u8(&b, 1); /* it would fit: a failure stays */
	assert_null(buf_reserve(&b, 0));
	assert_int_equal(b.len, 1);
	buf_free(&b);
	assert_true(buf_ok(&b));
}

static void test_no_memory(void **state)
{
	struct buf b = BUF_INIT(0);

	(void)state;
	buf_put_u8(&b, 7);
	mem_fault_hook = no_memory;
	assert_null(buf_reserve(&b, b.room));
	mem_fault_hook = NULL;
	assert_false(buf_ok(&b));
	assert_int_equal(b.len, 1);
	assert_int_equal(b.data[0], 7);
	buf_free(&b);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_append),
		cmocka_unit_test(test_cap),
		cmocka_unit_test(test_no_memory),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
