#include "server/acceptor.h"

#include <arpa/inet.h>
#include <errno.h>
#include <net/if.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>

#include "base/log.h"
#include "server/server.h"

enum {
	ACCEPTS_A_TURN = 64,
	PAUSE_MS = 200, /* when there are no descriptors or memory left */
};

static void on_poll(uv_poll_t *p, int status, int events);

static void poll_all(struct acceptor *a, bool on)
{
	for (int i = 0; i < a->listener->n_fds; i++) {
		if (on)
			uv_poll_start(&a->polls[i], UV_READABLE, on_poll);
		else
			uv_poll_stop(&a->polls[i]);
	}
}

static void on_pause_over(uv_timer_t *t)
{
	poll_all(t->data, true);
}

/* "127.0.0.1:1234", "[::1]:1234", or "unix" and a number that tells connections apart. */
static void peer_name(
	const struct sockaddr_storage *ss, socklen_t n, int fd, char *out, size_t room)
{
	char host[INET6_ADDRSTRLEN + IF_NAMESIZE];
	char port[8];

	if (ss->ss_family == AF_UNIX ||
		getnameinfo((const struct sockaddr *)ss, n, host, sizeof(host), port, sizeof(port),
			NI_NUMERICHOST | NI_NUMERICSERV) != 0)
		snprintf(out, room, "unix:%d", fd);
	else if (strchr(host, ':'))
		snprintf(out, room, "[%s]:%s", host, port);
	else
		snprintf(out, room, "%s:%s", host, port);
}

/* The one with the fewest connections; in turn where they are equal. */
static struct worker *choose(struct acceptor *a)
{
	struct worker *best = &a->workers[a->turn++ % a->n_workers];

	for (unsigned i = 0; i < a->n_workers; i++)
		if (atomic_load(&a->workers[i].n_conns) < atomic_load(&best->n_conns))
			best = &a->workers[i];
	return best;
}

static void hand_over(struct acceptor *a, int fd, const struct sockaddr_storage *ss, socklen_t n)
{
	char peer[80];
	int one = 1;

	if (ss->ss_family != AF_UNIX) {
		setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
		setsockopt(fd, SOL_SOCKET, SO_KEEPALIVE, &one, sizeof(one));
	}
	peer_name(ss, n, fd, peer, sizeof(peer));
	worker_add(choose(a), fd, peer);
}

static bool is_shortage(int errnum)
{
	return errnum == EMFILE || errnum == ENFILE || errnum == ENOBUFS || errnum == ENOMEM;
}

/* What is short may be there again soon. Said once, until a connection was accepted. */
static void pause_accepting(struct acceptor *a, const char *why)
{
	if (!a->complained)
		log_emit(LOG_ERROR, SERVER_LOGGER,
			"cannot accept connections, trying every %d ms: %s", PAUSE_MS, why);
	a->complained = true;
	poll_all(a, false);
	uv_timer_start(&a->pause, on_pause_over, PAUSE_MS, 0);
}

static void on_poll(uv_poll_t *p, int status, int events)
{
	struct acceptor *a = p->data;
	int listen_fd = a->listener->fds[p - a->polls];
	(void)events;
	if (status < 0) { /* libuv has stopped this one: all go on after a while */
		pause_accepting(a, uv_strerror(status));
		return;
	}
	for (int i = 0; i < ACCEPTS_A_TURN; i++) {
		struct sockaddr_storage ss = { 0 };
		socklen_t n = sizeof(ss);
		int fd = accept4(
			listen_fd, (struct sockaddr *)&ss, &n, SOCK_NONBLOCK | SOCK_CLOEXEC);

		if (fd >= 0) {
			a->complained = false;
			hand_over(a, fd, &ss, n);
		} else if (is_shortage(errno)) {
			pause_accepting(a, strerror(errno));
			return;
		} else if (errno == EAGAIN) {
			return;
		}
	}
}

static void close_handles(struct acceptor *a)
{
	for (int i = 0; i < a->listener->n_fds; i++)
		uv_close((uv_handle_t *)&a->polls[i], NULL);
	uv_close((uv_handle_t *)&a->pause, NULL);
}

static void on_wake(struct loop *l)
{
	struct acceptor *a = CONTAINER_OF(l, struct acceptor, loop);

	if (!atomic_exchange(&a->stop, false))
		return;
	close_handles(a);
	loop_finish(l);
}

int acceptor_start(struct acceptor *a, const struct listener *listener, struct worker *workers,
	unsigned n_workers, struct err *e)
{
	int rc;

	a->listener = listener;
	a->workers = workers;
	a->n_workers = n_workers;
	a->turn = 0;
	atomic_init(&a->stop, false);
	rc = loop_init(&a->loop, on_wake, e);
	if (rc != OK)
		return rc;
	for (int i = 0; i < listener->n_fds; i++) {
		uv_poll_init(&a->loop.uv, &a->polls[i], listener->fds[i]);
		a->polls[i].data = a;
	}
	uv_timer_init(&a->loop.uv, &a->pause);
	a->pause.data = a;
	poll_all(a, true);
	rc = loop_start(&a->loop, "acceptor", e);
	if (rc != OK) {
		close_handles(a);
		loop_fini(&a->loop);
	}
	return rc;
}

void acceptor_stop(struct acceptor *a)
{
	if (!a->loop.started)
		return;
	atomic_store(&a->stop, true);
	loop_wake(&a->loop);
	loop_join(&a->loop);
	loop_fini(&a->loop);
	a->loop.started = false;
}
