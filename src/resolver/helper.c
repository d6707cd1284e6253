#include "resolver/helper.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <sys/pidfd.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/bigendian.h"
#include "base/clock.h"
#include "base/mem.h"
#include "base/os.h"
#include "resolver_script.h"

extern char **environ;

enum {
	HEAD_BYTES = 4 + 1 + 3 * 8 + 3 * 4,
	ANSWER_HEAD_BYTES = 5,
	REASON_BYTES_MAX = 400,
	GONE_MS = 1000, /* a killed process that is not gone by then is left to itself */
};

/* Until the socket is ready. */
static int wait_for(int fd, short events, uint64_t deadline_us, struct err *e)
{
	for (;;) {
		uint64_t now = clock_mono_us(&clock_system);
		struct pollfd p = { .fd = fd, .events = events };
		int n;

		if (now >= deadline_us)
			return err_set(e, ERR_TIMEOUT, "no answer in time");
		n = poll(&p, 1, (int)((deadline_us - now + 999) / 1000));
		if (n > 0)
			return OK;
		if (n < 0 && errno != EINTR)
			return err_sys(e, errno, "poll");
	}
}

static void skip(struct iovec *iov, int n, size_t done)
{
	for (int i = 0; i < n; i++) {
		size_t part = done < iov[i].iov_len ? done : iov[i].iov_len;

		iov[i].iov_base = (char *)iov[i].iov_base + part;
		iov[i].iov_len -= part;
		done -= part;
	}
}

static int send_all(int fd, struct iovec *iov, int n, uint64_t deadline_us, struct err *e)
{
	size_t left = 0;

	for (int i = 0; i < n; i++)
		left += iov[i].iov_len;
	while (left) {
		struct msghdr m = { .msg_iov = iov, .msg_iovlen = (size_t)n };
		ssize_t sent = sendmsg(fd, &m, MSG_NOSIGNAL | MSG_DONTWAIT);

		if (sent >= 0) {
			skip(iov, n, (size_t)sent);
			left -= (size_t)sent;
		} else if (errno == EAGAIN) {
			int rc = wait_for(fd, POLLOUT, deadline_us, e);

			if (rc)
				return rc;
		} else if (errno != EINTR) {
			return err_sys(e, errno, "the resolver process is gone");
		}
	}
	return OK;
}

static int receive_all(int fd, uint8_t *to, size_t n, uint64_t deadline_us, struct err *e)
{
	while (n) {
		ssize_t got = recv(fd, to, n, MSG_DONTWAIT);

		if (got > 0) {
			to += got;
			n -= (size_t)got;
		} else if (got == 0 || errno == ECONNRESET) {
			return err_set(e, ERR_IO, "the resolver process ended");
		} else if (errno == EAGAIN) {
			int rc = wait_for(fd, POLLIN, deadline_us, e);

			if (rc)
				return rc;
		} else if (errno != EINTR) {
			return err_sys(e, errno, "the resolver process is gone");
		}
	}
	return OK;
}

/* The text of a refusal, as the answer's error. */
static int receive_reason(struct helper *h, size_t n, int code, uint64_t deadline_us, struct err *e)
{
	char text[REASON_BYTES_MAX + 1];
	int rc;

	if (n > REASON_BYTES_MAX)
		return err_set(
			e, ERR_FORMAT, "the resolver process answered %zu bytes of reason", n);
	rc = receive_all(h->fd, (uint8_t *)text, n, deadline_us, e);
	if (rc)
		return rc;
	text[n] = 0;
	for (size_t i = 0; i < n; i++)
		if ((unsigned char)text[i] < 0x20 || text[i] == 0x7f)
			text[i] = ' ';
	return err_set(e, code, "%s", text);
}

static int receive_head(
	struct helper *h, uint64_t deadline_us, char *ret_letter, size_t *ret_n, struct err *e)
{
	uint8_t head[ANSWER_HEAD_BYTES];
	int rc = receive_all(h->fd, head, sizeof(head), deadline_us, e);

	if (rc)
		return rc;
	*ret_n = (size_t)get_be32(head) - 1;
	if (get_be32(head) == 0 || *ret_n > HELPER_RECORD_BYTES_MAX)
		return err_set(e, ERR_LIMIT, "the resolver process answered more than %d bytes",
			HELPER_RECORD_BYTES_MAX);
	*ret_letter = (char)head[4];
	return OK;
}

/* Nothing of the server's signals or terminal is inherited. */
static void set_attributes(posix_spawnattr_t *attr)
{
	sigset_t none;
	sigset_t all;

	sigemptyset(&none);
	sigfillset(&all);
	posix_spawnattr_init(attr);
	posix_spawnattr_setsigmask(attr, &none);
	posix_spawnattr_setsigdefault(attr, &all);
	posix_spawnattr_setflags(
		attr, POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF | POSIX_SPAWN_SETSID);
}

static int spawn(const char *python, const char *const *path, size_t path_n, int socket, pid_t *ret,
	struct err *e)
{
	posix_spawn_file_actions_t files;
	posix_spawnattr_t attr;
	char bootstrap[128];
	const char **argv = mem_zalloc(path_n + 4, sizeof(*argv));
	int rc;

	if (!argv)
		return err_set(e, ERR_NOMEM, "no memory");
	/* the program comes through the socket: there is no file that could be lost or changed */
	snprintf(bootstrap, sizeof(bootstrap),
		"exec(compile(open(0,'rb',buffering=0,closefd=False).read(%zu),"
		"'zkzeo_resolver.py','exec'))",
		sizeof(resolver_script) - 1);
	argv[0] = python;
	argv[1] = "-c";
	argv[2] = bootstrap;
	for (size_t i = 0; i < path_n; i++)
		argv[3 + i] = path[i];
	set_attributes(&attr);
	posix_spawn_file_actions_init(&files);
	posix_spawn_file_actions_adddup2(&files, socket, 0);
	posix_spawn_file_actions_adddup2(&files, socket, 1);
	posix_spawn_file_actions_addclosefrom_np(&files, 3);
	rc = posix_spawnp(ret, python, &files, &attr, (char *const *)argv, environ);
	posix_spawn_file_actions_destroy(&files);
	posix_spawnattr_destroy(&attr);
	mem_free(argv);
	return rc ? err_sys(e, rc, "'%s' cannot be started", python) : OK;
}

static int await_ready(struct helper *h, uint64_t deadline_us, struct err *e)
{
	char letter = 0;
	size_t n = 0;
	int rc = receive_head(h, deadline_us, &letter, &n, e);

	if (rc)
		return rc;
	if (letter == 'H' && n == 0)
		return OK;
	if (letter == '-')
		return receive_reason(h, n, ERR_IO, deadline_us, e);
	return err_set(e, ERR_FORMAT, "the resolver process does not speak as it should");
}

int helper_start(const char *python, const char *const *path, size_t path_n, uint64_t deadline_us,
	struct helper *ret, struct err *e)
{
	struct helper h = { .pid = 0, .fd = -1 };
	struct iovec script = { (void *)resolver_script, sizeof(resolver_script) - 1 };
	int fds[2] = { -1, -1 };
	int rc;

	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds) != 0)
		return err_sys(e, errno, "socketpair");
	h.fd = fds[0];
	rc = send_all(h.fd, &script, 1, deadline_us, e);
	if (rc == OK)
		rc = spawn(python, path, path_n, fds[1], &h.pid, e);
	os_close(fds[1]);
	if (rc == OK)
		rc = await_ready(&h, deadline_us, e);
	if (rc == OK)
		*ret = h;
	else
		helper_kill(&h);
	return rc == OK ? OK : err_wrap(e, "resolver process '%s'", python);
}

static int receive_record(
	struct helper *h, size_t n, uint64_t deadline_us, struct buf *ret, struct err *e)
{
	uint8_t *p = buf_reserve(ret, n);
	int rc;

	if (!p)
		return err_set(e, ERR_NOMEM, "no memory for the merged record");
	rc = receive_all(h->fd, p, n, deadline_us, e);
	if (rc == OK)
		buf_advance(ret, n);
	return rc;
}

static int answer(struct helper *h, uint64_t deadline_us, struct buf *ret, struct err *e)
{
	char letter = 0;
	size_t n = 0;
	int rc = receive_head(h, deadline_us, &letter, &n, e);

	if (rc)
		return rc;
	if (letter == '-')
		return receive_reason(h, n, ERR_CONFLICT, deadline_us, e);
	if (letter != '+' || n == 0)
		return err_set(e, ERR_FORMAT, "the resolver process does not speak as it should");
	return receive_record(h, n, deadline_us, ret, e);
}

int helper_ask(struct helper *h, const struct resolve_req *q, uint64_t deadline_us, struct buf *ret,
	struct err *e)
{
	uint8_t head[HEAD_BYTES];
	struct iovec iov[] = { { head, sizeof(head) }, { (void *)q->old.data, q->old.len },
		{ (void *)q->committed.data, q->committed.len },
		{ (void *)q->changed.data, q->changed.len } };
	int rc;

	if (q->old.len > HELPER_RECORD_BYTES_MAX || q->committed.len > HELPER_RECORD_BYTES_MAX ||
		q->changed.len > HELPER_RECORD_BYTES_MAX)
		return err_set(e, ERR_CONFLICT, "records of more than %d bytes are not resolved",
			HELPER_RECORD_BYTES_MAX);
	put_be32(head, (uint32_t)(HEAD_BYTES - 4 + q->old.len + q->committed.len + q->changed.len));
	head[4] = '?';
	put_be64(head + 5, q->oid);
	put_be64(head + 13, q->committed_serial);
	put_be64(head + 21, q->old_serial);
	put_be32(head + 29, (uint32_t)q->old.len);
	put_be32(head + 33, (uint32_t)q->committed.len);
	put_be32(head + 37, (uint32_t)q->changed.len);
	rc = send_all(h->fd, iov, ARRAY_LEN(iov), deadline_us, e);
	return rc ? rc : answer(h, deadline_us, ret, e);
}

/* Where the system cannot wait with a limit, without one: a killed process goes at once. */
static void reap(pid_t pid)
{
	int fd = pidfd_open(pid, 0);
	struct pollfd p = { .fd = fd, .events = POLLIN };

	if (fd >= 0)
		(void)poll(&p, 1, GONE_MS);
	while (waitpid(pid, NULL, fd >= 0 ? WNOHANG : 0) < 0 && errno == EINTR)
		;
	os_close(fd);
}

void helper_kill(struct helper *h)
{
	if (h->pid > 0) {
		kill(-h->pid, SIGKILL); /* its session, whose process group has its number */
		kill(h->pid, SIGKILL);
		reap(h->pid);
	}
	os_close(h->fd);
	*h = (struct helper){ .pid = 0, .fd = -1 };
}
