/* What a session does besides requests: streams that refill its queue, and its time limits. */
#include "cmocka_all.h"

#include <stdio.h>
#include <string.h>

#include "base/log.h"
#include "server/hub.h"
#include "server/server.h"
#include "server/session.h"

static uint64_t now_us;

static uint64_t read_clock(const struct clock *c)
{
	return now_us;
}

static const struct clock clock_fake = { .wall_us = read_clock, .mono_us = read_clock };

static char logged[1000]; /* the last line that was told as an error */

static void on_log(struct log_handler *h, const struct log_record *r)
{
	snprintf(logged, sizeof(logged), "%s", r->text);
}

static struct log_handler handler = { .level = LOG_ERROR, .emit = on_log };

static void ignore_wake(struct hub_io *io)
{
}

/* A stream that queues a piece, or nothing. */
struct source {
	struct stream stream;
	struct session *session;
	size_t piece;
	unsigned asked, asked_when_gone;
	bool once; /* takes itself off the list */
};

/* A server without storages, its only hub, and a connection. */
struct fixture {
	struct server server;
	struct hub hub;
	struct hub_io hub_io;
	struct session_io io;
	struct session *session;
	bool close_asked;
	struct source a, b; /* asked once more when the session ends */
};

static void on_close(struct session_io *io, bool flush)
{
	CONTAINER_OF(io, struct fixture, io)->close_asked = true;
}

static int fixture_open(void **state)
{
	static struct fixture f;
	struct server_options o = { .transaction_timeout_text = "0" };
	struct err e = ERR_INIT;

	memset(&f, 0, sizeof(f));
	now_us = 1000000;
	logged[0] = 0;
	log_add(&handler);
	assert_int_equal(server_init(&f.server, &o, &clock_fake, NULL, NULL, 0, &e), OK);
	f.hub_io.wake = ignore_wake;
	assert_int_equal(hub_init(&f.hub, &f.server, NULL, &f.hub_io, &e), OK);
	f.io.close = on_close;
	f.session = session_new(&f.hub, &f.io, "peer");
	assert_non_null(f.session);
	*state = &f;
	return 0;
}

static int fixture_close(void **state)
{
	struct fixture *f = *state;

	if (f->session)
		session_closed(f->session, NULL);
	hub_fini(&f->hub);
	server_fini(&f->server);
	log_remove(&handler);
	return 0;
}

static void put(struct session *s, size_t n)
{
	size_t mark;
	struct buf *b = session_out(s, &mark);

	assert_non_null(b);
	memset(buf_reserve(b, n), 'x', n);
	buf_advance(b, n);
	session_out_done(s, b, mark);
}

static void on_more(struct stream *st)
{
	struct source *src = CONTAINER_OF(st, struct source, stream);

	if (!session_alive(src->session)) {
		src->asked_when_gone++;
		return;
	}
	src->asked++;
	if (src->once)
		session_stream_remove(src->session, st);
	if (src->piece)
		put(src->session, src->piece);
}

static void add(struct fixture *f, struct source *src, size_t piece)
{
	src->stream.more = on_more;
	src->session = f->session;
	src->piece = piece;
	session_stream_add(f->session, &src->stream);
}

/* Nothing but what the test queues waits. */
static void start_empty(struct fixture *f)
{
	session_sent(f->session, f->session->out.bytes);
	assert_int_equal(f->session->out.bytes, 0);
}

static void test_asked_below_the_mark(void **state)
{
	struct fixture *f = *state;

	start_empty(f);
	put(f->session, SESSION_STREAM_LOW + 100);
	add(f, &f->a, 0);
	session_sent(f->session, 100);
	assert_int_equal(f->a.asked, 0);
	session_sent(f->session, 1);
	assert_int_equal(f->a.asked, 1);
	session_sent(f->session, 0); /* nothing has left */
	assert_int_equal(f->a.asked, 1);
	session_stream_remove(f->session, &f->a.stream);
	session_stream_remove(f->session, &f->a.stream);
	session_sent(f->session, 1);
	assert_int_equal(f->a.asked, 1);
}

/* Each in turn, and none beyond the mark (R9). */
static void test_streams_take_turns(void **state)
{
	struct fixture *f = *state;

	start_empty(f);
	put(f->session, SESSION_STREAM_LOW);
	add(f, &f->a, SESSION_STREAM_LOW);
	add(f, &f->b, SESSION_STREAM_LOW);
	for (unsigned i = 1; i <= 4; i++) {
		session_sent(f->session, SESSION_STREAM_LOW);
		assert_int_equal(f->a.asked + f->b.asked, i);
		assert_int_equal(f->a.asked, (i + 1) / 2);
		assert_int_equal(f->session->out.bytes, SESSION_STREAM_LOW);
	}
}

static void test_a_stream_ends_itself(void **state)
{
	struct fixture *f = *state;

	f->a.once = true;
	start_empty(f);
	put(f->session, 10);
	add(f, &f->a, 10);
	add(f, &f->b, 10);
	session_sent(f->session, 10);
	session_sent(f->session, 10);
	assert_int_equal(f->a.asked, 1);
	assert_true(f->b.asked >= 2);
}

static void test_streams_of_a_connection_that_is_gone(void **state)
{
	struct fixture *f = *state;

	add(f, &f->a, 10);
	add(f, &f->b, 10);
	session_ref(f->session); /* for the test: on_more() looks at it */
	session_closed(f->session, NULL);
	assert_int_equal(f->a.asked_when_gone, 1);
	assert_int_equal(f->b.asked_when_gone, 1);
	assert_int_equal(f->a.asked + f->b.asked, 0);
	assert_null(f->session->streams);
	session_unref(f->session);
	f->session = NULL;
}

static void test_a_piece_of_a_file(void **state)
{
	struct fixture *f = *state;
	struct shared_file *file = shared_file_new(-1);

	start_empty(f);
	hub_next_dirty(&f->hub);
	put(f->session, 5);
	session_out_file(f->session, file, 3, 7);
	assert_int_equal(f->session->out.bytes, 12);
	assert_ptr_equal(hub_next_dirty(&f->hub), f->session);
	session_close(f->session, false);
	session_out_file(f->session, file, 3, 7); /* too late */
	assert_int_equal(f->session->out.bytes, 12);
	shared_file_unref(file);
}

static void pass_seconds(struct fixture *f, unsigned s)
{
	now_us += s * UINT64_C(1000000);
	hub_tick(&f->hub);
}

static void test_registers_in_time_or_not(void **state)
{
	struct fixture *f = *state;

	pass_seconds(f, SESSION_HANDSHAKE_S - 1);
	assert_false(f->close_asked);
	pass_seconds(f, 1);
	assert_true(f->close_asked);
	assert_string_equal(
		logged, "(peer) closing the connection: it has not registered within 60 seconds");
}

/* A handshake that never ends has the same limit. */
static void test_a_handshake_has_its_time(void **state)
{
	struct fixture *f = *state;

	f->session->securing = true;
	pass_seconds(f, SESSION_HANDSHAKE_S);
	assert_true(f->close_asked);
	assert_string_equal(logged, "(peer) closing the connection: it has not completed the TLS "
				    "handshake within 60 seconds");
}

static void test_a_tls_client_is_named(void **state)
{
	static const uint8_t hello[] = { 0x16, 3, 1, 2, 0, 1, 0, 1, 0xfc, 3, 3 };
	struct fixture *f = *state;

	session_input(f->session, hello, sizeof(hello));
	assert_true(f->close_asked);
	assert_string_equal(logged,
		"(peer) closing the connection: a message of 369295618 bytes: at most 65536 are "
		"allowed here (the client speaks TLS, and this server has no <ssl> section)");
}

#define test(f) cmocka_unit_test_setup_teardown(f, fixture_open, fixture_close)

int main(void)
{
	const struct CMUnitTest tests[] = {
		test(test_asked_below_the_mark),
		test(test_streams_take_turns),
		test(test_a_stream_ends_itself),
		test(test_streams_of_a_connection_that_is_gone),
		test(test_a_piece_of_a_file),
		test(test_registers_in_time_or_not),
		test(test_a_handshake_has_its_time),
		test(test_a_tls_client_is_named),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
