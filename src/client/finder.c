#include "client/finder.h"

#include <errno.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/mem.h"

enum {
	CONNECT_MS = 10000,
	ASK_STOP_MS = 100,
	WARN_AGAIN_US = 300 * 1000000,
};

/* A list of servers. */
struct servers {
	struct address *addresses;
	size_t n;
	char *names; /* of those, and of children that are no addresses, as the watch tells them */
	size_t n_names;
	char *text; /* of the addresses, as Python shows a list */
};

struct finder {
	char *connection, *path;
	struct client_events events; /* its log() */
	struct watch *watch;

	/* Held while a list is handed on, so that lists reach the log and the client in their order. Others are taken inside. */
	pthread_mutex_t order;
	struct client *client; /* NULL: nobody is told yet */
	bool warned;           /* the list was empty, and that was said */

	pthread_mutex_t lock;   /* over what follows */
	pthread_cond_t changed; /* CLOCK_MONOTONIC */
	struct servers now;
};

static void say(struct finder *f, int level, const char *fmt, ...) PRINTF(3, 4);

static void say(struct finder *f, int level, const char *fmt, ...)
{
	char text[4096]; /* the log cuts longer lines, too */
	va_list ap;

	if (!f->events.log)
		return;
	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	f->events.log(f->events.arg, level, "zc.zkzeo", text);
}

static void free_servers(struct servers *s)
{
	mem_free(s->addresses);
	mem_free(s->names);
	mem_free(s->text);
	memset(s, 0, sizeof(*s));
}

/* A server is HOST:PORT or [IPV6]:PORT: what address_parse() knows beside that is no name of a server. */
static bool parse_name(const char *name, struct address *ret)
{
	return address_parse(name, "", ret, NULL) == OK && ret->family == ADDRESS_INET &&
	       ret->host[0] && ret->port;
}

static bool has_name(const struct servers *s, const char *name)
{
	const char *p = s->names;

	for (size_t i = 0; i < s->n_names; i++, p += strlen(p) + 1)
		if (strcmp(p, name) == 0)
			return true;
	return false;
}

static void put_name(struct buf *out, const char *name)
{
	buf_put_str(out, out->len > 1 ? ", '" : "'");
	for (; *name; name++) {
		if (*name == '\'' || *name == '\\')
			buf_put_u8(out, '\\');
		buf_put_u8(out, (uint8_t)*name);
	}
	buf_put_u8(out, '\'');
}

/* Read what a watch tells. Returns false without memory. */
static bool read_servers(struct servers *s, const char *data, size_t len, size_t n)
{
	struct buf text = BUF_INIT(0);
	const char *p = data;

	s->addresses = mem_zalloc(n + 1, sizeof(*s->addresses));
	s->names = mem_alloc(len + 1);
	if (s->names)
		memcpy(s->names, data, len);
	s->n_names = n;
	buf_put_u8(&text, '[');
	for (size_t i = 0; s->addresses && i < n; i++, p += strlen(p) + 1)
		if (parse_name(p, &s->addresses[s->n])) {
			put_name(&text, p);
			s->n++;
		}
	buf_put(&text, "]", 2);
	s->text = (char *)text.data;
	if (s->addresses && s->names && buf_ok(&text))
		return true;
	free_servers(s);
	return false;
}

static void warn_of_others(struct finder *f, const struct servers *old, const struct servers *new)
{
	const char *p = new->names;
	struct address a;

	for (size_t i = 0; i < new->n_names; i++, p += strlen(p) + 1)
		if (!parse_name(p, &a) && !has_name(old, p))
			say(f, LOG_WARNING,
				"<%s%s>: '%s' is no address, HOST:PORT: it is passed over",
				f->connection, f->path, p);
}

static void warn_of_none(struct finder *f)
{
	say(f, LOG_WARNING, "No addresses from <%s%s>", f->connection, f->path);
}

/* Tell the log and the client. With the order lock held; nobody but its holder changes the list. */
static int hand_on(struct finder *f, struct err *e)
{
	const struct servers *s = &f->now;

	if (s->n && f->warned)
		say(f, LOG_WARNING, "OK: Addresses from <%s%s>", f->connection, f->path);
	if (s->n)
		say(f, LOG_INFO, "Addresses from <%s%s>: %s", f->connection, f->path, s->text);
	else if (!f->warned)
		warn_of_none(f);
	f->warned = s->n == 0;
	return client_set_addresses(f->client, s->addresses, s->n, e);
}

static void set_servers(struct finder *f, const char *data, size_t len, size_t n)
{
	struct servers new = { 0 }, old;
	struct err e = ERR_INIT;

	pthread_mutex_lock(&f->order);
	if (!read_servers(&new, data, len, n)) {
		say(f, LOG_ERROR, "<%s%s>: no memory for the list of addresses", f->connection,
			f->path);
		pthread_mutex_unlock(&f->order);
		return;
	}
	warn_of_others(f, &f->now, &new);
	pthread_mutex_lock(&f->lock);
	old = f->now;
	f->now = new;
	pthread_cond_broadcast(&f->changed);
	pthread_mutex_unlock(&f->lock);
	if (f->client && hand_on(f, &e))
		say(f, LOG_ERROR, "<%s%s>: %s", f->connection, f->path, e.text);
	pthread_mutex_unlock(&f->order);
	free_servers(&old);
}

static void on_changed(void *arg, const char *data, size_t len, size_t n)
{
	set_servers(arg, data, len, n);
}

/* A path that is gone has no servers: what works goes on working (T38). */
static void on_deleted(void *arg)
{
	set_servers(arg, "", 0, 0);
}

static void free_all(struct finder *f)
{
	free_servers(&f->now);
	pthread_cond_destroy(&f->changed);
	pthread_mutex_destroy(&f->lock);
	pthread_mutex_destroy(&f->order);
	mem_free(f->connection);
	mem_free(f->path);
	mem_free(f);
}

static struct finder *new_finder(
	const char *connection, const char *path, const struct client_events *events)
{
	struct finder *f = mem_zalloc(1, sizeof(*f));
	pthread_condattr_t attr;

	if (!f)
		return NULL;
	pthread_condattr_init(&attr);
	pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
	pthread_cond_init(&f->changed, &attr);
	pthread_condattr_destroy(&attr);
	pthread_mutex_init(&f->lock, NULL);
	pthread_mutex_init(&f->order, NULL);
	if (events)
		f->events = *events;
	f->connection = mem_strdup(connection);
	f->path = mem_strdup(path);
	if (f->connection && f->path)
		return f;
	free_all(f);
	return NULL;
}

static const char *connection_or_default(const char *connection)
{
	if (!connection || !connection[0])
		connection = getenv("ZC_ZK_CONNECTION_STRING");
	return connection && connection[0] ? connection : "127.0.0.1:2181";
}

/* Whether there is an address within a moment. */
static bool wait_a_moment(struct finder *f)
{
	uint64_t us = clock_mono_us(&clock_system) + ASK_STOP_MS * 1000;
	struct timespec until = { (time_t)(us / 1000000), (long)(us % 1000000) * 1000 };
	bool there;

	pthread_mutex_lock(&f->lock);
	while (!f->now.n)
		if (pthread_cond_timedwait(&f->changed, &f->lock, &until) == ETIMEDOUT)
			break;
	there = f->now.n > 0;
	pthread_mutex_unlock(&f->lock);
	return there;
}

static bool is_empty(struct finder *f)
{
	bool empty;

	pthread_mutex_lock(&f->lock);
	empty = f->now.n == 0;
	pthread_mutex_unlock(&f->lock);
	return empty;
}

static int wait_addresses(struct finder *f, bool (*stop)(void *arg),
	const struct client_events *events, struct err *e)
{
	uint64_t warned_us = clock_mono_us(&clock_system);

	if (!is_empty(f))
		return OK;
	warn_of_none(f);
	while (!wait_a_moment(f)) {
		if (stop && stop(events ? events->arg : NULL))
			return err_set(e, ERR_CLOSED,
				"the wait for addresses from <%s%s> was ended", f->connection,
				f->path);
		if (clock_mono_us(&clock_system) - warned_us < WARN_AGAIN_US)
			continue;
		warn_of_none(f);
		warned_us += WARN_AGAIN_US;
	}
	say(f, LOG_WARNING, "OK: Got addresses from <%s%s>", f->connection, f->path);
	return OK;
}

int finder_open(const char *connection, const char *path, bool wait, bool (*stop)(void *arg),
	const struct client_events *events, struct finder **ret, struct err *e)
{
	struct finder *f;
	int rc;

	connection = connection_or_default(connection);
	f = new_finder(connection, path, events);
	if (!f)
		return err_set(e, ERR_NOMEM, "no memory to follow '%s'", path);
	rc = watch_open(connection, path, WATCH_CHILDREN, CONNECT_MS,
		&(struct watch_events){ f, on_changed, on_deleted, NULL }, &f->watch, e);
	if (rc == OK && wait)
		rc = wait_addresses(f, stop, events, e);
	if (rc) {
		finder_close(f);
		return rc;
	}
	*ret = f;
	return OK;
}

int finder_addresses(struct finder *f, struct address **ret, size_t *ret_n, struct err *e)
{
	struct address *copy;
	size_t n;

	pthread_mutex_lock(&f->lock);
	n = f->now.n;
	copy = mem_zalloc(n + 1, sizeof(*copy));
	if (copy && n)
		memcpy(copy, f->now.addresses, n * sizeof(*copy));
	pthread_mutex_unlock(&f->lock);
	if (!copy)
		return err_set(e, ERR_NOMEM, "no memory for the addresses from <%s%s>",
			f->connection, f->path);
	*ret = copy;
	*ret_n = n;
	return OK;
}

/* The servers that are known do not do: is there another, or has ZooKeeper gone silent? */
static void on_seek(void *arg)
{
	struct finder *f = arg;

	watch_hurry(f->watch);
}

int finder_attach(struct finder *f, struct client *c, struct err *e)
{
	int rc;

	pthread_mutex_lock(&f->order);
	f->client = c;
	rc = hand_on(f, e);
	pthread_mutex_unlock(&f->order);
	client_on_seek(c, on_seek, f);
	return rc;
}

void finder_close(struct finder *f)
{
	if (!f)
		return;
	if (f->client)
		client_on_seek(f->client, NULL, NULL);
	watch_close(f->watch);
	free_all(f);
}
