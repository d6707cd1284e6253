/* A session with ZooKeeper that is always there: live_core.h with a thread behind it. Handles of the library
 * come and go; what is watched is watched on. */
#ifndef ZOOKEEPER_LIVE_H
#define ZOOKEEPER_LIVE_H

#include <stdbool.h>
#include <stdint.h>

#include "base/compiler.h"
#include "base/err.h"
#include "zookeeper/session.h"
#include "zookeeper/watch.h"

struct live;

/**
 * Start; connects in the background. All signals are blocked in its threads (T75).
 * @connection  HOST[:PORT],...[/CHROOT]; copied
 * Returns 0, ERR_INVAL (the text is no connection string), ERR_LIMIT, ERR_NOMEM or ERR_IO (no thread).
 */
MUST_CHECK int live_open(
	const char *connection, uint32_t session_timeout_ms, struct live **ret, struct err *e);

/** One more, or one less, who uses it: it stays in memory after live_close() until they are done. Threads: any; the
 * caller knows that it is there. */
void live_ref(struct live *l);
void live_unref(struct live *l);

/** Wait until it is connected. Returns 0, ERR_TIMEOUT ("Can't connect to ZooKeeper at ...") or ERR_CLOSED. */
MUST_CHECK int live_connect(struct live *l, uint32_t timeout_ms, struct err *e);

/** One thing to do. */
struct live_ask {
	enum {
		LIVE_GET,
		LIVE_CHILDREN,
		LIVE_CREATE,
		LIVE_SET,
		LIVE_DELETE,
		LIVE_GET_ACL,
		LIVE_SET_ACL
	} what;
	const char *path;
	struct slice data;        /* CREATE, SET */
	int flags;                /* CREATE: ZK_EPHEMERAL ... */
	const struct zk_acl *acl; /* CREATE (none: everybody may do everything), SET_ACL */
	size_t n_acl;
	int32_t version; /* SET, DELETE, SET_ACL; -1 = any */
};

/**
 * Do it, and wait for the answer; without a connection, for one. What only reads is asked again when its answer was lost.
 * @ret  the reply, freed with mem_free(); may be NULL when it is of no interest
 * Returns 0; ERR_NOENT, ERR_EXISTS, ERR_STATE (it has children), ERR_CONFLICT (another version), ERR_READONLY (no
 * permission), ERR_IO; ERR_CLOSED: the connection was lost, and it is not known whether it was done; ERR_TIMEOUT.
 * Threads: any but the session's own.
 */
MUST_CHECK int live_ask(struct live *l, const struct live_ask *q, uint32_t timeout_ms,
	struct zk_event **ret, struct err *e);

/** The id of the session that is connected, 0 = not connected. */
int64_t live_session_id(struct live *l);

/** End the session. No event comes after it has returned, but the one it may be called from; watches that are still open
 * only wait to be closed. Waits some seconds at most: what a name service holds up is left behind. In a process
 * that was forked after live_open() nothing is touched (T31). NULL is fine. */
void live_close(struct live *l);

/** As watch_open(), on this session. Threads: any but the session's own. */
MUST_CHECK int live_watch_open(struct live *l, const char *path, enum watch_kind kind,
	uint32_t timeout_ms, const struct watch_events *events, struct watch **ret, struct err *e);
/** As watch_close(); may be called from within its events, and before or after live_close(). */
void live_watch_close(struct watch *w);
/** The session that @w is on. */
struct live *live_of(const struct watch *w);

#endif
