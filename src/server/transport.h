/* The socket of a connection, as the worker sees it: what is queued goes out, bytes come in,
 * nothing ever waits. */
#ifndef SERVER_TRANSPORT_H
#define SERVER_TRANSPORT_H

#include <stddef.h>
#include <stdint.h>

#include "base/compiler.h"
#include "base/err.h"
#include "server/outq.h"

struct transport {
	int fd;
};

/**
 * Send some of what comes next in @q, which is not empty; the caller takes it off with outq_sent().
 * A piece of a file goes by sendfile(2), at most 64 KiB at a time: where the disk has to be waited for, others
 * wait no longer than that takes.
 * Returns OK, ERR_AGAIN (the socket takes no more now), or an error after which the connection is of no
 * use, also when a file has become shorter than what was queued of it.
 */
MUST_CHECK int transport_send(
	struct transport *t, const struct outq *q, size_t *ret_n, struct err *e);

/** Read at most @n bytes; *ret_n is 0 when the other side has ended. Errors as transport_send(). */
MUST_CHECK int transport_recv(struct transport *t, void *p, size_t n, size_t *ret_n, struct err *e);

#endif
