/* The iterators a client has open: of transactions, and of the records of one. They are closed when they
 * end, when the client forgets them, and with the session.
 *
 * An iterator takes one request at a time: more wait in a queue of their own.
 *
 * Threads: the hub's. */
#ifndef SERVER_ITERATORS_H
#define SERVER_ITERATORS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/compiler.h"
#include "base/err.h"
#include "storage/storage.h"

enum { ITERATORS_MAX = 10000 }; /* of one session (R9, T44) */

struct iter_op;

struct iterator {
	int64_t id;
	struct storage_iter *it;
	bool of_records;
	bool gone;          /* not in the table any more: freed when nothing is under way */
	uint64_t given_tid; /* of the transaction given last; TID_NONE: none */
	struct iter_op *op; /* under way, and behind it those that wait */
};

/** Of a session, NULL at first. */
struct iterators;

/** The next id; ids count from 0 and are used once. Returns 0 or ERR_NOMEM. */
MUST_CHECK int iterators_next_id(struct iterators **its, int64_t *ret, struct err *e);
/** Take @it over as number @id, the largest so far. Returns 0, ERR_LIMIT, ERR_NOMEM. */
MUST_CHECK int iterators_add(
	struct iterators *its, int64_t id, struct storage_iter *it, bool of_records, struct err *e);
/** NULL: there is none. @its may be NULL. */
struct iterator *iterators_find(struct iterators *its, int64_t id);
/** Take it off the table; it is freed with iterator_free(). */
void iterators_remove(struct iterators *its, struct iterator *i);
/** Close and free one that was removed and of which nothing is under way. */
void iterator_free(struct iterator *i, struct storage *s);
/** Nothing of them is under way. NULL is fine. */
void iterators_free(struct iterators *its, struct storage *s);

#endif
