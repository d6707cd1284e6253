#include <string.h>

#include "base/bigendian.h"
#include "base/mem.h"
#include "client/conn.h"
#include "client/state.h"

/* A revision's memory: shared by all who asked for it. */
struct record {
	atomic_uint refs;
	uint64_t serial, end_tid;
	size_t len;
	uint8_t data[];
};

static struct record *record_new(size_t len)
{
	struct record *r = mem_alloc(sizeof(*r) + len);

	if (!r)
		return NULL;
	atomic_init(&r->refs, 1);
	r->len = len;
	return r;
}

static void record_unref(struct record *r)
{
	if (r && atomic_fetch_sub_explicit(&r->refs, 1, memory_order_acq_rel) == 1)
		mem_free(r);
}

void client_record_end(struct client_record *r)
{
	record_unref(r->memory);
	r->memory = NULL;
}

static void show(struct record *r, struct client_record *ret)
{
	*ret = (struct client_record){
		.data = slice_of(r->data, r->len),
		.serial = r->serial,
		.end_tid = r->end_tid,
		.memory = r,
	};
}

void call_record(const struct call *k, struct client_record *ret)
{
	show(k->record, ret);
	ret->memory = NULL; /* the call's */
}

/* --- from the cache --- */

int client_cached(struct client *c, uint64_t oid, uint64_t tid,
	void *(*room)(void *arg, size_t len), void *arg, uint64_t *ret_serial,
	uint64_t *ret_end_tid)
{
	if (!c->cache || client_check_fork(c, NULL) != OK)
		return ERR_NOENT;
	return cache_load_before(c->cache, oid, tid, room, arg, ret_serial, ret_end_tid);
}

static void *record_room(void *arg, size_t len)
{
	struct record **r = arg;

	record_unref(*r); /* the cache may ask twice */
	*r = record_new(len);
	return *r ? (*r)->data : NULL;
}

static struct record *cached(struct client *c, uint64_t oid, uint64_t tid)
{
	struct record *r = NULL;
	uint64_t serial, end_tid;

	if (client_cached(c, oid, tid, record_room, &r, &serial, &end_tid) != OK) {
		record_unref(r);
		return NULL;
	}
	r->serial = serial;
	r->end_tid = end_tid;
	return r;
}

/* --- from the server --- */

/* Decoded the long way: what Python's servers write in other words. */
static int decode_record(struct call *k, struct slice *ret_data, struct record *ret)
{
	const struct val *v;
	int rc = call_decode(k, &k->err);

	if (rc != OK)
		return rc;
	v = k->result;
	if (val_is_none(v))
		return err_set(
			&k->err, ERR_NOENT, "the object has no revision before that transaction");
	if (v->type != VAL_TUPLE || v->n != 3 || v->items[0].type != VAL_BYTES ||
		v->items[1].type != VAL_BYTES || v->items[1].s.len != 8 ||
		!(val_is_none(&v->items[2]) ||
			(v->items[2].type == VAL_BYTES && v->items[2].s.len == 8)))
		return err_set(&k->err, ERR_FORMAT, "loadBefore() has not answered a revision");
	*ret_data = v->items[0].s;
	ret->serial = get_be64(v->items[1].s.data);
	ret->end_tid = val_is_none(&v->items[2]) ? TID_NONE : get_be64(v->items[2].s.data);
	return OK;
}

static int parse_record(struct call *k, struct slice *ret_data, struct record *ret)
{
	struct reply_head h;
	struct reply_record r;

	if (!reply_head_parse(k->reply, k->encoding, &h) ||
		!reply_record_parse(h.value, k->encoding, &r))
		return decode_record(k, ret_data, ret);
	*ret_data = r.data;
	ret->serial = r.serial;
	ret->end_tid = r.end_tid;
	return OK;
}

static void take_record(struct load *l)
{
	struct call *k = &l->call;
	struct record parsed = { 0 };
	struct slice data;
	struct record *r;

	k->rc = parse_record(k, &data, &parsed);
	if (k->rc != OK)
		return;
	r = record_new(data.len);
	if (!r) {
		k->rc = err_set(
			&k->err, ERR_NOMEM, "no memory for an object of %zu bytes", data.len);
		return;
	}
	memcpy(r->data, data.data, data.len);
	r->serial = parsed.serial;
	r->end_tid = parsed.end_tid;
	k->record = r;
	if (k->client->cache)
		cache_store(k->client->cache, l->oid, r->serial, r->end_tid, data);
}

void load_leave(struct call *k)
{
	*k->back = k->next;
	if (k->next)
		k->next->back = k->back;
	k->next = NULL;
	k->back = NULL;
}

/* To each of those who wait. L. */
static void share(struct load *l)
{
	struct record *r = l->call.record;
	struct call *k;

	while ((k = l->waiting)) {
		load_leave(k);
		k->rc = l->call.rc;
		if (k->rc != OK)
			k->err = l->call.err;
		if (r) {
			atomic_fetch_add(&r->refs, 1);
			k->record = r;
		}
		k->remote = l->call.remote;
		if (k->remote) { /* its arguments are those of the exception */
			k->encoding = l->call.encoding;
			buf_put_slice(&k->frame, l->call.reply);
			k->reply = buf_slice(&k->frame);
		}
		call_finish(k);
	}
}

/* On the thread that reads. The request is not pending any more. */
static void on_load(struct call *k)
{
	struct load *l = k->arg;

	if (k->rc == OK)
		take_record(l);
}

void load_finish(struct load *l)
{
	pending_remove_load(&l->conn->pending, l); /* nobody joins any more */
	share(l);
	call_end(&l->call);
	mem_free(l);
}

static struct load *load_new(struct conn *conn, uint64_t oid, uint64_t tid)
{
	struct load *l = mem_alloc(sizeof(*l));

	if (!l)
		return NULL;
	memset(&l->call, 0, offsetof(struct call, err));
	memset(&l->call.err + 1, 0,
		sizeof(l->call) - offsetof(struct call, err) - sizeof(struct err));
	l->call.err.code = OK;
	l->call.err.text[0] = 0;
	l->call.on_reply = on_load;
	l->call.arg = l;
	l->call.is_load = true;
	l->conn = conn;
	l->oid = oid;
	l->tid = tid;
	l->waiting = NULL;
	return l;
}

/* The one request for (@oid, @tid). L. */
static int request(struct conn *conn, uint64_t oid, uint64_t tid, struct load **ret, struct err *e)
{
	uint8_t ids[2][8];
	struct val args[2] = {
		{ .type = VAL_BYTES, .s = { ids[0], 8 } },
		{ .type = VAL_BYTES, .s = { ids[1], 8 } },
	};
	struct load *l = pending_find_load(&conn->pending, oid, tid);
	int rc;

	if (l) {
		*ret = l;
		return OK;
	}
	l = load_new(conn, oid, tid);
	if (!l)
		return err_set(e, ERR_NOMEM, "no memory to load an object");
	put_be64(ids[0], oid);
	put_be64(ids[1], tid);
	rc = conn_ask(conn, &l->call, "loadBefore", args, 2, e);
	if (rc != OK) {
		mem_free(l);
		return rc;
	}
	pending_add_load(&conn->pending, l);
	*ret = l;
	return OK;
}

/* Have @k wait for a load. L. */
static int join(
	struct conn *conn, struct call *k, uint64_t oid, uint64_t tid, bool send, struct err *e)
{
	struct load *l;
	int rc = request(conn, oid, tid, &l, e);

	if (rc != OK)
		return rc;
	k->client = conn->client;
	k->next = l->waiting;
	k->back = &l->waiting;
	if (k->next)
		k->next->back = &k->next;
	l->waiting = k;
	if (k->done)
		conn_watch(conn);
	if (send)
		conn_flush(conn);
	return OK;
}

/* L */
static int load_from_server(
	struct client *c, struct call *k, uint64_t oid, uint64_t tid, struct err *e)
{
	int rc = client_await(c, 0, e);

	if (rc == OK)
		rc = join(c->conn, k, oid, tid, true, e);
	if (rc == OK)
		rc = conn_wait(c->conn, k, e);
	return rc == OK ? call_result(k, e) : rc;
}

int client_fetch_before(
	struct client *c, uint64_t oid, uint64_t tid, struct client_record *ret, struct err *e)
{
	struct call k;
	int rc = client_enter(c, e);

	if (rc != OK)
		return rc;
	memset(&k, 0, sizeof(k));
	rc = load_from_server(c, &k, oid, tid, e);
	client_leave(c);
	if (rc == OK) {
		show(k.record, ret);
		k.record = NULL;
	}
	call_end(&k);
	return rc;
}

int client_load_before(
	struct client *c, uint64_t oid, uint64_t tid, struct client_record *ret, struct err *e)
{
	struct record *r = cached(c, oid, tid);

	if (!r)
		return client_fetch_before(c, oid, tid, ret, e);
	show(r, ret);
	return OK;
}

int client_load_begin(struct client *c, struct call *k, uint64_t oid, uint64_t tid, struct err *e)
{
	struct record *r = cached(c, oid, tid);
	int rc;

	if (r) {
		k->record = r;
		k->rc = OK;
		k->done(k);
		return OK;
	}
	rc = client_enter(c, e);
	if (rc != OK)
		return rc;
	rc = client_may_call(c, k, e);
	if (rc == OK)
		rc = join(c->conn, k, oid, tid, true, e);
	client_leave(c);
	return rc;
}

/* --- prefetch --- */

/* Requests of one go; L is given up for a while after each of them. */
enum { PREFETCH_GO = 256 };

static int prefetch_some(
	struct client *c, const uint64_t *oids, size_t n, uint64_t tid, struct err *e)
{
	struct load *unused;
	int rc = client_enter(c, e);

	if (rc != OK)
		return rc;
	rc = c->operational ? conn_drain(c->conn, e) : client_not_connected(c, e);
	if (rc == OK && !c->operational)
		rc = client_not_connected(c, e);
	for (size_t i = 0; i < n && rc == OK; i++)
		rc = request(c->conn, oids[i], tid, &unused, e);
	if (c->operational) {
		conn_watch(c->conn);
		conn_flush(c->conn);
	}
	client_leave(c);
	return rc;
}

int client_prefetch(struct client *c, const uint64_t *oids, size_t n, uint64_t tid, struct err *e)
{
	uint64_t missing[PREFETCH_GO];
	size_t n_missing = 0;
	int rc = OK;

	for (size_t i = 0; i <= n && rc == OK; i++) {
		if (n_missing == PREFETCH_GO || (i == n && n_missing)) {
			rc = prefetch_some(c, missing, n_missing, tid, e);
			n_missing = 0;
		}
		if (i < n && !(c->cache && cache_has(c->cache, oids[i], tid)))
			missing[n_missing++] = oids[i];
	}
	return rc;
}
