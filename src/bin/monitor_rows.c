#include "bin/monitor_rows.h"

#include <stdio.h>
#include <time.h>
#include <unistd.h>

#include "base/clock.h"
#include "codec/tid.h"
#include "server/commit.h"
#include "server/hub.h"
#include "server/session.h"
#include "version.h"

static json_int_t count(const atomic_uint_fast64_t *n)
{
	return (json_int_t)atomic_load(n);
}

static void set_time(json_t *o, const char *key, double seconds)
{
	time_t t = (time_t)seconds;
	char text[40];
	struct tm tm;

	gmtime_r(&t, &tm);
	strftime(text, sizeof(text), "%Y-%m-%dT%H:%M:%SZ", &tm);
	json_object_set_new(o, key, json_string(text));
}

static uint64_t sum(const struct server *s, size_t field)
{
	uint64_t n = 0;

	for (size_t i = 0; i < s->n_storages; i++)
		n += atomic_load((const atomic_uint_fast64_t *)(const void
				*)((const char *)&s->storages[i].stats + field));
	return n;
}

#define SUM(s, field) ((json_int_t)sum((s), offsetof(struct storage_stats, field)))

static int report_status(void *context, int argc, char *const *argv, json_t **ret, struct err *e)
{
	const struct server *s = ((struct monitor_view *)context)->server;
	uint64_t now = clock_wall_us(s->clock);

	(void)argc;
	(void)argv;
	(void)e;
	*ret = json_pack("{s:s, s:i, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I}", "version",
		ZKZEO_VERSION, "pid", (int)getpid(), "uptime-seconds",
		(json_int_t)((now - s->started_us) / 1000000), "storages",
		(json_int_t)s->n_storages, "connections", SUM(s, connections), "loads",
		SUM(s, loads), "stores", SUM(s, stores), "commits", SUM(s, commits), "aborts",
		SUM(s, aborts), "conflicts", SUM(s, conflicts));
	if (*ret)
		set_time(*ret, "started", (double)s->started_us / 1e6);
	return OK;
}

/* While a pack runs: how far it is. */
static void add_pack(json_t *o, struct storage *st)
{
	struct pack_progress p = { 0 };
	json_t *pack;

	if (st->ops->pack_progress)
		st->ops->pack_progress(st, &p);
	if (!p.running)
		return;
	pack = json_pack("{s:s, s:I, s:I}", "phase", p.phase ? p.phase : "starting", "done-bytes",
		(json_int_t)p.done_bytes, "all-bytes", (json_int_t)p.all_bytes);
	if (!pack)
		return;
	set_time(pack, "started", (double)p.started_us / 1e6);
	json_object_set_new(o, "pack", pack);
}

static json_t *describe_storage(struct server_storage *ss)
{
	struct storage *st = ss->storage;
	uint64_t last = pubchain_last_tid(st->pubs);
	struct storage_info info;
	char hex[17];
	json_t *o;

	st->ops->info(st, &info);
	o = json_pack("{s:s, s:s, s:b, s:I, s:I, s:s, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I}",
		"storage", ss->id, "name", st->name, "read-only", (int)st->read_only, "objects",
		(json_int_t)info.length, "bytes", (json_int_t)info.size, "last-transaction",
		tid_hex(last, hex), "connections", count(&ss->stats.connections), "loads",
		count(&ss->stats.loads), "stores", count(&ss->stats.stores), "commits",
		count(&ss->stats.commits), "aborts", count(&ss->stats.aborts), "conflicts",
		count(&ss->stats.conflicts), "active-transactions", count(&ss->stats.active_txns),
		"waiting", (json_int_t)commit_queue_waiting(&ss->queue));
	if (o && last != TID_NONE)
		set_time(o, "last-transaction-time", tid_to_time(last));
	if (o)
		add_pack(o, st);
	return o;
}

static int report_storages(void *context, int argc, char *const *argv, json_t **ret, struct err *e)
{
	struct server *s = ((struct monitor_view *)context)->server;

	(void)argc;
	(void)argv;
	(void)e;
	*ret = json_array();
	for (size_t i = 0; i < s->n_storages; i++)
		json_array_append_new(*ret, describe_storage(&s->storages[i]));
	return OK;
}

static double seconds_since(const struct session *s, uint64_t mono_us)
{
	return (double)(clock_mono_us(s->hub->clock) - mono_us) / 1e6;
}

static void add_client(void *ctx, const struct session *s)
{
	json_t *o = json_pack("{s:s, s:s, s:s, s:b, s:s, s:f, s:I, s:I}", "client", s->label,
		"address", s->peer, "storage", s->hs ? s->hs->ss->id : "", "read-only",
		(int)s->read_only, "encoding", s->encoding == ENC_MSGPACK ? "msgpack" : "pickle",
		"connected-seconds", seconds_since(s, s->since_us), "requests",
		(json_int_t)s->requests, "unsent-bytes", (json_int_t)s->out.bytes);

	json_array_append_new(ctx, o);
}

static int report_clients(void *context, int argc, char *const *argv, json_t **ret, struct err *e)
{
	struct monitor_view *v = context;

	(void)argc;
	(void)argv;
	(void)e;
	*ret = json_array();
	service_visit(v->service, add_client, *ret);
	return OK;
}

static void add_transaction(void *ctx, const struct session *s)
{
	struct commit_info i;

	if (!s->commit)
		return;
	commit_describe(s->commit, &i);
	json_array_append_new(
		ctx, json_pack("{s:s, s:s, s:s, s:I, s:I, s:f}", "client", s->label, "storage",
			     s->hs->ss->id, "state", i.state, "objects", (json_int_t)i.objects,
			     "bytes", (json_int_t)i.bytes, "locked-seconds", i.locked_s));
}

static int report_transactions(
	void *context, int argc, char *const *argv, json_t **ret, struct err *e)
{
	struct monitor_view *v = context;

	(void)argc;
	(void)argv;
	(void)e;
	*ret = json_array();
	service_visit(v->service, add_transaction, *ret);
	return OK;
}

static int report_version(void *context, int argc, char *const *argv, json_t **ret, struct err *e)
{
	(void)context;
	(void)argc;
	(void)argv;
	(void)e;
	*ret = json_pack("{s:s}", "zkrunzeo", ZKZEO_VERSION);
	return OK;
}

static const struct monitor_command rows[] = {
	{ .name = "status",
		.arguments = "",
		.help = "The server: since when, how many, how much",
		.report = report_status },
	{ .name = "storages",
		.arguments = "",
		.help = "Each storage: its size, its last transaction, its counters",
		.report = report_storages },
	{ .name = "clients", .arguments = "", .help = "Each connection", .report = report_clients },
	{ .name = "transactions",
		.arguments = "",
		.help = "Each transaction under way, and for how long it has held its objects",
		.report = report_transactions },
	{ .name = "version",
		.arguments = "",
		.help = "The version of zkrunzeo",
		.report = report_version },
};

int monitor_rows_add(struct monitor *m, struct monitor_view *view, struct err *e)
{
	int rc = OK;

	for (size_t i = 0; i < ARRAY_LEN(rows) && rc == OK; i++) {
		struct monitor_command c = rows[i];

		c.context = view;
		rc = monitor_add(m, &c, e);
	}
	return rc;
}
