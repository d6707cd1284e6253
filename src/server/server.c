#include "server/server.h"

#include <stdio.h>
#include <string.h>
#include <time.h>

#include "base/mem.h"
#include "codec/tid.h"
#include "server/hub.h"

int server_init(struct server *s, const struct server_options *o, const struct clock *clock,
	const char *const *ids, struct storage *const *storages, size_t n, struct err *e)
{
	int rc = OK;

	*s = (struct server){ .options = *o, .clock = clock };
	s->started_us = clock_wall_us(clock);
	s->storages = mem_zalloc(n, sizeof(s->storages[0]));
	if (!s->storages)
		return err_set(e, ERR_NOMEM, "no memory for %zu storages", n);
	for (size_t i = 0; i < n && rc == OK; i++) {
		s->storages[i].id = ids[i];
		s->storages[i].storage = storages[i];
		storages[i]->pubs->free_frame = hub_free_frame;
		/* clients take the encoding that they are offered */
		storages[i]->pubs->make_frame =
			o->msgpack ? hub_make_frame_msgpack : hub_make_frame_pickle;
		rc = commit_queue_init(&s->storages[i].queue, e);
		s->n_storages += rc == OK;
	}
	if (rc != OK)
		server_fini(s);
	return rc;
}

void server_fini(struct server *s)
{
	for (size_t i = 0; i < s->n_storages; i++)
		commit_queue_close(&s->storages[i].queue);
	mem_free(s->storages);
	*s = (struct server){ 0 };
}

void server_stop_packs(struct server *s)
{
	for (size_t i = 0; i < s->n_storages; i++) {
		struct storage *st = s->storages[i].storage;

		if (st->ops->pack_stop)
			st->ops->pack_stop(st);
	}
}

struct server_storage *server_find(struct server *s, struct slice id)
{
	for (size_t i = 0; i < s->n_storages; i++)
		if (slice_is(id, s->storages[i].id))
			return &s->storages[i];
	return NULL;
}

/* One walk over the status, as a dictionary on the wire or as JSON. */
struct status_writer {
	struct enc *en; /* or */
	struct buf *json;
	bool first;
};

static void key(struct status_writer *w, const char *name)
{
	if (w->en) {
		enc_str(w->en, slice_str(name));
		return;
	}
	buf_printf(w->json, "%s\"%s\": ", w->first ? "" : ", ", name);
	w->first = false;
}

static void put_int(struct status_writer *w, const char *name, uint64_t v)
{
	key(w, name);
	if (w->en)
		enc_int(w->en, (int64_t)v);
	else
		buf_printf(w->json, "%llu", (unsigned long long)v);
}

static void put_str(struct status_writer *w, const char *name, const char *v)
{
	key(w, name);
	if (w->en)
		enc_str(w->en, slice_str(v));
	else
		buf_printf(w->json, "\"%s\"", v);
}

/* When the longest held lock was taken, as time.time() gives it, or None. */
static void put_lock_time(struct status_writer *w, uint64_t lock_us)
{
	key(w, "lock_time");
	if (w->en && lock_us)
		enc_float(w->en, (double)lock_us / 1e6);
	else if (w->en)
		enc_none(w->en);
	else if (lock_us)
		buf_printf(w->json, "%.6f", (double)lock_us / 1e6);
	else
		buf_put_str(w->json, "null");
}

static void put_timeout_alive(struct status_writer *w, bool runs)
{
	if (!runs) {
		put_str(w, "timeout-thread-is-alive", "stub");
		return;
	}
	key(w, "timeout-thread-is-alive");
	if (w->en)
		enc_bool(w->en, true);
	else
		buf_put_str(w->json, "true");
}

enum { STATUS_KEYS = 13 };

static void write_status(
	struct server *s, struct server_storage *ss, uint64_t last_tid, struct status_writer *w)
{
	struct storage_stats *st = &ss->stats;
	time_t start = (time_t)(s->started_us / 1000000);
	char text[32];
	struct tm tm;

	put_int(w, "connections", atomic_load(&st->connections));
	put_int(w, "loads", atomic_load(&st->loads));
	put_int(w, "stores", atomic_load(&st->stores));
	put_int(w, "commits", atomic_load(&st->commits));
	put_int(w, "aborts", atomic_load(&st->aborts));
	put_int(w, "active_txns", atomic_load(&st->active_txns));
	put_lock_time(w, commit_queue_locked_since(&ss->queue));
	put_int(w, "conflicts", atomic_load(&st->conflicts));
	put_int(w, "conflicts_resolved", atomic_load(&st->conflicts_resolved));
	localtime_r(&start, &tm);
	strftime(text, sizeof(text), "%a %b %e %H:%M:%S %Y", &tm); /* time.ctime() */
	put_str(w, "start", text);
	put_int(w, "waiting", commit_queue_waiting(&ss->queue));
	put_timeout_alive(w, s->options.transaction_timeout_us != 0);
	put_str(w, "last-transaction", tid_hex(last_tid, text));
}

void server_status_write(
	struct server *s, struct server_storage *ss, uint64_t last_tid, struct enc *en)
{
	struct status_writer w = { .en = en };

	enc_dict(en, STATUS_KEYS);
	write_status(s, ss, last_tid, &w);
	enc_end(en);
}

/* A JSON string: names come from a configuration file and may hold anything. */
static void json_str(struct buf *out, const char *s)
{
	buf_put_u8(out, '"');
	for (; *s; s++) {
		unsigned char c = (unsigned char)*s;

		if (c == '"' || c == '\\' || c < 0x20)
			buf_printf(out, "\\u%04x", c);
		else
			buf_put_u8(out, c);
	}
	buf_put_u8(out, '"');
}

void server_ruok(struct server *s, struct hub *h, struct buf *out)
{
	buf_put_u8(out, '{');
	for (size_t i = 0; i < s->n_storages; i++) {
		struct status_writer w = { .json = out, .first = true };

		if (i)
			buf_put_str(out, ", ");
		json_str(out, s->storages[i].id);
		buf_put_str(out, ": {");
		write_status(s, &s->storages[i], h->storages[i].applied, &w);
		buf_put_u8(out, '}');
	}
	buf_put_u8(out, '}');
}
