/* Which revisions a pack keeps. */
#include <string.h>

#include "base/bigendian.h"
#include "base/mem.h"
#include "codec/tid.h"
#include "storage/filestorage/pack.h"

/* Two differences to ZODB's:
 *
 * - A transaction behind pack time may have undone a change of an object that could not be reached at
 *   pack time. What the revision it points back to refers to is kept, too; ZODB keeps only the revision, and
 *   its references lead nowhere. What is missing there is no failure.
 * - Without garbage collection ZODB keeps none of the revisions that later transactions point back to, and
 *   fails when there is one. */

enum {
	STACK_MAX =
		128 << 10, /* oids whose records are still to be read; more are found by a sweep */
	FIRST_READ = 4096, /* of a record: most are shorter */
};

typedef unsigned long long ull;

/* --- reading --- */

static int corrupt(struct err *e, uint64_t at, const char *what)
{
	return err_set(e, ERR_CORRUPT, "damaged at %llu: %s", (ull)at, what);
}

int pack_read_txn(
	struct pack *p, struct scan *s, uint64_t off, struct fs_txn_header *ret, struct err *e)
{
	const uint8_t *b;
	int rc = scan_get(s, off, FS_TXN_HEADER_LEN, &b, e);

	if (rc != OK)
		return rc;
	fs_txn_header_get(b, ret);
	if (ret->status != ' ' && ret->status != 'p' && ret->status != 'u')
		return corrupt(e, off, "a transaction that is not finished");
	if (ret->tlen < fs_txn_header_size(ret) || ret->tlen > s->size - off ||
		ret->tlen + 8 > s->size - off)
		return corrupt(e, off, "a transaction of a length that cannot be");
	return p->tick(p, fs_txn_header_size(ret), e);
}

int pack_read_rec(struct pack *p, struct scan *s, uint64_t off, uint64_t txn_off, uint64_t txn_end,
	struct fs_rec_header *ret, uint64_t *ret_back, struct err *e)
{
	const uint8_t *b;
	int rc = scan_get(s, off, FS_REC_HEADER_LEN, &b, e);

	if (rc != OK)
		return rc;
	fs_rec_header_get(b, ret);
	if (ret->tloc != txn_off)
		return corrupt(e, off, "a record that belongs to another transaction");
	if (ret->vlen || ret->plen > txn_end - off || fs_rec_size(ret) > txn_end - off)
		return corrupt(e, off, "a record that is longer than its transaction");
	*ret_back = 0;
	rc = p->tick(p, fs_rec_size(ret), e);
	if (rc != OK || ret->plen)
		return rc;
	rc = scan_get(s, off + FS_REC_HEADER_LEN, 8, &b, e);
	if (rc != OK)
		return rc;
	*ret_back = get_be64(b);
	return *ret_back < off ? OK : corrupt(e, off, "a back-pointer that leads ahead");
}

int pack_check_end(struct scan *s, uint64_t off, const struct fs_txn_header *h, struct err *e)
{
	const uint8_t *b;
	int rc = scan_get(s, off + h->tlen, 8, &b, e);

	if (rc == OK && get_be64(b) != h->tlen)
		rc = corrupt(e, off + h->tlen, "the second length is not the first one");
	return rc;
}

static int read_at(struct pack *p, uint64_t off, size_t n, size_t least, struct err *e)
{
	uint8_t *b;
	size_t got = 0;
	int rc;

	buf_shrink(&p->data, 1 << 20);
	b = buf_reserve(&p->data, n);
	if (!b)
		return err_set(e, ERR_NOMEM, "no memory for a record of %zu bytes", n);
	rc = p->from->disk->ops->pread(p->from->disk, b, n, off, true, &got, e);
	if (rc == OK && got < least)
		rc = corrupt(e, off, "the file ends within a record");
	p->data.len = got;
	return rc;
}

/* The record at @off into p->data, without its header; *ret_back when it has none. */
static int read_record(struct pack *p, uint64_t off, uint64_t *ret_back, struct err *e)
{
	struct fs_rec_header h;
	int rc = read_at(p, off, FIRST_READ, FS_REC_HEADER_LEN + 1, e);

	*ret_back = 0;
	if (rc != OK)
		return rc;
	fs_rec_header_get(p->data.data, &h);
	if (h.plen > data_file_end(p->from) - off)
		return corrupt(e, off, "a record that is longer than the file");
	if (!h.plen && p->data.len < FS_REC_HEADER_LEN + 8)
		return corrupt(e, off, "the file ends within a record");
	if (!h.plen) {
		*ret_back = get_be64(p->data.data + FS_REC_HEADER_LEN);
		p->data.len = 0;
		return *ret_back < off ? OK : corrupt(e, off, "a back-pointer that leads ahead");
	}
	if (p->data.len >= FS_REC_HEADER_LEN + h.plen) {
		p->data.len = FS_REC_HEADER_LEN + h.plen;
		memmove(p->data.data, p->data.data + FS_REC_HEADER_LEN, h.plen);
		p->data.len = h.plen;
		return OK;
	}
	return read_at(p, off + FS_REC_HEADER_LEN, h.plen, h.plen, e);
}

int pack_read_back(struct pack *p, uint64_t back, bool *ret_none, struct err *e)
{
	int rc = OK;

	p->data.len = 0;
	while (rc == OK && back) {
		rc = read_record(p, back, &back, e);
		if (rc == OK && p->data.len)
			break;
	}
	*ret_none = p->data.len == 0;
	return rc;
}

/* --- the index as of pack time --- */

static int set_current(struct pack *p, uint64_t oid, uint64_t off, bool gone, struct err *e)
{
	uint64_t old = index_get(p->index, oid);

	if (index_prepare(p->index, &oid, 1) != OK)
		return err_set(e, ERR_NOMEM, "no memory for the index as of pack time");
	p->n_objects -= old && !(old & PACK_GONE);
	p->n_objects += !gone;
	index_set(p->index, oid, off | (gone ? PACK_GONE : 0));
	return OK;
}

/* Its revision at pack time, 0: there is none. */
static uint64_t current(const struct pack *p, uint64_t oid)
{
	uint64_t off = index_get(p->index, oid);

	return off & PACK_GONE ? 0 : off;
}

typedef int (*take_rec)(
	struct pack *p, const struct fs_rec_header *h, uint64_t off, uint64_t back, struct err *e);

static int each_rec(struct pack *p, struct scan *s, uint64_t off, const struct fs_txn_header *h,
	take_rec take, struct err *e)
{
	uint64_t at = off + fs_txn_header_size(h);
	uint64_t end = off + h->tlen;
	int rc = OK;

	while (rc == OK && at < end) {
		struct fs_rec_header r;
		uint64_t back = 0;

		rc = pack_read_rec(p, s, at, off, end, &r, &back, e);
		if (rc == OK)
			rc = take(p, &r, at, back, e);
		if (rc == OK)
			at += fs_rec_size(&r);
	}
	return rc == OK ? pack_check_end(s, off, h, e) : rc;
}

static int take_current(
	struct pack *p, const struct fs_rec_header *h, uint64_t off, uint64_t back, struct err *e)
{
	return set_current(p, h->oid, off, !h->plen && !back, e);
}

/* ZODB takes a pack for redundant when all up to pack time has been packed, and what follows was, too, or
 * nothing follows. */
static int build_index(struct pack *p, struct scan *s, struct err *e)
{
	struct fs_txn_header h = { .status = 0 };
	bool unpacked = false;
	uint64_t pos = FS_FIRST_TXN;
	uint64_t last_tid = 0;
	int rc = OK;

	for (; pos < p->end; pos += h.tlen + 8) {
		rc = pack_read_txn(p, s, pos, &h, e);
		if (rc == OK && h.tid > p->stop_tid)
			break;
		if (rc == OK && h.tid <= last_tid)
			rc = corrupt(e, pos, "its tid is not larger than the one before");
		if (rc == OK)
			rc = each_rec(p, s, pos, &h, take_current, e);
		if (rc != OK)
			return rc;
		last_tid = h.tid;
		unpacked |= h.status != 'p';
	}
	p->pack_pos = pos;
	p->redundant = !unpacked && h.status == 'p';
	return rc;
}

/* --- what can be reached --- */

struct finder {
	struct pack *p;
	uint64_t *stack;
	size_t n;
	bool overflow; /* some were reached and found no place on the stack */
	bool lenient;  /* what is missing is passed over */
};

static int reach(struct finder *f, uint64_t oid, struct err *e)
{
	struct pack *p = f->p;
	bool is_new;
	int rc;

	if (oid_set_has(&p->reached, oid) || oid_set_has(&p->undone, oid))
		return OK;
	if (!current(p, oid)) {
		if (f->lenient || (oid == OID_ROOT && !p->n_objects))
			return OK;
		p->missing_oid = oid;
		return err_set(e, ERR_NOKEY, "a reference to object %016llx, which is not there",
			(ull)oid);
	}
	rc = oid_set_add(&p->reached, oid, &is_new, e);
	if (rc != OK)
		return rc;
	if (f->n < STACK_MAX)
		f->stack[f->n++] = oid;
	else
		f->overflow = true;
	return OK;
}

/* What the revision at @off refers to. */
static int follow(struct finder *f, uint64_t off, struct err *e)
{
	const uint64_t *oids;
	size_t n = 0;
	bool none;
	int rc = pack_read_back(f->p, off, &none, e);

	if (rc == OK && !none)
		rc = references_scan(f->p->references, buf_slice(&f->p->data), &oids, &n, e);
	if (rc != OK)
		return err_wrap(e, "record at %llu", (ull)off);
	for (size_t i = 0; rc == OK && i < n; i++)
		rc = reach(f, oids[i], e);
	return rc == OK ? f->p->tick(f->p, f->p->data.len, e) : rc;
}

static int follow_object(struct finder *f, uint64_t oid, struct err *e)
{
	oid_set_scanned(&f->p->reached, oid);
	return follow(f, current(f->p, oid), e);
}

static int follow_stack(struct finder *f, struct err *e)
{
	int rc = OK;

	while (rc == OK && f->n)
		rc = follow_object(f, f->stack[--f->n], e);
	return rc;
}

static int follow_all(struct finder *f, struct err *e)
{
	int rc = follow_stack(f, e);

	while (rc == OK && f->overflow) {
		size_t room = oid_set_room(&f->p->reached);
		size_t at = 0;
		uint64_t oid;

		f->overflow = false;
		while (rc == OK && oid_set_unscanned(&f->p->reached, &at, &oid)) {
			rc = follow_object(f, oid, e);
			if (rc == OK)
				rc = follow_stack(f, e);
			if (room != oid_set_room(&f->p->reached)) {
				room = oid_set_room(&f->p->reached);
				at = 0;
			}
		}
	}
	return rc;
}

/* --- what later transactions point back to --- */

enum { KEPT_STRICT = 1, KEPT_LENIENT = 2 }; /* values of kept until it is copied */

static int take_undone(
	struct pack *p, const struct fs_rec_header *h, uint64_t off, uint64_t back, struct err *e)
{
	bool known = oid_set_has(&p->reached, h->oid) || oid_set_has(&p->undone, h->oid);
	bool is_new;
	int rc = OK;

	(void)off;
	if (!back || back >= p->pack_pos)
		return OK;
	if (!known && p->gc)
		rc = oid_set_add(&p->undone, h->oid, &is_new, e);
	if (rc == OK && (known || !offset_map_get(&p->kept, back)))
		rc = offset_map_put(&p->kept, back, known ? KEPT_STRICT : KEPT_LENIENT, e);
	return rc;
}

static int scan_future(struct pack *p, struct scan *s, struct err *e)
{
	struct fs_txn_header h;
	int rc = OK;

	for (uint64_t pos = p->pack_pos; rc == OK && pos < p->end; pos += h.tlen + 8) {
		rc = pack_read_txn(p, s, pos, &h, e);
		if (rc == OK)
			rc = each_rec(p, s, pos, &h, take_undone, e);
	}
	return rc;
}

static int follow_kept(struct finder *f, uint64_t value, struct err *e)
{
	const struct offset_map *kept = &f->p->kept;
	int rc = OK;

	f->lenient = value == KEPT_LENIENT;
	for (size_t i = 0; rc == OK && i < kept->room; i++) {
		if (!kept->pairs[i].off || kept->pairs[i].value != value)
			continue;
		rc = follow(f, kept->pairs[i].off, e);
		if (rc == OK)
			rc = follow_all(f, e);
	}
	return rc;
}

static int collect(struct pack *p, struct scan *s, struct err *e)
{
	struct finder f = { .p = p };
	int rc;

	f.stack = mem_alloc(STACK_MAX * sizeof(*f.stack));
	if (!f.stack)
		return err_set(e, ERR_NOMEM, "no memory to look for references");
	rc = reach(&f, OID_ROOT, e);
	if (rc == OK)
		rc = follow_all(&f, e);
	if (rc == OK)
		rc = scan_future(p, s, e);
	if (rc == OK)
		rc = follow_kept(&f, KEPT_STRICT, e);
	if (rc == OK)
		rc = follow_kept(&f, KEPT_LENIENT, e);
	mem_free(f.stack);
	return rc;
}

int pack_find(struct pack *p, struct err *e)
{
	struct scan s = { 0 };
	int rc = scan_open(&s, p->from->disk, p->end, e);

	if (rc != OK)
		return rc;
	p->index = index_new();
	p->references = references_new();
	if (!p->index || !p->references)
		rc = err_set(e, ERR_NOMEM, "no memory for a pack");
	if (rc == OK)
		rc = build_index(p, &s, e);
	if (rc == OK && !p->redundant)
		rc = p->gc ? collect(p, &s, e) : scan_future(p, &s, e);
	scan_close(&s);
	return rc;
}

bool pack_keeps(const struct pack *p, const struct fs_rec_header *h, uint64_t off)
{
	if (offset_map_get(&p->kept, off))
		return true;
	if (current(p, h->oid) != off)
		return false;
	return !p->gc || oid_set_has(&p->reached, h->oid);
}

void pack_fini(struct pack *p)
{
	index_free(p->index);
	index_free(p->new_index);
	oid_set_free(&p->reached);
	oid_set_free(&p->undone);
	offset_map_free(&p->kept);
	offset_map_free(&p->copies);
	references_free(p->references);
	buf_free(&p->out);
	buf_free(&p->data);
	mem_free(p->oids);
	mem_free(p->offs);
}
