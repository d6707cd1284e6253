/* The acceptor: takes connections and hands them to the workers, evenly. */
#ifndef SERVER_ACCEPTOR_H
#define SERVER_ACCEPTOR_H

#include <stdbool.h>
#include <stdint.h>

#include "base/compiler.h"
#include "base/err.h"
#include "net/listen.h"
#include "net/loop.h"
#include "server/worker.h"

struct acceptor {
	struct loop loop;
	const struct listener *listener;
	uv_poll_t polls[LISTEN_MAX];
	uv_timer_t pause; /* while no more descriptors can be opened */
	struct worker *workers;
	unsigned n_workers;
	unsigned turn;
	bool complained; /* that nothing can be accepted */
	_Atomic bool stop;
};

/** @listener and @workers are borrowed until acceptor_stop() has returned. */
MUST_CHECK int acceptor_start(struct acceptor *a, const struct listener *listener,
	struct worker *workers, unsigned n_workers, struct err *e);
/** Accept no more; returns when the thread has ended. */
void acceptor_stop(struct acceptor *a);

#endif
