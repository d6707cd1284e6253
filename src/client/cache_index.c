#include "client/cache_index.h"

#include <sched.h>
#include <stdatomic.h>

#include "base/check.h"
#include "base/mem.h"
#include "codec/tid.h"

enum {
	SHARD_BITS = 6,
	SHARDS = 1 << SHARD_BITS,
	FIRST_BITS = 6, /* of a shard's first table */
	CACHE_LINE = 64,
	SPINS = 100, /* before the processor is given to the one who changes the shard */
};

/* pos 0: free. Every field is written in an odd phase of the shard, but for marks. */
struct slot {
	_Atomic(uint64_t) oid, pos, serial, end_tid;
};

struct table {
	struct table *older; /* what it has replaced */
	unsigned bits;
	struct slot *slots; /* behind it; none of them lies in two cache lines */
};

struct shard {
	_Atomic(uint64_t) phase;
	_Atomic(struct table *) table;
	_Atomic(uint64_t) entries;
	uint8_t apart[CACHE_LINE -
		      24]; /* what every load changes is not beside what it only reads */
	_Atomic(uint64_t) hits, misses;
	uint8_t apart_too[CACHE_LINE - 16];
};

struct cache_index {
	struct shard shards[SHARDS];
};

static uint64_t load(_Atomic(uint64_t) *p)
{
	return atomic_load_explicit(p, memory_order_acquire);
}

static void store(_Atomic(uint64_t) *p, uint64_t v)
{
	atomic_store_explicit(p, v, memory_order_release);
}

static uint64_t hash(uint64_t oid)
{
	oid *= UINT64_C(0x9E3779B97F4A7C15);
	oid ^= oid >> 32;
	return oid * UINT64_C(0xD6E8FEB86659FD93);
}

static struct shard *shard_of(struct cache_index *ix, uint64_t h)
{
	return &ix->shards[h >> (64 - SHARD_BITS)];
}

static size_t slots_of(const struct table *t)
{
	return (size_t)1 << t->bits;
}

static size_t home(const struct table *t, uint64_t h)
{
	return (size_t)(h << SHARD_BITS >> (64 - t->bits));
}

static struct table *table_new(unsigned bits, struct table *older)
{
	struct table *t = mem_zalloc(1, sizeof(*t) + CACHE_LINE + (sizeof(struct slot) << bits));

	if (!t)
		return NULL;
	t->bits = bits;
	t->slots = (struct slot *)(((uintptr_t)(t + 1) + CACHE_LINE - 1) &
				   ~(uintptr_t)(CACHE_LINE - 1));
	t->older = older;
	return t;
}

struct cache_index *cache_index_new(void)
{
	struct cache_index *ix = mem_zalloc(1, sizeof(*ix));

	for (size_t i = 0; ix && i < SHARDS; i++) {
		struct table *t = table_new(FIRST_BITS, NULL);

		if (!t) {
			cache_index_free(ix);
			return NULL;
		}
		atomic_init(&ix->shards[i].table, t);
	}
	return ix;
}

void cache_index_free(struct cache_index *ix)
{
	if (!ix)
		return;
	for (size_t i = 0; i < SHARDS; i++) {
		struct table *t = atomic_load(&ix->shards[i].table);

		while (t) {
			struct table *older = t->older;

			mem_free(t);
			t = older;
		}
	}
	mem_free(ix);
}

static struct revision read_slot(struct slot *s)
{
	return (struct revision){ load(&s->oid), load(&s->pos), load(&s->serial),
		load(&s->end_tid) };
}

static void write_slot(struct slot *s, const struct revision *r)
{
	store(&s->oid, r->oid);
	store(&s->serial, r->serial);
	store(&s->end_tid, r->end_tid);
	store(&s->pos, r->pos);
}

/* --- reading --- */

/* The newest revision before @tid, if it had not ended by then. */
static bool probe(struct table *t, uint64_t h, uint64_t oid, uint64_t tid, struct revision *ret)
{
	size_t mask = slots_of(t) - 1;
	struct revision best = { .pos = 0 };

	for (size_t i = home(t, h), n = 0; n <= mask; i = (i + 1) & mask, n++) {
		struct slot *s = &t->slots[i];

		if (load(&s->pos) == 0)
			break;
		if (load(&s->oid) != oid)
			continue;
		struct revision r = read_slot(s);

		if (r.serial < tid && (best.pos == 0 || r.serial > best.serial))
			best = r;
	}
	*ret = best;
	return best.pos != 0 && (best.end_tid == TID_NONE || best.end_tid >= tid);
}

bool cache_index_find(struct cache_index *ix, uint64_t oid, uint64_t tid, struct revision *ret)
{
	uint64_t h = hash(oid);
	struct shard *sh = shard_of(ix, h);

	for (unsigned n = 0;; n++) {
		uint64_t phase = load(&sh->phase);

		if (phase % 2 == 0) {
			struct table *t = atomic_load_explicit(&sh->table, memory_order_acquire);
			bool found = probe(t, h, oid, tid, ret);

			if (atomic_load_explicit(&sh->phase, memory_order_relaxed) == phase)
				return found;
		}
		if (n >= SPINS)
			sched_yield();
	}
}

/* A position is one revision's only: the exchange finds it, or does nothing. A mark that is lost while the slot
 * moves is set another time. */
void cache_index_mark(struct cache_index *ix, const struct revision *r, uint64_t marks)
{
	uint64_t h = hash(r->oid);
	struct table *t = atomic_load_explicit(&shard_of(ix, h)->table, memory_order_acquire);
	size_t mask = slots_of(t) - 1;

	for (size_t i = home(t, h), n = 0; n <= mask; i = (i + 1) & mask, n++) {
		uint64_t pos = load(&t->slots[i].pos);

		if (pos == 0)
			return;
		if ((pos ^ r->pos) <= REVISION_MARKS) {
			atomic_compare_exchange_strong(&t->slots[i].pos, &pos, pos | marks);
			return;
		}
	}
}

void cache_index_count_load(struct cache_index *ix, uint64_t oid, bool hit)
{
	struct shard *sh = shard_of(ix, hash(oid));

	atomic_fetch_add_explicit(hit ? &sh->hits : &sh->misses, 1, memory_order_relaxed);
}

uint64_t cache_index_entries(struct cache_index *ix)
{
	uint64_t sum = 0;

	for (size_t i = 0; i < SHARDS; i++)
		sum += load(&ix->shards[i].entries);
	return sum;
}

void cache_index_loads(struct cache_index *ix, uint64_t *ret_hits, uint64_t *ret_misses)
{
	*ret_hits = *ret_misses = 0;
	for (size_t i = 0; i < SHARDS; i++) {
		*ret_hits += load(&ix->shards[i].hits);
		*ret_misses += load(&ix->shards[i].misses);
	}
}

/* --- changing --- */

static void begin(struct shard *sh)
{
	atomic_fetch_add_explicit(&sh->phase, 1, memory_order_acq_rel);
}

static void end(struct shard *sh)
{
	atomic_fetch_add_explicit(&sh->phase, 1, memory_order_release);
}

static struct table *table_of(struct shard *sh)
{
	return atomic_load_explicit(&sh->table, memory_order_relaxed);
}

size_t cache_index_all(struct cache_index *ix, uint64_t oid, struct revision ret[REVISIONS_MAX])
{
	uint64_t h = hash(oid);
	struct table *t = table_of(shard_of(ix, h));
	size_t mask = slots_of(t) - 1;
	size_t found = 0;

	for (size_t i = home(t, h); load(&t->slots[i].pos) != 0; i = (i + 1) & mask)
		if (load(&t->slots[i].oid) == oid) {
			CHECK(found < REVISIONS_MAX);
			ret[found++] = read_slot(&t->slots[i]);
		}
	return found;
}

static void put(struct table *t, const struct revision *r)
{
	size_t mask = slots_of(t) - 1;
	size_t i = home(t, hash(r->oid));

	while (load(&t->slots[i].pos) != 0)
		i = (i + 1) & mask;
	write_slot(&t->slots[i], r);
}

static bool grow(struct shard *sh)
{
	struct table *old = table_of(sh);
	struct table *t = table_new(old->bits + 1, old);

	if (!t)
		return false;
	for (size_t i = 0; i < slots_of(old); i++) {
		struct revision r = read_slot(&old->slots[i]);

		if (r.pos != 0)
			put(t, &r);
	}
	atomic_store_explicit(&sh->table, t, memory_order_release);
	return true;
}

bool cache_index_add(struct cache_index *ix, const struct revision *r)
{
	struct shard *sh = shard_of(ix, hash(r->oid));
	uint64_t entries = load(&sh->entries);

	if ((entries + 1) * 3 > slots_of(table_of(sh)) * 2 && !grow(sh))
		return false;
	begin(sh);
	put(table_of(sh), r);
	end(sh);
	store(&sh->entries, entries + 1);
	return true;
}

static struct slot *slot_at(struct table *t, const struct revision *r)
{
	size_t mask = slots_of(t) - 1;
	size_t i = home(t, hash(r->oid));
	uint64_t pos;

	while ((pos = load(&t->slots[i].pos)) != 0 && (pos ^ r->pos) > REVISION_MARKS)
		i = (i + 1) & mask;
	return pos ? &t->slots[i] : NULL;
}

/* Those behind it move up, so that no search ends before its goal. */
static void close_gap(struct table *t, size_t gap)
{
	size_t mask = slots_of(t) - 1;

	for (size_t i = (gap + 1) & mask; load(&t->slots[i].pos) != 0; i = (i + 1) & mask) {
		struct revision r = read_slot(&t->slots[i]);

		if (((i - home(t, hash(r.oid))) & mask) < ((i - gap) & mask))
			continue; /* its home is behind the gap */
		write_slot(&t->slots[gap], &r);
		gap = i;
	}
	store(&t->slots[gap].pos, 0);
}

bool cache_index_remove(struct cache_index *ix, const struct revision *r, struct revision *ret)
{
	struct shard *sh = shard_of(ix, hash(r->oid));
	struct table *t = table_of(sh);
	struct slot *s = slot_at(t, r);

	if (!s)
		return false;
	*ret = read_slot(s);
	begin(sh);
	close_gap(t, (size_t)(s - t->slots));
	end(sh);
	store(&sh->entries, load(&sh->entries) - 1);
	return true;
}

void cache_index_set_end(struct cache_index *ix, const struct revision *r, uint64_t end_tid)
{
	struct shard *sh = shard_of(ix, hash(r->oid));
	struct slot *s = slot_at(table_of(sh), r);

	CHECK(s);
	begin(sh);
	store(&s->end_tid, end_tid);
	end(sh);
}

void cache_index_clear(struct cache_index *ix)
{
	for (size_t k = 0; k < SHARDS; k++) {
		struct shard *sh = &ix->shards[k];
		struct table *t = table_of(sh);

		begin(sh);
		for (size_t i = 0; i < slots_of(t); i++)
			store(&t->slots[i].pos, 0);
		end(sh);
		store(&sh->entries, 0);
	}
}
