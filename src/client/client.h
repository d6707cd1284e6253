/* A client of ZEO servers: one storage, seen through whichever of its servers is there.
 *
 * Calls wait for their answer, or are told of it; any number of threads may call. The thread that waits reads
 * its own answer from the socket where it can, so that a load costs two system calls and no change of threads;
 * when nobody waits, the I/O thread reads (docs/threads.md). Whoever reads handles every message in the order in
 * which the server sent it: what an invalidation says is in the cache, and was told to the owner, before any
 * answer that came behind it is seen by anybody.
 *
 *   NEVER -> CONNECTING -> READY <-> LOST ... CLOSED
 *
 * Callbacks run on the thread that reads, in stream order, with no lock of the client held. They must not wait
 * for calls of this client, but for client_cached(), client_last_tid() and what does not ask a server.
 *
 * Fork (T31): in a child process every call fails with ERR_CLOSED and a text that says so; client_close()
 * gives memory and descriptors back and touches nothing that the parent uses. */
#ifndef CLIENT_CLIENT_H
#define CLIENT_CLIENT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/address.h"
#include "base/arena.h"
#include "base/buf.h"
#include "base/compiler.h"
#include "base/err.h"
#include "base/slice.h"
#include "codec/enc.h"
#include "codec/tid.h"
#include "codec/val.h"
#include "storage/resolver.h"

struct cache_stats;
struct client;
struct tls_context;

/** What the owner is told. All may be NULL. */
struct client_events {
	void *arg;
	/** Objects changed in transaction @tid. client_last_tid() shows @tid after it has returned (T4). */
	void (*invalidate)(void *arg, uint64_t tid, const uint64_t *oids, size_t n);
	/** Anything may have changed: after each connect, and when a cache was dropped. */
	void (*invalidate_all)(void *arg);
	/** The server has said that client_info() is another. */
	void (*info)(void *arg);
	/** Just before calls go through; client_info() and client_server() are those of the server. */
	void (*connected)(void *arg);
	void (*disconnected)(void *arg);
	/** The cache was too old to be verified and is dropped (ZEO.interfaces.StaleCache). */
	void (*stale_cache)(void *arg);
	/** Asked by a call that waits, some times a second and after a signal, on its thread with no lock held: true ends it
	 * with ERR_INTERRUPTED, and what the server answers later is dropped. Not asked by client_txn_finish(), whose
	 * transaction would be in doubt. NULL: never. */
	bool (*interrupted)(void *arg);
	/** A line for the log. @level enum log_level, @logger as in Python ("ZEO.ClientStorage"). Threads: any. */
	void (*log)(void *arg, int level, const char *logger, const char *text);
};

/** Connects in a way of its own (Python's SSLContext). Runs on a pool thread and may block for @timeout_ms.
 * @ret_fd    a connected stream socket, the client's from then on
 * @ret_peer  the server's address, for sortKey */
struct client_dialer {
	void *arg;
	int (*dial)(void *arg, const struct address *a, uint32_t timeout_ms, int *ret_fd,
		struct address *ret_peer, struct err *e);
};

/** Borrowed until client_open() returns, but for events, dialer and tls. Zero means the default in brackets. */
struct client_options {
	const char *storage;    /* the name served ["1"] */
	const char *name;       /* for texts [the first address] */
	const char *label;      /* for the server's log [none] */
	const char *cache_path; /* [an anonymous cache] */
	uint64_t cache_bytes;   /* [20 MiB] */
	bool no_cache;          /* for a storage that does not want one */
	bool read_only;
	bool read_only_fallback;  /* prefer a writable server, take a read-only one meanwhile */
	uint32_t wait_timeout_ms; /* how long calls wait for a connection [30,000] */
	uint32_t min_poll_ms;     /* between attempts to connect [1,000]; grows to max */
	uint32_t max_poll_ms;     /* [as min] */
	uint32_t heartbeat_ms;    /* between signs of life that the server gets [60,000] */
	uint32_t
		patience_ms; /* for each answer of a verification, when there is another server; twice as
	                             long with each server that was left for it [10,000] */
	struct tls_context *tls; /* a client's; NULL: none. Must live as long as the client */
	const char *
		tls_server_name; /* the name the certificate must have; NULL: the host connected to */
	struct client_dialer dialer; /* dial NULL: ours */
	struct client_events events;
};

/**
 * Start: an I/O thread's client that connects in the background.
 * @addresses  may be empty: client_set_addresses() later
 * @ret        is set before the first callback
 * Returns 0; ERR_BUSY: the cache file is in use by another process; ERR_INVAL, ERR_IO, ERR_NOMEM.
 */
MUST_CHECK int client_open(const struct client_options *o, const struct address *addresses,
	size_t n, struct client **ret, struct err *e);
/** Ends calls under way with ERR_CLOSED. Nobody may call any more. NULL is fine. */
void client_close(struct client *c);

/** The first half of it, while others may still call and do: calls under way end with ERR_CLOSED, and so does every later
 * one. No callback comes any more when it has returned. Threads: any but those of callbacks. */
void client_shut(struct client *c);

/** Wait for a connection, for wait_timeout_ms or @timeout_ms when it is not 0.
 * Returns 0, ERR_TIMEOUT, ERR_CLOSED, or ERR_STATE in a callback. */
MUST_CHECK int client_wait(struct client *c, uint32_t timeout_ms, struct err *e);

/** The servers there are from now on. A working connection is kept as long as its server is among them, or none is
 * (T38); otherwise it is left when another server answers (T78). */
MUST_CHECK int client_set_addresses(
	struct client *c, const struct address *addresses, size_t n, struct err *e);

/** @seek is called when the connection was lost, and when an attempt to get one has failed; once a second at most. NULL
 * ends that: it is not running any more when this has returned. Threads: @seek runs with the client's lock held. */
void client_on_seek(struct client *c, void (*seek)(void *arg), void *arg);

/** Leave the server that is connected, as if it had closed the connection; @why is for the log. Threads: any, also in
 * callbacks. */
void client_drop(struct client *c, const char *why);

bool client_is_connected(const struct client *c);
/** As asked for, or as the connection is. */
bool client_is_read_only(const struct client *c);
/** Grows with every connect and every loss: transactions of an older generation are lost. */
uint64_t client_generation(const struct client *c);
/** The last transaction this client knows of; all before it is seen. */
uint64_t client_last_tid(const struct client *c);

/** ClientStorage.sortKey()'s text "STORAGE:SERVER", as ZEO makes it: two clients that vote in two databases
 * must agree on their order (T64). ERR_CLOSED: never connected. */
MUST_CHECK int client_sort_key(const struct client *c, struct buf *out, struct err *e);
/** What get_info() and info pushes have said: a dict, encoded (docs/protocol.md#get_info); appended to @out. */
MUST_CHECK int client_info(
	const struct client *c, struct buf *out, enum encoding *ret, struct err *e);
/** "Z5" or "M5" of the connection, NUL-terminated; "" when never connected. */
void client_protocol(const struct client *c, char out[4]);
/** What the cache holds and did; all zeros without one. */
void client_cache_stats(const struct client *c, struct cache_stats *ret);
/** How the last verification of the cache went, for tests and the log: "Cache up to date" ... */
const char *client_verify_result(const struct client *c);

/* ---- calls ---- */

/**
 * A request on its way and its answer. The caller owns it, zeroed at first, and calls call_end() when it is done.
 */
struct call {
	/* in */
	/** Told of the answer on the thread that reads, in stream order; NULL when it is waited for. */
	void (*done)(struct call *k);
	void *arg;
	uint64_t generation; /* not 0: only in that client_generation(), else ERR_CLOSED */
	/* out */
	int rc; /* 0; ERR_CLOSED: not connected, or lost meanwhile (ClientDisconnected); ERR_FORMAT: an
	           answer that is none; or the server's exception: ERR_NOKEY, ERR_CONFLICT, ERR_READONLY,
	           ERR_STATE, ERR_UNDO, ERR_UNSUPPORTED, else ERR_REMOTE */
	bool remote; /* it is the server's exception: call_decode() gives class name and arguments */
	struct err err;
	struct slice reply;       /* the content of the answer's frame */
	enum encoding encoding;   /* of it */
	const struct val *result; /* decoded; NULL when call_decode() was not asked for */
	/* the client's own */
	struct client *client;
	uint64_t id;
	struct call *next;
	struct call **back; /* of those that wait for one load; NULL: not one of them */
	struct buf frame;
	struct arena arena;
	bool finished;
	bool is_load;
	bool to_the_end; /* is not interrupted */
	size_t to_cache; /* objects that are stored there once it is answered, 0: one or none; and their bytes */
	uint64_t to_cache_bytes;
	void *waiter;
	void *record;
	void (*on_reply)(struct call *k); /* handles it in stream order, before done() */
};

/**
 * Ask. @args are encoded before return. When the connection was lost, a new one is waited for (options.wait_timeout_ms,
 * or @timeout_ms when it is not 0), but not where k->done is set: that fails at once. So does everything before the
 * first connection, as with ZEO: client_wait() waits for it.
 * With k->done set: returns 0 and done() is called once, perhaps before the return; or returns an error and it is not.
 * Else: waits, and returns k->rc.
 */
MUST_CHECK int client_call(struct client *c, struct call *k, const char *method,
	const struct val *args, uint32_t n_args, uint32_t timeout_ms, struct err *e);
/** Decode the answer into k->result (where k->remote: the pair of class name and arguments). 0 or ERR_FORMAT, ERR_LIMIT, ERR_NOMEM. */
MUST_CHECK int call_decode(struct call *k, struct err *e);
void call_end(struct call *k);

/** Be told of calls of the server that are not the client's own (receiveBlobStart, receiveBlobChunk,
 * receiveBlobStop), as the other callbacks are. Before anything is asked that leads to them. */
void client_set_push(struct client *c,
	void (*push)(void *arg, struct slice name, const struct val *args, uint32_t n_args),
	void *arg);

/** Say something that has no answer. Returns 0, ERR_CLOSED (no connection) or ERR_NOMEM. May wait until what was
 * said before has drained (1 MiB). */
MUST_CHECK int client_cast(struct client *c, const char *method, const struct val *args,
	uint32_t n_args, struct err *e);
/** The same without a wait, for who has others to serve: it is said behind what has collected. */
MUST_CHECK int client_cast_at_once(struct client *c, const char *method, const struct val *args,
	uint32_t n_args, struct err *e);

/* ---- loads ---- */

/** A revision. */
struct client_record {
	struct slice data; /* lives until client_record_end() */
	uint64_t serial;
	uint64_t end_tid; /* TID_NONE: current */
	void *memory;     /* the client's own */
};
void client_record_end(struct client_record *r);

/**
 * The revision of @oid that was current before @tid, from the cache or the server. Loads of one object that are
 * under way at the same time are one request; the answer goes into the cache.
 * Returns 0; ERR_NOENT: no revision before @tid (ZODB's None); ERR_NOKEY: POSKeyError; ERR_CLOSED;
 * ERR_REMOTE with the server's text.
 */
MUST_CHECK int client_load_before(
	struct client *c, uint64_t oid, uint64_t tid, struct client_record *ret, struct err *e);
/** The same without a look at the cache, for who has asked client_cached(). */
MUST_CHECK int client_fetch_before(
	struct client *c, uint64_t oid, uint64_t tid, struct client_record *ret, struct err *e);
/** The same without a wait: done(k) with k->rc; then call_record(k) has the revision until call_end(). A hit in the
 * cache is told before the return. k->done must be set. */
MUST_CHECK int client_load_begin(
	struct client *c, struct call *k, uint64_t oid, uint64_t tid, struct err *e);
void call_record(const struct call *k, struct client_record *ret);

/**
 * The same from the cache only; never waits for a server, takes no lock that others hold for long.
 * @room  gives @len bytes for the data, or NULL to give up
 * Returns 0 or ERR_NOENT (not in the cache, or @room gave up).
 */
MUST_CHECK int client_cached(struct client *c, uint64_t oid, uint64_t tid,
	void *(*room)(void *arg, size_t len), void *arg, uint64_t *ret_serial,
	uint64_t *ret_end_tid);

/** Ask for what of @oids the cache has not got, all at once; the answers go into the cache. Returns when
 * they are asked for. 0, ERR_CLOSED or ERR_NOMEM. */
MUST_CHECK int client_prefetch(
	struct client *c, const uint64_t *oids, size_t n, uint64_t tid, struct err *e);

/** An oid never used before, of those the server handed out in advance. */
MUST_CHECK int client_new_oid(struct client *c, uint64_t *ret, struct err *e);

/** Wait until the server has answered a ping: all that was committed before is known then (server_sync, T65). */
MUST_CHECK int client_ping(struct client *c, struct err *e);

/** Forget what is cached; what is current is asked for again. Asks the server something: ERR_CLOSED without one. */
MUST_CHECK int client_forget_cached(struct client *c, struct err *e);

#endif
