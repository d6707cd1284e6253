/* The client where there is much of something, where a server says what cannot be, and in a child process. */
#include "client_fixture.h"

#include <stdatomic.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include "base/clock.h"
#include "base/lock_file.h"
#include "base/mem.h"
#include "client/blobs.h"
#include "storage/blob/blob_dir.h"

/* --- much of something --- */

/* So many calls under way are ended one after the other, not by looking for each of them from the start. */
static void test_prefetch_lost(void **state)
{
	enum { N = 200000 };
	uint64_t *oids = calloc(N, sizeof(*oids));
	struct err e = ERR_INIT;

	(void)state;
	assert_non_null(oids);
	connect_client(ENC_PICKLE);
	for (uint64_t i = 0; i < N; i++)
		oids[i] = i;
	for (int i = 0; i < N; i += 1000) {
		assert_int_equal(client_prefetch(f.c, oids + i, 1000, TID_MAX, &e), OK);
		for (uint64_t k = 0; k < 1000; k++)
			expect_load((uint64_t)i + k);
	}
	free(oids);
	script_hang_up(&f.s);
	expect_seen("disconnected ");
}

static void *run_abort(void *arg)
{
	struct caller *t = arg;

	client_txn_abort(t->txn, 0);
	return NULL;
}

/* More than collects before somebody waits for it to drain: it has to leave. */
static void *run_large(void *arg)
{
	struct caller *t = arg;
	struct buf b = BUF_INIT(0);

	for (int i = 0; i < 3 << 17; i++)
		buf_put(&b, "12345678", 8);
	assert_true(buf_ok(&b));
	t->rc = client_txn_begin(
		f.c, slice_str("u"), buf_slice(&b), NULL, TID_NONE, ' ', &t->txn, &t->err);
	if (t->rc == OK)
		t->rc = client_txn_store(t->txn, 1, 0, slice_str("x"), &t->err);
	buf_free(&b);
	return NULL;
}

static void test_large_description(void **state)
{
	struct caller large = { 0 }, abort_it = { 0 };

	(void)state;
	connect_client(ENC_PICKLE);
	start(&large, run_large);
	script_expect(&f.s, "tpc_begin");
	finish(&large, OK);
	abort_it.txn = large.txn;
	start(&abort_it, run_abort);
	script_expect(&f.s, "storea");
	script_expect(&f.s, "tpc_abort");
	script_reply_none(&f.s, script_id(&f.s));
	finish(&abort_it, OK);
}

static void *run_vote(void *arg)
{
	struct caller *t = arg;
	const struct client_conflict *conflicts;
	size_t n;

	t->rc = client_txn_vote(t->txn, &conflicts, &n, NULL, &t->err);
	return NULL;
}

/* The oids of a transaction that undoes many objects */
static void test_large_vote(void **state)
{
	enum { N = 200000 };
	struct caller t = { 0 };
	struct message_writer w;
	struct buf b = BUF_INIT(0);
	const uint64_t *resolved;
	size_t n;
	struct timespec from, to;

	(void)state;
	connect_client(ENC_PICKLE);
	assert_int_equal(client_txn_begin(f.c, slice_str("u"), slice_str("d"), NULL, TID_NONE, ' ',
				 &t.txn, &t.err),
		OK);
	start(&t, run_vote);
	script_expect(&f.s, "tpc_begin");
	script_expect(&f.s, "vote");
	script_reply_begin(&f.s, &w, &b, script_id(&f.s), MESSAGE_REPLY);
	enc_list(&w.enc, N);
	for (uint64_t i = 0; i < N; i++)
		enc_id(&w.enc, i);
	enc_end(&w.enc);
	clock_gettime(CLOCK_MONOTONIC, &from);
	script_say(&f.s, &w, &b);
	finish(&t, OK);
	clock_gettime(CLOCK_MONOTONIC, &to);
	assert_true(to.tv_sec - from.tv_sec < 10);
	client_txn_resolved(t.txn, &resolved, &n);
	assert_int_equal(n, N);
	script_hang_up(&f.s);
	client_txn_abort(t.txn, 1);
}

/* --- no memory --- */

/* The client's own thread has what it needs. */
static _Thread_local bool none_left;

static int fail_allocation(void)
{
	return none_left;
}

static int finish_without_memory(struct client_txn *t, struct err *e)
{
	uint64_t tid;
	int rc;

	none_left = true;
	rc = client_txn_finish(t, NULL, NULL, &tid, NULL, e);
	none_left = false;
	return rc;
}

static int abort_without_memory(struct client_txn *t, struct err *e)
{
	none_left = true;
	client_txn_abort(t, 1);
	none_left = false;
	return err_set(e, ERR_NOMEM, "no memory for a message");
}

/* What was said before was so much that its buffer was given back; there is none for the last word. */
static void check_last_word(int (*last)(struct client_txn *t, struct err *e))
{
	struct caller t = { 0 };
	struct err e = ERR_INIT;
	size_t len = 2 << 20;
	uint8_t *data = calloc(len, 1);

	assert_non_null(data);
	connect_client(ENC_PICKLE);
	assert_int_equal(client_txn_begin(f.c, slice_str("u"), slice_str("d"), NULL, TID_NONE, ' ',
				 &t.txn, &e),
		OK);
	start(&t, run_vote);
	script_expect(&f.s, "tpc_begin");
	script_expect(&f.s, "vote");
	script_reply_none(&f.s, script_id(&f.s));
	finish(&t, OK);
	assert_int_equal(client_txn_store(t.txn, 1, 0, slice_of(data, len), &e), OK);
	free(data);
	script_expect(&f.s, "storea");
	assert_int_equal(last(t.txn, &e), ERR_NOMEM);
	assert_non_null(strstr(e.text, "no memory for a message"));
	script_expect_end(&f.s);
	script_serve(&f.s, ENC_PICKLE, TID);
	wait_for_client();
}

/* A server that voted is not left waiting for the end of a transaction until its time is over. */
static void test_finish_cannot_be_sent(void **state)
{
	(void)state;
	check_last_word(finish_without_memory);
}

static void test_abort_cannot_be_sent(void **state)
{
	(void)state;
	check_last_word(abort_without_memory);
}

/* --- servers that say what cannot be --- */

/* Its last transaction was said to be another one, with register(). */
static void test_changes_of_the_past(void **state)
{
	struct caller t;
	struct message_writer w;
	struct buf b = BUF_INIT(0);

	(void)state;
	connect_client(ENC_PICKLE);
	start_load(&t, 1);
	script_reply_record(&f.s, expect_load(1), "x", 10, 0);
	finish_load(&t, "x", 10);
	script_hang_up(&f.s);
	script_reply_tid(&f.s, script_greet(&f.s, ENC_PICKLE), TID + 1);
	script_expect(&f.s, "getInvalidations");
	script_reply_begin(&f.s, &w, &b, script_id(&f.s), MESSAGE_REPLY);
	enc_tuple(&w.enc, 2);
	enc_id(&w.enc, TID - 1);
	enc_list(&w.enc, 0);
	enc_end(&w.enc);
	enc_end(&w.enc);
	script_say(&f.s, &w, &b);
	script_expect_end(&f.s);
	assert_int_equal(client_last_tid(f.c), TID);
}

/* What one server says of itself must not keep the client from the next one. */
static void test_large_info(void **state)
{
	struct message_writer w;
	struct buf b = BUF_INIT(0);

	(void)state;
	open_client();
	script_reply_tid(&f.s, script_greet(&f.s, ENC_PICKLE), TID);
	script_expect(&f.s, "get_info");
	script_reply_begin(&f.s, &w, &b, script_id(&f.s), MESSAGE_REPLY);
	enc_dict(&w.enc, 1);
	enc_str(&w.enc, slice_str("interfaces"));
	enc_tuple(&w.enc, 100000);
	for (int i = 0; i < 100000; i++)
		enc_none(&w.enc);
	enc_end(&w.enc);
	enc_end(&w.enc);
	script_say(&f.s, &w, &b);
	script_hang_up(&f.s);
	script_serve(&f.s, ENC_PICKLE, TID);
	wait_for_client();
}

/* --- what it calls --- */

static void on_push(void *arg, struct slice name, const struct val *args, uint32_t n_args)
{
	(void)args;
	(void)n_args;
	assert_true(slice_is(name, "hello"));
	atomic_fetch_add((atomic_int *)arg, 1);
}

/* @n calls, one behind the other */
static void script_calls(const char *method, int n)
{
	struct message_writer w;
	struct buf b = BUF_INIT(0);

	for (int i = 0; i < n; i++) {
		message_call(&w, &b, f.s.encoding, method);
		enc_tuple(&w.enc, 0);
		enc_end(&w.enc);
		message_end(&w);
	}
	assert_true(buf_ok(&b));
	script_send(&f.s, b.data, b.len);
	buf_free(&b);
}

/* Who is told of it may be said while it comes (a race that the thread sanitizer sees). */
static void test_push_is_set_late(void **state)
{
	struct caller ping = { .method = "ping" };
	atomic_int n = 0;

	(void)state;
	connect_client(ENC_PICKLE);
	script_calls("hello", 2000);
	for (int i = 0; i < 2000; i++)
		client_set_push(f.c, on_push, &n);
	script_calls("hello", 1);
	start(&ping, run_call);
	script_expect(&f.s, "ping");
	script_reply_none(&f.s, script_id(&f.s));
	finish(&ping, OK);
	call_end(&ping.call);
	assert_true(atomic_load(&n) > 0);
}

/* --- what killed processes have left in a cache of blobs --- */

static const char *const left_over[] = { "1/0.00000000000003e8.blob.dl",
	"1/0x00000000000003e81-2-3.tmp-", "1/0x00000000000003e8abc.tmp" };
static const char *const theirs[] = { "1/0.00000000000003e8.blob", "1/mine.tmp-",
	"1/0.00000000000003e8.blob.dl.bak", "tmp/0x00000000000003e81-2-3.tmp-" };

static uint64_t tomorrow(const struct clock *c)
{
	(void)c;
	return clock_wall_us(&clock_system) + UINT64_C(1000000) * (24 * 3600 + 60);
}

static uint64_t no_time(const struct clock *c)
{
	(void)c;
	return 0;
}

static const struct clock clock_tomorrow = { .wall_us = tomorrow, .mono_us = no_time };

static void put_files(const char *folder, const char *const *names, size_t n)
{
	char path[4096];
	FILE *file;

	for (size_t i = 0; i < n; i++) {
		snprintf(path, sizeof(path), "%s/%s", folder, names[i]);
		file = fopen(path, "w");
		assert_non_null(file);
		fclose(file);
	}
}

static void expect_files(const char *folder, const char *const *names, size_t n, bool there)
{
	char path[4096];

	for (size_t i = 0; i < n; i++) {
		snprintf(path, sizeof(path), "%s/%s", folder, names[i]);
		if ((access(path, F_OK) == 0) != there)
			fail_msg("%s is %s", names[i], there ? "gone" : "still there");
	}
}

/* The check of its size once, @clock being the time. */
static void clean_cache(const char *folder, const struct clock *clock)
{
	struct blobs_options o = {
		.path = folder, .limited = true, .cache_bytes = 1000, .clock = clock
	};
	struct blobs *b;
	struct err e = ERR_INIT;

	assert_int_equal(blobs_open(f.c, &o, &b, &e), OK);
	blobs_close(b);
}

static void test_left_over_files(void **state)
{
	char folder[] = "/tmp/test_client.XXXXXX";
	char path[4096];
	struct err e = ERR_INIT;
	int lock = -1;

	(void)state;
	open_client();
	assert_non_null(mkdtemp(folder));
	clean_cache(folder, NULL); /* makes it */
	snprintf(path, sizeof(path), "%s/1", folder);
	assert_int_equal(mkdir(path, 0777), 0);
	put_files(folder, left_over, ARRAY_LEN(left_over));
	put_files(folder, theirs, ARRAY_LEN(theirs));
	snprintf(path, sizeof(path), "%s/1/.lock", folder);
	assert_int_equal(lock_file_take(path, &lock, &e), OK);
	clean_cache(folder, NULL); /* somebody downloads, somebody commits */
	expect_files(folder, left_over, ARRAY_LEN(left_over), true);
	lock_file_release(lock);
	clean_cache(folder, NULL);
	expect_files(folder, left_over, 1, false);
	expect_files(folder, left_over + 1, ARRAY_LEN(left_over) - 1, true);
	clean_cache(folder, &clock_tomorrow);
	expect_files(folder, left_over, ARRAY_LEN(left_over), false);
	expect_files(folder, theirs, ARRAY_LEN(theirs), true);
	client_close(f.c);
	f.c = NULL;
	assert_int_equal(blob_dir_remove_tree(folder, &e), OK);
}

/* --- a child process --- */

struct blob_caller {
	pthread_t thread;
	struct blobs *b;
	int rc;
};

static void *run_blob(void *arg)
{
	struct blob_caller *t = arg;
	char path[4096];
	struct err e = ERR_INIT;

	t->rc = blobs_load(t->b, 1, TID, path, sizeof(path), &e);
	return NULL;
}

/* T31: what the parent downloads is not waited for in a child, where nobody does it. */
static void test_fork_in_a_download(void **state)
{
	char folder[] = "/tmp/test_client.XXXXXX";
	struct blobs_options o = { .path = folder };
	struct blob_caller t = { 0 };
	struct err e = ERR_INIT;
	int status;
	pid_t pid;

	(void)state;
	assert_non_null(mkdtemp(folder));
	connect_client(ENC_PICKLE);
	assert_int_equal(blobs_open(f.c, &o, &t.b, &e), OK);
	assert_int_equal(pthread_create(&t.thread, NULL, run_blob, &t), 0);
	script_expect(&f.s, "sendBlob");
	pid = fork();
	if (pid == 0) {
		alarm(10);
		run_blob(&t);
		_exit(t.rc == ERR_CLOSED ? 0 : 1);
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 0);
	script_reply_error(&f.s, script_id(&f.s), "ZODB.POSException.POSKeyError", "x");
	pthread_join(t.thread, NULL);
	assert_int_equal(t.rc, ERR_NOKEY);
	client_close(f.c);
	f.c = NULL;
	blobs_close(t.b);
	assert_int_equal(blob_dir_remove_tree(folder, &e), OK);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_prefetch_lost),
		TEST(test_large_description),
		TEST(test_large_vote),
		TEST(test_finish_cannot_be_sent),
		TEST(test_abort_cannot_be_sent),
		TEST(test_changes_of_the_past),
		TEST(test_large_info),
		TEST(test_push_is_set_late),
		TEST(test_left_over_files),
		TEST(test_fork_in_a_download),
	};

	mem_fault_hook = fail_allocation;
	return cmocka_run_group_tests(tests, NULL, NULL);
}
