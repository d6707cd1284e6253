/* Publications: what each finished transaction changed, in tid order, shared by all event
 * loops. The storage's writer appends; every hub (event loop) has a cursor and takes them one
 * by one; the last ones stay for getInvalidations.
 *
 * I1  tids in the chain grow strictly.
 * I2  When a publication is reachable, every index entry of its transaction is stored.
 * I3  A publication is freed only when it is behind every cursor and outside the last @keep.
 * I4  A cursor that does not listen is not woken for each publication, and answers nobody: who starts to listen takes
 *     what is there first. */
#ifndef STORAGE_PUBLICATION_H
#define STORAGE_PUBLICATION_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/compiler.h"

enum publication_kind {
	PUBLICATION_TXN,
	PUBLICATION_INFO, /* no transaction: sizes changed (after a pack); tid is the last one */
	/** A storage that was away from its server: several transactions up to tid, which are not told apart. Who has
	 * looked at the storage before has to verify what he knows: his connection is closed. */
	PUBLICATION_CATCH_UP,
	/** The same, and what they changed is not known. */
	PUBLICATION_GAP,
};

struct publication {
	_Atomic(struct publication *) next;
	uint64_t tid;
	uint64_t origin;     /* txn.origin of the committing session, 0 for none */
	uint64_t size_bytes; /* of the storage, after this transaction */
	uint64_t length;     /* objects in the storage, after it */
	uint32_t n_oids;
	enum publication_kind kind;
	_Atomic(void *) frame[2]; /* server/: the encoded invalidation, one for each encoding */
	uint64_t oids[];          /* written ones, without those only checked (T10, T11) */
};

/** One of kind PUBLICATION_TXN with room for @n_oids, or NULL. */
struct publication *publication_new(uint32_t n_oids);
void publication_free(struct publication *p);

struct pub_cursor {
	_Atomic(struct publication *) at; /* taken last; never NULL once attached */
	void (*wake)(
		struct pub_cursor *c); /* something new is there; called on the writer's thread */
	struct pub_cursor *next;       /* the chain's own */
	bool listens;                  /* the chain's own */
};

struct pubchain {
	pthread_mutex_t lock; /* guards cursors, oldest, n_kept, freeing */
	struct pub_cursor *cursors;
	struct publication *oldest;
	_Atomic(struct publication *) newest;
	uint32_t keep;
	uint32_t n_kept;
	void (*free_frame)(void *frame); /* of publication.frame; set before the first cursor */
	void (*make_frame)(struct publication *p); /* of one with many oids; NULL: cursors do it */
};

/** @last_tid is the storage's, TID_NONE for an empty one; @keep how many transactions getInvalidations
 * can look back (invalidation-queue-size). Returns 0 or ERR_NOMEM. */
MUST_CHECK int pubchain_init(struct pubchain *c, uint64_t last_tid, uint32_t keep);
/** No cursor may be attached any more. */
void pubchain_close(struct pubchain *c);

/**
 * Fill in the transactions before pubchain_init()'s last_tid at start, newest first (T55);
 * ownership of @p passes. Only before the first cursor is attached and the first publish. The
 * first call replaces the place-holder of last_tid and must have that tid.
 */
void pubchain_seed(struct pubchain *c, struct publication *p);

/**
 * The storage below is not empty: its last transaction is @tid, and of those up to it nothing is known. Nothing when the
 * chain's own last one is newer. Only before the first cursor is attached. Returns 0 or ERR_NOMEM.
 */
MUST_CHECK int pubchain_start_at(struct pubchain *c, uint64_t tid);

/** @p is complete, and is appended next: its frame is made here when that takes long, and not by the cursors' loops. Who
 * does not call this leaves it to them. No lock is held that a load or a vote waits for. Threads: the writer's. */
void pubchain_prepare(struct pubchain *c, struct publication *p);
/** Append; free what no one needs. Takes ownership. Who has appended wakes. Threads: the writer's. */
void pubchain_append(struct pubchain *c, struct publication *p);
/** Wake the cursors that listen and have not taken all; the others, when they are far behind. Threads: any. */
void pubchain_wake(struct pubchain *c);
/** Append and wake. Threads: the writer's. */
void pubchain_publish(struct pubchain *c, struct publication *p);

/** Tid of the newest publication. Threads: any. */
uint64_t pubchain_last_tid(struct pubchain *c);

/** Tid of what the cursor took last that is farthest behind of those that listen; of the newest publication, when none
 * does. Who starts to listen later takes more than that first. Threads: any. */
uint64_t pubchain_min_tid(struct pubchain *c);

/** Put the cursor at the newest publication; its tid is the hub's first applied tid. It listens. */
void pub_cursor_attach(struct pubchain *c, struct pub_cursor *cur);
/** Somebody waits for what the cursor takes (before anything is answered, all that is there has to be taken, I4), or
 * nobody does. */
void pub_cursor_listen(struct pubchain *c, struct pub_cursor *cur, bool on);
void pub_cursor_detach(struct pubchain *c, struct pub_cursor *cur);

/** The next one not yet taken, or NULL. It stays valid until pub_cursor_take() passes it. */
static inline struct publication *pub_cursor_peek(struct pub_cursor *cur)
{
	struct publication *at = atomic_load_explicit(&cur->at, memory_order_relaxed);

	return atomic_load_explicit(&at->next, memory_order_acquire);
}

static inline void pub_cursor_take(struct pub_cursor *cur, struct publication *p)
{
	atomic_store_explicit(&cur->at, p, memory_order_release);
}

/**
 * The oids changed after @tid, up to and including the cursor's place.
 * @add  called for each oid, duplicates included, under the chain's lock
 * Returns true when the chain reaches back to @tid (the oldest one kept is not newer than @tid, and
 * no gap is), and *ret_tid is the cursor's tid; false: ask the file (invalidation-age), or None.
 */
bool pubchain_since(struct pubchain *c, struct pub_cursor *cur, uint64_t tid,
	void (*add)(void *ctx, uint64_t oid), void *ctx, uint64_t *ret_tid);

#endif
