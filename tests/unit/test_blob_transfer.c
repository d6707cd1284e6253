/* Blobs on their way in and out: what waits, what is held, and what is left when the connection goes. */
#include "storage_util.h"

#include <dirent.h>
#include <errno.h>
#include <limits.h>

#include "base/os.h"
#include "codec/val.h"
#include "server/blob_stream.h"
#include "server/commit.h"
#include "server/hub.h"
#include "server/server.h"
#include "server/session.h"
#include "server/upload.h"
#include "storage/blob/blob_dir.h"
#include "storage/blob/blob_storage.h"
#include "storage/mapping/mapping.h"

enum { WINDOW = BLOB_STREAM_CHUNK * BLOB_STREAM_CHUNKS };

struct fixture {
	struct test_dir *dir;
	struct test_clock clock;
	struct test_exec exec;
	struct storage *storage;
	struct server server;
	struct hub hub;
	struct hub_io hub_io;
	struct session_io io;
	struct session *session;
};

static void ignore_wake(struct hub_io *io)
{
}

static void ignore_close(struct session_io *io, bool flush)
{
}

/* A registered connection to a storage with a folder of blobs, and a transaction. */
static int fixture_open(void **state)
{
	static struct fixture f;
	static const char *const ids[] = { "1" };
	struct server_options o = { .transaction_timeout_text = "0" };
	struct val id = { .type = VAL_INT, .i = 1 };
	char path[100];
	struct blob_dir_options dir_options = { .path = path };
	struct blob_dir *dir = NULL;
	struct storage *inner = NULL;
	struct err e = ERR_INIT;

	memset(&f, 0, sizeof(f));
	assert_int_equal(test_dir_setup((void **)&f.dir), 0);
	f.clock = (struct test_clock)TEST_CLOCK(TEST_NOW_US);
	f.exec = (struct test_exec)TEST_EXEC;
	snprintf(path, sizeof(path), "%s/blobs", f.dir->path);
	assert_int_equal(blob_dir_open(&dir_options, &dir, &e), OK);
	assert_int_equal(mapping_open(NULL, &f.clock.base, 10, &inner, &e), OK);
	assert_int_equal(blob_storage_open(inner, dir, &f.storage, &e), OK);
	assert_int_equal(server_init(&f.server, &o, &f.clock.base, ids, &f.storage, 1, &e), OK);
	f.hub_io.wake = ignore_wake;
	assert_int_equal(hub_init(&f.hub, &f.server, &f.exec.base, &f.hub_io, &e), OK);
	f.io.close = ignore_close;
	f.session = session_new(&f.hub, &f.io, "peer");
	assert_non_null(f.session);
	session_sent(f.session, f.session->out.bytes);
	f.session->hs = &f.hub.storages[0];
	f.session->state = SESSION_REGISTERED;
	assert_int_equal(commit_begin(f.session, &id, &e), OK);
	*state = &f;
	return 0;
}

static void close_session(struct fixture *f)
{
	if (f->session)
		session_closed(f->session, NULL);
	f->session = NULL;
}

static int fixture_close(void **state)
{
	struct fixture *f = *state;

	os_fault_hook = NULL;
	close_session(f);
	test_exec_run(&f->exec);
	assert_int_equal(f->hub.n_open, 0);
	hub_fini(&f->hub);
	server_fini(&f->server);
	f->storage->ops->close(f->storage);
	return test_dir_teardown((void **)&f->dir);
}

static size_t count_tmp(const struct fixture *f)
{
	char path[100];
	size_t n = 0;
	DIR *dir;

	snprintf(path, sizeof(path), "%s/blobs/tmp", f->dir->path);
	dir = opendir(path);
	assert_non_null(dir);
	for (const struct dirent *en; (en = readdir(dir));)
		n += en->d_name[0] != '.';
	closedir(dir);
	return n;
}

/* --- in --- */

static void send_bytes(struct fixture *f, size_t n)
{
	uint8_t *p = calloc(1, n);
	struct err e = ERR_INIT;

	assert_int_equal(upload_chunk(f->session, slice_of(p, n), &e), OK);
	free(p);
}

static void start(struct fixture *f)
{
	struct err e = ERR_INIT;

	assert_int_equal(upload_start(f->session, &e), OK);
}

static void end(struct fixture *f)
{
	struct txn_rec rec = { .oid = 1, .op = TXN_STORE, .has_data = true };
	struct err e = ERR_INIT;

	assert_int_equal(upload_end(f->session, &rec, slice_str("data"), &e), OK);
}

/* R9: what waits for the disk keeps the connection from being read. */
static void test_backpressure(void **state)
{
	struct fixture *f = *state;

	start(f);
	send_bytes(f, UPLOAD_WRITE_BYTES - 1);
	assert_int_equal(f->exec.submitted, 0);
	send_bytes(f, 1);
	assert_int_equal(f->exec.submitted, 1);
	send_bytes(f, UPLOAD_WAITING_MAX - 1);
	assert_true(session_wants_input(f->session));
	send_bytes(f, 1);
	assert_false(session_wants_input(f->session));
	test_exec_run(&f->exec);
	assert_true(session_wants_input(f->session));
	assert_int_equal(count_tmp(f), 1);
	end(f);
	assert_false(session_wants_input(f->session)); /* the vote comes after the last byte */
	test_exec_run(&f->exec);
	assert_true(session_wants_input(f->session));
	assert_int_equal(commit_txn(f->session)->n_blobs, 1);
}

static int disk_full(const char *call)
{
	return strcmp(call, "pwrite") == 0 ? ENOSPC : 0;
}

static void test_disk_full(void **state)
{
	struct fixture *f = *state;
	struct err e = ERR_INIT;

	start(f);
	send_bytes(f, UPLOAD_WRITE_BYTES);
	os_fault_hook = disk_full;
	test_exec_run(&f->exec);
	os_fault_hook = NULL;
	assert_int_equal(count_tmp(f), 0);
	send_bytes(f, 4 * UPLOAD_WAITING_MAX); /* read over */
	end(f);
	assert_true(session_wants_input(f->session));
	assert_int_equal(upload_error(f->session, &e), ERR_NOSPC);
	upload_begin_txn(f->session);
	assert_int_equal(upload_error(f->session, &e), OK);
}

/* The last bytes cannot be written: the blob is the transaction's already. */
static void test_disk_full_at_the_end(void **state)
{
	struct fixture *f = *state;
	struct err e = ERR_INIT;

	start(f);
	send_bytes(f, 10);
	end(f);
	os_fault_hook = disk_full;
	test_exec_run(&f->exec);
	os_fault_hook = NULL;
	assert_int_equal(upload_error(f->session, &e), ERR_NOSPC);
	assert_int_equal(count_tmp(f), 0);
	assert_true(session_wants_input(f->session));
}

static void test_gone_while_writing(void **state)
{
	struct fixture *f = *state;

	start(f);
	send_bytes(f, UPLOAD_WRITE_BYTES);
	close_session(f);
	test_exec_run(&f->exec);
	assert_int_equal(count_tmp(f), 0);
	assert_int_equal(f->hub.n_open, 0);
}

/* Its transaction is freed before the file is made. */
static void test_gone_while_ending(void **state)
{
	struct fixture *f = *state;

	start(f);
	send_bytes(f, 10);
	end(f);
	close_session(f);
	test_exec_run(&f->exec);
	assert_int_equal(count_tmp(f), 0);
	assert_int_equal(f->hub.n_open, 0);
}

static void test_abort(void **state)
{
	struct fixture *f = *state;
	struct err e = ERR_INIT;

	start(f);
	send_bytes(f, UPLOAD_WRITE_BYTES);
	upload_abort(f->session);
	assert_false(
		session_wants_input(f->session)); /* the next one waits until its file is gone */
	test_exec_run(&f->exec);
	assert_true(session_wants_input(f->session));
	assert_int_equal(count_tmp(f), 0);
	assert_int_equal(upload_chunk(f->session, slice_str("x"), &e), ERR_STATE);
	start(f);
	assert_int_equal(upload_start(f->session, &e), ERR_STATE);
}

/* --- out --- */

static int cold(const char *call)
{
	return strcmp(call, "preadv2") == 0 ? EAGAIN : 0;
}

/* A blob of @n bytes is asked for, and open. */
static void ask(struct fixture *f, size_t n)
{
	struct blob_dir *dir = f->storage->blobs;
	struct request r = { .session = f->session };
	struct err e = ERR_INIT;
	char path[PATH_MAX];
	uint8_t *p = calloc(1, n);

	assert_int_equal(blob_dir_make_oid_dir(dir, 1, &e), OK);
	assert_int_equal(blob_dir_file_path(dir, 1, 2, path, sizeof(path), &e), OK);
	test_write_file(path, p, n);
	free(p);
	blob_stream_start(&r, 1, 2);
	assert_int_equal(f->session->n_loads, 1);
}

static void test_as_it_drains(void **state)
{
	struct fixture *f = *state;
	struct session *s = f->session;
	size_t sent = 0;

	ask(f, 3 * WINDOW);
	test_exec_run(&f->exec);
	for (int i = 0; s->n_loads; i++) {
		assert_in_range(s->out.bytes, 1, WINDOW + 1000);
		assert_in_range(i, 0, 2);
		sent += s->out.bytes;
		session_sent(s, s->out.bytes);
	}
	assert_true(sent + s->out.bytes > 3 * WINDOW);
	assert_null(s->streams);
}

/* Nothing is queued that would have to be waited for; it is asked again meanwhile. */
static void test_read_ahead(void **state)
{
	struct fixture *f = *state;
	struct session *s = f->session;
	struct job *reading;

	ask(f, 2 * WINDOW);
	os_fault_hook = cold;
	reading = f->exec.jobs;
	f->exec.jobs = NULL;
	reading->work(reading);
	reading->done(reading); /* open: now the first piece is read */
	assert_in_range(s->out.bytes, 1, 200);
	assert_int_equal(f->exec.submitted, 2);
	session_sent(s, s->out.bytes);
	assert_int_equal(f->exec.submitted, 2);
	test_exec_run(&f->exec);
	assert_in_range(s->out.bytes, WINDOW, WINDOW + 1000);
}

static void test_gone_while_reading_ahead(void **state)
{
	struct fixture *f = *state;
	struct job *opening;

	ask(f, 2 * WINDOW);
	os_fault_hook = cold;
	opening = f->exec.jobs;
	f->exec.jobs = NULL;
	opening->work(opening);
	opening->done(opening);
	close_session(f);
	assert_int_equal(f->hub.n_open, 1);
	test_exec_run(&f->exec);
	assert_int_equal(f->hub.n_open, 0);
}

static void test_gone_between_pieces(void **state)
{
	struct fixture *f = *state;

	ask(f, 3 * WINDOW);
	test_exec_run(&f->exec);
	close_session(f);
	assert_int_equal(f->hub.n_open, 0);
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, fixture_open, fixture_close)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_backpressure),
		TEST(test_disk_full),
		TEST(test_disk_full_at_the_end),
		TEST(test_gone_while_writing),
		TEST(test_gone_while_ending),
		TEST(test_abort),
		TEST(test_as_it_drains),
		TEST(test_read_ahead),
		TEST(test_gone_while_reading_ahead),
		TEST(test_gone_between_pieces),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
