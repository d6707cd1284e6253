/* A client whose n-th allocation fails, and those after it: it says so or tries again, loses nothing, and is as good as
 * new when there is memory again. The server is a process of its own. */
#include "unit/script_server.h"

#include <dirent.h>
#include <signal.h>
#include <stdatomic.h>
#include <sys/wait.h>

#include "base/mem.h"
#include "client/commit.h"

enum { WAIT_MS = 40 };

static struct script server;
static pid_t server_pid;

/* --- the server --- */

static void serve_message(const struct message *m, uint64_t *last)
{
	uint64_t id = m->async ? 0 : script_id(&server);

	if (slice_is(m->name, "register") || slice_is(m->name, "lastTransaction"))
		script_reply_tid(&server, id, *last);
	else if (slice_is(m->name, "get_info"))
		script_reply_info(&server, id);
	else if (slice_is(m->name, "loadBefore"))
		script_reply_record(&server, id, "what was stored", 5, 0);
	else if (slice_is(m->name, "tpc_finish"))
		script_reply_tid(&server, id, ++*last);
	else if (slice_is(m->name, "new_oids"))
		script_reply_record(&server, id, "12345678", 6, 7); /* eight bytes each */
	else if (!m->async)
		script_reply_none(&server, id);
}

static void serve_one(uint64_t *last)
{
	struct slice content;

	script_accept(&server, ENC_PICKLE);
	signal(SIGPIPE, SIG_IGN);
	send(server.fd, "\0\0\0\2Z5", 6, MSG_NOSIGNAL);
	if (!script_frame(&server, &content))
		return;
	while (script_frame(&server, &content)) {
		struct message m;

		arena_reset(&server.arena);
		if (message_decode(content, ENC_PICKLE, &server.arena, &m, NULL) != OK)
			_exit(1);
		server.message = m;
		serve_message(&m, last);
	}
}

static void serve(void)
{
	uint64_t last = 1000;
	struct pollfd p = { .fd = server.listener.fds[0], .events = POLLIN };

	while (poll(&p, 1, -1) == 1)
		serve_one(&last);
	_exit(0);
}

/* --- faults, of any thread --- */

static atomic_int left;
static atomic_bool fired;
static bool all_fail;
static atomic_bool off;

static int fail_allocation(void)
{
	int n = atomic_fetch_sub(&left, 1);

	if (atomic_load(&off) || n > 0 || (n < 0 && !all_fail))
		return 0;
	atomic_store(&fired, true);
	return 1;
}

static int open_descriptors(void)
{
	DIR *d = opendir("/proc/self/fd");
	int n = 0;

	while (readdir(d))
		n++;
	closedir(d);
	return n;
}

/* --- the scenario --- */

static int commit(struct client *c, struct err *e)
{
	const struct client_conflict *conflicts;
	struct client_txn *t;
	uint64_t tid;
	size_t n;
	int rc = client_txn_begin(c, slice_str("u"), slice_str("d"), NULL, TID_NONE, ' ', &t, e);

	if (rc != OK)
		return rc;
	for (uint64_t i = 0; i < 20 && rc == OK; i++)
		rc = client_txn_store(t, i, 0, slice_str("data"), e);
	if (rc == OK)
		rc = client_txn_vote(t, &conflicts, &n, NULL, e);
	if (rc == OK)
		return client_txn_finish(t, NULL, NULL, &tid, NULL, e);
	client_txn_abort(t, WAIT_MS);
	return rc;
}

static int load(struct client *c, uint64_t oid, struct err *e)
{
	struct client_record r;
	int rc = client_load_before(c, oid, TID_MAX, &r, e);

	if (rc == OK) {
		assert_true(slice_is(r.data, "what was stored"));
		client_record_end(&r);
	}
	return rc;
}

static void ok_or_said(int rc, const struct err *e)
{
	if (rc != OK && !e->text[0])
		fail_msg("%s without a word", err_name(rc));
}

static void use(struct client *c)
{
	struct err e = ERR_INIT;
	uint64_t oid, oids[3] = { 100, 101, 102 };

	ok_or_said(client_wait(c, WAIT_MS, &e), &e);
	ok_or_said(load(c, 50, &e), &e);
	ok_or_said(client_prefetch(c, oids, 3, TID_MAX, &e), &e);
	ok_or_said(commit(c, &e), &e);
	ok_or_said(client_new_oid(c, &oid, &e), &e);
	ok_or_said(client_ping(c, &e), &e);
	ok_or_said(client_set_addresses(c, &server.listener.bound, 1, &e), &e);
}

/* There is memory again. */
static void must_work(struct client *c)
{
	struct err e = ERR_INIT;

	if (client_wait(c, SCRIPT_TIMEOUT_MS, &e) != OK || load(c, 60, &e) != OK ||
		commit(c, &e) != OK || client_ping(c, &e) != OK)
		fail_msg("%s", e.text);
}

static void scenario(void)
{
	struct client_options o = { .min_poll_ms = 2, .wait_timeout_ms = WAIT_MS };
	struct client *c = NULL;
	struct err e = ERR_INIT;
	int rc = client_open(&o, &server.listener.bound, 1, &c, &e);

	ok_or_said(rc, &e);
	if (rc == OK)
		use(c);
	atomic_store(&off, true);
	if (rc == OK)
		must_work(c);
	client_close(c);
}

static void run(bool all)
{
	all_fail = all;
	for (int n = 0;; n++) {
		int descriptors = open_descriptors();

		assert_true(n < 2000);
		atomic_store(&left, n);
		atomic_store(&fired, false);
		atomic_store(&off, false);
		mem_fault_hook = fail_allocation;
		scenario();
		mem_fault_hook = NULL;
		assert_int_equal(open_descriptors(), descriptors);
		if (!atomic_load(&fired))
			return;
	}
}

static void test_one_fails(void **state)
{
	(void)state;
	run(false);
}

static void test_all_fail(void **state)
{
	(void)state;
	run(true);
}

static int setup(void **state)
{
	(void)state;
	script_listen(&server);
	server_pid = fork();
	if (server_pid == 0)
		serve();
	scenario(); /* libuv makes a pipe, and threads, that stay */
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	kill(server_pid, SIGKILL);
	waitpid(server_pid, NULL, 0);
	script_close(&server);
	return 0;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_one_fails),
		cmocka_unit_test(test_all_fail),
	};

	return cmocka_run_group_tests(tests, setup, teardown);
}
