/* The client's public calls. */
#include "client/conn.h"
#include "client/state.h"

/* Asks and, without k->done, waits. L. */
static int ask(struct client *c, struct call *k, const char *method, const struct val *args,
	uint32_t n_args, struct err *e)
{
	struct conn *conn = c->conn;
	int rc = conn_ask(conn, k, method, args, n_args, e);

	if (rc != OK)
		return rc;
	conn_flush(conn);
	if (k->done)
		return OK;
	rc = conn_wait(conn, k, e);
	return rc == OK ? call_result(k, e) : rc;
}

int client_call(struct client *c, struct call *k, const char *method, const struct val *args,
	uint32_t n_args, uint32_t timeout_ms, struct err *e)
{
	int rc = client_enter(c, e);

	if (rc != OK)
		return rc;
	if (!k->done)
		rc = client_await(c, timeout_ms, e);
	if (rc == OK)
		rc = client_may_call(c, k, e);
	if (rc == OK)
		rc = ask(c, k, method, args, n_args, e);
	client_leave(c);
	return rc;
}

static int cast(struct client *c, const char *method, const struct val *args, uint32_t n_args,
	bool drain, struct err *e)
{
	int rc = client_enter(c, e);

	if (rc != OK)
		return rc;
	if (!c->operational)
		rc = client_not_connected(c, e);
	if (rc == OK && drain)
		rc = conn_drain(c->conn, e);
	if (rc == OK && !c->operational) /* it had to wait */
		rc = client_not_connected(c, e);
	if (rc == OK)
		rc = conn_say(c->conn, method, args, n_args, e);
	if (rc == OK)
		conn_flush(c->conn);
	client_leave(c);
	return rc;
}

int client_cast(struct client *c, const char *method, const struct val *args, uint32_t n_args,
	struct err *e)
{
	return cast(c, method, args, n_args, true, e);
}

int client_cast_at_once(struct client *c, const char *method, const struct val *args,
	uint32_t n_args, struct err *e)
{
	return cast(c, method, args, n_args, false, e);
}

int client_ping(struct client *c, struct err *e)
{
	struct call k = { 0 };
	int rc = client_call(c, &k, "ping", NULL, 0, 0, e);

	call_end(&k);
	return rc;
}

/* In its place in the stream, on the thread that reads: nobody else changes the cache. */
static void on_forget(struct call *k)
{
	struct client *c = k->client;

	if (k->rc != OK || !c->cache)
		return;
	cache_clear(c->cache);
	cache_set_last_tid(c->cache, atomic_load(&c->last_tid));
}

int client_forget_cached(struct client *c, struct err *e)
{
	struct call k = { .on_reply = on_forget };
	int rc = client_call(c, &k, "ping", NULL, 0, 0, e);

	call_end(&k);
	return rc;
}
