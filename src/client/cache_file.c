#include "client/cache_file.h"

#include <errno.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <zlib.h>

#include "base/check.h"
#include "base/guarded.h"
#include "base/mem.h"
#include "base/os.h"
#include "codec/tid.h"

/* Everything is a number of 64 bits in the machine's order, which the version number shows. */
typedef _Atomic(uint64_t) word;

enum { PREFETCH = 8 }; /* cache lines of a record: it will be read from end to end */

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

static uint64_t get(const word *w)
{
	return atomic_load_explicit(w, memory_order_acquire);
}

static void set(word *w, uint64_t v)
{
	atomic_store_explicit(w, v, memory_order_release);
}

/* What a number is written with, so that one half of the pair alone is noticed. */
static uint64_t check_of(uint64_t v, uint64_t salt)
{
	return (v ^ salt ^ UINT64_C(0x5a4b5a454f5f5f31)) * UINT64_C(0x9E3779B97F4A7C15);
}

static uint32_t crc_of(const void *p, size_t n)
{
	return (uint32_t)crc32_z(crc32_z(0, NULL, 0), p, n);
}

static uint64_t align8(uint64_t n)
{
	return (n + 7) & ~UINT64_C(7);
}

static word *at(const struct cache_file *f, uint64_t pos)
{
	return f->map + (CACHE_HEAD_BYTES + pos % f->ring) / sizeof(word);
}

/* The start of the ring after @pos. */
static uint64_t next_lap(const struct cache_file *f, uint64_t pos)
{
	return pos - pos % f->ring + f->ring;
}

uint64_t cache_file_size(const struct cache_file *f)
{
	return f->size;
}

static uint64_t tail_of(const struct cache_file *f)
{
	return atomic_load_explicit(&f->tail, memory_order_acquire);
}

static uint64_t head_of(const struct cache_file *f)
{
	return atomic_load_explicit(&f->head, memory_order_acquire);
}

static void set_head(struct cache_file *f, uint64_t pos)
{
	atomic_store_explicit(&f->head, pos, memory_order_release);
}

bool cache_file_failed(const struct cache_file *f)
{
	return atomic_load_explicit(&f->failed, memory_order_relaxed);
}

/* --- steps that a page may end --- */

struct copy {
	word *words;
	void *bytes;
	size_t n;
};

/* Word by word: another thread may overwrite them, which is noticed afterwards. */
static void copy_out(void *arg)
{
	struct copy *c = arg;
	uint8_t *to = c->bytes;
	size_t i = 0;
	uint64_t v;

	for (; i + 1 <= c->n / sizeof(v); i++) {
		v = get(&c->words[i]);
		memcpy(to + i * sizeof(v), &v, sizeof(v));
	}
	if (c->n % sizeof(v)) {
		v = get(&c->words[i]);
		memcpy(to + i * sizeof(v), &v, c->n % sizeof(v));
	}
}

static void copy_in(void *arg)
{
	struct copy *c = arg;
	const uint8_t *from = c->bytes;
	size_t i = 0;
	uint64_t v;

	for (; i + 1 <= c->n / sizeof(v); i++) {
		memcpy(&v, from + i * sizeof(v), sizeof(v));
		set(&c->words[i], v);
	}
	if (c->n % sizeof(v)) {
		v = 0;
		memcpy(&v, from + i * sizeof(v), c->n % sizeof(v));
		set(&c->words[i], v);
	}
}

static bool read_words(struct cache_file *f, word *from, void *to, size_t n)
{
	struct copy c = { from, to, n };

	return guarded_run(copy_out, &c);
}

static void forget_step(void *arg)
{
	word *map = arg;

	set(&map[HEAD_TAIL], get(&map[HEAD_HEAD]));
}

static void fail(struct cache_file *f)
{
	atomic_store(&f->failed, true);
	/* what could not be written must not be missed at the next start */
	(void)!guarded_run(forget_step, f->map);
}

static bool write_words(struct cache_file *f, word *to, const void *from, size_t n)
{
	struct copy c = { to, (void *)from, n };

	if (cache_file_failed(f))
		return false;
	if (guarded_run(copy_in, &c))
		return true;
	fail(f);
	return false;
}

static bool write_word(struct cache_file *f, word *to, uint64_t v)
{
	return write_words(f, to, &v, sizeof(v));
}

/* --- head --- */

/* The boot of this system as a number that is not 0; 1 where it has no id: then a file in use is never believed. */
static uint64_t this_boot(void)
{
	char text[40] = "";
	size_t n = 0;
	int fd;

	if (os_open("/proc/sys/kernel/random/boot_id", O_RDONLY, &fd, NULL) != OK)
		return 1;
	if (os_pread(fd, text, sizeof(text) - 1, 0, &n, NULL) != OK)
		n = 0;
	os_close(fd);
	if (n < 36)
		return 1;
	return ((uint64_t)crc_of(text, 18) << 32 | crc_of(text + 18, 18)) | 2;
}

static uint64_t head_check(const uint64_t *words)
{
	return crc_of(words, HEAD_CHECK * sizeof(*words));
}

static int sync_file(struct cache_file *f, struct err *e)
{
	return f->fd < 0 ? OK : os_fdatasync(f->fd, e);
}

static int write_head(struct cache_file *f, struct err *e)
{
	uint64_t words[HEAD_LAST + 4] = { MAGIC, VERSION, f->size };

	words[HEAD_CHECK] = head_check(words);
	words[HEAD_IN_USE] = this_boot();
	words[HEAD_TAIL] = words[HEAD_HEAD] = f->ring;
	words[HEAD_LAST + 1] = words[HEAD_LAST + 3] = check_of(0, 0);
	if (!write_words(f, f->map, words, sizeof(words)))
		return err_set(e, ERR_IO, "cannot write its first page");
	set_head(f, f->ring);
	atomic_store(&f->tail, f->ring);
	f->last_tid = 0;
	return sync_file(f, e);
}

uint64_t cache_file_size_for(uint64_t size)
{
	return size < CACHE_SIZE_MIN ? CACHE_SIZE_MIN : size & ~UINT64_C(7);
}

uint64_t cache_file_used(const struct cache_file *f)
{
	uint64_t tail = tail_of(f); /* first: it is never ahead */

	return head_of(f) - tail;
}

static void set_size(struct cache_file *f, uint64_t size)
{
	f->size = cache_file_size_for(size);
	f->ring = f->size - CACHE_HEAD_BYTES;
}

static int map(struct cache_file *f, struct err *e)
{
	int flags = f->fd < 0 ? MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE : MAP_SHARED;
	void *p = mmap(NULL, f->size, PROT_READ | PROT_WRITE, flags, f->fd, 0);

	if (p == MAP_FAILED)
		return err_sys(e, errno, "cannot map %llu bytes", (unsigned long long)f->size);
	f->map = p;
	(void)madvise(p, f->size, MADV_DONTDUMP);
	return OK;
}

static void unmap(struct cache_file *f)
{
	if (f->map)
		munmap(f->map, f->size);
	f->map = NULL;
}

static struct cache_file *file_new(int fd)
{
	struct cache_file *f = mem_zalloc(1, sizeof(*f));

	guarded_init();
	if (f)
		f->fd = fd;
	return f;
}

int cache_file_anonymous(uint64_t size, struct cache_file **ret, struct err *e)
{
	struct cache_file *f = file_new(-1);
	int rc;

	if (!f)
		return err_set(e, ERR_NOMEM, "no memory for a cache");
	set_size(f, size);
	rc = map(f, e);
	if (rc == OK)
		rc = write_head(f, e);
	if (rc != OK) {
		cache_file_close(f, false);
		return rc;
	}
	*ret = f;
	return OK;
}

/* The file becomes an empty cache of the size that is set. */
static int make(struct cache_file *f, struct err *e)
{
	int rc;

	unmap(f);
	rc = os_ftruncate(f->fd, 0, e);
	if (rc == OK)
		rc = os_ftruncate(f->fd, f->size, e);
	if (rc == OK)
		rc = os_reserve(f->fd, 0, f->size, e);
	if (rc == OK)
		rc = map(f, e);
	if (rc == OK)
		rc = write_head(f, e);
	if (rc != OK)
		(void)!os_ftruncate(f->fd, 0, NULL); /* what it got of a full disk */
	return rc;
}

int cache_file_format(struct cache_file *f, struct err *e)
{
	return f->fd < 0 ? write_head(f, e) : make(f, e);
}

/* Is what the head says possible? */
static bool positions_are_sane(const struct cache_file *f, uint64_t tail, uint64_t head)
{
	return tail >= f->ring && head >= tail && head - tail <= f->ring && tail % 8 == 0 &&
	       head % 8 == 0 && head < UINT64_MAX / 2;
}

static void take_last_tid(struct cache_file *f, const uint64_t *words)
{
	for (unsigned i = 0; i < 2; i++) {
		uint64_t tid = words[HEAD_LAST + 2 * i];

		if (words[HEAD_LAST + 2 * i + 1] == check_of(tid, 0) && tid > f->last_tid) {
			f->last_tid = tid;
			f->last_turn = 1 - i;
		}
	}
}

/* Why the file's content cannot be used; NULL: it can. */
static const char *refusal(struct cache_file *f, const uint64_t *words, uint64_t file_size)
{
	uint64_t in_use = words[HEAD_IN_USE];

	if (words[HEAD_VERSION] != VERSION || words[HEAD_CHECK] != head_check(words))
		return "it is of another version, or damaged at its head";
	if (words[HEAD_SIZE] > file_size || words[HEAD_SIZE] < CACHE_SIZE_MIN ||
		words[HEAD_SIZE] % 8)
		return "it is shorter than it says";
	set_size(f, words[HEAD_SIZE]);
	if (in_use != 0 && (in_use == 1 || in_use != this_boot()))
		return "the system stopped while it was in use";
	if (!positions_are_sane(f, words[HEAD_TAIL], words[HEAD_HEAD]))
		return "it is damaged at its head";
	/* also after a kill: pages that could not be written meanwhile are an error here */
	if (in_use != 0 && os_fdatasync(f->fd, NULL) != OK)
		return "the disk failed while it was in use";
	atomic_store(&f->tail, words[HEAD_TAIL]);
	set_head(f, words[HEAD_HEAD]);
	take_last_tid(f, words);
	return NULL;
}

/* It goes on with what it has, and is marked before anything in it changes (F3). */
static int keep(struct cache_file *f, struct err *e)
{
	uint64_t boot = this_boot();
	int rc = os_reserve(f->fd, 0, f->size, e);

	if (rc == OK)
		rc = map(f, e);
	if (rc != OK)
		return rc;
	if (!write_word(f, &f->map[HEAD_IN_USE], boot))
		return err_set(e, ERR_IO, "cannot write its first page");
	return sync_file(f, e);
}

/* Another program's file is not ours to delete. */
static int put_aside(const char *path, struct cache_file *f, char *note, struct err *e)
{
	char *bad = mem_alloc(strlen(path) + 5);
	int rc;

	if (!bad)
		return err_set(e, ERR_NOMEM, "no memory for a name");
	sprintf(bad, "%s.bad", path);
	rc = os_rename(path, bad, e);
	mem_free(bad);
	if (rc != OK)
		return rc;
	snprintf(note, 256, "cache file '%.120s' is no cache of this program: moved to .bad", path);
	os_close(f->fd);
	f->fd = -1;
	return os_open(path, O_RDWR | O_CREAT | O_EXCL, &f->fd, e);
}

static int take_over(const char *path, uint64_t size, struct cache_file *f,
	enum cache_found *ret_found, char *note, struct err *e)
{
	uint64_t words[HEAD_LAST + 4] = { 0 };
	uint64_t file_size;
	const char *why;
	size_t n;
	int rc = os_size(f->fd, &file_size, e);

	if (rc == OK)
		rc = os_pread(f->fd, words, sizeof(words), 0, &n, e);
	if (rc != OK)
		return rc;
	*ret_found = file_size ? CACHE_EMPTIED : CACHE_FRESH;
	if (file_size && words[HEAD_MAGIC] != MAGIC && words[HEAD_MAGIC] != 0) {
		rc = put_aside(path, f, note, e);
	} else if (words[HEAD_MAGIC] != 0) { /* else we were stopped while it was made */
		why = refusal(f, words, file_size);
		if (!why) {
			*ret_found = CACHE_KEPT;
			return keep(f, e);
		}
		snprintf(note, 256, "cache file '%.120s' begins anew: %s", path, why);
	}
	if (rc != OK)
		return rc;
	set_size(f, size);
	f->last_tid = 0;
	return make(f, e);
}

int cache_file_open(const char *path, uint64_t size, struct cache_file **ret,
	enum cache_found *ret_found, char *note, struct err *e)
{
	struct cache_file *f = file_new(-1);
	enum cache_found found = CACHE_FRESH;
	int rc;

	if (!f)
		return err_set(e, ERR_NOMEM, "no memory for a cache");
	rc = os_open(path, O_RDWR | O_CREAT, &f->fd, e);
	if (rc == OK)
		rc = take_over(path, size, f, &found, note, e);
	if (rc != OK) {
		cache_file_close(f, false);
		return err_wrap(e, "cache file '%s'", path);
	}
	*ret_found = found;
	*ret = f;
	return OK;
}

void cache_file_close(struct cache_file *f, bool owner)
{
	if (!f)
		return;
	/* In this order: believed only when all of it is on the disk. */
	if (owner && f->fd >= 0 && !cache_file_failed(f) && os_fdatasync(f->fd, NULL) == OK &&
		write_word(f, &f->map[HEAD_IN_USE], 0))
		(void)!os_fdatasync(f->fd, NULL);
	unmap(f);
	os_close(f->fd);
	mem_free(f);
}

uint64_t cache_file_last_tid(const struct cache_file *f)
{
	return f->last_tid;
}

static bool write_last(struct cache_file *f, unsigned turn, uint64_t tid)
{
	word *w = &f->map[HEAD_LAST + 2 * turn];

	return write_word(f, w, tid) && write_word(f, w + 1, check_of(tid, 0));
}

void cache_file_set_last_tid(struct cache_file *f, uint64_t tid)
{
	f->last_tid = tid;
	if (tid == 0 && !write_last(f, 1 - f->last_turn, 0))
		return; /* no larger one may be left */
	if (write_last(f, f->last_turn, tid))
		f->last_turn = 1 - f->last_turn;
}

/* --- records --- */

uint64_t cache_file_need(size_t len)
{
	return align8(CACHE_RECORD_BYTES + (uint64_t)len);
}

bool cache_file_fits(const struct cache_file *f, uint64_t need)
{
	return need <= f->ring && need <= RECORD_MAX && !cache_file_failed(f);
}

/* What is left of the ring behind the head, when a record does not fit there. */
static uint64_t gap(const struct cache_file *f, uint64_t need)
{
	uint64_t left = f->ring - head_of(f) % f->ring;

	return need > left ? left : 0;
}

bool cache_file_is_empty(const struct cache_file *f)
{
	return tail_of(f) == head_of(f);
}

bool cache_file_has_room(const struct cache_file *f, uint64_t need)
{
	return head_of(f) + gap(f, need) + need - tail_of(f) <= f->ring;
}

static uint32_t record_crc(uint64_t *words)
{
	words[RECORD_SIZE] &= UINT32_MAX;
	return crc_of(words, RECORD_END * sizeof(*words));
}

/* The record at @pos, as its words say. */
static bool decode(
	const struct cache_file *f, uint64_t pos, uint64_t *words, struct cache_record *ret)
{
	uint32_t size = (uint32_t)words[RECORD_SIZE];
	uint32_t crc = (uint32_t)(words[RECORD_SIZE] >> 32);
	uint32_t len = (uint32_t)words[RECORD_LEN];

	if (words[RECORD_POS] != pos || size != cache_file_need(len) ||
		size > f->ring - pos % f->ring || crc != record_crc(words))
		return false;
	*ret = (struct cache_record){ .pos = pos,
		.oid = words[RECORD_OID],
		.serial = words[RECORD_SERIAL],
		.end_tid = words[RECORD_END],
		.size = size,
		.len = len,
		.data_crc = (uint32_t)(words[RECORD_LEN] >> 32),
		.dropped = words[RECORD_END_CHECK] != check_of(words[RECORD_END], pos) };
	return true;
}

enum read { READ_RECORD, READ_SKIP, READ_DAMAGED };

static enum read read_record(struct cache_file *f, uint64_t pos, struct cache_record *ret)
{
	uint64_t words[CACHE_RECORD_BYTES / sizeof(uint64_t)] = { 0 };
	uint64_t left = f->ring - pos % f->ring;
	size_t n = left < sizeof(words) ? (size_t)left : sizeof(words);

	if (!read_words(f, at(f, pos), words, n))
		return READ_DAMAGED;
	if (words[RECORD_SIZE] == SKIP)
		return READ_SKIP;
	return n == sizeof(words) && decode(f, pos, words, ret) ? READ_RECORD : READ_DAMAGED;
}

static void advise(const struct cache_file *f, int advice)
{
	if (f->fd >= 0)
		(void)madvise(f->map, f->size, advice);
}

bool cache_file_scan(
	struct cache_file *f, bool (*each)(void *arg, const struct cache_record *r), void *arg)
{
	uint64_t pos = tail_of(f);
	bool ok = true;

	advise(f, MADV_SEQUENTIAL);
	while (ok && pos < head_of(f)) {
		struct cache_record r;

		switch (read_record(f, pos, &r)) {
		case READ_SKIP:
			pos = next_lap(f, pos);
			break;
		case READ_RECORD:
			pos += r.size;
			ok = pos <= head_of(f) && each(arg, &r);
			break;
		case READ_DAMAGED:
			ok = false;
		}
	}
	advise(f, MADV_NORMAL);
	return ok && pos == head_of(f);
}

/* First in memory, for readers, and in the file; then it may be overwritten (F1). */
static bool move_tail(struct cache_file *f, uint64_t pos)
{
	atomic_store_explicit(&f->tail, pos, memory_order_release);
	return write_word(f, &f->map[HEAD_TAIL], pos);
}

/* The rest of the ring stays free. */
static bool skip_to_next_lap(struct cache_file *f)
{
	if (!write_word(f, at(f, head_of(f)), SKIP))
		return false;
	set_head(f, next_lap(f, head_of(f)));
	return write_word(f, &f->map[HEAD_HEAD], head_of(f));
}

bool cache_file_evict(struct cache_file *f, struct cache_record *ret)
{
	uint64_t pos = tail_of(f);

	*ret = (struct cache_record){ .size = 0 };
	if (pos == head_of(f))
		return skip_to_next_lap(f) && move_tail(f, head_of(f));
	switch (read_record(f, pos, ret)) {
	case READ_SKIP:
		return move_tail(f, next_lap(f, pos));
	case READ_RECORD:
		if (pos + ret->size <= head_of(f))
			return move_tail(f, pos + ret->size);
		break;
	case READ_DAMAGED:
		break;
	}
	fail(f);
	return false;
}

void cache_file_drop_all(struct cache_file *f)
{
	(void)!move_tail(f, head_of(f));
}

bool cache_file_append(struct cache_file *f, struct cache_record *r, struct slice data)
{
	uint64_t words[CACHE_RECORD_BYTES / sizeof(uint64_t)];
	uint64_t need = cache_file_need(data.len);

	CHECK(cache_file_has_room(f, need));
	if (gap(f, need) && !skip_to_next_lap(f))
		return false;
	r->pos = head_of(f);
	r->size = (uint32_t)need;
	r->len = (uint32_t)data.len;
	r->data_crc = crc_of(data.data, data.len);
	words[RECORD_SIZE] = need;
	words[RECORD_POS] = r->pos;
	words[RECORD_OID] = r->oid;
	words[RECORD_SERIAL] = r->serial;
	words[RECORD_LEN] = r->len | (uint64_t)r->data_crc << 32;
	words[RECORD_SIZE] |= (uint64_t)record_crc(words) << 32;
	words[RECORD_END] = r->end_tid;
	words[RECORD_END_CHECK] = check_of(r->end_tid, r->pos);
	if (!write_words(f, at(f, r->pos), words, sizeof(words)) ||
		!write_words(f, at(f, r->pos) + ARRAY_LEN(words), data.data, data.len))
		return false;
	set_head(f, r->pos + need);
	return write_word(f, &f->map[HEAD_HEAD], head_of(f));
}

void cache_file_set_end(struct cache_file *f, uint64_t pos, uint64_t end_tid)
{
	word *w = at(f, pos);

	(void)!(write_word(f, &w[RECORD_END], end_tid) &&
		write_word(f, &w[RECORD_END_CHECK], check_of(end_tid, pos)));
}

void cache_file_drop(struct cache_file *f, uint64_t pos)
{
	word *w = at(f, pos);
	uint64_t pair[2];

	if (read_words(f, &w[RECORD_END], pair, sizeof(pair)))
		(void)!write_word(f, &w[RECORD_END_CHECK], ~check_of(pair[0], pos));
	else
		fail(f);
}

/* Has nothing been written over it so far? Reads before this are of the record if so. */
static bool is_there(const struct cache_file *f, uint64_t pos)
{
	return pos >= tail_of(f);
}

bool cache_file_append_again(struct cache_file *f, struct cache_record *r, struct buf *scratch)
{
	void *data;

	buf_reset(scratch);
	data = buf_reserve(scratch, r->len ? r->len : 1);
	return data && cache_file_has_room(f, r->size) &&
	       read_words(f, at(f, r->pos) + CACHE_RECORD_BYTES / sizeof(word), data, r->len) &&
	       crc_of(data, r->len) == r->data_crc &&
	       cache_file_append(f, r, slice_of(data, r->len));
}

bool cache_file_data(struct cache_file *f, uint64_t pos, void *(*room)(void *arg, size_t len),
	void *arg, bool check, bool *ret_damaged)
{
	word *w = at(f, pos);
	uint64_t v;
	uint32_t len;
	void *to;

	*ret_damaged = false;
	for (size_t i = 0; i < PREFETCH; i++)
		__builtin_prefetch(w + i * 8);
	if (!read_words(f, &w[RECORD_LEN], &v, sizeof(v)) || !is_there(f, pos))
		return false;
	len = (uint32_t)v;
	if (cache_file_need(len) > f->ring - pos % f->ring)
		return false; /* the disk has changed it meanwhile */
	to = room(arg, len);
	if (!to || !read_words(f, w + CACHE_RECORD_BYTES / sizeof(word), to, len) ||
		!is_there(f, pos))
		return false;
	*ret_damaged = check && crc_of(to, len) != v >> 32;
	return !*ret_damaged;
}
