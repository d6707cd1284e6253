#include "storage/filestorage/index_file.h"

#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>

#include "base/bigendian.h"
#include "base/buf.h"
#include "base/mem.h"
#include "base/os.h"
#include "base/slice.h"

/* The file is a run of small pickles of three shapes: an int, a pair of strings, None. They are read here
 * and not by the general decoder: no tree of values is wanted for a million of objects. */

enum {
	PREFIX_LEN = 6,
	SUFFIX_LEN = 2,
	OFFSET_LEN = 6,
	ENTRY_LEN = SUFFIX_LEN + OFFSET_LEN,
	BUCKET_MAX = 65536,
	SAVE_CHUNK = 1 << 20,
};

#define OFFSET_MAX ((UINT64_C(1) << 48) - 1) /* 256 TiB: what the format can hold */

enum item_type {
	ITEM_NONE,
	ITEM_INT,
	ITEM_STRING,
	ITEM_MARK,
	ITEM_PAIR,
};

struct item {
	enum item_type type;
	uint64_t num;
	struct slice s; /* ITEM_STRING; of ITEM_PAIR the first */
	struct slice s2;
};

struct reader {
	const uint8_t *p;
	size_t len;
	size_t at;
	bool failed; /* sticky */
	struct item stack[4];
	uint32_t depth;
};

static const uint8_t *take(struct reader *r, size_t n)
{
	const uint8_t *p = r->p + r->at;

	if (r->failed || n > r->len - r->at) {
		r->failed = true;
		return NULL;
	}
	r->at += n;
	return p;
}

/* Little-endian. */
static uint64_t take_num(struct reader *r, uint32_t n)
{
	const uint8_t *p = take(r, n);
	uint64_t v = 0;

	for (uint32_t i = 0; p && i < n; i++)
		v |= (uint64_t)p[i] << (8 * i);
	return v;
}

static struct item *push(struct reader *r, enum item_type type)
{
	static const struct item none;
	struct item *it = &r->stack[r->depth < 3 ? r->depth : 3];

	if (r->depth == 4)
		r->failed = true;
	else
		r->depth++;
	*it = none;
	it->type = type;
	return it;
}

static void push_int(struct reader *r, uint64_t v)
{
	push(r, ITEM_INT)->num = v;
}

static void push_string(struct reader *r, uint64_t len)
{
	const uint8_t *p = take(r, len > r->len ? r->len + 1 : (size_t)len);

	push(r, ITEM_STRING)->s = slice_of(p, p ? (size_t)len : 0);
}

/* Decimal digits up to a newline, perhaps with Python 2's L at the end. */
static void push_decimal(struct reader *r)
{
	uint64_t v = 0;
	const uint8_t *c;

	while ((c = take(r, 1)) && *c >= '0' && *c <= '9' && v < OFFSET_MAX)
		v = v * 10 + (uint64_t)(*c - '0');
	if (c && *c == 'L')
		c = take(r, 1);
	if (!c || *c != '\n')
		r->failed = true;
	push_int(r, v);
}

static void push_long1(struct reader *r)
{
	uint64_t n = take_num(r, 1);

	if (n > 8)
		r->failed = true;
	else
		push_int(r, take_num(r, (uint32_t)n));
}

/* Two strings on top of the stack, above a mark when @with_mark, become a pair. */
static void make_pair(struct reader *r, bool with_mark)
{
	uint32_t n = with_mark ? 3 : 2;
	struct item *first;

	if (r->depth < n || (with_mark && r->stack[r->depth - 3].type != ITEM_MARK)) {
		r->failed = true;
		return;
	}
	first = &r->stack[r->depth - 2];
	if (first[0].type != ITEM_STRING || first[1].type != ITEM_STRING)
		r->failed = true;
	r->depth -= n;
	r->stack[r->depth] = (struct item){ ITEM_PAIR, 0, first[0].s, first[1].s };
	r->depth++;
}

static void skip_line(struct reader *r)
{
	const uint8_t *c;

	while ((c = take(r, 1)) && *c != '\n')
		;
}

/* One opcode; true after STOP. */
static bool step(struct reader *r)
{
	const uint8_t *op = take(r, 1);

	switch (op ? *op : 0) {
	case 0x80: /* PROTO */
	case 'q':  /* BINPUT */
		take(r, 1);
		break;
	case 'r': /* LONG_BINPUT */
		take(r, 4);
		break;
	case 'p': /* PUT */
		skip_line(r);
		break;
	case 'K': /* BININT1 */
		push_int(r, take_num(r, 1));
		break;
	case 'M': /* BININT2 */
		push_int(r, take_num(r, 2));
		break;
	case 'J': /* BININT; a negative one becomes too large */
		push_int(r, take_num(r, 4));
		break;
	case 0x8a: /* LONG1 */
		push_long1(r);
		break;
	case 'I': /* INT */
	case 'L': /* LONG */
		push_decimal(r);
		break;
	case 'C': /* SHORT_BINBYTES */
	case 'U': /* SHORT_BINSTRING */
		push_string(r, take_num(r, 1));
		break;
	case 'B': /* BINBYTES */
	case 'T': /* BINSTRING */
		push_string(r, take_num(r, 4));
		break;
	case '(': /* MARK */
		push(r, ITEM_MARK);
		break;
	case 't': /* TUPLE */
		make_pair(r, true);
		break;
	case 0x86: /* TUPLE2 */
		make_pair(r, false);
		break;
	case 'N': /* NONE */
		push(r, ITEM_NONE);
		break;
	case '.': /* STOP */
		return true;
	default:
		r->failed = true;
	}
	return r->failed;
}

static int next_pickle(struct reader *r, struct item *ret, struct err *e)
{
	size_t start = r->at;

	r->depth = 0;
	while (!step(r))
		;
	if (r->failed || r->depth != 1)
		return err_set(e, ERR_FORMAT,
			"the pickle at %zu fails at %zu: a position, a pair of strings or None was "
			"expected",
			start, r->at);
	*ret = r->stack[0];
	return OK;
}

static uint64_t get_offset(const uint8_t *p)
{
	return (uint64_t)get_be16(p) << 32 | get_be32(p + 2);
}

static void put_offset(uint8_t *p, uint64_t off)
{
	put_be16(p, (uint16_t)(off >> 32));
	put_be32(p + 2, (uint32_t)off);
}

static uint64_t get_prefix(const uint8_t *p)
{
	return ((uint64_t)get_be32(p) << 16 | get_be16(p + 4)) << 16;
}

/* A bucket: all suffixes, in order, then all offsets. */
static int read_bucket(struct index *ix, const struct item *it, uint64_t *oids, struct err *e)
{
	size_t n = it->s2.len / ENTRY_LEN;
	const uint8_t *offsets = it->s2.data + n * SUFFIX_LEN;
	uint64_t prefix;

	if (it->s.len != PREFIX_LEN || it->s2.len % ENTRY_LEN || n > BUCKET_MAX)
		return err_set(e, ERR_FORMAT,
			"a bucket has a prefix of %zu and a content of %zu bytes, %d and a "
			"multiple of "
			"%d were expected",
			it->s.len, it->s2.len, PREFIX_LEN, ENTRY_LEN);
	prefix = get_prefix(it->s.data);
	for (size_t i = 0; i < n; i++)
		oids[i] = prefix | get_be16(it->s2.data + i * SUFFIX_LEN);
	if (index_prepare(ix, oids, n) != OK)
		return err_set(e, ERR_NOMEM, "no memory for the index");
	for (size_t i = 0; i < n; i++) {
		uint64_t off = get_offset(offsets + i * OFFSET_LEN);

		if (off == 0)
			return err_set(e, ERR_FORMAT, "an object is said to be at offset 0");
		index_set(ix, oids[i], off);
	}
	return OK;
}

static int read_all(struct slice in, struct index *ix, uint64_t *ret_pos, struct err *e)
{
	uint64_t *oids = mem_alloc(BUCKET_MAX * sizeof(*oids));
	struct reader r = { .p = in.data, .len = in.len };
	struct item it;
	uint64_t pos;
	int rc = oids ? OK : err_set(e, ERR_NOMEM, "no memory for the index");

	if (rc == OK)
		rc = next_pickle(&r, &it, e);
	if (rc == OK && it.type != ITEM_INT)
		rc = err_set(e, ERR_FORMAT, "does not start with a position");
	if (rc != OK)
		goto out;
	pos = it.num;
	while ((rc = next_pickle(&r, &it, e)) == OK && it.type == ITEM_PAIR) {
		rc = read_bucket(ix, &it, oids, e);
		if (rc != OK)
			goto out;
	}
	if (rc == OK && it.type != ITEM_NONE)
		rc = err_set(
			e, ERR_FORMAT, "the pickle that ends at %zu is no pair and not None", r.at);
	if (rc == OK)
		*ret_pos = pos;
out:
	mem_free(oids);
	return rc;
}

static int read_file(const char *path, struct buf *ret, struct err *e)
{
	uint64_t size = 0;
	size_t got = 0;
	uint8_t *p;
	int fd = -1;
	int rc = os_open(path, O_RDONLY, &fd, e);

	if (rc == OK)
		rc = os_size(fd, &size, e);
	if (rc != OK)
		goto out;
	p = buf_reserve(ret, size + 1);
	if (!p) {
		rc = err_set(e, ERR_NOMEM, "no memory for %llu bytes", (unsigned long long)size);
		goto out;
	}
	rc = os_pread(fd, p, size, 0, &got, e);
	if (rc == OK)
		buf_advance(ret, got);
out:
	os_close(fd);
	return rc;
}

int index_file_load(const char *path, struct index **ret, uint64_t *ret_pos, struct err *e)
{
	struct buf content = BUF_INIT(0);
	struct index *ix = NULL;
	int rc = read_file(path, &content, e);

	if (rc != OK)
		goto out;
	ix = index_new();
	rc = ix ? read_all(buf_slice(&content), ix, ret_pos, e)
		: err_set(e, ERR_NOMEM, "no memory for the index");
	if (rc != OK) {
		err_wrap(e, "index '%s'", path);
		goto out;
	}
	*ret = ix;
	ix = NULL;
out:
	index_free(ix);
	buf_free(&content);
	return rc;
}

/* --- writing --- */

struct writer {
	int fd;
	uint64_t written;
	struct buf out;
	uint64_t prefix; /* of the bucket being filled */
	struct buf suffixes;
	struct buf offsets;
};

static void put_le32(struct buf *b, uint32_t v)
{
	uint8_t p[4] = { (uint8_t)v, (uint8_t)(v >> 8), (uint8_t)(v >> 16), (uint8_t)(v >> 24) };

	buf_put(b, p, sizeof(p));
}

static void put_start(struct buf *b)
{
	buf_put(b, "\x80\x03", 2);
}

/* The shortest form, as Python writes it. */
static void put_int(struct buf *b, uint64_t v)
{
	uint8_t n = 0;

	if (v < 256) {
		buf_put_u8(b, 'K');
		buf_put_u8(b, (uint8_t)v);
	} else if (v < 65536) {
		buf_put_u8(b, 'M');
		buf_put_u8(b, (uint8_t)v);
		buf_put_u8(b, (uint8_t)(v >> 8));
	} else if (v <= INT32_MAX) {
		buf_put_u8(b, 'J');
		put_le32(b, (uint32_t)v);
	} else {
		while (n < 8 && v >> (8 * n))
			n++;
		if (v >> (8 * n - 1)) /* the sign bit must be clear */
			n++;
		buf_put_u8(b, 0x8a);
		buf_put_u8(b, n);
		for (uint8_t i = 0; i < n; i++)
			buf_put_u8(b, i < 8 ? (uint8_t)(v >> (8 * i)) : 0);
	}
}

static void put_string_head(struct buf *b, size_t len)
{
	if (len < 256) {
		buf_put_u8(b, 'C');
		buf_put_u8(b, (uint8_t)len);
	} else {
		buf_put_u8(b, 'B');
		put_le32(b, (uint32_t)len);
	}
}

static int flush(struct writer *w, struct err *e)
{
	int rc;

	if (!buf_ok(&w->out) || !buf_ok(&w->suffixes) || !buf_ok(&w->offsets))
		return err_set(e, ERR_NOMEM, "no memory to write the index");
	rc = os_pwrite(w->fd, w->out.data, w->out.len, w->written, e);
	if (rc != OK)
		return rc;
	w->written += w->out.len;
	buf_reset(&w->out);
	return OK;
}

static int put_bucket(struct writer *w, struct err *e)
{
	struct buf *b = &w->out;
	uint8_t prefix[8];

	if (w->suffixes.len == 0)
		return OK;
	put_be64(prefix, w->prefix);
	put_start(b);
	put_string_head(b, PREFIX_LEN);
	buf_put(b, prefix, PREFIX_LEN);
	put_string_head(b, w->suffixes.len + w->offsets.len);
	buf_put_slice(b, buf_slice(&w->suffixes));
	buf_put_slice(b, buf_slice(&w->offsets));
	buf_put(b, "\x86.", 2);
	buf_reset(&w->suffixes);
	buf_reset(&w->offsets);
	return w->out.len >= SAVE_CHUNK ? flush(w, e) : OK;
}

static int put_entry(struct writer *w, uint64_t oid, uint64_t off, struct err *e)
{
	uint64_t prefix = oid & ~UINT64_C(0xffff);
	uint8_t offset[OFFSET_LEN];
	int rc = OK;

	if (off > OFFSET_MAX)
		return err_set(e, ERR_LIMIT, "offset %llu is beyond what an index file can hold",
			(unsigned long long)off);
	if (prefix != w->prefix)
		rc = put_bucket(w, e);
	w->prefix = prefix;
	put_offset(offset, off);
	buf_put_be16(&w->suffixes, (uint16_t)oid);
	buf_put(&w->offsets, offset, sizeof(offset));
	return rc;
}

static int write_all(struct writer *w, const struct index *ix, uint64_t pos, struct err *e)
{
	struct index_iter *it = index_iter_open(ix);
	uint64_t oid, off;
	int rc = it ? OK : err_set(e, ERR_NOMEM, "no memory to write the index");

	put_start(&w->out);
	put_int(&w->out, pos);
	buf_put_u8(&w->out, '.');
	while (rc == OK && index_iter_next(it, &oid, &off))
		rc = put_entry(w, oid, off, e);
	index_iter_close(it);
	if (rc == OK)
		rc = put_bucket(w, e);
	put_start(&w->out);
	buf_put_str(&w->out, "N.");
	if (rc == OK)
		rc = flush(w, e);
	return rc == OK ? os_fdatasync(w->fd, e) : rc;
}

int index_file_save(const char *path, const struct index *ix, uint64_t pos, struct err *e)
{
	struct writer w = { .fd = -1 };
	char tmp[PATH_MAX];
	int rc;

	if (snprintf(tmp, sizeof(tmp), "%s.index_tmp", path) >= (int)sizeof(tmp))
		return err_set(e, ERR_INVAL, "the name '%s' is too long", path);
	rc = os_open(tmp, O_WRONLY | O_CREAT | O_TRUNC, &w.fd, e);
	if (rc == OK)
		rc = write_all(&w, ix, pos, e);
	os_close(w.fd);
	if (rc == OK)
		rc = os_rename(tmp, path, e);
	if (rc != OK && w.fd >= 0 && os_unlink(tmp, NULL) != OK)
		err_wrap(e, "'%s' is left behind", tmp);
	if (rc != OK)
		err_wrap(e, "cannot save index '%s'", path);
	buf_free(&w.out);
	buf_free(&w.suffixes);
	buf_free(&w.offsets);
	return rc;
}
