/* Memory of one request: allocated piece by piece, given back at once. */
#ifndef BASE_ARENA_H
#define BASE_ARENA_H

#include <stddef.h>

struct arena_chunk;

struct arena {
	struct arena_chunk *head; /* the chunk in use; older ones behind it */
	size_t used;              /* bytes handed out since the last reset */
	size_t max;               /* arena_alloc() fails past this; 0 = no cap */
};

#define ARENA_INIT(cap)                                                                            \
	{                                                                                          \
		NULL, 0, (cap)                                                                     \
	}

/** @n bytes aligned for any type, or NULL (no memory, or past max). */
void *arena_alloc(struct arena *a, size_t n);
/** Everything handed out becomes invalid; one small chunk is kept for the next request. */
void arena_reset(struct arena *a);
/** Give everything back; the arena may be used again. */
void arena_free(struct arena *a);

#endif
