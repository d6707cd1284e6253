/* Who may vote: every object has a FIFO of transactions that write it (alone) or only check
 * it (together). A transaction enters all its FIFOs in one step and is granted when it is among
 * the first in each, so votes never overtake where they share an object, never wait where they do not,
 * and never wait for each other in a circle. An entry for the whole storage stands in every FIFO.
 *
 *   WAITING -> GRANTED -> left        (WAITING -> left: abort or disconnect)
 *
 * Threads: any; one lock, held for the step only. */
#ifndef SERVER_COMMIT_QUEUE_H
#define SERVER_COMMIT_QUEUE_H

#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/compiler.h"
#include "base/err.h"

struct cq_entry;

/** A place in one object's FIFO. The first one stands for the FIFO in the table. */
struct cq_lock {
	uint64_t oid;
	bool exclusive;
	bool granted;
	struct cq_entry *entry;
	struct cq_lock *next;  /* in the FIFO */
	struct cq_lock *tail;  /* of the first one: the last */
	struct cq_lock *chain; /* of the first one: the next FIFO in the table's row */
};

struct cq_entry {
	/** Called under the queue's lock when the entry is granted after it had to wait: may only post. */
	void (*granted_cb)(struct cq_entry *e);
	struct cq_lock *locks; /* allocated by commit_queue_prepare() */
	size_t n_locks;
	size_t n_waiting; /* locks not granted, and one more for `barred` */
	bool whole;       /* every object, alone */
	bool barred; /* an entry for the whole storage is before it, or it is one and not first */
	bool entered;
	uint64_t locked_us; /* wall clock: commit_queue_stamp(); 0: not yet */
	bool granted;
	struct cq_entry *prev, *next; /* all entries, in the order they came */
};

struct commit_queue {
	pthread_mutex_t lock;
	struct cq_lock **rows;
	size_t n_rows; /* a power of two */
	uint64_t seed;
	size_t n_fifos;
	struct cq_entry *first, *last;
	size_t n_entries;
	size_t n_granted;
};

MUST_CHECK int commit_queue_init(struct commit_queue *q, struct err *e);
void commit_queue_close(struct commit_queue *q);

/** Make an entry's locks: @oids with whether each is written; duplicates are merged. */
MUST_CHECK int commit_queue_prepare(struct cq_entry *en, size_t n, struct err *e);
void commit_queue_add(struct cq_entry *en, uint64_t oid, bool exclusive);

/** Enter. True: granted at once; false: granted_cb() will be called, unless it leaves before. */
bool commit_queue_enter(struct commit_queue *q, struct cq_entry *en);

/** Leave, granted or not, and free its locks; those behind may be granted by it. Returns whether
 * it had been granted (then granted_cb(), if it waited, has been called). */
bool commit_queue_leave(struct commit_queue *q, struct cq_entry *en);

/** A granted entry begins to vote, at @wall_us. */
void commit_queue_stamp(struct commit_queue *q, struct cq_entry *en, uint64_t wall_us);
/** When the one that has held its places for the longest time got them, wall clock; 0: none does. */
uint64_t commit_queue_locked_since(struct commit_queue *q);

/** Transactions that wait. */
size_t commit_queue_waiting(struct commit_queue *q);

#endif
