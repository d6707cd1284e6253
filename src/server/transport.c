#include "server/transport.h"

#include <errno.h>
#include <inttypes.h>
#include <string.h>
#include <sys/sendfile.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>

#include "base/check.h"
#include "base/os.h"

enum {
	IOV_MAX_USED = 64,
	FILE_PIECE = 64 << 10, /* read from a file in one call */
};

int transport_init(
	struct transport *t, int fd, struct tls_context *tls, uint8_t *scratch, struct err *e)
{
	*t = (struct transport){ .fd = fd, .scratch = scratch };
	return tls ? tls_new(tls, fd, &t->tls, e) : OK;
}

void transport_end(struct transport *t)
{
	if (t->tls)
		tls_close_notify(t->tls);
	shutdown(t->fd, SHUT_WR);
}

void transport_fini(struct transport *t)
{
	tls_free(t->tls);
	os_close(t->fd);
}

int transport_handshake(struct transport *t, struct err *e)
{
	return t->tls ? tls_handshake(t->tls, e) : OK;
}

bool transport_is_ready(const struct transport *t)
{
	return !t->tls || tls_is_ready(t->tls);
}

void transport_waits(const struct transport *t, bool *reading, bool *writing)
{
	if (t->tls)
		tls_waits(t->tls, reading, writing);
}

static int io_error(struct err *e)
{
	if (errno == EAGAIN)
		return ERR_AGAIN;
	return err_set(e, ERR_IO, "%s", strerror(errno));
}

static int too_short(uint64_t off, size_t len, struct err *e)
{
	return err_set(e, ERR_CORRUPT,
		"a file being sent ends at %" PRIu64 ": %zu more bytes were expected", off, len);
}

static int send_file(
	struct transport *t, int fd, uint64_t off, size_t len, size_t *ret_n, struct err *e)
{
	off_t at = (off_t)off;
	ssize_t n;

	do
		n = sendfile(t->fd, fd, &at, len < FILE_PIECE ? len : FILE_PIECE);
	while (n < 0 && errno == EINTR);
	if (n < 0 && errno == EIO)
		return err_set(e, ERR_CORRUPT, "a file being sent: %s", strerror(errno));
	if (n < 0)
		return io_error(e);
	if (n == 0)
		return too_short(off, len, e);
	*ret_n = (size_t)n;
	return OK;
}

/* The head of a message whose bytes lie in a file shall not become a packet of its own. */
static int send_memory(struct transport *t, const struct outq *q, size_t *ret_n, struct err *e)
{
	struct iovec iov[IOV_MAX_USED];
	struct msghdr m = { .msg_iov = iov };
	int flags = MSG_NOSIGNAL | (q->n_files ? MSG_MORE : 0);
	ssize_t n;

	m.msg_iovlen = (size_t)outq_iov(q, iov, IOV_MAX_USED);
	do
		n = m.msg_iovlen == 1 ? send(t->fd, iov[0].iov_base, iov[0].iov_len, flags)
				      : sendmsg(t->fd, &m, flags);
	while (n < 0 && errno == EINTR);
	if (n < 0)
		return io_error(e);
	*ret_n = (size_t)n;
	return OK;
}

static int send_file_tls(
	struct transport *t, int fd, uint64_t off, size_t len, size_t *ret_n, struct err *e)
{
	size_t want = len < TRANSPORT_SCRATCH ? len : TRANSPORT_SCRATCH;
	size_t got;

	if (os_pread(fd, t->scratch, want, off, &got, e) != OK) {
		err_wrap(e, "a file being sent");
		return ERR_CORRUPT;
	}
	if (got < want)
		return too_short(off + got, len - got, e);
	return tls_write(t->tls, t->scratch, want, ret_n, e);
}

/* Small messages share a record. What is repeated after ERR_AGAIN starts with the same bytes. */
static int send_memory_tls(struct transport *t, const struct outq *q, size_t *ret_n, struct err *e)
{
	struct iovec iov[IOV_MAX_USED];
	int n = outq_iov(q, iov, IOV_MAX_USED);
	size_t len = 0;

	if (n == 1 || iov[0].iov_len >= TRANSPORT_SCRATCH)
		return tls_write(t->tls, iov[0].iov_base, iov[0].iov_len, ret_n, e);
	for (int i = 0; i < n && len < TRANSPORT_SCRATCH; i++) {
		size_t room = TRANSPORT_SCRATCH - len;
		size_t take = iov[i].iov_len < room ? iov[i].iov_len : room;

		memcpy(t->scratch + len, iov[i].iov_base, take);
		len += take;
	}
	return tls_write(t->tls, t->scratch, len, ret_n, e);
}

int transport_send(struct transport *t, const struct outq *q, size_t *ret_n, struct err *e)
{
	uint64_t off;
	size_t len;
	int fd;

	if (outq_file_next(q, &fd, &off, &len))
		return (t->tls ? send_file_tls : send_file)(t, fd, off, len, ret_n, e);
	return (t->tls ? send_memory_tls : send_memory)(t, q, ret_n, e);
}

bool transport_sends_memory(const struct transport *t, const struct outq *q)
{
	return !t->tls && q->n_files == 0;
}

/* What comes in one turn: record after record while there is room for a whole one. An end or an error that
 * follows after bytes is found again by the next call: nothing of it is left in the socket, which has to be readable for that. */
static int recv_tls(struct transport *t, uint8_t *p, size_t n, size_t *ret_n, struct err *e)
{
	bool has_ended = false;
	size_t got = 0;
	int rc = OK;

	CHECK(n >= TLS_RECORD_MAX);
	while (rc == OK && !has_ended && n - got >= TLS_RECORD_MAX) {
		size_t more;

		rc = tls_read(t->tls, p + got, n - got, &more, e);
		if (rc == OK) {
			has_ended = more == 0;
			got += more;
		}
	}
	if (rc != OK && got == 0)
		return rc;
	if (got > 0 && (has_ended || (rc != OK && rc != ERR_AGAIN)))
		shutdown(t->fd, SHUT_RD);
	*ret_n = got;
	return OK;
}

const char *transport_failure(const struct transport *t)
{
	socklen_t len = sizeof(int);
	int error = 0;

	if (getsockopt(t->fd, SOL_SOCKET, SO_ERROR, &error, &len) != 0 || !error)
		return "the connection has failed";
	return strerror(error);
}

int transport_recv(struct transport *t, void *p, size_t n, size_t *ret_n, struct err *e)
{
	ssize_t got;

	if (t->tls)
		return recv_tls(t, p, n, ret_n, e);
	do
		got = recv(t->fd, p, n, 0);
	while (got < 0 && errno == EINTR);
	if (got < 0)
		return io_error(e);
	*ret_n = (size_t)got;
	return OK;
}
