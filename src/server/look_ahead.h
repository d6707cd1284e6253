/* Objects that clients ask for are prefetched as soon as their requests have been read, before the first of these is
 * handled: all at once, as a processor waits for many caches' lines, and translates many addresses, in the time of one.
 * Nothing but a hint; nothing goes wrong where what is looked at is not handled, or handled later. */
#ifndef SERVER_LOOK_AHEAD_H
#define SERVER_LOOK_AHEAD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/slice.h"
#include "storage/storage.h"

struct session;

/** One hub's. Threads: who runs its loop. */
struct look_ahead {
	/* The bytes that were looked at, of sessions of one storage, perhaps with those of others between; only compared. */
	const uint8_t *from;
	const uint8_t *to;
	struct storage *of;
	size_t n;
	uint64_t oids[STORAGE_PREFETCH_MAX];
};

void look_ahead_start(struct look_ahead *la);
/** The whole frames that @in, the next input of a session, begins with. What is added later lies behind it. False: there
 * is no room for more. */
bool look_ahead_add(struct look_ahead *la, const struct session *s, struct slice in);
/** Let the storage prefetch what was found. */
void look_ahead_end(struct look_ahead *la);

/** Was what lies at @p, of a session of this storage, looked at? */
static inline bool look_ahead_has(
	const struct look_ahead *la, const struct storage *of, const uint8_t *p)
{
	return la->of == of && (uintptr_t)p >= (uintptr_t)la->from &&
	       (uintptr_t)p < (uintptr_t)la->to;
}

#endif
