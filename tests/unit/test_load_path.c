/* What makes loads fast, and fair: nothing is allocated for them, they are answered as any other, and who has
 * thousands of them under way lets the others have their turn. */
#include "storage_util.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <signal.h>
#include <sys/socket.h>

#include "base/bigendian.h"
#include "codec/enc.h"
#include "server/hub.h"
#include "server/server.h"
#include "server/session.h"
#include "server/worker.h"
#include "storage/filestorage/filestorage.h"
#include "zeo/frame.h"

enum { OBJECTS = 3000, OBJECT_BYTES = 500, FLOOD = 10000 };

struct fixture {
	struct test_dir *dir;
	struct storage *storage;
	struct server server;
	struct worker worker; /* its loop is run by the test, turn by turn */
	struct session_io io;
	struct session *session; /* of no socket */
};

static void ignore_close(struct session_io *io, bool flush)
{
}

static void fill(struct storage *s)
{
	struct txn *t = test_txn("", "");
	char text[OBJECT_BYTES + 1];
	struct test_outcome o;
	struct vote_req v;

	memset(text, 'x', OBJECT_BYTES);
	text[OBJECT_BYTES] = 0;
	for (uint64_t oid = 1; oid <= OBJECTS; oid++) {
		memcpy(text, &oid, 3);
		text[0] |= 1; /* no zero ends it */
		text[1] |= 1;
		text[2] |= 1;
		test_store(t, oid, 0, text);
	}
	v = test_vote(s, t, false);
	assert_int_equal(v.rc, OK);
	test_finish(s, t, &o);
	while (!__atomic_load_n(&o.done, __ATOMIC_ACQUIRE))
		usleep(100);
	assert_int_equal(o.rc, OK);
	txn_free(t);
}

static int fixture_open(void **state)
{
	static struct fixture f;
	static const char *const ids[] = { "1" };
	struct server_options o = { .transaction_timeout_text = "0" };
	struct filestorage_options fo = { .clock = &clock_system, .recent_txns = 10 };
	struct err e = ERR_INIT;

	memset(&f, 0, sizeof(f));
	assert_int_equal(test_dir_setup((void **)&f.dir), 0);
	fo.path = f.dir->data;
	assert_int_equal(filestorage_open(&fo, &f.storage, &e), OK);
	fill(f.storage);
	assert_int_equal(server_init(&f.server, &o, &clock_system, ids, &f.storage, 1, &e), OK);
	assert_int_equal(worker_init(&f.worker, &f.server, NULL, NULL, &e), OK);
	f.io.close = ignore_close;
	*state = &f;
	return 0;
}

static void turn(struct fixture *f)
{
	uv_run(&f->worker.loop.uv, UV_RUN_NOWAIT);
}

static int fixture_close(void **state)
{
	struct fixture *f = *state;

	mem_fault_hook = NULL;
	if (f->session)
		session_closed(f->session, NULL);
	for (int i = 0; i < 1000 && f->worker.hub.n_open; i++)
		turn(f);
	worker_fini(&f->worker);
	server_fini(&f->server);
	f->storage->ops->close(f->storage);
	return test_dir_teardown((void **)&f->dir);
}

/* --- messages --- */

static void begin_call(struct buf *b, struct enc *en, uint32_t id, const char *method, uint32_t n)
{
	enc_begin(en, b, ENC_PICKLE);
	enc_tuple(en, 4);
	enc_int(en, id);
	enc_bool(en, false);
	enc_str(en, slice_str(method));
	enc_tuple(en, n);
}

static void end_call(struct buf *b, struct enc *en, size_t mark)
{
	enc_end(en);
	enc_end(en);
	enc_finish(en);
	frame_end(b, mark);
	assert_true(buf_ok(b));
}

static void put_load(struct buf *b, uint32_t id, uint64_t oid)
{
	size_t mark = frame_begin(b);
	struct enc en;

	begin_call(b, &en, id, "loadBefore", 2);
	enc_id(&en, oid);
	enc_id(&en, TID_MAX);
	end_call(b, &en, mark);
}

/* The same call with another opcode for its name: decoded as any message. */
static void put_other_load(struct buf *b, uint32_t id, uint64_t oid)
{
	static const char name[] = "X\x0a\0\0\0loadBefore";
	static const char other[] = "\x8c\x0aloadBefore";
	size_t start = b->len;
	uint8_t *at;

	put_load(b, id, oid);
	at = memmem(b->data + start, b->len - start, name, sizeof(name) - 1);
	assert_non_null(at);
	memcpy(at, other, sizeof(other) - 1);
	memmove(at + sizeof(other) - 1, at + sizeof(name) - 1,
		(size_t)(b->data + b->len - at) - (sizeof(name) - 1));
	b->len -= sizeof(name) - sizeof(other);
	put_be32(b->data + start, (uint32_t)(b->len - start - FRAME_HEADER_LEN));
}

static void put_register(struct buf *b)
{
	size_t mark;
	struct enc en;

	buf_put(b, "\0\0\0\2Z5", 6);
	mark = frame_begin(b);
	begin_call(b, &en, 1, "register", 2);
	enc_str(&en, slice_str("1"));
	enc_bool(&en, false);
	end_call(b, &en, mark);
}

/* --- without a socket --- */

/* All that is queued, and it is sent. */
static void take_output(struct session *s, struct buf *out)
{
	struct iovec iov[64];
	int n;

	buf_reset(out);
	while ((n = outq_iov(&s->out, iov, 64)) > 0) {
		size_t sent = 0;

		for (int i = 0; i < n; i++) {
			buf_put(out, iov[i].iov_base, iov[i].iov_len);
			sent += iov[i].iov_len;
		}
		session_sent(s, sent);
	}
	while (hub_next_dirty(s->hub))
		;
}

static void input(struct session *s, const struct buf *in, struct buf *out)
{
	session_input(s, in->data, in->len);
	take_output(s, out);
}

static struct session *open_session(struct fixture *f)
{
	struct buf in = BUF_INIT(0);
	struct buf out = BUF_INIT(0);

	f->session = session_new(&f->worker.hub, &f->io, "peer");
	assert_non_null(f->session);
	put_register(&in);
	input(f->session, &in, &out);
	assert_int_equal(f->session->state, SESSION_REGISTERED);
	buf_free(&in);
	buf_free(&out);
	return f->session;
}

static unsigned allocations;

static int count_allocation(void)
{
	allocations++;
	return 0;
}

/* More than are looked at ahead, at once. */
static void test_nothing_is_allocated(void **state)
{
	struct session *s = open_session(*state);
	struct buf in = BUF_INIT(0);
	struct buf out = BUF_INIT(0);

	for (uint32_t i = 0; i < 100; i++)
		put_load(&in, i, 1 + i * 29 % OBJECTS);
	for (int i = 0; i < 3;
		i++) /* what is kept is made: buffers, chunks, pages that are known */
		input(s, &in, &out);
	assert_true(out.len > 100 * OBJECT_BYTES);
	mem_fault_hook = count_allocation;
	allocations = 0;
	for (int i = 0; i < 10; i++) {
		session_input(s, in.data, in.len / 2);
		session_input(s, in.data + in.len / 2, in.len - in.len / 2);
		session_sent(s, s->out.bytes);
	}
	mem_fault_hook = NULL;
	assert_int_equal(allocations, 0);
	buf_free(&in);
	buf_free(&out);
}

/* Found in its bytes, alone or many at once, or decoded: the answer is the same. */
static void test_answers_agree(void **state)
{
	struct session *s = open_session(*state);
	struct buf in = BUF_INIT(0);
	struct buf out = BUF_INIT(0);
	struct buf all = BUF_INIT(0);

	for (uint32_t i = 0; i < 100; i++) /* some of objects that are not there */
		put_load(&in, i, i * 31);
	input(s, &in, &all);
	assert_true(all.len > 90 * OBJECT_BYTES);
	for (int other = 0; other < 2; other++) {
		size_t at = 0;

		for (uint32_t i = 0; i < 100; i++) {
			buf_reset(&in);
			if (other)
				put_other_load(&in, i, i * 31);
			else
				put_load(&in, i, i * 31);
			input(s, &in, &out);
			assert_true(at + out.len <= all.len);
			assert_memory_equal(out.data, all.data + at, out.len);
			at += out.len;
		}
		assert_int_equal(at, all.len);
	}
	buf_free(&in);
	buf_free(&out);
	buf_free(&all);
}

/* --- what is prefetched --- */

enum { PREFETCHES_MAX = 300 };

static struct {
	struct storage_ops ops;
	size_t calls;
	size_t n;
	uint64_t oids[PREFETCHES_MAX];
} prefetched;

static void record_prefetch(struct storage *s, const uint64_t *oids, size_t n)
{
	(void)s;
	assert_in_range(n, 1, STORAGE_PREFETCH_MAX);
	assert_true(prefetched.n + n <= PREFETCHES_MAX);
	memcpy(prefetched.oids + prefetched.n, oids, n * sizeof(oids[0]));
	prefetched.n += n;
	prefetched.calls++;
}

static void record_prefetches(struct fixture *f)
{
	memset(&prefetched, 0, sizeof(prefetched));
	prefetched.ops = *f->storage->ops;
	prefetched.ops.prefetch = record_prefetch;
	f->storage->ops = &prefetched.ops;
}

/* Each object once, in the order of the requests, also where there are more than are looked at together, with other
 * requests among them. */
static void test_each_is_prefetched_once(void **state)
{
	struct fixture *f = *state;
	struct session *s = open_session(f);
	struct buf in = BUF_INIT(0);
	struct buf out = BUF_INIT(0);

	record_prefetches(f);
	for (uint32_t i = 0; i < 100; i++) {
		if (i % 7 == 0)
			put_other_load(&in, 1000 + i, 1);
		put_load(&in, i, 1 + i * 29 % OBJECTS);
	}
	session_input(s, in.data, in.len - 5); /* the last one is not whole */
	assert_int_equal(prefetched.n, 99);
	assert_in_range(prefetched.calls, 2, 99 / STORAGE_PREFETCH_MAX + 1);
	for (uint32_t i = 0; i < 99; i++)
		assert_int_equal(prefetched.oids[i], 1 + i * 29 % OBJECTS);
	take_output(s, &out);
	buf_free(&in);
	buf_free(&out);
}

/* What lies between the requests of one storage's clients, of another's, is not taken for looked at. */
static void test_other_storages_are_not_taken_for_looked_at(void **state)
{
	struct session *s = open_session(*state);
	struct look_ahead *la = &s->hub->ahead;
	const struct storage other = { 0 };
	struct buf in = BUF_INIT(0);

	put_load(&in, 1, 1);
	look_ahead_start(la);
	assert_true(look_ahead_add(la, s, slice_of(in.data, in.len)));
	assert_true(look_ahead_has(la, s->hs->ss->storage, in.data));
	assert_false(look_ahead_has(la, s->hs->ss->storage, in.data + in.len));
	assert_false(look_ahead_has(la, &other, in.data));
	buf_free(&in);
}

/* --- with sockets --- */

/* The client's side; its buffers have room for all of a flood's requests. */
static int connect_client(struct fixture *f)
{
	struct sockaddr_in a = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	socklen_t n = sizeof(a);
	int listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	int room = 4 << 20;
	int fd;

	assert_int_equal(setsockopt(listener, SOL_SOCKET, SO_RCVBUF, &room, sizeof(room)), 0);
	assert_int_equal(bind(listener, (struct sockaddr *)&a, sizeof(a)), 0);
	assert_int_equal(listen(listener, 1), 0);
	assert_int_equal(getsockname(listener, (struct sockaddr *)&a, &n), 0);
	fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	assert_int_equal(connect(fd, (struct sockaddr *)&a, sizeof(a)), 0);
	worker_add(&f->worker, accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC), "peer");
	close(listener);
	return fd;
}

static void send_all(int fd, const struct buf *b)
{
	size_t sent = 0;

	while (sent < b->len) {
		ssize_t n = send(fd, b->data + sent, b->len - sent, 0);

		assert_true(n > 0);
		sent += (size_t)n;
	}
}

/* Bytes that have come by now. */
static size_t receive(int fd)
{
	static uint8_t room[1 << 20];
	size_t all = 0;
	ssize_t n;

	while ((n = recv(fd, room, sizeof(room), MSG_DONTWAIT)) > 0)
		all += (size_t)n;
	assert_true(n < 0 && errno == EAGAIN);
	return all;
}

static int registered_client(struct fixture *f)
{
	struct buf b = BUF_INIT(0);
	int fd = connect_client(f);
	size_t got = 0;

	put_register(&b);
	send_all(fd, &b);
	buf_free(&b);
	while (got <= 6) {
		turn(f);
		got += receive(fd);
	}
	return fd;
}

/* One has 10,000 loads under way, the other one. */
static void test_a_flood_gives_way(void **state)
{
	struct fixture *f = *state;
	int flood = registered_client(f);
	int single = registered_client(f);
	struct buf b = BUF_INIT(0);
	size_t answer = 0;
	size_t flooded = 0;
	size_t turns = 0;

	for (uint32_t i = 0; i < FLOOD; i++)
		put_load(&b, i % 100, 1 + i % OBJECTS);
	send_all(flood, &b);
	for (int i = 0; i < 2; i++) { /* its first answers have come */
		turn(f);
		flooded += receive(flood);
	}
	assert_true(flooded > 0);
	flooded = 0;
	buf_reset(&b);
	put_load(&b, 1, 1);
	send_all(single, &b);
	while (answer == 0) {
		turn(f);
		turns++;
		flooded += receive(flood);
		answer = receive(single);
	}
	assert_true(answer > OBJECT_BYTES);
	/* a turn's worth of requests, and what a turn before had left to be sent */
	assert_in_range(turns, 1, 2);
	assert_in_range(flooded / OBJECT_BYTES, 0, FLOOD / 5);
	for (size_t all = flooded; all < (size_t)OBJECT_BYTES * (FLOOD - FLOOD / 5);) {
		turn(f);
		all += receive(flood);
	}
	close(flood);
	close(single);
	buf_free(&b);
}

/* What two clients have sent is looked at together, and not once more when the second one's turn comes. */
static void test_clients_are_looked_at_together(void **state)
{
	struct fixture *f = *state;
	int clients[2] = { registered_client(f), registered_client(f) };
	struct buf b = BUF_INIT(0);
	size_t answered = 0;

	record_prefetches(f);
	for (uint32_t i = 0; i < 2; i++) {
		buf_reset(&b);
		for (uint32_t k = 0; k < 3; k++)
			put_load(&b, k, 1 + 3 * i + k);
		send_all(clients[i], &b);
	}
	while (answered < (size_t)6 * OBJECT_BYTES) {
		turn(f);
		answered += receive(clients[0]) + receive(clients[1]);
	}
	assert_int_equal(prefetched.calls, 1);
	assert_int_equal(prefetched.n, 6);
	close(clients[0]);
	close(clients[1]);
	buf_free(&b);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(
			test_nothing_is_allocated, fixture_open, fixture_close),
		cmocka_unit_test_setup_teardown(test_answers_agree, fixture_open, fixture_close),
		cmocka_unit_test_setup_teardown(
			test_each_is_prefetched_once, fixture_open, fixture_close),
		cmocka_unit_test_setup_teardown(test_other_storages_are_not_taken_for_looked_at,
			fixture_open, fixture_close),
		cmocka_unit_test_setup_teardown(
			test_clients_are_looked_at_together, fixture_open, fixture_close),
		cmocka_unit_test_setup_teardown(
			test_a_flood_gives_way, fixture_open, fixture_close),
	};

	signal(SIGPIPE, SIG_IGN);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
