/* Any bytes as a file of the client's cache: it opens, or says why not; what it gives can be read, and it goes on. The checksums of the
 * head and of the records that follow each other are made right first, so that what lies behind them is reached. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <zlib.h>

#include "base/check.h"
#include "base/mem.h"
#include "client/cache.h"
#include "client/cache_file.h"
#include "codec/tid.h"
#include "fuzz.h"

enum { FILE_MAX = 64 * 1024, WORDS = CACHE_RECORD_BYTES / 8 };

static char path[64];

static void remove_files(void)
{
	static const char *const suffixes[] = { "", ".lock", ".bad", ".new" };
	char name[80];

	for (size_t i = 0; i < ARRAY_LEN(suffixes); i++) {
		snprintf(name, sizeof(name), "%s%s", path, suffixes[i]);
		unlink(name);
	}
}

static uint32_t crc(const void *p, size_t n)
{
	return (uint32_t)crc32(0, p, (uInt)n);
}

static void mend(uint64_t *words, size_t n)
{
	uint64_t ring, pos;

	if (n < CACHE_SIZE_MIN)
		return;
	if (words[0] % 2) /* half of them */
		words[2] = n & ~UINT64_C(7);
	words[0] = UINT64_C(0x4548434143455a4b);
	words[1] = 1;
	words[3] = crc(words, 3 * sizeof(*words));
	words[4] = 0;
	if (words[2] < CACHE_SIZE_MIN || words[2] > n || words[2] % 8)
		return;
	ring = words[2] - CACHE_HEAD_BYTES;
	for (pos = words[5]; pos < words[6] && pos % 8 == 0;) {
		uint64_t *w = words + (CACHE_HEAD_BYTES + pos % ring) / sizeof(*words);
		uint64_t left = ring - pos % ring;
		uint32_t size = (uint32_t)*w;

		if (left < CACHE_RECORD_BYTES || size < CACHE_RECORD_BYTES || size > left ||
			size % 8)
			break;
		w[0] = size;
		w[1] = pos;
		w[4] = size > CACHE_RECORD_BYTES ? size - CACHE_RECORD_BYTES - w[4] % 8 : 0;
		w[4] |= (uint64_t)crc(w + WORDS, (size_t)w[4]) << 32;
		w[0] |= (uint64_t)crc(w, 5 * sizeof(*w)) << 32;
		w[6] = (w[5] ^ pos ^ UINT64_C(0x5a4b5a454f5f5f31)) * UINT64_C(0x9E3779B97F4A7C15);
		pos += size;
	}
}

static void *room(void *arg, size_t len)
{
	CHECK(len <= FILE_MAX);
	return arg;
}

static void use(struct cache *c)
{
	static uint8_t data[FILE_MAX];
	uint64_t serial, end;

	for (uint64_t oid = 0; oid < 8; oid++) {
		for (uint64_t tid = 1; tid < 10; tid++)
			if (cache_load_before(c, oid, tid, room, data, &serial, &end) == OK)
				CHECK(serial < tid && (end == TID_NONE || end >= tid));
		cache_invalidate(c, oid, 10);
		cache_store(c, oid, 10, TID_NONE, slice_of(data, 700 * oid));
	}
	cache_set_last_tid(c, 20);
	cache_invalidate(c, UINT64_MAX - 5, TID_NONE); /* the file may have it, from later on */
	cache_store(c, UINT64_MAX - 5, TID_MAX - 1, TID_NONE, slice_of(data, 700));
	CHECK(cache_has(c, UINT64_MAX - 5, TID_MAX) && cache_last_tid(c) >= 20);
}

static struct cache *reopen(uint64_t size)
{
	struct cache *c = NULL;
	struct err e = ERR_INIT;
	char note[256];

	CHECK(cache_open(path, size, &c, note, &e) == OK);
	return c;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
	static uint64_t words[FILE_MAX / sizeof(uint64_t)];
	struct cache *c;
	FILE *f;

	if (n > FILE_MAX)
		n = FILE_MAX;
	if (!path[0])
		snprintf(path, sizeof(path), "%s/zkzeo-fuzz-%ld.cache",
			access("/dev/shm", W_OK) == 0 ? "/dev/shm" : "/tmp", (long)getpid());
	memset(words, 0, sizeof(words));
	if (n)
		memcpy(words, data, n);
	mend(words, n);
	f = fopen(path, "w");
	CHECK(f && fwrite(words, 1, n, f) == n && fclose(f) == 0);
	c = reopen(n > CACHE_SIZE_MIN ? n : 12000);
	use(c);
	cache_close(c);
	c = reopen(12000); /* mostly another size */
	use(c);
	CHECK(cache_last_tid(c) >= 20);
	cache_close(c);
	remove_files();
	return 0;
}
