#include <limits.h>
#include <stdio.h>
#include <unistd.h>

#include "base/mem.h"
#include "lib/api.h"

/* --- options --- */

/* As this library knows them: a program may have been compiled with fewer. */
static int read_options(const struct zkzeo_options *from, struct zkzeo_options *ret, struct err *e)
{
	const char *const *addresses = from->addresses;

	if (from->size < offsetof(struct zkzeo_options, storage) || from->size > (1 << 16))
		return err_set(e, ERR_INVAL, "options without their size: zkzeo_options_default()");
	memset(ret, 0, sizeof(*ret));
	memcpy(ret, from, from->size < sizeof(*ret) ? from->size : sizeof(*ret));
	if (!ret->path && !ret->n_addresses)
		return err_set(
			e, ERR_INVAL, "no servers: a path in ZooKeeper or addresses were expected");
	if (ret->path && ret->n_addresses)
		return err_set(e, ERR_INVAL, "a path in ZooKeeper, and addresses: only one");
	if (ret->read_only && ret->read_only_fallback)
		return err_set(e, ERR_INVAL, "read_only and read_only_fallback: only one");
	if (ret->blob_cache_size_check >= 100)
		return err_set(e, ERR_INVAL,
			"blob_cache_size_check is %u: less than 100 percent were expected",
			ret->blob_cache_size_check);
	for (size_t i = 0; i < ret->n_addresses; i++)
		if (!addresses || !addresses[i])
			return err_set(e, ERR_INVAL, "address %zu is NULL", i);
	return OK;
}

static int parse_addresses(const char *const *from, size_t n, struct address **ret, struct err *e)
{
	struct address *all = mem_zalloc(n, sizeof(*all));
	int rc = all ? OK : err_set(e, ERR_NOMEM, "no memory for addresses");

	for (size_t i = 0; rc == OK && i < n; i++)
		rc = address_parse(from[i], "127.0.0.1", &all[i], e);
	if (rc)
		mem_free(all);
	else
		*ret = all;
	return rc;
}

/* VAR/CLIENT-STORAGE.zec, as ZEO names it. */
static int cache_path(const struct zkzeo_options *o, char out[PATH_MAX], struct err *e)
{
	char here[PATH_MAX];
	const char *var = o->var;
	int n;

	if (!var && !getcwd(here, sizeof(here)))
		return err_set(e, ERR_IO, "the working directory has no name");
	n = snprintf(out, PATH_MAX, "%s/%s-%s.zec", var ? var : here, o->client,
		o->storage ? o->storage : "1");
	if (n >= PATH_MAX)
		return err_set(e, ERR_INVAL, "the path of the cache file is too long");
	return OK;
}

static int open_tls(const struct zkzeo_options *o, struct tls_context **ret, struct err *e)
{
	struct tls_context *tls = NULL;
	int rc = tls_context_new_client(!o->ssl_any_hostname, &tls, e);

	if (rc == OK && o->ssl_certificate)
		rc = tls_use_certificate(tls, o->ssl_certificate, e);
	if (rc == OK && o->ssl_certificate)
		rc = tls_use_key(
			tls, o->ssl_key ? o->ssl_key : o->ssl_certificate, o->ssl_key_password, e);
	if (rc == OK)
		rc = o->ssl_authorities ? tls_use_authorities(tls, o->ssl_authorities, e)
					: tls_use_system_authorities(tls, e);
	if (rc)
		tls_context_free(tls);
	else
		*ret = tls;
	return rc;
}

/* --- open and close --- */

static int set_name(struct zkzeo_client *c, const struct zkzeo_options *o, struct err *e)
{
	struct buf name = BUF_INIT(0);
	uint8_t *text;
	size_t len;
	int rc;

	if (o->name)
		buf_put_str(&name, o->name);
	else if (o->path)
		buf_printf(&name, "%s%s", o->zookeeper ? o->zookeeper : "", o->path);
	for (size_t i = 0; !o->name && i < o->n_addresses; i++)
		buf_printf(&name, "%s%s", i ? "," : "", o->addresses[i]);
	rc = api_take(&name, &text, &len, e);
	if (rc == OK)
		c->name = (char *)text;
	return rc;
}

static int find_servers(struct zkzeo_client *c, const struct zkzeo_options *o,
	const struct client_events *events, struct address **ret, size_t *ret_n, struct err *e)
{
	int rc;

	if (!o->path) {
		*ret_n = o->n_addresses;
		return parse_addresses(o->addresses, o->n_addresses, ret, e);
	}
	rc = finder_open(o->zookeeper, o->path, !o->no_wait, NULL, events, &c->finder, e);
	return rc ? rc : finder_addresses(c->finder, ret, ret_n, e);
}

static int open_blobs(struct zkzeo_client *c, const struct zkzeo_options *o, struct err *e)
{
	struct blobs_options b = {
		.path = o->blob_dir,
		.shared = o->shared_blob_dir,
		.limited = o->blob_cache_size != 0,
		.cache_bytes = o->blob_cache_size,
		.check_percent = o->blob_cache_size_check ? o->blob_cache_size_check : 10,
	};

	return blobs_open(c->client, &b, &c->blobs, e);
}

static int open_client(struct zkzeo_client *c, const struct zkzeo_options *o, struct err *e)
{
	char cache[PATH_MAX];
	struct address *addresses = NULL;
	size_t n = 0;
	struct client_options co = {
		.storage = o->storage,
		.name = c->name,
		.label = o->client_label,
		.cache_path = o->cache,
		.cache_bytes = o->cache_size,
		.read_only = o->read_only,
		.read_only_fallback = o->read_only_fallback,
		.wait_timeout_ms = o->wait_timeout_ms,
		.min_poll_ms = o->min_disconnect_poll_ms,
		.max_poll_ms = o->max_disconnect_poll_ms,
		.tls = c->tls,
		.tls_server_name = o->ssl_server_hostname,
	};
	int rc = OK;

	api_events(c, &co.events);
	if (o->client && !o->cache) {
		rc = cache_path(o, cache, e);
		co.cache_path = cache;
	}
	if (rc == OK)
		rc = find_servers(c, o, &co.events, &addresses, &n, e);
	if (rc == OK)
		rc = client_open(&co, addresses, n, &c->client, e);
	mem_free(addresses);
	if (rc == OK && c->finder)
		rc = finder_attach(c->finder, c->client, e);
	if (rc == OK && o->blob_dir)
		rc = open_blobs(c, o, e);
	if (rc == OK && !o->no_wait)
		rc = client_wait(c->client, 0, e);
	return rc;
}

int zkzeo_client_open(
	const struct zkzeo_options *options, struct zkzeo_client **ret, struct zkzeo_error *error)
{
	struct err *e = err_of(error);
	struct zkzeo_options o;
	struct zkzeo_client *c;
	int rc = read_options(options, &o, e);

	if (rc)
		return rc;
	c = mem_zalloc(1, sizeof(*c));
	if (!c)
		return err_set(e, ERR_NOMEM, "no memory for a client");
	pthread_mutex_init(&c->lock, NULL);
	c->pid = getpid();
	c->events = o.events;
	c->server_sync = o.server_sync;
	rc = set_name(c, &o, e);
	if (rc == OK)
		rc = api_resolver_open(&c->resolver, &c->events, e);
	if (rc == OK && o.ssl)
		rc = open_tls(&o, &c->tls, e);
	if (rc == OK)
		rc = open_client(c, &o, e);
	if (rc == OK)
		*ret = c;
	else
		zkzeo_client_close(c);
	return rc;
}

void zkzeo_client_close(struct zkzeo_client *c)
{
	if (!c)
		return;
	finder_close(c->finder);
	if (c->client)
		client_shut(c->client);
	blobs_close(c->blobs);
	client_close(c->client);
	tls_context_free(c->tls);
	api_resolver_close(&c->resolver);
	if (c->pid == getpid()) /* else it may be a thread's that is not there */
		pthread_mutex_destroy(&c->lock);
	mem_free(c->name);
	mem_free(c);
}

/* --- what it is --- */

int zkzeo_client_wait(struct zkzeo_client *c, uint32_t timeout_ms, struct zkzeo_error *e)
{
	return client_wait(c->client, timeout_ms, err_of(e));
}

int zkzeo_client_set_addresses(
	struct zkzeo_client *c, const char *const *addresses, size_t n, struct zkzeo_error *e)
{
	struct address *all = NULL;
	int rc;

	if (c->finder)
		return err_set(
			err_of(e), ERR_INVAL, "the servers are those of a path in ZooKeeper");
	rc = parse_addresses(addresses, n, &all, err_of(e));
	if (rc == OK)
		rc = client_set_addresses(c->client, all, n, err_of(e));
	mem_free(all);
	return rc;
}

bool zkzeo_client_is_connected(const struct zkzeo_client *c)
{
	return client_is_connected(c->client);
}

bool zkzeo_client_is_read_only(const struct zkzeo_client *c)
{
	return client_is_read_only(c->client);
}

uint64_t zkzeo_client_last_tid(const struct zkzeo_client *c)
{
	return client_last_tid(c->client);
}

const char *zkzeo_client_name(const struct zkzeo_client *c)
{
	return c->name;
}

int zkzeo_client_sort_key(const struct zkzeo_client *c, char **ret, struct zkzeo_error *e)
{
	struct buf out = BUF_INIT(0);
	uint8_t *text;
	size_t len;
	int rc = client_sort_key(c->client, &out, err_of(e));

	if (rc == OK)
		rc = api_take(&out, &text, &len, err_of(e));
	buf_free(&out);
	if (rc == OK)
		*ret = (char *)text;
	return rc;
}

int zkzeo_client_sync(struct zkzeo_client *c, struct zkzeo_error *e)
{
	return client_ping(c->client, err_of(e));
}
