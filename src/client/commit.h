/* Two-phase commit of a client. One transaction at a time of a client (the protocol allows no more on a
 * connection): client_txn_begin() waits for the one before.
 *
 *   BEGUN -> VOTED -> (finished | aborted)
 *
 * What is stored leaves with the vote, or earlier when it is much. A transaction whose connection is lost
 * fails with ERR_CLOSED from then on, until it is aborted.
 * Threads: one at a time for a transaction; it may change. */
#ifndef CLIENT_COMMIT_H
#define CLIENT_COMMIT_H

#include "client/client.h"

struct client_txn;

/** A conflict that the server left to its client (client-conflict-resolution). */
struct client_conflict {
	uint64_t oid;
	uint64_t committed_serial;
	uint64_t old_serial;
	struct slice data; /* of what was stored */
};

/** Of a failure of client_txn_*() with ERR_CONFLICT, ERR_NOKEY, ERR_REMOTE ...: the server's exception. */
struct client_failure {
	char class_name[128]; /* dotted, "" when it came from here */
	struct buf reply;     /* the whole answer, for who wants its arguments; buf_free() */
	enum encoding encoding;
};

/**
 * @ext      the extension, a dict
 * @tid      a given tid, or TID_NONE
 * Returns 0, ERR_READONLY, ERR_CLOSED, ERR_NOMEM. On success the client is the transaction's until it is finished or aborted.
 */
MUST_CHECK int client_txn_begin(struct client *c, struct slice user, struct slice desc,
	const struct val *ext, uint64_t tid, char status, struct client_txn **ret, struct err *e);
/** @data without data: None (only of a restore). @data is copied. */
MUST_CHECK int client_txn_store(
	struct client_txn *t, uint64_t oid, uint64_t serial, struct slice data, struct err *e);
MUST_CHECK int client_txn_check(struct client_txn *t, uint64_t oid, uint64_t serial, struct err *e);
MUST_CHECK int client_txn_delete(
	struct client_txn *t, uint64_t oid, uint64_t serial, struct err *e);
/** @prev_txn  TID_NONE: no hint */
MUST_CHECK int client_txn_restore(struct client_txn *t, uint64_t oid, uint64_t serial,
	struct slice data, bool has_data, uint64_t prev_txn, struct err *e);
MUST_CHECK int client_txn_undo(struct client_txn *t, uint64_t tid, struct err *e);
/** Any other call that belongs to the transaction and has no answer: storeBlobStart() and so on.
 * @with_id  append the transaction's id to the arguments */
MUST_CHECK int client_txn_cast(struct client_txn *t, const char *method, const struct val *args,
	uint32_t n_args, bool with_id, struct err *e);

/**
 * Ask the server. Returns 0, or an error with what the server said in @failure (NULL is fine).
 * @ret_conflicts, @ret_n  conflicts to be resolved: store each again with client_txn_resolve() and vote again.
 *                         They live until the next call with @t. None: the transaction is voted.
 */
MUST_CHECK int client_txn_vote(struct client_txn *t, const struct client_conflict **ret_conflicts,
	size_t *ret_n, struct client_failure *failure, struct err *e);
/** The merged state of a conflict; it is not put into the cache. */
MUST_CHECK int client_txn_resolve(struct client_txn *t, const struct client_conflict *conflict,
	struct slice data, struct err *e);
/** The oids whose state is not what was stored: undone, or resolved here or by the server. Valid after a vote. */
void client_txn_resolved(const struct client_txn *t, const uint64_t **ret, size_t *ret_n);
/** Resolve all conflicts with @r, voting again as long as there are some (9 times at most, as ZEO does).
 * ERR_CONFLICT when one cannot be. May block. */
MUST_CHECK int client_txn_vote_resolving(
	struct client_txn *t, struct resolver *r, struct client_failure *failure, struct err *e);

/**
 * Make it durable. On success it is freed.
 * @told  called with the tid on the thread that reads, where the transaction's invalidation would stand (R3): the cache has
 *        the new states, client_last_tid() is the new tid for the thread that told() runs on, for others when it returned.
 *        NULL is fine
 * After a failure nothing is known about the commit when it is ERR_CLOSED; t is freed, too. Where it could not even be sent
 * (ERR_NOMEM) the connection is ended: the server then aborts what it has voted on.
 */
MUST_CHECK int client_txn_finish(struct client_txn *t, void (*told)(void *arg, uint64_t tid),
	void *arg, uint64_t *ret_tid, struct client_failure *failure, struct err *e);
/** Frees it, also when the server cannot be told (then the connection is ended). @timeout_ms as client_call()'s. NULL is fine. */
void client_txn_abort(struct client_txn *t, uint32_t timeout_ms);

/** The generation (client_generation()) the transaction began in. */
uint64_t client_txn_generation(const struct client_txn *t);

#endif
