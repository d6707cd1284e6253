/* What was changed by whom is told to a client as it happens; connections learn of it when their next transaction
 * begins. This is what has been told, as far as it is kept: transactions with their oids, in the order in which they
 * were told. That is the order of their tids, but for a late one now and then of Python's servers (T45).
 *
 * C1  What a cursor has not passed, and what is not here, is not known: the cursor's owner is told so.
 * C2  A cursor passes a transaction when it has come to its tid, whenever it was told.
 *
 * Threads: any; it has a lock of its own. */
#ifndef DATABASE_CHANGES_H
#define DATABASE_CHANGES_H

#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/compiler.h"

struct change;

struct changes {
	pthread_mutex_t lock;
	struct change **ring; /* the n newest, from the oldest at @start on */
	size_t room, start, n;
	uint64_t first; /* the number of the oldest; they are counted as they are told */
	size_t weight;  /* oids and transactions kept */
	size_t weight_max;
	uint64_t floor; /* what leads to this tid from below is not known */
	uint64_t epoch; /* grows when anything may have changed */
};

/** How far one connection has come; zero at first. */
struct changes_cursor {
	uint64_t seen; /* the last transaction */
	uint64_t next; /* the number of the first one it has not passed */
	uint64_t epoch;
};

void changes_init(struct changes *c, size_t weight_max);
/** @forked  in a child: its lock may be that of a thread that is not there. */
void changes_free(struct changes *c, bool forked);

/** Transaction @tid changed @oids. It may have been told before. */
void changes_add(struct changes *c, uint64_t tid, const uint64_t *oids, size_t n);
/** Anything may have changed, in transactions up to @last_tid and in ones that will be known next. */
void changes_all(struct changes *c, uint64_t last_tid);

/**
 * Move the cursor to @tid, which the client knows of: each oid changed on the way is given to @changed.
 * Returns false when it is not known what has changed: everything may have. @changed must not use @c.
 */
MUST_CHECK bool changes_advance(struct changes *c, struct changes_cursor *cursor, uint64_t tid,
	void (*changed)(void *arg, uint64_t oid, uint64_t tid), void *arg);

#endif
