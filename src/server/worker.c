#include "server/worker.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/log.h"
#include "base/mem.h"
#include "server/commit.h"
#include "server/dispatch.h"
#include "server/server.h"
#include "server/session.h"
#include "server/transport.h"

enum {
	MOVED_A_CALL = 2048,
	HANDSHAKE_CALLS = 500, /* what a TLS handshake takes */
	TOGETHER_MIN = 3, /* connections that are worth a ring's call: two are faster one by one */
	WORK_MAX = 1 << 20,
};

struct conn {
	struct session_io io;
	struct worker *w;
	struct session *session; /* NULL: closed */
	uv_poll_t poll;
	struct transport transport;
	int events;        /* asked of libuv */
	bool close_wanted; /* on the worker's list */
	bool flush;        /* but send what is queued before */
	bool gave_way;     /* more is to be sent, when the others have had their turn */
	bool has_input;    /* read in this turn, not handled yet */
	bool is_put_off;   /* what it has to send waits for that of others, in this turn */
	struct conn *next;
};

static struct worker *worker_of(struct hub *h)
{
	return CONTAINER_OF(h, struct worker, hub);
}

static void after_turn(struct worker *w);

/* --- closing --- */

static void on_poll_closed(uv_handle_t *handle)
{
	struct conn *c = handle->data;

	transport_fini(&c->transport);
	mem_free(c);
}

static void conn_close(struct conn *c, const char *why)
{
	if (!c->session)
		return;
	session_closed(c->session, why);
	c->session = NULL;
	uv_poll_stop(&c->poll);
	transport_end(&c->transport);
	atomic_fetch_sub(&c->w->n_conns, 1);
	if (!c->close_wanted)
		uv_close((uv_handle_t *)&c->poll, on_poll_closed);
}

/* The session wants to be closed: not while it is being used, but after this turn. */
static void io_close(struct session_io *io, bool flush)
{
	struct conn *c = CONTAINER_OF(io, struct conn, io);

	c->flush = flush;
	c->close_wanted = true;
	c->next = c->w->closing;
	c->w->closing = c;
}

static void close_wanted(struct worker *w)
{
	struct conn *keep = NULL;

	while (w->closing) {
		struct conn *c = w->closing;

		w->closing = c->next;
		if (c->session && c->flush && !outq_empty(&c->session->out) &&
			transport_is_ready(&c->transport)) {
			c->next = keep;
			keep = c;
			continue;
		}
		conn_close(c, NULL);
		uv_close((uv_handle_t *)&c->poll, on_poll_closed);
	}
	w->closing = keep;
}

/* --- reading and writing --- */

static void on_poll(uv_poll_t *p, int status, int events);

static void update_events(struct conn *c)
{
	bool reading = session_wants_input(c->session);
	bool writing = !outq_empty(&c->session->out);
	int want = 0;

	transport_waits(&c->transport, &reading, &writing);
	if (reading)
		want |= UV_READABLE;
	if (writing)
		want |= UV_WRITABLE;
	if (want == c->events)
		return;
	c->events = want;
	if (want)
		uv_poll_start(&c->poll, want, on_poll);
	else
		uv_poll_stop(&c->poll);
}

/* What a call for several connections has brought for this one. */
static int sent_together(const struct ring_send *rs, size_t *ret_n, struct err *e)
{
	if (rs->result == -EAGAIN)
		return ERR_AGAIN;
	if (rs->result < 0)
		return err_set(e, ERR_IO, "%s", strerror((int)-rs->result));
	*ret_n = (size_t)rs->result;
	return OK;
}

/* At most WORKER_SEND_BYTES and a call's worth: then the others of this loop have their turn. @first: what the first call has
 * brought, when it was made for others, too; or NULL. */
static void conn_flush(struct conn *c, const struct ring_send *first)
{
	struct outq *q = &c->session->out;
	size_t sent = 0;

	c->gave_way = false;
	if (!transport_is_ready(&c->transport))
		return;
	while (!outq_empty(q) && (!c->close_wanted || c->flush) && sent < WORKER_SEND_BYTES) {
		struct err e = ERR_INIT;
		size_t n;
		int rc = first ? sent_together(first, &n, &e)
			       : transport_send(&c->transport, q, &n, &e);

		first = NULL;
		if (rc == ERR_AGAIN)
			break;
		if (rc == ERR_CORRUPT) { /* no fault of the client's */
			session_fail(c->session, "%s", e.text);
			break;
		}
		if (rc != OK) {
			conn_close(c, e.text);
			return;
		}
		sent += n;
		session_sent(c->session, n);
	}
	c->w->moved += sent;
	c->w->n_calls++;
	c->gave_way = sent >= WORKER_SEND_BYTES && !outq_empty(q);
	session_resume(c->session);
	update_events(c);
}

/* What is read is handled in one go. A client that has thousands of requests under way lets the others have their turn
 * after some hundreds, and after some tens when there were others just now; a large message is one request. */
static size_t read_room(const struct conn *c)
{
	bool little = c->w->shared && !c->transport.tls; /* which reads whole records */
	size_t usual = little ? WORKER_READ_SHARED : WORKER_READ_BYTES;
	size_t missing = session_missing(c->session);

	if (missing <= usual)
		return usual;
	return missing < WORKER_READ_LARGE ? missing : WORKER_READ_LARGE;
}

/* Let the processor fetch what all clients ask for while it is at the first one's requests. */
static void look_ahead(struct worker *w)
{
	struct look_ahead *la = &w->hub.ahead;
	bool room = true;

	look_ahead_start(la);
	for (size_t i = 0; w->n_inputs > 1 && i < w->n_inputs && room; i++) {
		const struct session *s = w->inputs[i].conn->session;

		if (s && s->in.len == 0) /* else these bytes are not the next */
			room = look_ahead_add(la, s, w->inputs[i].data);
	}
	look_ahead_end(la);
}

/* What has been read of all connections. */
static void handle_inputs(struct worker *w)
{
	if (!w->n_inputs)
		return;
	hub_turn(&w->hub); /* what was acknowledged before these bytes were sent (T65) */
	look_ahead(w);
	for (size_t i = 0; i < w->n_inputs; i++) {
		struct conn *c = w->inputs[i].conn;

		c->has_input = false;
		if (c->session)
			session_input(c->session, w->inputs[i].data.data, w->inputs[i].data.len);
		if (c->session &&
			!c->session
				 ->dirty) /* else after the turn's flush, when it hardly ever has to change */
			update_events(c);
	}
	w->n_served += w->n_inputs;
	w->n_inputs = 0;
	w->n_read = 0;
}

static void conn_read(struct conn *c)
{
	struct worker *w = c->w;
	size_t room = read_room(c);
	struct err e = ERR_INIT;
	size_t n;
	int rc;

	if (w->n_inputs == WORKER_INPUTS || w->n_read + room > WORKER_READ_LARGE)
		handle_inputs(w);
	if (!c->session || !session_wants_input(c->session)) {
		if (c->session)
			update_events(c);
		return;
	}
	rc = transport_recv(&c->transport, w->read_buf + w->n_read, room, &n, &e);
	if (rc == ERR_AGAIN) {
		update_events(c);
		return;
	}
	if (rc != OK || n == 0) {
		conn_close(c, rc == OK ? NULL : e.text);
		return;
	}
	w->inputs[w->n_inputs++] = (struct input){ c, slice_of(w->read_buf + w->n_read, n) };
	w->n_read += n;
	w->moved += n;
	c->has_input = true;
}

/* A client that comes and goes is nothing to speak of (T40); one that fails is told of (R11). */
static void conn_handshake(struct conn *c)
{
	struct err e = ERR_INIT;
	int rc = transport_handshake(&c->transport, &e);

	c->w->n_calls += HANDSHAKE_CALLS;
	if (rc == ERR_CLOSED) {
		conn_close(c, e.text);
		return;
	}
	if (rc == OK)
		c->session->securing = false;
	else if (rc != ERR_AGAIN)
		session_fail(c->session, "%s", e.text);
	update_events(c);
}

static void on_poll(uv_poll_t *p, int status, int events)
{
	struct conn *c = p->data;

	if (c->has_input) /* libuv asks anew when more were ready than it can be told of at once: then this may be the end */
		handle_inputs(c->w);
	if (!c->session)
		return;
	if (status < 0) {
		conn_close(c, transport_failure(&c->transport)); /* libuv says EBADF to all */
		return;
	}
	if (!transport_is_ready(&c->transport)) {
		conn_handshake(c);
		return;
	}
	/* under TLS either may have waited for the other's event */
	if ((events & UV_WRITABLE) || (c->transport.tls && !outq_empty(&c->session->out)))
		conn_flush(c, NULL);
	if (c->session && ((events & UV_READABLE) || c->transport.tls))
		conn_read(c);
}

/* --- new connections --- */

struct add_msg {
	struct hub_msg msg;
	int fd;
	char peer[80];
};

/* The descriptor stays the caller's on failure. */
static int conn_open(struct worker *w, int fd, const char *peer)
{
	struct conn *c = mem_zalloc(1, sizeof(*c));
	struct err e = ERR_INIT;

	if (!c || uv_poll_init(&w->loop.uv, &c->poll, fd) != 0) {
		mem_free(c);
		return ERR_IO;
	}
	c->w = w;
	c->io.close = io_close;
	c->poll.data = c;
	if (transport_init(&c->transport, fd, w->tls, w->read_buf + WORKER_READ_LARGE, &e) != OK) {
		c->transport.fd = -1;
		uv_close((uv_handle_t *)&c->poll, on_poll_closed);
		return e.code;
	}
	c->session = session_new(&w->hub, &c->io, peer);
	if (!c->session) {
		if (!c->close_wanted)
			io_close(&c->io, false);
		atomic_fetch_sub(&w->n_conns, 1);
		return OK;
	}
	c->session->securing = !transport_is_ready(&c->transport);
	update_events(c);
	return OK;
}

static void run_add(struct hub *h, struct hub_msg *m)
{
	struct add_msg *a = CONTAINER_OF(m, struct add_msg, msg);
	struct worker *w = worker_of(h);
	if (w->draining || conn_open(w, a->fd, a->peer) != OK) {
		atomic_fetch_sub(&w->n_conns, 1);
		close(a->fd);
	}
	mem_free(a);
}

void worker_add(struct worker *w, int fd, const char *peer)
{
	struct add_msg *a = mem_zalloc(1, sizeof(*a));

	if (!a) {
		close(fd);
		return;
	}
	a->msg.run = run_add;
	a->fd = fd;
	snprintf(a->peer, sizeof(a->peer), "%s", peer);
	atomic_fetch_add(&w->n_conns, 1); /* now, so that a burst is spread */
	hub_post(&w->hub, &a->msg);
}

/* --- the turn of the loop --- */

/* May what comes next be sent together with what others have? */
static bool fits_ring(const struct conn *c)
{
	const struct outq *q = &c->session->out;

	return c->w->ring && !outq_empty(q) && (!c->close_wanted || c->flush) &&
	       transport_sends_memory(&c->transport, q);
}

static void put_off(struct conn *c)
{
	struct worker *w = c->w;

	c->is_put_off = true;
	w->sends[w->n_sends++].owner = c;
}

static void prepare_send(struct ring_send *rs)
{
	struct conn *c = rs->owner;

	c->is_put_off = false;
	rs->fd = c->transport.fd;
	rs->n_iov = outq_iov(&c->session->out, rs->iov, SEND_RING_IOV);
}

/* What was put off. False: nothing was. */
static bool flush_together(struct worker *w)
{
	size_t n = w->n_sends;
	bool together = n >= TOGETHER_MIN;
	bool ok = true;

	for (size_t i = 0; i < n; i++)
		prepare_send(&w->sends[i]);
	w->n_sends = 0;
	if (together)
		ok = send_ring_go(w->ring, w->sends, n);
	for (size_t i = 0; i < n; i++) {
		bool tried = together && w->sends[i].result != -ECANCELED;

		conn_flush(w->sends[i].owner, tried ? &w->sends[i] : NULL);
	}
	if (!ok) {
		log_emit(LOG_WARNING, SERVER_LOGGER,
			"the system fails to send for several clients at once: one call for each "
			"from now on");
		send_ring_free(w->ring);
		w->ring = NULL;
	}
	return n > 0;
}

static void flush_dirty(struct worker *w)
{
	struct session *s;

	do {
		while (w->n_sends < SEND_RING_MAX && (s = hub_next_dirty(&w->hub))) {
			struct conn *c = CONTAINER_OF(s->io, struct conn, io);

			if (c->is_put_off)
				continue;
			if (c->gave_way) /* its socket's next event */
				update_events(c);
			else if (fits_ring(c))
				put_off(c);
			else
				conn_flush(c, NULL);
		}
	} while (flush_together(w));
}

static void set_timer(struct worker *w);

static void on_timer(uv_timer_t *t)
{
	struct worker *w = t->data;

	w->timer_us = 0;
	hub_turn(&w->hub);
	hub_tick(&w->hub);
	after_turn(w);
}

static void set_timer(struct worker *w)
{
	uint64_t when = w->hub.wake_us;
	uint64_t now;

	if (when == UINT64_MAX || (w->timer_us && w->timer_us <= when))
		return;
	now = clock_mono_us(w->hub.clock);
	w->timer_us = when;
	uv_update_time(&w->loop.uv);
	uv_timer_start(&w->timer, on_timer, when > now ? (when - now) / 1000 + 1 : 0, 0);
}

/* Clients may finish what they have voted; the others go. */
static void drain(struct worker *w)
{
	struct session *s = w->hub.sessions;

	for (; s; s = s->next)
		if (!s->commit || !commit_is_locked(s->commit))
			if (!commit_is_finishing(s))
				session_close(s, true);
}

static void close_handles(struct worker *w)
{
	crew_leave(&w->seat);
	uv_close((uv_handle_t *)&w->check, NULL);
	uv_close((uv_handle_t *)&w->timer, NULL);
}

static void end(struct worker *w)
{
	w->ended = true;
	close_handles(w);
	loop_finish(&w->loop);
}

static void after_turn(struct worker *w)
{
	if (w->ended)
		return;
	flush_dirty(w);
	if (w->draining)
		drain(w);
	close_wanted(w);
	set_timer(w);
	if (w->draining && hub_is_idle(&w->hub))
		end(w);
}

/* In requests, system calls and the bytes that are copied in such a time. */
static unsigned take_work(struct worker *w)
{
	size_t work = w->hub.n_requests + w->n_calls + w->moved / MOVED_A_CALL;

	w->hub.n_requests = 0;
	w->n_calls = 0;
	w->moved = 0;
	return work < WORK_MAX ? (unsigned)work : WORK_MAX;
}

static void on_check(uv_check_t *check)
{
	struct worker *w = check->data;

	handle_inputs(w);
	after_turn(w);
	if (crew_turn(&w->seat, take_work(w), !w->hub.n_open) || w->n_served > 1)
		w->shared = WORKER_SHARED_TURNS;
	else if (w->shared)
		w->shared--;
	w->n_served = 0;
}

static void on_wake(struct loop *l)
{
	struct worker *w = CONTAINER_OF(l, struct worker, loop);

	if (!w->ended)
		hub_turn(&w->hub);
}

static void io_wake(struct hub_io *io)
{
	loop_wake(&CONTAINER_OF(io, struct worker, io)->loop);
}

int worker_init(struct worker *w, struct server *s, struct tls_context *tls, struct crew *crew,
	struct err *e)
{
	int rc;

	*w = (struct worker){ .io.wake = io_wake, .tls = tls };
	w->read_buf = mem_alloc(WORKER_READ_LARGE + TRANSPORT_SCRATCH);
	if (!w->read_buf)
		return err_set(e, ERR_NOMEM, "no memory for an event loop");
	rc = loop_init(&w->loop, on_wake, e);
	if (rc != OK)
		goto no_loop;
	rc = hub_init(&w->hub, s, &w->loop.exec, &w->io, e);
	if (rc != OK)
		goto no_hub;
	uv_check_init(&w->loop.uv, &w->check);
	uv_check_start(&w->check, on_check);
	uv_timer_init(&w->loop.uv, &w->timer);
	w->check.data = w;
	w->timer.data = w;
	w->ring = send_ring_new();
	rc = crew ? crew_join(crew, &w->seat, &w->loop, e) : OK;
	if (rc == OK)
		return OK;
	send_ring_free(w->ring);
	close_handles(w);
	hub_fini(&w->hub);
no_hub:
	loop_fini(&w->loop);
no_loop:
	mem_free(w->read_buf);
	w->read_buf = NULL;
	return rc;
}

int worker_start(struct worker *w, unsigned number, struct err *e)
{
	char name[16];

	snprintf(name, sizeof(name), "worker %u", number);
	return loop_start(&w->loop, name, e);
}

static void run_drain(struct hub *h, struct hub_msg *m)
{
	(void)m;
	worker_of(h)->draining = true;
}

static void run_cut(struct hub *h, struct hub_msg *m)
{
	struct worker *w = worker_of(h);

	(void)m;
	w->draining = true;
	for (struct session *s = h->sessions; s; s = s->next)
		session_close(s, false);
	for (struct conn *c = w->closing; c; c = c->next)
		c->flush = false;
}

void worker_drain(struct worker *w)
{
	w->drain_msg.run = run_drain;
	hub_post(&w->hub, &w->drain_msg);
}

void worker_cut(struct worker *w)
{
	w->cut_msg.run = run_cut;
	hub_post(&w->hub, &w->cut_msg);
}

void worker_fini(struct worker *w)
{
	if (!w->read_buf)
		return;
	send_ring_free(w->ring);
	hub_fini(&w->hub);
	if (!w->loop.started)
		close_handles(w);
	loop_fini(&w->loop);
	mem_free(w->read_buf);
	w->read_buf = NULL;
}
