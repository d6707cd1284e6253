#include "server/session.h"

#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>

#include "base/bigendian.h"
#include "base/check.h"
#include "base/log.h"
#include "base/mem.h"
#include "server/commit.h"
#include "server/dispatch.h"
#include "server/hub.h"
#include "server/iterators.h"
#include "server/server.h"
#include "server/upload.h"
#include "zeo/frame.h"

static atomic_uint_fast64_t last_id;

enum { IN_KEEP = 1 << 10 }; /* memory an input buffer may keep between messages */

static void put_frame(struct session *s, struct slice content)
{
	size_t mark;
	struct buf *b = session_out(s, &mark);

	if (!b)
		return;
	frame_begin(b);
	buf_put_slice(b, content);
	frame_end(b, mark);
	session_out_done(s, b, mark);
}

static void link_session(struct session *s)
{
	struct hub *h = s->hub;

	s->next = h->sessions;
	if (s->next)
		s->next->prev = s;
	h->sessions = s;
}

static void unlink_session(struct session *s)
{
	if (s->prev)
		s->prev->next = s->next;
	else
		s->hub->sessions = s->next;
	if (s->next)
		s->next->prev = s->prev;
}

struct session *session_new(struct hub *h, struct session_io *io, const char *peer)
{
	struct session *s = mem_zalloc(1, sizeof(*s));

	if (!s)
		return NULL;
	s->hub = h;
	s->io = io;
	s->id = atomic_fetch_add(&last_id, 1) + 1;
	s->refs = 1;
	s->out.spares = &h->spares;
	s->since_us = s->drained_us = clock_mono_us(h->clock);
	s->read_only = h->server->options.read_only;
	snprintf(s->peer, sizeof(s->peer), "%s", peer);
	snprintf(s->label, sizeof(s->label), "%s", peer);
	link_session(s);
	h->n_open++;
	put_frame(s, slice_str(h->server->options.msgpack ? "M5" : "Z5"));
	hub_wake_at(h, s->since_us + SESSION_HANDSHAKE_S * UINT64_C(1000000));
	if (s->out.failed) {
		session_closed(s, NULL);
		return NULL;
	}
	return s;
}

void session_ref(struct session *s)
{
	s->refs++;
}

void session_unref(struct session *s)
{
	CHECK(s->refs > 0);
	if (--s->refs)
		return;
	CHECK(s->state == SESSION_CLOSED && !s->commit && !s->dirty);
	if (s->hs)
		iterators_free(s->iterators, s->hs->ss->storage);
	s->hub->n_open--;
	buf_free(&s->in);
	outq_free(&s->out);
	mem_free(s);
}

void session_close(struct session *s, bool flush)
{
	if (!session_alive(s))
		return;
	s->closing = true;
	s->io->close(s->io, flush);
}

void session_fail(struct session *s, const char *fmt, ...)
{
	char text[512];
	va_list ap;

	if (!session_alive(s))
		return;
	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	log_emit(LOG_ERROR, SERVER_LOGGER, "(%s) closing the connection: %s", s->label, text);
	session_close(s, false);
}

static void unregister(struct session *s)
{
	struct hub_storage *hs = s->hs;

	if (!hs)
		return;
	hub_remove_session(hs, s);
	atomic_fetch_sub(&hs->ss->stats.connections, 1);
}

static void remove_dirty(struct session *s)
{
	struct session **p = &s->hub->dirty;

	if (!s->dirty)
		return;
	while (*p != s)
		p = &(*p)->dirty_next;
	*p = s->dirty_next;
	s->dirty = false;
}

static void end_streams(struct session *s)
{
	while (s->streams) {
		struct stream *st = s->streams;

		s->streams = st->next;
		st->more(st);
	}
}

void session_closed(struct session *s, const char *why)
{
	const char *during = "";
	/* A check that connects and goes away must not fill the log (T40). */
	int level = s->state == SESSION_REGISTERED ? LOG_INFO : LOG_DEBUG;

	CHECK(s->state != SESSION_CLOSED);
	if (s->commit)
		during = commit_is_locked(s->commit) ? " during locked transaction"
						     : " during unlocked transaction";
	log_emit(level, SERVER_LOGGER, "(%s) disconnected%s%s%s", s->label, during, why ? ": " : "",
		why ? why : "");
	s->state = SESSION_CLOSED;
	s->closing = true;
	commit_abandon(s);
	upload_closed(s);
	unregister(s);
	remove_dirty(s);
	end_streams(s);
	unlink_session(s);
	session_unref(s);
}

struct buf *session_out(struct session *s, size_t *ret_mark)
{
	struct buf *b = session_alive(s) ? outq_buf(&s->out) : NULL;

	if (b)
		*ret_mark = b->len;
	return b;
}

/* The shell looks at it at the end of this turn. */
static void mark_dirty(struct session *s)
{
	if (s->dirty)
		return;
	s->dirty = true;
	s->dirty_next = s->hub->dirty;
	s->hub->dirty = s;
}

/* Something was queued: tell the shell; close when there was no memory for it. */
static void queued(struct session *s, bool was_empty)
{
	if (s->out.failed) {
		session_fail(s, "no memory for what is to be sent");
		return;
	}
	if (was_empty)
		s->drained_us = clock_mono_us(s->hub->clock);
	if (was_empty)
		hub_wake_at(s->hub, s->drained_us + SESSION_STALL_S * UINT64_C(1000000));
	mark_dirty(s);
}

void session_out_done(struct session *s, struct buf *b, size_t mark)
{
	bool was_empty = outq_empty(&s->out);

	outq_appended(&s->out, b, mark);
	queued(s, was_empty);
}

void session_share(struct session *s, struct shared_frame *f)
{
	bool was_empty = outq_empty(&s->out);

	if (!session_alive(s))
		return;
	outq_share(&s->out, f);
	queued(s, was_empty);
	if (s->out.shared_bytes > SESSION_OUT_MAX)
		session_fail(s, "%zu bytes of invalidations wait to be read by the client",
			s->out.shared_bytes);
}

void session_out_file(struct session *s, struct shared_file *f, uint64_t off, size_t len)
{
	bool was_empty = outq_empty(&s->out);

	if (!session_alive(s))
		return;
	outq_file(&s->out, f, off, len);
	queued(s, was_empty);
}

void session_stream_add(struct session *s, struct stream *st)
{
	struct stream **end = &s->streams;

	while (*end)
		end = &(*end)->next;
	st->next = NULL;
	*end = st;
}

void session_stream_remove(struct session *s, struct stream *st)
{
	struct stream **p = &s->streams;

	while (*p && *p != st)
		p = &(*p)->next;
	if (*p)
		*p = st->next;
}

/* Each is asked in turn: the one at the front goes to the end before. */
static void ask_streams(struct session *s)
{
	size_t n = 0;

	for (const struct stream *st = s->streams; st; st = st->next)
		n++;
	while (n-- && s->streams && session_alive(s) && s->out.bytes < SESSION_STREAM_LOW) {
		struct stream *st = s->streams;

		s->streams = st->next;
		session_stream_add(s, st);
		st->more(st);
	}
}

void session_sent(struct session *s, size_t n)
{
	outq_sent(&s->out, n);
	if (!n)
		return;
	if (!outq_empty(&s->out)) /* else what is queued next sets it */
		s->drained_us = clock_mono_us(s->hub->clock);
	ask_streams(s);
}

bool session_wants_input(const struct session *s)
{
	return session_alive(s) && !s->held && !s->spilling && s->out.bytes <= SESSION_OUT_HIGH &&
	       s->n_loads < SESSION_LOADS_MAX;
}

size_t session_missing(const struct session *s)
{
	size_t need = s->in.len >= FRAME_HEADER_LEN ? FRAME_HEADER_LEN + get_be32(s->in.data) : 0;

	return need > s->in.len ? need - s->in.len : 0;
}

static void handshake(struct session *s, struct slice said)
{
	if (slice_is(said, "ruok")) {
		struct buf b = BUF_INIT(0);

		server_ruok(s->hub->server, s->hub, &b);
		put_frame(s, buf_slice(&b));
		buf_free(&b);
		session_close(s, true);
		return;
	}
	if (slice_is(said, "Z5") || slice_is(said, "M5")) {
		s->encoding = said.data[0] == 'M' ? ENC_MSGPACK : ENC_PICKLE;
		s->state = SESSION_CONNECTED;
		log_emit(LOG_DEBUG, SERVER_LOGGER, "(%s) received handshake '%.2s'", s->label,
			(const char *)said.data);
		return;
	}
	session_fail(s, "bad handshake of %zu bytes: 'Z5' or 'M5' was expected", said.len);
}

static void handle_frame(struct session *s, struct slice content)
{
	if (s->state == SESSION_HANDSHAKE)
		handshake(s, content);
	else
		dispatch(s, content);
}

/* The first record of a TLS client: a handshake, of any version. */
static bool is_tls(const struct session *s, struct slice in)
{
	return s->state == SESSION_HANDSHAKE && in.len >= 2 && in.data[0] == 0x16 &&
	       in.data[1] == 0x03;
}

/* What lies here was looked at with what others sent, or is looked at now. */
static void look_ahead(struct session *s, struct slice in)
{
	struct look_ahead *la = &s->hub->ahead;

	if (s->state != SESSION_REGISTERED || !frame_is_followed(in) ||
		look_ahead_has(la, s->hs->ss->storage, in.data))
		return;
	look_ahead_start(la);
	look_ahead_add(la, s, in);
	look_ahead_end(la);
}

/* Handle the whole messages of @in; returns how many bytes they took. */
static size_t take_frames(struct session *s, struct slice in)
{
	size_t used = 0;
	size_t need;
	struct slice content;

	while (session_wants_input(s)) {
		uint32_t max =
			s->state == SESSION_REGISTERED ? SESSION_FRAME_MAX : SESSION_FRAME_EARLY;
		struct slice rest = slice_of(in.data + used, in.len - used);

		look_ahead(s, rest);
		switch (frame_take(rest, max, &content, &need)) {
		case FRAME_TOO_BIG:
			session_fail(s, "a message of %zu bytes: at most %u are allowed here%s",
				need - FRAME_HEADER_LEN, max,
				is_tls(s, rest) ? " (the client speaks TLS, and this server has "
						  "no <ssl> section)"
						: "");
			return in.len;
		case FRAME_PARTIAL:
			return used;
		case FRAME_WHOLE:
			handle_frame(s, content);
			s->hub->n_requests++;
			used += need;
			break;
		}
	}
	return used;
}

static void keep_rest(struct session *s, const uint8_t *data, size_t n)
{
	buf_put(&s->in, data, n);
	if (!buf_ok(&s->in))
		session_fail(s, "no memory for a message");
}

static void count_loads(struct hub_storage *hs)
{
	if (hs->uncounted_loads)
		atomic_fetch_add_explicit(
			&hs->ss->stats.loads, hs->uncounted_loads, memory_order_relaxed);
	hs->uncounted_loads = 0;
}

/* A request that is answered at once must not start on the next one from inside this one. */
static size_t handle_frames(struct session *s, struct slice in)
{
	size_t used;

	s->parsing = true;
	used = take_frames(s, in);
	s->parsing = false;
	if (s->hs)
		count_loads(s->hs);
	return used;
}

/* Drop the first @used bytes of s->in. */
static void consume(struct session *s, size_t used)
{
	size_t rest = s->in.len - used;

	if (used == 0)
		return;
	look_ahead_start(&s->hub->ahead); /* other bytes will be where these were */
	memmove(s->in.data, s->in.data + used, rest);
	s->in.len = rest;
	if (rest == 0)
		buf_shrink(&s->in, IN_KEEP);
}

void session_input(struct session *s, const uint8_t *data, size_t n)
{
	size_t used;

	if (!session_alive(s))
		return;
	if (s->in.len == 0) { /* the usual case: whole messages, nothing copied */
		used = handle_frames(s, slice_of(data, n));
		if (used < n && session_alive(s))
			keep_rest(s, data + used, n - used);
		return;
	}
	keep_rest(s, data, n);
	session_resume(s);
}

void session_resume(struct session *s)
{
	if (session_alive(s) && s->in.len && !s->parsing)
		consume(s, handle_frames(s, buf_slice(&s->in)));
}

void session_load_started(struct session *s)
{
	s->n_loads++;
	session_ref(s);
}

void session_load_ended(struct session *s)
{
	s->n_loads--;
	session_resume(s);
	if (session_alive(s))
		mark_dirty(s); /* also without a reply it may be read from again */
	session_unref(s);
}

uint64_t session_tick(struct session *s, uint64_t now_us)
{
	uint64_t handshake_end = s->since_us + SESSION_HANDSHAKE_S * UINT64_C(1000000);
	uint64_t stall_end = s->drained_us + SESSION_STALL_S * UINT64_C(1000000);
	uint64_t next = UINT64_MAX;

	if (!session_alive(s))
		return UINT64_MAX;
	if (s->state != SESSION_REGISTERED) {
		if (now_us >= handshake_end)
			session_fail(s, "it has not %s within %d seconds",
				s->securing ? "completed the TLS handshake" : "registered",
				SESSION_HANDSHAKE_S);
		next = handshake_end;
	}
	if (!outq_empty(&s->out)) {
		if (now_us >= stall_end)
			session_fail(s, "nothing was read by the client for %d seconds",
				SESSION_STALL_S);
		next = stall_end < next ? stall_end : next;
	}
	return next;
}
