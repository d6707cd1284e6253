/* What the files of the client share. Nothing of it is for others.
 *
 * "L": under client.lock. "I": the I/O thread's. "R": of the thread that has the connection's reader role. */
#ifndef CLIENT_STATE_H
#define CLIENT_STATE_H

#include <pthread.h>
#include <stdatomic.h>

#include "client/cache.h"
#include "client/client.h"
#include "client/io_thread.h"

struct attempt;
struct conn;

enum {
	CLIENT_OUT_MAX = 1 << 20,      /* who says more waits until it has drained */
	CLIENT_OUT_HOLD = 64 << 10,    /* stores are held back until so much has collected */
	CLIENT_ATTEMPT_MS = 30000,     /* from an address to being registered */
	CLIENT_REFUSED_MAX_MS = 9000,  /* between attempts at a server that does not take us */
	CLIENT_PATIENCE_GROWTH = 6,    /* doublings of client_options.patience_ms at most */
	CLIENT_FRAME_MAX = 2047 << 20, /* of a message from a server */
	CLIENT_MOMENT_MS = 200,        /* whoever waits is asked so often whether that is to end */
};

struct client {
	pthread_mutex_t lock;
	pthread_cond_t changed; /* operational, closing, drained, nobody inside, the commit slot */
	/* constant from client_open() on */
	struct client_options options; /* its texts are those below */
	char *storage, *name, *label, *cache_path, *tls_server_name;
	struct cache *cache; /* NULL: none */
	unsigned fork_generation;
	struct io_thread *io;
	struct client *next_client; /* in fork.c's list */
	/* L */
	bool closing; /* no calls any more */
	bool stopped; /* the I/O thread has nothing of it any more */
	bool task_posted;
	bool was_connected;  /* once */
	bool operational;    /* calls go through */
	unsigned inside;     /* threads that wait in here */
	struct conn *conn;   /* the one that has won; NULL */
	struct conn *conns;  /* all there are */
	bool txn_open;       /* the one transaction at a time */
	uint64_t txn_ids;    /* given out */
	struct buf txn_room; /* for what the next one writes */
	struct address *addresses;
	size_t n_addresses;
	bool addresses_changed;
	bool read_only_now; /* as the connection is */
	char server[320];   /* for sortKey; "" */
	char protocol[4];
	const char *verify_result;
	struct buf info; /* a dict, encoded */
	enum encoding info_encoding;
	uint64_t *oids; /* handed out in advance */
	size_t n_oids;
	uint64_t oids_us;  /* monotonic: when they were asked for */
	uint64_t last_oid; /* the highest that was given to the owner */
	void (*push)(void *arg, struct slice name, const struct val *args, uint32_t n_args);
	void *push_arg;
	void (*seek)(void *arg);
	void *seek_arg;
	uint64_t sought_ms; /* I */
	atomic_ullong generation;
	atomic_ullong last_tid;
	/* I */
	struct io_task task;
	struct attempt *attempts;
	struct conn *successor; /* registered; waits for client.conn to be gone */
	uv_timer_t retry;       /* a connection that ended early is not made again at once */
	bool retry_open;
	bool retry_waits;
	struct address shunned; /* could not be verified: others are tried before it */
	unsigned silences;      /* servers left, one after the other, that did not answer */
	unsigned handles;       /* of libuv, and jobs that borrow from the owner */
	uint64_t random;
};

/** Have client_attend() run on the I/O thread. L. */
void client_kick(struct client *c);
/** Look at everything and do what is due. I. */
void client_attend(struct client *c);
/** client.task: attends, and notices the end. */
void client_run_task(struct io_task *t);
/** Without a connection: have others look for servers, too. I. */
void client_seek(struct client *c);
/** A handle or a borrowing job is gone. I. */
void client_handle_gone(struct client *c);

/** Say something to the owner's log. No lock is held. */
void client_log(struct client *c, int level, const char *logger, const char *fmt, ...) PRINTF(4, 5);
#define CLIENT_LOGGER    "ZEO.ClientStorage"
#define CLIENT_IO_LOGGER "ZEO.asyncio.client"

/**
 * The beginning of a call that may wait: takes the lock. On failure the lock is not held.
 * Returns 0 or ERR_CLOSED (closed, or in a child process).
 */
MUST_CHECK int client_enter(struct client *c, struct err *e);
void client_leave(struct client *c);
/** ERR_STATE in a callback. L. */
MUST_CHECK int client_may_wait(const struct client *c, struct err *e);
/** Wait until calls go through. @timeout_ms 0: the option's. L. Returns 0, ERR_CLOSED or ERR_STATE. */
MUST_CHECK int client_await(struct client *c, uint32_t timeout_ms, struct err *e);
/** May @k be called now? ERR_CLOSED. L. */
MUST_CHECK int client_may_call(const struct client *c, const struct call *k, struct err *e);
/** Wait for client.changed, until @until (CLOCK_MONOTONIC; NULL: for ever) or a moment. L; given up meanwhile.
 * Returns 0, ERR_TIMEOUT, or ERR_INTERRUPTED. */
MUST_CHECK int client_wait_change(struct client *c, const struct timespec *until, struct err *e);
/** A moment from now: for so long a wait goes on without asking whether it is interrupted. */
struct timespec client_moment(void);
/** L; given up meanwhile. Returns 0 or ERR_INTERRUPTED. */
MUST_CHECK int client_ask_interrupted(struct client *c, struct err *e);
/** ERR_CLOSED with the reason for which nothing can be called now. L. */
int client_not_connected(const struct client *c, struct err *e);
/** A child process must not use it: ERR_CLOSED. */
MUST_CHECK int client_check_fork(const struct client *c, struct err *e);

/* ---- what the I/O thread is told of connections ---- */

/** @conn is registered. I. */
void client_registered(struct client *c, struct conn *conn, uint64_t tid);
/** @conn is gone: no thread has its role, nothing is pending. I. */
void client_lost(struct client *c, struct conn *conn, bool was_ready, const char *why);
/** Start verification of client.conn. I. */
void client_verify(struct client *c, struct conn *conn);
/** @conn's server could not be verified: others are tried before it. I. */
void client_shun(struct client *c, const struct conn *conn);
/** There are other servers than @conn's. I. */
bool client_has_choice(struct client *c, const struct conn *conn);
/** All is verified and known: calls go through. I. */
void client_ready(struct client *c, struct conn *conn);

/* ---- what the server says (R) ---- */

/** Objects changed: cache, owner and last tid are told. What was known when @conn was verified is passed over. */
void client_invalidate(struct conn *conn, uint64_t tid, const uint64_t *oids, size_t n);
/** The last transaction known is this one, and all before it was told. */
void client_set_last_tid(struct client *c, uint64_t tid);
/** Take over keys of a dict of get_info() or info(). */
MUST_CHECK int client_merge_info(
	struct client *c, const struct val *dict, enum encoding encoding, struct err *e);

/** told() of a finish runs on this thread: client_last_tid() is @tid here. NULL: not any more. */
void client_show_tid(const struct client *c, uint64_t tid);

/* ---- fork.c ---- */

/** Know of @c, so that a fork finds it in order. */
void fork_watch(struct client *c);
void fork_forget(struct client *c);
/** Grows in every child process. */
unsigned fork_generation(void);
/** In a child: close the descriptors. */
void fork_close(struct client *c);

#endif
