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
	s->storage_prev = NULL;
	s->storage_next = hs->sessions;
	if (hs->sessions)
		hs->sessions->storage_prev = s;
	hs->sessions = s;
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

void handle_get_invalidations(const struct request *r, const struct args *a)
{
	struct hub_storage *hs = r->session->hs;
	struct oid_list l = { 0 };
	uint64_t last = TID_NONE;
	struct reply rep;
	uint64_t tid;
	bool reaches;

	if (!arg_id(r, a, 0, &tid))
		return;
	reaches = pubchain_since(hs->ss->storage->pubs, &hs->cursor, tid, add_oid, &l, &last);
	if (!reaches || l.failed) {
		reply_none(r); /* the client then verifies its whole cache */
	} else if (reply_begin(&rep, r)) {
		make_unique(&l);
		enc_tuple(&rep.w.enc, 2);
		enc_id(&rep.w.enc, last);
		enc_list(&rep.w.enc, (uint32_t)l.n);
		for (size_t i = 0; i < l.n; i++)
			enc_id(&rep.w.enc, l.oids[i]);
		enc_end(&rep.w.enc);
		enc_end(&rep.w.enc);
		reply_send(&rep);
	}
	mem_free(l.oids);
}

enum { NEW_OIDS_MAX = 100 };

void handle_new_oids(const struct request *r, const struct args *a)
{
	struct storage *st = r->session->hs->ss->storage;
	int64_t n = NEW_OIDS_MAX;
	struct reply rep;
	uint64_t first;

	if (a->n > 0 && !arg_int(r, a, 0, &n))
		return;
	n = n > NEW_OIDS_MAX ? NEW_OIDS_MAX : n < 1 ? 1 : n;
	if (!reply_begin(&rep, r))
		return;
	first = st->ops->new_oids(st, (uint32_t)n);
	enc_list(&rep.w.enc, (uint32_t)n);
	for (int64_t i = 0; i < n; i++)
		enc_id(&rep.w.enc, first + (uint64_t)i);
	enc_end(&rep.w.enc);
	reply_send(&rep);
}

void handle_new_oid(const struct request *r, const struct args *a)
{
	struct storage *st = r->session->hs->ss->storage;

	(void)a;
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

/* Answers after the invalidations of all that was acknowledged before it was sent (T65): what was
 * published is taken before input is handled. */
void handle_ping(const struct request *r, const struct args *a)
{
	(void)a;
	reply_none(r);
}
