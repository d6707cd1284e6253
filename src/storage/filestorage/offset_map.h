/* A map of a few file offsets to what is known of them. */
#ifndef FILESTORAGE_OFFSET_MAP_H
#define FILESTORAGE_OFFSET_MAP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/compiler.h"
#include "base/err.h"

struct offset_pair {
	uint64_t off; /* 0: free */
	uint64_t value;
};

/** Zeros are an empty one. */
struct offset_map {
	struct offset_pair *pairs;
	size_t n;
	size_t room;
};

void offset_map_free(struct offset_map *m);
/** Returns 0 or ERR_NOMEM. @off is not 0. */
MUST_CHECK int offset_map_put(struct offset_map *m, uint64_t off, uint64_t value, struct err *e);
/** The pair, whose value may be changed, or NULL. Valid until the next put. */
struct offset_pair *offset_map_get(const struct offset_map *m, uint64_t off);

#endif
