/* A worker: an event loop with its hub and its connections. The shell around hub.h and
 * session.h: reads, writes, timers. */
#ifndef SERVER_WORKER_H
#define SERVER_WORKER_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/compiler.h"
#include "base/err.h"
#include "base/slice.h"
#include "net/crew.h"
#include "net/loop.h"
#include "net/send_ring.h"
#include "net/tls.h"
#include "server/hub.h"

struct conn;

enum {
	WORKER_READ_BYTES = 32 << 10,  /* of requests, read from one connection in one turn */
	WORKER_READ_SHARED = 4 << 10,  /* the same, when others had requests lately */
	WORKER_SHARED_TURNS = 32,      /* that is */
	WORKER_READ_LARGE = 128 << 10, /* of a message that is larger than that */
	WORKER_SEND_BYTES = 256 << 10, /* sent to one, about, while others wait */
	WORKER_INPUTS = 64, /* connections that are read from before any of it is handled */
};

/* What was read of a connection in this turn of the loop: in read_buf. */
struct input {
	struct conn *conn;
	struct slice data;
};

struct worker {
	struct loop loop;
	struct crew_seat seat;
	struct hub hub;
	struct hub_io io;
	struct tls_context *tls; /* NULL: connections are not encrypted */
	uv_check_t check;        /* after the events of a turn: send what they queued */
	uv_timer_t timer;        /* hub.wake_us */
	uint64_t timer_us;       /* what it is set to; 0: not set */
	struct conn *closing;    /* asked to be closed, not yet done */
	bool draining;           /* close what has no voted transaction; end when all is closed */
	bool ended;
	struct hub_msg drain_msg;
	struct hub_msg cut_msg;
	atomic_uint n_conns;
	uint8_t *read_buf; /* of this turn, and behind it what transport.h borrows */
	size_t n_read;
	size_t moved;     /* bytes, read and sent in this turn */
	unsigned n_calls; /* of the system, to send them, or what takes as long */
	struct input inputs[WORKER_INPUTS];
	size_t n_inputs;
	size_t n_served;        /* connections, in this turn */
	struct send_ring *ring; /* NULL: the system gives none */
	struct ring_send sends[SEND_RING_MAX];
	size_t n_sends;
	unsigned
		shared; /* turns to come for which a connection counts as having others beside it */
};

/** @tls is borrowed until worker_fini(); NULL: connections are not encrypted. @crew: NULL, or what it shares a thread in;
 * the crew's first worker is started first. */
MUST_CHECK int worker_init(struct worker *w, struct server *s, struct tls_context *tls,
	struct crew *crew, struct err *e);
/** Start the loop's thread. */
MUST_CHECK int worker_start(struct worker *w, unsigned number, struct err *e);
/** Hand a connected socket over; it is closed when there is no memory. Threads: any. */
void worker_add(struct worker *w, int fd, const char *peer);
/** Close connections, those with a voted transaction when it is finished; the thread ends when all
 * is closed and done. Once. Threads: any. */
void worker_drain(struct worker *w);
/** As worker_drain(), but close all of them now. Once. */
void worker_cut(struct worker *w);
/** The loop's thread has ended, or was not started and has no connections. */
void worker_fini(struct worker *w);

#endif
