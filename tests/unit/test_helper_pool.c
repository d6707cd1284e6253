/* The resolver processes, with this program itself in Python's place: what a process may do to us.
 * The real one is in tests/interop/test_resolver.py. */
#include "cmocka_all.h"

#include <dirent.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/bigendian.h"
#include "base/clock.h"
#include "base/compiler.h"
#include "resolver/helper_pool.h"

/* What the process does with a conflict is the number of its object. */
enum { ECHO = 1, HANG, EXIT, HUGE_ANSWER, GARBAGE, EMPTY, HALF, REFUSE, SLOW_ECHO, LONG_REASON };

static void put(const void *p, size_t n)
{
	if (send(0, p, n, MSG_NOSIGNAL) != (ssize_t)n)
		_exit(1);
}

static void get(void *p, size_t n)
{
	if (n && recv(0, p, n, MSG_WAITALL) != (ssize_t)n)
		_exit(0);
}

static void put_frame(uint32_t length, char letter, const void *rest, size_t n)
{
	uint8_t head[5];

	put_be32(head, length);
	head[4] = (uint8_t)letter;
	put(head, sizeof(head));
	put(rest, n);
}

static void serve_one(const uint8_t *request, size_t n)
{
	uint32_t skip = 37 + get_be32(request + 25) + get_be32(request + 29);
	const uint8_t *changed = request + skip;

	switch (get_be64(request + 1)) {
	case SLOW_ECHO:
		usleep(20000);
		/* fall through */
	case ECHO:
		put_frame((uint32_t)(n - skip + 1), '+', changed, n - skip);
		return;
	case HANG:
		pause();
		return;
	case HUGE_ANSWER:
		put_frame(UINT32_MAX, '+', "", 0);
		return;
	case GARBAGE:
		put_frame(3, '!', "ab", 2);
		return;
	case EMPTY:
		put_frame(0, '+', "", 0);
		return;
	case HALF:
		put_frame(100, '+', "half", 4);
		_exit(0);
	case REFUSE:
		put_frame(8, '-', "not\nnow", 7);
		return;
	case LONG_REASON:
		put_frame(1 << 20, '-', "", 0);
		return;
	default:
		_exit(0);
	}
}

/* In the process: as zkzeo_resolver.py speaks. @manner is the entry of its sys.path. */
static int be_python(const char *bootstrap, const char *manner)
{
	static uint8_t request[1 << 16];
	char *at = strstr(bootstrap, "read(");
	size_t script = at ? strtoul(at + 5, NULL, 10) : 0;
	uint8_t length[4];

	if (strcmp(manner, "ends") == 0)
		return 0;
	get(request, script);
	if (strcmp(manner, "refuses") == 0)
		put_frame(8, '-', "no ZODB", 7);
	put_frame(1, 'H', "", 0);
	for (;;) {
		get(length, sizeof(length));
		if (get_be32(length) > sizeof(request))
			return 1;
		get(request, get_be32(length));
		serve_one(request, get_be32(length));
	}
}

static int open_pool(const char *manner, uint32_t processes, uint32_t timeout_ms,
	struct helper_pool **ret, struct err *e)
{
	const char *path[] = { manner };
	struct helper_pool_options o = { .python = "/proc/self/exe",
		.path = path,
		.path_n = 1,
		.processes = processes,
		.timeout_ms = timeout_ms };

	return helper_pool_open(&o, ret, e);
}

static struct helper_pool *good_pool(uint32_t processes, uint32_t timeout_ms)
{
	struct helper_pool *p = NULL;
	struct err e = ERR_INIT;

	if (open_pool("is good", processes, timeout_ms, &p, &e) != OK)
		fail_msg("%s", e.text);
	return p;
}

static int ask(struct helper_pool *p, uint64_t what, struct err *e)
{
	struct resolve_req q = { .oid = what };
	struct buf out = BUF_INIT(0);
	int rc;

	q.old = slice_str("old");
	q.committed = slice_str("committed");
	q.changed = slice_str("changed");
	*e = (struct err)ERR_INIT;
	rc = helper_pool_resolve(p, &q, &out, e);
	if (rc == OK && !slice_is(buf_slice(&out), "changed"))
		rc = ERR_FORMAT;
	buf_free(&out);
	return rc;
}

static void refused(struct helper_pool *p, uint64_t what, const char *text)
{
	struct err e;

	assert_int_equal(ask(p, what, &e), ERR_CONFLICT);
	assert_int_equal(e.code, ERR_CONFLICT);
	if (!strstr(e.text, text))
		fail_msg("'%s' does not say '%s'", e.text, text);
}

static size_t open_files(void)
{
	DIR *d = opendir("/proc/self/fd");
	size_t n = 0;

	assert_non_null(d);
	while (readdir(d))
		n++;
	closedir(d);
	return n;
}

static void test_answers(void **state)
{
	size_t before = open_files();
	struct helper_pool *p = good_pool(1, 20000);
	struct err e;

	for (int i = 0; i < 3; i++) {
		assert_int_equal(ask(p, ECHO, &e), OK);
		refused(p, REFUSE, "not now");
	}
	helper_pool_close(p);
	assert_int_equal(open_files(), before);
	helper_pool_close(NULL);
}

/* After each the next conflict is answered by a new process. */
static void test_what_a_process_may_do(void **state)
{
	static const struct {
		uint64_t what;
		const char *text;
	} cases[] = { { EXIT, "ended" }, { HUGE_ANSWER, "more than" }, { GARBAGE, "as it should" },
		{ EMPTY, "more than" }, { HALF, "ended" }, { LONG_REASON, "bytes of reason" } };
	size_t before = open_files();
	struct helper_pool *p = good_pool(1, 20000);
	struct err e;

	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		refused(p, cases[i].what, cases[i].text);
		if (ask(p, ECHO, &e) != OK)
			fail_msg("after %zu: %s", i, e.text);
	}
	helper_pool_close(p);
	assert_int_equal(open_files(), before);
}

static void test_hanging(void **state)
{
	struct helper_pool *p = good_pool(1, 300);
	uint64_t start = clock_mono_us(&clock_system);
	struct err e;

	refused(p, HANG, "within 300 ms and was killed");
	assert_true(clock_mono_us(&clock_system) - start >= 300000);
	assert_true(clock_mono_us(&clock_system) - start < 20000000);
	assert_int_equal(ask(p, ECHO, &e), OK);
	helper_pool_close(p);
}

/* It is not started again and again; and then it is. */
static void test_failing_again_and_again(void **state)
{
	struct helper_pool *p = good_pool(1, 20000);
	struct err e;

	for (int i = 0; i < 8; i++)
		assert_int_equal(ask(p, EXIT, &e), ERR_CONFLICT);
	assert_non_null(strstr(e.text, "times in a row"));
	for (int i = 0; ask(p, ECHO, &e) != OK; i++) {
		assert_true(i < 2000);
		usleep(10000); /* nobody tells */
	}
	helper_pool_close(p);
}

struct asker {
	struct helper_pool *pool;
	uint64_t what;
	pthread_t thread;
	int failures;
};

static void *ask_often(void *arg)
{
	struct asker *a = arg;
	struct err e;

	for (int i = 0; i < 20; i++)
		a->failures += ask(a->pool, a->what, &e) != OK;
	return NULL;
}

static void test_many_threads(void **state)
{
	struct helper_pool *p = good_pool(2, 20000);
	struct asker a[8];

	for (size_t i = 0; i < ARRAY_LEN(a); i++) {
		a[i] = (struct asker){ .pool = p, .what = i % 2 ? ECHO : SLOW_ECHO };
		assert_int_equal(pthread_create(&a[i].thread, NULL, ask_often, &a[i]), 0);
	}
	for (size_t i = 0; i < ARRAY_LEN(a); i++) {
		pthread_join(a[i].thread, NULL);
		assert_int_equal(a[i].failures, 0);
	}
	helper_pool_close(p);
}

static void *ask_once(void *arg)
{
	struct asker *a = arg;
	struct err e;

	a->failures = ask(a->pool, a->what, &e);
	return NULL;
}

static void test_all_busy(void **state)
{
	struct helper_pool *p = good_pool(1, 2500);
	struct asker a = { .pool = p, .what = HANG };
	struct err e;

	assert_int_equal(pthread_create(&a.thread, NULL, ask_once, &a), 0);
	while (ask(p, ECHO, &e) == OK) /* until the other one has the process */
		;
	assert_string_equal(e.text, "all resolver processes are busy");
	pthread_join(a.thread, NULL);
	assert_int_equal(a.failures, ERR_CONFLICT);
	helper_pool_close(p);
}

static void test_not_started(void **state)
{
	size_t before = open_files();
	struct helper_pool *p = NULL;
	struct err e = ERR_INIT;

	assert_int_equal(open_pool("ends", 1, 1000, &p, &e), ERR_IO);
	assert_non_null(strstr(e.text, "'/proc/self/exe'"));
	assert_int_equal(open_pool("refuses", 1, 1000, &p, &e), ERR_IO);
	assert_non_null(strstr(e.text, "no ZODB"));
	assert_null(p);
	assert_int_equal(open_files(), before);
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_answers),
		cmocka_unit_test(test_what_a_process_may_do),
		cmocka_unit_test(test_hanging),
		cmocka_unit_test(test_failing_again_and_again),
		cmocka_unit_test(test_many_threads),
		cmocka_unit_test(test_all_busy),
		cmocka_unit_test(test_not_started),
	};

	if (argc == 4 && strcmp(argv[1], "-c") == 0)
		return be_python(argv[2], argv[3]);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
