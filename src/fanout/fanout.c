#include "fanout/fanout.h"

#include <string.h>

#include "base/mem.h"
#include "client/finder.h"
#include "codec/tid.h"
#include "fanout/core.h"
#include "net/tls.h"

/* What is in the cache is known to be there. Of all else the server would have to be asked: new oids are its own. */
static void *no_room(void *arg, size_t len)
{
	*(bool *)arg = true;
	(void)len;
	return NULL;
}

static bool fan_has_oid(struct storage *s, uint64_t oid)
{
	uint64_t serial, end_tid;
	bool there = false;

	return client_cached(fanout_of(s)->client, oid, FAN_TID_MAX, no_room, &there, &serial,
		       &end_tid) == OK ||
	       there;
}

static void fan_stop(struct storage *s)
{
	link_stopping(fanout_of(s));
}

static void destroy(struct fanout *f)
{
	finder_close(f->finder);
	if (f->client)
		client_shut(f->client); /* nobody waits for the server any more */
	link_end(f);
	fan_blobs_close(f);
	client_close(f->client);
	tls_context_free(f->tls);
	pubchain_close(&f->pubs);
	info_free(f);
	pthread_cond_destroy(&f->changed);
	pthread_mutex_destroy(&f->lock);
	pthread_mutex_destroy(&f->publish_lock);
	mem_free(f->name);
	mem_free(f);
}

static void fan_close(struct storage *s)
{
	destroy(fanout_of(s));
}

static const struct storage_ops ops = {
	.load = fan_load,
	.history = fan_history,
	.vote = fan_vote,
	.abort = fan_abort,
	.finish = fan_finish,
	.undo_log = fan_undo_log,
	.iter_open = fan_iter_open,
	.iter_records = fan_iter_records,
	.iter_next = fan_iter_next,
	.iter_close = fan_iter_close,
	.changes = fan_changes,
	.pack = fan_pack,
	.pack_stop = fan_stop,
	.open_blob = fan_open_blob,
	.ask_oids = fan_ask_oids,
	.sync = fan_sync,
	.has_oid = fan_has_oid,
	.info = fan_info,
	.close = fan_close,
};

static char *make_name(const struct fanout_options *o)
{
	struct buf b = BUF_INIT(0);
	char text[300];
	char *name;

	if (o->client.name && *o->client.name)
		return mem_strdup(o->client.name);
	for (size_t i = 0; i < o->servers_n; i++)
		buf_printf(&b, "%s%s", i ? ", " : "",
			address_format(&o->servers[i], text, sizeof(text)));
	buf_put_u8(&b, 0);
	name = buf_ok(&b) ? mem_strdup((const char *)b.data) : NULL;
	buf_free(&b);
	return name;
}

static void init_locks(struct fanout *f)
{
	pthread_condattr_t attr;

	pthread_condattr_init(&attr);
	pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
	pthread_cond_init(&f->changed, &attr);
	pthread_condattr_destroy(&attr);
	pthread_mutex_init(&f->lock, NULL);
	pthread_mutex_init(&f->publish_lock, NULL);
}

static struct fanout *new_fanout(const struct fanout_options *o)
{
	struct fanout *f = mem_zalloc(1, sizeof(*f));

	if (f)
		f->name = make_name(o);
	if (!f || !f->name || pubchain_init(&f->pubs, TID_NONE, o->keep) != OK) {
		if (f)
			mem_free(f->name);
		mem_free(f);
		return NULL;
	}
	init_locks(f);
	f->clock = o->clock;
	f->log = o->log;
	f->log_ctx = o->log_ctx;
	f->wait_ms = o->client.wait_timeout_ms;
	f->finishing_end = &f->finishing;
	f->aborting_end = &f->aborting;
	f->stop_us = UINT64_MAX;
	atomic_store(&f->probe, OID_NONE);
	f->storage.ops = &ops;
	f->storage.name = f->name;
	f->storage.read_only = o->client.read_only;
	f->storage.one_at_a_time = true; /* F4 */
	f->storage.lists_changes = true;
	f->storage.pubs = &f->pubs;
	return f;
}

/* The addresses come when everything is there that callbacks need. */
static int connect(struct fanout *f, const struct fanout_options *o, struct err *e)
{
	struct client_options c = o->client;
	int rc;

	c.name = f->name;
	link_events(f, &c.events);
	rc = client_open(&c, NULL, 0, &f->client, e);
	if (rc == OK)
		rc = fan_blobs_open(f, o, e);
	if (rc == OK)
		rc = link_start(f, e);
	if (rc == OK && f->finder)
		rc = finder_attach(f->finder, f->client, e);
	else if (rc == OK)
		rc = client_set_addresses(f->client, o->servers, o->servers_n, e);
	return rc;
}

int fanout_open(const struct fanout_options *o, struct storage **ret, struct err *e)
{
	struct fanout *f = new_fanout(o);
	int rc;

	if (!f) {
		finder_close(o->finder);
		tls_context_free(o->client.tls);
		return err_set(e, ERR_NOMEM, "no memory for a storage");
	}
	f->finder = o->finder;
	f->tls = o->client.tls;
	rc = connect(f, o, e);
	if (rc == OK && o->wait)
		rc = link_wait(f, f->wait_ms, o->stop, o->stop_arg, e);
	if (rc == OK)
		*ret = &f->storage;
	else
		destroy(f);
	return rc;
}
