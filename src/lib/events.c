/* What a client tells: to the databases on it, then to the program. */
#include "lib/api.h"

void api_invalidate(struct zkzeo_client *c, uint64_t tid, const uint64_t *oids, size_t n)
{
	pthread_mutex_lock(&c->lock);
	for (struct zkzeo_db *db = c->dbs; db; db = db->next)
		database_invalidate(db->database, tid, oids, n);
	pthread_mutex_unlock(&c->lock);
}

static void on_invalidate(void *arg, uint64_t tid, const uint64_t *oids, size_t n)
{
	struct zkzeo_client *c = arg;

	api_invalidate(c, tid, oids, n);
	if (c->events.invalidate)
		c->events.invalidate(c->events.arg, tid, oids, n);
}

static void on_invalidate_all(void *arg)
{
	struct zkzeo_client *c = arg;

	pthread_mutex_lock(&c->lock);
	for (struct zkzeo_db *db = c->dbs; db; db = db->next)
		database_invalidate_all(db->database);
	pthread_mutex_unlock(&c->lock);
	if (c->events.invalidate_all)
		c->events.invalidate_all(c->events.arg);
}

static void on_connected(void *arg)
{
	struct zkzeo_client *c = arg;

	if (c->events.connected)
		c->events.connected(c->events.arg);
}

static void on_disconnected(void *arg)
{
	struct zkzeo_client *c = arg;

	if (c->events.disconnected)
		c->events.disconnected(c->events.arg);
}

static void on_stale_cache(void *arg)
{
	struct zkzeo_client *c = arg;

	if (c->events.stale_cache)
		c->events.stale_cache(c->events.arg);
}

static void on_log(void *arg, int level, const char *logger, const char *text)
{
	struct zkzeo_client *c = arg;

	if (c->events.log)
		c->events.log(c->events.arg, level, logger, text);
}

void api_events(struct zkzeo_client *c, struct client_events *ret)
{
	*ret = (struct client_events){
		.arg = c,
		.invalidate = on_invalidate,
		.invalidate_all = on_invalidate_all,
		.connected = on_connected,
		.disconnected = on_disconnected,
		.stale_cache = on_stale_cache,
		.log = on_log,
	};
}
