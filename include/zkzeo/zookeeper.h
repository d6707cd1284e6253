/* libzkzeo: the servers at a path in ZooKeeper, for programs that want to know them without being a client. */
#ifndef ZKZEO_ZOOKEEPER_H
#define ZKZEO_ZOOKEEPER_H

#include <stddef.h>
#include <stdint.h>

#include "zkzeo/error.h"

#ifdef __cplusplus
extern "C" {
#endif

struct zkzeo_watch;

/**
 * Follow the names of the servers that are registered at @path.
 * @connection  HOST:PORT,...
 * @changed     called with what there is before this returns, and after each change, on a thread of the library's: @n names, sorted
 *              ("10.0.0.5:8100"), borrowed. Must not call zkzeo_watch_close()
 * Returns 0; ZKZEO_TIMEOUT: ZooKeeper cannot be reached; ZKZEO_NOENT: there is no such path; ZKZEO_INVAL, ZKZEO_NOMEM.
 */
ZKZEO_MUST_CHECK int zkzeo_watch_open(const char *connection, const char *path, uint32_t timeout_ms,
	void (*changed)(void *arg, const char *const *names, size_t n), void *arg,
	struct zkzeo_watch **ret, struct zkzeo_error *e);
/** Nothing is called any more when it has returned. NULL is fine. */
ZKZEO_API void zkzeo_watch_close(struct zkzeo_watch *w);

#ifdef __cplusplus
}
#endif

#endif
