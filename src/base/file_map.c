#include "base/file_map.h"

#include <fcntl.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>

#include "base/guarded.h"
#include "base/mem.h"
#include "base/slice.h"

enum {
	PAGE_SHIFT = 12,
	CHUNK_SHIFT = 26, /* 64 MiB are mapped at a time */
	CHUNK_PAGES = 1 << (CHUNK_SHIFT - PAGE_SHIFT),
	CHUNKS_MAX = 1 << 16, /* 4 TiB; what lies behind is read the usual way */
	LINE_BYTES = 64,      /* of the processor's caches */
	KNOWN_S = 10,         /* how long a page counts as being in memory */
	ASK_PAGES = 16,       /* are asked for together */
	TOGETHER = 32,        /* prefetched */
};

#define CHUNK_BYTES ((size_t)1 << CHUNK_SHIFT)

struct chunk {
	const uint8_t *bytes;
	_Atomic(uint16_t) seen[CHUNK_PAGES]; /* seconds, modulo 2^16; 0: never */
};

struct file_map {
	int fd;
	bool may_ask; /* the kernel tells which pages are in memory */
	_Atomic(struct chunk *) chunks[CHUNKS_MAX];
};

struct copy {
	void *to;
	const uint8_t *from;
	size_t n;
};

static void copy_step(void *arg)
{
	struct copy *c = arg;

	memcpy(c->to, c->from, c->n);
}

static bool copy_guarded(void *to, const uint8_t *from, size_t n)
{
	struct copy c = { to, from, n };

	return guarded_run(copy_step, &c);
}

static uint16_t now_s(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC_COARSE, &t);
	return (uint16_t)t.tv_sec;
}

static void set_seen(struct chunk *c, size_t page, uint16_t now)
{
	atomic_store_explicit(&c->seen[page], now ? now : 1, memory_order_relaxed);
}

static struct chunk *make_chunk(struct file_map *m, uint64_t n)
{
	struct chunk *none = NULL;
	struct chunk *c = mem_zalloc(1, sizeof(*c));
	void *p;

	if (!c)
		return NULL;
	/* also where the file does not reach yet: it grows */
	p = mmap(NULL, CHUNK_BYTES, PROT_READ, MAP_SHARED, m->fd, (off_t)(n << CHUNK_SHIFT));
	if (p == MAP_FAILED) {
		mem_free(c);
		return NULL;
	}
	c->bytes = p;
	if (atomic_compare_exchange_strong(&m->chunks[n], &none, c))
		return c;
	munmap(p, CHUNK_BYTES); /* another thread was faster */
	mem_free(c);
	return none;
}

bool file_map_read(struct file_map *m, void *p, size_t n, uint64_t off)
{
	uint64_t number = off >> CHUNK_SHIFT;
	size_t at = off & (CHUNK_BYTES - 1);
	struct chunk *c;
	uint16_t now;

	if (number >= CHUNKS_MAX || n == 0 || at + n > CHUNK_BYTES)
		return false;
	c = atomic_load_explicit(&m->chunks[number], memory_order_acquire);
	if (!c)
		return false;
	now = now_s();
	for (size_t page = at >> PAGE_SHIFT; page <= (at + n - 1) >> PAGE_SHIFT; page++) {
		uint16_t seen = atomic_load_explicit(&c->seen[page], memory_order_relaxed);

		if (!seen || (uint16_t)(now - seen) > KNOWN_S)
			return false;
	}
	return copy_guarded(p, c->bytes + at, n);
}

bool file_map_ask(struct file_map *m, uint64_t off)
{
	uint64_t number = off >> CHUNK_SHIFT;
	size_t first = (off & (CHUNK_BYTES - 1)) >> PAGE_SHIFT & ~((size_t)ASK_PAGES - 1);
	unsigned char in_memory[ASK_PAGES];
	struct chunk *c;
	uint16_t now;

	if (number >= CHUNKS_MAX || !m->may_ask)
		return false;
	c = atomic_load_explicit(&m->chunks[number], memory_order_acquire);
	if (!c)
		c = make_chunk(m, number);
	if (!c || mincore((void *)(c->bytes + (first << PAGE_SHIFT)), ASK_PAGES << PAGE_SHIFT,
			  in_memory) != 0)
		return false;
	now = now_s();
	for (size_t i = 0; i < ASK_PAGES; i++)
		if (in_memory[i] & 1)
			set_seen(c, first + i, now);
	return true;
}

/* The @n bytes at @off that are mapped. */
static struct slice mapped(const struct file_map *m, size_t n, uint64_t off)
{
	uint64_t number = off >> CHUNK_SHIFT;
	size_t at = off & (CHUNK_BYTES - 1);
	const struct chunk *c;

	if (number >= CHUNKS_MAX)
		return slice_of(NULL, 0);
	c = atomic_load_explicit(&m->chunks[number], memory_order_acquire);
	if (!c)
		return slice_of(NULL, 0);
	__builtin_prefetch(&c->seen[at >> PAGE_SHIFT]);
	return slice_of(c->bytes + at, at + n < CHUNK_BYTES ? n : CHUNK_BYTES - at);
}

static inline void prefetch_lines(struct slice s)
{
	const uint8_t *first = s.data - (uintptr_t)s.data % LINE_BYTES;

	for (const uint8_t *p = first; p < s.data + s.len; p += LINE_BYTES)
		__builtin_prefetch(p);
}

void file_map_prefetch(const struct file_map *m, size_t n, const uint64_t *offs, size_t n_offs)
{
	struct slice at[TOGETHER];
	size_t now;

	for (; n_offs; offs += now, n_offs -= now) {
		now = n_offs < TOGETHER ? n_offs : TOGETHER;
		for (size_t i = 0; i < now; i++)
			at[i] = mapped(m, n, offs[i]);
		/* In a loop of its own, so short that many addresses are translated at a time. A prefetch of a page
		 * that is not there does nothing. */
		for (size_t i = 0; i < now; i++)
			prefetch_lines(at[i]);
	}
}

void file_map_seen(struct file_map *m, uint64_t off, size_t n)
{
	uint64_t number = off >> CHUNK_SHIFT;
	size_t at = off & (CHUNK_BYTES - 1);
	struct chunk *c;
	uint16_t now = now_s();

	if (number >= CHUNKS_MAX || n == 0 || at + n > CHUNK_BYTES)
		return;
	c = atomic_load_explicit(&m->chunks[number], memory_order_acquire);
	if (!c)
		c = make_chunk(m, number);
	for (size_t page = at >> PAGE_SHIFT; c && page <= (at + n - 1) >> PAGE_SHIFT; page++)
		set_seen(c, page, now);
}

/* Of a file that we may not write, and do not own, mincore() says that all of it is in memory. */
static bool is_writable(int fd)
{
	int flags = fcntl(fd, F_GETFL);

	return flags >= 0 && (flags & O_ACCMODE) != O_RDONLY;
}

struct file_map *file_map_new(int fd)
{
	struct file_map *m = mem_zalloc(1, sizeof(*m));

	if (!m)
		return NULL;
	guarded_init();
	m->fd = fd;
	m->may_ask = is_writable(fd);
	return m;
}

void file_map_free(struct file_map *m)
{
	if (!m)
		return;
	for (size_t i = 0; i < CHUNKS_MAX; i++) {
		struct chunk *c = atomic_load(&m->chunks[i]);

		if (!c)
			continue;
		munmap((void *)c->bytes, CHUNK_BYTES);
		mem_free(c);
	}
	mem_free(m);
}
