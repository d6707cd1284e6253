#include "client/attempt.h"

#include <errno.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>

#include "base/bigendian.h"
#include "base/check.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/os.h"
#include "client/conn.h"
#include "client/lookup.h"
#include "net/tls.h"
#include "zeo/frame.h"

enum state {
	WAITING,
	LOOKING_UP,
	CONNECTING,
	SHAKING_HANDS,
	GREETING,
	REGISTERING,
};

struct attempt {
	struct client *client;
	struct attempt *next;
	struct address address;
	char text[300]; /* the address */
	enum state state;
	uv_timer_t timer;       /* the end of WAITING, or of patience */
	struct lookup *lookup;  /* NULL: none under way */
	struct addrinfo *found; /* where it can be reached */
	struct addrinfo *at;    /* the one to be tried next */
	struct conn *conn;
	bool as_reader; /* registers read-only, as a fallback */
	unsigned failures;
	unsigned refusals;
};

static void try_now(struct attempt *a);

const struct address *attempt_address(const struct attempt *a)
{
	return &a->address;
}

struct attempt *attempt_next(const struct attempt *a)
{
	return a->next;
}

/* --- failure, and the next time --- */

/* xorshift: nothing here has to be hard to guess */
uint32_t client_jitter(struct client *c, uint32_t base_ms)
{
	uint64_t x = c->random;

	x ^= x << 13;
	x ^= x >> 7;
	x ^= x << 17;
	c->random = x;
	return base_ms / 2 + (uint32_t)(x % (base_ms / 2 + 1));
}

static uint32_t grown(uint32_t base_ms, unsigned times, uint32_t max_ms)
{
	uint64_t ms = base_ms;

	while (times-- > 1 && ms < max_ms)
		ms *= 2;
	return ms < max_ms ? (uint32_t)ms : max_ms;
}

static void on_timer(uv_timer_t *t);

static void forget_addresses(struct attempt *a)
{
	if (a->lookup)
		lookup_abandon(a->lookup);
	a->lookup = NULL;
	if (a->found)
		freeaddrinfo(a->found);
	a->found = a->at = NULL;
}

/* Its connection ends without a word to the attempt. */
static void drop_conn(struct attempt *a, const char *why)
{
	struct conn *conn = a->conn;

	if (!conn)
		return;
	a->conn = NULL;
	conn->attempt = NULL;
	pthread_mutex_lock(&a->client->lock);
	conn_kill(conn, ERR_CLOSED, "%s", why);
	pthread_mutex_unlock(&a->client->lock);
}

static void wait_again(struct attempt *a, uint32_t ms)
{
	forget_addresses(a);
	a->state = WAITING;
	uv_timer_start(&a->timer, on_timer, client_jitter(a->client, ms), 0);
}

static void failed(struct attempt *a, const char *why)
{
	const struct client_options *o = &a->client->options;

	client_log(
		a->client, LOG_INFO, CLIENT_IO_LOGGER, "Connection to %s failed, %s", a->text, why);
	drop_conn(a, why);
	wait_again(a, grown(o->min_poll_ms, ++a->failures, o->max_poll_ms));
	client_seek(a->client);
}

static void refused(struct attempt *a, const char *why)
{
	const struct client_options *o = &a->client->options;
	uint32_t max =
		o->max_poll_ms > CLIENT_REFUSED_MAX_MS ? o->max_poll_ms : CLIENT_REFUSED_MAX_MS;

	client_log(a->client, LOG_ERROR, CLIENT_IO_LOGGER, "Registration with %s failed, %s",
		a->text, why);
	drop_conn(a, why);
	wait_again(a, grown(o->min_poll_ms, ++a->refusals, max));
}

static void on_timer(uv_timer_t *t)
{
	struct attempt *a = t->data;

	if (a->state == WAITING)
		try_now(a);
	else
		failed(a, "it takes too long");
}

void attempt_lost(struct attempt *a, const struct err *why)
{
	a->conn = NULL;
	failed(a, why->text);
}

/* --- the end --- */

static void on_timer_closed(uv_handle_t *h)
{
	struct attempt *a = h->data;
	struct client *c = a->client;

	mem_free(a);
	client_handle_gone(c);
}

static void leave(struct attempt *a)
{
	struct attempt **at = &a->client->attempts;

	while (*at != a)
		at = &(*at)->next;
	*at = a->next;
	forget_addresses(a);
	uv_close((uv_handle_t *)&a->timer, on_timer_closed);
}

void attempt_cancel(struct attempt *a)
{
	drop_conn(a, "it is not wanted any more");
	leave(a);
}

/* --- registering --- */

static void won(struct attempt *a, uint64_t tid)
{
	struct client *c = a->client;
	struct conn *conn = a->conn;

	a->conn = NULL;
	conn->attempt = NULL;
	conn->read_only = c->options.read_only || a->as_reader;
	conn->address = a->address;
	leave(a);
	client_registered(c, conn, tid);
}

static void ask_to_register(struct attempt *a);

static void on_registered(struct call *k)
{
	struct attempt *a = ((struct conn *)k->arg)->attempt;
	struct err e = k->err;
	int rc = k->rc;

	if (!a || rc == ERR_CLOSED)
		return; /* cancelled; or attempt_lost() follows */
	if (rc == ERR_READONLY && a->client->options.read_only_fallback && !a->as_reader) {
		a->as_reader = true;
		ask_to_register(a);
		return;
	}
	if (rc == OK)
		rc = call_decode(k, &e);
	if (rc == OK && !val_is_none(k->result) &&
		(k->result->type != VAL_BYTES || k->result->s.len != 8))
		rc = err_set(&e, ERR_FORMAT, "register() has not answered a tid");
	if (rc != OK)
		refused(a, e.text);
	else
		won(a, val_is_none(k->result) ? TID_NONE : get_be64(k->result->s.data));
}

static void ask_to_register(struct attempt *a)
{
	struct client *c = a->client;
	struct val args[2] = {
		{ .type = VAL_STR, .s = slice_str(c->storage) },
		{ .type = VAL_BOOL, .b = c->options.read_only || a->as_reader },
	};
	struct err e = ERR_INIT;
	int rc;

	a->state = REGISTERING;
	call_end(&a->conn->step);
	a->conn->step = (struct call){ .done = on_registered, .arg = a->conn };
	pthread_mutex_lock(&c->lock);
	rc = conn_ask(a->conn, &a->conn->step, "register", args, 2, &e);
	if (rc == OK)
		conn_flush(a->conn);
	pthread_mutex_unlock(&c->lock);
	if (rc != OK)
		failed(a, e.text);
}

/* "Z5", "M5"; a newer version speaks 5, too. */
int attempt_hello(struct attempt *a, struct slice content, struct err *e)
{
	struct conn *conn = a->conn;
	struct client *c = a->client;
	size_t mark;

	if (content.len < 2 || (content.data[0] != 'Z' && content.data[0] != 'M') ||
		content.data[1] < '5' || content.data[1] > '9')
		return err_set(e, ERR_FORMAT,
			"the server's protocol is '%.*s': Z5 or M5 was expected",
			content.len < 16 ? (int)content.len : 16, (const char *)content.data);
	conn->encoding = content.data[0] == 'M' ? ENC_MSGPACK : ENC_PICKLE;
	snprintf(conn->protocol, sizeof(conn->protocol), "%c5", content.data[0]);
	pthread_mutex_lock(&c->lock);
	mark = frame_begin(&conn->out);
	buf_put_str(&conn->out, conn->protocol);
	frame_end(&conn->out, mark);
	pthread_mutex_unlock(&c->lock);
	ask_to_register(a);
	return OK;
}

/* --- connecting --- */

static void greet(struct attempt *a)
{
	a->state = GREETING;
	pthread_mutex_lock(&a->client->lock);
	a->conn->polled = true;
	pthread_mutex_unlock(&a->client->lock);
	conn_attend(a->conn);
}

static void shake_hands(struct attempt *a)
{
	struct err e = ERR_INIT;
	int rc;

	a->state = SHAKING_HANDS;
	pthread_mutex_lock(&a->client->lock);
	rc = tls_handshake(a->conn->tls, &e);
	pthread_mutex_unlock(&a->client->lock);
	if (rc == ERR_AGAIN)
		conn_attend(a->conn);
	else if (rc != OK)
		failed(a, e.text);
	else
		greet(a);
}

/* The socket is connected. */
static void connected(struct attempt *a)
{
	struct client *c = a->client;
	struct err e = ERR_INIT;
	const char *name = c->tls_server_name ? c->tls_server_name : a->address.host;

	forget_addresses(a);
	if (!c->options.tls || a->conn->dialed) {
		greet(a);
	} else if (conn_start_tls(a->conn, name, &e) != OK) {
		failed(a, e.text);
	} else {
		shake_hands(a);
	}
}

static void connect_next(struct attempt *a);

static void on_connected(struct attempt *a)
{
	socklen_t len = sizeof(int);
	int error = 0;

	if (getsockopt(a->conn->fd, SOL_SOCKET, SO_ERROR, &error, &len) != 0)
		error = errno;
	if (error == 0) {
		lookup_peer(a->conn->fd, &a->conn->peer);
		connected(a);
	} else if (a->at) {
		drop_conn(a, strerror(error));
		connect_next(a);
	} else {
		failed(a, strerror(error));
	}
}

bool attempt_wants_events(const struct attempt *a)
{
	return a->state == CONNECTING || a->state == SHAKING_HANDS;
}

bool attempt_wants_writable(const struct attempt *a)
{
	return a->state == CONNECTING;
}

void attempt_event(struct attempt *a)
{
	if (a->state == CONNECTING)
		on_connected(a);
	else
		shake_hands(a);
}

static int open_socket(const struct sockaddr *sa, socklen_t len, int *ret, struct err *e)
{
	int fd = socket(sa->sa_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	int yes = 1;

	if (fd < 0)
		return err_sys(e, errno, "cannot make a socket");
	if (sa->sa_family != AF_UNIX) {
		setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &yes, sizeof(yes));
		setsockopt(fd, SOL_SOCKET, SO_KEEPALIVE, &yes, sizeof(yes));
	}
	if (connect(fd, sa, len) != 0 && errno != EINPROGRESS) {
		int error = errno;

		os_close(fd);
		return err_sys(e, error, "cannot connect");
	}
	*ret = fd;
	return OK;
}

static int begin_connect(struct attempt *a, const struct sockaddr *sa, socklen_t len, struct err *e)
{
	int fd = -1;
	int rc = open_socket(sa, len, &fd, e);

	if (rc == OK)
		rc = conn_new(a->client, fd, &a->conn, e);
	if (rc != OK)
		return rc;
	a->conn->attempt = a;
	a->state = CONNECTING;
	conn_attend(a->conn);
	return OK;
}

static void connect_next(struct attempt *a)
{
	struct err e = ERR_INIT;

	while (a->at) {
		const struct addrinfo *ai = a->at;

		a->at = ai->ai_next;
		if (begin_connect(a, ai->ai_addr, ai->ai_addrlen, &e) == OK)
			return;
	}
	failed(a, e.text[0] ? e.text : "the name has no address");
}

static void on_found(void *arg, struct addrinfo *found, const char *error)
{
	struct attempt *a = arg;

	a->lookup = NULL;
	if (error) {
		failed(a, error);
		return;
	}
	a->found = a->at = found;
	connect_next(a);
}

static void on_dialed(void *arg, int fd, const struct address *peer, const char *error)
{
	struct attempt *a = arg;
	struct err e = ERR_INIT;

	a->lookup = NULL;
	if (error) {
		failed(a, error);
	} else if (conn_new(a->client, fd, &a->conn, &e) != OK) {
		failed(a, e.text);
	} else {
		a->conn->attempt = a;
		a->conn->dialed = true;
		a->conn->peer = *peer;
		connected(a);
	}
}

/* A name is looked up in the pool. A job there cannot be stopped, and a client that is closed does not wait for it: an IP
 * address, for which nobody has to be asked, is none. */
static int try_host(struct attempt *a, struct err *e)
{
	struct addrinfo *found = lookup_numeric(&a->address);

	if (!found)
		return lookup_host(a->client->io, &a->address, on_found, a, &a->lookup, e);
	on_found(a, found, NULL);
	return OK;
}

static int try_unix(struct attempt *a, struct err *e)
{
	struct sockaddr_un sa = { .sun_family = AF_UNIX };

	memcpy(sa.sun_path, a->address.path, sizeof(sa.sun_path));
	return begin_connect(a, (const struct sockaddr *)&sa, sizeof(sa), e);
}

static void try_now(struct attempt *a)
{
	struct client *c = a->client;
	struct err e = ERR_INIT;
	int rc;

	uv_timer_start(&a->timer, on_timer, CLIENT_ATTEMPT_MS, 0);
	a->state = LOOKING_UP;
	a->as_reader = false;
	if (c->options.dialer.dial)
		rc = lookup_dial(c, &a->address, on_dialed, a, &a->lookup, &e);
	else if (a->address.family == ADDRESS_UNIX)
		rc = try_unix(a, &e);
	else
		rc = try_host(a, &e);
	if (rc != OK)
		failed(a, e.text);
}

int attempt_start(struct client *c, const struct address *address, uint32_t delay_ms, struct err *e)
{
	struct attempt *a = mem_zalloc(1, sizeof(*a));

	if (!a)
		return err_set(e, ERR_NOMEM, "no memory to connect");
	a->client = c;
	a->address = *address;
	address_format(address, a->text, sizeof(a->text));
	uv_timer_init(io_thread_loop(c->io), &a->timer);
	a->timer.data = a;
	c->handles++;
	a->next = c->attempts;
	c->attempts = a;
	if (delay_ms)
		uv_timer_start(&a->timer, on_timer, delay_ms, 0);
	else
		try_now(a);
	return OK;
}
