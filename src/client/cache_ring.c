/* The records of a cache's file. */
#include <sys/mman.h>

#include "base/check.h"
#include "client/cache_file_core.h"
#include "codec/tid.h"

enum {
	PREFETCH = 8, /* cache lines of a record: it will be read from end to end */
	CACHE_LINE = 64,
	PAGE = 4096,
};

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

bool cache_file_has_space(const struct cache_file *f, uint64_t n)
{
	return head_of(f) + n - tail_of(f) <= f->ring;
}

/* Nobody else writes to memory of our own: it needs no checksums. */
static uint32_t checksum(const struct cache_file *f, const void *p, size_t n)
{
	return f->fd < 0 ? 0 : crc_of(p, n);
}

void cache_file_fetch(const struct cache_file *f, uint64_t n)
{
	const char *from = (const char *)at(f, head_of(f));
	uint64_t left = f->ring - head_of(f) % f->ring;

	__builtin_prefetch(at(f, tail_of(f)));
	for (uint64_t i = 0; i < (n < left ? n : left); i += CACHE_LINE)
		__builtin_prefetch(from + i, 1);
}

void cache_file_touch(struct cache_file *f, uint64_t n)
{
	for (uint64_t i = 0; i < n; i += PAGE)
		if (!cache_word_write(f, at(f, head_of(f) + i), 0))
			return;
}

static uint32_t record_crc(const struct cache_file *f, uint64_t *words)
{
	words[RECORD_SIZE] &= UINT32_MAX;
	return checksum(f, words, RECORD_END * sizeof(*words));
}

/* The record at @pos, as its words say. */
static bool decode(
	const struct cache_file *f, uint64_t pos, uint64_t *words, struct cache_record *ret)
{
	uint32_t size = (uint32_t)words[RECORD_SIZE];
	uint32_t crc = (uint32_t)(words[RECORD_SIZE] >> 32);
	uint32_t len = (uint32_t)words[RECORD_LEN];

	if (words[RECORD_POS] != pos || size != cache_file_need(len) ||
		size > f->ring - pos % f->ring || crc != record_crc(f, words))
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

	if (!cache_words_read(f, at(f, pos), words, n))
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
	return cache_word_write(f, &f->map[HEAD_TAIL], pos);
}

/* The rest of the ring stays free. */
static bool skip_to_next_lap(struct cache_file *f)
{
	if (!cache_word_write(f, at(f, head_of(f)), SKIP))
		return false;
	set_head(f, next_lap(f, head_of(f)));
	return cache_word_write(f, &f->map[HEAD_HEAD], head_of(f));
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
	cache_file_fail(f);
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
	r->data_crc = checksum(f, data.data, data.len);
	words[RECORD_SIZE] = need;
	words[RECORD_POS] = r->pos;
	words[RECORD_OID] = r->oid;
	words[RECORD_SERIAL] = r->serial;
	words[RECORD_LEN] = r->len | (uint64_t)r->data_crc << 32;
	words[RECORD_SIZE] |= (uint64_t)record_crc(f, words) << 32;
	words[RECORD_END] = r->end_tid;
	words[RECORD_END_CHECK] = check_of(r->end_tid, r->pos);
	if (!cache_words_write(f, at(f, r->pos), words, sizeof(words)) ||
		!cache_words_write(f, at(f, r->pos) + ARRAY_LEN(words), data.data, data.len))
		return false;
	set_head(f, r->pos + need);
	return cache_word_write(f, &f->map[HEAD_HEAD], head_of(f));
}

void cache_file_set_end(struct cache_file *f, uint64_t pos, uint64_t end_tid)
{
	word *w = at(f, pos);

	(void)!(cache_word_write(f, &w[RECORD_END], end_tid) &&
		cache_word_write(f, &w[RECORD_END_CHECK], check_of(end_tid, pos)));
}

void cache_file_drop(struct cache_file *f, uint64_t pos)
{
	word *w = at(f, pos);
	uint64_t pair[2];

	if (cache_words_read(f, &w[RECORD_END], pair, sizeof(pair)))
		(void)!cache_word_write(f, &w[RECORD_END_CHECK], ~check_of(pair[0], pos));
	else
		cache_file_fail(f);
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
	       cache_words_read(
		       f, at(f, r->pos) + CACHE_RECORD_BYTES / sizeof(word), data, r->len) &&
	       checksum(f, data, r->len) == r->data_crc &&
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
	if (!cache_words_read(f, &w[RECORD_LEN], &v, sizeof(v)) || !is_there(f, pos))
		return false;
	len = (uint32_t)v;
	if (cache_file_need(len) > f->ring - pos % f->ring)
		return false; /* the disk has changed it meanwhile */
	to = room(arg, len);
	if (!to || !cache_words_read(f, w + CACHE_RECORD_BYTES / sizeof(word), to, len) ||
		!is_there(f, pos))
		return false;
	*ret_damaged = check && checksum(f, to, len) != v >> 32;
	return !*ret_damaged;
}
