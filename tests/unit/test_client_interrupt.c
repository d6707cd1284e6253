/* Waits that are ended, and what comes after. */
#include "client_fixture.h"

#include <stdatomic.h>
#include <stdlib.h>
#include <time.h>

#include "client/blobs.h"
#include "storage/blob/blob_dir.h"

enum { TICK_MS = 100 /* more than the I/O thread leaves a connection to other readers */ };

static atomic_bool go;
static _Thread_local bool is_interrupted;

static bool on_wait(void *arg)
{
	(void)arg;
	return is_interrupted && atomic_load(&go);
}

static void connect_interruptible(void)
{
	atomic_store(&go, false);
	f.o.events.interrupted = on_wait;
	connect_client(ENC_PICKLE);
}

static void *run_interrupted_load(void *arg)
{
	is_interrupted = true;
	return run_load(arg);
}

static void *run_interrupted_call(void *arg)
{
	is_interrupted = true;
	run_call(arg);
	atomic_store(&go, false);
	return NULL;
}

static void script_call(const char *method, const char *chunk)
{
	struct message_writer w;
	struct buf b = BUF_INIT(0);

	message_call(&w, &b, f.s.encoding, method);
	enc_tuple(&w.enc, chunk ? 3 : 2);
	enc_id(&w.enc, 1);
	enc_id(&w.enc, TID);
	if (chunk)
		enc_bytes(&w.enc, slice_str(chunk));
	enc_end(&w.enc);
	script_say(&f.s, &w, &b);
}

/* N2: who is handed the reader role, and goes, hands it on. */
static void test_goes_with_the_role(void **state)
{
	struct timespec tick = { 0, TICK_MS * 1000000L };
	struct caller other, t = { .oid = 5, .tid = TID_MAX };
	uint64_t ping;

	(void)state;
	connect_interruptible();
	start_call(&other, "ping");
	script_expect(&f.s, "ping");
	ping = script_id(&f.s);
	for (int i = 0; i < 200; i++) /* until the I/O thread has seen that somebody else reads */
		script_call("receiveBlobStart", NULL);
	script_invalidate(&f.s, TID + 1, 1);
	expect_seen("inv:1001:1@1000 ");
	start(&t, run_interrupted_load);
	expect_load(5);
	nanosleep(&tick, NULL); /* nobody tells when the I/O thread has left it to others */
	atomic_store(&go, true);
	script_reply_none(&f.s, ping);
	finish(&other, OK);
	call_end(&other.call);
	finish(&t, ERR_INTERRUPTED);
	forget();
	script_invalidate(&f.s, TID + 2, 1);
	expect_seen("inv:1002:1@1001 ");
}

/* What else comes meanwhile does not keep a thread from being asked. */
static void test_much_else_comes(void **state)
{
	struct caller t = { .method = "ping" };
	struct timespec begun, now;

	(void)state;
	connect_interruptible();
	atomic_store(&go, true);
	start(&t, run_interrupted_call);
	clock_gettime(CLOCK_MONOTONIC, &begun);
	do {
		script_call("receiveBlobStart", NULL);
		clock_gettime(CLOCK_MONOTONIC, &now);
	} while (atomic_load(&go) && now.tv_sec - begun.tv_sec < 20);
	assert_false(atomic_load(&go));
	finish(&t, ERR_INTERRUPTED);
}

/* --- blobs --- */

static struct blob_fixture {
	char folder[64];
	struct blobs *b;
} blob;

struct blob_caller {
	pthread_t thread;
	bool is_interrupted;
	int rc;
	char path[4096];
	struct err err;
};

static void *run_blob(void *arg)
{
	struct blob_caller *t = arg;

	is_interrupted = t->is_interrupted;
	t->rc = blobs_load(blob.b, 1, TID, t->path, sizeof(t->path), &t->err);
	return NULL;
}

static void start_blob(struct blob_caller *t)
{
	assert_int_equal(pthread_create(&t->thread, NULL, run_blob, t), 0);
}

static void open_blobs(void)
{
	struct blobs_options o = { .path = blob.folder };
	struct err e = ERR_INIT;

	strcpy(blob.folder, "/tmp/test_client.XXXXXX");
	assert_non_null(mkdtemp(blob.folder));
	assert_int_equal(blobs_open(f.c, &o, &blob.b, &e), OK);
}

static void close_blobs(void)
{
	struct err e = ERR_INIT;

	client_close(f.c);
	f.c = NULL;
	blobs_close(blob.b);
	assert_int_equal(blob_dir_remove_tree(blob.folder, &e), OK);
}

/* Half of a blob comes, and is not waited for any longer. Returns the id of what is not answered. */
static uint64_t interrupt_a_download(void)
{
	struct blob_caller t = { .is_interrupted = true };
	uint64_t id;

	start_blob(&t);
	script_expect(&f.s, "sendBlob");
	id = script_id(&f.s);
	script_call("receiveBlobStart", NULL);
	script_call("receiveBlobChunk", "half ");
	atomic_store(&go, true);
	pthread_join(t.thread, NULL);
	assert_int_equal(t.rc, ERR_INTERRUPTED);
	return id;
}

static void send_all(void)
{
	script_expect(&f.s, "sendBlob");
	script_call("receiveBlobStart", NULL);
	script_call("receiveBlobChunk", "half ");
	script_call("receiveBlobChunk", "and half");
	script_call("receiveBlobStop", NULL);
	script_reply_none(&f.s, script_id(&f.s));
}

static void expect_all(struct blob_caller *t)
{
	char text[64] = "";
	FILE *file;

	pthread_join(t->thread, NULL);
	if (t->rc != OK)
		fail_msg("%s", t->err.text);
	file = fopen(t->path, "r");
	assert_non_null(file);
	assert_true(fread(text, 1, sizeof(text) - 1, file) > 0);
	fclose(file);
	assert_string_equal(text, "half and half");
}

/* A server sends both at the same time: what is left of the first one must not get into the second. */
static void test_blob_again_while_its_rest_comes(void **state)
{
	struct blob_caller t = { 0 };

	(void)state;
	connect_interruptible();
	open_blobs();
	interrupt_a_download();
	start_blob(&t);
	script_expect_end(&f.s);
	script_serve(&f.s, ENC_PICKLE, TID);
	send_all();
	expect_all(&t);
	close_blobs();
}

static void test_blob_again_after_its_rest(void **state)
{
	struct blob_caller t = { 0 };
	struct caller ping;
	uint64_t id;

	(void)state;
	connect_interruptible();
	open_blobs();
	id = interrupt_a_download();
	script_call("receiveBlobChunk", "and half");
	script_call("receiveBlobStop", NULL);
	script_reply_none(&f.s, id);
	start_call(&ping, "ping");
	script_expect(&f.s, "ping");
	script_reply_none(&f.s, script_id(&f.s));
	finish(&ping, OK);
	call_end(&ping.call);
	start_blob(&t);
	send_all();
	expect_all(&t);
	close_blobs();
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_goes_with_the_role),
		TEST(test_much_else_comes),
		TEST(test_blob_again_while_its_rest_comes),
		TEST(test_blob_again_after_its_rest),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
