/* One resolver process: the user's Python with the user's ZODB, on the other end of a socket.
 * zkzeo_resolver.py is what it runs; it has the format of the messages. */
#ifndef RESOLVER_HELPER_H
#define RESOLVER_HELPER_H

#include <stdint.h>
#include <sys/types.h>

#include "base/compiler.h"
#include "storage/resolver.h"

/** A record larger than this is not sent, and not taken. */
enum { HELPER_RECORD_BYTES_MAX = 64 << 20 };

struct helper {
	pid_t pid; /* 0: there is none */
	int fd;
};

/**
 * Start @python and wait until it has loaded ZODB. Nothing of ours but standard error is open in
 * it; it leads a session of its own.
 * @path         @path_n entries put in front of sys.path
 * @deadline_us  of the system's monotonic clock
 * Returns 0, ERR_IO (cannot be started, ended, or it said what is wrong), ERR_TIMEOUT, ERR_NOMEM.
 * Threads: any.
 */
MUST_CHECK int helper_start(const char *python, const char *const *path, size_t path_n,
	uint64_t deadline_us, struct helper *ret, struct err *e);

/**
 * One conflict.
 * @ret  the merged record is appended to it on success
 * Returns 0; ERR_CONFLICT when its class found none; ERR_NOMEM; anything else: the process is of no
 * use any more and has to be killed. Threads: one at a time.
 */
MUST_CHECK int helper_ask(struct helper *h, const struct resolve_req *q, uint64_t deadline_us,
	struct buf *ret, struct err *e);

/** Kill it and what it started, and wait until it is gone (bounded). None is fine. */
void helper_kill(struct helper *h);

#endif
