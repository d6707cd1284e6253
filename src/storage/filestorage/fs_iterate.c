/* Iterators. An iterator is a place in a data file, no more: nothing of the file is kept between two
 * items, so that thousands of iterators take little, and the page cache is the window. What is in
 * it is answered on the caller's loop, the rest on the pool.
 *
 *   NEW (not at its start yet) -> PLACED -> NEW (its file was replaced and is at its end)
 *
 * I1  The reference to its file is replaced only at that file's end: what is read of one transaction is of
 *     one file, and a transaction is given once (R8). */
#include <string.h>

#include "base/bigendian.h"
#include "base/mem.h"
#include "storage/filestorage/fs.h"

enum {
	FIRST_READ = 4096,     /* header and strings, or header and data, of most */
	SKIP_INLINE = 4,       /* transactions passed over on the caller's loop */
	BACK_HOPS_INLINE = 16, /* back-pointers followed there */
};

typedef unsigned long long ull;

struct storage_iter {
	struct filestorage *fs;
	struct data_file *d;
	bool of_records;
	uint64_t pos; /* of the next item; 0: NEW */
	/* of transactions */
	uint64_t start; /* the smallest tid that may come next */
	uint64_t stop;
	uint64_t given_off; /* the transaction given last, 0: none */
	struct fs_txn_header given;
	/* of records */
	uint64_t txn_off;
	uint64_t txn_end;
};

/* Where bytes go while an item is looked for. */
struct place {
	bool may_block;
	uint8_t *bytes; /* FIRST_READ of room */
	void *large;    /* allocated for what did not fit; freed after done() */
};

/* --- opening, closing --- */

int fs_iter_open(
	struct storage *s, uint64_t start, uint64_t stop, struct storage_iter **ret, struct err *e)
{
	struct storage_iter *it = mem_zalloc(1, sizeof(*it));

	if (!it)
		return err_set(e, ERR_NOMEM, "no memory for an iterator");
	it->fs = fs_of(s);
	it->d = data_file_get(&it->fs->data);
	it->start = start;
	it->stop = stop;
	*ret = it;
	return OK;
}

int fs_iter_records(struct storage_iter *txns, struct storage_iter **ret, struct err *e)
{
	struct storage_iter *it;

	if (txns->of_records || !txns->given_off)
		return err_set(e, ERR_STATE, "the iterator gave no transaction");
	it = mem_zalloc(1, sizeof(*it));
	if (!it)
		return err_set(e, ERR_NOMEM, "no memory for an iterator");
	it->fs = txns->fs;
	it->d = data_file_ref(txns->d);
	it->of_records = true;
	it->txn_off = txns->given_off;
	it->txn_end = txns->given_off + txns->given.tlen;
	it->pos = txns->given_off + fs_txn_header_size(&txns->given);
	*ret = it;
	return OK;
}

void fs_iter_close(struct storage *s, struct storage_iter *it)
{
	(void)s;
	if (!it)
		return;
	data_file_unref(it->d);
	mem_free(it);
}

/* --- reading --- */

static int ends_early(uint64_t off, struct err *e)
{
	return err_set(e, ERR_CORRUPT, "damaged at %llu: the file ends there", (ull)off);
}

/* At least @min bytes at @off, and up to @max. */
static int read_some(const struct storage_iter *it, const struct place *pl, uint64_t off, void *p,
	size_t min, size_t max, size_t *ret_got, struct err *e)
{
	struct disk_file *f = it->d->disk;
	int rc = f->ops->pread(f, p, max, off, pl->may_block, ret_got, e);

	if (rc != OK || *ret_got >= min)
		return rc;
	return pl->may_block ? ends_early(off, e) : ERR_AGAIN;
}

/* @n bytes at @off, of which the first @got are in the place. */
static int read_rest(const struct storage_iter *it, struct place *pl, uint64_t off, size_t n,
	size_t got, const uint8_t **ret, struct err *e)
{
	int rc;

	*ret = pl->bytes;
	if (n <= got)
		return OK;
	pl->large = mem_alloc(n);
	if (!pl->large)
		return err_set(e, ERR_NOMEM, "no memory for %zu bytes of the data file", n);
	rc = read_some(it, pl, off, pl->large, n, n, &got, e);
	*ret = pl->large;
	return rc;
}

/* --- transactions --- */

static int check_header(
	uint64_t off, uint64_t end, const struct fs_txn_header *h, uint64_t tlen2, struct err *e)
{
	if (h->tlen < fs_txn_header_size(h) || h->tlen > end || off + h->tlen + 8 > end)
		return err_set(e, ERR_CORRUPT,
			"damaged at %llu: a transaction cannot have a length of %llu", (ull)off,
			(ull)h->tlen);
	if (tlen2 != h->tlen)
		return err_set(e, ERR_CORRUPT,
			"damaged at %llu: the lengths %llu and %llu of a transaction differ",
			(ull)off, (ull)h->tlen, (ull)tlen2);
	return OK;
}

/* The header at @off with what was read behind it, checked. */
static int read_header(const struct storage_iter *it, struct place *pl, uint64_t off, uint64_t end,
	struct fs_txn_header *ret, size_t *ret_got, struct err *e)
{
	size_t max = end - off < FIRST_READ ? (size_t)(end - off) : FIRST_READ;
	uint8_t tail[8];
	size_t got;
	int rc = read_some(it, pl, off, pl->bytes, FS_TXN_HEADER_LEN, max, ret_got, e);

	if (rc != OK)
		return rc;
	fs_txn_header_get(pl->bytes, ret);
	if (ret->tlen < end && ret->tlen + 8 <= *ret_got)
		memcpy(tail, pl->bytes + ret->tlen, 8);
	else if (ret->tlen < end)
		rc = read_some(it, pl, off + ret->tlen, tail, 8, 8, &got, e);
	return rc == OK ? check_header(off, end, ret, ret->tlen < end ? get_be64(tail) : 0, e) : rc;
}

/* From the front, until tids reach the start. */
static int seek_forward(struct storage_iter *it, struct scan *s, struct err *e)
{
	uint64_t pos = FS_FIRST_TXN;
	int rc = OK;

	while (rc == OK && pos < s->size) {
		struct fs_txn_header h;
		const uint8_t *p;

		rc = scan_get(s, pos, FS_TXN_HEADER_LEN, &p, e);
		if (rc != OK)
			break;
		fs_txn_header_get(p, &h);
		if (h.tid >= it->start)
			break;
		rc = check_header(pos, s->size, &h, h.tlen, e);
		pos += h.tlen + 8;
	}
	it->pos = pos;
	return rc;
}

/* From the end, until tids are below the start. */
static int seek_back(struct storage_iter *it, struct scan *s, struct err *e)
{
	uint64_t pos = s->size;
	int rc = OK;

	while (rc == OK && pos > FS_FIRST_TXN) {
		struct fs_txn_header h;
		uint64_t at = pos;

		rc = fs_scan_before(s, &at, &h, e);
		if (rc == OK && h.tid < it->start)
			break;
		pos = at;
	}
	it->pos = pos;
	return rc;
}

/* Of two tids around it, is the start nearer to the first? In time, as the file's size is in general. */
static bool is_near_front(uint64_t first, uint64_t last, uint64_t start)
{
	return start <= first || (start < last && start - first < last - start);
}

static int seek_start(struct storage_iter *it, struct err *e)
{
	struct fs_txn_header first, last;
	struct scan s;
	const uint8_t *p;
	uint64_t pos = data_file_end(it->d);
	int rc;

	if (it->start == 0 || pos <= FS_FIRST_TXN) {
		it->pos = FS_FIRST_TXN;
		return OK;
	}
	rc = scan_open(&s, it->d->disk, pos, e);
	if (rc != OK)
		return rc;
	rc = fs_scan_before(&s, &pos, &last, e);
	if (rc == OK)
		rc = scan_get(&s, FS_FIRST_TXN, FS_TXN_HEADER_LEN, &p, e);
	if (rc == OK) {
		fs_txn_header_get(p, &first);
		rc = is_near_front(first.tid, last.tid, it->start) ? seek_forward(it, &s, e)
								   : seek_back(it, &s, e);
	}
	if (rc != OK)
		it->pos = 0;
	scan_close(&s);
	return rc;
}

/* At the end of its file: true when that was replaced, and the iterator goes on in the new one. */
static bool move_on(struct storage_iter *it)
{
	struct data_file *d = data_file_get(&it->fs->data);

	if (d == it->d) {
		data_file_unref(d);
		return false;
	}
	data_file_unref(it->d);
	it->d = d;
	it->pos = 0;
	it->given_off = 0;
	return true;
}

static int give_txn(struct storage_iter *it, struct iter_req *r, struct place *pl,
	const struct fs_txn_header *h, size_t got)
{
	const uint8_t *p;
	int rc = read_rest(it, pl, it->pos, (size_t)fs_txn_header_size(h), got, &p, &r->err);

	if (rc != OK)
		return rc;
	p += FS_TXN_HEADER_LEN;
	r->txn = (struct txn_info){
		.tid = h->tid,
		.size_bytes = h->tlen + 8,
		.status = h->status,
		.user = slice_of(p, h->ulen),
		.desc = slice_of(p + h->ulen, h->dlen),
		.ext = slice_of(p + h->ulen + h->dlen, h->elen),
	};
	it->given = *h;
	it->given_off = it->pos;
	it->pos += h->tlen + 8;
	if (h->tid >= it->start) /* ZODB lets tids of a file go back */
		it->start = h->tid + 1;
	return OK;
}

static int next_txn(struct storage_iter *it, struct iter_req *r, struct place *pl)
{
	struct fs_txn_header h;
	size_t got;

	for (uint32_t n = 0;; n++) {
		uint64_t end = data_file_end(it->d);
		int rc = OK;

		if (!pl->may_block && (n > SKIP_INLINE || (it->pos == 0 && it->start != 0)))
			return ERR_AGAIN;
		if (it->pos == 0)
			rc = seek_start(it, &r->err);
		if (rc != OK)
			return rc;
		if (it->pos >= end) {
			if (it->start <= it->stop && move_on(it))
				continue;
			break;
		}
		rc = read_header(it, pl, it->pos, end, &h, &got, &r->err);
		if (rc != OK)
			return rc;
		if (h.tid > r->applied || h.tid > it->stop)
			break;
		if (h.status != 'u')
			return give_txn(it, r, pl, &h, got);
		it->pos += h.tlen + 8; /* undone long ago */
	}
	r->end = true;
	return OK;
}

/* --- records --- */

/* A record whose first @got bytes are in a buffer. */
struct record {
	uint64_t off;
	struct fs_rec_header h;
	uint64_t back; /* where it has that instead of data */
};

static int read_record(const struct storage_iter *it, const struct place *pl, uint64_t off,
	uint8_t *p, size_t max, struct record *ret, size_t *ret_got, struct err *e)
{
	int rc = read_some(it, pl, off, p, FS_REC_HEADER_LEN + 8, max, ret_got, e);

	if (rc != OK)
		return rc;
	ret->off = off;
	fs_rec_header_get(p, &ret->h);
	ret->back = ret->h.plen ? 0 : get_be64(p + FS_REC_HEADER_LEN);
	return OK;
}

/* To the record that has the data; the transaction of the first one on the way is what ZODB tells. */
static int follow_back(const struct storage_iter *it, struct iter_req *r, struct place *pl,
	struct record *rec, size_t *got)
{
	uint64_t oid = rec->h.oid;

	for (uint32_t hops = 0; rec->h.plen == 0 && rec->back != 0; hops++) {
		uint64_t off = rec->off;
		int rc;

		if (rec->back >= off)
			return err_set(&r->err, ERR_CORRUPT,
				"damaged at %llu: a back-pointer to %llu, which is not before it",
				(ull)off, (ull)rec->back);
		if (!pl->may_block && hops == BACK_HOPS_INLINE)
			return ERR_AGAIN;
		rc = read_record(it, pl, rec->back, pl->bytes, FIRST_READ, rec, got, &r->err);
		if (rc == OK)
			rc = fs_check_record(it->d, rec->off, oid, &rec->h, &r->err);
		if (rc != OK)
			return rc;
		if (hops == 0)
			r->data_txn = rec->h.tid;
	}
	return OK;
}

static int check_fits(const struct storage_iter *it, const struct record *rec, struct err *e)
{
	uint64_t room = it->txn_end - rec->off;

	if (rec->h.tloc != it->txn_off || rec->h.plen > room || fs_rec_size(&rec->h) > room)
		return err_set(e, ERR_CORRUPT,
			"damaged at %llu: a record that is not of its transaction at %llu, or "
			"longer",
			(ull)rec->off, (ull)it->txn_off);
	return fs_check_record(it->d, rec->off, rec->h.oid, &rec->h, e);
}

static int next_record(struct storage_iter *it, struct iter_req *r, struct place *pl)
{
	struct record rec;
	const uint8_t *p;
	uint64_t next;
	size_t got;
	int rc;

	r->end = it->pos >= it->txn_end;
	if (r->end)
		return OK;
	rc = read_record(it, pl, it->pos, pl->bytes, FIRST_READ, &rec, &got, &r->err);
	if (rc == OK)
		rc = check_fits(it, &rec, &r->err);
	if (rc != OK)
		return rc;
	r->oid = rec.h.oid;
	r->tid = rec.h.tid;
	next = it->pos + fs_rec_size(&rec.h);
	rc = follow_back(it, r, pl, &rec, &got);
	r->has_data = rc == OK && rec.h.plen != 0;
	if (r->has_data) {
		rc = read_rest(it, pl, rec.off, FS_REC_HEADER_LEN + rec.h.plen, got, &p, &r->err);
		r->data = slice_of(p + FS_REC_HEADER_LEN, rec.h.plen);
	}
	if (rc == OK)
		it->pos = next;
	return rc;
}

/* --- the request --- */

static int next(struct iter_req *r, struct place *pl)
{
	r->end = false;
	r->has_data = false;
	r->data_txn = TID_NONE;
	r->data = slice_of(NULL, 0);
	return r->it->of_records ? next_record(r->it, r, pl) : next_txn(r->it, r, pl);
}

struct cold_next {
	struct iter_req *r;
	struct job job;
	struct place pl;
	uint8_t bytes[FIRST_READ];
};

static void cold_work(struct job *j)
{
	struct cold_next *c = CONTAINER_OF(j, struct cold_next, job);

	c->r->rc = next(c->r, &c->pl);
}

static void cold_done(struct job *j)
{
	struct cold_next *c = CONTAINER_OF(j, struct cold_next, job);

	c->r->done(c->r);
	mem_free(c->pl.large);
	mem_free(c);
}

static void next_cold(struct iter_req *r)
{
	struct cold_next *c = mem_alloc(sizeof(*c));

	if (!c) {
		r->rc = err_set(&r->err, ERR_NOMEM, "no memory to go on with an iterator");
		r->done(r);
		return;
	}
	c->r = r;
	c->pl = (struct place){ .may_block = true, .bytes = c->bytes };
	c->job.work = cold_work;
	c->job.done = cold_done;
	r->exec->submit(r->exec, &c->job);
}

void fs_iter_next(struct iter_req *r)
{
	uint8_t bytes[FIRST_READ];
	struct place pl = { .bytes = bytes };
	int rc = next(r, &pl);

	if (rc == ERR_AGAIN) {
		mem_free(pl.large);
		next_cold(r);
		return;
	}
	r->rc = rc;
	r->done(r);
	mem_free(pl.large);
}
