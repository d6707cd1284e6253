/* What the files of the cache's file share. Nothing of it is for others. */
#ifndef CLIENT_CACHE_FILE_CORE_H
#define CLIENT_CACHE_FILE_CORE_H

#include <stdatomic.h>
#include <zlib.h>

#include "client/cache_file.h"

/* Everything is a number of 64 bits in the machine's order, which the version number shows. */
typedef _Atomic(uint64_t) word;

enum {
	HEAD_MAGIC,
	HEAD_VERSION,
	HEAD_SIZE,
	HEAD_CHECK,  /* of those above */
	HEAD_IN_USE, /* 0: closed, all is on the disk; else by which boot */
	HEAD_TAIL,
	HEAD_HEAD,
	HEAD_LAST, /* two pairs of a tid and its check, written in turn */
};

enum {
	RECORD_SIZE, /* and the checksum of the words up to the end, in the upper half */
	RECORD_POS,
	RECORD_OID,
	RECORD_SERIAL,
	RECORD_LEN, /* and the checksum of the data, in the upper half */
	RECORD_END,
	RECORD_END_CHECK,
};

#define MAGIC      UINT64_C(0x4548434143455a4b) /* "KZECACHE" in a little-endian file */
#define VERSION    UINT64_C(1)
#define SKIP       UINT64_MAX /* in the place of a record: it goes on at the ring's start */
#define RECORD_MAX (UINT32_MAX / 2)

struct cache_file {
	int fd; /* -1: anonymous */
	word *map;
	uint64_t size;
	uint64_t ring; /* bytes of it */
	_Atomic(uint64_t) head;
	uint64_t last_tid;
	unsigned last_turn;
	_Atomic(bool) failed;
	_Atomic(uint64_t) tail;
};

static inline uint64_t get(const word *w)
{
	return atomic_load_explicit(w, memory_order_acquire);
}

static inline void set(word *w, uint64_t v)
{
	atomic_store_explicit(w, v, memory_order_release);
}

/* What a number is written with, so that one half of the pair alone is noticed. */
static inline uint64_t check_of(uint64_t v, uint64_t salt)
{
	return (v ^ salt ^ UINT64_C(0x5a4b5a454f5f5f31)) * UINT64_C(0x9E3779B97F4A7C15);
}

static inline uint32_t crc_of(const void *p, size_t n)
{
	return (uint32_t)crc32_z(crc32_z(0, NULL, 0), p, n);
}

static inline uint64_t align8(uint64_t n)
{
	return (n + 7) & ~UINT64_C(7);
}

static inline word *at(const struct cache_file *f, uint64_t pos)
{
	return f->map + (CACHE_HEAD_BYTES + pos % f->ring) / sizeof(word);
}

/* The start of the ring after @pos. */
static inline uint64_t next_lap(const struct cache_file *f, uint64_t pos)
{
	return pos - pos % f->ring + f->ring;
}

static inline uint64_t tail_of(const struct cache_file *f)
{
	return atomic_load_explicit(&f->tail, memory_order_acquire);
}

static inline uint64_t head_of(const struct cache_file *f)
{
	return atomic_load_explicit(&f->head, memory_order_acquire);
}

static inline void set_head(struct cache_file *f, uint64_t pos)
{
	atomic_store_explicit(&f->head, pos, memory_order_release);
}

/** Copy words out of the file, and in. False: a page is not there; a write has failed for good then. */
MUST_CHECK bool cache_words_read(struct cache_file *f, word *from, void *to, size_t n);
MUST_CHECK bool cache_words_write(struct cache_file *f, word *to, const void *from, size_t n);
MUST_CHECK bool cache_word_write(struct cache_file *f, word *to, uint64_t v);
/** The file is not touched any more, and is empty at the next start. */
void cache_file_fail(struct cache_file *f);

#endif
