/* A session with ZooKeeper that is always there: live_core.h with a thread behind it. Handles of the library
 * come and go; what is watched is watched on. */
#ifndef ZOOKEEPER_LIVE_H
#define ZOOKEEPER_LIVE_H

#include <stdbool.h>
#include <stdint.h>

#include "base/compiler.h"
#include "base/err.h"
#include "zookeeper/watch.h"

struct live;

/**
 * Start; connects in the background. All signals are blocked in its threads (T75).
 * @connection  HOST[:PORT],...[/CHROOT]; copied
 * Returns 0, ERR_INVAL (the text is no connection string), ERR_LIMIT, ERR_NOMEM or ERR_IO (no thread).
 */
MUST_CHECK int live_open(
	const char *connection, uint32_t session_timeout_ms, struct live **ret, struct err *e);

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
