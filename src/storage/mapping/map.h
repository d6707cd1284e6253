/* What the files of the MappingStorage share.
 *
 * One lock guards everything, but for the bytes of revisions and the texts of transactions, which do not
 * change: who takes a reference under the lock may read them without it, also when a pack takes them away. */
#ifndef MAPPING_MAP_H
#define MAPPING_MAP_H

#include <pthread.h>
#include <stdatomic.h>

#include "base/buf.h"
#include "base/compiler.h"
#include "codec/tid.h"
#include "storage/mapping/mapping.h"
#include "storage/storage.h"

struct map_revision {
	struct map_revision *prev; /* older */
	struct map_txn *txn;       /* as long as the object has it */
	uint64_t oid;
	size_t slot;      /* its place in txn->revs */
	atomic_uint refs; /* one is the object's */
	size_t len;
	uint8_t data[];
};

/* What is known of a transaction. */
struct map_txn {
	uint64_t tid;
	atomic_uint refs;        /* one is the storage's */
	_Atomic(uint8_t) status; /* ' ', or 'p' when a pack has taken something away */
	struct buf user;
	struct buf desc;
	struct buf ext;
	struct map_revision **revs; /* as they were stored; NULL: replaced, or packed away */
	size_t n_revs;
	size_t n_live; /* of them not NULL */
};

struct map_object {
	struct map_object *chain;
	uint64_t oid;
	uint64_t seen; /* the pack that found it reachable */
	struct map_revision *newest;
};

struct mapping {
	struct storage base;
	struct pubchain pubs;
	const struct clock *clock;
	bool keep_garbage;
	pthread_mutex_t finish_lock; /* commits are one after the other; docs/threads.md */
	pthread_mutex_t lock;        /* guards the rest; docs/threads.md */
	struct map_object **buckets;
	size_t n_buckets;      /* a power of two */
	size_t n_objects;      /* those with a revision */
	struct map_txn **txns; /* in the order of their tids */
	size_t n_txns;
	size_t txns_room;
	uint64_t next_oid;
	uint64_t size; /* as MappingStorage.getSize() counts */
	bool packing;
	uint64_t packed_to; /* TID_NONE: never packed */
	uint64_t n_packs;   /* begun */
};

enum {
	MAP_OBJECT_BYTES = 50,    /* each counts as that in the size, */
	MAP_REVISION_BYTES = 100, /* and its revisions as that and their data */
};

static inline struct mapping *mapping_of(struct storage *s)
{
	return CONTAINER_OF(s, struct mapping, base);
}

/** With the lock held. */
struct map_object *map_find(struct mapping *m, uint64_t oid);
/** The object, made without revisions when there is none; NULL without memory. With the lock held. */
struct map_object *map_find_or_add(struct mapping *m, uint64_t oid);
/** The object has no revisions: forget it. With the lock held. */
void map_forget(struct mapping *m, struct map_object *o);
/** Index in txns of the first one with a tid > @tid; n_txns when there is none. With the lock held. */
size_t map_txn_after(const struct mapping *m, uint64_t tid);

/** References; taken with the lock held. NULL is fine to give back, on any thread. */
static inline struct map_revision *map_revision_ref(struct map_revision *rev)
{
	atomic_fetch_add(&rev->refs, 1);
	return rev;
}
void map_revision_unref(struct map_revision *rev);
static inline struct map_txn *map_txn_ref(struct map_txn *t)
{
	atomic_fetch_add(&t->refs, 1);
	return t;
}
void map_txn_unref(struct map_txn *t);

/** The revision is not its object's any more, and its transaction has one less. Of the object's other
 * revisions and of counters nothing is changed. With the lock held. */
void map_revision_drop(struct map_revision *rev);

void mapping_vote(struct storage *s, struct vote_req *v);
void mapping_abort(struct storage *s, struct txn *t);
void mapping_finish(struct storage *s, struct txn *t);
void mapping_pack(struct storage *s, struct pack_req *r);
MUST_CHECK int mapping_iter_open(
	struct storage *s, uint64_t start, uint64_t stop, struct storage_iter **ret, struct err *e);
MUST_CHECK int mapping_iter_records(
	struct storage_iter *txns, struct storage_iter **ret, struct err *e);
void mapping_iter_next(struct iter_req *r);
void mapping_iter_close(struct storage *s, struct storage_iter *it);
void mapping_changes(struct storage *s, struct changes_req *r);

#endif
