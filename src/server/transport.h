/* The socket of a connection, as the worker sees it: what is queued goes out, bytes come in,
 * nothing ever waits. */
#ifndef SERVER_TRANSPORT_H
#define SERVER_TRANSPORT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/compiler.h"
#include "base/err.h"
#include "net/tls.h"
#include "server/outq.h"

enum { TRANSPORT_SCRATCH = TLS_RECORD_MAX };

struct transport {
	int fd;
	struct tls *tls;  /* NULL: plain */
	uint8_t *scratch; /* TRANSPORT_SCRATCH bytes for the length of a call, borrowed */
};

/** Take over @fd; it stays the caller's on failure.
 * @tls  NULL: plain */
MUST_CHECK int transport_init(
	struct transport *t, int fd, struct tls_context *tls, uint8_t *scratch, struct err *e);
/** Say that nothing more comes. Nothing but transport_fini() is allowed then. */
void transport_end(struct transport *t);
void transport_fini(struct transport *t);

/** Make the connection ready for what follows. OK, ERR_AGAIN, ERR_CLOSED (the client left without a
 * word), or another error that tells what is wrong with it. */
MUST_CHECK int transport_handshake(struct transport *t, struct err *e);
bool transport_is_ready(const struct transport *t);

/** What to wait for on the socket when bytes are wanted in and out. In and out. */
void transport_waits(const struct transport *t, bool *reading, bool *writing);

/**
 * Send some of what comes next in @q, which is not empty; the caller takes it off with outq_sent().
 * A piece of a file goes by sendfile(2), at most 64 KiB at a time: where the disk has to be waited for, others
 * wait no longer than that takes. Under TLS by smaller pieces that are read.
 * Returns OK, ERR_AGAIN (the socket takes no more now), or an error after which the connection is of no
 * use: ERR_CORRUPT when a file cannot be read, or has become shorter than what was queued of it.
 */
MUST_CHECK int transport_send(
	struct transport *t, const struct outq *q, size_t *ret_n, struct err *e);

/** Is what comes next in @q, which is not empty, no more than bytes in memory for t->fd: may somebody else send them? */
bool transport_sends_memory(const struct transport *t, const struct outq *q);

/** What the system says has happened to a connection that an event told has failed. */
const char *transport_failure(const struct transport *t);

/** Read at most @n bytes, which under TLS are TLS_RECORD_MAX or more; *ret_n is 0 when the other side has ended. An end or an
 * error that comes after bytes is told by the next call; the socket stays readable until then. Errors as transport_send(). */
MUST_CHECK int transport_recv(struct transport *t, void *p, size_t n, size_t *ret_n, struct err *e);

#endif
