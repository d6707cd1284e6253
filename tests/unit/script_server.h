/* A ZEO server whose part the test plays: it reads what the client says and answers when it wants. */
#ifndef TESTS_SCRIPT_SERVER_H
#define TESTS_SCRIPT_SERVER_H

#include "cmocka_all.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/bigendian.h"
#include "client/client.h"
#include "net/listen.h"
#include "zeo/exception.h"
#include "zeo/frame.h"
#include "zeo/message.h"

enum { SCRIPT_TIMEOUT_MS = 20000 };

struct script {
	struct listener listener;
	int fd;
	enum encoding encoding;
	struct buf in;
	size_t taken; /* of in, by the frame given last */
	struct arena arena;
	struct message message; /* the last one */
};

static inline void script_listen(struct script *s)
{
	struct address a = { .family = ADDRESS_INET, .host = "127.0.0.1" };
	struct err e = ERR_INIT;

	*s = (struct script){ .fd = -1 };
	if (listener_open(&a, &s->listener, &e) != OK)
		fail_msg("%s", e.text);
}

static inline void script_hang_up(struct script *s)
{
	if (s->fd >= 0)
		close(s->fd);
	s->fd = -1;
	buf_reset(&s->in);
	s->taken = 0;
}

static inline void script_close(struct script *s)
{
	script_hang_up(s);
	listener_close(&s->listener);
	buf_free(&s->in);
	arena_free(&s->arena);
}

static inline void script_wait(int fd)
{
	struct pollfd p = { .fd = fd, .events = POLLIN };

	if (poll(&p, 1, SCRIPT_TIMEOUT_MS) != 1)
		fail_msg("the client does nothing");
}

/* That the client has hung up meanwhile is seen when it is read from. */
static inline void script_send(struct script *s, const void *p, size_t n)
{
	ssize_t sent = send(s->fd, p, n, MSG_NOSIGNAL);

	if (sent < 0 && (errno == EPIPE || errno == ECONNRESET))
		return;
	assert_int_equal(sent, (ssize_t)n);
}

static inline void script_send_frame(struct script *s, const void *content, size_t n)
{
	struct buf b = BUF_INIT(0);

	buf_put_be32(&b, (uint32_t)n);
	buf_put(&b, content, n);
	script_send(s, b.data, b.len);
	buf_free(&b);
}

/* The next frame. False: the client has hung up. */
static inline bool script_frame(struct script *s, struct slice *ret)
{
	size_t need;

	if (s->taken)
		memmove(s->in.data, s->in.data + s->taken, s->in.len - s->taken);
	s->in.len -= s->taken;
	s->taken = 0;
	while (frame_take(buf_slice(&s->in), 1 << 30, ret, &need) != FRAME_WHOLE) {
		uint8_t *p = buf_reserve(&s->in, 65536);
		ssize_t n;

		assert_non_null(p);
		script_wait(s->fd);
		n = recv(s->fd, p, 65536, 0);
		if (n <= 0)
			return false;
		buf_advance(&s->in, (size_t)n);
	}
	s->taken = need;
	return true;
}

static inline void script_expect_end(struct script *s)
{
	struct slice unused;

	while (script_frame(s, &unused))
		;
	script_hang_up(s);
}

/* The next message; its name has to be @name. */
static inline const struct message *script_expect(struct script *s, const char *name)
{
	struct slice content;
	struct err e = ERR_INIT;

	if (!script_frame(s, &content))
		fail_msg("the client has hung up, %s() was expected", name);
	arena_reset(&s->arena);
	if (message_decode_server(content, s->encoding, &s->arena, &s->message, &e) != OK)
		fail_msg("%s", e.text);
	if (!slice_is(s->message.name, name))
		fail_msg("%.*s() came, %s() was expected", (int)s->message.name.len,
			(const char *)s->message.name.data, name);
	return &s->message;
}

/* --- saying --- */

static inline void script_reply_begin(struct script *s, struct message_writer *w, struct buf *b,
	uint64_t id, enum message_flag flag)
{
	struct val v = { .type = VAL_INT, .i = (int64_t)id };
	struct reply_id r;

	assert_int_equal(reply_id_set(&r, &v, s->encoding, NULL), OK);
	message_reply(w, b, s->encoding, &r, flag);
}

static inline void script_say(struct script *s, struct message_writer *w, struct buf *b)
{
	message_end(w);
	assert_true(buf_ok(b));
	script_send(s, b->data, b->len);
	buf_free(b);
}

static inline uint64_t script_id(const struct script *s)
{
	assert_int_equal(s->message.id->type, VAL_INT);
	return (uint64_t)s->message.id->i;
}

static inline void script_reply_none(struct script *s, uint64_t id)
{
	struct message_writer w;
	struct buf b = BUF_INIT(0);

	script_reply_begin(s, &w, &b, id, MESSAGE_REPLY);
	enc_none(&w.enc);
	script_say(s, &w, &b);
}

static inline void script_reply_tid(struct script *s, uint64_t id, uint64_t tid)
{
	struct message_writer w;
	struct buf b = BUF_INIT(0);

	script_reply_begin(s, &w, &b, id, MESSAGE_REPLY);
	enc_id(&w.enc, tid);
	script_say(s, &w, &b);
}

static inline void script_reply_record(
	struct script *s, uint64_t id, const char *data, uint64_t serial, uint64_t end_tid)
{
	struct message_writer w;
	struct buf b = BUF_INIT(0);

	script_reply_begin(s, &w, &b, id, MESSAGE_REPLY);
	enc_tuple(&w.enc, 3);
	enc_bytes(&w.enc, slice_str(data));
	enc_id(&w.enc, serial);
	if (end_tid)
		enc_id(&w.enc, end_tid);
	else
		enc_none(&w.enc);
	enc_end(&w.enc);
	script_say(s, &w, &b);
}

static inline void script_reply_error(
	struct script *s, uint64_t id, const char *name, const char *text)
{
	struct message_writer w;
	struct buf b = BUF_INIT(0);

	script_reply_begin(s, &w, &b, id, MESSAGE_ERROR);
	exception_text(&w.enc, name, text);
	script_say(s, &w, &b);
}

static inline void script_invalidate(struct script *s, uint64_t tid, uint64_t oid)
{
	struct message_writer w;
	struct buf b = BUF_INIT(0);

	message_call(&w, &b, s->encoding, "invalidateTransaction");
	enc_tuple(&w.enc, 2);
	enc_id(&w.enc, tid);
	enc_list(&w.enc, 1);
	enc_id(&w.enc, oid);
	enc_end(&w.enc);
	enc_end(&w.enc);
	script_say(s, &w, &b);
}

static inline void script_reply_info(struct script *s, uint64_t id)
{
	struct message_writer w;
	struct buf b = BUF_INIT(0);

	script_reply_begin(s, &w, &b, id, MESSAGE_REPLY);
	enc_dict(&w.enc, 1);
	enc_str(&w.enc, slice_str("name"));
	enc_str(&w.enc, slice_str("scripted"));
	enc_end(&w.enc);
	script_say(s, &w, &b);
}

/* --- what every connection begins with --- */

static inline void script_accept(struct script *s, enum encoding encoding)
{
	script_hang_up(s);
	script_wait(s->listener.fds[0]);
	s->fd = accept(s->listener.fds[0], NULL, NULL);
	assert_true(s->fd >= 0);
	s->encoding = encoding;
}

/* Up to the client's register(), which is not answered yet; its id. */
static inline uint64_t script_greet(struct script *s, enum encoding encoding)
{
	const char *hello = encoding == ENC_PICKLE ? "Z5" : "M5";
	struct slice frame;

	script_accept(s, encoding);
	script_send_frame(s, hello, 2);
	assert_true(script_frame(s, &frame));
	assert_true(slice_is(frame, hello));
	script_expect(s, "register");
	return script_id(s);
}

/* To the end, for a client without anything in its cache. */
static inline void script_serve(struct script *s, enum encoding encoding, uint64_t tid)
{
	script_reply_tid(s, script_greet(s, encoding), tid);
	script_expect(s, "get_info");
	script_reply_info(s, script_id(s));
}

#endif
