/* The client against a server that says exactly what the test wants, in the order it wants. */
#include "client_fixture.h"

#include "client/commit.h"
#include <sched.h>

/* --- connecting --- */

static void test_connects(void **state)
{
	char protocol[4];
	struct buf key = BUF_INIT(0);
	struct err e = ERR_INIT;

	(void)state;
	open_client();
	assert_false(client_is_connected(f.c));
	assert_int_equal(client_sort_key(f.c, &key, &e), ERR_CLOSED);
	script_serve(&f.s, ENC_MSGPACK, TID);
	wait_for_client();
	assert_true(client_is_connected(f.c));
	assert_int_equal(client_last_tid(f.c), TID);
	client_protocol(f.c, protocol);
	assert_string_equal(protocol, "M5");
	assert_int_equal(client_sort_key(f.c, &key, &e), OK);
	buf_free(&key);
	expect_seen("all all connected ");
}

/* T7, and R2's other side: what comes with or before the answer to register() */
static void test_early_invalidations(void **state)
{
	uint64_t id;

	(void)state;
	open_client();
	id = script_greet(&f.s, ENC_PICKLE);
	script_invalidate(&f.s, TID - 1, 1);
	script_invalidate(&f.s, TID, 2);
	script_invalidate(&f.s, TID + 1, 3);
	script_reply_tid(&f.s, id, TID);
	script_invalidate(&f.s, TID + 2, 4);
	script_expect(&f.s, "get_info");
	script_invalidate(&f.s, TID + 3, 5);
	script_reply_info(&f.s, script_id(&f.s));
	wait_for_client();
	expect_seen("all inv:1001:3@1000 inv:1002:4@1001 inv:1003:5@1002 all connected ");
	assert_int_equal(client_last_tid(f.c), TID + 3);
}

/* T6: what a server says that loses the race belongs to nobody. */
static void test_two_servers(void **state)
{
	struct script other;
	struct address both[2];
	struct err e = ERR_INIT;
	uint64_t id;

	(void)state;
	script_listen(&other);
	both[0] = other.listener.bound;
	both[1] = f.s.listener.bound;
	assert_int_equal(client_open(&f.o, both, 2, &f.c, &e), OK);
	script_greet(&other, ENC_MSGPACK);
	script_invalidate(&other, TID + 50, 50);
	id = script_greet(&f.s, ENC_PICKLE);
	script_reply_tid(&f.s, id, TID);
	script_expect(&f.s, "get_info");
	/* the other one has lost: it may say what it wants */
	script_expect_end(&other);
	script_reply_info(&f.s, script_id(&f.s));
	wait_for_client();
	assert_int_equal(client_last_tid(f.c), TID);
	expect_seen("all all connected ");
	script_close(&other);
}

static void test_hello_of_a_stranger(void **state)
{
	struct slice frame;

	(void)state;
	open_client();
	script_accept(&f.s, ENC_PICKLE);
	script_send_frame(&f.s, "Z309", 4);
	assert_false(script_frame(&f.s, &frame)); /* it has left */
	script_accept(&f.s, ENC_PICKLE);          /* and comes again */
	script_send_frame(&f.s, "Z6", 2);
	assert_true(script_frame(&f.s, &frame)); /* a newer one speaks 5, too */
	assert_true(slice_is(frame, "Z5"));
}

static void test_registration_refused(void **state)
{
	uint64_t id;

	(void)state;
	open_client();
	id = script_greet(&f.s, ENC_PICKLE);
	script_reply_error(&f.s, id, "builtins.ValueError", "no such storage");
	script_expect_end(&f.s);
	script_serve(&f.s, ENC_PICKLE, TID); /* asked again */
	wait_for_client();
}

/* It says nothing any more once it has taken us: the other one is tried, and this one not before it. */
static void test_silent_server(void **state)
{
	struct script other;
	struct address both[2];
	struct pollfd again = { .fd = f.s.listener.fds[0], .events = POLLIN };
	struct err e = ERR_INIT;

	(void)state;
	f.o.patience_ms = 100;
	open_client();
	script_reply_tid(&f.s, script_greet(&f.s, ENC_PICKLE), TID);
	script_expect(&f.s, "get_info"); /* it is the only one: there is time */
	script_listen(&other);
	both[0] = f.s.listener.bound;
	both[1] = other.listener.bound;
	assert_int_equal(client_set_addresses(f.c, both, 2, &e), OK);
	script_expect_end(&f.s);
	script_serve(&other, ENC_PICKLE, TID);
	wait_for_client();
	expect_seen("all all connected ");
	assert_int_equal(poll(&again, 1, 0), 0);
	script_close(&other);
}

/* The only one may be slow. */
static void test_slow_server(void **state)
{
	struct pollfd p;

	(void)state;
	f.o.patience_ms = 10;
	open_client();
	script_reply_tid(&f.s, script_greet(&f.s, ENC_PICKLE), TID);
	script_expect(&f.s, "get_info");
	p = (struct pollfd){ .fd = f.s.fd, .events = POLLIN };
	assert_int_equal(poll(&p, 1, 100), 0);
	script_reply_info(&f.s, script_id(&f.s));
	wait_for_client();
}

/* A server that is older than ZEO 5 says nothing with register(). */
static void test_register_without_tid(void **state)
{
	(void)state;
	open_client();
	script_reply_none(&f.s, script_greet(&f.s, ENC_PICKLE));
	script_expect(&f.s, "lastTransaction");
	script_reply_tid(&f.s, script_id(&f.s), TID);
	script_expect(&f.s, "get_info");
	script_reply_info(&f.s, script_id(&f.s));
	wait_for_client();
	assert_int_equal(client_last_tid(f.c), TID);
}

static int dial(void *arg, const struct address *a, uint32_t timeout_ms, int *ret_fd,
	struct address *ret_peer, struct err *e)
{
	(void)timeout_ms;
	(void)e;
	*ret_fd = dup(*(int *)arg);
	*ret_peer = *a;
	snprintf(ret_peer->host, sizeof(ret_peer->host), "192.0.2.1");
	return OK;
}

static void test_dialer(void **state)
{
	struct buf key = BUF_INIT(0);
	struct err e = ERR_INIT;
	char expected[64];
	int fds[2];

	(void)state;
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, fds), 0);
	f.o.dialer = (struct client_dialer){ .arg = &fds[1], .dial = dial };
	open_client();
	f.s.fd = fds[0];
	script_send_frame(&f.s, "Z5", 2);
	{
		struct slice frame;

		assert_true(script_frame(&f.s, &frame));
	}
	script_expect(&f.s, "register");
	script_reply_tid(&f.s, script_id(&f.s), TID);
	script_expect(&f.s, "get_info");
	script_reply_info(&f.s, script_id(&f.s));
	wait_for_client();
	assert_int_equal(client_sort_key(f.c, &key, &e), OK);
	snprintf(expected, sizeof(expected), "1:('192.0.2.1', %u)", f.s.listener.bound.port);
	assert_true(slice_is(buf_slice(&key), expected));
	buf_free(&key);
	close(fds[1]);
}

static void test_heartbeat(void **state)
{
	(void)state;
	f.o.heartbeat_ms = 20;
	connect_client(ENC_PICKLE);
	script_expect(&f.s, ".reply");
	assert_int_equal(f.s.message.id->i, -1);
	script_expect(&f.s, ".reply");
}

/* --- loads --- */

static void test_one_request(void **state)
{
	struct caller first, t[7], other;
	uint64_t id, other_id;

	(void)state;
	connect_client(ENC_PICKLE);
	start_load(&first, 1);
	id = expect_load(1);
	for (int i = 0; i < 7; i++)
		start_load(&t[i], 1);
	start_load(&other, 2);
	other_id = expect_load(2); /* the next message: nobody has asked for 1 again */
	script_reply_record(&f.s, other_id, "two", 20, 0);
	finish_load(&other, "two", 20);
	script_reply_record(&f.s, id, "one", 10, 0);
	finish_load(&first, "one", 10);
	for (int i = 0; i < 7; i++)
		finish_load(&t[i], "one", 10);
	assert_int_equal(cached(1), 10);
}

static void test_errors_of_loads(void **state)
{
	struct caller t;

	(void)state;
	connect_client(ENC_PICKLE);
	start_load(&t, 1);
	script_reply_error(&f.s, expect_load(1), "ZODB.POSException.POSKeyError", "x");
	finish(&t, ERR_NOKEY);
	start_load(&t, 1);
	script_reply_none(&f.s, expect_load(1));
	finish(&t, ERR_NOENT);
	start_load(&t, 1);
	script_reply_error(&f.s, expect_load(1), "some.Error", "of its own");
	finish(&t, ERR_REMOTE);
	assert_string_equal(t.err.text, "some.Error: of its own");
	start_load(&t, 1);
	script_reply_tid(&f.s, expect_load(1), 5); /* not a revision */
	finish(&t, ERR_FORMAT);
	start_load(&t, 1);
	script_reply_record(&f.s, expect_load(1), "", 5, 0); /* a short one */
	finish_load(&t, "", 5);
}

/* What other picklers write for the same values. */
static void test_other_words(void **state)
{
	/* protocol 2, with a memo and a text for a name */
	static const char reply[] =
		"\x80\x02(K?K\0X\x06\0\0\0.replyq\1"
		"c_codecs\nencode\nq\2X\3\0\0\0oneq\3X\6\0\0\0latin1q\4\x86q\5Rq\6"
		"h\2X\x08\0\0\0\0\0\0\0\0\0\0\x0bq\7h\4\x86q\x08Rq\x09N\x87q\x0atq\x0b.";
	char bytes[sizeof(reply)];
	struct caller t;

	(void)state;
	connect_client(ENC_PICKLE);
	start_load(&t, 1);
	memcpy(bytes, reply, sizeof(reply));
	bytes[4] = (char)expect_load(1);
	script_send_frame(&f.s, bytes, sizeof(reply) - 1);
	finish_load(&t, "one", 11);
}

/* T3, T45: what came behind the request and before its answer */
static void test_order(void **state)
{
	struct caller t;
	uint64_t id;

	(void)state;
	connect_client(ENC_PICKLE);
	start_load(&t, 1);
	id = expect_load(1);
	script_reply_record(&f.s, id, "one", 10, 0);
	script_invalidate(&f.s, TID + 1, 1);
	finish_load(&t, "one", 10);
	expect_seen("inv:1001:1@1000 ");
	assert_int_equal(cached(1), 0);
	start_load(&t, 1);
	id = expect_load(1);
	script_invalidate(&f.s, TID + 5, 9);
	script_reply_record(&f.s, id, "two", TID + 1, 0);
	finish_load(&t, "two", TID + 1);
	assert_int_equal(client_last_tid(f.c), TID + 5); /* was handled before */
	assert_int_equal(cached(1), TID + 1);
	/* late: Python's servers do that */
	script_invalidate(&f.s, TID + 3, 1);
	expect_seen("inv:1001:1@1000 inv:1005:9@1001 inv:1003:1@1005 ");
	assert_int_equal(client_last_tid(f.c), TID + 5);
	assert_int_equal(cached(1), 0);
}

static void on_done(struct call *k)
{
	struct client_record r;

	if (k->rc != OK) {
		note("done:%s ", err_name(k->rc));
		return;
	}
	call_record(k, &r);
	note("done:%.*s ", (int)r.data.len, (const char *)r.data.data);
}

static void test_without_a_wait(void **state)
{
	struct call k[3] = { { .done = on_done }, { .done = on_done }, { .done = on_done } };
	struct err e = ERR_INIT;
	uint64_t id;

	(void)state;
	connect_client(ENC_MSGPACK);
	assert_int_equal(client_load_begin(f.c, &k[0], 1, TID_MAX, &e), OK);
	id = expect_load(1);
	script_reply_record(&f.s, id, "one", 10, 0); /* the I/O thread reads it */
	expect_seen("done:one ");
	assert_int_equal(client_load_begin(f.c, &k[1], 1, TID_MAX, &e), OK); /* from the cache */
	expect_seen("done:one done:one ");
	assert_int_equal(client_load_begin(f.c, &k[2], 2, TID_MAX, &e), OK);
	script_hang_up(&f.s);
	expect_seen("done:one done:one done:closed disconnected ");
	for (int i = 0; i < 3; i++)
		call_end(&k[i]);
}

static void test_prefetch(void **state)
{
	uint64_t oids[600], ids[600];
	struct err e = ERR_INIT;
	struct caller t;

	(void)state;
	connect_client(ENC_PICKLE);
	for (uint64_t i = 0; i < 600; i++)
		oids[i] = i;
	assert_int_equal(client_prefetch(f.c, oids, 600, TID_MAX, &e), OK);
	for (uint64_t i = 0; i < 600; i++)
		ids[i] = expect_load(i);
	start_load(&t, 599); /* is under way */
	for (int i = 599; i >= 0; i--)
		script_reply_record(&f.s, ids[i], "x", 10, 0);
	finish_load(&t, "x", 10);
	start_call(&t, "ping");
	script_expect(&f.s, "ping");
	script_reply_none(&f.s, script_id(&f.s));
	finish(&t, OK);
	call_end(&t.call);
	for (uint64_t i = 0; i < 600; i++)
		assert_int_equal(cached(i), 10);
}

/* --- who reads --- */

/* A thread that waits long reads for the others; when its answer is there another one goes on. */
static void test_reader_role(void **state)
{
	struct caller slow, quick, last;
	uint64_t slow_id, quick_id, last_id;

	(void)state;
	connect_client(ENC_PICKLE);
	for (int i = 0; i < 20; i++) {
		start_call(&slow, "pack");
		script_expect(&f.s, "pack");
		slow_id = script_id(&f.s);
		start_load(&quick, 100 + (uint64_t)i);
		quick_id = expect_load(100 + (uint64_t)i);
		start_call(&last, "history");
		script_expect(&f.s, "history");
		last_id = script_id(&f.s);
		script_reply_record(&f.s, quick_id, "q", 10, 0);
		finish_load(&quick, "q", 10);
		script_reply_none(&f.s, slow_id);
		finish(&slow, OK);
		call_end(&slow.call);
		script_reply_none(&f.s, last_id); /* somebody reads */
		finish(&last, OK);
		call_end(&last.call);
		script_invalidate(&f.s, TID + 1 + (uint64_t)i, 1); /* and when nobody waits */
		while (client_last_tid(f.c) < TID + 1 + (uint64_t)i)
			sched_yield();
	}
}

/* --- commits --- */

static struct client_txn *begin(void)
{
	struct client_txn *t;
	struct err e = ERR_INIT;

	if (client_txn_begin(f.c, slice_str("u"), slice_str("d"), NULL, TID_NONE, ' ', &t, &e) !=
		OK)
		fail_msg("%s", e.text);
	return t;
}

static void store(struct client_txn *t, uint64_t oid, const char *data)
{
	struct err e = ERR_INIT;

	assert_int_equal(client_txn_store(t, oid, 0, slice_str(data), &e), OK);
}

static void *run_vote(void *arg)
{
	struct caller *t = arg;
	const struct client_conflict *conflicts;
	size_t n = 0;

	t->rc = client_txn_vote(t->txn, &conflicts, &n, NULL, &t->err);
	t->oid = n;
	return NULL;
}

static void told(void *arg, uint64_t tid)
{
	(void)arg;
	note("told:%d@%d ", (int)tid, (int)client_last_tid(f.c));
}

static void *run_finish(void *arg)
{
	struct caller *t = arg;

	t->rc = client_txn_finish(t->txn, told, NULL, &t->tid, NULL, &t->err);
	return NULL;
}

static struct client_txn *voted(const char *data)
{
	struct client_txn *t = begin();
	struct caller v = { .txn = t };

	store(t, 1, data);
	start(&v, run_vote);
	script_expect(&f.s, "tpc_begin");
	script_expect(&f.s, "storea");
	script_expect(&f.s, "vote");
	script_reply_none(&f.s, script_id(&f.s));
	finish(&v, OK);
	return t;
}

/* R3: told() comes between the invalidations before and after it. */
static void test_finish_at_its_place(void **state)
{
	struct caller t = { 0 };
	uint64_t id;

	(void)state;
	connect_client(ENC_PICKLE);
	t.txn = voted("mine");
	start(&t, run_finish);
	script_expect(&f.s, "tpc_finish");
	id = script_id(&f.s);
	script_invalidate(&f.s, TID + 1, 7);
	script_reply_tid(&f.s, id, TID + 2);
	script_invalidate(&f.s, TID + 3, 8);
	finish(&t, OK);
	assert_int_equal(t.tid, TID + 2);
	expect_seen("inv:1001:7@1000 told:1002@1002 inv:1003:8@1002 ");
	assert_int_equal(cached(1), TID + 2);
}

/* T45: the answer comes too late; the commit is one all the same. */
static void test_finish_too_late(void **state)
{
	struct caller t = { 0 };

	(void)state;
	connect_client(ENC_PICKLE);
	t.txn = voted("mine");
	start(&t, run_finish);
	script_expect(&f.s, "tpc_finish");
	script_invalidate(&f.s, TID + 3, 8);
	script_reply_tid(&f.s, script_id(&f.s), TID + 2);
	finish(&t, OK);
	assert_int_equal(t.tid, TID + 2);
	expect_seen("inv:1003:8@1000 told:1002@1003 ");
	assert_int_equal(client_last_tid(f.c), TID + 3);
	assert_int_equal(cached(1), 0);
}

/* T16: nobody knows whether it is committed; the next connection tells. */
static void test_finish_lost(void **state)
{
	struct caller t = { 0 };
	struct message_writer w;
	struct buf b = BUF_INIT(0);
	uint64_t id;

	(void)state;
	connect_client(ENC_PICKLE);
	start_load(&t, 1);
	script_reply_record(&f.s, expect_load(1), "old", 10, 0);
	finish_load(&t, "old", 10);
	t.txn = voted("mine");
	start(&t, run_finish);
	script_expect(&f.s, "tpc_finish");
	script_hang_up(&f.s);
	finish(&t, ERR_CLOSED);
	id = script_greet(&f.s, ENC_PICKLE);
	script_reply_tid(&f.s, id, TID + 1);
	assert_int_equal(get_be64(script_expect(&f.s, "getInvalidations")->args[0].s.data), TID);
	script_reply_begin(&f.s, &w, &b, script_id(&f.s), MESSAGE_REPLY);
	enc_tuple(&w.enc, 2);
	enc_id(&w.enc, TID + 1);
	enc_list(&w.enc, 1);
	enc_id(&w.enc, 1);
	enc_end(&w.enc);
	enc_end(&w.enc);
	script_say(&f.s, &w, &b);
	script_expect(&f.s, "get_info");
	script_reply_info(&f.s, script_id(&f.s));
	wait_for_client();
	assert_string_equal(client_verify_result(f.c), "quick verification");
	expect_seen("disconnected inv:1001:1@1000 all connected ");
	assert_int_equal(cached(1), 0);
}

/* A finish that fails leaves the cache doubtful: as ZEO does it, the client connects anew. */
static void test_finish_fails(void **state)
{
	struct caller t = { 0 };

	(void)state;
	connect_client(ENC_PICKLE);
	t.txn = voted("mine");
	start(&t, run_finish);
	script_expect(&f.s, "tpc_finish");
	script_reply_error(&f.s, script_id(&f.s), "ZODB.POSException.StorageSystemError", "disk");
	finish(&t, ERR_REMOTE);
	script_expect_end(&f.s);
	script_serve(&f.s, ENC_PICKLE, TID);
	wait_for_client();
	expect_seen("disconnected all connected ");
}

static void test_one_transaction_at_a_time(void **state)
{
	struct client_txn *t;

	(void)state;
	connect_client(ENC_PICKLE);
	t = begin();
	script_hang_up(&f.s);
	script_serve(&f.s, ENC_PICKLE, TID);
	while (!client_is_connected(f.c) || client_generation(f.c) == client_txn_generation(t))
		sched_yield();
	{
		struct err e = ERR_INIT;

		assert_int_equal(client_txn_store(t, 1, 0, slice_str("x"), &e), ERR_CLOSED);
	}
	client_txn_abort(t, 0);
	t = begin(); /* the place is free */
	script_hang_up(&f.s);
	client_txn_abort(t, 1);
}

/* --- servers that do it wrong --- */

static void check_left(void)
{
	script_expect_end(&f.s);
	script_serve(&f.s, ENC_PICKLE, TID);
	wait_for_client();
}

static void test_wrong_servers(void **state)
{
	static const char huge[4] = "\xff\xff\xff\xff";

	(void)state;
	connect_client(ENC_PICKLE);
	script_reply_none(&f.s, 12345); /* nobody has asked */
	check_left();
	script_send(&f.s, huge, sizeof(huge));
	check_left();
	script_send_frame(&f.s, "nonsense", 8);
	check_left();
	script_send_frame(&f.s, "\x80\x03(K\0\x88X\x15\0\0\0invalidateTransactionK\1]\x86t.", 38);
	check_left();
	script_send(&f.s, "\0\0\1\0half", 8);
	script_hang_up(&f.s);
	script_serve(&f.s, ENC_PICKLE, TID);
}

/* --- the end --- */

static void test_shut(void **state)
{
	struct caller call, load;
	struct client_txn *t;
	struct client_record r;
	struct err e = ERR_INIT;

	(void)state;
	connect_client(ENC_PICKLE);
	t = begin();
	start_call(&call, "pack");
	script_expect(&f.s, "tpc_begin");
	script_expect(&f.s, "pack");
	start_load(&load, 1);
	expect_load(1);
	client_shut(f.c);
	finish(&call, ERR_CLOSED);
	finish(&load, ERR_CLOSED);
	call_end(&call.call);
	assert_int_equal(client_load_before(f.c, 1, TID_MAX, &r, &e), ERR_CLOSED);
	assert_string_equal(e.text, "the client is closed");
	client_txn_abort(t, 0);
	client_shut(f.c);
}

static void test_close_at_any_stage(void **state)
{
	(void)state;
	open_client();
	client_close(f.c); /* at once */
	open_client();
	script_accept(&f.s, ENC_PICKLE);
	client_close(f.c); /* greeting */
	script_hang_up(&f.s);
	open_client();
	script_greet(&f.s, ENC_PICKLE);
	client_close(f.c); /* registering */
	script_hang_up(&f.s);
	open_client();
	script_reply_tid(&f.s, script_greet(&f.s, ENC_PICKLE), TID);
	script_expect(&f.s, "get_info");
	client_close(f.c); /* verifying */
	script_hang_up(&f.s);
	open_client();
	script_reply_error(&f.s, script_greet(&f.s, ENC_PICKLE), "x.Y", "");
	script_expect_end(&f.s);
	client_close(f.c); /* waiting */
	f.c = NULL;
}

static void *call_back(void *arg)
{
	struct caller *t = arg;

	t->rc = client_ping(f.c, &t->err);
	return NULL;
}

static void on_done_asks(struct call *k)
{
	struct caller *t = k->arg;

	call_back(t);
	note("asked:%s ", err_name(t->rc));
}

static void test_callbacks_do_not_wait(void **state)
{
	struct caller t = { 0 };
	struct call k = { .done = on_done_asks, .arg = &t };
	struct err e = ERR_INIT;

	(void)state;
	connect_client(ENC_PICKLE);
	assert_int_equal(client_call(f.c, &k, "ping", NULL, 0, 0, &e), OK);
	script_expect(&f.s, "ping");
	script_reply_none(&f.s, script_id(&f.s));
	expect_seen("asked:wrong state ");
	call_end(&k);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_connects),
		TEST(test_early_invalidations),
		TEST(test_two_servers),
		TEST(test_hello_of_a_stranger),
		TEST(test_registration_refused),
		TEST(test_register_without_tid),
		TEST(test_silent_server),
		TEST(test_slow_server),
		TEST(test_dialer),
		TEST(test_heartbeat),
		TEST(test_one_request),
		TEST(test_errors_of_loads),
		TEST(test_other_words),
		TEST(test_order),
		TEST(test_without_a_wait),
		TEST(test_prefetch),
		TEST(test_reader_role),
		TEST(test_finish_at_its_place),
		TEST(test_finish_too_late),
		TEST(test_finish_lost),
		TEST(test_finish_fails),
		TEST(test_one_transaction_at_a_time),
		TEST(test_wrong_servers),
		TEST(test_shut),
		TEST(test_close_at_any_stage),
		TEST(test_callbacks_do_not_wait),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
