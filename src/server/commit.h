/* A client's transaction on its way through the server.
 *
 *   BUFFERING -> WAITING -> VOTING -> VOTED -> FINISHING -> gone
 *       ^           |         |        |
 *       |           |         |        +--> gone (abort, disconnect, timeout)
 *       |           |         +--> BUFFERING (conflicts for the client to resolve)
 *       |           +--> gone
 *
 * WAITING: in the commit queue, or (one of many objects) about to be entered into it by a pool thread. From VOTING on it holds its objects; the transaction timeout runs
 * from there (R5). FINISHING: the storage has it; whatever the client does, it completes.
 * Who is told: its session, as long as there is one.
 *
 * Threads: the hub's, but for the two notices that come from elsewhere and only post. */
#ifndef SERVER_COMMIT_H
#define SERVER_COMMIT_H

#include <stdbool.h>
#include <stdint.h>

#include "base/compiler.h"
#include "server/dispatch.h"
#include "storage/publication.h"
#include "storage/txn.h"

struct commit;
struct hub;
struct session;

/** Start one for the session; @id is what the client calls it. Returns 0, ERR_NOMEM or ERR_LIMIT. */
MUST_CHECK int commit_begin(struct session *s, const struct val *id, struct err *e);

/** Is @id what the client called the session's transaction? */
bool commit_is(const struct session *s, const struct val *id);

/** That name, encoded for the session. There must be a transaction. */
struct slice commit_id(const struct session *s);

/** A store of @oid follows: the one that had the conflict the client was told of goes. */
void commit_replace(struct session *s, uint64_t oid);

/** The buffered transaction of the session. */
struct txn *commit_txn(struct session *s);

/** Add a record, as txn_add(), which does not wait for the disk: when too much is in memory, the session is not heard
 * until a pool thread has moved it to a file. When that fails what follows is read over, and the vote tells why. */
MUST_CHECK int commit_add(
	struct session *s, const struct txn_rec *rec, struct slice data, struct err *e);
/** After records were added in another way: move them to a file when it is too much. */
void commit_added(struct session *s);

/** Can records be added? Not while it votes or is voted. */
bool commit_is_buffering(const struct commit *c);
/** Does it hold objects? */
bool commit_is_locked(const struct commit *c);

/** Has the session handed something to the storage that is not published yet? */
bool commit_is_finishing(const struct session *s);

/** vote(), tpc_finish() and tpc_abort() of the session's transaction, its id already checked. */
void commit_vote(const struct request *r);
void commit_finish(const struct request *r);
void commit_abort(const struct request *r);

/** Abort what the session has begun, without an answer. */
void commit_discard(struct session *s);

/** The session is gone: what has not been handed to the storage is aborted. */
void commit_abandon(struct session *s);

/** The finishing transaction of the hub with that origin, or NULL. */
struct commit *commit_by_origin(struct hub *h, uint64_t origin);
/** Its session, or NULL when that is gone. */
struct session *commit_session(const struct commit *c);
/** Its publication has been reached: queue the reply to tpc_finish. */
void commit_published(struct commit *c, const struct publication *p);
/** Tell a client the storage's new size (T57). */
void commit_send_info(struct session *s, const struct publication *p);

/** For people who look at a running server. */
struct commit_info {
	const char *state; /* "buffering", "waiting", "voting", "voted" */
	size_t objects;
	uint64_t bytes;
	double locked_s; /* since it got its objects; 0 when it has not */
};
void commit_describe(const struct commit *c, struct commit_info *ret);

/** Close the connections of those locked for too long (R5). */
void commit_check_timeouts(struct hub *h, uint64_t now_us);

#endif
