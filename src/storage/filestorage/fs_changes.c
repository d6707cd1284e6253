/* What changed lately: the file read backwards from its end. */
#include <stdlib.h>

#include "base/bigendian.h"
#include "base/mem.h"
#include "storage/filestorage/fs.h"

typedef unsigned long long ull;

enum {
	CHANGES_MAX = 8 << 20, /* objects that one answer can name: a client does better without */
	CHANGES_FIRST =
		64 << 10, /* made unique when so many were listed, then when twice what was left */
};

static int add(struct fs_changed *l, uint64_t oid, struct err *e)
{
	if (l->n == l->room) {
		size_t room = l->room ? l->room * 2 : 256;
		uint64_t *oids = mem_realloc(l->oids, room * sizeof(*oids));

		if (!oids)
			return err_set(e, ERR_NOMEM, "no memory for the last invalidations");
		l->oids = oids;
		l->room = room;
	}
	l->oids[l->n++] = oid;
	return OK;
}

static int by_value(const void *a, const void *b)
{
	uint64_t x = *(const uint64_t *)a;
	uint64_t y = *(const uint64_t *)b;

	return x < y ? -1 : x > y;
}

void fs_changed_unique(struct fs_changed *l)
{
	size_t used = 0;

	if (l->n)
		qsort(l->oids, l->n, sizeof(l->oids[0]), by_value);
	for (size_t i = 0; i < l->n; i++)
		if (used == 0 || l->oids[used - 1] != l->oids[i])
			l->oids[used++] = l->oids[i];
	l->n = used;
}

int fs_list_oids(struct scan *s, uint64_t off, const struct fs_txn_header *h, struct fs_changed *l,
	struct err *e)
{
	uint64_t at = off + fs_txn_header_size(h);
	uint64_t end = off + h->tlen;
	int rc = OK;

	while (rc == OK && h->status != 'u' && at < end) {
		struct fs_rec_header r;
		const uint8_t *p;

		rc = scan_get(s, at, FS_REC_HEADER_LEN, &p, e);
		if (rc != OK)
			break;
		fs_rec_header_get(p, &r);
		if (r.plen > end - at || fs_rec_size(&r) > end - at)
			return err_set(e, ERR_CORRUPT,
				"damaged at %llu: a record that is longer than its transaction",
				(ull)at);
		rc = add(l, r.oid, e);
		at += fs_rec_size(&r);
	}
	return rc;
}

int fs_scan_before(struct scan *s, uint64_t *pos, struct fs_txn_header *ret, struct err *e)
{
	const uint8_t *p;
	uint64_t tlen;
	int rc = scan_get(s, *pos - 8, 8, &p, e);

	if (rc != OK)
		return rc;
	tlen = get_be64(p);
	if (*pos < FS_FIRST_TXN + 8 || tlen > *pos - 8 - FS_FIRST_TXN)
		return err_set(e, ERR_CORRUPT, "damaged at %llu: no transaction ends there",
			(ull)(*pos - 8));
	*pos -= tlen + 8;
	rc = scan_get(s, *pos, FS_TXN_HEADER_LEN, &p, e);
	if (rc != OK)
		return rc;
	fs_txn_header_get(p, ret);
	if (ret->tlen != tlen || tlen < fs_txn_header_size(ret))
		return err_set(e, ERR_CORRUPT,
			"damaged at %llu: the lengths of a transaction differ", (ull)*pos);
	return OK;
}

/* Objects change again and again: the list is kept about as short as the answer. */
static int keep_short(struct fs_changed *l, size_t *limit, struct err *e)
{
	if (l->n < *limit)
		return OK;
	fs_changed_unique(l);
	if (l->n > CHANGES_MAX)
		return err_set(e, ERR_LIMIT, "more than %d objects changed", CHANGES_MAX);
	if (*limit < 2 * l->n)
		*limit = 2 * l->n;
	return OK;
}

static int walk_back(struct data_file *d, struct changes_req *r, struct fs_changed *l)
{
	size_t limit = CHANGES_FIRST;
	uint64_t pos = data_file_end(d);
	struct fs_txn_header h;
	struct scan s;
	int rc = scan_open_back(&s, d->disk, pos, &r->err);

	while (rc == OK && pos > FS_FIRST_TXN) {
		rc = fs_scan_before(&s, &pos, &h, &r->err);
		if (rc == OK && h.tid <= r->tid)
			break;
		if (rc == OK && h.tid <= r->applied)
			rc = fs_list_oids(&s, pos, &h, l, &r->err);
		if (rc == OK)
			rc = keep_short(l, &limit, &r->err);
	}
	scan_close(&s);
	return rc;
}

static void changes_work(struct job *j)
{
	struct changes_req *r = CONTAINER_OF(j, struct changes_req, job);
	struct data_file *d = data_file_get(&fs_of(r->storage)->data);
	struct fs_changed l = { 0 };

	r->rc = walk_back(d, r, &l);
	data_file_unref(d);
	if (r->rc != OK) {
		mem_free(l.oids);
		return;
	}
	fs_changed_unique(&l);
	r->oids = l.oids;
	r->n_oids = l.n;
}

static void changes_done(struct job *j)
{
	struct changes_req *r = CONTAINER_OF(j, struct changes_req, job);

	r->done(r);
}

void fs_changes(struct storage *s, struct changes_req *r)
{
	r->storage = s;
	r->oids = NULL;
	r->n_oids = 0;
	r->job.work = changes_work;
	r->job.done = changes_done;
	r->exec->submit(r->exec, &r->job);
}
