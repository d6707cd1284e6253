/* From a registered connection to one that calls go through: the cache is brought up to date with the server, what
 * came meanwhile is handled, and what has to be known of the server is asked. As ZEO's ClientIO does it, but that a
 * cache newer than the server is dropped (T30). On the I/O thread. */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/bigendian.h"
#include "base/log.h"
#include "base/mem.h"
#include "client/conn.h"
#include "client/lookup.h"

static void set_result(struct client *c, const char *text)
{
	pthread_mutex_lock(&c->lock);
	c->verify_result = text;
	pthread_mutex_unlock(&c->lock);
}

static void give_up(struct conn *conn, const char *what, const char *why)
{
	client_shun(conn->client, conn);
	pthread_mutex_lock(&conn->client->lock);
	conn_kill(conn, ERR_CLOSED, "%s: %s", what, why);
	pthread_mutex_unlock(&conn->client->lock);
}

/* A server that was just about to take us and then says nothing (its machine hangs, say) keeps us only while there is no
 * other one. Others may only be slow: each has twice the time of the one before. */
static void on_silence(uv_timer_t *t)
{
	struct conn *conn = t->data;
	struct client *c = conn->client;

	if (!client_has_choice(c, conn))
		return;
	uv_timer_stop(t);
	c->silences++;
	client_log(c, LOG_ERROR, CLIENT_IO_LOGGER,
		"Registration or cache validation failed, the server does not answer");
	give_up(conn, "verification", "the server does not answer");
}

static void await_answer(struct conn *conn)
{
	const struct client *c = conn->client;
	unsigned doublings =
		c->silences < CLIENT_PATIENCE_GROWTH ? c->silences : CLIENT_PATIENCE_GROWTH;
	uint64_t ms = (uint64_t)c->options.patience_ms << doublings;

	uv_timer_start(&conn->patience, on_silence, ms, ms);
}

static void ask(struct conn *conn, void (*done)(struct call *), const char *method,
	const struct val *args, uint32_t n_args)
{
	struct client *c = conn->client;
	struct err e = ERR_INIT;
	int rc;

	call_end(&conn->step);
	conn->step = (struct call){ .done = done, .arg = conn };
	await_answer(conn);
	pthread_mutex_lock(&c->lock);
	rc = conn_ask(conn, &conn->step, method, args, n_args, &e);
	if (rc == OK)
		conn_flush(conn);
	else
		conn_kill(conn, rc, "%s(): %s", method, e.text);
	pthread_mutex_unlock(&c->lock);
}

/* The answer, decoded; NULL: the connection is given up. */
static const struct val *answer(struct call *k, const char *method)
{
	struct err e = k->err;
	int rc = k->rc == OK ? call_decode(k, &e) : k->rc;

	if (rc == OK)
		return k->result;
	if (rc == ERR_CLOSED)
		return NULL;
	client_log(k->client, LOG_ERROR, CLIENT_IO_LOGGER,
		"Registration or cache validation failed, %s(): %s", method, e.text);
	give_up(k->arg, method, e.text);
	return NULL;
}

/* --- what has to be known of the server --- */

static void maybe_ready(struct conn *conn)
{
	if (conn->info_known && conn->sort_key_known)
		client_ready(conn->client, conn);
}

static void on_info(struct call *k)
{
	struct conn *conn = k->arg;
	const struct val *info = answer(k, "get_info");
	struct err e = ERR_INIT;

	if (!info)
		return;
	if (info->type != VAL_DICT ||
		client_merge_info(conn->client, info, conn->encoding, &e) != OK) {
		give_up(conn, "get_info()", e.text[0] ? e.text : "it has not answered a dict");
		return;
	}
	uv_timer_stop(&conn->patience);
	conn->info_known = true;
	maybe_ready(conn);
}

static void on_name(void *arg, const char *text)
{
	struct conn *conn = arg;
	struct client *c = conn->client;

	conn->lookup = NULL;
	pthread_mutex_lock(&c->lock);
	snprintf(c->server, sizeof(c->server), "%s", text);
	pthread_mutex_unlock(&c->lock);
	conn->sort_key_known = true;
	maybe_ready(conn);
}

static void say_label(struct conn *conn)
{
	struct client *c = conn->client;
	struct val label = { .type = VAL_STR };
	struct err e = ERR_INIT;

	if (!c->label)
		return;
	label.s = slice_str(c->label);
	pthread_mutex_lock(&c->lock);
	if (conn_say(conn, "set_client_label", &label, 1, &e) != OK)
		conn_kill(conn, e.code, "%s", e.text);
	pthread_mutex_unlock(&c->lock);
}

static void ask_for_the_rest(struct conn *conn)
{
	struct err e = ERR_INIT;

	if (lookup_name(conn->client->io, &conn->peer, on_name, conn, &conn->lookup, &e) != OK) {
		give_up(conn, "the server's name", e.text);
		return;
	}
	say_label(conn);
	ask(conn, on_info, "get_info", NULL, 0);
}

/* --- the cache --- */

static void handle_early(struct conn *conn)
{
	struct early *early;

	while ((early = conn->early)) {
		client_invalidate(conn, early->tid, early->oids, early->n);
		conn->early = early->next;
		mem_free(early);
	}
	conn->early_end = &conn->early;
	conn->verified = true;
}

static void verified(struct conn *conn, uint64_t server_tid)
{
	client_set_last_tid(conn->client, server_tid);
	handle_early(conn);
	ask_for_the_rest(conn);
}

static void tell_all_changed(struct client *c)
{
	if (c->options.events.invalidate_all)
		c->options.events.invalidate_all(c->options.events.arg);
}

static void drop_cache(struct client *c)
{
	if (c->cache)
		cache_clear(c->cache);
	tell_all_changed(c);
}

static void too_old(struct conn *conn)
{
	struct client *c = conn->client;

	set_result(c, "cache too old, clearing");
	if (c->options.events.stale_cache)
		c->options.events.stale_cache(c->options.events.arg);
	client_log(c, LOG_CRITICAL, CLIENT_IO_LOGGER, "%s dropping stale cache", c->name);
	drop_cache(c);
	verified(conn, conn->server_tid);
}

static bool is_list_of_ids(const struct val *v)
{
	if (v->type != VAL_LIST && v->type != VAL_TUPLE)
		return false;
	for (uint32_t i = 0; i < v->n; i++)
		if (v->items[i].type != VAL_BYTES || v->items[i].s.len != 8)
			return false;
	return true;
}

static int quick(struct conn *conn, const struct val *tid, const struct val *oids)
{
	struct client *c = conn->client;
	uint64_t *ids = mem_alloc(oids->n * sizeof(*ids));

	if (!ids)
		return ERR_NOMEM;
	conn->server_tid = get_be64(tid->s.data);
	for (uint32_t i = 0; i < oids->n; i++) {
		ids[i] = get_be64(oids->items[i].s.data);
		if (c->cache)
			cache_invalidate(c->cache, ids[i], TID_NONE);
	}
	if (c->options.events.invalidate)
		c->options.events.invalidate(c->options.events.arg, conn->server_tid, ids, oids->n);
	mem_free(ids);
	return OK;
}

static void on_invalidations(struct call *k)
{
	struct conn *conn = k->arg;
	const struct val *v = answer(k, "getInvalidations");

	if (!v)
		return;
	if (val_is_none(v)) {
		too_old(conn);
		return;
	}
	if ((v->type != VAL_TUPLE && v->type != VAL_LIST) || v->n != 2 ||
		v->items[0].type != VAL_BYTES || v->items[0].s.len != 8 ||
		!is_list_of_ids(&v->items[1])) {
		give_up(conn, "getInvalidations()", "a tid and oids, or None, were expected");
		return;
	}
	if (get_be64(v->items[0].s.data) < conn->server_tid) {
		give_up(conn, "getInvalidations()", "its tid is older than the connection's");
		return;
	}
	set_result(conn->client, "quick verification");
	if (quick(conn, &v->items[0], &v->items[1]) == OK)
		verified(conn, conn->server_tid);
	else
		give_up(conn, "getInvalidations()", "no memory");
}

static void ask_what_changed(struct conn *conn, uint64_t since)
{
	uint8_t tid[8];
	struct val arg = { .type = VAL_BYTES, .s = { tid, sizeof(tid) } };

	put_be64(tid, since);
	ask(conn, on_invalidations, "getInvalidations", &arg, 1);
}

static void newer_than_server(struct conn *conn, uint64_t cache_tid)
{
	struct client *c = conn->client;

	set_result(c, "Cache newer than server");
	client_log(c, LOG_CRITICAL, CLIENT_IO_LOGGER,
		"Client cache is out of sync with the server: its last transaction is "
		"%016" PRIx64 ", the server's %016" PRIx64
		". Verify that this is expected. The cache is dropped.",
		cache_tid, conn->server_tid);
	atomic_store(&c->last_tid, TID_NONE);
	drop_cache(c);
	verified(conn, conn->server_tid);
}

static void check_cache(struct conn *conn)
{
	struct client *c = conn->client;
	uint64_t known = atomic_load(&c->last_tid);
	bool empty = !c->cache || cache_is_empty(c->cache);

	if (known > conn->server_tid) {
		newer_than_server(conn, known);
	} else if (empty) {
		set_result(c, "empty cache");
		if (known != conn->server_tid)
			tell_all_changed(c); /* before the tid moves: T8 */
		verified(conn, conn->server_tid);
	} else if (known == TID_NONE) {
		set_result(c, "Non-empty cache w/o tid");
		client_log(c, LOG_ERROR, CLIENT_IO_LOGGER, "Non-empty cache w/o tid -- clearing");
		drop_cache(c);
		verified(conn, conn->server_tid);
	} else if (known == conn->server_tid) {
		set_result(c, "Cache up to date");
		verified(conn, conn->server_tid);
	} else {
		ask_what_changed(conn, known);
	}
}

static void on_last_transaction(struct call *k)
{
	struct conn *conn = k->arg;
	const struct val *v = answer(k, "lastTransaction");

	if (!v)
		return;
	if (v->type != VAL_BYTES || v->s.len != 8) {
		give_up(conn, "lastTransaction()", "a tid was expected");
		return;
	}
	conn->server_tid = get_be64(v->s.data);
	check_cache(conn);
}

void client_verify(struct client *c, struct conn *conn)
{
	(void)c;
	if (conn->server_tid == TID_NONE)
		ask(conn, on_last_transaction, "lastTransaction", NULL, 0);
	else
		check_cache(conn);
}
