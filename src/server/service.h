/* The running server: acceptor and workers, started and stopped together. */
#ifndef SERVER_SERVICE_H
#define SERVER_SERVICE_H

#include "base/compiler.h"
#include "base/err.h"
#include "net/listen.h"
#include "net/tls.h"
#include "server/server.h"
#include "server/session.h"

struct service;

/** Serve @s on @listener with @n_workers event loops; all are borrowed until service_stop().
 * @tls  NULL: connections are not encrypted */
MUST_CHECK int service_start(struct server *s, const struct listener *listener,
	struct tls_context *tls, unsigned n_workers, struct service **ret, struct err *e);

/**
 * Accept no more, close the connections, those with a voted transaction when they have finished it or
 * after @grace_ms, and wait for everything that has been handed to the storages. Frees it.
 * Returns how many connections had to be cut.
 */
unsigned service_stop(struct service *v, unsigned grace_ms);

/** Call @visit for every session, on the thread of its event loop, one loop after the other; returns
 * when all were visited. Not from a loop's thread, and not while service_stop() runs. */
void service_visit(struct service *v, void (*visit)(void *ctx, const struct session *s), void *ctx);

#endif
