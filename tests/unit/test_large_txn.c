/* A transaction too large for memory goes to a file on the pool: its connection is not heard meanwhile, others are; what
 * goes wrong there is told by the vote. One of many objects is entered into the commit queue by the pool. */
#include "storage_util.h"

#include <errno.h>

#include "base/os.h"
#include "server/commit.h"
#include "server/hub.h"
#include "server/server.h"
#include "server/session.h"
#include "storage/mapping/mapping.h"

struct fixture {
	struct test_clock clock;
	struct test_exec exec;
	struct storage *storage;
	struct server server;
	struct hub hub;
	struct hub_io hub_io;
	struct session_io io;
	struct session *session;
	struct session *other;
};

static void ignore_wake(struct hub_io *io)
{
}

static void ignore_close(struct session_io *io, bool flush)
{
}

/* A registered connection, with a transaction. */
static struct session *open_session(struct fixture *f)
{
	struct val id = { .type = VAL_INT, .i = 1 };
	struct session *s = session_new(&f->hub, &f->io, "peer");
	struct err e = ERR_INIT;

	assert_non_null(s);
	session_sent(s, s->out.bytes);
	s->hs = &f->hub.storages[0];
	s->state = SESSION_REGISTERED;
	hub_add_session(s->hs, s);
	assert_int_equal(commit_begin(s, &id, &e), OK);
	return s;
}

static int fixture_open(void **state)
{
	static struct fixture f;
	static const char *const ids[] = { "1" };
	struct server_options o = { .transaction_timeout_text = "0" };
	struct err e = ERR_INIT;

	memset(&f, 0, sizeof(f));
	f.clock = (struct test_clock)TEST_CLOCK(TEST_NOW_US);
	f.exec = (struct test_exec)TEST_EXEC;
	assert_int_equal(mapping_open(NULL, &f.clock.base, 10, &f.storage, &e), OK);
	assert_int_equal(server_init(&f.server, &o, &f.clock.base, ids, &f.storage, 1, &e), OK);
	f.hub_io.wake = ignore_wake;
	assert_int_equal(hub_init(&f.hub, &f.server, &f.exec.base, &f.hub_io, &e), OK);
	f.io.close = ignore_close;
	f.session = open_session(&f);
	*state = &f;
	return 0;
}

static void close_session(struct fixture *f)
{
	if (f->session)
		session_closed(f->session, NULL);
	f->session = NULL;
}

static void close_other(struct fixture *f)
{
	if (f->other)
		session_closed(f->other, NULL);
	f->other = NULL;
}

static int fixture_close(void **state)
{
	struct fixture *f = *state;

	os_fault_hook = NULL;
	close_session(f);
	close_other(f);
	test_exec_run(&f->exec);
	hub_turn(&f->hub);
	test_exec_run(&f->exec);
	assert_int_equal(f->hub.n_open, 0);
	assert_int_equal(f->server.storages[0].queue.n_entries, 0);
	assert_int_equal(atomic_load(&f->server.storages[0].stats.active_txns), 0);
	hub_fini(&f->hub);
	server_fini(&f->server);
	f->storage->ops->close(f->storage);
	return 0;
}

enum { PIECE = 1 << 20 };

static void add(struct fixture *f, uint64_t oid)
{
	static uint8_t data[PIECE];
	struct txn_rec rec = { .oid = oid, .op = TXN_STORE, .has_data = true };
	struct err e = ERR_INIT;

	memset(data, (int)oid, sizeof(data));
	assert_int_equal(commit_add(f->session, &rec, slice_of(data, sizeof(data)), &e), OK);
}

/* As many as fit into memory, and one more. */
static void add_too_much(struct fixture *f)
{
	for (uint64_t oid = 1; oid <= TXN_MEMORY_MAX / PIECE; oid++)
		add(f, oid);
	assert_true(session_wants_input(f->session));
	assert_int_equal(f->exec.submitted, 0);
	add(f, TXN_MEMORY_MAX / PIECE + 1);
	assert_int_equal(f->exec.submitted, 1);
	assert_false(session_wants_input(f->session));
}

static void ask_vote(struct session *s)
{
	static const struct method method = { .name = "vote" };
	struct request r = { .session = s, .method = &method };

	r.id.len = 2;
	memcpy(r.id.bytes, "K\7", 2);
	commit_vote(&r);
}

static void vote(struct fixture *f)
{
	ask_vote(f->session);
	test_exec_run(&f->exec);
}

static bool session_said(struct session *s, const char *text)
{
	struct iovec iov[8];
	int n = outq_iov(&s->out, iov, 8);

	for (int i = 0; i < n; i++)
		if (memmem(iov[i].iov_base, iov[i].iov_len, text, strlen(text)))
			return true;
	return false;
}

static bool said(struct fixture *f, const char *text)
{
	return session_said(f->session, text);
}

static void test_moved_on_the_pool(void **state)
{
	struct fixture *f = *state;
	struct commit_info info;

	add_too_much(f);
	commit_describe(f->session->commit, &info);
	assert_int_equal(info.bytes, TXN_MEMORY_MAX + PIECE);
	test_exec_run(&f->exec);
	assert_true(session_wants_input(f->session));
	assert_true(txn_spilled(commit_txn(f->session)));
	add(f, 100);
	assert_int_equal(f->exec.submitted, 1);
	commit_describe(f->session->commit, &info);
	assert_int_equal(info.bytes, TXN_MEMORY_MAX + 2 * PIECE);
	vote(f);
	assert_true(said(f, ".reply]t."));
}

static void test_the_connection_goes_meanwhile(void **state)
{
	struct fixture *f = *state;

	add_too_much(f);
	close_session(f);
	assert_int_equal(f->hub.n_open, 1); /* the pool has its transaction */
	test_exec_run(&f->exec);
	assert_int_equal(f->hub.n_open, 0);
}

static int no_space(const char *call)
{
	return strcmp(call, "pwrite") == 0 ? ENOSPC : 0;
}

static void test_no_space(void **state)
{
	struct fixture *f = *state;

	add_too_much(f);
	os_fault_hook = no_space;
	test_exec_run(&f->exec);
	assert_true(session_wants_input(f->session));
	for (uint64_t oid = 50; oid < 60; oid++)
		add(f, oid); /* read over: nothing is kept of it */
	assert_int_equal(f->exec.submitted, 1);
	assert_int_equal(commit_txn(f->session)->data.len, 0);
	vote(f);
	assert_true(said(f, "temporary file of a large transaction"));
	assert_null(f->session->commit);
}

/* --- of many objects --- */

enum { MANY = 2000 };

static void add_many(struct session *s)
{
	struct txn_rec rec = { .op = TXN_STORE, .has_data = true };
	struct err e = ERR_INIT;

	for (rec.oid = MANY; rec.oid > 0; rec.oid--)
		assert_int_equal(commit_add(s, &rec, slice_str("data"), &e), OK);
}

static bool is_locked(struct session *s)
{
	return commit_is_locked(s->commit);
}

/* One step of the pool: of the job that came last. */
static void pool_step(struct fixture *f)
{
	struct job *j = f->exec.jobs;

	assert_non_null(j);
	f->exec.jobs = j->link;
	j->work(j);
	j->done(j);
}

static void test_entered_on_the_pool(void **state)
{
	struct fixture *f = *state;

	add_many(f->session);
	ask_vote(f->session);
	assert_int_equal(f->exec.submitted, 1);
	assert_false(is_locked(f->session));
	assert_int_equal(f->server.storages[0].queue.n_entries, 0);
	test_exec_run(&f->exec);
	assert_true(is_locked(f->session));
	assert_int_equal(f->server.storages[0].queue.n_fifos, MANY);
	assert_true(said(f, ".reply]t."));
}

static void test_aborted_on_the_way(void **state)
{
	struct fixture *f = *state;

	add_many(f->session);
	ask_vote(f->session);
	commit_discard(f->session);
	assert_null(f->session->commit);
	test_exec_run(&f->exec);
	assert_int_equal(f->server.storages[0].queue.n_entries, 0);
	assert_false(said(f, ".reply"));
}

static void test_the_connection_goes_on_the_way(void **state)
{
	struct fixture *f = *state;

	add_many(f->session);
	ask_vote(f->session);
	close_session(f);
	assert_int_equal(f->hub.n_open, 1);
	test_exec_run(&f->exec);
	assert_int_equal(f->hub.n_open, 0);
	assert_int_equal(f->server.storages[0].queue.n_entries, 0);
}

/* Another one has one of the objects. */
static void wait_for_other(struct fixture *f)
{
	struct txn_rec rec = { .op = TXN_STORE, .has_data = true, .oid = MANY / 2 };
	struct err e = ERR_INIT;

	f->other = open_session(f);
	assert_int_equal(commit_add(f->other, &rec, slice_str("data"), &e), OK);
	ask_vote(f->other);
	test_exec_run(&f->exec);
	assert_true(is_locked(f->other));
	add_many(f->session);
	ask_vote(f->session);
}

static void test_waits_for_another(void **state)
{
	struct fixture *f = *state;

	wait_for_other(f);
	pool_step(f);
	assert_false(is_locked(f->session));
	close_other(f);
	hub_turn(&f->hub);
	test_exec_run(&f->exec);
	assert_true(is_locked(f->session));
	assert_true(said(f, ".reply]t."));
}

/* The notice that its places are free comes before the pool's thread is back. */
static void test_granted_on_the_way(void **state)
{
	struct fixture *f = *state;
	struct job *j;

	wait_for_other(f);
	j = f->exec.jobs;
	f->exec.jobs = j->link;
	j->work(j);
	close_other(f);
	hub_turn(&f->hub);
	assert_false(is_locked(f->session));
	j->done(j);
	test_exec_run(&f->exec);
	assert_true(is_locked(f->session));
	assert_true(said(f, ".reply]t."));
}

/* The same, but nobody wants it any more: before the notice, or after it. */
static void drop_granted(struct fixture *f, bool noticed)
{
	struct job *j;

	wait_for_other(f);
	j = f->exec.jobs;
	f->exec.jobs = j->link;
	j->work(j);
	close_other(f);
	if (noticed)
		hub_turn(&f->hub);
	commit_discard(f->session);
	j->done(j);
	assert_int_equal(f->server.storages[0].queue.n_entries, 0);
}

static void test_granted_and_dropped(void **state)
{
	drop_granted(*state, false);
}

static void test_noticed_and_dropped(void **state)
{
	drop_granted(*state, true);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(
			test_moved_on_the_pool, fixture_open, fixture_close),
		cmocka_unit_test_setup_teardown(
			test_the_connection_goes_meanwhile, fixture_open, fixture_close),
		cmocka_unit_test_setup_teardown(test_no_space, fixture_open, fixture_close),
		cmocka_unit_test_setup_teardown(
			test_entered_on_the_pool, fixture_open, fixture_close),
		cmocka_unit_test_setup_teardown(
			test_aborted_on_the_way, fixture_open, fixture_close),
		cmocka_unit_test_setup_teardown(
			test_the_connection_goes_on_the_way, fixture_open, fixture_close),
		cmocka_unit_test_setup_teardown(
			test_waits_for_another, fixture_open, fixture_close),
		cmocka_unit_test_setup_teardown(
			test_granted_on_the_way, fixture_open, fixture_close),
		cmocka_unit_test_setup_teardown(
			test_granted_and_dropped, fixture_open, fixture_close),
		cmocka_unit_test_setup_teardown(
			test_noticed_and_dropped, fixture_open, fixture_close),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
