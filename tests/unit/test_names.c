#include "cmocka_all.h"

#include <arpa/inet.h>
#include <ifaddrs.h>
#include <net/if.h>
#include <string.h>

#include "zookeeper/names.h"
#include "zookeeper/session.h"

static struct sockaddr_in sockets[4];

/* A list of interfaces with these addresses; a leading '-' means that it is down. */
static struct ifaddrs *interfaces(struct ifaddrs *out, const char *const *hosts)
{
	size_t i = 0;

	for (; hosts[i]; i++) {
		memset(&out[i], 0, sizeof(out[i]));
		sockets[i].sin_family = AF_INET;
		assert_int_equal(
			inet_pton(AF_INET, hosts[i] + (hosts[i][0] == '-'), &sockets[i].sin_addr),
			1);
		out[i].ifa_addr = (struct sockaddr *)&sockets[i];
		out[i].ifa_flags = hosts[i][0] == '-' ? 0 : IFF_UP;
		out[i].ifa_next = hosts[i + 1] ? &out[i + 1] : NULL;
	}
	return i ? out : NULL;
}

static void check(const char *host, const char *advertise, const char *const *hosts,
	const char *const *expected)
{
	struct address bound = { .family = ADDRESS_INET, .port = 8100 };
	struct ifaddrs list[4];
	struct node_names names;
	struct err e = ERR_INIT;

	strcpy(bound.host, host);
	if (names_of(&bound, advertise, interfaces(list, hosts), &names, &e))
		fail_msg("%s", e.text);
	for (size_t i = 0; i < names.n; i++) {
		assert_non_null(expected[i]);
		assert_string_equal(names.text[i], expected[i]);
	}
	assert_null(expected[names.n]);
}

#define LIST(...)                                                                                  \
	(const char *const[])                                                                      \
	{                                                                                          \
		__VA_ARGS__, NULL                                                                  \
	}
#define NO_HOSTS                                                                                   \
	(const char *const[])                                                                      \
	{                                                                                          \
		NULL                                                                               \
	}

static void bound_host_is_the_name(void **state)
{
	check("127.0.0.1", NULL, LIST("10.0.0.1"), LIST("127.0.0.1:8100"));
	check("db.example.com", NULL, NO_HOSTS, LIST("db.example.com:8100"));
	check("::1", NULL, NO_HOSTS, LIST("[::1]:8100"));
}

static void all_interfaces(void **state)
{
	const char *const *hosts = LIST("127.0.0.1", "192.0.2.9", "10.0.0.1");
	const char *const *expected = LIST("10.0.0.1:8100", "192.0.2.9:8100");

	check("", NULL, hosts, expected);
	check("0.0.0.0", NULL, hosts, expected); /* T39 */
	check("::", NULL, hosts, expected);
	check("", NULL, LIST("10.0.0.1", "10.0.0.1", "-10.0.0.2"), LIST("10.0.0.1:8100"));
	check("", NULL, LIST("127.0.0.1", "-10.0.0.2"), LIST("127.0.0.1:8100"));
}

static void advertised(void **state)
{
	check("", "db.example.com", NO_HOSTS, LIST("db.example.com:8100")); /* T72 */
	check("", "db.example.com:99", NO_HOSTS, LIST("db.example.com:99"));
	check("127.0.0.1", "::1", NO_HOSTS, LIST("[::1]:8100"));
	check("127.0.0.1", "[::1]", NO_HOSTS, LIST("[::1]:8100"));
	check("127.0.0.1", "[::1]:7", NO_HOSTS, LIST("[::1]:7"));
}

static void refuse(const struct address *bound, const char *advertise, const char *text)
{
	struct node_names names;
	struct err e = ERR_INIT;

	assert_int_equal(names_of(bound, advertise, NULL, &names, &e), ERR_INVAL);
	if (!strstr(e.text, text))
		fail_msg("'%s' is not in '%s'", text, e.text);
}

static void nothing_to_connect_to(void **state)
{
	struct address tcp = { .family = ADDRESS_INET, .port = 8100 };
	struct address local = { .family = ADDRESS_UNIX, .path = "/run/zeo" };

	refuse(&tcp, NULL, "no interface");
	refuse(&tcp, "0.0.0.0", "'0.0.0.0' is no address others can connect to");
	refuse(&tcp, "/run/zeo", "expected HOST or HOST:PORT");
	refuse(&local, NULL, "'/run/zeo' cannot register");
	refuse(&local, "db.example.com", "needs a port");
}

static void connection_strings(void **state)
{
	static const char *const cases[][2] = {
		{ "127.0.0.1:2181", "127.0.0.1:2181" },
		{ "zk1", "zk1:2181" },
		{ "zk1, zk2:99,[::1]:5/a/b/", "zk1:2181,zk2:99,::1:5/a/b" },
		{ "[::1]/", "::1:2181" },
	};
	char out[64];
	struct err e = ERR_INIT;

	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		if (zk_session_check_connection(cases[i][0], out, sizeof(out), &e))
			fail_msg("%s: %s", cases[i][0], e.text);
		assert_string_equal(out, cases[i][1]);
	}
}

static void bad_connection_strings(void **state)
{
	static const char *const cases[] = { "", "/path", "zk1,", "zk1:", "zk1:x", "zk1:0",
		"zk1:65536", "[::1]x", ":2181" };
	char out[64];
	struct err e = ERR_INIT;

	for (size_t i = 0; i < ARRAY_LEN(cases); i++)
		if (zk_session_check_connection(cases[i], out, sizeof(out), &e) != ERR_INVAL)
			fail_msg("'%s' was taken as %s", cases[i], out);
	assert_int_equal(zk_session_check_connection("zk1", out, 8, &e), ERR_LIMIT);
	assert_int_equal(zk_session_check_connection("zk1/aaaaaaaaaa", out, 12, &e), ERR_LIMIT);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(bound_host_is_the_name),
		cmocka_unit_test(all_interfaces),
		cmocka_unit_test(advertised),
		cmocka_unit_test(nothing_to_connect_to),
		cmocka_unit_test(connection_strings),
		cmocka_unit_test(bad_connection_strings),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
