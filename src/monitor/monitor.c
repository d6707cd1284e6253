#include "monitor/monitor.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/mem.h"
#include "base/os.h"
#include "monitor/connection.h"
#include "net/listen.h"

enum {
	CONNECTIONS_MAX = 32, /* more wait in the kernel's queue */
	POLLS_MAX = 1 + LISTEN_MAX + CONNECTIONS_MAX * CONNECTION_POLLS,
};

struct monitor {
	struct commands commands;
	struct listener listener;
	int wake; /* an eventfd */
	atomic_bool stop;
	pthread_t thread;
	struct connection *connections[CONNECTIONS_MAX]; /* the thread's */
	size_t n;
};

static uint64_t now(void)
{
	return clock_mono_us(&clock_system);
}

static nfds_t fill_polls(const struct monitor *m, struct pollfd *polls)
{
	nfds_t n = 0;

	polls[n++] = (struct pollfd){ m->wake, POLLIN, 0 };
	for (int i = 0; i < m->listener.n_fds; i++)
		polls[n++] = (struct pollfd){ m->n < CONNECTIONS_MAX ? m->listener.fds[i] : -1,
			POLLIN, 0 };
	for (size_t i = 0; i < m->n; i++, n += CONNECTION_POLLS)
		connection_polls(m->connections[i], polls + n);
	return n;
}

static int poll_timeout(const struct monitor *m)
{
	uint64_t first = UINT64_MAX;
	uint64_t t = now();

	for (size_t i = 0; i < m->n; i++)
		if (connection_deadline(m->connections[i]) < first)
			first = connection_deadline(m->connections[i]);
	if (first == UINT64_MAX)
		return -1;
	return first <= t ? 0 : (int)((first - t) / 1000 + 1);
}

static void accept_from(struct monitor *m, int listener)
{
	while (m->n < CONNECTIONS_MAX) {
		int fd = accept4(listener, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
		struct connection *c;

		if (fd < 0)
			return;
		c = mem_alloc(sizeof(*c));
		if (!c) {
			os_close(fd);
			return;
		}
		connection_init(c, fd, now());
		m->connections[m->n++] = c;
	}
}

static void drop(struct monitor *m, size_t i)
{
	connection_close(m->connections[i]);
	mem_free(m->connections[i]);
	m->connections[i] = m->connections[--m->n];
}

static void step_all(struct monitor *m)
{
	size_t i = 0;

	while (i < m->n) {
		if (connection_step(m->connections[i], &m->commands, now()))
			i++;
		else
			drop(m, i);
	}
}

static void *run(void *arg)
{
	struct monitor *m = arg;
	struct pollfd polls[POLLS_MAX];

	while (!atomic_load(&m->stop)) {
		nfds_t n = fill_polls(m, polls);

		poll(polls, n, poll_timeout(m));
		for (int i = 0; i < m->listener.n_fds; i++)
			if (polls[1 + i].revents)
				accept_from(m, m->listener.fds[i]);
		step_all(m);
	}
	while (m->n)
		drop(m, m->n - 1);
	return NULL;
}

static int start_thread(struct monitor *m, struct err *e)
{
	sigset_t all, old;
	int errnum;

	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &old);
	errnum = pthread_create(&m->thread, NULL, run, m);
	pthread_sigmask(SIG_SETMASK, &old, NULL);
	return errnum ? err_sys(e, errnum, "cannot start the monitor's thread") : OK;
}

static int listen_at(struct monitor *m, const struct address *address, struct err *e)
{
	char text[300];
	int rc = listener_open(address, &m->listener, e);

	if (rc == ERR_BUSY)
		return err_set(e, rc,
			"unable to start zc.monitor server because the address %s is in use.",
			address_format(address, text, sizeof(text)));
	return rc ? err_wrap(e, "monitor-server") : OK;
}

int monitor_start(const struct address *address, struct monitor **ret, struct err *e)
{
	struct monitor *m = mem_zalloc(1, sizeof(*m));
	int rc;

	if (!m)
		return err_set(e, ERR_NOMEM, "no memory for the monitor");
	rc = listen_at(m, address, e);
	if (rc) {
		mem_free(m);
		return rc;
	}
	commands_init(&m->commands);
	m->wake = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	rc = m->wake < 0 ? err_sys(e, errno, "cannot make an eventfd") : start_thread(m, e);
	if (rc) {
		os_close(m->wake);
		listener_close(&m->listener);
		commands_free(&m->commands);
		mem_free(m);
		return rc;
	}
	*ret = m;
	return OK;
}

int monitor_add(struct monitor *m, const struct monitor_command *c, struct err *e)
{
	return commands_add(&m->commands, c, e);
}

const struct address *monitor_address(const struct monitor *m)
{
	return &m->listener.bound;
}

void monitor_stop(struct monitor *m)
{
	uint64_t one = 1;

	if (!m)
		return;
	atomic_store(&m->stop, true);
	while (write(m->wake, &one, sizeof(one)) < 0 && errno == EINTR)
		;
	pthread_join(m->thread, NULL);
	os_close(m->wake);
	listener_close(&m->listener);
	commands_free(&m->commands);
	mem_free(m);
}
