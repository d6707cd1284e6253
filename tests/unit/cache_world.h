/* A storage whose whole history is a function of a seed: which transaction changed which object, and to what. So any answer of a
 * cache can be judged without a record of what was done before. */
#ifndef TESTS_CACHE_WORLD_H
#define TESTS_CACHE_WORLD_H

#include "cmocka_all.h"

#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "client/cache.h"
#include "codec/tid.h"

enum {
	WORLD_OIDS = 60,
	WORLD_RARE = 25, /* one of so many objects changes in a transaction */
	WORLD_DATA_MAX = 4096,
};

/** A folder for a test: in memory where that is possible, for a cache is synced when it is closed. */
static inline bool world_folder(char path[40])
{
	strcpy(path, access("/dev/shm", W_OK) == 0 ? "/dev/shm/zkzeo-cache-XXXXXX"
						   : "/tmp/zkzeo-cache-XXXXXX");
	return mkdtemp(path);
}

struct world {
	uint64_t seed;
	uint64_t random;
};

static inline uint64_t world_mix(uint64_t a, uint64_t b, uint64_t c)
{
	uint64_t h = a * UINT64_C(0x9E3779B97F4A7C15) + b;

	h = (h ^ (h >> 29)) * UINT64_C(0xBF58476D1CE4E5B9) + c;
	h = (h ^ (h >> 32)) * UINT64_C(0x94D049BB133111EB);
	return h ^ (h >> 31);
}

static inline uint64_t world_random(struct world *w, uint64_t below)
{
	w->random = w->random * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
	return (w->random >> 33) % below;
}

/** Every object is made in transaction 1. */
static inline bool world_changed(const struct world *w, uint64_t oid, uint64_t tid)
{
	return tid == 1 || world_mix(w->seed, oid, tid) % WORLD_RARE == 0;
}

/** The revision before @tid, as of @last: *ret_end is TID_NONE where nothing up to @last ended it. False: there was none. */
static inline bool world_revision(const struct world *w, uint64_t oid, uint64_t tid, uint64_t last,
	uint64_t *ret_serial, uint64_t *ret_end)
{
	uint64_t serial = tid - 1;
	uint64_t end = tid;

	if (tid <= 1)
		return false;
	while (!world_changed(w, oid, serial))
		serial--;
	while (end <= last && !world_changed(w, oid, end))
		end++;
	*ret_serial = serial;
	*ret_end = end <= last ? end : TID_NONE;
	return true;
}

static inline size_t world_data(const struct world *w, uint64_t oid, uint64_t serial, uint8_t *to)
{
	uint64_t h = world_mix(w->seed + 1, oid, serial);
	size_t len = h % 10 == 0 ? h / 10 % WORLD_DATA_MAX : h / 10 % 300;

	for (size_t i = 0; i < len; i++)
		to[i] = (uint8_t)(h >> (i % 57)) ^ (uint8_t)i;
	return len;
}

struct world_room {
	uint8_t bytes[WORLD_DATA_MAX];
	size_t len;
};

static inline void *world_take(void *arg, size_t len)
{
	struct world_room *r = arg;

	r->len = len;
	return len <= sizeof(r->bytes) ? r->bytes : NULL;
}

/** Ask the cache, and judge what it says. @last: what it knew at least. True: it was there. */
static inline bool world_check(
	const struct world *w, struct cache *c, uint64_t oid, uint64_t tid, uint64_t last)
{
	struct world_room got;
	uint8_t want[WORLD_DATA_MAX];
	uint64_t serial = 0, end = 0, true_serial = 0, true_end = 0;
	size_t len;

	if (cache_load_before(c, oid, tid, world_take, &got, &serial, &end) != OK)
		return false;
	assert_true(world_revision(w, oid, tid, UINT64_MAX - 1, &true_serial, &true_end));
	if (serial != true_serial || (end != true_end && (end != TID_NONE || true_end <= last)))
		fail_msg("seed %llu: object %llu before %llu (last %llu) is [%llu, %llu), not "
			 "[%llu, %llu)",
			(unsigned long long)w->seed, (unsigned long long)oid,
			(unsigned long long)tid, (unsigned long long)last,
			(unsigned long long)serial, (unsigned long long)end,
			(unsigned long long)true_serial, (unsigned long long)true_end);
	len = world_data(w, oid, serial, want);
	assert_int_equal(got.len, len);
	assert_memory_equal(got.bytes, want, len);
	return true;
}

/** Everything that the cache has is right. Returns how many of the answers it knew. */
static inline unsigned world_check_all(const struct world *w, struct cache *c)
{
	uint64_t last = cache_last_tid(c);
	unsigned known = 0;

	for (uint64_t oid = 0; oid < WORLD_OIDS; oid++)
		for (uint64_t tid = last > 100 ? last - 100 : 1; tid <= last + 1; tid++)
			known += world_check(w, c, oid, tid, last);
	return known;
}

static inline void world_store(
	const struct world *w, struct cache *c, uint64_t oid, uint64_t serial, uint64_t end)
{
	uint8_t data[WORLD_DATA_MAX];
	size_t len = world_data(w, oid, serial, data);

	cache_store(c, oid, serial, end, slice_of(data, len));
}

/** The next transaction, as a client hears of it; of some objects it knows the new state. */
static inline void world_commit(struct world *w, struct cache *c)
{
	uint64_t tid = cache_last_tid(c) + 1;

	for (uint64_t oid = 0; oid < WORLD_OIDS; oid++) {
		if (!world_changed(w, oid, tid))
			continue;
		cache_invalidate(c, oid, tid);
		if (world_random(w, 2))
			world_store(w, c, oid, tid, TID_NONE);
	}
	cache_set_last_tid(c, tid);
}

/** A load: what is not there is asked for. */
static inline void world_load(struct world *w, struct cache *c)
{
	uint64_t last = cache_last_tid(c);
	uint64_t oid = world_random(w, WORLD_OIDS);
	uint64_t back = world_random(w, 2) ? 0 : world_random(w, 60);
	uint64_t tid = last > back ? last + 1 - back : 1;
	uint64_t serial = 0, end = 0;

	if (!world_check(w, c, oid, tid, last) &&
		world_revision(w, oid, tid, last, &serial, &end)) {
		if (world_random(w, 2)) /* as a client does that waits for the answer */
			cache_prepare(c);
		else
			cache_prepare_many(c, world_random(w, 20), world_random(w, 30000));
		world_store(w, c, oid, serial, end);
	}
}

static inline void world_step(struct world *w, struct cache *c)
{
	uint64_t dice = world_random(w, 100);

	if (dice < 10)
		world_commit(w, c);
	else if (dice < 12)
		cache_invalidate(c, world_random(w, WORLD_OIDS), TID_NONE);
	else
		world_load(w, c);
}

#endif
