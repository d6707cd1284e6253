/* Conflict resolution for the classes of the BTrees package, without Python: buckets, sets, trees
 * and tree sets of one bucket, of every family, and Length. docs/conflict-resolution.md */
#ifndef RESOLVER_BTREES_H
#define RESOLVER_BTREES_H

#include "base/compiler.h"
#include "storage/resolver.h"

/**
 * Merge as the package does, result and reasons.
 * @ret  the merged record is appended on success; it may hold a part of one after a failure
 * Returns 0; ERR_CONFLICT when BTrees finds a conflict or raises an exception; ERR_UNSUPPORTED when
 * it is not an object of these classes or holds what only Python can compare: others may try;
 * ERR_NOMEM. Threads: any; no state.
 */
MUST_CHECK int btrees_resolve(const struct resolve_req *q, struct buf *ret, struct err *e);

#endif
