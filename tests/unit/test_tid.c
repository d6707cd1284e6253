/* Transaction ids against values that persistent.TimeStamp gave. */
#include "cmocka_all.h"

#include "base/compiler.h"
#include "codec/tid.h"

static const struct {
	uint64_t wall_us;
	uint64_t tid;
	double seconds;
} moments[] = {
	{ 0, UINT64_C(0x023c2b0000000000), 0.0 },
	{ 59999999, UINT64_C(0x023c2b00ffffffb8), 59.999999046325684 },
	{ 60000000, UINT64_C(0x023c2b0100000000), 60.0 },
	{ 951782399999999, UINT64_C(0x0332addfffffffb8), 951782399.999999 },
	{ 951782400000000, UINT64_C(0x0332ade000000000), 951782400.0 },
	{ 1709164799123456, UINT64_C(0x03f6d9dffc429488), 1709164799.123456 },
	{ 1700000000000001, UINT64_C(0x03f47f955555559c), 1700000000.000001 },
	{ 1735689599999999, UINT64_C(0x03fdba7fffffffb8), 1735689599.999999 },
	{ 4102444800000000, UINT64_C(0x0662c40000000000), 4102444800.0 },
	{ 2563464692609525, UINT64_C(0x04d42cfb8b224c13), 2563464692.6095247 },
	{ 3613080452950751, UINT64_C(0x05e401b78c9701c8), 3613080452.9507513 },
	{ 284209856297924, UINT64_C(0x0285c95ef0345885), 284209856.29792404 },
	{ 531056621794364, UINT64_C(0x02c5ba3fb2529734), 531056621.794364 },
	{ 2126805311019171, UINT64_C(0x04630fe32f03df88), 2126805311.0191708 },
	{ 945553322657302, UINT64_C(0x033118560b567b7e), 945553322.6573019 },
};

static void test_of_time(void **state)
{
	for (size_t i = 0; i < ARRAY_LEN(moments); i++)
		assert_int_equal(tid_of_time(moments[i].wall_us), moments[i].tid);
}

static void test_to_time(void **state)
{
	for (size_t i = 0; i < ARRAY_LEN(moments); i++)
		assert_true(tid_to_time(moments[i].tid) == moments[i].seconds);
}

/* R4 */
static void test_next(void **state)
{
	uint64_t now = UINT64_C(1700000000000001);
	uint64_t tid = tid_of_time(now);

	assert_int_equal(tid_next(now, 0), tid);
	assert_int_equal(tid_next(now, tid - 1), tid);
	assert_int_equal(tid_next(now, tid), tid + 1);
	assert_int_equal(tid_next(now - 1000000, tid), tid + 1);
	assert_int_equal(tid_next(0, tid | UINT32_MAX), (tid | UINT32_MAX) + 1);
}

/* TimeStamp(2024, 2, 29, 23, 59) and all of its minute: the next one is in March. */
static void test_next_month(void **state)
{
	uint64_t last = tid_of_time(UINT64_C(1709251140000000)) | UINT32_MAX;

	assert_int_equal(tid_next(0, last), tid_of_time(UINT64_C(1709251200000000)));
}

static void test_hex(void **state)
{
	char out[17];

	assert_string_equal(tid_hex(UINT64_C(0x03f47f955555559c), out), "03f47f955555559c");
	assert_string_equal(tid_hex(0, out), "0000000000000000");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_of_time),
		cmocka_unit_test(test_to_time),
		cmocka_unit_test(test_next),
		cmocka_unit_test(test_next_month),
		cmocka_unit_test(test_hex),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
