#include "storage/filestorage/recovery.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>

#include "base/bigendian.h"
#include "base/mem.h"
#include "base/os.h"
#include "codec/tid.h"
#include "storage/filestorage/format.h"
#include "storage/filestorage/scan.h"
#include "storage/txn.h"

enum {
	CHECK_RECORDS = 5, /* how many the index must know for sure: FileStorage's number */
	SECTOR = 512,      /* what a disk loses is a multiple of it */
	COPY_CHUNK = 1 << 20,
	LOST_MAX =
		64
		<< 20, /* no two batches of the log writer are larger, but for one large transaction */
};

typedef unsigned long long ull;

/* --- is it this file's index? --- */

static int not_ours(struct err *e, uint64_t pos, const char *what)
{
	return err_set(e, ERR_FORMAT, "the index is not of this file: at %llu %s", (ull)pos, what);
}

static int read_txn(struct scan *s, uint64_t pos, struct fs_txn_header *ret, struct err *e)
{
	const uint8_t *p;
	int rc = scan_get(s, pos, FS_TXN_HEADER_LEN, &p, e);

	if (rc == OK)
		fs_txn_header_get(p, ret);
	return rc;
}

static int read_num(struct scan *s, uint64_t pos, uint64_t *ret, struct err *e)
{
	const uint8_t *p;
	int rc = scan_get(s, pos, 8, &p, e);

	if (rc == OK)
		*ret = get_be64(p);
	return rc;
}

static int check_records(struct scan *s, const struct index *ix, uint64_t pos,
	const struct fs_txn_header *h, int *checked, struct err *e)
{
	uint64_t at = pos + fs_txn_header_size(h);
	uint64_t end = pos + h->tlen;

	while (at < end && *checked < CHECK_RECORDS) {
		struct fs_rec_header r;
		const uint8_t *p;
		uint64_t known;
		int rc = scan_get(s, at, FS_REC_HEADER_LEN, &p, e);
		if (rc != OK)
			return rc;
		fs_rec_header_get(p, &r);
		if (r.tloc != pos || r.plen > end - at || fs_rec_size(&r) > end - at)
			return not_ours(e, at, "is no record");
		known = index_get(ix, r.oid);
		if (known < at || known >= end) /* later in this transaction: stored twice */
			return not_ours(
				e, at, "is the newest record of an object it has elsewhere");
		++*checked;
		at += fs_rec_size(&r);
	}
	return OK;
}

/* One transaction back from *pos. */
static int check_txn_before(struct scan *s, uint64_t *pos, struct fs_txn_header *ret, struct err *e)
{
	uint64_t tlen;
	int rc = read_num(s, *pos - 8, &tlen, e);

	if (rc != OK)
		return rc;
	if (tlen > *pos - 8 - FS_FIRST_TXN)
		return not_ours(e, *pos - 8, "no transaction ends");
	*pos -= tlen + 8;
	rc = read_txn(s, *pos, ret, e);
	if (rc != OK)
		return rc;
	if (ret->tlen != tlen || (ret->status != 'u' && tlen < fs_txn_header_size(ret)))
		return not_ours(e, *pos, "the lengths of a transaction differ");
	if (ret->status != 'u' && ret->status != ' ' && ret->status != 'p')
		return not_ours(e, *pos, "is a transaction that is not finished");
	return OK;
}

static int check_index(
	struct scan *s, const struct index *ix, uint64_t pos, uint64_t *ret_tid, struct err *e)
{
	struct fs_txn_header h;
	uint64_t tid = TID_NONE;
	int checked = 0;
	int rc = OK;

	while (rc == OK && checked < CHECK_RECORDS && pos > FS_FIRST_TXN) {
		rc = check_txn_before(s, &pos, &h, e);
		if (rc == OK && tid == TID_NONE)
			tid = h.tid;
		if (rc == OK && h.status != 'u')
			rc = check_records(s, ix, pos, &h, &checked, e);
		if (checked)
			break; /* as FileStorage: the newest transaction that has records */
	}
	if (rc == OK)
		*ret_tid = tid;
	return rc;
}

int recovery_check_index(
	struct disk_file *f, const struct index *ix, uint64_t pos, uint64_t *ret_tid, struct err *e)
{
	struct scan s = { 0 };
	uint64_t size;
	int rc = f->ops->size(f, &size, e);

	if (rc != OK)
		return rc;
	if (pos < RECOVERY_INDEX_POS_MIN || pos > size)
		return err_set(e, ERR_FORMAT,
			"the index ends at %llu, that is not within the %llu bytes of the file",
			(ull)pos, (ull)size);
	rc = scan_open_back(&s, f, pos, e);
	if (rc == OK)
		rc = check_index(&s, ix, pos, ret_tid, e);
	scan_close(&s);
	return rc;
}

/* --- scanning --- */

struct pass {
	struct scan scan;
	struct index *ix;
	uint64_t pos; /* of the transaction at hand */
	uint64_t ltid;
	uint64_t *oids; /* records of the transaction at hand */
	uint64_t *offs;
	size_t n;
	size_t room;
	bool torn; /* what starts at pos is a tail */
	struct recovery *ret;
};

static int corrupt(const struct pass *p, uint64_t at, struct err *e, const char *what)
{
	return err_set(e, ERR_CORRUPT, "damaged at %llu, in the transaction at %llu: %s", (ull)at,
		(ull)p->pos, what);
}

static void torn(struct pass *p, const char *what)
{
	p->torn = true;
	snprintf(p->ret->why, sizeof(p->ret->why), "at %llu %s", (ull)p->pos, what);
}

/* Is there a whole transaction behind pos that ends exactly where the file ends? Sets *ret_start. */
static int last_txn(struct pass *p, bool *ret_found, uint64_t *ret_start, struct err *e)
{
	uint64_t size = p->scan.size;
	struct fs_txn_header h;
	uint64_t tlen;
	int rc = read_num(&p->scan, size - 8, &tlen, e);

	*ret_found = false;
	if (rc != OK || tlen < FS_TXN_HEADER_LEN || tlen > size - 8 - p->pos)
		return rc;
	*ret_start = size - 8 - tlen;
	rc = read_txn(&p->scan, *ret_start, &h, e);
	if (rc == OK)
		*ret_found =
			h.tlen == tlen &&
			fs_txn_header_size(&h) <=
				tlen && /* one with 'c' begins a batch: all before it had been synced */
			(h.status == ' ' || h.status == 'p' || h.status == 'u' ||
				h.status == 'c') &&
			h.tid > p->ltid;
	return rc;
}

/* A page that never reached the disk reads as zeros. Is the header at pos in such a page: is all of a sector
 * that it is in, from pos on, zeros? */
static int in_lost_page(struct pass *p, bool *ret, struct err *e)
{
	uint64_t first = p->pos - p->pos % SECTOR + SECTOR;
	uint64_t from[2] = { p->pos, first };
	uint64_t to[2] = { first, first + SECTOR };
	const uint8_t *b;

	*ret = false;
	for (int i = 0; !*ret && i < 2 && from[i] < p->pos + FS_TXN_HEADER_LEN; i++) {
		uint64_t end = to[i] < p->scan.size ? to[i] : p->scan.size;
		bool zeros = true;
		int rc = scan_get(&p->scan, from[i], end - from[i], &b, e);

		if (rc != OK)
			return rc;
		for (uint64_t k = 0; k < end - from[i]; k++)
			zeros = zeros && b[k] == 0;
		*ret = zeros;
	}
	return OK;
}

/* More than any batch is left: only one torn transaction that is itself so large is a tail. */
static int check_large_tail(struct pass *p, const char *what, struct err *e)
{
	struct fs_txn_header h;
	int rc = read_txn(&p->scan, p->pos, &h, e);

	if (rc != OK)
		return rc;
	if (h.tid > p->ltid && h.tlen >= fs_txn_header_size(&h) && h.tlen >= LOST_MAX &&
		h.tlen <= TXN_BYTES_MAX + (UINT64_C(1) << 30))
		return OK;
	return err_set(e, ERR_CORRUPT, "damaged at %llu: %s, %llu bytes before the end",
		(ull)p->pos, what, (ull)(p->scan.size - p->pos));
}

/* The transaction at pos makes no sense: a tail that a crash left, or damage? */
static int judge(struct pass *p, struct err *e, const char *what)
{
	uint64_t left = p->scan.size - p->pos;
	uint64_t start = 0;
	bool found = false;
	bool lost = false;
	int rc = last_txn(p, &found, &start, e);
	if (rc == OK && (left > LOST_MAX || (found && start > p->pos)))
		rc = in_lost_page(p, &lost, e);
	if (rc == OK && left > LOST_MAX && !found && !lost)
		rc = check_large_tail(p, what, e);
	if (rc != OK)
		return rc;
	if (found && start > p->pos && !(lost && left <= LOST_MAX)) {
		err_set(e, ERR_CORRUPT,
			"damaged at %llu: %s, although a whole transaction follows at %llu",
			(ull)p->pos, what, (ull)start);
		return ERR_CORRUPT;
	}
	torn(p, what);
	return OK;
}

static int grow(struct pass *p, struct err *e)
{
	size_t room = p->room ? p->room * 2 : 1024;
	uint64_t *oids = mem_realloc(p->oids, room * sizeof(*oids));
	uint64_t *offs;

	if (oids)
		p->oids = oids;
	offs = mem_realloc(p->offs, room * sizeof(*offs));
	if (offs)
		p->offs = offs;
	if (!oids || !offs)
		return err_set(e, ERR_NOMEM, "no memory to scan a transaction");
	p->room = room;
	return OK;
}

/* The record at @at; *ret_size is its length. */
static int scan_record(struct pass *p, uint64_t at, uint64_t end, uint64_t *ret_size, struct err *e)
{
	struct fs_rec_header r;
	const uint8_t *b;
	int rc = OK;

	if (end - at < FS_REC_HEADER_LEN)
		return corrupt(p, at, e, "the transaction ends within a record header");
	rc = scan_get(&p->scan, at, FS_REC_HEADER_LEN, &b, e);
	if (rc != OK)
		return rc;
	fs_rec_header_get(b, &r);
	if (r.tloc != p->pos)
		return corrupt(p, at, e, "a record that points to another transaction");
	if (r.vlen)
		return corrupt(
			p, at, e, "a record of a version, which no release supports any more");
	if (r.plen > end - at || fs_rec_size(&r) > end - at)
		return corrupt(p, at, e, "a record that is longer than its transaction");
	if (r.prev >= at)
		return corrupt(p, at, e, "a record whose predecessor would come after it");
	if (p->n == p->room)
		rc = grow(p, e);
	if (rc != OK)
		return rc;
	p->oids[p->n] = r.oid;
	p->offs[p->n++] = at;
	*ret_size = fs_rec_size(&r);
	return OK;
}

static int index_records(struct pass *p, struct err *e)
{
	if (index_prepare(p->ix, p->oids, p->n) != OK)
		return err_set(e, ERR_NOMEM, "no memory for the index");
	for (size_t i = 0; i < p->n; i++)
		index_set(p->ix, p->oids[i], p->offs[i]);
	return OK;
}

/* The header was found good: its records and the second length. */
static int scan_body(struct pass *p, const struct fs_txn_header *h, struct err *e)
{
	uint64_t at = p->pos + fs_txn_header_size(h);
	uint64_t end = p->pos + h->tlen;
	uint64_t tlen = 0;
	int rc = OK;

	p->n = 0;
	while (rc == OK && h->status != 'u' && at < end) {
		uint64_t size = 0;

		rc = scan_record(p, at, end, &size, e);
		at += size;
	}
	if (rc == OK)
		rc = read_num(&p->scan, end, &tlen, e);
	if (rc == OK && tlen != h->tlen)
		rc = corrupt(p, end, e, "the second length is not the first one");
	return rc == OK ? index_records(p, e) : rc;
}

/* One transaction. Leaves pos behind it, or sets torn. */
static int scan_txn(struct pass *p, struct err *e)
{
	uint64_t left = p->scan.size - p->pos;
	struct fs_txn_header h;
	int rc;

	if (left < FS_TXN_HEADER_LEN) {
		torn(p, "the file ends within a transaction header");
		return OK;
	}
	rc = read_txn(&p->scan, p->pos, &h, e);
	if (rc != OK)
		return rc;
	if (h.status == 'c') {
		torn(p, "is a transaction that was not finished");
		return OK;
	}
	if (h.tlen > left || h.tlen + 8 > left)
		return judge(p, e, "is a transaction that would end behind the file");
	if (h.status == 0 || h.tlen < fs_txn_header_size(&h))
		return judge(p, e, "is no transaction header");
	if (h.tid <= p->ltid)
		return corrupt(p, p->pos, e, "its tid is not larger than the one before");
	rc = scan_body(p, &h, e);
	if (rc == ERR_CORRUPT && h.tlen + 8 == left) {
		torn(p, "is a last transaction whose records make no sense");
		return OK;
	}
	if (rc != OK)
		return rc;
	p->ltid = h.tid;
	p->pos += h.tlen + 8;
	return OK;
}

static int scan_all(struct pass *p, struct err *e)
{
	int rc = OK;

	while (rc == OK && !p->torn && p->pos < p->scan.size)
		rc = scan_txn(p, e);
	return rc;
}

static int check_magic(struct disk_file *f, uint64_t size, uint64_t start, struct err *e)
{
	uint8_t magic[FS_MAGIC_LEN] = { 0 };
	size_t got = 0;
	int rc = f->ops->pread(f, magic, sizeof(magic), 0, true, &got, e);

	if (rc != OK)
		return rc;
	if (got < sizeof(magic) || !fs_magic_ok(magic))
		return err_set(e, ERR_FORMAT,
			"this is no FileStorage: its first bytes are '%.*s', FS30 or FS21 was "
			"expected",
			(int)got, (const char *)magic);
	if (size < start)
		return err_set(e, ERR_FORMAT,
			"the file has %llu bytes, at least %llu were expected", (ull)size,
			(ull)start);
	return OK;
}

int recovery_scan(struct disk_file *f, struct index *ix, uint64_t start, uint64_t ltid,
	struct recovery *ret, struct err *e)
{
	struct recovery r = { .end = start, .last_tid = ltid };
	struct pass p = { .ix = ix, .pos = start, .ltid = ltid, .ret = &r };
	int rc = f->ops->size(f, &r.size, e);

	if (rc != OK)
		return rc;
	if (r.size == 0) {
		r.empty = true;
		r.end = 0;
		*ret = r;
		return OK;
	}
	rc = check_magic(f, r.size, start, e);
	if (rc == OK)
		rc = scan_open(&p.scan, f, r.size, e);
	if (rc == OK)
		rc = scan_all(&p, e);
	scan_close(&p.scan);
	mem_free(p.oids);
	mem_free(p.offs);
	if (rc != OK)
		return rc;
	r.end = p.pos;
	r.last_tid = p.ltid;
	r.max_oid = index_max_oid(ix);
	*ret = r;
	return OK;
}

/* --- cutting --- */

/* The first PATH.trN that is not there yet. */
static int open_saved(const char *path, char *name, size_t room, int *ret_fd, struct err *e)
{
	int rc;

	for (int n = 0;; n++) {
		if (snprintf(name, room, "%s.tr%d", path, n) >= (int)room)
			return err_set(e, ERR_INVAL, "the name '%s' is too long", path);
		rc = os_open(name, O_WRONLY | O_CREAT | O_EXCL, ret_fd, e);
		if (rc != ERR_EXISTS)
			return rc;
	}
}

static int copy_tail(struct disk_file *f, const struct recovery *r, int fd, struct err *e)
{
	uint8_t *chunk = mem_alloc(COPY_CHUNK);
	uint64_t at = r->end;
	int rc = chunk ? OK : err_set(e, ERR_NOMEM, "no memory");

	while (rc == OK && at < r->size) {
		size_t want = r->size - at < COPY_CHUNK ? (size_t)(r->size - at) : COPY_CHUNK;
		size_t got = 0;

		rc = f->ops->pread(f, chunk, want, at, true, &got, e);
		if (rc == OK && got < want)
			rc = err_set(e, ERR_IO, "a read at %llu came back short", (ull)at);
		if (rc == OK)
			rc = os_pwrite(fd, chunk, got, at - r->end, e);
		at += got;
	}
	mem_free(chunk);
	return rc == OK ? os_fsync(fd, e) : rc;
}

int recovery_cut_tail(struct disk_file *f, const char *path, const struct recovery *r, char *name,
	size_t room, struct err *e)
{
	int fd = -1;
	int rc = open_saved(path, name, room, &fd, e);
	if (rc == OK) {
		rc = copy_tail(f, r, fd, e);
		if (rc == OK)
			rc = os_sync_dir_of(name, e);
		else if (os_unlink(name, NULL) != OK)
			name[0] = 0;
	}
	os_close(fd);
	if (rc != OK) {
		err_wrap(e, "cannot save the tail of '%s'", path);
		return rc;
	}
	rc = f->ops->ftruncate(f, r->end, e);
	return rc == OK ? f->ops->fdatasync(f, e) : rc;
}
