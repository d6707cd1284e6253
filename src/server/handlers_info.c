/* Methods about the connection and the storage: docs/protocol.md */
#include <stdio.h>
#include <stdlib.h>

#include "base/bigendian.h"
#include "base/log.h"
#include "base/mem.h"
#include "codec/utf8.h"
#include "server/dispatch.h"
#include "server/hub.h"
#include "server/server.h"

/* R2: from here on invalidations are queued for the session, and the tid it is told is the
 * one up to which nothing is. Both happen within one step of the hub. */
static void join_storage(struct session *s, struct hub_storage *hs)
{
	s->hs = hs;
	s->state = SESSION_REGISTERED;
	hub_add_session(hs, s);
	atomic_fetch_add(&hs->ss->stats.connections, 1);
}

void handle_register(const struct request *r, const struct args *a)
{
	struct session *s = r->session;
	struct server *server = s->hub->server;
	struct server_storage *ss;
	struct slice id;
	bool read_only;

	if (s->state == SESSION_REGISTERED) {
		reply_error_text(r, EXC_VALUE_ERROR, "duplicate register() call");
		return;
	}
	if (!arg_str(r, a, 0, &id) || !arg_bool(r, a, 1, &read_only))
		return;
	ss = server_find(server, id);
	if (!ss) {
		reply_error_text(r, EXC_VALUE_ERROR, "unknown storage: %.*s",
			id.len > 200 ? 200 : (int)id.len, (const char *)id.data);
		return;
	}
	if (!read_only && (s->read_only || ss->storage->read_only)) {
		reply_read_only(r);
		return;
	}
	s->read_only |= read_only;
	join_storage(s, &s->hub->storages[ss - server->storages]);
	log_emit(LOG_INFO, SERVER_LOGGER, "(%s) connected to storage '%s'%s", s->label, ss->id,
		s->read_only ? ", read-only" : "");
	reply_id(r, s->hs->applied);
}

static void put_key(struct enc *en, const char *key)
{
	enc_str(en, slice_str(key));
}

static void write_interfaces(struct enc *en, const char *const *names)
{
	uint32_t n = 0;

	while (names[n])
		n += 2;
	enc_tuple(en, n / 2);
	for (uint32_t i = 0; i < n; i += 2) {
		enc_tuple(en, 2);
		put_key(en, names[i]);
		put_key(en, names[i + 1]);
		enc_end(en);
	}
	enc_end(en);
}

void handle_get_info(const struct request *r, const struct args *a)
{
	struct storage *st = r->session->hs->ss->storage;
	struct storage_info info;
	struct reply rep;
	struct enc *en = &rep.w.enc;

	(void)a;
	if (!reply_begin(&rep, r))
		return;
	st->ops->info(st, &info);
	enc_dict(en, 6);
	put_key(en, "length");
	enc_int(en, (int64_t)info.length);
	put_key(en, "size");
	enc_int(en, (int64_t)info.size);
	put_key(en, "name");
	put_key(en, st->name);
	put_key(en, "supportsUndo");
	enc_bool(en, info.supports_undo);
	put_key(en, "supports_record_iternext");
	enc_bool(en, info.supports_record_iternext);
	put_key(en, "interfaces");
	write_interfaces(en, info.interfaces);
	enc_end(en);
	reply_send(&rep);
}

void handle_last_transaction(const struct request *r, const struct args *a)
{
	(void)a;
	reply_id(r, r->session->hs->applied);
}

struct oid_list {
	uint64_t *oids;
	size_t n;
	size_t room;
	bool failed;
};

static void add_oid(void *ctx, uint64_t oid)
{
	struct oid_list *l = ctx;

	if (l->n == l->room) {
		size_t room = l->room ? l->room * 2 : 256;
		uint64_t *oids = l->failed ? NULL : mem_realloc(l->oids, room * sizeof(*oids));

		if (!oids) {
			l->failed = true;
			return;
		}
		l->oids = oids;
		l->room = room;
	}
	l->oids[l->n++] = oid;
}

static int by_value(const void *a, const void *b)
{
	uint64_t x = *(const uint64_t *)a;
	uint64_t y = *(const uint64_t *)b;

	return x < y ? -1 : x > y;
}

static void make_unique(struct oid_list *l)
{
	size_t used = 0;

	if (l->n)
		qsort(l->oids, l->n, sizeof(l->oids[0]), by_value);
	for (size_t i = 0; i < l->n; i++)
		if (used == 0 || l->oids[used - 1] != l->oids[i])
			l->oids[used++] = l->oids[i];
	l->n = used;
}

/* One under way: the storage lists what the kept publications do not reach back to. */
struct changes_op {
	struct changes_req req;
	struct request request;
};

static void answer_invalidations(const struct request *r, uint64_t last, struct oid_list *l)
{
	struct reply rep;

	make_unique(l);
	log_emit(LOG_INFO, SERVER_LOGGER, "(%s) Return %zu invalidations up to tid %llu",
		r->session->label, l->n, (unsigned long long)last);
	if (!reply_begin(&rep, r))
		return;
	enc_tuple(&rep.w.enc, 2);
	enc_id(&rep.w.enc, last);
	enc_list(&rep.w.enc, (uint32_t)l->n);
	for (size_t i = 0; i < l->n; i++)
		enc_id(&rep.w.enc, l->oids[i]);
	enc_end(&rep.w.enc);
	enc_end(&rep.w.enc);
	reply_send(&rep);
}

/* What was published while the storage was looking belongs to the answer, too (R2): all up to the tid
 * that is applied now. False: ask again. */
static bool add_published(struct changes_req *q, struct hub_storage *hs, struct oid_list *l)
{
	uint64_t last;

	*l = (struct oid_list){ .oids = q->oids, .n = q->n_oids, .room = q->n_oids };
	q->oids = NULL;
	return q->applied == hs->applied ||
	       (pubchain_since(hs->ss->storage->pubs, &hs->cursor, q->applied, add_oid, l, &last) &&
		       !l->failed);
}

static void changes_done(struct changes_req *q)
{
	struct changes_op *op = CONTAINER_OF(q, struct changes_op, req);
	struct session *s = op->request.session;
	struct hub_storage *hs = s->hs;
	struct oid_list l = { 0 };

	if (session_alive(s) && q->rc == OK && !add_published(q, hs, &l)) {
		mem_free(l.oids);
		q->applied = hs->applied;
		hs->ss->storage->ops->changes(hs->ss->storage, q);
		return;
	}
	if (session_alive(s) && q->rc == OK) {
		answer_invalidations(&op->request, hs->applied, &l);
	} else if (session_alive(s)) {
		log_emit(LOG_WARNING, SERVER_LOGGER, "(%s) cannot list invalidations: %s", s->label,
			q->err.text);
		reply_none(&op->request); /* the client then drops its cache */
	}
	mem_free(l.oids);
	mem_free(q->oids);
	mem_free(op);
	session_load_ended(s);
}

static void ask_changes(const struct request *r, uint64_t tid)
{
	struct session *s = r->session;
	struct storage *st = s->hs->ss->storage;
	struct changes_op *op = mem_zalloc(1, sizeof(*op));

	if (!op) {
		session_fail(s, "no memory for a request");
		return;
	}
	op->request = *r;
	op->req.exec = s->hub->exec;
	op->req.done = changes_done;
	op->req.tid = tid;
	op->req.applied = s->hs->applied;
	session_load_started(s);
	st->ops->changes(st, &op->req);
}

/* Does invalidation-age reach back so far, and has the storage what it needs? */
static bool is_within_age(const struct session *s, uint64_t tid)
{
	double age = (double)clock_wall_us(s->hub->clock) / 1e6 - tid_to_time(tid);
	uint64_t limit_us = s->hub->server->options.invalidation_age_us;

	return (s->hs->ss->storage->lists_changes ||
		       (limit_us != 0 && (double)limit_us / 1e6 > age)) &&
	       tid < s->hs->applied && s->hs->ss->storage->ops->changes;
}

static void log_too_old(struct pubchain *c, uint64_t tid)
{
	uint64_t oldest;

	pthread_mutex_lock(&c->lock);
	oldest = c->oldest->tid;
	pthread_mutex_unlock(&c->lock);
	if (oldest == TID_NONE)
		log_emit(LOG_INFO, SERVER_LOGGER, "invq empty");
	else
		log_emit(LOG_INFO, SERVER_LOGGER, "tid to old for invq %llu < %llu",
			(unsigned long long)tid, (unsigned long long)oldest);
}

void handle_get_invalidations(const struct request *r, const struct args *a)
{
	struct hub_storage *hs = r->session->hs;
	struct pubchain *pubs = hs->ss->storage->pubs;
	struct oid_list l = { 0 };
	uint64_t last = TID_NONE;
	uint64_t tid;

	if (!arg_id(r, a, 0, &tid))
		return;
	if (pubchain_since(pubs, &hs->cursor, tid, add_oid, &l, &last)) {
		if (l.failed)
			reply_none(r); /* the client then drops its cache */
		else
			answer_invalidations(r, last, &l);
	} else if (is_within_age(r->session, tid)) {
		ask_changes(r, tid);
	} else {
		log_too_old(pubs, tid);
		reply_none(r);
	}
	mem_free(l.oids);
}

/* Asking for them. */
struct oids_op {
	struct oids_req req;
	struct request request;
	bool single;
};

static void answer_oids(const struct request *r, const uint64_t *oids, uint32_t n)
{
	struct reply rep;

	if (!reply_begin(&rep, r))
		return;
	enc_list(&rep.w.enc, n);
	for (uint32_t i = 0; i < n; i++)
		enc_id(&rep.w.enc, oids[i]);
	enc_end(&rep.w.enc);
	reply_send(&rep);
}

static void oids_done(struct oids_req *q)
{
	struct oids_op *op = CONTAINER_OF(q, struct oids_op, req);
	struct session *s = op->request.session;

	if (session_alive(s)) {
		if (q->rc != OK)
			reply_failed(&op->request, q->rc, &q->err, OID_ROOT, q->raised);
		else if (op->single)
			reply_id(&op->request, q->oids[0]);
		else
			answer_oids(&op->request, q->oids, q->n);
	}
	mem_free(op);
	session_load_ended(s);
}

static void ask_oids(const struct request *r, uint32_t n, bool single)
{
	struct session *s = r->session;
	struct storage *st = s->hs->ss->storage;
	struct oids_op *op = mem_zalloc(1, sizeof(*op));

	if (!op) {
		session_fail(s, "no memory for a request");
		return;
	}
	op->request = *r;
	op->single = single;
	op->req.exec = s->hub->exec;
	op->req.done = oids_done;
	op->req.n = n;
	session_load_started(s);
	st->ops->ask_oids(st, &op->req);
}

enum { OIDS_USUAL = 100 }; /* as Python's server, which never gives more */

void handle_new_oids(const struct request *r, const struct args *a)
{
	struct storage *st = r->session->hs->ss->storage;
	uint64_t oids[STORAGE_OIDS_MAX];
	int64_t n = OIDS_USUAL;
	uint64_t first;

	if (a->n > 0 && !arg_int(r, a, 0, &n))
		return;
	n = n > STORAGE_OIDS_MAX ? STORAGE_OIDS_MAX : n < 1 ? 1 : n;
	if (st->ops->ask_oids) {
		ask_oids(r, (uint32_t)n, false);
		return;
	}
	first = st->ops->new_oids(st, (uint32_t)n);
	for (int64_t i = 0; i < n; i++)
		oids[i] = first + (uint64_t)i;
	answer_oids(r, oids, (uint32_t)n);
}

void handle_new_oid(const struct request *r, const struct args *a)
{
	struct storage *st = r->session->hs->ss->storage;

	(void)a;
	if (st->ops->ask_oids)
		ask_oids(r, 1, true);
	else
		reply_id(r, st->ops->new_oids(st, 1));
}

void handle_server_status(const struct request *r, const struct args *a)
{
	struct hub_storage *hs = r->session->hs;
	struct reply rep;

	(void)a;
	if (!reply_begin(&rep, r))
		return;
	server_status_write(r->session->hub->server, hs->ss, hs->applied, &rep.w.enc);
	reply_send(&rep);
}

enum { LABEL_MAX = 80 };

/* At most LABEL_MAX bytes of text: the log and the monitor show it. */
static struct slice clean_label(struct slice label, char room[LABEL_MAX])
{
	size_t n = label.len < LABEL_MAX ? label.len : LABEL_MAX;

	while (n < label.len && n > 0 && (label.data[n] & 0xc0) == 0x80)
		n--; /* not in the middle of a character */
	for (size_t i = 0; i < n; i++)
		room[i] = (char)(label.data[i] < 0x20 ? '?' : label.data[i]);
	if (!utf8_ok(slice_of(room, n), false))
		for (size_t i = 0; i < n; i++)
			room[i] = (char)(label.data[i] < 0x20 || label.data[i] > 0x7e
						 ? '?'
						 : label.data[i]);
	return slice_of(room, n);
}

void handle_set_client_label(const struct request *r, const struct args *a)
{
	struct session *s = r->session;
	char room[LABEL_MAX];
	struct slice label;

	if (!arg_str(r, a, 0, &label))
		return;
	label = clean_label(label, room);
	snprintf(s->label, sizeof(s->label), "%.*s %s", (int)label.len, (const char *)label.data,
		s->peer);
	reply_none(r);
}

struct sync_op {
	struct sync_req req;
	struct request request;
};

static void sync_done(struct sync_req *q)
{
	struct sync_op *op = CONTAINER_OF(q, struct sync_op, req);
	struct session *s = op->request.session;

	if (session_alive(s))
		hub_catch_up(s->hub);
	if (session_alive(s)) {
		if (q->rc != OK)
			reply_failed(&op->request, q->rc, &q->err, OID_ROOT, q->raised);
		else
			reply_none(&op->request);
	}
	mem_free(op);
	session_load_ended(s);
}

/* Answers after the invalidations of all that was acknowledged before it was sent (T65): what was
 * published is taken before input is handled. */
void handle_ping(const struct request *r, const struct args *a)
{
	struct session *s = r->session;
	struct storage *st = s->hs->ss->storage;
	struct sync_op *op;

	(void)a;
	if (!st->ops->sync) {
		reply_none(r);
		return;
	}
	op = mem_zalloc(1, sizeof(*op));
	if (!op) {
		session_fail(s, "no memory for a request");
		return;
	}
	op->request = *r;
	op->req.exec = s->hub->exec;
	op->req.done = sync_done;
	session_load_started(s);
	st->ops->sync(st, &op->req);
}
