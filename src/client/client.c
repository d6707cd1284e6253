#include "client/client.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "base/check.h"
#include "base/clock.h"
#include "base/log.h"
#include "base/mem.h"
#include "client/conn.h"
#include "client/state.h"

enum {
	CACHE_BYTES = 20 << 20,
	WAIT_TIMEOUT_MS = 30000,
	MIN_POLL_MS = 1000,
	HEARTBEAT_MS = 60000, /* as ZEO's */
	PATIENCE_MS = 10000,
};

/* --- open --- */

static int copy_text(const char *from, const char *otherwise, char **ret)
{
	const char *text = from ? from : otherwise;

	*ret = text ? mem_strdup(text) : NULL;
	return text && !*ret ? ERR_NOMEM : OK;
}

static int copy_texts(struct client *c, const struct address *addresses, size_t n)
{
	struct client_options *o = &c->options;
	char first[300] = "";

	if (n)
		address_format(&addresses[0], first, sizeof(first));
	if (copy_text(o->storage, "1", &c->storage) || copy_text(o->name, first, &c->name) ||
		copy_text(o->label, NULL, &c->label) ||
		copy_text(o->cache_path, NULL, &c->cache_path) ||
		copy_text(o->tls_server_name, NULL, &c->tls_server_name))
		return ERR_NOMEM;
	o->storage = c->storage;
	o->name = c->name;
	o->label = c->label;
	o->cache_path = c->cache_path;
	o->tls_server_name = c->tls_server_name;
	return OK;
}

static void set_defaults(struct client_options *o)
{
	if (!o->cache_bytes)
		o->cache_bytes = CACHE_BYTES;
	if (!o->wait_timeout_ms)
		o->wait_timeout_ms = WAIT_TIMEOUT_MS;
	if (!o->heartbeat_ms)
		o->heartbeat_ms = HEARTBEAT_MS;
	if (!o->patience_ms)
		o->patience_ms = PATIENCE_MS;
	if (!o->min_poll_ms)
		o->min_poll_ms = MIN_POLL_MS;
	if (o->max_poll_ms < o->min_poll_ms)
		o->max_poll_ms = o->min_poll_ms;
}

static int set_addresses(struct client *c, const struct address *addresses, size_t n, struct err *e)
{
	struct address *copy = mem_alloc(n * sizeof(*copy));

	if (!copy)
		return err_set(e, ERR_NOMEM, "no memory for %zu addresses", n);
	if (n)
		memcpy(copy, addresses, n * sizeof(*copy));
	mem_free(c->addresses);
	c->addresses = copy;
	c->n_addresses = n;
	c->addresses_changed = true;
	return OK;
}

static int open_cache(struct client *c, struct err *e)
{
	char note[256] = "";
	int rc;

	if (c->options.no_cache)
		return OK;
	rc = cache_open(c->cache_path, c->options.cache_bytes, &c->cache, note, e);
	if (rc != OK)
		return rc;
	if (note[0])
		client_log(c, LOG_WARNING, "ZEO.cache", "%s", note);
	atomic_store(&c->last_tid, cache_last_tid(c->cache));
	return OK;
}

static int set_first_info(struct client *c, struct err *e)
{
	struct val items[10] = {
		{ .type = VAL_STR, .s = slice_str("length") },
		{ .type = VAL_INT },
		{ .type = VAL_STR, .s = slice_str("size") },
		{ .type = VAL_INT },
		{ .type = VAL_STR, .s = slice_str("name") },
		{ .type = VAL_STR, .s = slice_str("ZEO Client") },
		{ .type = VAL_STR, .s = slice_str("supportsUndo") },
		{ .type = VAL_INT },
		{ .type = VAL_STR, .s = slice_str("interfaces") },
		{ .type = VAL_TUPLE },
	};
	struct val dict = { .type = VAL_DICT, .n = 10, .items = items };

	return client_merge_info(c, &dict, ENC_PICKLE, e);
}

static void init_locks(struct client *c)
{
	pthread_condattr_t attr;

	pthread_mutex_init(&c->lock, NULL);
	pthread_condattr_init(&attr);
	pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
	pthread_cond_init(&c->changed, &attr);
	pthread_condattr_destroy(&attr);
}

static void free_client(struct client *c, bool forked)
{
	cache_close(c->cache);
	if (!forked) { /* else threads of the parent's wait on these */
		pthread_cond_destroy(&c->changed);
		pthread_mutex_destroy(&c->lock);
	}
	mem_free(c->storage);
	mem_free(c->name);
	mem_free(c->label);
	mem_free(c->cache_path);
	mem_free(c->tls_server_name);
	mem_free(c->addresses);
	mem_free(c->oids);
	buf_free(&c->info);
	buf_free(&c->txn_room);
	mem_free(c);
}

int client_open(const struct client_options *o, const struct address *addresses, size_t n,
	struct client **ret, struct err *e)
{
	struct client *c = mem_zalloc(1, sizeof(*c));
	int rc;

	if (!c)
		return err_set(e, ERR_NOMEM, "no memory for a client");
	init_locks(c);
	c->options = *o;
	set_defaults(&c->options);
	c->verify_result = "";
	c->task.run = client_run_task;
	c->read_only_now = o->read_only;
	c->fork_generation = fork_generation();
	c->random = clock_mono_us(&clock_system) | 1;
	rc = copy_texts(c, addresses, n);
	if (rc != OK)
		err_set(e, rc, "no memory for a client");
	if (rc == OK)
		rc = set_addresses(c, addresses, n, e);
	if (rc == OK)
		rc = set_first_info(c, e);
	if (rc == OK)
		rc = open_cache(c, e);
	if (rc == OK)
		rc = io_thread_acquire(&c->io, e);
	if (rc != OK) {
		free_client(c, false);
		return rc;
	}
	fork_watch(c);
	*ret = c; /* before the first callback */
	pthread_mutex_lock(&c->lock);
	client_kick(c);
	pthread_mutex_unlock(&c->lock);
	return OK;
}

/* --- close --- */

void client_shut(struct client *c)
{
	if (client_check_fork(c, NULL) != OK)
		return;
	CHECK(!io_thread_is_self(c->io));
	pthread_mutex_lock(&c->lock);
	if (!c->closing) {
		c->closing = true;
		c->operational = false;
		atomic_fetch_add(&c->generation, 1);
		for (struct conn *conn = c->conns; conn; conn = conn->next)
			conn_kill(conn, ERR_CLOSED, "the client was closed");
		pthread_cond_broadcast(&c->changed);
		client_kick(c);
	}
	while (!c->stopped)
		pthread_cond_wait(&c->changed, &c->lock);
	pthread_mutex_unlock(&c->lock);
}

static void wait_until_nobody_is_inside(struct client *c)
{
	pthread_mutex_lock(&c->lock);
	while (c->inside)
		pthread_cond_wait(&c->changed, &c->lock);
	pthread_mutex_unlock(&c->lock);
}

void client_close(struct client *c)
{
	bool forked;

	if (!c)
		return;
	fork_forget(c);
	forked = client_check_fork(c, NULL) != OK;
	if (forked) {
		fork_close(c);
	} else {
		client_shut(c);
		wait_until_nobody_is_inside(c);
		io_thread_release(c->io);
	}
	free_client(c, forked);
}

/* --- for calls --- */

int client_check_fork(const struct client *c, struct err *e)
{
	if (c->fork_generation == fork_generation())
		return OK;
	return err_set(e, ERR_CLOSED,
		"the client was opened before a fork, in the parent process: open another one");
}

int client_enter(struct client *c, struct err *e)
{
	int rc = client_check_fork(c, e);

	if (rc != OK)
		return rc;
	pthread_mutex_lock(&c->lock);
	c->inside++;
	if (!c->closing)
		return OK;
	client_leave(c);
	return err_set(e, ERR_CLOSED, "the client is closed");
}

void client_leave(struct client *c)
{
	c->inside--;
	if (c->closing && !c->inside)
		pthread_cond_broadcast(&c->changed);
	pthread_mutex_unlock(&c->lock);
}

int client_not_connected(const struct client *c, struct err *e)
{
	if (c->closing)
		return err_set(e, ERR_CLOSED, "the client is closed");
	if (!c->was_connected)
		return err_set(e, ERR_CLOSED, "never connected");
	return err_set(e, ERR_CLOSED, "not connected");
}

int client_may_call(const struct client *c, const struct call *k, struct err *e)
{
	if (!c->operational)
		return client_not_connected(c, e);
	if (k->generation && k->generation != atomic_load(&c->generation))
		return err_set(e, ERR_CLOSED, "the connection was lost");
	return OK;
}

static struct timespec deadline(uint32_t ms)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	t.tv_sec += ms / 1000;
	t.tv_nsec += (long)(ms % 1000) * 1000000;
	if (t.tv_nsec >= 1000000000) {
		t.tv_sec++;
		t.tv_nsec -= 1000000000;
	}
	return t;
}

struct timespec client_moment(void)
{
	return deadline(CLIENT_MOMENT_MS);
}

int client_ask_interrupted(struct client *c, struct err *e)
{
	const struct client_events *events = &c->options.events;
	bool yes;

	if (!events->interrupted)
		return OK;
	pthread_mutex_unlock(&c->lock);
	yes = events->interrupted(events->arg);
	pthread_mutex_lock(&c->lock);
	return yes ? err_set(e, ERR_INTERRUPTED, "interrupted") : OK;
}

static bool is_before(const struct timespec *a, const struct timespec *b)
{
	return a->tv_sec != b->tv_sec ? a->tv_sec < b->tv_sec : a->tv_nsec < b->tv_nsec;
}

int client_wait_change(struct client *c, const struct timespec *until, struct err *e)
{
	struct timespec moment = client_moment();
	bool last = until && is_before(until, &moment);

	if (pthread_cond_timedwait(&c->changed, &c->lock, last ? until : &moment) != ETIMEDOUT)
		return OK;
	return last ? err_set(e, ERR_TIMEOUT, "timed out waiting for connection")
		    : client_ask_interrupted(c, e);
}

/* Returns 0, ERR_CLOSED, ERR_TIMEOUT or ERR_INTERRUPTED. L. */
static int wait_operational(struct client *c, uint32_t timeout_ms, struct err *e)
{
	struct timespec until = deadline(timeout_ms ? timeout_ms : c->options.wait_timeout_ms);
	int rc = OK;

	while (!c->operational && !c->closing && rc == OK)
		rc = client_wait_change(c, &until, e);
	if (rc == ERR_INTERRUPTED || (rc && !c->operational))
		return rc;
	return c->operational ? OK : client_not_connected(c, e);
}

int client_may_wait(const struct client *c, struct err *e)
{
	if (!io_thread_is_self(c->io) && !(c->conn && conn_is_reader(c->conn)))
		return OK;
	return err_set(e, ERR_STATE, "a callback of the client cannot wait for an answer");
}

int client_await(struct client *c, uint32_t timeout_ms, struct err *e)
{
	int rc = client_may_wait(c, e);

	if (rc != OK || c->operational)
		return rc;
	if (!c->was_connected)
		return client_not_connected(c, e);
	rc = wait_operational(c, timeout_ms, e);
	if (rc != ERR_TIMEOUT)
		return rc;
	if (e)
		e->code = ERR_CLOSED;
	return ERR_CLOSED;
}

int client_wait(struct client *c, uint32_t timeout_ms, struct err *e)
{
	int rc = client_enter(c, e);

	if (rc != OK)
		return rc;
	rc = client_may_wait(c, e);
	if (rc == OK)
		rc = wait_operational(c, timeout_ms, e);
	client_leave(c);
	return rc;
}

int client_set_addresses(struct client *c, const struct address *addresses, size_t n, struct err *e)
{
	int rc = client_enter(c, e);

	if (rc != OK)
		return rc;
	rc = set_addresses(c, addresses, n, e);
	client_kick(c);
	client_leave(c);
	return rc;
}

void client_on_seek(struct client *c, void (*seek)(void *arg), void *arg)
{
	if (client_check_fork(c, NULL) != OK)
		return;
	pthread_mutex_lock(&c->lock);
	c->seek = seek;
	c->seek_arg = arg;
	pthread_mutex_unlock(&c->lock);
}

void client_drop(struct client *c, const char *why)
{
	if (client_check_fork(c, NULL) != OK)
		return;
	pthread_mutex_lock(&c->lock);
	if (c->conn)
		conn_kill(c->conn, ERR_CLOSED, "%s", why);
	pthread_mutex_unlock(&c->lock);
}

/* --- what is known --- */

static struct client *unlocked(const struct client *c)
{
	return (struct client *)(uintptr_t)c; /* the lock is not part of the state */
}

bool client_is_connected(const struct client *c)
{
	struct client *m = unlocked(c);
	bool is;

	if (client_check_fork(c, NULL) != OK)
		return false;
	pthread_mutex_lock(&m->lock);
	is = c->operational;
	pthread_mutex_unlock(&m->lock);
	return is;
}

bool client_is_read_only(const struct client *c)
{
	struct client *m = unlocked(c);
	bool is;

	if (client_check_fork(c, NULL) != OK)
		return c->options.read_only;
	pthread_mutex_lock(&m->lock);
	is = c->read_only_now;
	pthread_mutex_unlock(&m->lock);
	return is;
}

uint64_t client_generation(const struct client *c)
{
	return atomic_load(&c->generation);
}

static _Thread_local struct {
	const struct client *client;
	uint64_t tid;
} shown;

void client_show_tid(const struct client *c, uint64_t tid)
{
	shown.client = c;
	shown.tid = tid;
}

uint64_t client_last_tid(const struct client *c)
{
	return shown.client == c ? shown.tid : atomic_load(&c->last_tid);
}

void client_set_last_tid(struct client *c, uint64_t tid)
{
	if (c->cache)
		cache_set_last_tid(c->cache, tid);
	atomic_store(&c->last_tid, tid);
}

int client_sort_key(const struct client *c, struct buf *out, struct err *e)
{
	struct client *m = unlocked(c);
	int rc = client_check_fork(c, e);

	if (rc != OK)
		return rc;
	pthread_mutex_lock(&m->lock);
	if (c->server[0])
		buf_printf(out, "%s:%s", c->storage, c->server);
	else
		rc = err_set(e, ERR_CLOSED, "never connected");
	pthread_mutex_unlock(&m->lock);
	if (rc == OK && !buf_ok(out))
		rc = err_set(e, ERR_NOMEM, "no memory for a sort key");
	return rc;
}

void client_protocol(const struct client *c, char out[4])
{
	struct client *m = unlocked(c);

	if (client_check_fork(c, NULL) != OK) {
		out[0] = 0;
		return;
	}
	pthread_mutex_lock(&m->lock);
	memcpy(out, c->protocol, sizeof(c->protocol));
	pthread_mutex_unlock(&m->lock);
}

const char *client_verify_result(const struct client *c)
{
	struct client *m = unlocked(c);
	const char *text;

	if (client_check_fork(c, NULL) != OK)
		return "";
	pthread_mutex_lock(&m->lock);
	text = c->verify_result;
	pthread_mutex_unlock(&m->lock);
	return text;
}

void client_log(struct client *c, int level, const char *logger, const char *fmt, ...)
{
	char text[1024];
	va_list ap;

	if (!c->options.events.log)
		return;
	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	c->options.events.log(c->options.events.arg, level, logger, text);
}

void client_set_push(struct client *c,
	void (*push)(void *arg, struct slice name, const struct val *args, uint32_t n_args),
	void *arg)
{
	if (client_check_fork(c, NULL) != OK)
		return;
	pthread_mutex_lock(&c->lock);
	c->push_arg = arg;
	c->push = push;
	pthread_mutex_unlock(&c->lock);
}
