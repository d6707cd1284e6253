#include "client/cache.h"

#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/lock_file.h"
#include "base/mem.h"
#include "base/os.h"
#include "client/cache_file.h"
#include "client/cache_index.h"
#include "codec/tid.h"

enum {
	SECOND_CHANCES = 8, /* records kept of those that one store would push out */
	NOTE_BYTES = 256,
	PREPARED_BYTES = 1024, /* room for most objects */
	MANY = 1 << 20,
};

struct cache {
	struct cache_file *file;
	struct cache_index *index;
	struct buf scratch;
	int lock_fd;
	pid_t owner; /* a child that came of a fork leaves the file alone (T31) */
	_Atomic(uint64_t) last_tid;
	_Atomic(uint64_t) stores, evictions;
};

static void add(_Atomic(uint64_t) *counter, uint64_t n)
{
	atomic_fetch_add_explicit(counter, n, memory_order_relaxed);
}

static uint64_t place(const struct revision *r)
{
	return r->pos & ~(uint64_t)REVISION_MARKS;
}

/* --- reading --- */

int cache_load_before(struct cache *c, uint64_t oid, uint64_t tid,
	void *(*room)(void *arg, size_t len), void *arg, uint64_t *ret_serial,
	uint64_t *ret_end_tid)
{
	const uint64_t marks = REVISION_CHECKED | REVISION_USED;
	struct revision r;
	bool damaged;
	bool hit = cache_index_find(c->index, oid, tid, &r) &&
		   cache_file_data(
			   c->file, place(&r), room, arg, !(r.pos & REVISION_CHECKED), &damaged);

	cache_index_count_load(c->index, oid, hit);
	if (!hit)
		return ERR_NOENT;
	if ((r.pos & marks) != marks)
		cache_index_mark(c->index, &r, marks);
	*ret_serial = r.serial;
	*ret_end_tid = r.end_tid;
	return OK;
}

bool cache_has(struct cache *c, uint64_t oid, uint64_t tid)
{
	struct revision r;

	return cache_index_find(c->index, oid, tid, &r);
}

/* --- changing --- */

static void *scratch_room(void *arg, size_t len)
{
	struct cache *c = arg;

	buf_reset(&c->scratch);
	return buf_reserve(&c->scratch, len ? len : 1);
}

static void forget(struct cache *c, const struct revision *r)
{
	struct revision was;
	uint64_t pos = place(r);

	cache_index_remove(c->index, r, &was);
	cache_file_drop(c->file, pos);
}

static void set_end(struct cache *c, const struct revision *r, uint64_t end_tid)
{
	cache_index_set_end(c->index, r, end_tid);
	cache_file_set_end(c->file, place(r), end_tid);
}

static bool is_sound(struct cache *c, const struct revision *r)
{
	bool damaged;

	return (r->pos & REVISION_CHECKED) ||
	       cache_file_data(c->file, place(r), scratch_room, c, true, &damaged);
}

static const struct revision *oldest(const struct revision *all, size_t n)
{
	const struct revision *first = all;

	for (size_t i = 1; i < n; i++)
		if (all[i].serial < first->serial)
			first = &all[i];
	return first;
}

/* Is @r, which is there, or contradicts it, a reason not to take @new? What is older and contradicts goes. */
static bool stands_in_the_way(struct cache *c, const struct revision *r, const struct revision *new)
{
	if (r->serial == new->serial) {
		if (!is_sound(c, r)) {
			forget(c, r);
			return false;
		}
		if (r->end_tid == TID_NONE && new->end_tid != TID_NONE)
			set_end(c, r, new->end_tid);
		return true;
	}
	if (new->end_tid != TID_NONE)
		return false;
	if (r->serial > new->serial || r->end_tid > new->serial)
		return true; /* an answer that was overtaken: it is not current any more */
	if (r->end_tid == TID_NONE)
		forget(c, r);
	return false;
}

/* May @new come to those of its object that are there? */
static bool admit(struct cache *c, const struct revision *new)
{
	struct revision all[REVISIONS_MAX];
	size_t n = cache_index_all(c->index, new->oid, all);

	for (size_t i = 0; i < n; i++)
		if (stands_in_the_way(c, &all[i], new))
			return false;
	n = cache_index_all(c->index, new->oid, all);
	if (n == REVISIONS_MAX) {
		const struct revision *first = oldest(all, n);

		if (first->serial > new->serial)
			return false;
		forget(c, first);
	}
	return true;
}

/* An object that is read stays: what was used since it was written goes to the ring's start once more. */
static bool give_second_chance(struct cache *c, const struct revision *r, struct cache_record *rec)
{
	struct revision again = *r;

	if (!(r->pos & REVISION_USED) || r->end_tid != TID_NONE ||
		rec->size > cache_file_size(c->file) / 10)
		return false;
	rec->end_tid = TID_NONE;
	if (!cache_file_append_again(c->file, rec, &c->scratch))
		return false;
	again.pos = rec->pos | REVISION_CHECKED;
	if (!cache_index_add(c->index, &again))
		cache_file_drop(c->file, rec->pos);
	return true;
}

/* False: that failed. */
static bool evict_one(struct cache *c, unsigned *chances)
{
	struct cache_record rec;
	struct revision r = { .pos = 0 };

	if (!cache_file_evict(c->file, &rec))
		return false;
	r.oid = rec.oid;
	r.pos = rec.pos;
	if (rec.size == 0 || !cache_index_remove(c->index, &r, &r))
		return true;
	if (*chances && give_second_chance(c, &r, &rec))
		(*chances)--;
	else
		add(&c->evictions, 1);
	return true;
}

static bool make_room(struct cache *c, uint64_t need)
{
	unsigned chances = SECOND_CHANCES;

	while (!cache_file_has_room(c->file, need))
		if (!evict_one(c, &chances))
			return false;
	return true;
}

void cache_store(
	struct cache *c, uint64_t oid, uint64_t serial, uint64_t end_tid, struct slice data)
{
	struct revision new = { .oid = oid, .serial = serial, .end_tid = end_tid };
	struct cache_record rec = { .oid = oid, .serial = serial, .end_tid = end_tid };
	uint64_t need = cache_file_need(data.len);

	if ((end_tid != TID_NONE && end_tid <= serial) || !cache_file_fits(c->file, need) ||
		!admit(c, &new) || !make_room(c, need) || !cache_file_append(c->file, &rec, data))
		return;
	new.pos = rec.pos | REVISION_CHECKED;
	if (cache_index_add(c->index, &new))
		add(&c->stores, 1);
	else
		cache_file_drop(c->file, rec.pos);
}

void cache_prepare(struct cache *c)
{
	uint64_t need = cache_file_size(c->file) / 256;

	if (need > PREPARED_BYTES)
		need = PREPARED_BYTES;
	if (!cache_file_failed(c->file) && make_room(c, need))
		cache_file_fetch(c->file, need);
}

void cache_prepare_many(struct cache *c, size_t n, uint64_t data_bytes)
{
	uint64_t need = n * (CACHE_RECORD_BYTES + sizeof(uint64_t)) + data_bytes;
	uint64_t most = cache_file_size(c->file) / 4;
	unsigned chances = SECOND_CHANCES * (unsigned)(n < MANY ? n : MANY);

	if (need > most)
		need = most;
	while (!cache_file_failed(c->file) && !cache_file_has_space(c->file, need))
		if (!evict_one(c, &chances))
			return;
	cache_file_touch(c->file, need);
}

void cache_invalidate(struct cache *c, uint64_t oid, uint64_t tid)
{
	struct revision all[REVISIONS_MAX];
	size_t n = cache_index_all(c->index, oid, all);

	for (size_t i = 0; i < n; i++) {
		if (all[i].end_tid != TID_NONE)
			continue;
		if (tid == TID_NONE)
			forget(c, &all[i]);
		else if (tid > all[i].serial)
			set_end(c, &all[i], tid);
	}
}

void cache_set_last_tid(struct cache *c, uint64_t tid)
{
	if (tid <= cache_last_tid(c))
		return;
	cache_file_set_last_tid(c->file, tid);
	atomic_store_explicit(&c->last_tid, tid, memory_order_release);
}

uint64_t cache_last_tid(const struct cache *c)
{
	return atomic_load_explicit(&c->last_tid, memory_order_acquire);
}

bool cache_is_empty(const struct cache *c)
{
	return cache_index_entries(c->index) == 0;
}

void cache_clear(struct cache *c)
{
	cache_index_clear(c->index);
	cache_file_drop_all(c->file);
	cache_file_set_last_tid(c->file, 0);
	atomic_store_explicit(&c->last_tid, 0, memory_order_release);
}

void cache_stats(const struct cache *c, struct cache_stats *ret)
{
	cache_index_loads(c->index, &ret->hits, &ret->misses);
	ret->stores = atomic_load(&c->stores);
	ret->evictions = atomic_load(&c->evictions);
	ret->entries = cache_index_entries(c->index);
	ret->used_bytes = cache_file_used(c->file);
	ret->size_bytes = cache_file_size(c->file);
}

/* --- opening --- */

static struct cache *cache_new(struct err *e)
{
	struct cache *c = mem_zalloc(1, sizeof(*c));

	if (c) {
		c->lock_fd = -1;
		c->owner = getpid();
		c->index = cache_index_new();
		if (c->index)
			return c;
	}
	mem_free(c);
	(void)err_set(e, ERR_NOMEM, "no memory for a cache");
	return NULL;
}

static bool enter(void *arg, const struct cache_record *rec)
{
	struct cache *c = arg;
	struct revision r = { rec->oid, rec->pos, rec->serial, rec->end_tid };

	if (rec->dropped)
		return true;
	if (r.end_tid != TID_NONE && r.end_tid <= r.serial)
		return false;
	if (!admit(c, &r) || !cache_index_add(c->index, &r))
		cache_file_drop(c->file, rec->pos);
	return true;
}

/* What the file has. */
static int read_file(struct cache *c, const char *path, char *note, struct err *e)
{
	if (cache_file_scan(c->file, enter, c)) {
		atomic_store(&c->last_tid, cache_file_last_tid(c->file));
		return OK;
	}
	cache_index_clear(c->index);
	snprintf(note, NOTE_BYTES, "cache file '%.120s' begins anew: it is damaged", path);
	return cache_file_format(c->file, e);
}

struct move {
	struct cache *from, *to;
};

static bool move_one(void *arg, const struct cache_record *rec)
{
	struct move *m = arg;
	struct buf *b = &m->from->scratch;
	bool damaged;

	if (!rec->dropped &&
		cache_file_data(m->from->file, rec->pos, scratch_room, m->from, true, &damaged))
		cache_store(
			m->to, rec->oid, rec->serial, rec->end_tid, slice_of(b->data, rec->len));
	return true;
}

/* Into a file of the size that is asked for now, which takes the other one's place when it is whole. */
static int move_to(
	struct cache *c, const char *path, const char *new_path, uint64_t size, struct err *e)
{
	struct move m = { .from = c, .to = cache_new(e) };
	enum cache_found found;
	char note[NOTE_BYTES] = "";
	struct cache_file *old = c->file;
	int rc;

	if (!m.to)
		return e->code;
	(void)!os_unlink(new_path, NULL); /* one that was not finished */
	rc = cache_file_open(new_path, size, &m.to->file, &found, note, e);
	if (rc == OK && cache_file_scan(old, move_one, &m))
		cache_set_last_tid(m.to, cache_file_last_tid(old));
	else if (rc == OK)
		cache_clear(m.to);
	if (rc == OK)
		rc = os_rename(new_path, path, e);
	if (rc == OK) {
		c->file = m.to->file;
		m.to->file = old;
	} else {
		(void)!os_unlink(new_path, NULL);
	}
	cache_close(m.to);
	return rc;
}

static int change_size(struct cache *c, const char *path, uint64_t size, struct err *e)
{
	char *new_path = mem_alloc(strlen(path) + sizeof(".new"));
	int rc;

	if (!new_path)
		return err_set(e, ERR_NOMEM, "no memory for a name");
	sprintf(new_path, "%s.new", path);
	rc = move_to(c, path, new_path, size, e);
	mem_free(new_path);
	return rc;
}

static int take_lock(struct cache *c, const char *path, struct err *e)
{
	char *name = mem_alloc(strlen(path) + sizeof(".lock"));
	int rc;

	if (!name)
		return err_set(e, ERR_NOMEM, "no memory for a name");
	sprintf(name, "%s.lock", path);
	rc = lock_file_take(name, &c->lock_fd, e);
	mem_free(name);
	return rc;
}

static int open_file(struct cache *c, const char *path, uint64_t size, char *note, struct err *e)
{
	enum cache_found found;
	int rc = take_lock(c, path, e);

	if (rc == OK)
		rc = cache_file_open(path, size, &c->file, &found, note, e);
	if (rc == OK && cache_file_size(c->file) != cache_file_size_for(size))
		rc = change_size(c, path, size, e);
	return rc == OK ? read_file(c, path, note, e) : rc;
}

int cache_open(const char *path, uint64_t size, struct cache **ret, char *ret_note, struct err *e)
{
	struct cache *c = cache_new(e);
	int rc;

	ret_note[0] = 0;
	if (!c)
		return ERR_NOMEM;
	if (path)
		rc = open_file(c, path, size, ret_note, e);
	else
		rc = cache_file_anonymous(size, &c->file, e);
	if (rc != OK) {
		cache_close(c);
		return rc;
	}
	*ret = c;
	return OK;
}

void cache_close(struct cache *c)
{
	bool owner;

	if (!c)
		return;
	owner = c->owner == getpid();
	cache_file_close(c->file, owner);
	if (owner)
		lock_file_release(c->lock_fd);
	else
		os_close(c->lock_fd); /* to unlock it would unlock the parent's */
	cache_index_free(c->index);
	buf_free(&c->scratch);
	mem_free(c);
}
