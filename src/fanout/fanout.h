/* A storage that is itself a client: what it has is another server's.
 *
 * F1  It shows one order of transactions, that of the stream of its client: a publication for each invalidation, and for
 *     an own finish where its invalidation would stand (R3). Tids never go back, whatever server is followed (T5).
 * F2  A load is asked for as of the applied tid of who asks (R1): the server is asked for what was current then.
 * F3  What could not be told apart while there was no connection is published as such: who looked at the storage before
 *     is sent away to verify what he knows.
 * F4  One transaction at a time is voted on the server: its clients have one at a time on a connection.
 * F5  Nothing passes through before it is known that the server does not have it from us: a load of an oid that nobody
 *     else asks for is sent, and must not come here. Whatever servers are in between hand it on.
 * F6  Requests wait while there is no connection, for a bounded time; then they fail as a client's do. Those that change
 *     nothing are sent again when the connection is lost under them. */
#ifndef FANOUT_FANOUT_H
#define FANOUT_FANOUT_H

#include "base/clock.h"
#include "client/client.h"
#include "storage/storage.h"

struct finder;

struct fanout_options {
	/** Of the client; its events are the storage's own. client.name is the storage's name, too; client.tls becomes the
	 * storage's, also after a failure. */
	struct client_options client;
	const struct address *servers;
	size_t servers_n;
	/** When not NULL: the servers are those that it finds. The storage's from then on, also after a failure. */
	struct finder *finder;
	const char *blob_dir;      /* NULL: no blobs */
	bool shared_blob_dir;      /* it is the server's own */
	uint64_t blob_cache_bytes; /* 0: no limit */
	uint32_t blob_cache_check; /* percent */
	uint32_t keep;             /* publications that clients who come back are served from */
	bool wait;                 /* fail when there is no server within client.wait_timeout_ms */
	/** Asked while waiting, some times a second; true: give up with ERR_CLOSED. NULL: never */
	bool (*stop)(void *arg);
	void *stop_arg;
	const struct clock *clock;
	/** Threads: any. */
	void (*log)(void *ctx, int level, const char *logger, const char *text);
	void *log_ctx;
};

/**
 * Returns 0; ERR_TIMEOUT: no server; ERR_REMOTE: the server is this one, or behind; ERR_CLOSED: @o->stop; ERR_BUSY, ERR_IO ... of
 * cache and blobs.
 */
MUST_CHECK int fanout_open(const struct fanout_options *o, struct storage **ret, struct err *e);

#endif
