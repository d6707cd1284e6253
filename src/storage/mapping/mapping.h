/* MappingStorage: all revisions in memory, for tests and caches. */
#ifndef STORAGE_MAPPING_H
#define STORAGE_MAPPING_H

#include "base/clock.h"
#include "base/compiler.h"
#include "base/err.h"
#include "storage/storage.h"

/** @name for getName() ("MappingStorage" when the section has none); @recent_txns as FileStorage's. */
MUST_CHECK int mapping_open(const char *name, const struct clock *clock, uint32_t recent_txns,
	struct storage **ret, struct err *e);

/** Its pack() is not to remove objects that it has no reference to: a base below has those. Before it is used. */
void mapping_keep_garbage(struct storage *s);

#endif
