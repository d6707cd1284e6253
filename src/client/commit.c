#include "client/commit.h"

#include <stdlib.h>
#include <string.h>

#include "base/bigendian.h"
#include "base/mem.h"
#include "client/conn.h"
#include "client/remote.h"
#include "client/written.h"
#include "codec/pickle.h"

enum { VOTES_MAX = 9 }; /* as ZEO: conflicts may come anew, but not for ever */

struct client_txn {
	struct client *client;
	struct conn *conn; /* counted; not to be used when it is dead */
	uint64_t generation;
	uint64_t id;
	struct written written;
	struct call vote;
	struct client_conflict *conflicts;
	size_t n_conflicts;
	uint64_t *resolved; /* by the server or here, undone */
	size_t n_resolved;
	/* of the finish */
	struct call finish;
	void (*told)(void *arg, uint64_t tid);
	void *told_arg;
	uint64_t tid;
};

/* --- values of messages --- */

static struct val bytes_of(uint8_t room[8], uint64_t id)
{
	put_be64(room, id);
	return (struct val){ .type = VAL_BYTES, .s = { room, 8 } };
}

static struct val data_of(struct slice data, bool has_data)
{
	if (!has_data)
		return (struct val){ .type = VAL_NONE };
	return (struct val){ .type = VAL_BYTES, .s = data };
}

static struct val int_of(uint64_t i)
{
	return (struct val){ .type = VAL_INT, .i = (int64_t)i };
}

static struct val str_of(struct slice s)
{
	return (struct val){ .type = VAL_STR, .s = s };
}

/* --- begin and end --- */

static void txn_free(struct client_txn *t)
{
	struct client *c = t->client;
	struct buf room =
		written_fini(&t->written); /* without the lock: a file that is closed takes time */

	call_end(&t->vote);
	call_end(&t->finish);
	mem_free(t->conflicts);
	mem_free(t->resolved);
	if (client_check_fork(c, NULL) == OK) {
		pthread_mutex_lock(&c->lock);
		if (t->conn)
			conn_unref(t->conn);
		c->txn_room = room;
		c->txn_open = false;
		pthread_cond_broadcast(&c->changed);
		pthread_mutex_unlock(&c->lock);
	} else {
		buf_free(&room);
	}
	mem_free(t);
}

/* The one place for a transaction. L */
static int take_place(struct client *c, struct err *e)
{
	int rc = OK;

	while (c->txn_open && !c->closing && rc == OK)
		rc = client_wait_change(c, NULL, e);
	if (rc)
		return rc;
	if (c->closing)
		return client_not_connected(c, e);
	if (c->read_only_now)
		return err_set(e, ERR_READONLY, "the storage is read-only");
	if (!c->operational)
		return client_not_connected(c, e);
	c->txn_open = true;
	return OK;
}

/* L */
static int say_begin(struct client_txn *t, struct slice user, struct slice desc,
	const struct val *ext, uint64_t tid, char status, struct err *e)
{
	static const struct val no_extension = { .type = VAL_DICT };
	uint8_t room[8];
	struct val args[6] = {
		int_of(t->id),
		str_of(user),
		str_of(desc),
		ext ? *ext : no_extension,
		tid == TID_NONE ? (struct val){ .type = VAL_NONE } : bytes_of(room, tid),
		str_of(slice_of(&status, 1)),
	};

	return conn_say(t->conn, "tpc_begin", args, 6, e);
}

int client_txn_begin(struct client *c, struct slice user, struct slice desc, const struct val *ext,
	uint64_t tid, char status, struct client_txn **ret, struct err *e)
{
	struct client_txn *t;
	int rc = client_enter(c, e);

	if (rc != OK)
		return rc;
	rc = take_place(c, e);
	if (rc != OK) {
		client_leave(c);
		return rc;
	}
	t = mem_zalloc(1, sizeof(*t));
	if (!t) {
		c->txn_open = false;
		pthread_cond_broadcast(&c->changed);
		client_leave(c);
		return err_set(e, ERR_NOMEM, "no memory for a transaction");
	}
	t->client = c;
	t->conn = c->conn;
	conn_ref(t->conn);
	t->generation = client_generation(c);
	t->id = ++c->txn_ids;
	written_init(&t->written, &c->txn_room);
	rc = say_begin(t, user, desc, ext, tid, status, e);
	client_leave(c);
	if (rc == OK)
		*ret = t;
	else
		txn_free(t);
	return rc;
}

uint64_t client_txn_generation(const struct client_txn *t)
{
	return t->generation;
}

/* --- what belongs to it --- */

/* Takes the lock. */
static int enter(struct client_txn *t, struct err *e)
{
	int rc = client_enter(t->client, e);

	if (rc != OK)
		return rc;
	if (!t->conn->dead)
		return OK;
	client_leave(t->client);
	return err_set(e, ERR_CLOSED, "the connection was lost in the middle of a transaction");
}

static int say(struct client_txn *t, const char *method, const struct val *args, uint32_t n_args,
	struct err *e)
{
	struct client *c = t->client;
	int rc = enter(t, e);

	if (rc != OK)
		return rc;
	rc = conn_drain(t->conn, e);
	if (rc == OK)
		rc = conn_say(t->conn, method, args, n_args, e);
	if (rc == OK && conn_unsent(t->conn) >= CLIENT_OUT_HOLD)
		conn_flush(t->conn);
	client_leave(c);
	return rc;
}

int client_txn_store(
	struct client_txn *t, uint64_t oid, uint64_t serial, struct slice data, struct err *e)
{
	uint8_t ids[2][8];
	struct val args[4] = { bytes_of(ids[0], oid), bytes_of(ids[1], serial),
		data_of(data, data.data != NULL), int_of(t->id) };
	int rc = say(t, "storea", args, 4, e);

	return rc == OK ? written_add(&t->written, oid, data, data.data && t->client->cache, e)
			: rc;
}

int client_txn_check(struct client_txn *t, uint64_t oid, uint64_t serial, struct err *e)
{
	uint8_t ids[2][8];
	struct val args[3] = { bytes_of(ids[0], oid), bytes_of(ids[1], serial), int_of(t->id) };

	return say(t, "checkCurrentSerialInTransaction", args, 3, e);
}

int client_txn_delete(struct client_txn *t, uint64_t oid, uint64_t serial, struct err *e)
{
	uint8_t ids[2][8];
	struct val args[3] = { bytes_of(ids[0], oid), bytes_of(ids[1], serial), int_of(t->id) };
	int rc = say(t, "deleteObject", args, 3, e);

	return rc == OK ? written_add(&t->written, oid, slice_of(NULL, 0), false, e) : rc;
}

int client_txn_restore(struct client_txn *t, uint64_t oid, uint64_t serial, struct slice data,
	bool has_data, uint64_t prev_txn, struct err *e)
{
	uint8_t ids[3][8];
	struct val args[5] = { bytes_of(ids[0], oid), bytes_of(ids[1], serial),
		data_of(data, has_data),
		prev_txn == TID_NONE ? (struct val){ .type = VAL_NONE }
				     : bytes_of(ids[2], prev_txn),
		int_of(t->id) };
	int rc = say(t, "restorea", args, 5, e);

	/* the cache has not to know it, as in ZEO: its serial need not be the transaction's */
	return rc == OK ? written_add(&t->written, oid, slice_of(NULL, 0), false, e) : rc;
}

/* base64, as undoLog() has it: 12 characters for 8 bytes. */
static void put_base64(char out[12], const uint8_t in[8])
{
	static const char digits[] =
		"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
	uint8_t nine[9] = { 0 };

	memcpy(nine, in, 8);
	for (int i = 0; i < 12; i++) {
		uint32_t three = (uint32_t)nine[i / 4 * 3] << 16 | nine[i / 4 * 3 + 1] << 8 |
				 nine[i / 4 * 3 + 2];

		out[i] = digits[three >> (18 - i % 4 * 6) & 63];
	}
	out[11] = '=';
}

int client_txn_undo(struct client_txn *t, uint64_t tid, struct err *e)
{
	uint8_t id[8];
	char text[12];
	struct val args[2] = { { .type = VAL_BYTES }, int_of(t->id) };

	put_be64(id, tid);
	put_base64(text, id);
	args[0].s = slice_of(text, sizeof(text));
	return say(t, "undoa", args, 2, e);
}

int client_txn_cast(struct client_txn *t, const char *method, const struct val *args,
	uint32_t n_args, bool with_id, struct err *e)
{
	struct val all[9];

	if (!with_id)
		return say(t, method, args, n_args, e);
	if (n_args >= ARRAY_LEN(all))
		return err_set(e, ERR_INVAL, "%s() with %u arguments", method, n_args);
	if (n_args)
		memcpy(all, args, n_args * sizeof(*args));
	all[n_args] = int_of(t->id);
	return say(t, method, all, n_args + 1, e);
}

/* --- calls that are waited for --- */

static void note_failure(struct call *k, struct client_failure *failure)
{
	struct err unused;

	if (!failure)
		return;
	failure->class_name[0] = 0;
	failure->reply = (struct buf)BUF_INIT(0);
	failure->encoding = k->encoding;
	if (!k->remote || call_decode(k, &unused) != OK)
		return;
	remote_class(k->result, failure->class_name, sizeof(failure->class_name));
	buf_put_slice(&failure->reply, k->reply);
}

/* @k's answer is there, or an error in @e that is noted in @failure, too.
 * @last  the transaction is over whatever happens: a server that could not be told learns it from the connection's end */
static int call(struct client_txn *t, struct call *k, const char *method, bool last, struct err *e)
{
	struct client *c = t->client;
	struct val id = int_of(t->id);
	int rc = enter(t, e);

	if (rc != OK)
		return rc;
	rc = client_may_wait(c, e);
	if (rc == OK)
		rc = conn_ask(t->conn, k, method, &id, 1, e);
	if (rc == OK) {
		conn_flush(t->conn);
		rc = conn_wait(t->conn, k, e);
		if (rc == OK)
			rc = call_result(k, e);
	} else if (last) {
		conn_kill(t->conn, rc, "%s() could not be sent: %s", method,
			e ? e->text : err_name(rc));
	}
	client_leave(c);
	return rc;
}

/* --- vote --- */

/* A conflict that should not have been: the cached state is doubtful, as in ZEO's client. On the thread that reads. */
static void on_vote(struct call *k)
{
	struct err unused;
	uint64_t oid;

	if (k->rc != ERR_CONFLICT || !k->client->cache || call_decode(k, &unused) != OK)
		return;
	oid = remote_oid(k->result);
	if (oid != OID_NONE)
		cache_invalidate(k->client->cache, oid, TID_NONE);
}

static int add_resolved(struct client_txn *t, uint64_t oid, struct err *e)
{
	uint64_t *oids;

	for (size_t i = 0; i < t->n_resolved; i++)
		if (t->resolved[i] == oid)
			return OK;
	oids = mem_realloc(t->resolved, (t->n_resolved + 1) * sizeof(*oids));
	if (!oids)
		return err_set(e, ERR_NOMEM, "no memory for resolved conflicts");
	t->resolved = oids;
	oids[t->n_resolved++] = oid;
	written_forget_data(&t->written, oid);
	return OK;
}

static bool is_id(const struct val *v)
{
	return v && v->type == VAL_BYTES && v->s.len == 8;
}

static int take_conflict(const struct val *v, struct client_conflict *ret, struct err *e)
{
	const struct val *oid = val_get(v, "oid");
	const struct val *serials = val_get(v, "serials");
	const struct val *data = val_get(v, "data");

	if (!is_id(oid) || !serials || (serials->type != VAL_TUPLE && serials->type != VAL_LIST) ||
		serials->n != 2 || !is_id(&serials->items[0]) || !is_id(&serials->items[1]) ||
		!data || data->type != VAL_BYTES)
		return err_set(e, ERR_FORMAT, "a conflict without oid, serials or data");
	ret->oid = get_be64(oid->s.data);
	ret->committed_serial = get_be64(serials->items[0].s.data);
	ret->old_serial = get_be64(serials->items[1].s.data);
	ret->data = data->s;
	return OK;
}

static int by_value(const void *a, const void *b)
{
	uint64_t x = *(const uint64_t *)a;
	uint64_t y = *(const uint64_t *)b;

	return x < y ? -1 : x > y;
}

static int make_room_for_resolved(struct client_txn *t, size_t n, struct err *e)
{
	uint64_t *oids = mem_realloc(t->resolved, (t->n_resolved + n + 1) * sizeof(*oids));

	if (!oids)
		return err_set(e, ERR_NOMEM, "no memory for resolved conflicts");
	t->resolved = oids;
	return OK;
}

/* Many may have come, of an undo: each is there once, and what was stored of it is not what it is. */
static void settle_resolved(struct client_txn *t)
{
	size_t n = 0;

	if (!t->n_resolved)
		return;
	qsort(t->resolved, t->n_resolved, sizeof(t->resolved[0]), by_value);
	for (size_t i = 0; i < t->n_resolved; i++)
		if (n == 0 || t->resolved[n - 1] != t->resolved[i])
			t->resolved[n++] = t->resolved[i];
	t->n_resolved = n;
	for (size_t i = 0; i < t->written.n; i++)
		if (bsearch(&t->written.recs[i].oid, t->resolved, n, sizeof(t->resolved[0]),
			    by_value))
			t->written.recs[i].has_data = false;
}

static int take_votes(struct client_txn *t, const struct val *v, struct err *e)
{
	int rc;

	if (val_is_none(v))
		return OK;
	if (v->type != VAL_LIST && v->type != VAL_TUPLE)
		return err_set(e, ERR_FORMAT, "vote() has not answered a list");
	t->conflicts = mem_zalloc(v->n, sizeof(*t->conflicts));
	if (!t->conflicts)
		return err_set(e, ERR_NOMEM, "no memory for conflicts");
	rc = make_room_for_resolved(t, v->n, e);
	for (uint32_t i = 0; i < v->n && rc == OK; i++) {
		const struct val *item = &v->items[i];

		if (item->type == VAL_DICT)
			rc = take_conflict(item, &t->conflicts[t->n_conflicts++], e);
		else if (is_id(item))
			t->resolved[t->n_resolved++] = get_be64(item->s.data);
		else
			rc = err_set(e, ERR_FORMAT, "vote() has answered neither oid nor conflict");
	}
	settle_resolved(t);
	return rc;
}

int client_txn_vote(struct client_txn *t, const struct client_conflict **ret_conflicts,
	size_t *ret_n, struct client_failure *failure, struct err *e)
{
	int rc;

	call_end(&t->vote);
	mem_free(t->conflicts);
	t->conflicts = NULL;
	t->n_conflicts = 0;
	t->vote = (struct call){ .on_reply = on_vote };
	rc = call(t, &t->vote, "vote", false, e);
	note_failure(&t->vote, failure);
	if (rc == OK)
		rc = call_decode(&t->vote, e);
	if (rc == OK)
		rc = take_votes(t, t->vote.result, e);
	if (rc != OK)
		return rc;
	*ret_conflicts = t->conflicts;
	*ret_n = t->n_conflicts;
	return OK;
}

int client_txn_resolve(struct client_txn *t, const struct client_conflict *conflict,
	struct slice data, struct err *e)
{
	uint8_t ids[2][8];
	struct val args[4] = { bytes_of(ids[0], conflict->oid),
		bytes_of(ids[1], conflict->committed_serial), data_of(data, true), int_of(t->id) };
	int rc = say(t, "storea", args, 4, e);

	return rc == OK ? add_resolved(t, conflict->oid, e) : rc;
}

void client_txn_resolved(const struct client_txn *t, const uint64_t **ret, size_t *ret_n)
{
	*ret = t->resolved;
	*ret_n = t->n_resolved;
}

/* --- resolving --- */

static int load_serial(struct client *c, struct call *k, uint64_t oid, uint64_t serial,
	struct slice *ret, struct err *e)
{
	uint8_t ids[2][8];
	struct val args[2] = { bytes_of(ids[0], oid), bytes_of(ids[1], serial) };
	int rc = client_call(c, k, "loadSerial", args, 2, 0, e);

	if (rc != OK && k->remote) /* packed away, say: then it stays a conflict, as in ZODB */
		return err_set(e, ERR_CONFLICT,
			"object 0x%llx was changed meanwhile, and a state to merge is not there: "
			"%s",
			(unsigned long long)oid, k->err.text);
	if (rc == OK)
		rc = call_decode(k, e);
	if (rc == OK && k->result->type != VAL_BYTES)
		rc = err_set(e, ERR_FORMAT, "loadSerial() has not answered data");
	if (rc == OK)
		*ret = k->result->s;
	return rc;
}

static int resolve(struct client_txn *t, struct resolver *r, const struct client_conflict *conflict,
	struct err *e)
{
	struct resolve_req q = {
		.oid = conflict->oid,
		.committed_serial = conflict->committed_serial,
		.old_serial = conflict->old_serial,
		.changed = conflict->data,
	};
	struct call old = { 0 }, committed = { 0 };
	struct buf merged = BUF_INIT(0);
	int rc = load_serial(t->client, &old, q.oid, q.old_serial, &q.old, e);

	if (rc == OK)
		rc = load_serial(t->client, &committed, q.oid, q.committed_serial, &q.committed, e);
	if (rc == OK)
		rc = r->resolve(r, &q, &merged, e);
	if (rc == OK && merged.len == 0)
		rc = err_set(e, ERR_CONFLICT, "a conflict was resolved into a record of no bytes");
	if (rc == OK)
		rc = client_txn_resolve(t, conflict, buf_slice(&merged), e);
	buf_free(&merged);
	call_end(&old);
	call_end(&committed);
	return rc;
}

int client_txn_vote_resolving(
	struct client_txn *t, struct resolver *r, struct client_failure *failure, struct err *e)
{
	const struct client_conflict *conflicts;
	size_t n;
	int rc;

	for (int votes = 0; votes < VOTES_MAX; votes++) {
		rc = client_txn_vote(t, &conflicts, &n, failure, e);
		if (rc != OK || n == 0)
			return rc;
		for (size_t i = 0; i < n && rc == OK; i++)
			rc = resolve(t, r, &conflicts[i], e);
		if (rc != OK)
			return rc;
	}
	return err_set(e, ERR_CONFLICT, "conflicts came anew after %d votes", VOTES_MAX);
}

/* --- finish --- */

/* An answer that comes behind the invalidation of a later transaction breaks R3, as Python's server can (T45): what
 * is committed is committed, but nobody knows what is current. */
static void forget_in_cache(struct client_txn *t)
{
	for (size_t i = 0; i < t->n_resolved; i++)
		cache_invalidate(t->client->cache, t->resolved[i], TID_NONE);
	for (size_t i = 0; i < t->written.n; i++)
		cache_invalidate(t->client->cache, t->written.recs[i].oid, TID_NONE);
}

static void to_cache(struct client_txn *t)
{
	struct cache *cache = t->client->cache;
	struct buf room = BUF_INIT(0);
	struct slice data;

	for (size_t i = 0; i < t->n_resolved; i++)
		cache_invalidate(cache, t->resolved[i], t->tid);
	for (size_t i = 0; i < t->written.n; i++)
		cache_invalidate(cache, t->written.recs[i].oid, t->tid);
	for (size_t i = t->written.n; i-- > 0;) { /* the first of two of an object is passed over */
		const struct written_rec *r = &t->written.recs[i];

		if (r->has_data && written_data(&t->written, r, &room, &data))
			cache_store(cache, r->oid, t->tid, TID_NONE, data);
	}
	buf_free(&room);
}

/* At its place in the stream, on the thread that reads: R3. */
static void on_finish(struct call *k)
{
	struct client_txn *t = k->arg;
	struct client *c = k->client;
	uint64_t last;

	if (k->rc == OK)
		k->rc = call_decode(k, &k->err);
	if (k->rc == OK && !is_id(k->result))
		k->rc = err_set(&k->err, ERR_FORMAT, "tpc_finish() has not answered a tid");
	if (k->rc != OK) { /* what is cached is doubtful: a new connection is verified anew */
		pthread_mutex_lock(&c->lock);
		conn_kill(t->conn, ERR_CLOSED, "tpc_finish() failed: %s", k->err.text);
		pthread_mutex_unlock(&c->lock);
		return;
	}
	t->tid = get_be64(k->result->s.data);
	last = atomic_load(&c->last_tid);
	if (c->cache && t->tid > last)
		to_cache(t);
	else if (c->cache)
		forget_in_cache(t);
	last = t->tid > last ? t->tid : last; /* T5 */
	if (t->told) {
		client_show_tid(c, last);
		t->told(t->told_arg, t->tid);
		client_show_tid(NULL, TID_NONE);
	}
	client_set_last_tid(c, last);
}

int client_txn_finish(struct client_txn *t, void (*told)(void *arg, uint64_t tid), void *arg,
	uint64_t *ret_tid, struct client_failure *failure, struct err *e)
{
	int rc;

	t->told = told;
	t->told_arg = arg;
	t->finish = (struct call){
		.on_reply = on_finish,
		.arg = t,
		.to_the_end = true,
		.to_cache = t->written.n,
		.to_cache_bytes = written_bytes(&t->written),
	};
	rc = call(t, &t->finish, "tpc_finish", true, e);
	note_failure(&t->finish, failure);
	if (rc == OK)
		*ret_tid = t->tid;
	txn_free(t);
	return rc;
}

void client_txn_abort(struct client_txn *t, uint32_t timeout_ms)
{
	struct client *c;
	struct call k = { 0 };
	struct err unused;

	if (!t)
		return;
	c = t->client;
	/* A new connection is waited for, as in ZEO: whoever tries again then succeeds at once. */
	if (client_enter(c, &unused) == OK) {
		(void)!client_await(c, timeout_ms, &unused);
		client_leave(c);
	}
	(void)!call(t, &k, "tpc_abort", true, &unused);
	call_end(&k);
	txn_free(t);
}
