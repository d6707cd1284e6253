/* The ranges of an index in order, for "which oid comes next". Nothing is kept until it is asked for the
 * first time; from then on the writer tells of each new range.
 *
 * Threads: any; one lock, which nothing is done under but looking up, and now and then a merge. */
#ifndef FILESTORAGE_RANGE_ORDER_H
#define FILESTORAGE_RANGE_ORDER_H

#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/compiler.h"

/** A growing list of ranges. Starts as zeros. */
struct range_list {
	uint64_t *ranges;
	size_t n;
	size_t room;
};

struct range_order {
	pthread_mutex_t build_lock; /* held while it is built, which may take long */
	pthread_mutex_t lock;       /* guards the rest */
	bool active;                /* new ranges are wanted */
	bool built;
	struct range_list all;    /* sorted */
	struct range_list recent; /* sorted, and short: what came since the last merge */
};

void range_order_init(struct range_order *o);
void range_order_fini(struct range_order *o);

/** There are oids in @range; may be said again. What it failed to keep for lack of memory is built again. */
void range_order_note(struct range_order *o, uint64_t range);

/** The smallest range that is not smaller than @range. Returns 0; ERR_NOENT: there is none; ERR_AGAIN: it
 * has to be built. */
MUST_CHECK int range_order_next(struct range_order *o, uint64_t range, uint64_t *ret);

/** To build: start, then list every range that is there, then end; start is false when it is built already.
 * End takes the list, also when @rc says that listing failed, and returns 0, ERR_NOMEM or @rc. */
MUST_CHECK bool range_order_start(struct range_order *o);
MUST_CHECK int range_order_end(struct range_order *o, struct range_list *found, int rc);
MUST_CHECK int range_list_add(struct range_list *l, uint64_t range);

/** Bytes of memory in use. */
size_t range_order_bytes(struct range_order *o);

#endif
