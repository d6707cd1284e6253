/* What comes from the server, in stream order: answers, and its own calls. */
#include <string.h>

#include "base/bigendian.h"
#include "base/log.h"
#include "base/mem.h"
#include "client/attempt.h"
#include "client/conn.h"
#include "client/remote.h"
#include "codec/msgpack.h"
#include "codec/pickle.h"

/* --- answers --- */

static int decode_reply(struct slice content, enum encoding encoding, struct arena *arena,
	const struct val **ret, struct err *e)
{
	struct message m;
	int rc = message_decode_server(content, encoding, arena, &m, e);

	if (rc == OK && !slice_is(m.name, ".reply"))
		rc = err_set(e, ERR_FORMAT, "an answer that is none");
	if (rc == OK)
		*ret = m.args;
	return rc;
}

int call_decode(struct call *k, struct err *e)
{
	if (k->result)
		return OK;
	k->arena.max = 1 << 30;
	return decode_reply(k->reply, k->encoding, &k->arena, &k->result, e);
}

void call_end(struct call *k)
{
	buf_free(&k->frame);
	arena_free(&k->arena);
	if (k->record)
		client_record_end(&(struct client_record){ .memory = k->record });
	k->record = NULL;
	k->result = NULL;
}

static void set_remote_error(struct call *k)
{
	int rc = call_decode(k, &k->err);

	k->remote = rc == OK;
	k->rc = rc == OK ? remote_error(k->result, &k->err) : rc;
}

static void deliver(struct call *k, struct slice content, enum message_flag flag)
{
	k->rc = OK;
	if (k->is_load && flag == MESSAGE_REPLY) { /* borrowed: a record is copied once */
		k->reply = content;
		k->on_reply(k);
		k->reply = slice_of(NULL, 0);
		return;
	}
	buf_reset(&k->frame);
	buf_put_slice(&k->frame, content);
	k->reply = buf_slice(&k->frame);
	if (!buf_ok(&k->frame))
		k->rc = err_set(
			&k->err, ERR_NOMEM, "no memory for an answer of %zu bytes", content.len);
	else if (flag == MESSAGE_ERROR)
		set_remote_error(k);
	if (k->on_reply)
		k->on_reply(k);
}

static int answered(
	struct conn *conn, uint64_t id, enum message_flag flag, struct slice content, struct err *e)
{
	struct client *c = conn->client;
	bool forgotten;
	struct call *k;

	pthread_mutex_lock(&c->lock);
	k = pending_take(&conn->pending, id);
	forgotten = !k && conn->forgotten > 0;
	if (forgotten)
		conn->forgotten--;
	pthread_mutex_unlock(&c->lock);
	if (forgotten)
		return OK;
	if (!k)
		return err_set(e, ERR_FORMAT, "the server answers what nobody has asked");
	deliver(k, content, flag);
	pthread_mutex_lock(&c->lock);
	call_finish(k);
	pthread_mutex_unlock(&c->lock);
	return OK;
}

/* --- the server's calls --- */

static bool is_id(const struct val *v)
{
	return v->type == VAL_BYTES && v->s.len == 8;
}

static int check_invalidation(const struct val *args, uint32_t n_args, struct err *e)
{
	bool ok =
		n_args == 2 && is_id(&args[0]) &&
		(args[1].type == VAL_LIST || args[1].type == VAL_TUPLE || args[1].type == VAL_SET);

	for (uint32_t i = 0; ok && i < args[1].n; i++)
		ok = is_id(&args[1].items[i]);
	return ok ? OK
		  : err_set(e, ERR_FORMAT,
			    "an invalidation that is none: a tid and oids were expected");
}

static int keep_for_later(struct conn *conn, const struct val *args, struct err *e)
{
	uint32_t n = args[1].n;
	struct early *early = mem_alloc(sizeof(*early) + n * sizeof(early->oids[0]));

	if (!early)
		return err_set(e, ERR_NOMEM, "no memory for an invalidation");
	early->next = NULL;
	early->tid = get_be64(args[0].s.data);
	early->n = n;
	for (uint32_t i = 0; i < n; i++)
		early->oids[i] = get_be64(args[1].items[i].s.data);
	*conn->early_end = early;
	conn->early_end = &early->next;
	return OK;
}

/* One that comes behind a later transaction's breaks R3, as Python's servers can (T45): what is cached of its objects
 * is doubtful. The last tid does not go back (T5). */
static void forget(struct client *c, const uint64_t *oids, size_t n)
{
	for (size_t i = 0; c->cache && i < n; i++)
		cache_invalidate(c->cache, oids[i], TID_NONE);
}

void client_invalidate(struct conn *conn, uint64_t tid, const uint64_t *oids, size_t n)
{
	struct client *c = conn->client;
	const struct client_events *events = &c->options.events;
	bool late = tid <= atomic_load(&c->last_tid);

	if (tid <= conn->server_tid) /* T7: it was known when the connection was verified */
		return;
	if (late)
		forget(c, oids, n);
	for (size_t i = 0; !late && c->cache && i < n; i++)
		cache_invalidate(c->cache, oids[i], tid);
	if (events->invalidate)
		events->invalidate(events->arg, tid, oids, n);
	if (!late)
		client_set_last_tid(c, tid); /* T4 */
}

static int invalidate(struct conn *conn, const struct val *args, struct err *e)
{
	uint64_t few[64];
	uint32_t n = args[1].n;
	uint64_t *oids = n <= ARRAY_LEN(few) ? few : mem_alloc(n * sizeof(*oids));

	if (!oids)
		return err_set(e, ERR_NOMEM, "no memory for an invalidation");
	for (uint32_t i = 0; i < n; i++)
		oids[i] = get_be64(args[1].items[i].s.data);
	client_invalidate(conn, get_be64(args[0].s.data), oids, n);
	if (oids != few)
		mem_free(oids);
	return OK;
}

static int invalidation(struct conn *conn, const struct message *m, struct err *e)
{
	int rc = check_invalidation(m->args, m->n_args, e);

	if (rc != OK)
		return rc;
	return conn->verified ? invalidate(conn, m->args, e) : keep_for_later(conn, m->args, e);
}

static int new_info(struct conn *conn, const struct val *dict, struct err *e)
{
	struct client *c = conn->client;
	int rc = client_merge_info(c, dict, conn->encoding, e);

	if (rc == OK && c->options.events.info)
		c->options.events.info(c->options.events.arg);
	return rc;
}

static int server_called(struct conn *conn, const struct message *m, struct err *e)
{
	struct client *c = conn->client;
	void (*push)(void *arg, struct slice name, const struct val *args, uint32_t n_args);
	void *push_arg;

	if (slice_is(m->name, "invalidateTransaction"))
		return invalidation(conn, m, e);
	if (slice_is(m->name, "info")) {
		if (m->n_args != 1 || m->args[0].type != VAL_DICT)
			return err_set(e, ERR_FORMAT, "info() without a dictionary");
		return new_info(conn, &m->args[0], e);
	}
	pthread_mutex_lock(&c->lock);
	push = c->push;
	push_arg = c->push_arg;
	pthread_mutex_unlock(&c->lock);
	if (push)
		push(push_arg, m->name, m->args, m->n_args);
	else
		client_log(c, LOG_ERROR, CLIENT_IO_LOGGER,
			"the server calls '%.*s', which this client does not know",
			(int)m->name.len, m->name.data);
	return OK;
}

static int other_message(struct conn *conn, struct slice content, struct err *e)
{
	struct message m;
	int rc;

	rc = message_decode_server(content, conn->encoding, &conn->arena, &m, e);
	if (rc == OK && m.keep_alive) {
		/* nothing follows from it */
	} else if (rc == OK && slice_is(m.name, ".reply")) {
		rc = m.id->type != VAL_INT
			     ? err_set(e, ERR_FORMAT, "the server answers what nobody has asked")
			     : answered(conn, (uint64_t)m.id->i,
				       m.async ? MESSAGE_ERROR : MESSAGE_REPLY, content, e);
	} else if (rc == OK) {
		rc = server_called(conn, &m, e);
	}
	arena_reset(&conn->arena);
	return rc;
}

int conn_frame(struct conn *conn, struct slice content, struct err *e)
{
	struct reply_head h;

	if (conn->hello) {
		conn->hello = false;
		return attempt_hello(conn->attempt, content, e);
	}
	if (reply_head_parse(content, conn->encoding, &h))
		return answered(conn, h.id, h.flag, content, e);
	return other_message(conn, content, e);
}
