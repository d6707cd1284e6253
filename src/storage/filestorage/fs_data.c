#include "storage/filestorage/fs_data.h"

#include "base/bigendian.h"
#include "storage/filestorage/fs.h"

typedef unsigned long long ull;

int fs_read_exactly(struct data_file *d, uint64_t off, void *p, size_t n, struct err *e)
{
	size_t got;
	int rc = n ? d->disk->ops->pread(d->disk, p, n, off, true, &got, e) : OK;

	if (rc == OK && n && got < n)
		rc = err_set(e, ERR_CORRUPT,
			"damaged: the file ends at %llu, %zu bytes at %llu "
			"were expected",
			(ull)(off + got), n, (ull)off);
	return rc;
}

static int read_data(struct data_file *d, uint64_t off, size_t n, struct buf *out, struct err *e)
{
	uint8_t *p;
	int rc;

	buf_reset(out);
	p = buf_reserve(out, n);
	if (!p)
		return err_set(e, ERR_NOMEM, "no memory for an object of %zu bytes", n);
	rc = fs_read_exactly(d, off + FS_REC_HEADER_LEN, p, n, e);
	if (rc == OK)
		buf_advance(out, n);
	return rc;
}

int fs_read_back(struct data_file *d, uint64_t oid, uint64_t off, struct buf *out, struct err *e)
{
	while (off) {
		struct fs_rec_header h;
		uint64_t back;
		int rc = fs_read_record(d, off, oid, true, &h, &back, e);

		if (rc != OK)
			return rc;
		if (h.plen)
			return read_data(d, off, h.plen, out, e);
		if (back >= off)
			return err_set(e, ERR_CORRUPT,
				"damaged at %llu: a back-pointer to %llu, which is not before it",
				(ull)off, (ull)back);
		off = back;
	}
	return ERR_NOKEY;
}

int fs_find_revision(struct data_file *d, uint64_t oid, uint64_t tid, uint64_t *ret_off,
	struct fs_rec_header *ret, uint64_t *ret_back, struct err *e)
{
	uint64_t off = index_get(d->index, oid);

	while (off) {
		int rc = fs_read_record(d, off, oid, true, ret, ret_back, e);

		if (rc != OK)
			return rc;
		if (ret->tid == tid)
			break;
		off = ret->tid < tid ? 0 : ret->prev;
	}
	*ret_off = off;
	return OK;
}

int fs_txn_before(struct fs_txn_walk *w, struct err *e)
{
	uint8_t bytes[FS_TXN_HEADER_LEN];
	uint64_t tlen;
	int rc;

	if (w->pos <= FS_FIRST_TXN)
		return ERR_NOENT;
	rc = fs_read_exactly(w->d, w->pos - 8, bytes, 8, e);
	if (rc != OK)
		return rc;
	tlen = get_be64(bytes);
	if (tlen < FS_TXN_HEADER_LEN || tlen > w->pos - 8 - FS_FIRST_TXN)
		return err_set(e, ERR_CORRUPT,
			"damaged at %llu: the length %llu of the transaction before cannot be",
			(ull)w->pos - 8, (ull)tlen);
	w->pos -= tlen + 8;
	rc = fs_read_exactly(w->d, w->pos, bytes, sizeof(bytes), e);
	if (rc != OK)
		return rc;
	fs_txn_header_get(bytes, &w->h);
	if (w->h.tlen != tlen || fs_txn_header_size(&w->h) > tlen)
		return err_set(e, ERR_CORRUPT,
			"damaged at %llu: a transaction of %llu bytes was expected, it says %llu",
			(ull)w->pos, (ull)tlen, (ull)w->h.tlen);
	return OK;
}

int fs_find_txn(struct data_file *d, uint64_t tid, struct fs_txn_walk *ret, struct err *e)
{
	struct fs_txn_walk w = { .d = d, .pos = data_file_end(d) };
	int rc = OK;

	while (rc == OK && w.pos > FS_SEARCH_START) {
		rc = fs_txn_before(&w, e);
		if (rc == OK && w.h.tid == tid) {
			*ret = w;
			return OK;
		}
		if (rc == OK && w.h.tid < tid)
			return ERR_NOENT;
	}
	return rc == OK ? ERR_NOENT : rc;
}
