#include "storage/filestorage/index.h"

#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#include "base/check.h"
#include "base/err.h"
#include "base/mem.h"
#include "storage/filestorage/range_order.h"

enum {
	PAGE_BITS = 7,
	PAGE_OIDS = 1 << PAGE_BITS,
	PAGE_MIN =
		36, /* oids of a range that are worth a page: 1 KiB / 36 is below 32 bytes each */
	BLOCK_PAGES = 16, /* are allocated together */
	HUGE_FROM = 2048, /* pages: those that follow are allocated MEM_HUGE_BYTES at a time */
	SEGMENT_SLOTS = 256,
	SEGMENT_FULL =
		240, /* split above: probes stay short, and segments 54% full or more on average */
	DEPTH_MAX = 32,
	RANGES_INLINE = 16, /* without an oid that are passed over on a loop */
};

struct page {
	_Atomic(uint64_t) off[PAGE_OIDS];
};

/* Pages that were allocated together. */
struct block {
	struct block *next;
	struct page *pages;
	bool huge;
};

/* Range number -> page: open addressing, replaced by a larger one when half full. */
struct page_table {
	struct page_table *retired; /* I2 */
	uint64_t mask;
	struct {
		_Atomic(uint64_t) key; /* range number + 1; 0: free */
		_Atomic(struct page *) page;
	} slots[];
};

struct slot {
	_Atomic(uint64_t) key; /* oid + 1; 0: free */
	_Atomic(uint64_t) off; /* 0: prepared, not present */
};

/* A piece of the hash. All oids of one range are in the same segment. */
struct segment {
	_Atomic(uint64_t) seq; /* odd while entries move; I3 */
	uint32_t depth;        /* hash bits that its ranges have in common; writer only */
	uint32_t used;         /* slots; writer only */
	struct slot slots[SEGMENT_SLOTS];
};

/* The upper hash bits -> segment (extendible hashing). */
struct directory {
	struct directory *retired; /* I2 */
	uint32_t depth;
	_Atomic(struct segment *) segments[]; /* 1 << depth */
};

struct index {
	uint64_t seed; /* so that nobody can choose oids that collide */
	_Atomic(struct page_table *) pages;
	_Atomic(struct directory *) dir;
	_Atomic(uint64_t) last_oid_off; /* of oid 2^64 - 1, whose key would be 0 */
	_Atomic(uint64_t) count;
	_Atomic(uint64_t) max_oid;
	struct page *
		recent; /* the page that was set in last, of recent_range; writer only, as the next ones */
	uint64_t recent_range;
	uint64_t n_pages;
	struct block *blocks;
	struct page *fresh; /* pages of the newest block that are not used yet */
	size_t n_fresh;
	uint64_t n_segments;
	size_t bytes;
	struct range_order order;
};

/* A bijection of 64 bits (the finalizer of splitmix64). */
static uint64_t mix(uint64_t x)
{
	x = (x ^ (x >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
	x = (x ^ (x >> 27)) * UINT64_C(0x94d049bb133111eb);
	return x ^ (x >> 31);
}

static uint64_t hash_range(const struct index *ix, uint64_t range)
{
	return mix(mix(range + ix->seed) ^ ix->seed);
}

static uint64_t load_seq(const _Atomic(uint64_t) *p)
{
	return atomic_load_explicit(p, memory_order_acquire);
}

static size_t page_table_bytes(uint64_t n)
{
	return sizeof(struct page_table) + n * sizeof(((struct page_table *)0)->slots[0]);
}

static size_t directory_bytes(uint32_t depth)
{
	return sizeof(struct directory) + (sizeof(_Atomic(struct segment *)) << depth);
}

/* --- pages --- */

/* @hash: of @range. */
static struct page *find_hashed(const struct index *ix, uint64_t range, uint64_t hash)
{
	struct page_table *t = atomic_load_explicit(&ix->pages, memory_order_acquire);
	uint64_t i = hash & t->mask;

	for (;; i = (i + 1) & t->mask) {
		uint64_t key = load_seq(&t->slots[i].key);

		if (key == range + 1)
			return atomic_load_explicit(&t->slots[i].page, memory_order_relaxed);
		if (key == 0)
			return NULL;
	}
}

static struct page *find_page(const struct index *ix, uint64_t range)
{
	return find_hashed(ix, range, hash_range(ix, range));
}

static void table_put(
	const struct index *ix, struct page_table *t, uint64_t range, struct page *page)
{
	uint64_t i = hash_range(ix, range) & t->mask;

	while (atomic_load_explicit(&t->slots[i].key, memory_order_relaxed))
		i = (i + 1) & t->mask;
	atomic_store_explicit(&t->slots[i].page, page, memory_order_relaxed);
	atomic_store_explicit(&t->slots[i].key, range + 1, memory_order_release);
}

static int grow_pages(struct index *ix)
{
	struct page_table *old = atomic_load_explicit(&ix->pages, memory_order_relaxed);
	uint64_t n = (old->mask + 1) * 2;
	struct page_table *t = mem_zalloc(1, page_table_bytes(n));

	if (!t)
		return ERR_NOMEM;
	t->mask = n - 1;
	t->retired = old;
	for (uint64_t i = 0; i <= old->mask; i++) {
		uint64_t key = atomic_load_explicit(&old->slots[i].key, memory_order_relaxed);

		if (key)
			table_put(ix, t, key - 1,
				atomic_load_explicit(&old->slots[i].page, memory_order_relaxed));
	}
	ix->bytes += page_table_bytes(n);
	atomic_store_explicit(&ix->pages, t, memory_order_release);
	return OK;
}

/* A small index is no reason to have a huge page of memory. */
static int new_block(struct index *ix)
{
	struct block *b = mem_alloc(sizeof(*b));

	if (!b)
		return ERR_NOMEM;
	b->huge = ix->n_pages >= HUGE_FROM;
	b->pages = b->huge ? mem_alloc_huge() : mem_zalloc(BLOCK_PAGES, sizeof(*b->pages));
	if (!b->pages) {
		mem_free(b);
		return ERR_NOMEM;
	}
	b->next = ix->blocks;
	ix->blocks = b;
	ix->fresh = b->pages;
	ix->n_fresh = b->huge ? MEM_HUGE_BYTES / sizeof(*b->pages) : BLOCK_PAGES;
	return OK;
}

static void free_blocks(struct index *ix)
{
	struct block *next;

	for (struct block *b = ix->blocks; b; b = next) {
		next = b->next;
		if (b->huge)
			mem_free_huge(b->pages);
		else
			mem_free(b->pages);
		mem_free(b);
	}
}

/* Room in the table and an empty page that is not in it yet, or NULL. */
static struct page *new_page(struct index *ix)
{
	struct page_table *t = atomic_load_explicit(&ix->pages, memory_order_relaxed);

	if ((ix->n_pages + 1) * 2 > t->mask + 1 && grow_pages(ix) != OK)
		return NULL;
	if (ix->n_fresh == 0 && new_block(ix) != OK)
		return NULL;
	ix->n_pages++;
	ix->n_fresh--;
	ix->bytes += sizeof(struct page);
	return ix->fresh++;
}

static void publish_page(struct index *ix, uint64_t range, struct page *page)
{
	table_put(ix, atomic_load_explicit(&ix->pages, memory_order_relaxed), range, page);
}

/* --- segments --- */

static struct segment *segment_of(const struct directory *d, uint64_t hash)
{
	uint64_t i = d->depth ? hash >> (64 - d->depth) : 0;

	return atomic_load_explicit(&d->segments[i], memory_order_acquire);
}

static struct segment *find_segment(const struct index *ix, uint64_t hash)
{
	return segment_of(atomic_load_explicit(&ix->dir, memory_order_acquire), hash);
}

static uint32_t first_slot(uint64_t oid)
{
	return (uint32_t)(mix(oid) % SEGMENT_SLOTS);
}

/* The slot of @oid, or the free one where it would go. Acquire loads: what was read before a
 * check of the sequence number stays before it. */
static struct slot *find_slot(struct segment *s, uint64_t oid)
{
	uint32_t i = first_slot(oid);

	for (uint32_t n = 0; n < SEGMENT_SLOTS; n++, i = (i + 1) % SEGMENT_SLOTS) {
		uint64_t key = load_seq(&s->slots[i].key);

		if (key == oid + 1 || key == 0)
			return &s->slots[i];
	}
	return NULL; /* a reader in a segment that is being rearranged */
}

/* Release stores: a reader that sees one of them sees that the sequence number is odd. */
static void slot_store(struct slot *slot, uint64_t key, uint64_t off)
{
	atomic_store_explicit(&slot->off, off, memory_order_release);
	atomic_store_explicit(&slot->key, key, memory_order_release);
}

static void segment_add(struct segment *s, uint64_t oid, uint64_t off)
{
	slot_store(find_slot(s, oid), oid + 1, off);
	s->used++;
}

static struct segment *new_segment(struct index *ix, uint32_t depth)
{
	struct segment *s = mem_zalloc(1, sizeof(*s));

	if (s) {
		s->depth = depth;
		ix->n_segments++;
		ix->bytes += sizeof(*s);
	}
	return s;
}

struct entry {
	uint64_t oid;
	uint64_t off;
};

static uint32_t segment_entries(struct segment *s, struct entry out[SEGMENT_SLOTS])
{
	uint32_t n = 0;

	for (uint32_t i = 0; i < SEGMENT_SLOTS; i++) {
		uint64_t key = atomic_load_explicit(&s->slots[i].key, memory_order_relaxed);

		if (key)
			out[n++] = (struct entry){ key - 1,
				atomic_load_explicit(&s->slots[i].off, memory_order_relaxed) };
	}
	return n;
}

/* Replace the content of a segment that readers may be in. */
static void segment_rewrite(struct segment *s, const struct entry *entries, uint32_t n)
{
	uint64_t seq = atomic_load_explicit(&s->seq, memory_order_relaxed);

	atomic_store_explicit(&s->seq, seq + 1, memory_order_relaxed);
	for (uint32_t i = 0; i < SEGMENT_SLOTS; i++)
		slot_store(&s->slots[i], 0, 0);
	s->used = 0;
	for (uint32_t i = 0; i < n; i++)
		segment_add(s, entries[i].oid, entries[i].off);
	atomic_store_explicit(&s->seq, seq + 2, memory_order_release);
}

static int grow_directory(struct index *ix)
{
	struct directory *old = atomic_load_explicit(&ix->dir, memory_order_relaxed);
	uint32_t depth = old->depth + 1;
	struct directory *d = depth > DEPTH_MAX ? NULL : mem_zalloc(1, directory_bytes(depth));

	if (!d)
		return ERR_NOMEM;
	d->depth = depth;
	d->retired = old;
	for (uint64_t i = 0; i < UINT64_C(1) << depth; i++)
		atomic_store_explicit(&d->segments[i],
			atomic_load_explicit(&old->segments[i / 2], memory_order_relaxed),
			memory_order_relaxed);
	ix->bytes += directory_bytes(depth);
	atomic_store_explicit(&ix->dir, d, memory_order_release);
	return OK;
}

/* Hash bit number @depth, counted from the top, of the oid's range. */
static bool hash_bit(const struct index *ix, uint64_t oid, uint32_t depth)
{
	return hash_range(ix, oid >> PAGE_BITS) >> (63 - depth) & 1;
}

/* Where the directory points to the upper half of @s, it points to @upper from now on. */
static void point_upper(struct index *ix, uint64_t hash, struct segment *s, struct segment *upper)
{
	struct directory *d = atomic_load_explicit(&ix->dir, memory_order_relaxed);
	uint32_t free_bits = d->depth - s->depth;
	uint64_t first = s->depth ? hash >> (64 - s->depth) << free_bits : 0;
	uint64_t half = UINT64_C(1) << (free_bits - 1);

	for (uint64_t i = first + half; i < first + 2 * half; i++)
		atomic_store_explicit(&d->segments[i], upper, memory_order_release);
}

/* Move half of the hash values of @s to a new segment. */
static int split(struct index *ix, uint64_t hash, struct segment *s)
{
	struct directory *d = atomic_load_explicit(&ix->dir, memory_order_relaxed);
	struct entry entries[SEGMENT_SLOTS];
	uint32_t n = segment_entries(s, entries);
	struct segment *upper;
	uint32_t stay = 0;

	if (d->depth == s->depth && grow_directory(ix) != OK)
		return ERR_NOMEM;
	upper = new_segment(ix, s->depth + 1);
	if (!upper)
		return ERR_NOMEM;
	for (uint32_t i = 0; i < n; i++)
		if (hash_bit(ix, entries[i].oid, s->depth))
			segment_add(upper, entries[i].oid, entries[i].off);
		else
			entries[stay++] = entries[i];
	point_upper(ix, hash, s, upper); /* I3 */
	s->depth++;
	segment_rewrite(s, entries, stay);
	return OK;
}

static int by_oid(const void *a, const void *b)
{
	uint64_t x = ((const struct entry *)a)->oid;
	uint64_t y = ((const struct entry *)b)->oid;

	return x < y ? -1 : x > y;
}

/* A page for the run of entries of one range, published before they leave the segment (I3). */
static int promote_run(struct index *ix, const struct entry *entries, uint32_t n)
{
	struct page *page = new_page(ix);

	if (!page)
		return ERR_NOMEM;
	for (uint32_t i = 0; i < n; i++)
		atomic_store_explicit(&page->off[entries[i].oid % PAGE_OIDS], entries[i].off,
			memory_order_relaxed);
	publish_page(ix, entries[0].oid >> PAGE_BITS, page);
	return OK;
}

/* Give ranges with enough oids in @s pages of their own. *ret_n: how many. */
static int promote(struct index *ix, struct segment *s, uint32_t *ret_n)
{
	struct entry entries[SEGMENT_SLOTS];
	uint32_t n = segment_entries(s, entries);
	uint32_t stay = 0;
	uint32_t i, end;
	int rc = OK;

	*ret_n = 0;
	qsort(entries, n, sizeof(entries[0]), by_oid);
	for (i = 0; i < n; i = end) {
		for (end = i;
			end < n && entries[end].oid >> PAGE_BITS == entries[i].oid >> PAGE_BITS;)
			end++;
		if (end - i >= PAGE_MIN && rc == OK) {
			rc = promote_run(ix, entries + i, end - i);
			if (rc == OK) {
				++*ret_n;
				continue;
			}
		}
		memmove(entries + stay, entries + i, (end - i) * sizeof(entries[0]));
		stay += end - i;
	}
	if (*ret_n)
		segment_rewrite(s, entries, stay);
	return rc;
}

/* --- the interface --- */

struct index *index_new(void)
{
	struct index *ix = mem_zalloc(1, sizeof(*ix));
	struct page_table *t = mem_zalloc(1, page_table_bytes(16));
	struct directory *d = mem_zalloc(1, directory_bytes(0));
	struct segment *s = ix ? new_segment(ix, 0) : NULL;

	if (!ix || !t || !d || !s) {
		mem_free(ix);
		mem_free(t);
		mem_free(d);
		mem_free(s);
		return NULL;
	}
	if (getrandom(&ix->seed, sizeof(ix->seed), GRND_NONBLOCK) != sizeof(ix->seed))
		ix->seed = (uint64_t)(uintptr_t)ix;
	t->mask = 15;
	atomic_store(&d->segments[0], s);
	atomic_store(&ix->pages, t);
	atomic_store(&ix->dir, d);
	range_order_init(&ix->order);
	ix->bytes += sizeof(*ix) + page_table_bytes(16) + directory_bytes(0);
	return ix;
}

static void free_segments(struct directory *d)
{
	uint64_t n = UINT64_C(1) << d->depth;
	uint64_t i = 0;

	while (i < n) {
		struct segment *s = atomic_load(&d->segments[i]);

		i += UINT64_C(1) << (d->depth - s->depth);
		mem_free(s);
	}
}

void index_free(struct index *ix)
{
	struct page_table *t;
	struct directory *d;
	void *next;

	if (!ix)
		return;
	t = atomic_load(&ix->pages);
	for (; t; t = next) {
		next = t->retired;
		mem_free(t);
	}
	d = atomic_load(&ix->dir);
	free_segments(d);
	for (; d; d = next) {
		next = d->retired;
		mem_free(d);
	}
	free_blocks(ix);
	range_order_fini(&ix->order);
	mem_free(ix);
}

/* True with the entry, or with 0 when the hash has none for sure; false: things moved. */
static bool try_segment(const struct index *ix, uint64_t hash, uint64_t oid, uint64_t *ret_off)
{
	struct segment *s = find_segment(ix, hash);
	uint64_t seq = load_seq(&s->seq);
	const struct slot *slot = seq & 1 ? NULL : find_slot(s, oid);
	uint64_t key = slot ? load_seq(&slot->key) : 0;
	uint64_t off = slot ? load_seq(&slot->off) : 0;

	if (!slot || load_seq(&s->seq) != seq)
		return false;
	*ret_off = key == oid + 1 ? off : 0;
	/* Not there: it may have moved before we came to this segment. */
	return *ret_off || find_segment(ix, hash) == s;
}

/* @page: of its range, NULL when there was none a moment ago. */
static uint64_t get_hashed(
	const struct index *ix, uint64_t oid, uint64_t hash, const struct page *page)
{
	uint64_t off = 0;

	if (oid == UINT64_MAX)
		return load_seq(&ix->last_oid_off);
	if (!page) {
		while (!try_segment(ix, hash, oid, &off))
			;
		if (off)
			return off;
		/* it may have left the hash for a page */
		page = find_hashed(ix, oid >> PAGE_BITS, hash);
	}
	return page ? load_seq(&page->off[oid % PAGE_OIDS]) : 0;
}

uint64_t index_get(const struct index *ix, uint64_t oid)
{
	uint64_t range = oid >> PAGE_BITS;
	uint64_t hash = hash_range(ix, range);

	return get_hashed(ix, oid, hash, find_hashed(ix, range, hash));
}

void index_get_many(const struct index *ix, const uint64_t *oids, size_t n, uint64_t *ret_offs)
{
	const struct page_table *t = atomic_load_explicit(&ix->pages, memory_order_acquire);
	const struct page *pages[INDEX_GET_MANY_MAX];
	uint64_t hashes[INDEX_GET_MANY_MAX];

	CHECK(n <= INDEX_GET_MANY_MAX);
	for (size_t i = 0; i < n; i++) {
		hashes[i] = hash_range(ix, oids[i] >> PAGE_BITS);
		__builtin_prefetch(&t->slots[hashes[i] & t->mask]);
	}
	for (size_t i = 0; i < n; i++) {
		pages[i] = find_hashed(ix, oids[i] >> PAGE_BITS, hashes[i]);
		if (pages[i])
			__builtin_prefetch(&pages[i]->off[oids[i] % PAGE_OIDS]);
		else
			__builtin_prefetch(
				&find_segment(ix, hashes[i])->slots[first_slot(oids[i])]);
	}
	for (size_t i = 0; i < n; i++)
		ret_offs[i] = get_hashed(ix, oids[i], hashes[i], pages[i]);
}

/* Room for one oid. */
static int prepare(struct index *ix, uint64_t oid)
{
	uint64_t range = oid >> PAGE_BITS;
	uint64_t hash = hash_range(ix, range);

	if (oid == UINT64_MAX)
		return OK;
	for (;;) {
		struct segment *s = find_segment(ix, hash);
		uint32_t promoted = 0;

		if (find_page(ix, range))
			return OK;
		if (atomic_load_explicit(&find_slot(s, oid)->key, memory_order_relaxed))
			return OK;
		if (s->used < SEGMENT_FULL) {
			segment_add(s, oid, 0);
			range_order_note(&ix->order, range);
			return OK;
		}
		if (promote(ix, s, &promoted) != OK)
			return ERR_NOMEM;
		if (!promoted && split(ix, hash, s) != OK)
			return ERR_NOMEM;
	}
}

/* A run of oids of one range, enough for a page, when nothing of the range is in the hash. */
static int prepare_run(struct index *ix, uint64_t range)
{
	struct segment *s = find_segment(ix, hash_range(ix, range));
	struct page *page;

	if (find_page(ix, range))
		return OK;
	for (uint32_t i = 0; s->used && i < SEGMENT_SLOTS; i++) {
		uint64_t key = atomic_load_explicit(&s->slots[i].key, memory_order_relaxed);

		if (key && (key - 1) >> PAGE_BITS == range)
			return OK; /* promote() takes care of it */
	}
	page = new_page(ix);
	if (!page)
		return ERR_NOMEM;
	publish_page(ix, range, page);
	range_order_note(&ix->order, range);
	return OK;
}

int index_prepare(struct index *ix, const uint64_t *oids, size_t n)
{
	size_t i, end;
	int rc = OK;

	for (i = 0; rc == OK && i < n; i = end) {
		uint64_t range = oids[i] >> PAGE_BITS;

		for (end = i + 1;
			end < n && oids[end] >> PAGE_BITS == range && oids[end] > oids[end - 1];)
			end++;
		if (end - i >= PAGE_MIN && oids[end - 1] != UINT64_MAX)
			rc = prepare_run(ix, range);
		if (rc == OK && find_page(ix, range))
			continue; /* it has room for all of them */
		for (size_t k = i; rc == OK && k < end; k++)
			rc = prepare(ix, oids[k]);
	}
	return rc;
}

/* What is set one after the other is often of one range. */
static struct page *page_to_set(struct index *ix, uint64_t range)
{
	struct page *page;

	if (ix->recent && ix->recent_range == range)
		return ix->recent;
	page = find_page(ix, range);
	if (page) {
		ix->recent = page;
		ix->recent_range = range;
	}
	return page;
}

static _Atomic(uint64_t) *entry_of(struct index *ix, uint64_t oid)
{
	uint64_t range = oid >> PAGE_BITS;
	struct page *page = page_to_set(ix, range);
	struct slot *slot;

	if (oid == UINT64_MAX)
		return &ix->last_oid_off;
	if (page)
		return &page->off[oid % PAGE_OIDS];
	slot = find_slot(find_segment(ix, hash_range(ix, range)), oid);
	CHECK(slot && atomic_load_explicit(&slot->key, memory_order_relaxed) == oid + 1);
	return &slot->off;
}

void index_set(struct index *ix, uint64_t oid, uint64_t off)
{
	_Atomic(uint64_t) *entry = entry_of(ix, oid);

	CHECK(off != 0);
	if (atomic_load_explicit(entry, memory_order_relaxed) == 0)
		atomic_store_explicit(&ix->count, index_count(ix) + 1, memory_order_relaxed);
	if (oid > index_max_oid(ix))
		atomic_store_explicit(&ix->max_oid, oid, memory_order_relaxed);
	atomic_store_explicit(entry, off, memory_order_release);
}

uint64_t index_count(const struct index *ix)
{
	return atomic_load_explicit(&ix->count, memory_order_relaxed);
}

uint64_t index_max_oid(const struct index *ix)
{
	return atomic_load_explicit(&ix->max_oid, memory_order_relaxed);
}

size_t index_bytes(const struct index *ix)
{
	return ix->bytes + range_order_bytes((struct range_order *)&ix->order);
}

/* --- iteration --- */

/* Both lists in order; a range is in one of them only. */
struct index_iter {
	const struct index *ix;
	struct entry *pages; /* oid: range number; off: next place in the page */
	uint64_t n_pages;
	uint64_t at_page;
	struct entry *scattered;
	uint64_t n_scattered;
	uint64_t at_scattered;
};

static void collect_pages(struct index_iter *it)
{
	struct page_table *t = atomic_load(&it->ix->pages);

	for (uint64_t i = 0; i <= t->mask; i++) {
		uint64_t key = atomic_load(&t->slots[i].key);

		if (key)
			it->pages[it->n_pages++] = (struct entry){ key - 1, 0 };
	}
	qsort(it->pages, it->n_pages, sizeof(it->pages[0]), by_oid);
}

static void collect_segment(struct index_iter *it, struct segment *s)
{
	struct entry entries[SEGMENT_SLOTS];
	uint32_t n = segment_entries(s, entries);

	for (uint32_t i = 0; i < n; i++)
		if (entries[i].off)
			it->scattered[it->n_scattered++] = entries[i];
}

static void collect_scattered(struct index_iter *it)
{
	struct directory *d = atomic_load(&it->ix->dir);
	uint64_t n = UINT64_C(1) << d->depth;
	uint64_t last = load_seq(&it->ix->last_oid_off);
	uint64_t i = 0;

	while (i < n) {
		struct segment *s = atomic_load(&d->segments[i]);

		i += UINT64_C(1) << (d->depth - s->depth);
		collect_segment(it, s);
	}
	if (last)
		it->scattered[it->n_scattered++] = (struct entry){ UINT64_MAX, last };
	qsort(it->scattered, it->n_scattered, sizeof(it->scattered[0]), by_oid);
}

struct index_iter *index_iter_open(const struct index *ix)
{
	struct index_iter *it = mem_zalloc(1, sizeof(*it));

	if (!it)
		return NULL;
	it->ix = ix;
	it->pages = mem_zalloc(ix->n_pages + 1, sizeof(it->pages[0]));
	it->scattered = mem_zalloc(ix->n_segments * SEGMENT_SLOTS + 1, sizeof(it->scattered[0]));
	if (!it->pages || !it->scattered) {
		index_iter_close(it);
		return NULL;
	}
	collect_pages(it);
	collect_scattered(it);
	return it;
}

/* The next entry of the page list, without taking it. */
static bool peek_page(struct index_iter *it, struct entry *ret)
{
	for (; it->at_page < it->n_pages; it->at_page++) {
		struct entry *at = &it->pages[it->at_page];
		struct page *page = find_page(it->ix, at->oid);

		for (; at->off < PAGE_OIDS; at->off++) {
			uint64_t off = load_seq(&page->off[at->off]);

			if (off) {
				*ret = (struct entry){ at->oid << PAGE_BITS | at->off, off };
				return true;
			}
		}
	}
	return false;
}

bool index_iter_next(struct index_iter *it, uint64_t *ret_oid, uint64_t *ret_off)
{
	struct entry best;
	bool found = peek_page(it, &best);

	if (it->at_scattered < it->n_scattered &&
		(!found || it->scattered[it->at_scattered].oid < best.oid))
		best = it->scattered[it->at_scattered++];
	else if (found)
		it->pages[it->at_page].off++;
	else
		return false;
	*ret_oid = best.oid;
	*ret_off = best.off;
	return true;
}

void index_iter_close(struct index_iter *it)
{
	if (!it)
		return;
	mem_free(it->pages);
	mem_free(it->scattered);
	mem_free(it);
}

/* --- the next oid --- */

/* The smallest oid from @oid on that this segment has of its range. False: things moved. */
static bool try_next(const struct index *ix, uint64_t hash, uint64_t oid, uint64_t *ret)
{
	struct segment *s = find_segment(ix, hash);
	uint64_t seq = load_seq(&s->seq);
	uint64_t best = UINT64_MAX;

	if (seq & 1)
		return false;
	for (uint32_t i = 0; i < SEGMENT_SLOTS; i++) {
		uint64_t key = load_seq(&s->slots[i].key);

		if (key > oid && key - 1 < best && (key - 1) >> PAGE_BITS == oid >> PAGE_BITS &&
			load_seq(&s->slots[i].off))
			best = key - 1;
	}
	*ret = best;
	return load_seq(&s->seq) == seq && find_segment(ix, hash) == s;
}

static bool next_in_page(const struct page *page, uint64_t oid, uint64_t *ret)
{
	for (uint64_t i = oid % PAGE_OIDS; i < PAGE_OIDS; i++)
		if (load_seq(&page->off[i])) {
			*ret = (oid & ~(uint64_t)(PAGE_OIDS - 1)) | i;
			return true;
		}
	return false;
}

/* From @oid on, in its range. */
static bool next_in_range(const struct index *ix, uint64_t oid, uint64_t *ret)
{
	uint64_t range = oid >> PAGE_BITS;
	struct page *page = find_page(ix, range);
	uint64_t found;

	if (!page) {
		while (!try_next(ix, hash_range(ix, range), oid, &found))
			;
		if (found != UINT64_MAX) {
			*ret = found;
			return true;
		}
		page = find_page(ix, range); /* it may have left the hash for a page */
	}
	return page && next_in_page(page, oid, ret);
}

/* The ranges of one segment, as they were at one moment. False: things moved. */
static bool list_segment(const struct segment *s, struct range_list *l, int *rc)
{
	size_t n = l->n;
	uint64_t seq = load_seq(&s->seq);

	if (seq & 1)
		return false;
	for (uint32_t i = 0; i < SEGMENT_SLOTS && *rc == OK; i++) {
		uint64_t key = load_seq(&s->slots[i].key);

		if (key)
			*rc = range_list_add(l, (key - 1) >> PAGE_BITS);
	}
	if (*rc == OK && load_seq(&s->seq) == seq)
		return true;
	l->n = n;
	return false;
}

static struct segment *load_segment(const struct directory *d, uint64_t i)
{
	return atomic_load_explicit(&d->segments[i], memory_order_acquire);
}

static int list_pages(const struct index *ix, struct range_list *l)
{
	struct page_table *t = atomic_load_explicit(&ix->pages, memory_order_acquire);
	int rc = OK;

	for (uint64_t i = 0; i <= t->mask && rc == OK; i++) {
		uint64_t key = load_seq(&t->slots[i].key);

		if (key)
			rc = range_list_add(l, key - 1);
	}
	return rc;
}

/* Every range that had an entry when it began, while the writer goes on. By hash from the bottom up:
 * what has left a segment before it is read is in one further up, or in a page (I3). */
static int list_ranges(const struct index *ix, struct range_list *l)
{
	uint64_t hash = 0;
	int rc = OK;

	while (rc == OK) {
		struct segment *s = find_segment(ix, hash);
		struct directory *d;
		uint64_t i;

		if (!list_segment(s, l, &rc))
			continue;
		d = atomic_load_explicit(&ix->dir, memory_order_acquire);
		i = d->depth ? hash >> (64 - d->depth) : 0;
		while (i < UINT64_C(1) << d->depth && load_segment(d, i) == s)
			i++;
		if (i == UINT64_C(1) << d->depth)
			break;
		hash = i << (64 - d->depth);
	}
	return rc == OK ? list_pages(ix, l) : rc;
}

static int order_ranges(struct index *ix)
{
	struct range_list l = { 0 };

	if (!range_order_start(&ix->order))
		return OK;
	return range_order_end(&ix->order, &l, list_ranges(ix, &l));
}

/* The range after *range that may have oids. */
static int next_range(struct index *ix, bool may_block, uint64_t *range)
{
	int rc;

	if (++*range > UINT64_MAX >> PAGE_BITS)
		return ERR_NOENT;
	if (find_page(ix, *range))
		return OK;
	rc = range_order_next(&ix->order, *range, range);
	while (rc == ERR_AGAIN && may_block) {
		rc = order_ranges(ix);
		if (rc == OK)
			rc = range_order_next(&ix->order, *range, range);
	}
	return rc;
}

int index_next(struct index *ix, uint64_t oid, bool may_block, uint64_t *ret_oid)
{
	uint64_t range = oid >> PAGE_BITS;
	int rc = OK;

	for (uint32_t n = 0; rc == OK && oid != UINT64_MAX; n++) {
		if (next_in_range(ix, oid, ret_oid))
			return OK;
		if (n == RANGES_INLINE && !may_block)
			return ERR_AGAIN;
		rc = next_range(ix, may_block, &range);
		oid = range << PAGE_BITS;
	}
	if (rc != OK && rc != ERR_NOENT)
		return rc;
	if (!load_seq(&ix->last_oid_off))
		return ERR_NOENT;
	*ret_oid = UINT64_MAX;
	return OK;
}
