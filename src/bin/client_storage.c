#include "bin/client_storage.h"

#include <limits.h>
#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "base/log.h"
#include "bin/certificates.h"
#include "bin/process.h"
#include "client/finder.h"
#include "fanout/fanout.h"

static void log_client(void *ctx, int level, const char *logger, const char *text)
{
	(void)ctx;
	log_emit(level, logger, "%s", text);
}

static bool is_ended(void *arg)
{
	(void)arg;
	return process_is_to_end();
}

/* --- its own server (fanout/ finds the rest out when it is connected) --- */

static bool is_loopback(const char *host)
{
	return strcmp(host, "127.0.0.1") == 0 || strcmp(host, "localhost") == 0 ||
	       strcmp(host, "::1") == 0;
}

static bool is_same_server(const struct address *own, const struct address *a)
{
	if (own->family != a->family)
		return false;
	if (own->family == ADDRESS_UNIX)
		return strcmp(own->path, a->path) == 0;
	return own->port && own->port == a->port &&
	       (strcmp(own->host, a->host) == 0 ||
		       ((!*own->host || is_loopback(own->host)) && is_loopback(a->host)));
}

static size_t path_len(const char *path)
{
	size_t n = strlen(path);

	while (n > 1 && path[n - 1] == '/')
		n--;
	return n;
}

static bool is_same_path(const struct config_zookeeper *own, const struct config_client *cl)
{
	return own->present && own->path && strcmp(own->connection, cl->zookeeper) == 0 &&
	       path_len(own->path) == path_len(cl->path) &&
	       strncmp(own->path, cl->path, path_len(cl->path)) == 0;
}

static int check_not_own(
	const struct server_config *c, const struct config_storage *cs, struct err *e)
{
	const struct config_client *cl = &cs->client;
	char text[300];

	if (cl->path && is_same_path(&c->zookeeper, cl))
		return err_set(e, ERR_INVAL,
			"%s:%d: this server registers at '%s' itself: its storage's servers were "
			"expected at another path",
			cs->file, cs->line, cl->path);
	for (size_t i = 0; i < cl->servers_n; i++)
		if (is_same_server(&c->address, &cl->servers[i]))
			return err_set(e, ERR_INVAL,
				"%s:%d: %s is the address of this server itself: that of its "
				"storage's server was expected",
				cs->file, cs->line,
				address_format(&cl->servers[i], text, sizeof(text)));
	return OK;
}

/* --- options --- */

/* ZEO's name of a cache that is kept. */
static int cache_path(const struct config_client *cl, char *out, size_t room, struct err *e)
{
	int n;

	out[0] = 0;
	if (cl->cache_path)
		n = snprintf(out, room, "%s", cl->cache_path);
	else if (cl->client)
		n = snprintf(out, room, "%s/%s-%s.zec", cl->var ? cl->var : ".", cl->client,
			cl->storage);
	else
		return OK;
	if (n < 0 || (size_t)n >= room)
		return err_set(e, ERR_LIMIT, "the path of the cache is too long");
	return OK;
}

struct texts {
	char cache[PATH_MAX];
	char name[512];
};

static void set_name(const struct config_client *cl, struct texts *t)
{
	if (*cl->name)
		snprintf(t->name, sizeof(t->name), "%s", cl->name);
	else if (cl->path)
		snprintf(t->name, sizeof(t->name), "%s%s", cl->zookeeper, cl->path);
}

/* min-disconnect-poll and max-disconnect-poll have no effect, as with ZEO's ClientStorage. */
static int set_options(const struct server_config *c, const struct config_client *cl,
	struct texts *t, struct fanout_options *o, struct err *e)
{
	int rc = cache_path(cl, t->cache, sizeof(t->cache), e);

	set_name(cl, t);
	*o = (struct fanout_options){
		.client = {
			.storage = cl->storage,
			.name = *t->name ? t->name : NULL,
			.label = cl->label,
			.cache_path = *t->cache ? t->cache : NULL,
			.cache_bytes = cl->cache_bytes,
			.read_only = cl->read_only,
			.read_only_fallback = cl->read_only_fallback,
			.wait_timeout_ms = (cl->wait_timeout_s ? cl->wait_timeout_s : 30) * 1000,
			.tls_server_name = cl->ssl ? cl->ssl->server_hostname : NULL,
		},
		.servers = cl->servers,
		.servers_n = cl->servers_n,
		.blob_dir = cl->blob_dir,
		.shared_blob_dir = cl->shared_blob_dir,
		.blob_cache_bytes = cl->blob_cache_bytes,
		.blob_cache_check = cl->blob_cache_check,
		.keep = c->invalidation_queue_size,
		.wait = cl->wait,
		.stop = is_ended,
		.clock = &clock_system,
		.log = log_client,
	};
	return rc;
}

/* --- opening --- */

static void log_finder(void *arg, int level, const char *logger, const char *text)
{
	log_client(arg, level, logger, text);
}

static int find_servers(const struct config_client *cl, struct finder **ret, struct err *e)
{
	const struct client_events events = { .log = log_finder };

	if (!cl->path)
		return OK;
	return finder_open(cl->zookeeper, cl->path, cl->wait, is_ended, &events, ret, e);
}

int client_storage_open(const struct server_config *c, const struct config_storage *cs,
	struct storage **ret, struct err *e)
{
	const struct config_client *cl = &cs->client;
	struct texts texts = { "", "" };
	struct fanout_options o;
	int rc = check_not_own(c, cs, e);

	if (rc == OK)
		rc = set_options(c, cl, &texts, &o, e);
	if (rc == OK)
		rc = find_servers(cl, &o.finder, e);
	if (rc != OK)
		return rc;
	rc = certificates_load_client(cl->ssl, &o.client.tls, e);
	if (rc != OK) {
		finder_close(o.finder);
		return rc;
	}
	rc = fanout_open(&o, ret, e);
	if (rc != OK)
		err_wrap(e, "%s:%d", cs->file, cs->line);
	return rc;
}
