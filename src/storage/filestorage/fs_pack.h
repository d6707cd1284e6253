/* Packing a FileStorage: one at a time, on a thread of its own. */
#ifndef FILESTORAGE_FS_PACK_H
#define FILESTORAGE_FS_PACK_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/compiler.h"
#include "base/err.h"
#include "storage/storage.h"

struct filestorage;

/** The part of a FileStorage. */
struct packing {
	pthread_mutex_t lock;   /* guards has_thread and what waits for changed; docs/threads.md */
	pthread_cond_t changed; /* monotonic: stop, or a step of the pack has been taken */
	pthread_t thread;
	bool has_thread; /* to be joined */
	atomic_bool running;
	atomic_bool stop; /* the storage is being closed: no more packs */

	/* for people: struct pack_progress */
	_Atomic(const char *) phase;
	atomic_uint_fast64_t started_us;
	atomic_uint_fast64_t done_bytes;
	atomic_uint_fast64_t all_bytes;
};

void packing_init(struct packing *k);
void packing_fini(struct packing *k);

/** storage_ops.pack, pack_progress, pack_stop */
void fs_pack(struct storage *s, struct pack_req *r);
void fs_pack_progress(struct storage *s, struct pack_progress *ret);
void fs_pack_stop(struct storage *s);
/** Ask, and wait for its end. */
void fs_pack_join(struct filestorage *fs);

/** Threads: any. */
bool fs_is_packing(struct filestorage *fs);

/** What a pack that was killed left beside a whole data file goes. Not for a storage that is read-only. */
void fs_pack_clean(struct filestorage *fs);

/**
 * In @us the process used @process_us of its @cpus processors, @own_us of that for the pack. True when its other threads leave
 * no processor to the pack, and half of one to everybody else (of a single one: use a quarter).
 */
bool pack_is_crowded(uint64_t us, uint64_t process_us, uint64_t own_us, unsigned cpus);

#endif
