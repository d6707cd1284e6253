/* The children or the data of a node, kept up to date for as long as it is wanted.
 *
 * A watch outlives sessions: when one is lost or expired a new one is made and the node is read again (T35, T36, T70, T71). Links in
 * the path are followed (links.h). One session per process and connection string serves all watches (T78). While ZooKeeper cannot be
 * reached, what was known last stands, and nothing is told. */
#ifndef ZOOKEEPER_WATCH_H
#define ZOOKEEPER_WATCH_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/compiler.h"
#include "base/err.h"

struct watch;

enum watch_kind {
	WATCH_CHILDREN, /* names, sorted, each with its NUL, one behind the other; n of them */
	WATCH_DATA,     /* the node's bytes */
};

struct watch_events {
	void *arg;
	/** What there is now; first before watch_open() has returned, then at each change. Threads: the watches' own. Must not wait for a
	 * watch. */
	void (*changed)(void *arg, const char *data, size_t len, size_t n);
	/** The node is not there any more; changed() follows if it comes back. */
	void (*deleted)(void *arg);
	/** Connected (again), or not any more. May be NULL. */
	void (*connection)(void *arg, bool connected);
	/** Before changed(): the node that is watched, when it is another one than before: links were followed. May be NULL. */
	void (*moved)(void *arg, const char *path);
};

/**
 * @timeout_ms  how long ZooKeeper is waited for
 * Returns 0 when changed() was called; ERR_TIMEOUT ("Can't connect to ZooKeeper at ..."), ERR_NOENT (no such path), ERR_INVAL.
 */
MUST_CHECK int watch_open(const char *connection, const char *path, enum watch_kind kind,
	uint32_t timeout_ms, const struct watch_events *events, struct watch **ret, struct err *e);
/** Somebody waits for a change: see whether ZooKeeper still answers, and if not, connect anew at once. Costs ZooKeeper a
 * read. Does not wait. Threads: any. */
void watch_hurry(struct watch *w);
/** No event comes after it has returned. Not from within one. NULL is fine. In a child after fork: only memory is given back (T31). */
void watch_close(struct watch *w);

#endif
