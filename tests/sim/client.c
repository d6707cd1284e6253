#include "client.h"

#include <stdlib.h>
#include <string.h>

#include "base/bigendian.h"
#include "codec/msgpack.h"
#include "codec/pickle.h"
#include "sim_disk.h"
#include "zeo/frame.h"
#include "zeo/message.h"

void (*client_on_voted)(struct client *c);
bool (*client_may_be_refused)(void);

static uint64_t pick(struct client *c, uint64_t n)
{
	return sim_random(c->random) % n;
}

static void io_close(struct session_io *io, bool flush)
{
	(void)flush;
	CONTAINER_OF(io, struct client, io)->close_asked = true;
}

void client_connect(struct client *c, struct hub *h)
{
	c->io.close = io_close;
	c->hub = h;
	c->close_asked = c->handshake_done = c->registered = false;
	c->commit = COMMIT_NONE;
	memset(c->loads, 0, sizeof(c->loads));
	buf_reset(&c->to_server);
	buf_reset(&c->from_server);
	c->encoding = pick(c, 2) ? ENC_PICKLE : ENC_MSGPACK;
	c->session = session_new(h, &c->io, "sim");
}

void client_disconnect(struct client *c)
{
	if (c->session)
		session_closed(c->session, NULL);
	c->session = NULL;
	c->commit = COMMIT_NONE;
}

void client_free(struct client *c)
{
	buf_free(&c->to_server);
	buf_free(&c->from_server);
	arena_free(&c->arena);
}

bool client_holds(const struct client *c, uint64_t oid)
{
	const struct attempt *a = &c->model->attempts[c->attempt];

	if (c->commit != COMMIT_HELD)
		return false;
	for (uint32_t i = 0; i < a->n; i++)
		if (a->oids[i] == oid && !a->check_only[i])
			return true;
	return false;
}

/* --- requests --- */

static struct enc *call_begin(struct client *c, struct enc *en, size_t *mark, int64_t id,
	const char *name, uint32_t n_args)
{
	*mark = frame_begin(&c->to_server);
	enc_begin(en, &c->to_server, c->encoding);
	enc_tuple(en, 4);
	enc_int(en, id);
	enc_bool(en, id == 0);
	enc_str(en, slice_str(name));
	enc_tuple(en, n_args);
	return en;
}

static void call_end(struct client *c, struct enc *en, size_t mark)
{
	enc_end(en);
	enc_end(en);
	enc_finish(en);
	frame_end(&c->to_server, mark);
}

static void say_hello(struct client *c)
{
	struct enc en;
	size_t mark = frame_begin(&c->to_server);

	buf_put_str(&c->to_server, c->encoding == ENC_PICKLE ? "Z5" : "M5");
	frame_end(&c->to_server, mark);
	c->register_id = ++c->last_id;
	call_begin(c, &en, &mark, c->register_id, "register", 2);
	enc_str(&en, slice_str("1"));
	enc_bool(&en, false);
	call_end(c, &en, mark);
}

static void start_load(struct client *c)
{
	struct client_load *l = &c->loads[pick(c, CLIENT_LOADS)];
	struct enc en;
	size_t mark;

	if (l->id)
		return;
	l->id = ++c->last_id;
	l->oid = pick(c, MODEL_OIDS);
	l->before = TID_MAX;
	if (c->model->n_txns && pick(c, 3) == 0)
		l->before = c->model->txns[pick(c, c->model->n_txns)].tid;
	call_begin(c, &en, &mark, l->id, "loadBefore", 2);
	enc_id(&en, l->oid);
	enc_id(&en, l->before);
	call_end(c, &en, mark);
}

static void choose_records(struct client *c, struct attempt *a)
{
	uint32_t want = 1 + (uint32_t)pick(c, MODEL_RECS);
	uint64_t end;

	for (uint32_t i = 0; i < want; i++) {
		uint64_t oid = pick(c, MODEL_OIDS);
		bool twice = false;

		for (uint32_t j = 0; j < a->n; j++)
			twice |= a->oids[j] == oid;
		if (twice)
			continue;
		a->oids[a->n] = oid;
		model_revision(c->model, oid, c->last_tid, &a->base[a->n], &end);
		/* the first one is written, so that there is something to publish */
		a->check_only[a->n] = a->n && a->base[a->n] && pick(c, 4) == 0;
		a->n++;
	}
}

static void send_record(struct client *c, const struct attempt *a, uint32_t i)
{
	uint8_t data[600];
	struct enc en;
	size_t mark;

	call_begin(c, &en, &mark, 0,
		a->check_only[i] ? "checkCurrentSerialInTransaction" : "storea",
		a->check_only[i] ? 3 : 4);
	enc_id(&en, a->oids[i]);
	enc_id(&en, a->base[i]);
	if (!a->check_only[i])
		enc_bytes(&en, slice_of(data, model_data(c->attempt, a->oids[i], data)));
	enc_int(&en, c->attempt);
	call_end(c, &en, mark);
}

static void send_step(struct client *c, const char *name)
{
	struct enc en;
	size_t mark;

	c->commit_id = ++c->last_id;
	call_begin(c, &en, &mark, c->commit_id, name, 1);
	enc_int(&en, c->attempt);
	call_end(c, &en, mark);
}

static void start_commit(struct client *c)
{
	struct enc en;
	size_t mark;

	c->attempt = model_new_attempt(c->model);
	choose_records(c, &c->model->attempts[c->attempt]);
	call_begin(c, &en, &mark, 0, "tpc_begin", 4);
	enc_int(&en, c->attempt);
	enc_str(&en, slice_str("user"));
	enc_str(&en, slice_str("a description"));
	enc_dict(&en, 0);
	enc_end(&en);
	call_end(c, &en, mark);
	for (uint32_t i = 0; i < c->model->attempts[c->attempt].n; i++)
		send_record(c, &c->model->attempts[c->attempt], i);
	send_step(c, "vote");
	c->commit = COMMIT_VOTE_SENT;
}

static void abort_commit(struct client *c)
{
	send_step(c, "tpc_abort");
	c->commit = COMMIT_NONE;
}

void client_act(struct client *c)
{
	if (!c->session || !c->handshake_done || !c->registered)
		return;
	switch (pick(c, 6)) {
	case 0:
	case 1:
		start_load(c);
		break;
	case 2:
		if (c->commit == COMMIT_NONE)
			start_commit(c);
		break;
	case 3:
	case 4:
		if (c->commit == COMMIT_HELD) {
			send_step(c, "tpc_finish");
			c->commit = COMMIT_FINISH_SENT;
		}
		break;
	default:
		if (c->commit == COMMIT_HELD && pick(c, 4) == 0)
			abort_commit(c);
		break;
	}
}

/* --- what comes back --- */

/* R3, T7: every transaction, in order, once. */
static const struct model_txn *next_in_stream(struct client *c, uint64_t tid)
{
	const struct model_txn *t = model_find(c->model, tid);
	const struct model_txn *before = model_find(c->model, c->last_tid);
	const struct model_txn *expected = before ? before + 1 : c->model->txns;

	SIM_CHECK(t, "told of transaction %llx, which was not published", (unsigned long long)tid);
	SIM_CHECK(t == expected, "R3: told of %llx after %llx", (unsigned long long)tid,
		(unsigned long long)c->last_tid);
	c->last_tid = tid;
	return t;
}

static void on_invalidation(struct client *c, const struct message *m)
{
	uint64_t tid = get_be64(m->args[0].s.data);
	const struct attempt *a = &c->model->attempts[next_in_stream(c, tid)->attempt];
	uint32_t written = 0;

	for (uint32_t i = 0; i < a->n; i++)
		written += !a->check_only[i];
	SIM_CHECK(
		m->args[1].n == written, "T10, T11: %u oids instead of %u", m->args[1].n, written);
}

/* R1: exactly what is true as of the last tid the connection was told of. */
static void on_loaded(struct client *c, struct client_load *l, bool error, const struct val *v)
{
	uint64_t as_of = l->before - 1 < c->last_tid ? l->before - 1 : c->last_tid;
	uint64_t serial, end, newest, none;

	l->id = 0;
	c->n_loads++;
	model_revision(c->model, l->oid, as_of, &serial, &end);
	model_revision(c->model, l->oid, c->last_tid, &newest, &none);
	if (newest == TID_NONE) {
		SIM_CHECK(error, "an object that is not there yet");
		return;
	}
	SIM_CHECK(!error, "no oid %llu as of %llx", (unsigned long long)l->oid,
		(unsigned long long)as_of);
	if (serial == TID_NONE) {
		SIM_CHECK(val_is_none(v), "T19: None was expected before its creation");
		return;
	}
	SIM_CHECK(get_be64(v->items[1].s.data) == serial,
		"R1: revision %llx of %llu as of %llx, not %llx",
		(unsigned long long)get_be64(v->items[1].s.data), (unsigned long long)l->oid,
		(unsigned long long)as_of, (unsigned long long)serial);
	SIM_CHECK(model_attempt_of(v->items[0].s) == model_find(c->model, serial)->attempt,
		"its data");
	if (end == TID_NONE || end > c->last_tid)
		SIM_CHECK(val_is_none(&v->items[2]), "R1: an end that was not told yet");
	else
		SIM_CHECK(!val_is_none(&v->items[2]) && get_be64(v->items[2].s.data) == end,
			"the end of a revision");
}

static void on_commit_reply(struct client *c, bool error, const struct val *v)
{
	uint64_t tid;

	if (c->commit == COMMIT_VOTE_SENT) {
		c->n_conflicts += error;
		c->commit = error ? COMMIT_NONE : COMMIT_HELD;
		c->held_us = clock_mono_us(c->hub->clock);
		if (!error)
			client_on_voted(c);
	} else if (c->commit == COMMIT_FINISH_SENT) {
		c->commit = COMMIT_NONE;
		if (error) {
			SIM_CHECK(client_may_be_refused(), "a voted transaction was refused");
			c->n_refused++;
			return;
		}
		tid = get_be64(v->s.data);
		SIM_CHECK(next_in_stream(c, tid)->attempt == c->attempt, "another one's finish");
		c->n_commits++;
	}
}

static void on_reply(struct client *c, const struct message *m, const struct val *result)
{
	bool error = m->async;

	if (m->id->i == c->register_id) {
		SIM_CHECK(!error, "register");
		c->registered = true;
		c->last_tid = get_be64(result->s.data);
		return;
	}
	if (m->id->i == c->commit_id) {
		on_commit_reply(c, error, result);
		return;
	}
	for (int i = 0; i < CLIENT_LOADS; i++)
		if (c->loads[i].id == m->id->i)
			on_loaded(c, &c->loads[i], error, result);
}

static void on_message(struct client *c, struct slice content)
{
	struct err e = ERR_INIT;
	struct val v;
	struct message m = { 0 };
	int rc;

	if (!c->handshake_done) {
		SIM_CHECK(slice_is(content, "Z5"), "handshake");
		c->handshake_done = true;
		say_hello(c);
		return;
	}
	/* as message_decode(), but a reply's result is any value */
	rc = c->encoding == ENC_PICKLE
		     ? pickle_decode(content, 0, &pickle_limits_message, &c->arena, &v, NULL, &e)
		     : msgpack_decode(content, &pickle_limits_message, &c->arena, &v, &e);
	SIM_CHECK(rc == OK, "%s", e.text);
	m.id = &v.items[0];
	m.async = v.items[1].type == VAL_BOOL ? v.items[1].b : v.items[1].i != 0;
	m.args = v.items[3].items;
	m.n_args = v.items[3].n;
	if (slice_is(v.items[2].s, ".reply"))
		on_reply(c, &m, &v.items[3]);
	else if (slice_is(v.items[2].s, "invalidateTransaction"))
		on_invalidation(c, &m);
	else
		SIM_CHECK(slice_is(v.items[2].s, "info"), "an unknown call");
	arena_reset(&c->arena);
}

/* Now and then everything, or a few bytes. */
static size_t some(struct client *c, size_t n)
{
	return pick(c, 3) ? n : pick(c, n + 1);
}

void client_send_some(struct client *c)
{
	size_t n = some(c, c->to_server.len);

	if (!c->session || c->close_asked || n == 0 || !session_wants_input(c->session))
		return;
	if (pick(c, 2)) /* something may be published right after a worker has looked */
		hub_turn(c->hub);
	session_input(c->session, c->to_server.data, n);
	memmove(c->to_server.data, c->to_server.data + n, c->to_server.len - n);
	c->to_server.len -= n;
}

void client_receive_some(struct client *c)
{
	struct iovec iov[4];
	size_t used = 0;
	size_t n;

	if (!c->session || outq_empty(&c->session->out))
		return;
	outq_iov(&c->session->out, iov, 4);
	n = some(c, iov[0].iov_len);
	buf_put(&c->from_server, iov[0].iov_base, n);
	session_sent(c->session, n);
	session_resume(c->session);
	for (;;) {
		struct slice rest = slice_of(c->from_server.data + used, c->from_server.len - used);
		struct slice content;
		size_t need;

		if (frame_take(rest, 1 << 30, &content, &need) != FRAME_WHOLE)
			break;
		on_message(c, content);
		used += need;
	}
	if (used) {
		memmove(c->from_server.data, c->from_server.data + used, c->from_server.len - used);
		c->from_server.len -= used;
	}
}
