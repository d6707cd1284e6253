/* Reading and changing nodes one after the other: every call waits for its answer. Any number of threads may call. */
#ifndef ZOOKEEPER_READER_H
#define ZOOKEEPER_READER_H

#include <stdbool.h>
#include <stdint.h>

#include "base/compiler.h"
#include "base/err.h"
#include "base/slice.h"
#include "zookeeper/event.h"
#include "zookeeper/links.h"
#include "zookeeper/live.h"

struct reader;

/** Connect. Returns 0, ERR_INVAL, ERR_IO or ERR_TIMEOUT ("Can't connect to ZooKeeper at ..."). */
MUST_CHECK int reader_open(
	const char *connection, uint32_t timeout_ms, struct reader **ret, struct err *e);
/** The same on a session of the caller's, which must live as long as it. */
MUST_CHECK int reader_on(struct live *l, uint32_t timeout_ms, struct reader **ret, struct err *e);
/** NULL is fine. */
void reader_close(struct reader *r);

/** Anything, as live_ask() does it. */
MUST_CHECK int reader_ask(
	struct reader *r, const struct live_ask *q, struct zk_event **ret, struct err *e);
/** A node: event->data, ->stat. Freed with mem_free(). Returns as live_ask(). */
MUST_CHECK int reader_get(struct reader *r, const char *path, struct zk_event **ret, struct err *e);
/** The names of its children, sorted: *ret_names has event->n_children entries that point into
 * *ret. Both are freed with mem_free(). Results as reader_get()'s. */
MUST_CHECK int reader_children(struct reader *r, const char *path, struct zk_event **ret,
	const char ***ret_names, struct err *e);
/** The path that @path means, its links followed. */
MUST_CHECK int reader_resolve(
	struct reader *r, const char *path, char ret_path[ZK_PATH_MAX], struct err *e);

#endif
