/* Which connection the client has, and which it looks for. On the I/O thread. */
#include <string.h>

#include "base/check.h"
#include "base/log.h"
#include "base/mem.h"
#include "client/attempt.h"
#include "client/conn.h"

enum { SEEK_MS = 1000 };

/* L */
void client_kick(struct client *c)
{
	if (c->task_posted || c->stopped)
		return;
	c->task_posted = true;
	io_thread_post(c->io, &c->task);
}

static bool same(const struct address *a, const struct address *b)
{
	if (a->family != b->family)
		return false;
	if (a->family == ADDRESS_UNIX)
		return strcmp(a->path, b->path) == 0;
	return a->port == b->port && strcmp(a->host, b->host) == 0;
}

/* --- which addresses to try. L --- */

static bool is_listed(const struct client *c, const struct address *a)
{
	for (size_t i = 0; i < c->n_addresses; i++)
		if (same(&c->addresses[i], a))
			return true;
	return false;
}

/* The server in use has left the list: T78. An empty list says nothing: T38. */
static bool is_leaving(const struct client *c)
{
	return c->conn && c->n_addresses && !is_listed(c, &c->conn->address);
}

static bool wants_writable(const struct client *c)
{
	return c->conn && c->options.read_only_fallback && c->conn->read_only;
}

static bool wants_connection(const struct client *c)
{
	return !c->closing && !c->successor && (!c->conn || wants_writable(c) || is_leaving(c));
}

static bool wants_address(const struct client *c, const struct address *a)
{
	return wants_connection(c) && is_listed(c, a) && !(c->conn && same(&c->conn->address, a));
}

static bool has_other(struct client *c, const struct address *a)
{
	bool found = false;

	pthread_mutex_lock(&c->lock);
	for (size_t i = 0; i < c->n_addresses && !found; i++)
		found = !same(&c->addresses[i], a);
	pthread_mutex_unlock(&c->lock);
	return found;
}

static bool has_attempt(const struct client *c, const struct address *a)
{
	for (struct attempt *t = c->attempts; t; t = attempt_next(t))
		if (same(attempt_address(t), a))
			return true;
	return false;
}

/* --- attempts --- */

static struct attempt *take_unwanted(struct client *c)
{
	struct attempt *t;

	pthread_mutex_lock(&c->lock);
	for (t = c->attempts; t; t = attempt_next(t))
		if (!wants_address(c, attempt_address(t)))
			break;
	pthread_mutex_unlock(&c->lock);
	return t;
}

static bool take_wanted(struct client *c, struct address *ret)
{
	bool found = false;

	pthread_mutex_lock(&c->lock);
	for (size_t i = 0; i < c->n_addresses && !found; i++) {
		const struct address *a = &c->addresses[i];

		found = wants_address(c, a) && !has_attempt(c, a);
		if (found)
			*ret = *a;
	}
	pthread_mutex_unlock(&c->lock);
	return found;
}

static uint32_t first_delay(struct client *c, const struct address *a)
{
	if (!same(a, &c->shunned) || !has_other(c, a))
		return 0;
	return client_jitter(c, CLIENT_REFUSED_MAX_MS);
}

static void on_retry(uv_timer_t *t)
{
	struct client *c = t->data;

	c->retry_waits = false;
	client_attend(c);
}

static void update_attempts(struct client *c)
{
	struct err e = ERR_INIT;
	struct address a;
	struct attempt *unwanted;

	while ((unwanted = take_unwanted(c)))
		attempt_cancel(unwanted);
	while (!c->retry_waits && take_wanted(c, &a))
		if (attempt_start(c, &a, first_delay(c, &a), &e) != OK) {
			client_log(c, LOG_ERROR, CLIENT_IO_LOGGER, "cannot connect: %s", e.text);
			c->retry_waits = true;
			uv_timer_start(&c->retry, on_retry, c->options.max_poll_ms, 0);
		}
}

/* --- connections --- */

static struct conn *next_to_attend(struct client *c, struct conn *last)
{
	struct conn *next;

	pthread_mutex_lock(&c->lock);
	next = last ? last->next : c->conns;
	if (next)
		conn_ref(next);
	if (last)
		conn_unref(last);
	pthread_mutex_unlock(&c->lock);
	return next;
}

static void attend_all(struct client *c)
{
	struct conn *conn = NULL;

	while ((conn = next_to_attend(c, conn)))
		conn_attend(conn);
}

static void on_retry_closed(uv_handle_t *h)
{
	client_handle_gone(h->data);
}

static void open_retry(struct client *c)
{
	uv_timer_init(io_thread_loop(c->io), &c->retry);
	c->retry.data = c;
	c->retry_open = true;
	c->handles++;
}

static void stop(struct client *c)
{
	struct conn *successor = c->successor;

	c->successor = NULL;
	if (successor) {
		pthread_mutex_lock(&c->lock);
		conn_kill(successor, ERR_CLOSED, "the client was closed");
		pthread_mutex_unlock(&c->lock);
	}
	if (c->retry_open) {
		c->retry_open = false;
		uv_close((uv_handle_t *)&c->retry, on_retry_closed);
	}
}

void client_attend(struct client *c)
{
	bool closing, changed;

	pthread_mutex_lock(&c->lock);
	closing = c->closing;
	changed = c->addresses_changed;
	c->addresses_changed = false;
	pthread_mutex_unlock(&c->lock);
	if (closing) {
		stop(c);
	} else if (!c->retry_open) {
		open_retry(c);
	} else if (changed && c->retry_waits) {
		c->retry_waits = false;
		uv_timer_stop(&c->retry);
	}
	attend_all(c);
	update_attempts(c);
}

void client_handle_gone(struct client *c)
{
	if (--c->handles)
		return;
	pthread_mutex_lock(&c->lock);
	if (c->closing)
		client_kick(c); /* client_run_task() sees that nothing is left */
	pthread_mutex_unlock(&c->lock);
}

/* Nothing of the client is touched after the last unlock, when it has stopped. */
void client_run_task(struct io_task *t)
{
	struct client *c = CONTAINER_OF(t, struct client, task);

	pthread_mutex_lock(&c->lock);
	c->task_posted = false;
	pthread_mutex_unlock(&c->lock);
	client_attend(c);
	pthread_mutex_lock(&c->lock);
	if (c->closing && !c->handles && !c->task_posted) {
		c->stopped = true;
		pthread_cond_broadcast(&c->changed);
	}
	pthread_mutex_unlock(&c->lock);
}

static uint64_t now_ms(struct client *c)
{
	return uv_now(io_thread_loop(c->io)) + 1; /* never 0 */
}

void client_seek(struct client *c)
{
	if (c->sought_ms && now_ms(c) - c->sought_ms < SEEK_MS)
		return;
	pthread_mutex_lock(&c->lock);
	if (!c->conn && !c->closing && c->seek) {
		c->sought_ms = now_ms(c);
		c->seek(c->seek_arg);
	}
	pthread_mutex_unlock(&c->lock);
}

/* --- what becomes of them --- */

static void use(struct client *c, struct conn *conn)
{
	pthread_mutex_lock(&c->lock);
	c->conn = conn;
	conn->chosen = true;
	c->successor = NULL;
	pthread_mutex_unlock(&c->lock);
	client_log(c, LOG_INFO, CLIENT_IO_LOGGER, "verifying the connection");
	client_verify(c, conn);
}

static void refuse(struct client *c, struct conn *conn)
{
	pthread_mutex_lock(&c->lock);
	conn_kill(conn, ERR_CLOSED, "too late: another server was chosen");
	pthread_mutex_unlock(&c->lock);
}

/* conn_end() of the old one comes back to client_lost(), where the new one is taken into use. */
static void replace(struct client *c, struct conn *conn, const char *why)
{
	c->successor = conn;
	pthread_mutex_lock(&c->lock);
	conn_kill(c->conn, ERR_CLOSED, "%s", why);
	pthread_mutex_unlock(&c->lock);
}

void client_registered(struct client *c, struct conn *conn, uint64_t tid)
{
	bool closing, none, better, leaving;

	conn->server_tid = tid;
	pthread_mutex_lock(&c->lock);
	closing = c->closing;
	none = !c->conn;
	better = wants_writable(c) && !conn->read_only;
	leaving = is_leaving(c);
	pthread_mutex_unlock(&c->lock);
	if (closing || c->successor)
		refuse(c, conn);
	else if (none)
		use(c, conn);
	else if (better)
		replace(c, conn, "a writable server is there");
	else if (leaving)
		replace(c, conn, "the server is not listed any more");
	else
		refuse(c, conn);
	client_attend(c);
}

/* A server that drops us soon after we came is not asked again at once. */
static void delay_next(struct client *c, const struct conn *conn)
{
	uint64_t now = now_ms(c);

	if (conn->ready_at_ms && now - conn->ready_at_ms >= c->options.min_poll_ms)
		return;
	if (!c->retry_open)
		return;
	c->retry_waits = true;
	uv_timer_start(&c->retry, on_retry, client_jitter(c, c->options.min_poll_ms), 0);
}

void client_lost(struct client *c, struct conn *conn, bool was_ready, const char *why)
{
	bool closing;

	pthread_mutex_lock(&c->lock);
	closing = c->closing;
	pthread_mutex_unlock(&c->lock);
	if (was_ready && !closing) {
		client_log(c, LOG_INFO, CLIENT_LOGGER, "%s Disconnected from storage: %s: %s",
			c->name, c->server, why);
		if (c->options.events.disconnected)
			c->options.events.disconnected(c->options.events.arg);
	}
	if (c->successor == conn)
		c->successor = NULL;
	else if (conn->chosen && c->successor)
		use(c, c->successor);
	else if (conn->chosen)
		delay_next(c, conn);
	client_seek(c);
	client_attend(c);
}

void client_shun(struct client *c, const struct conn *conn)
{
	c->shunned = conn->address;
}

bool client_has_choice(struct client *c, const struct conn *conn)
{
	return has_other(c, &conn->address);
}

static bool announce(struct client *c, struct conn *conn)
{
	bool again = c->was_connected;

	pthread_mutex_lock(&c->lock);
	c->read_only_now = conn->read_only;
	memcpy(c->protocol, conn->protocol, sizeof(c->protocol));
	pthread_mutex_unlock(&c->lock);
	return again;
}

void client_ready(struct client *c, struct conn *conn)
{
	bool again = announce(c, conn);
	bool ready;

	if (c->options.events.invalidate_all)
		c->options.events.invalidate_all(c->options.events.arg);
	client_log(c, LOG_INFO, CLIENT_LOGGER, "%s %s to storage: %s", c->name,
		again ? "Reconnected" : "Connected", c->server);
	if (c->options.events.connected)
		c->options.events.connected(c->options.events.arg);
	conn_won(conn);
	conn->ready_at_ms = now_ms(c);
	c->shunned = (struct address){ 0 };
	c->silences = 0;
	pthread_mutex_lock(&c->lock);
	ready = !conn->dead && !c->closing;
	if (ready) {
		c->operational = true;
		c->was_connected = true;
		c->n_oids = 0; /* R10: they were the other server's */
		atomic_fetch_add(&c->generation, 1);
		pthread_cond_broadcast(&c->changed);
	}
	pthread_mutex_unlock(&c->lock);
}
