/* Conflict resolution as a storage sees it: three states of an object make one, or a conflict.
 * src/resolver/ has the ones there are. */
#ifndef STORAGE_RESOLVER_H
#define STORAGE_RESOLVER_H

#include <stdint.h>

#include "base/buf.h"
#include "base/compiler.h"
#include "base/err.h"
#include "base/slice.h"

struct resolve_req {
	uint64_t oid;
	uint64_t committed_serial; /* of the state that is current */
	uint64_t old_serial;       /* of the state the change was made from */
	/* Data records as they are stored (class pickle, state pickle), compressed or not. */
	struct slice old;
	struct slice committed;
	struct slice changed;
};

struct resolver {
	/**
	 * @ret  the merged data record is appended to it on success
	 * Returns 0; ERR_CONFLICT with the reason in @e when it cannot be resolved, which includes every
	 * class nobody can resolve and every record that cannot be read; ERR_NOMEM.
	 * May block (a helper process), for a bounded time. Threads: any, never an event loop.
	 */
	int (*resolve)(
		struct resolver *r, const struct resolve_req *q, struct buf *ret, struct err *e);
};

#endif
