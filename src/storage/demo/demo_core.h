/* What the files of the DemoStorage share. */
#ifndef DEMO_DEMO_CORE_H
#define DEMO_DEMO_CORE_H

#include <pthread.h>

#include "base/compiler.h"
#include "storage/demo/demo.h"
#include "storage/storage.h"

enum { DEMO_NAMES_ROOM = 2 * 5 + 1 };

struct demo {
	struct storage storage;
	struct storage_ops ops; /* without those that base or changes do not offer */
	struct storage *base;
	struct storage *changes;
	uint64_t base_last; /* tid */
	char *temporary_dir;
	const char *interfaces[DEMO_NAMES_ROOM];
	pthread_mutex_t oid_lock; /* guards next_oid; docs/threads.md */
	uint64_t next_oid;
};

static inline struct demo *demo_of(struct storage *s)
{
	return CONTAINER_OF(s, struct demo, storage);
}

void demo_load(struct storage *s, struct load_req *r);
void demo_history(struct storage *s, struct history_req *r);
void demo_open_blob(struct storage *s, struct blob_req *r);

void demo_vote(struct storage *s, struct vote_req *v);

int demo_iter_open(
	struct storage *s, uint64_t start, uint64_t stop, struct storage_iter **ret, struct err *e);
int demo_iter_records(struct storage_iter *txns, struct storage_iter **ret, struct err *e);
void demo_iter_next(struct iter_req *r);
void demo_iter_close(struct storage *s, struct storage_iter *it);

#endif
