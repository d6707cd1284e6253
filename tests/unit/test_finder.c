/* What a finder says and hands on, with a watch and a client of our own. */
#include "cmocka_all.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/log.h"
#include "base/mem.h"
#include "client/finder.h"

static struct {
	struct watch_events events;
	char connection[64], path[64];
	bool closed;
	int rc;            /* of watch_open() */
	const char *first; /* the children that are there at the start */
	char log[4096];
	char client[256]; /* the addresses that the client has */
	int sets;
	int stops; /* how often stop() was asked */
	void (*seek)(void *arg);
	void *seek_arg;
	int hurries;
} t;

static struct client *const a_client = (struct client *)&t;

/* "a b" -> "a\0b\0" */
static void tell(const char *names)
{
	char data[512] = "";
	size_t n = names[0] != 0;

	snprintf(data, sizeof(data), "%s", names);
	for (char *p = data; *p; p++)
		if (*p == ' ') {
			*p = 0;
			n++;
		}
	t.events.changed(t.events.arg, data, n ? strlen(names) + 1 : 0, n);
}

int watch_open(const char *connection, const char *path, enum watch_kind kind, uint32_t timeout_ms,
	const struct watch_events *events, struct watch **ret, struct err *e)
{
	assert_int_equal(kind, WATCH_CHILDREN);
	t.events = *events;
	snprintf(t.connection, sizeof(t.connection), "%s", connection);
	snprintf(t.path, sizeof(t.path), "%s", path);
	if (t.rc)
		return err_set(e, t.rc, "no");
	tell(t.first);
	*ret = (struct watch *)&t;
	return OK;
}

void watch_close(struct watch *w)
{
	t.closed = w != NULL;
}

void client_on_seek(struct client *c, void (*seek)(void *arg), void *arg)
{
	assert_ptr_equal(c, a_client);
	assert_false(t.closed);
	t.seek = seek;
	t.seek_arg = arg;
}

void watch_hurry(struct watch *w)
{
	assert_ptr_equal(w, &t);
	t.hurries++;
}

int client_set_addresses(struct client *c, const struct address *addresses, size_t n, struct err *e)
{
	char one[300];

	assert_ptr_equal(c, a_client);
	t.client[0] = 0;
	for (size_t i = 0; i < n; i++) {
		strcat(t.client, address_format(&addresses[i], one, sizeof(one)));
		strcat(t.client, " ");
	}
	t.sets++;
	return OK;
}

static void log_line(void *arg, int level, const char *logger, const char *text)
{
	size_t n = strlen(t.log);
	char scratch[16];

	assert_ptr_equal(arg, &t);
	assert_string_equal(logger, "zc.zkzeo");
	snprintf(t.log + n, sizeof(t.log) - n, "%s %s\n", log_level_name(level, scratch), text);
}

static const struct client_events events = { .arg = &t, .log = log_line };

static int setup(void **state)
{
	memset(&t, 0, sizeof(t));
	t.first = "";
	unsetenv("ZC_ZK_CONNECTION_STRING");
	return 0;
}

static struct finder *open_finder(bool wait)
{
	struct finder *f = NULL;
	struct err e = ERR_INIT;

	if (finder_open("zk:2181", "/demo", wait, NULL, &events, &f, &e))
		fail_msg("%s", e.text);
	return f;
}

static void attach(struct finder *f)
{
	struct err e = ERR_INIT;

	assert_int_equal(finder_attach(f, a_client, &e), OK);
}

static void assert_log(const char *text)
{
	if (strcmp(t.log, text) != 0)
		fail_msg("log is:\n%sexpected:\n%s", t.log, text);
	t.log[0] = 0;
}

static void hands_on_what_is_there(void **state)
{
	struct address *a = NULL;
	struct err e = ERR_INIT;
	struct finder *f;
	size_t n = 0;

	t.first = "127.0.0.1:1 [::1]:2";
	f = open_finder(true);
	assert_log("");
	assert_int_equal(finder_addresses(f, &a, &n, &e), OK);
	assert_int_equal(n, 2);
	assert_string_equal(a[1].host, "::1");
	assert_int_equal(a[1].port, 2);
	mem_free(a);
	attach(f);
	assert_string_equal(t.client, "127.0.0.1:1 [::1]:2 ");
	assert_log("INFO Addresses from <zk:2181/demo>: ['127.0.0.1:1', '[::1]:2']\n");
	finder_close(f);
	assert_true(t.closed);
}

static void looks_again_for_a_client_without_server(void **state)
{
	struct finder *f;

	t.first = "h:1";
	f = open_finder(true);
	attach(f);
	assert_non_null(t.seek);
	t.seek(t.seek_arg);
	assert_int_equal(t.hurries, 1);
	finder_close(f);
	assert_null(t.seek);
}

/* T76 */
static void each_change_is_told(void **state)
{
	struct finder *f;

	t.first = "h:1";
	f = open_finder(true);
	tell("h:1 h:2"); /* nobody is attached yet */
	attach(f);
	tell("h:2");
	assert_string_equal(t.client, "h:2 ");
	tell("");
	assert_string_equal(t.client, "");
	t.events.deleted(t.events.arg);
	tell("h:3");
	assert_string_equal(t.client, "h:3 ");
	assert_log("INFO Addresses from <zk:2181/demo>: ['h:1', 'h:2']\n"
		   "INFO Addresses from <zk:2181/demo>: ['h:2']\n"
		   "WARNING No addresses from <zk:2181/demo>\n"
		   "WARNING OK: Addresses from <zk:2181/demo>\n"
		   "INFO Addresses from <zk:2181/demo>: ['h:3']\n");
	finder_close(f);
}

/* T38: the client is told, and keeps what works. */
static void path_that_goes_is_empty(void **state)
{
	struct finder *f;

	t.first = "h:1";
	f = open_finder(true);
	attach(f);
	t.log[0] = 0;
	t.events.deleted(t.events.arg);
	assert_int_equal(t.sets, 2);
	assert_string_equal(t.client, "");
	assert_log("WARNING No addresses from <zk:2181/demo>\n");
	finder_close(f);
}

static void does_not_wait(void **state)
{
	struct finder *f = open_finder(false);

	assert_log("");
	attach(f);
	assert_int_equal(t.sets, 1);
	tell("h:1");
	assert_log("WARNING No addresses from <zk:2181/demo>\n"
		   "WARNING OK: Addresses from <zk:2181/demo>\n"
		   "INFO Addresses from <zk:2181/demo>: ['h:1']\n");
	finder_close(f);
}

/* Of the thread that waits: a server comes, and before it what is none. */
static bool server_comes(void *arg)
{
	assert_ptr_equal(arg, &t);
	t.stops++;
	tell(t.stops < 3 ? "x" : "h:1 x");
	return false;
}

static void waits(void **state)
{
	struct finder *f = NULL;
	struct err e = ERR_INIT;

	assert_int_equal(finder_open("zk:2181", "/demo", true, server_comes, &events, &f, &e), OK);
	assert_int_equal(t.stops, 3);
	assert_log("WARNING No addresses from <zk:2181/demo>\n"
		   "WARNING <zk:2181/demo>: 'x' is no address, HOST:PORT: it is passed over\n"
		   "WARNING OK: Got addresses from <zk:2181/demo>\n");
	attach(f);
	assert_log("INFO Addresses from <zk:2181/demo>: ['h:1']\n");
	finder_close(f);
}

static bool stop_at_once(void *arg)
{
	return true;
}

static void wait_is_ended(void **state)
{
	struct finder *f = NULL;
	struct err e = ERR_INIT;

	assert_int_equal(
		finder_open("zk:2181", "/demo", true, stop_at_once, &events, &f, &e), ERR_CLOSED);
	assert_string_equal(e.text, "the wait for addresses from <zk:2181/demo> was ended");
	assert_true(t.closed);
	assert_null(f);
}

static void what_is_no_address(void **state)
{
	struct finder *f;

	t.first = "lock 8100 :8100 h:0 h:x h:99999 h:7 [::1]:8 a:b";
	f = open_finder(true);
	t.log[0] = 0;
	attach(f);
	assert_string_equal(t.client, "h:7 [::1]:8 ");
	assert_log("INFO Addresses from <zk:2181/demo>: ['h:7', '[::1]:8']\n");
	tell("lock other"); /* only the new one is said, and there is none */
	assert_string_equal(t.client, "");
	assert_log("WARNING <zk:2181/demo>: 'other' is no address, HOST:PORT: it is passed over\n"
		   "WARNING No addresses from <zk:2181/demo>\n");
	finder_close(f);
}

static void default_connection(void **state)
{
	struct finder *f = NULL;
	struct err e = ERR_INIT;

	t.first = "h:1";
	assert_int_equal(finder_open(NULL, "/demo", true, NULL, NULL, &f, &e), OK);
	assert_string_equal(t.connection, "127.0.0.1:2181");
	finder_close(f);
	setenv("ZC_ZK_CONNECTION_STRING", "other:1", 1);
	assert_int_equal(finder_open("", "/demo", true, NULL, NULL, &f, &e), OK);
	assert_string_equal(t.connection, "other:1");
	finder_close(f);
}

static void watch_fails(void **state)
{
	struct finder *f = NULL;
	struct err e = ERR_INIT;

	t.rc = ERR_NOENT;
	assert_int_equal(finder_open("zk:2181", "/demo", true, NULL, &events, &f, &e), ERR_NOENT);
	assert_string_equal(e.text, "no");
	assert_null(f);
}

static void *tell_many(void *arg)
{
	for (int i = 0; i < 2000; i++)
		tell(i % 2 ? "h:1" : "h:1 h:2");
	tell("last:1");
	return NULL;
}

/* The client's last list is the last one, whenever it was attached. */
static void attached_while_it_changes(void **state)
{
	struct finder *f;
	pthread_t thread;

	t.first = "h:1";
	f = open_finder(true);
	assert_int_equal(pthread_create(&thread, NULL, tell_many, NULL), 0);
	attach(f);
	pthread_join(thread, NULL);
	assert_string_equal(t.client, "last:1 ");
	finder_close(f);
}

#define TEST(f) cmocka_unit_test_setup(f, setup)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(hands_on_what_is_there),
		TEST(looks_again_for_a_client_without_server),
		TEST(each_change_is_told),
		TEST(path_that_goes_is_empty),
		TEST(does_not_wait),
		TEST(waits),
		TEST(wait_is_ended),
		TEST(what_is_no_address),
		TEST(default_connection),
		TEST(watch_fails),
		TEST(attached_while_it_changes),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
