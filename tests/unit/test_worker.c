/* A worker with connections of sockets: how it shares its time, and what a file costs that fails. */
#include "cmocka_all.h"
#include "ring_descriptor.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/bigendian.h"
#include "base/log.h"
#include "net/listen.h"
#include "server/acceptor.h"
#include "server/server.h"
#include "server/session.h"
#include "server/worker.h"

enum {
	PIECE = 64 << 10,
	PIECES = 1024,
	/* a turn may send what the socket waited for, and what was queued meanwhile */
	PIECES_A_TURN = 2 * (WORKER_SEND_BYTES / PIECE + 1),
};

/* A stream of the pieces of one file, and how many of them a turn of the loop took. */
struct fixture {
	struct server server;
	struct worker worker;
	int fd; /* the client's side */
	struct hub_msg start;
	struct stream stream;
	struct shared_file *file;
	uv_prepare_t turn;
	unsigned queued, this_turn, most;
	bool gone;
};

static char logged[500];

static void on_log(struct log_handler *h, const struct log_record *r)
{
	snprintf(logged, sizeof(logged), "%s", r->text);
}

static struct log_handler handler = { .level = LOG_ERROR, .emit = on_log };

/* Two ends of a TCP connection: its buffers grow far beyond what a turn may send. */
static void connect_tcp(int fds[2])
{
	struct sockaddr_in a = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	socklen_t n = sizeof(a);
	int listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	assert_int_equal(bind(listener, (struct sockaddr *)&a, sizeof(a)), 0);
	assert_int_equal(listen(listener, 1), 0);
	assert_int_equal(getsockname(listener, (struct sockaddr *)&a, &n), 0);
	fds[1] = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	assert_int_equal(connect(fds[1], (struct sockaddr *)&a, sizeof(a)), 0);
	fds[0] = accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
	assert_true(fds[0] >= 0);
	close(listener);
}

static int fixture_open(void **state)
{
	static struct fixture f;
	struct server_options o = { .transaction_timeout_text = "0" };
	struct err e = ERR_INIT;
	uint8_t greeting[6];
	int fds[2];

	memset(&f, 0, sizeof(f));
	logged[0] = 0;
	log_add(&handler);
	assert_int_equal(server_init(&f.server, &o, &clock_system, NULL, NULL, 0, &e), OK);
	assert_int_equal(worker_init(&f.worker, &f.server, NULL, NULL, &e), OK);
	assert_int_equal(worker_start(&f.worker, 0, &e), OK);
	connect_tcp(fds);
	f.fd = fds[1];
	worker_add(&f.worker, fds[0], "peer");
	assert_int_equal(recv(f.fd, greeting, sizeof(greeting), MSG_WAITALL), sizeof(greeting));
	assert_memory_equal(greeting, "\0\0\0\2Z5", sizeof(greeting));
	*state = &f;
	return 0;
}

static int fixture_close(void **state)
{
	struct fixture *f = *state;

	worker_fini(&f->worker);
	server_fini(&f->server);
	shared_file_unref(f->file);
	log_remove(&handler);
	close(f->fd);
	return 0;
}

static void on_turn(uv_prepare_t *p)
{
	struct fixture *f = p->data;

	f->this_turn = 0;
}

static void on_more(struct stream *st)
{
	struct fixture *f = CONTAINER_OF(st, struct fixture, stream);
	struct session *s = f->worker.hub.sessions;

	if (f->gone)
		return;
	if (!session_alive(s) || f->queued == PIECES) {
		f->gone = true;
		session_stream_remove(s, st);
		uv_close((uv_handle_t *)&f->turn, NULL);
		session_close(s, true);
		return;
	}
	session_out_file(s, f->file, 0, PIECE);
	f->queued++;
	if (++f->this_turn > f->most)
		f->most = f->this_turn;
}

static void on_start(struct hub *h, struct hub_msg *m)
{
	struct fixture *f = CONTAINER_OF(m, struct fixture, start);

	uv_prepare_init(&f->worker.loop.uv, &f->turn);
	f->turn.data = f;
	uv_prepare_start(&f->turn, on_turn);
	f->stream.more = on_more;
	session_stream_add(h->sessions, &f->stream);
	on_more(&f->stream);
}

static void start(struct fixture *f, size_t file_len)
{
	int fd = memfd_create("test", MFD_CLOEXEC);

	assert_int_equal(ftruncate(fd, (off_t)file_len), 0);
	f->file = shared_file_new(fd);
	f->start.run = on_start;
	hub_post(&f->worker.hub, &f->start);
}

/* What its thread has left behind can be looked at then. */
static void end_worker(struct fixture *f)
{
	worker_drain(&f->worker);
	loop_join(&f->worker.loop);
}

static size_t read_all(int fd)
{
	static uint8_t room[1 << 20];
	size_t all = 0;
	ssize_t n;

	while ((n = read(fd, room, sizeof(room))) > 0)
		all += (size_t)n;
	return all;
}

/* However fast a client takes it: the others of the loop have their turn in between. */
static void test_a_stream_gives_way(void **state)
{
	struct fixture *f = *state;

	start(f, PIECE);
	assert_int_equal(read_all(f->fd), (size_t)PIECE * PIECES);
	end_worker(f);
	assert_true(f->gone);
	assert_in_range(f->most, 1, PIECES_A_TURN);
}

static void test_a_file_that_became_shorter(void **state)
{
	struct fixture *f = *state;

	start(f, 1000);
	assert_int_equal(read_all(f->fd), 1000);
	end_worker(f);
	assert_string_equal(logged,
		"(peer) closing the connection: a file being sent ends at 1000: "
		"64536 more bytes were expected");
}

enum { WORKERS = 3, CLIENTS = 7 * WORKERS + 1 };

/* Of the sockets of this process that are bound to @port and connected: how many, and do all of them send at once? */
static int count_accepted(in_port_t port, bool *ret_no_delay)
{
	int found = 0;

	*ret_no_delay = true;
	for (int fd = 3; fd < 1024; fd++) {
		struct sockaddr_in a = { 0 };
		socklen_t n = sizeof(a);
		int on = 0;

		if (getsockname(fd, (struct sockaddr *)&a, &n) != 0 || a.sin_port != port)
			continue;
		n = sizeof(a);
		if (getpeername(fd, (struct sockaddr *)&a, &n) != 0)
			continue; /* the listener */
		n = sizeof(on);
		assert_int_equal(getsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, &n), 0);
		*ret_no_delay &= on != 0;
		found++;
	}
	return found;
}

static void test_connections_are_handed_out_evenly(void **state)
{
	struct server_options o = { .transaction_timeout_text = "0" };
	struct sockaddr_in a = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	struct listener listener = { .n_fds = 1 };
	struct worker workers[WORKERS];
	struct server server;
	struct acceptor acceptor;
	struct err e = ERR_INIT;
	socklen_t n = sizeof(a);
	int clients[CLIENTS];
	unsigned all = 0;
	bool no_delay;

	assert_int_equal(server_init(&server, &o, &clock_system, NULL, NULL, 0, &e), OK);
	for (int i = 0; i < WORKERS; i++)
		assert_int_equal(worker_init(&workers[i], &server, NULL, NULL, &e), OK);
	listener.fds[0] = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	assert_int_equal(bind(listener.fds[0], (struct sockaddr *)&a, sizeof(a)), 0);
	assert_int_equal(listen(listener.fds[0], CLIENTS), 0);
	assert_int_equal(getsockname(listener.fds[0], (struct sockaddr *)&a, &n), 0);
	assert_int_equal(acceptor_start(&acceptor, &listener, workers, WORKERS, &e), OK);
	for (int i = 0; i < CLIENTS; i++) {
		clients[i] = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
		assert_int_equal(connect(clients[i], (struct sockaddr *)&a, sizeof(a)), 0);
	}
	while (all < CLIENTS) {
		all = 0;
		for (int i = 0; i < WORKERS; i++)
			all += atomic_load(&workers[i].n_conns);
		usleep(1000);
	}
	acceptor_stop(&acceptor);
	for (int i = 0; i < WORKERS; i++)
		assert_in_range(atomic_load(&workers[i].n_conns), 7, 8);
	assert_int_equal(count_accepted(a.sin_port, &no_delay), CLIENTS);
	assert_true(no_delay);
	for (int i = 0; i < CLIENTS; i++)
		close(clients[i]);
	for (int i = 0; i < WORKERS; i++) {
		/* takes its connections, and sees them go */
		do
			uv_run(&workers[i].loop.uv, UV_RUN_NOWAIT);
		while (atomic_load(&workers[i].n_conns));
		uv_run(&workers[i].loop.uv, UV_RUN_NOWAIT);
		worker_fini(&workers[i]);
	}
	server_fini(&server);
	close(listener.fds[0]);
}

/* --- what many get in one turn --- */

enum {
	MANY = SEND_RING_MAX + 10, /* more than go together */
	SLOW = 3,                  /* does not read what it gets */
	GONE = 5,                  /* has gone */
	FRAMES = 4,                /* to each, in pieces of memory of their own */
	SLOW_BYTES = 16 << 20,
};

/* How the sockets of a turn are sent to. */
enum way { TOGETHER, ONE_BY_ONE, BROKEN };

struct many {
	struct server server;
	struct worker worker;
	int fds[MANY];
	struct hub_msg stuff, tell;
	uint64_t number;       /* of the turn: part of what is sent */
	_Atomic uint64_t told; /* the last one the loop has seen */
};

/* @n of them, with eight bytes each, or a single one that is large. */
static void put_frames(struct session *s, uint64_t first, size_t n, size_t words)
{
	for (size_t i = 0; i < n; i++) {
		struct shared_frame *f = shared_frame_new();

		for (size_t j = 0; j < words; j++)
			buf_put_be64(&f->bytes, first + i * words + j);
		session_share(s, f);
		shared_frame_unref(f);
	}
}

static void on_tell(struct hub *h, struct hub_msg *m)
{
	struct many *f = CONTAINER_OF(m, struct many, tell);

	for (struct session *s = h->sessions; s; s = s->next)
		put_frames(s, f->number * FRAMES, FRAMES, 1);
	f->told = f->number;
}

/* The list has the newest first. */
static void on_stuff(struct hub *h, struct hub_msg *m)
{
	struct session *s = h->sessions;

	for (int i = MANY - 1; i > SLOW; i--)
		s = s->next;
	put_frames(s, 0, 1, SLOW_BYTES / 8);
}

/* Of a loop that does not run yet. False: there is no ring. */
static bool choose(struct worker *w, enum way way)
{
	if (way == ONE_BY_ONE) {
		send_ring_free(w->ring);
		w->ring = NULL;
		return true;
	}
	if (w->ring && way == BROKEN)
		assert_true(dup2(STDIN_FILENO, ring_descriptor()) > 0);
	return w->ring;
}

/* The end of a ring interrupts who made it: MSG_WAITALL may bring less. */
static void read_full(int fd, void *p, size_t n)
{
	for (size_t got = 0; got < n;) {
		ssize_t more = recv(fd, (uint8_t *)p + got, n - got, 0);

		assert_true(more > 0 || (more < 0 && errno == EINTR));
		got += more > 0 ? (size_t)more : 0;
	}
}

/* What is read of a socket that was stuffed. */
static void assert_stuffed(int fd)
{
	static uint8_t got[64 << 10];

	for (uint64_t at = 0; at < SLOW_BYTES / 8; at += sizeof(got) / 8) {
		read_full(fd, got, sizeof(got));
		for (uint64_t i = 0; i < sizeof(got) / 8; i++)
			assert_true(get_be64(got + 8 * i) == at + i);
	}
}

static void open_many(struct many *f)
{
	for (int i = 0; i < MANY; i++) {
		uint8_t greeting[6];
		int fds[2];

		connect_tcp(fds);
		f->fds[i] = fds[1];
		worker_add(&f->worker, fds[0], "peer");
		read_full(f->fds[i], greeting, sizeof(greeting));
	}
}

static void assert_told(struct many *f, int i, uint64_t number)
{
	uint8_t got[8 * FRAMES];

	read_full(f->fds[i], got, sizeof(got));
	for (uint64_t j = 0; j < FRAMES; j++)
		assert_true(get_be64(got + 8 * j) == number * FRAMES + j);
}

/* A turn that has something for each: all of it arrives, in its order, also while one takes nothing and another has gone. */
static void tell_many(enum way way)
{
	static struct many f;
	struct server_options o = { .transaction_timeout_text = "0" };
	struct err e = ERR_INIT;

	memset(&f, 0, sizeof(f));
	assert_int_equal(server_init(&f.server, &o, &clock_system, NULL, NULL, 0, &e), OK);
	assert_int_equal(worker_init(&f.worker, &f.server, NULL, NULL, &e), OK);
	if (!choose(&f.worker, way)) {
		worker_fini(&f.worker);
		server_fini(&f.server);
		print_message("this process gets no io_uring\n");
		skip();
	}
	assert_int_equal(worker_start(&f.worker, 0, &e), OK);
	open_many(&f);
	f.stuff.run = on_stuff;
	f.tell.run = on_tell;
	hub_post(&f.worker.hub, &f.stuff);
	for (f.number = 1; f.number < 20; f.number++) {
		if (f.number == 10)
			close(f.fds[GONE]);
		hub_post(&f.worker.hub, &f.tell);
		for (int i = 0; i < MANY; i++)
			if (i != SLOW && (i != GONE || f.number < 10))
				assert_told(&f, i, f.number);
		assert_int_equal(f.told, f.number);
	}
	assert_stuffed(f.fds[SLOW]);
	for (uint64_t number = 1; number < 20; number++)
		assert_told(&f, SLOW, number);
	worker_cut(&f.worker);
	loop_join(&f.worker.loop);
	assert_true((f.worker.ring != NULL) == (way == TOGETHER));
	worker_fini(&f.worker);
	server_fini(&f.server);
	for (int i = 0; i < MANY; i++)
		if (i != GONE)
			close(f.fds[i]);
}

static void test_many_are_told_together(void **state)
{
	tell_many(TOGETHER);
}

static void test_many_are_told_one_by_one(void **state)
{
	tell_many(ONE_BY_ONE);
}

static void test_many_are_told_by_a_ring_that_breaks(void **state)
{
	tell_many(BROKEN);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(
			test_a_stream_gives_way, fixture_open, fixture_close),
		cmocka_unit_test_setup_teardown(
			test_a_file_that_became_shorter, fixture_open, fixture_close),
		cmocka_unit_test(test_connections_are_handed_out_evenly),
		cmocka_unit_test(test_many_are_told_together),
		cmocka_unit_test(test_many_are_told_one_by_one),
		cmocka_unit_test(test_many_are_told_by_a_ring_that_breaks),
	};

	signal(SIGPIPE, SIG_IGN);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
