/* Loads: no lock, and no thread switch while the page cache has what is asked for. */
#include <stdatomic.h>

#include "base/bigendian.h"
#include "base/mem.h"
#include "storage/filestorage/fs.h"

enum {
	HEADER_ROOM = FS_REC_HEADER_LEN + 8, /* header and back-pointer: no record is shorter */
	FIRST_READ_MIN = 512,
	FIRST_READ = 4096, /* at most: header and data of most objects */
	SCRATCH = 64 << 10,
	PREFETCH_FIRST = 64, /* of a record, together with the others': its header */
	PREFETCH_MAX = 1024, /* of a record: what follows is fetched as it is copied */
	HOPS_INLINE = 64,    /* older revisions looked at on the caller's loop (T21) */
	HOPS_EAGER = 4,      /* read with their data */
};

typedef unsigned long long ull;

/* Where a load's bytes go. */
struct place {
	bool may_block;
	uint8_t *bytes;
	size_t room;
	void *large; /* allocated for data that did not fit; freed after done() */
	bool alone; /* nothing of the record is on its way: it is asked for as a whole, not the header first and then the data */
};

/* Each thread's own: done() is called before it is used again, or it is marked busy. */
static _Thread_local struct {
	bool busy;
	uint32_t usual; /* bytes of the records it loads, on average */
	_Alignas(16) uint8_t bytes[SCRATCH];
} scratch;

/* Loads that this thread will make, in this order, as fs_prefetch() was told. The beginning of each record, with which
 * its page's address is translated, is on its way; the rest is asked for one record at a time, while the one before it is
 * answered: a processor waits for some ten lines at a time, and stands still when asked for more. Only hints: nothing
 * goes wrong where other loads come. */
static _Thread_local struct {
	const struct data_file *of;
	size_t n;
	size_t next;
	uint64_t off[STORAGE_PREFETCH_MAX];
} ahead;

/* What goes to the pool. */
struct cold_load {
	struct filestorage *fs;
	void *large;
	uint8_t bytes[FIRST_READ];
};

int fs_check_record(const struct data_file *d, uint64_t off, uint64_t oid,
	const struct fs_rec_header *h, struct err *e)
{
	uint64_t end = data_file_end(d);

	if (h->oid != oid)
		return err_set(e, ERR_CORRUPT,
			"damaged at %llu: a record of object %016llx was expected, it is of "
			"%016llx",
			(ull)off, (ull)oid, (ull)h->oid);
	if (h->prev >= off || h->plen > end || off + FS_REC_HEADER_LEN + h->plen > end)
		return err_set(e, ERR_CORRUPT,
			"damaged at %llu: the record's predecessor at %llu or its length %llu "
			"cannot be",
			(ull)off, (ull)h->prev, (ull)h->plen);
	return OK;
}

/* Up to @n bytes at @off, at least HEADER_ROOM. */
static int read_some(struct data_file *d, uint64_t off, uint8_t *p, size_t n, bool may_block,
	size_t *ret_got, struct err *e)
{
	uint64_t end = data_file_end(d);
	int rc;

	if (off < end && n > end - off)
		n = end - off; /* nothing that may change or go is read */
	rc = d->disk->ops->pread(d->disk, p, n, off, may_block, ret_got, e);
	if (rc != OK || *ret_got >= HEADER_ROOM)
		return rc;
	return may_block ? err_set(e, ERR_CORRUPT, "damaged: the file ends in the record at %llu",
				   (ull)off)
			 : ERR_AGAIN;
}

int fs_read_record(struct data_file *d, uint64_t off, uint64_t oid, bool may_block,
	struct fs_rec_header *ret, uint64_t *ret_back, struct err *e)
{
	uint8_t bytes[HEADER_ROOM];
	size_t got;
	int rc = read_some(d, off, bytes, sizeof(bytes), may_block, &got, e);

	if (rc != OK)
		return rc;
	fs_rec_header_get(bytes, ret);
	*ret_back = ret->plen ? 0 : get_be64(bytes + FS_REC_HEADER_LEN);
	return fs_check_record(d, off, oid, ret, e);
}

/* A record under inspection: @got bytes of it are in the place. */
struct cursor {
	uint64_t oid;
	uint64_t off;
	size_t got;
	uint32_t hops;
	struct fs_rec_header h;
	uint64_t back;
};

/* How much to read at once: copying what is not needed is most of a load's cost, and a second
 * call costs as much again. */
static size_t first_read(void)
{
	size_t n = scratch.usual + scratch.usual / 2;

	return n < FIRST_READ_MIN ? FIRST_READ_MIN : n > FIRST_READ ? FIRST_READ : n;
}

static void learn(uint64_t plen)
{
	int64_t n = plen < FIRST_READ ? (int64_t)plen : FIRST_READ;

	scratch.usual = (uint32_t)((int64_t)scratch.usual +
				   (n + FS_REC_HEADER_LEN - (int64_t)scratch.usual) / 16);
}

/* Where reading costs no system call: no more than has to be looked at. */
static bool copy_header(struct data_file *d, struct cursor *c, struct place *pl)
{
	const struct disk_ops *ops = d->disk->ops;

	c->got = HEADER_ROOM;
	return ops->copy && c->off + HEADER_ROOM <= data_file_end(d) &&
	       ops->copy(d->disk, pl->bytes, HEADER_ROOM, c->off);
}

static int read_at(struct data_file *d, const struct load_req *r, struct place *pl,
	struct cursor *c, struct err *e)
{
	size_t want = c->hops < HOPS_EAGER && r->kind != LOAD_TID ? first_read() : HEADER_ROOM;
	int rc;

	if (!pl->may_block && c->hops >= HOPS_INLINE)
		return ERR_AGAIN;
	c->hops++;
	rc = copy_header(d, c, pl)
		     ? OK
		     : read_some(d, c->off, pl->bytes, want, pl->may_block, &c->got, e);
	if (rc != OK)
		return rc;
	fs_rec_header_get(pl->bytes, &c->h);
	c->back = c->h.plen ? 0 : get_be64(pl->bytes + FS_REC_HEADER_LEN);
	return fs_check_record(d, c->off, c->oid, &c->h, e);
}

/* Is this record the one that is asked for? It is known to be visible. */
static bool is_wanted(const struct load_req *r, uint64_t tid)
{
	switch (r->kind) {
	case LOAD_BEFORE:
		return tid < r->tid;
	case LOAD_SERIAL:
		return tid <= r->tid;
	case LOAD_TID:
	case LOAD_NEXT:
		break;
	}
	return true;
}

/* What a record's data needs to get into the caches, beginning at @from of it. */
static void prefetch_record(struct data_file *d, uint64_t off, size_t from)
{
	size_t len = scratch.usual < PREFETCH_MAX ? scratch.usual : PREFETCH_MAX;

	off += from;
	if (len > from && d->disk->ops->prefetch)
		d->disk->ops->prefetch(d->disk, len - from, &off, 1);
}

/* Walk from the newest record to the one asked for; ERR_NOKEY when there is none. */
static int find(
	struct data_file *d, struct load_req *r, struct place *pl, struct cursor *c, struct err *e)
{
	bool existed = false;

	r->end_tid = TID_NONE;
	c->off = index_get(d->index, c->oid);
	if (pl->alone && c->off && r->kind != LOAD_TID)
		prefetch_record(d, c->off, 0);
	for (; c->off; c->off = c->h.prev) {
		int rc = read_at(d, r, pl, c, e);

		if (rc != OK)
			return rc;
		if (c->h.tid > r->applied)
			continue; /* R1: not there yet */
		if (is_wanted(r, c->h.tid))
			return r->kind == LOAD_SERIAL && c->h.tid != r->tid ? ERR_NOKEY : OK;
		existed = true;
		r->end_tid = c->h.tid;
	}
	if (existed && r->kind == LOAD_BEFORE) {
		r->none = true; /* T19 */
		return OK;
	}
	return ERR_NOKEY;
}

/* Data that undo did not copy lies in an older record. */
static int follow_back(struct data_file *d, const struct load_req *r, struct place *pl,
	struct cursor *c, struct err *e)
{
	while (c->h.plen == 0) {
		int rc;

		if (c->back == 0)
			return ERR_NOKEY; /* its creation was undone, or it was deleted */
		if (c->back >= c->off)
			return err_set(e, ERR_CORRUPT,
				"damaged at %llu: a back-pointer to %llu, which is not before it",
				(ull)c->off, (ull)c->back);
		c->off = c->back;
		rc = read_at(d, r, pl, c, e);
		if (rc != OK)
			return rc;
	}
	return OK;
}

static int get_data(struct data_file *d, struct load_req *r, struct place *pl,
	const struct cursor *c, struct err *e)
{
	size_t len = c->h.plen;
	uint8_t *p = pl->bytes;
	size_t got;
	int rc;

	learn(len);
	if (c->got >= FS_REC_HEADER_LEN + len) {
		r->data = slice_of(p + FS_REC_HEADER_LEN, len);
		return OK;
	}
	if (len > pl->room) {
		p = pl->large = mem_alloc(len);
		if (!p)
			return err_set(e, ERR_NOMEM, "no memory for an object of %zu bytes", len);
	}
	rc = d->disk->ops->pread(
		d->disk, p, len, c->off + FS_REC_HEADER_LEN, pl->may_block, &got, e);
	if (rc == OK && got < len)
		rc = pl->may_block
			     ? err_set(e, ERR_CORRUPT,
				       "damaged: the file ends in the record at %llu", (ull)c->off)
			     : ERR_AGAIN;
	if (rc == OK)
		r->data = slice_of(p, len);
	return rc;
}

/* From @c->oid on, the first object that is there as of then, with data or without: its record.
 * ERR_NOENT: there is none. */
static int find_next(
	struct data_file *d, struct load_req *r, struct place *pl, struct cursor *c, struct err *e)
{
	int rc;

	for (;;) {
		rc = index_next(d->index, c->oid, pl->may_block, &c->oid);
		if (rc == OK)
			rc = find(d, r, pl, c, e);
		if (rc != ERR_NOKEY)
			return rc;
		if (c->oid == UINT64_MAX)
			return ERR_NOENT;
		c->oid++;
	}
}

/* Which object stands behind @oid. */
static int find_after(
	struct data_file *d, struct load_req *r, uint64_t oid, bool may_block, uint64_t *ret)
{
	uint8_t header[HEADER_ROOM];
	struct place pl = { .may_block = may_block, .bytes = header, .room = sizeof(header) };
	struct cursor c = { .oid = oid + 1, .hops = HOPS_EAGER };
	int rc = oid == UINT64_MAX ? ERR_NOENT : find_next(d, r, &pl, &c, &r->err);

	*ret = rc == OK ? c.oid : OID_NONE;
	return rc == ERR_NOENT ? OK : rc;
}

/* record_iternext: an object, and which is the next. */
static int load_next(struct data_file *d, struct load_req *r, struct place *pl)
{
	struct cursor c = { .oid = r->oid };
	int rc = find_next(d, r, pl, &c, &r->err);

	if (rc == ERR_NOENT) {
		r->none = true;
		return OK;
	}
	r->found_oid = c.oid;
	r->serial = c.h.tid;
	if (rc == OK)
		rc = follow_back(d, r, pl, &c, &r->err);
	if (rc == OK)
		rc = get_data(d, r, pl, &c, &r->err);
	return rc == OK ? find_after(d, r, r->found_oid, pl->may_block, &r->next_oid) : rc;
}

/* Fill in the answer. ERR_AGAIN: ask again from the pool. */
static int load(struct data_file *d, struct load_req *r, struct place *pl)
{
	struct cursor c = { .oid = r->oid };
	int rc;

	r->none = false;
	r->data = slice_of(NULL, 0);
	r->serial = TID_NONE;
	if (r->kind == LOAD_NEXT)
		return load_next(d, r, pl);
	rc = find(d, r, pl, &c, &r->err);
	if (rc != OK || r->none)
		return rc;
	r->serial = c.h.tid;
	if (r->kind == LOAD_TID)
		return c.h.plen || c.back ? OK : ERR_NOKEY;
	rc = follow_back(d, r, pl, &c, &r->err);
	return rc == OK ? get_data(d, r, pl, &c, &r->err) : rc;
}

static void cold_work(struct job *j)
{
	struct load_req *r = CONTAINER_OF(j, struct load_req, job);
	struct cold_load *cold = r->owned;
	struct place pl = { true, cold->bytes, sizeof(cold->bytes), NULL };

	struct data_file *d = data_file_get(&cold->fs->data);

	r->rc = load(d, r, &pl);
	data_file_unref(d);
	cold->large = pl.large;
}

static void cold_done(struct job *j)
{
	struct load_req *r = CONTAINER_OF(j, struct load_req, job);
	struct cold_load *cold = r->owned;

	r->owned = NULL;
	r->done(r); /* r may be gone, or under way again */
	mem_free(cold->large);
	mem_free(cold);
}

static void load_cold(struct filestorage *fs, struct load_req *r)
{
	struct cold_load *cold = mem_alloc(sizeof(*cold));

	if (!cold) {
		r->rc = err_set(&r->err, ERR_NOMEM, "no memory to load an object");
		r->done(r);
		return;
	}
	cold->fs = fs;
	cold->large = NULL;
	r->owned = cold;
	r->job.work = cold_work;
	r->job.done = cold_done;
	r->exec->submit(r->exec, &r->job);
}

/* The rest of the record that this thread will load next. False: this load was not announced. */
static bool prefetch_next(struct data_file *d)
{
	/* another file may be where that one was */
	if (ahead.of != d || ahead.next > ahead.n)
		return false;
	if (ahead.next < ahead.n)
		prefetch_record(d, ahead.off[ahead.next], PREFETCH_FIRST);
	ahead.next++;
	return true;
}

/* Answer on the spot, if nothing has to be waited for. @r may be gone afterwards. */
static bool load_now(struct filestorage *fs, struct load_req *r, uint8_t *bytes, size_t room)
{
	struct place pl = { false, bytes, room, NULL };
	struct data_file *d = data_file_borrow(&fs->data);
	int rc;

	pl.alone = !prefetch_next(d);
	rc = load(d, r, &pl);
	data_file_return();
	r->rc = rc;
	if (rc != ERR_AGAIN)
		r->done(r);
	mem_free(pl.large);
	return rc != ERR_AGAIN;
}

/* Called from within a done() whose data lies in the scratch memory. */
static bool load_nested(struct filestorage *fs, struct load_req *r)
{
	uint8_t *bytes = mem_alloc(FIRST_READ);
	bool answered = bytes && load_now(fs, r, bytes, FIRST_READ);

	mem_free(bytes);
	return answered;
}

void fs_load(struct storage *s, struct load_req *r)
{
	struct filestorage *fs = fs_of(s);
	bool answered;

	if (scratch.busy) {
		answered = load_nested(fs, r);
	} else {
		scratch.busy = true;
		answered = load_now(fs, r, scratch.bytes, sizeof(scratch.bytes));
		scratch.busy = false;
	}
	if (!answered)
		load_cold(fs, r);
}

_Static_assert((int)STORAGE_PREFETCH_MAX <= (int)INDEX_GET_MANY_MAX, "they are looked up together");

/* Their entries in the index first, all of them, and when these are there the beginnings of their records. */
void fs_prefetch(struct storage *s, const uint64_t *oids, size_t n)
{
	struct data_file *d = data_file_borrow(&fs_of(s)->data);
	const struct disk_ops *ops = d->disk->ops;

	if (!ops->prefetch) {
		data_file_return();
		return;
	}
	ahead.of = d;
	ahead.n = n;
	ahead.next = 0;
	/* 0, the file's beginning, where there is none */
	index_get_many(d->index, oids, n, ahead.off);
	ops->prefetch(d->disk, PREFETCH_FIRST, ahead.off, n);
	prefetch_next(d);
	data_file_return();
}
