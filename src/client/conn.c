#include "client/conn.h"

#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>

#include "base/check.h"
#include "base/mem.h"
#include "base/os.h"
#include "client/attempt.h"
#include "client/lookup.h"
#include "net/tls.h"
#include "zeo/frame.h"

enum {
	IN_ROOM = 64 << 10,
	KEEP_MAX = 1 << 20, /* what a buffer keeps when it is empty */
	TURN_READS = 16,    /* until the loop sees to others */
	ASK_READS = 64,     /* until a thread that waits asks whether it is to go on */
	TICK_MS = 10,       /* after so long without readers the I/O thread reads */
	ARENA_MAX = 512 << 20,
};

/* --- life --- */

static void on_handle_closed(uv_handle_t *h)
{
	struct conn *conn = h->data;
	struct client *c = conn->client;

	if (--conn->handles)
		return;
	tls_free(conn->tls);
	conn->tls = NULL;
	pthread_mutex_lock(&c->lock);
	os_close(conn->fd);
	conn->fd = -1;
	for (struct conn **at = &c->conns; *at; at = &(*at)->next)
		if (*at == conn) {
			*at = conn->next;
			break;
		}
	conn_unref(conn);
	pthread_mutex_unlock(&c->lock);
	client_handle_gone(c);
}

static void close_handles(struct conn *conn)
{
	uv_close((uv_handle_t *)&conn->poll, on_handle_closed);
	uv_close((uv_handle_t *)&conn->tick, on_handle_closed);
	uv_close((uv_handle_t *)&conn->heartbeat, on_handle_closed);
	uv_close((uv_handle_t *)&conn->patience, on_handle_closed);
}

void conn_ref(struct conn *conn)
{
	conn->refs++;
}

void conn_unref(struct conn *conn)
{
	if (--conn->refs)
		return;
	buf_free(&conn->in);
	buf_free(&conn->out);
	arena_free(&conn->arena);
	pending_free(&conn->pending);
	while (conn->early) {
		struct early *next = conn->early->next;

		mem_free(conn->early);
		conn->early = next;
	}
	mem_free(conn);
}

static void open_handles(struct conn *conn, uv_loop_t *loop)
{
	uv_timer_init(loop, &conn->tick);
	uv_timer_init(loop, &conn->heartbeat);
	uv_timer_init(loop, &conn->patience);
	conn->poll.data = conn->tick.data = conn->heartbeat.data = conn->patience.data = conn;
	conn->handles = 4;
}

int conn_new(struct client *c, int fd, struct conn **ret, struct err *e)
{
	struct conn *conn = mem_zalloc(1, sizeof(*conn));
	int rc;

	if (!conn) {
		os_close(fd);
		return err_set(e, ERR_NOMEM, "no memory for a connection");
	}
	rc = uv_poll_init(io_thread_loop(c->io), &conn->poll, fd);
	if (rc != 0) {
		os_close(fd);
		mem_free(conn);
		return err_set(e, ERR_IO, "a connection: %s", uv_strerror(rc));
	}
	open_handles(conn, io_thread_loop(c->io));
	conn->client = c;
	conn->fd = fd;
	conn->refs = 1;
	conn->hello = true;
	conn->early_end = &conn->early;
	conn->arena.max = ARENA_MAX;
	c->handles++;
	pthread_mutex_lock(&c->lock);
	conn->next = c->conns;
	c->conns = conn;
	pthread_mutex_unlock(&c->lock);
	*ret = conn;
	return OK;
}

int conn_start_tls(struct conn *conn, const char *server_name, struct err *e)
{
	return tls_new_client(conn->client->options.tls, conn->fd, server_name, &conn->tls, e);
}

void conn_kill(struct conn *conn, int code, const char *fmt, ...)
{
	struct client *c = conn->client;
	va_list ap;

	if (conn->dead)
		return;
	conn->dead = true;
	conn->cause.code = code;
	va_start(ap, fmt);
	vsnprintf(conn->cause.text, sizeof(conn->cause.text), fmt, ap);
	va_end(ap);
	shutdown(conn->fd, SHUT_RDWR); /* a recv() of another thread ends */
	if (c->conn == conn && c->operational) {
		c->operational = false;
		atomic_fetch_add(&c->generation, 1);
	}
	pthread_cond_broadcast(&c->changed);
	client_kick(c);
}

/* The I/O thread's last look at it: N3. */
static void conn_end(struct conn *conn)
{
	struct client *c = conn->client;
	bool was_ready = conn->ready_at_ms != 0;
	struct call *k;

	pthread_mutex_lock(&c->lock);
	conn->ended = true;
	if (c->conn == conn)
		c->conn = NULL;
	while ((k = pending_take_any(&conn->pending))) {
		k->rc = ERR_CLOSED;
		err_set(&k->err, ERR_CLOSED, "the connection was lost: %s", conn->cause.text);
		if (k->on_reply) {
			pthread_mutex_unlock(&c->lock);
			k->on_reply(k);
			pthread_mutex_lock(&c->lock);
		}
		call_finish(k);
	}
	conn_ref(conn); /* for what follows */
	pthread_mutex_unlock(&c->lock);
	call_end(&conn->step);
	if (conn->lookup)
		lookup_abandon(conn->lookup);
	close_handles(conn);
	if (conn->attempt)
		attempt_lost(conn->attempt, &conn->cause);
	else
		client_lost(c, conn, was_ready, conn->cause.text);
	pthread_mutex_lock(&c->lock);
	conn_unref(conn);
	pthread_mutex_unlock(&c->lock);
}

/* --- sending --- */

size_t conn_unsent(const struct conn *conn)
{
	return conn->out.len - conn->out_start;
}

static int send_some(struct conn *conn, size_t *ret_n, struct err *e)
{
	const uint8_t *p = conn->out.data + conn->out_start;
	ssize_t n;

	if (conn->tls)
		return tls_write(conn->tls, p, conn_unsent(conn), ret_n, e);
	do
		n = send(conn->fd, p, conn_unsent(conn), MSG_DONTWAIT | MSG_NOSIGNAL);
	while (n < 0 && errno == EINTR);
	if (n < 0 && errno == EAGAIN)
		return ERR_AGAIN;
	if (n < 0)
		return err_set(e, ERR_IO, "%s", strerror(errno));
	*ret_n = (size_t)n;
	return OK;
}

static void sent(struct conn *conn, size_t n)
{
	conn->out_start += n;
	if (conn_unsent(conn) == 0) {
		buf_shrink(&conn->out, KEEP_MAX);
		conn->out_start = 0;
	}
}

void conn_flush(struct conn *conn)
{
	struct err e = ERR_INIT;
	size_t n = 0;
	int rc = OK;

	while (rc == OK && !conn->dead && !conn->blocked && conn_unsent(conn)) {
		rc = send_some(conn, &n, &e);
		if (rc == OK)
			sent(conn, n);
	}
	if (rc == ERR_AGAIN) {
		conn->blocked = true;
		if (!conn->reading) /* the server may want us to read before it reads */
			conn->polled = true;
		client_kick(conn->client);
	} else if (rc != OK) {
		conn_kill(conn, rc, "sending to the server: %s", e.text);
	}
}

bool conn_is_reader(const struct conn *conn)
{
	return conn->reading && pthread_equal(conn->reader, pthread_self());
}

int conn_drain(struct conn *conn, struct err *e)
{
	struct client *c = conn->client;

	conn_ref(conn);
	if (conn_unsent(conn) > CLIENT_OUT_MAX) /* perhaps it was only collected so far */
		conn_flush(conn);
	while (!conn->dead && conn_unsent(conn) > CLIENT_OUT_MAX && !conn_is_reader(conn) &&
		!io_thread_is_self(c->io))
		pthread_cond_wait(&c->changed, &c->lock);
	if (conn->dead)
		err_set(e, ERR_CLOSED, "the connection was lost: %s", conn->cause.text);
	conn_unref(conn);
	return conn->dead ? ERR_CLOSED : OK;
}

/* What was sent stays in front of a buffer that never empties: move the rest down now and then. */
static void compact(struct conn *conn)
{
	if (conn->out_start < CLIENT_OUT_MAX)
		return;
	memmove(conn->out.data, conn->out.data + conn->out_start, conn_unsent(conn));
	conn->out.len -= conn->out_start;
	conn->out_start = 0;
}

static int put_message(struct conn *conn, struct message_writer *w, size_t start,
	const struct val *args, uint32_t n_args, struct err *e)
{
	enc_tuple(&w->enc, n_args);
	for (uint32_t i = 0; i < n_args; i++)
		enc_val(&w->enc, &args[i]);
	enc_end(&w->enc);
	message_end(w);
	if (buf_ok(&conn->out))
		return OK;
	conn->out.failed = false;
	conn->out.len = start;
	return err_set(e, ERR_NOMEM, "no memory for a message, or a value that cannot be sent");
}

static int closed_error(const struct conn *conn, struct err *e)
{
	return err_set(e, ERR_CLOSED, "the connection was lost: %s", conn->cause.text);
}

int conn_say(struct conn *conn, const char *method, const struct val *args, uint32_t n_args,
	struct err *e)
{
	struct message_writer w;
	size_t start;

	if (conn->dead)
		return closed_error(conn, e);
	compact(conn);
	start = conn->out.len;
	message_call(&w, &conn->out, conn->encoding, method);
	return put_message(conn, &w, start, args, n_args, e);
}

static int forget_call(struct conn *conn, struct call *k, int rc)
{
	pending_take(&conn->pending, k->id);
	return rc;
}

int conn_ask(struct conn *conn, struct call *k, const char *method, const struct val *args,
	uint32_t n_args, struct err *e)
{
	struct message_writer w;
	size_t start;
	int rc;

	if (conn->dead)
		return closed_error(conn, e);
	k->client = conn->client;
	k->encoding = conn->encoding;
	rc = pending_add(&conn->pending, k, e);
	if (rc != OK)
		return rc;
	compact(conn);
	start = conn->out.len;
	message_request(&w, &conn->out, conn->encoding, (int64_t)k->id, method);
	rc = put_message(conn, &w, start, args, n_args, e);
	if (rc != OK)
		return forget_call(conn, k, rc);
	if (k->done)
		conn_watch(conn);
	return OK;
}

void conn_watch(struct conn *conn)
{
	if (conn->reading || conn->polled)
		return;
	conn->polled = true;
	client_kick(conn->client);
}

/* --- the reader role --- */

/* Nobody has it. */
static void hand_on(struct conn *conn)
{
	if (conn->dead) {
		client_kick(conn->client);
	} else if (conn->waiters) {
		pthread_cond_signal(&conn->waiters->cond);
	} else if (!conn->polled && (conn->pending.n || conn->wake_on_leave)) {
		conn->polled = true;
		client_kick(conn->client);
	}
}

void conn_leave(struct conn *conn)
{
	conn->reading = false;
	conn->leaves++;
	hand_on(conn);
}

/* While the server is at it. */
static void prepare_cache(struct cache *cache, struct call *k)
{
	if (k->to_cache)
		cache_prepare_many(cache, k->to_cache, k->to_cache_bytes);
	else
		cache_prepare(cache);
	k->to_cache = 0;
}

/* Or until much else has come, or nothing for a moment: whoever waits is then asked whether that is to end. */
static void read_until(struct conn *conn, struct call *k)
{
	struct client *c = conn->client;
	int rc = OK;

	conn->reading = true;
	conn->reader = pthread_self();
	pthread_mutex_unlock(&c->lock);
	if (c->cache)
		prepare_cache(c->cache, k);
	for (unsigned n = 0; rc == OK && !k->finished && n < ASK_READS; n++)
		rc = conn_read(conn, true);
	pthread_mutex_lock(&c->lock);
	conn_leave(conn);
}

static void wait_turn(struct conn *conn, struct call *k, struct waiter *w)
{
	struct timespec moment = client_moment();
	int rc = 0;

	w->next = conn->waiters;
	w->back = &conn->waiters;
	if (w->next)
		w->next->back = &w->next;
	conn->waiters = w;
	k->waiter = w;
	while (!k->finished && (conn->reading || conn->dead) && rc != ETIMEDOUT)
		rc = pthread_cond_clockwait(
			&w->cond, &conn->client->lock, CLOCK_MONOTONIC, &moment);
	k->waiter = NULL;
	if (w->back) {
		*w->back = w->next;
		if (w->next)
			w->next->back = w->back;
	}
}

/* Nobody waits for the answer any more. Returns false when it is just being handled. */
static bool forget(struct conn *conn, struct call *k)
{
	if (k->back)
		load_leave(k);
	else if (pending_take(&conn->pending, k->id))
		conn->forgotten++;
	else
		return k->finished;
	return true;
}

int conn_wait(struct conn *conn, struct call *k, struct err *e)
{
	struct waiter w = { .cond = PTHREAD_COND_INITIALIZER };
	bool forgotten = false;
	int rc = OK;

	conn_ref(conn);
	while (!k->finished && !forgotten) {
		if (!conn->reading && !conn->dead)
			read_until(conn, k);
		else
			wait_turn(conn, k, &w);
		if (!k->finished && !k->to_the_end && rc == OK)
			rc = client_ask_interrupted(conn->client, e);
		if (rc)
			forgotten = forget(conn, k);
	}
	pthread_cond_destroy(&w.cond);
	if (rc && !conn->reading) /* the role may just have been handed to this thread: N2 */
		hand_on(conn);
	conn_unref(conn);
	return rc;
}

/* --- reading --- */

static size_t unread(const struct conn *conn)
{
	return conn->in.len - conn->in_start;
}

/* Bytes that have to be there for the frame under way; the room to read into is at least that. */
static bool make_room(struct conn *conn, size_t need)
{
	struct buf *b = &conn->in;
	size_t have = unread(conn);

	if (have == 0) {
		buf_shrink(b, KEEP_MAX);
	} else if (conn->in_start) {
		memmove(b->data, b->data + conn->in_start, have);
		b->len = have;
	}
	conn->in_start = 0;
	if (need < have + IN_ROOM)
		need = have + IN_ROOM;
	return buf_reserve(b, need - have) != NULL;
}

static int plain_receive(struct conn *conn, bool wait, size_t *ret_n, struct err *e)
{
	struct buf *b = &conn->in;
	ssize_t n;

	do
		n = recv(conn->fd, b->data + b->len, b->room - b->len, wait ? 0 : MSG_DONTWAIT);
	while (n < 0 && errno == EINTR && !wait);
	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return ERR_AGAIN;
	if (n < 0)
		return err_set(e, ERR_IO, "reading from the server: %s", strerror(errno));
	*ret_n = (size_t)n;
	return OK;
}

/* Returns false after a moment, or a signal. */
static bool wait_for_tls(struct conn *conn)
{
	struct pollfd p = { .fd = conn->fd };
	bool in = true, out = false;

	pthread_mutex_lock(&conn->client->lock);
	tls_waits(conn->tls, &in, &out);
	pthread_mutex_unlock(&conn->client->lock);
	p.events = (short)((in ? POLLIN : 0) | (out ? POLLOUT : 0));
	return poll(&p, 1, CLIENT_MOMENT_MS) > 0;
}

static int tls_receive(struct conn *conn, bool wait, size_t *ret_n, struct err *e)
{
	struct buf *b = &conn->in;
	int rc;

	for (;;) {
		pthread_mutex_lock(&conn->client->lock);
		rc = conn->dead ? closed_error(conn, e)
				: tls_read(conn->tls, b->data + b->len, b->room - b->len, ret_n, e);
		pthread_mutex_unlock(&conn->client->lock);
		if (rc != ERR_AGAIN || !wait || !wait_for_tls(conn))
			return rc;
	}
}

/* All frames that are whole. *ret_need: bytes of the one that is not. */
static int handle_frames(struct conn *conn, size_t *ret_need, struct err *e)
{
	for (;;) {
		struct slice in = slice_of(conn->in.data + conn->in_start, unread(conn));
		struct slice content;
		int rc;

		switch (frame_take(in, CLIENT_FRAME_MAX, &content, ret_need)) {
		case FRAME_PARTIAL:
			return OK;
		case FRAME_TOO_BIG:
			return err_set(e, ERR_LIMIT, "the server announces a message of %zu bytes",
				*ret_need - FRAME_HEADER_LEN);
		default:
			break;
		}
		conn->in_start += *ret_need;
		rc = conn_frame(conn, content, e);
		if (rc != OK)
			return rc;
	}
}

static int fail(struct conn *conn, int rc, const struct err *e)
{
	pthread_mutex_lock(&conn->client->lock);
	conn_kill(conn, rc, "%s", e->text);
	pthread_mutex_unlock(&conn->client->lock);
	return rc;
}

int conn_read(struct conn *conn, bool wait)
{
	struct err e = ERR_INIT;
	size_t n = 0, need = 0;
	int rc;

	if (unread(conn) >= FRAME_HEADER_LEN) {
		struct slice unused;

		frame_take(slice_of(conn->in.data + conn->in_start, unread(conn)), CLIENT_FRAME_MAX,
			&unused, &need);
	}
	if (!make_room(conn, need))
		return fail(conn, ERR_NOMEM, &(struct err){ .text = "no memory for a message" });
	rc = conn->tls ? tls_receive(conn, wait, &n, &e) : plain_receive(conn, wait, &n, &e);
	if (rc == ERR_AGAIN)
		return rc;
	if (rc == OK && n == 0)
		rc = err_set(&e, ERR_CLOSED, "the server has closed the connection");
	if (rc == OK) {
		conn->in.len += n;
		rc = handle_frames(conn, &need, &e);
	}
	return rc == OK ? OK : fail(conn, rc, &e);
}

/* --- the I/O thread's part --- */

static void on_poll(uv_poll_t *h, int status, int events);

static void start_poll(struct conn *conn, bool in, bool out)
{
	int events;

	if (conn->tls)
		tls_waits(conn->tls, &in, &out);
	events = (in ? UV_READABLE : 0) | (out ? UV_WRITABLE : 0);
	if (events == conn->poll_events)
		return;
	conn->poll_events = events;
	if (events)
		uv_poll_start(&conn->poll, events, on_poll);
	else
		uv_poll_stop(&conn->poll);
}

void conn_attend(struct conn *conn)
{
	struct client *c = conn->client;
	bool end = false;

	pthread_mutex_lock(&c->lock);
	if (conn->ended) {
	} else if (conn->dead) {
		end = !conn->reading;
		if (end)
			conn->ended = true;
		start_poll(conn, false, false);
	} else if (conn->attempt && attempt_wants_writable(conn->attempt)) {
		start_poll(conn, false, true);
	} else {
		start_poll(conn, conn->polled,
			conn->blocked); /* also while another reads: step_back() */
	}
	pthread_mutex_unlock(&c->lock);
	if (end)
		conn_end(conn);
}

static void on_tick(uv_timer_t *h)
{
	struct conn *conn = h->data;
	struct client *c = conn->client;
	bool stop = true;

	pthread_mutex_lock(&c->lock);
	if (!conn->dead && conn->leaves != conn->tick_leaves) {
		conn->tick_leaves = conn->leaves;
		stop = false;
	} else if (conn->reading) {
		conn->wake_on_leave = true;
	} else {
		conn->polled = true;
	}
	pthread_mutex_unlock(&c->lock);
	if (!stop)
		return;
	uv_timer_stop(&conn->tick);
	conn->ticking = false;
	conn_attend(conn);
}

/* Somebody else reads: keep out of it until nobody has for a while. L. */
static void step_back(struct conn *conn)
{
	conn->polled = false;
	conn->wake_on_leave = false;
	if (conn->ticking)
		return;
	conn->ticking = true;
	conn->tick_leaves = conn->leaves;
	uv_timer_start(&conn->tick, on_tick, TICK_MS, TICK_MS);
}

static void read_turn(struct conn *conn)
{
	struct client *c = conn->client;
	int rc = OK;

	pthread_mutex_lock(&c->lock);
	if (conn->dead || conn->reading) {
		if (!conn->dead)
			step_back(conn);
		pthread_mutex_unlock(&c->lock);
		return;
	}
	conn->reading = true;
	conn->reader = pthread_self();
	pthread_mutex_unlock(&c->lock);
	for (int i = 0; i < TURN_READS && rc == OK; i++)
		rc = conn_read(conn, false);
	pthread_mutex_lock(&c->lock);
	conn_leave(conn);
	pthread_mutex_unlock(&c->lock);
}

static void flush_turn(struct conn *conn)
{
	struct client *c = conn->client;

	pthread_mutex_lock(&c->lock);
	if (conn->blocked) {
		conn->blocked = false;
		conn_flush(conn);
		if (conn_unsent(conn) <= CLIENT_OUT_MAX)
			pthread_cond_broadcast(&c->changed);
	}
	pthread_mutex_unlock(&c->lock);
}

/* Nothing is left to be read: the socket's own word. L. */
static void socket_failed(struct conn *conn)
{
	socklen_t len = sizeof(int);
	int error = 0;

	getsockopt(conn->fd, SOL_SOCKET, SO_ERROR, &error, &len);
	conn_kill(conn, ERR_IO, "%s",
		error ? strerror(error) : "the server has closed the connection");
}

/* The socket has an error; what the server said before is read first. */
static void error_turn(struct conn *conn)
{
	struct client *c = conn->client;

	read_turn(conn);
	pthread_mutex_lock(&c->lock);
	if (!conn->reading) /* else who reads will see it */
		socket_failed(conn);
	pthread_mutex_unlock(&c->lock);
}

static void on_poll(uv_poll_t *h, int status, int events)
{
	struct conn *conn = h->data;

	(void)events;
	if (status < 0) /* an error of the socket's; libuv does not look any more */
		conn->poll_events = 0;
	if (conn->attempt && attempt_wants_events(conn->attempt)) {
		attempt_event(conn->attempt);
	} else if (status < 0) {
		error_turn(conn);
	} else {
		flush_turn(conn);
		read_turn(conn);
	}
	conn_attend(conn);
}

static void on_heartbeat(uv_timer_t *h)
{
	struct conn *conn = h->data;
	struct client *c = conn->client;

	pthread_mutex_lock(&c->lock);
	if (!conn->dead && !conn->blocked) {
		message_heartbeat(&conn->out, conn->encoding);
		conn->out.failed = false;
		conn_flush(conn);
	}
	pthread_mutex_unlock(&c->lock);
}

void conn_won(struct conn *conn)
{
	struct timeval moment = { 0, CLIENT_MOMENT_MS * 1000 };
	int no = 0;

	if (!conn->tls) { /* N4 */
		setsockopt(conn->fd, SOL_SOCKET, SO_RCVTIMEO, &moment, sizeof(moment));
		ioctl(conn->fd, FIONBIO, &no);
	}
	uv_timer_start(&conn->heartbeat, on_heartbeat, conn->client->options.heartbeat_ms,
		conn->client->options.heartbeat_ms);
}
