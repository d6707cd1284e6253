/* A connection to a server: its socket, what waits to be sent, calls that wait for an answer, and who reads.
 *
 *  N1  One thread at a time has the reader role. It handles every message in stream order and without the lock.
 *  N2  Who leaves the role hands it to a thread that waits, or sees to it that the I/O thread reads.
 *  N3  When a connection is dead the reader leaves; the I/O thread then ends what is pending, in conn_end().
 *  N4  The socket blocks, unless there is TLS on it; only the reader's recv() of a thread that waits does, for a moment at a time.
 *  N5  A thread that waits asks after each moment and signal, and now and then when much else comes, without role and lock, whether it
 *      is to go on. */
#ifndef CLIENT_CONN_H
#define CLIENT_CONN_H

#include <uv.h>

#include "client/calls.h"
#include "client/state.h"
#include "zeo/message.h"

struct tls;

/** An invalidation that came before the connection was verified. */
struct early {
	struct early *next;
	uint64_t tid;
	uint32_t n;
	uint64_t oids[];
};

/** A thread that waits for an answer. */
struct waiter {
	pthread_cond_t cond;
	struct waiter *next, **back;
};

struct conn {
	struct client *client;
	struct conn *next; /* L, in client.conns */
	unsigned refs;     /* L */
	int fd;
	struct tls *tls;
	enum encoding encoding;
	char protocol[4];
	bool read_only;          /* as registered */
	bool chosen;             /* I: it was client.conn once */
	bool dialed;             /* the owner has made it */
	struct address address;  /* as configured */
	struct address peer;     /* as the socket says */
	struct attempt *attempt; /* I: until it has won */
	uint64_t ready_at_ms;    /* I: 0: never */
	/* L */
	bool reading; /* somebody has the role */
	pthread_t reader;
	bool dead;  /* nothing more is sent */
	bool ended; /* conn_end() was there */
	struct err cause;
	bool polled; /* the I/O thread reads when something is there */
	bool wake_on_leave;
	unsigned leaves;
	struct waiter *waiters; /* those who do not read */
	unsigned waiting;       /* threads that wait, the reading one included */
	struct pending pending;
	unsigned forgotten; /* answers that nobody wants any more */
	struct buf out;
	size_t out_start;
	bool blocked; /* the socket takes no more: the I/O thread sends the rest */
	/* R */
	bool hello;    /* the first frame is still to come */
	bool verified; /* invalidations are handled, not queued */
	struct early *early, **early_end;
	struct buf in;
	size_t in_start;
	struct arena arena; /* of messages that are not replies in the usual form */
	/* I */
	uv_poll_t poll;
	uv_timer_t tick;
	uv_timer_t heartbeat;
	uv_timer_t patience; /* until the server has answered what verification asks */
	int poll_events;
	bool ticking;
	unsigned tick_leaves;
	unsigned handles; /* still to be closed */
	/* I: verification */
	struct call step;
	uint64_t server_tid;
	struct lookup *lookup; /* of its name; NULL: none under way */
	bool sort_key_known;
	bool info_known;
};

/** A connection over @fd, which is its own from now on, attended by the I/O thread. I. */
MUST_CHECK int conn_new(struct client *c, int fd, struct conn **ret, struct err *e);
/** TLS on it; before anything was said. I. */
MUST_CHECK int conn_start_tls(struct conn *conn, const char *server_name, struct err *e);
/** Let the I/O thread read what comes. I. */
void conn_attend(struct conn *conn);
/** The connection is one's own to talk on: blocking, with heartbeats. I. */
void conn_won(struct conn *conn);
/** After a failure or when it is not wanted any more. The I/O thread does the rest. L. */
void conn_kill(struct conn *conn, int code, const char *fmt, ...) PRINTF(3, 4);
void conn_ref(struct conn *conn);   /* L */
void conn_unref(struct conn *conn); /* L */

/* ---- saying something. L ---- */

/** Send what has collected, without waiting. */
void conn_flush(struct conn *conn);
/** Bytes that have collected. */
size_t conn_unsent(const struct conn *conn);
/** Wait until there is room for more. ERR_CLOSED: it is dead. Does not wait on the thread that reads. */
MUST_CHECK int conn_drain(struct conn *conn, struct err *e);
/** Append a call without an answer. ERR_CLOSED or ERR_NOMEM: nothing was. */
MUST_CHECK int conn_say(struct conn *conn, const char *method, const struct val *args,
	uint32_t n_args, struct err *e);
/** Append a request; its answer comes to @k. The same errors. */
MUST_CHECK int conn_ask(struct conn *conn, struct call *k, const char *method,
	const struct val *args, uint32_t n_args, struct err *e);
/** See to it that answers are read although no thread waits for them. L. */
void conn_watch(struct conn *conn);
/** The calling thread reads: a callback runs on it. L. */
bool conn_is_reader(const struct conn *conn);
/** Wait for the answer. L; given up meanwhile. Returns 0 and it is there, or ERR_INTERRUPTED and @k is nowhere any more. */
MUST_CHECK int conn_wait(struct conn *conn, struct call *k, struct err *e);

/* ---- reading ---- */

/** Receive once and handle what is whole. R, no lock. @wait: until something is there.
 * Returns 0, ERR_AGAIN or an error, after which it is dead. */
MUST_CHECK int conn_read(struct conn *conn, bool wait);
/** Give the role back. L. */
void conn_leave(struct conn *conn);
/** Handle the content of a frame. R. */
MUST_CHECK int conn_frame(struct conn *conn, struct slice content, struct err *e);

#endif
