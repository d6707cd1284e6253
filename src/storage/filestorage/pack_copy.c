/* Writing the packed file. */
#include <string.h>

#include "base/bigendian.h"
#include "base/mem.h"
#include "codec/zrecord.h"
#include "storage/filestorage/pack.h"

enum {
	WRITE_CHUNK = 1 << 20,
	READ_CHUNK = 256 << 10, /* what scan_get() gives at once */
};

typedef unsigned long long ull;

/* --- output --- */

int pack_flush(struct pack *p, struct err *e)
{
	int rc;

	if (!buf_ok(&p->out))
		return err_set(e, ERR_NOMEM, "no memory to write a packed file");
	if (p->out.len == 0)
		return OK;
	rc = p->to->ops->pwrite(p->to, p->out.data, p->out.len, p->written, e);
	if (rc != OK)
		return rc;
	p->written += p->out.len;
	rc = p->tick(p, p->out.len, e);
	buf_shrink(&p->out, 4 * WRITE_CHUNK);
	return rc;
}

static int flush_full(struct pack *p, struct err *e)
{
	if (!buf_ok(&p->out))
		return err_set(e, ERR_NOMEM, "no memory to write a packed file");
	return p->out.len >= WRITE_CHUNK ? pack_flush(p, e) : OK;
}

static int copy_bytes(struct pack *p, struct scan *s, uint64_t off, uint64_t n, struct err *e)
{
	int rc = OK;

	while (rc == OK && n) {
		size_t piece = n < READ_CHUNK ? (size_t)n : READ_CHUNK;
		const uint8_t *b;

		rc = scan_get(s, off, piece, &b, e);
		if (rc != OK)
			break;
		buf_put(&p->out, b, piece);
		off += piece;
		n -= piece;
		rc = flush_full(p, e);
	}
	return rc;
}

/* A number that was written before it was known. */
static int patch(struct pack *p, uint64_t off, uint64_t value, struct err *e)
{
	uint8_t b[8];

	put_be64(b, value);
	if (off < p->written) {
		int rc = pack_flush(p, e);

		return rc == OK ? p->to->ops->pwrite(p->to, b, sizeof(b), off, e) : rc;
	}
	memcpy(p->out.data + (off - p->written), b, sizeof(b));
	return OK;
}

static int put_rec_header(struct pack *p, const struct fs_rec_header *h, struct err *e)
{
	uint8_t *b = buf_reserve(&p->out, FS_REC_HEADER_LEN);

	if (!b)
		return err_set(e, ERR_NOMEM, "no memory to write a packed file");
	fs_rec_header_put(b, h);
	buf_advance(&p->out, FS_REC_HEADER_LEN);
	return OK;
}

static int put_txn_header(
	struct pack *p, struct scan *s, uint64_t off, const struct fs_txn_header *h, struct err *e)
{
	uint8_t *b = buf_reserve(&p->out, FS_TXN_HEADER_LEN);

	if (!b)
		return err_set(e, ERR_NOMEM, "no memory to write a packed file");
	fs_txn_header_put(b, h);
	buf_advance(&p->out, FS_TXN_HEADER_LEN);
	return copy_bytes(
		p, s, off + FS_TXN_HEADER_LEN, fs_txn_header_size(h) - FS_TXN_HEADER_LEN, e);
}

static int set_index(struct pack *p, uint64_t oid, uint64_t off, struct err *e)
{
	if (index_prepare(p->new_index, &oid, 1) != OK)
		return err_set(e, ERR_NOMEM, "no memory for the index of a packed file");
	index_set(p->new_index, oid, off);
	return OK;
}

/* --- up to pack time --- */

/* A record that stays: with its data, where it had another's, and without a predecessor. */
static int put_packed(struct pack *p, struct scan *s, const struct fs_rec_header *h, uint64_t off,
	uint64_t back, uint64_t txn_off, struct err *e)
{
	struct fs_rec_header to = {
		.oid = h->oid, .tid = h->tid, .tloc = txn_off, .plen = h->plen
	};
	struct offset_pair *kept = offset_map_get(&p->kept, off);
	bool none = false;
	int rc = OK;

	if (!h->plen) {
		rc = pack_read_back(p, back, &none, e);
		to.plen = p->data.len;
	}
	if (rc == OK)
		rc = set_index(p, h->oid, pack_out_pos(p), e);
	if (rc != OK)
		return rc;
	if (kept)
		kept->value = pack_out_pos(p);
	rc = put_rec_header(p, &to, e);
	if (rc != OK)
		return rc;
	if (h->plen)
		return copy_bytes(p, s, off + FS_REC_HEADER_LEN, h->plen, e);
	if (none)
		buf_put_be64(&p->out, 0);
	else
		buf_put_slice(&p->out, buf_slice(&p->data));
	return flush_full(p, e);
}

/* The first bytes of a blob's record: its class. */
static bool is_blob(struct slice data)
{
	static const char name[] = "ZODB.blob";
	size_t n = data.len < 64 ? data.len : 64;

	return memmem(data.data, n, name, sizeof(name) - 1) != NULL || zrecord_is(data);
}

static int drop(struct pack *p, struct scan *s, const struct fs_rec_header *h, uint64_t off,
	uint64_t back, struct err *e)
{
	struct slice data = { NULL, 0 };
	const uint8_t *b;
	bool none;
	int rc;

	if (!p->blob_dropped || (!h->plen && !back))
		return OK;
	if (h->plen) {
		size_t n = h->plen < 64 ? (size_t)h->plen : 64;

		rc = scan_get(s, off + FS_REC_HEADER_LEN, n, &b, e);
		if (rc == OK)
			data = slice_of(b, n);
	} else {
		rc = pack_read_back(p, back, &none, e);
		data = buf_slice(&p->data);
	}
	if (rc != OK || !is_blob(data))
		return rc;
	return p->blob_dropped(p, h->oid, h->tid, e);
}

static int copy_packed_recs(struct pack *p, struct scan *s, uint64_t off,
	const struct fs_txn_header *h, uint64_t *ret_txn, struct err *e)
{
	uint64_t at = off + fs_txn_header_size(h);
	uint64_t end = off + h->tlen;
	int rc = OK;

	*ret_txn = 0;
	while (rc == OK && at < end) {
		struct fs_rec_header r;
		uint64_t back;

		rc = pack_read_rec(p, s, at, off, end, &r, &back, e);
		if (rc != OK)
			return rc;
		if (!pack_keeps(p, &r, at)) {
			rc = drop(p, s, &r, at, back, e);
			at += fs_rec_size(&r);
			continue;
		}
		if (!*ret_txn) {
			*ret_txn = pack_out_pos(p);
			rc = put_txn_header(p, s, off, h, e);
		}
		if (rc == OK)
			rc = put_packed(p, s, &r, at, back, *ret_txn, e);
		at += fs_rec_size(&r);
	}
	return rc;
}

static int copy_packed(
	struct pack *p, struct scan *s, uint64_t off, uint64_t *ret_end, struct err *e)
{
	struct fs_txn_header h;
	uint64_t txn = 0;
	int rc = pack_read_txn(p, s, off, &h, e);

	if (rc != OK)
		return rc;
	*ret_end = off + h.tlen + 8;
	h.status = 'p';
	rc = copy_packed_recs(p, s, off, &h, &txn, e);
	if (rc == OK && txn) {
		uint64_t tlen = pack_out_pos(p) - txn;

		rc = patch(p, txn + 8, tlen, e);
		buf_put_be64(&p->out, tlen);
	}
	return rc == OK ? pack_check_end(s, off, &h, e) : rc;
}

int pack_copy(struct pack *p, struct err *e)
{
	struct scan s = { 0 };
	int rc = scan_open(&s, p->from->disk, p->pack_pos, e);

	if (rc != OK)
		return rc;
	p->in_pos = FS_FIRST_TXN;
	p->new_index = index_new();
	if (!p->new_index)
		rc = err_set(e, ERR_NOMEM, "no memory for the index of a packed file");
	if (rc == OK)
		rc = copy_bytes(p, &s, 0, FS_MAGIC_LEN, e);
	while (rc == OK && p->in_pos < p->pack_pos)
		rc = copy_packed(p, &s, p->in_pos, &p->in_pos, e);
	p->new_pack_pos = pack_out_pos(p);
	scan_close(&s);
	if (rc != OK)
		return rc;
	index_free(p->index); /* it has been of use for the last time */
	p->index = NULL;
	oid_set_free(&p->reached);
	oid_set_free(&p->undone);
	return pack_flush(p, e);
}

/* --- behind pack time --- */

static int note(struct pack *p, uint64_t oid, uint64_t off, struct err *e)
{
	size_t room = p->recs_room ? p->recs_room * 2 : 256;
	uint64_t *oids;
	uint64_t *offs;

	if (p->n_recs == p->recs_room) {
		oids = mem_realloc(p->oids, room * sizeof(*oids));
		if (oids)
			p->oids = oids;
		offs = mem_realloc(p->offs, room * sizeof(*offs));
		if (offs)
			p->offs = offs;
		if (!oids || !offs)
			return err_set(e, ERR_NOMEM, "no memory for a transaction's records");
		p->recs_room = room;
	}
	p->oids[p->n_recs] = oid;
	p->offs[p->n_recs++] = off;
	return OK;
}

/* The records of one transaction are in the index when it is complete. ZODB makes a back-pointer to the first
 * of an object's records in a transaction: what comes twice (a blob and its record) is remembered. */
static int apply_notes(struct pack *p, uint64_t txn, struct err *e)
{
	int rc = OK;

	for (size_t i = 0; rc == OK && i < p->n_recs; i++) {
		uint64_t before = index_get(p->new_index, p->oids[i]);
		struct offset_pair *first = offset_map_get(&p->copies, before);

		if (before >= txn)
			rc = offset_map_put(
				&p->copies, p->offs[i], first ? first->value : before, e);
		if (rc == OK)
			rc = set_index(p, p->oids[i], p->offs[i], e);
	}
	p->n_recs = 0;
	return rc;
}

/* Do two records of the new file have the same data? */
static int same_data(struct pack *p, uint64_t a, uint64_t b, bool *ret, struct err *e)
{
	struct data_file to = { .disk = p->to };
	struct pack reader = { .from = &to };
	struct buf first = BUF_INIT(0);
	bool none;
	int rc = pack_flush(p, e);

	atomic_store(&to.end, p->written);
	if (rc == OK)
		rc = pack_read_back(&reader, a, &none, e);
	if (rc == OK)
		buf_put_slice(&first, buf_slice(&reader.data));
	if (rc == OK)
		rc = pack_read_back(&reader, b, &none, e);
	*ret = rc == OK && buf_ok(&first) && slice_eq(buf_slice(&first), buf_slice(&reader.data));
	buf_free(&first);
	buf_free(&reader.data);
	return rc;
}

static int read_header(struct disk_file *f, uint64_t off, struct fs_rec_header *ret, struct err *e)
{
	uint8_t b[FS_REC_HEADER_LEN];
	size_t got = 0;
	int rc = f->ops->pread(f, b, sizeof(b), off, true, &got, e);

	if (rc == OK && got < sizeof(b))
		rc = err_set(
			e, ERR_CORRUPT, "damaged at %llu: the file ends within a record", (ull)off);
	if (rc == OK)
		fs_rec_header_get(b, ret);
	return rc;
}

/* A revision before pack time that pack_find() did not know to be pointed back to: the transaction that
 * does was committed since. It is in the new file when it was current at pack time. */
static int find_copy(struct pack *p, uint64_t at, uint64_t back, uint64_t *ret, struct err *e)
{
	struct fs_rec_header wanted, h;
	uint64_t off;
	int rc = read_header(p->from->disk, back, &wanted, e);

	if (rc == OK)
		rc = pack_flush(p, e);
	if (rc != OK)
		return rc;
	for (off = index_get(p->new_index, wanted.oid); off; off = h.prev) {
		rc = read_header(p->to, off, &h, e);
		if (rc != OK)
			return rc;
		if (h.tid == wanted.tid) {
			*ret = off;
			return OK;
		}
		if (h.tid < wanted.tid || h.prev >= off)
			break;
	}
	return err_set(e, ERR_STATE,
		"the record at %llu points back to the one at %llu, which is not kept: it was "
		"written while this pack was under way, or is damaged",
		(ull)at, (ull)back);
}

/* Where a back-pointer leads in the new file. */
static int map_back(struct pack *p, uint64_t at, uint64_t back, uint64_t *ret, struct err *e)
{
	const struct offset_pair *kept = offset_map_get(&p->kept, back);
	const struct offset_pair *first;
	bool same = false;
	int rc = OK;

	if (back == 0) {
		*ret = 0;
		return OK;
	}
	if (back >= p->pack_pos)
		*ret = back - p->pack_pos + p->new_pack_pos;
	else if (kept && kept->value >= FS_FIRST_TXN)
		*ret = kept->value;
	else
		rc = find_copy(p, at, back, ret, e);
	if (rc != OK)
		return rc;
	first = offset_map_get(&p->copies, *ret);
	if (first)
		rc = same_data(p, *ret, first->value, &same, e);
	if (same)
		*ret = first->value;
	return rc;
}

static int copy_rec(struct pack *p, struct scan *s, const struct fs_rec_header *h, uint64_t off,
	uint64_t back, uint64_t txn, struct err *e)
{
	struct fs_rec_header to = *h;
	uint64_t new_back = 0;
	int rc = OK;

	to.prev = index_get(p->new_index, h->oid);
	to.tloc = txn;
	if (!h->plen)
		rc = map_back(p, off, back, &new_back, e);
	if (rc == OK)
		rc = note(p, h->oid, pack_out_pos(p), e);
	if (rc == OK)
		rc = put_rec_header(p, &to, e);
	if (rc != OK)
		return rc;
	if (h->plen)
		return copy_bytes(p, s, off + FS_REC_HEADER_LEN, h->plen, e);
	buf_put_be64(&p->out, new_back);
	return flush_full(p, e);
}

static int copy_txn(struct pack *p, struct scan *s, uint64_t off, uint64_t *ret_end, struct err *e)
{
	uint64_t txn = pack_out_pos(p);
	struct fs_txn_header h;
	uint64_t at, end;
	int rc = pack_read_txn(p, s, off, &h, e);

	if (rc == OK)
		rc = put_txn_header(p, s, off, &h, e);
	if (rc != OK)
		return rc;
	at = off + fs_txn_header_size(&h);
	end = off + h.tlen;
	while (rc == OK && at < end) {
		struct fs_rec_header r;
		uint64_t back;

		rc = pack_read_rec(p, s, at, off, end, &r, &back, e);
		if (rc == OK)
			rc = copy_rec(p, s, &r, at, back, txn, e);
		if (rc == OK)
			at += fs_rec_size(&r);
	}
	if (rc == OK)
		rc = pack_check_end(s, off, &h, e);
	if (rc != OK)
		return rc;
	buf_put_be64(&p->out, h.tlen);
	*ret_end = end + 8;
	return apply_notes(p, txn, e);
}

int pack_tail(struct pack *p, uint64_t end, struct err *e)
{
	struct scan s = { 0 };
	int rc = scan_open(&s, p->from->disk, end, e);

	while (rc == OK && p->in_pos < end)
		rc = copy_txn(p, &s, p->in_pos, &p->in_pos, e);
	scan_close(&s);
	return rc == OK ? pack_flush(p, e) : rc;
}
