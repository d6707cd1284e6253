#include "server/transport.h"

#include <errno.h>
#include <inttypes.h>
#include <string.h>
#include <sys/sendfile.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>

enum {
	IOV_MAX_USED = 64,
	FILE_PIECE = 64 << 10, /* read from a file in one call */
};

static int io_error(struct err *e)
{
	if (errno == EAGAIN)
		return ERR_AGAIN;
	return err_set(e, ERR_IO, "%s", strerror(errno));
}

static int too_short(uint64_t off, size_t len, struct err *e)
{
	return err_set(e, ERR_IO,
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
		n = sendmsg(t->fd, &m, flags);
	while (n < 0 && errno == EINTR);
	if (n < 0)
		return io_error(e);
	*ret_n = (size_t)n;
	return OK;
}

int transport_send(struct transport *t, const struct outq *q, size_t *ret_n, struct err *e)
{
	uint64_t off;
	size_t len;
	int fd;

	if (outq_file_next(q, &fd, &off, &len))
		return send_file(t, fd, off, len, ret_n, e);
	return send_memory(t, q, ret_n, e);
}

int transport_recv(struct transport *t, void *p, size_t n, size_t *ret_n, struct err *e)
{
	ssize_t got;

	do
		got = read(t->fd, p, n);
	while (got < 0 && errno == EINTR);
	if (got < 0)
		return io_error(e);
	*ret_n = (size_t)got;
	return OK;
}
