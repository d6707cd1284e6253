/* Addresses as configuration files write them (T61, T72). */
#include "cmocka_all.h"

#include "base/address.h"

static void expect(const char *text, const char *host, unsigned port)
{
	struct err e = ERR_INIT;
	struct address a;

	assert_int_equal(address_parse(text, "", &a, &e), OK);
	assert_int_equal(a.family, ADDRESS_INET);
	assert_string_equal(a.host, host);
	assert_int_equal(a.port, port);
}

static void test_inet(void **state)
{
	expect("8100", "", 8100);
	expect("localhost:8100", "localhost", 8100);
	expect("127.0.0.1: 8100", "127.0.0.1", 8100);
	expect(":8100", "", 8100);
	expect(":", "", 0);
	expect(":0", "", 0);
	expect("127.0.0.1", "127.0.0.1", 0);
	expect("[::1]:8100", "::1", 8100);
	expect("::1", "::1", 0);
}

static void test_unix(void **state)
{
	struct err e = ERR_INIT;
	struct address a;

	assert_int_equal(address_parse("./zeo.sock", "", &a, &e), OK);
	assert_int_equal(a.family, ADDRESS_UNIX);
	assert_string_equal(a.path, "./zeo.sock");
}

static void test_refused(void **state)
{
	struct err e = ERR_INIT;
	struct address a;

	assert_int_equal(address_parse("", "", &a, &e), ERR_INVAL);
	assert_int_equal(address_parse("host:port", "", &a, &e), ERR_INVAL);
	assert_int_equal(address_parse("host:70000", "", &a, &e), ERR_INVAL);
	assert_int_equal(address_parse("[::1", "", &a, &e), ERR_INVAL);
}

static void test_format(void **state)
{
	struct address a = { .family = ADDRESS_INET, .host = "::1", .port = 81 };
	char out[300];

	assert_string_equal(address_format(&a, out, sizeof(out)), "[::1]:81");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_inet),
		cmocka_unit_test(test_unix),
		cmocka_unit_test(test_refused),
		cmocka_unit_test(test_format),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
