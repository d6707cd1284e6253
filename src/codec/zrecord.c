#include "codec/zrecord.h"

#include <limits.h>
#include <zlib.h>

#include "base/mem.h"

enum {
	PREFIX_LEN = 2,
	DEFLATE_MIN = 20,    /* zc.zlibstorage leaves records up to here as they are */
	CHUNK_MIN = 4 << 10, /* room made at once; zlib counts in unsigned int */
	CHUNK_MAX = 1 << 20,
};

static void *z_alloc(void *ctx, unsigned n, unsigned size)
{
	return mem_alloc((size_t)n * size);
}

static void z_free(void *ctx, void *p)
{
	mem_free(p);
}

/* zlib takes pieces of what an unsigned int can count. */
static void feed(z_stream *z, const uint8_t **p, size_t *left)
{
	if (z->avail_in || *left == 0)
		return;
	z->avail_in = *left < UINT_MAX ? (unsigned)*left : UINT_MAX;
	z->next_in = (uint8_t *)(uintptr_t)*p;
	*p += z->avail_in;
	*left -= z->avail_in;
}

static size_t clamp(uint64_t n, size_t low, size_t high)
{
	return n < low ? low : n > high ? high : (size_t)n;
}

/* Room for the next piece, as much as there is already; nothing when there is @max. */
static int make_room(z_stream *z, struct buf *ret, uint64_t have, uint64_t max, struct err *e)
{
	size_t n = clamp(have, CHUNK_MIN, CHUNK_MAX);

	if (n > max - have)
		n = (size_t)(max - have);
	z->next_out = buf_reserve(ret, n);
	if (!z->next_out)
		return err_set(e, ERR_NOMEM, "no memory to decompress a record");
	z->avail_out = (unsigned)n;
	return OK;
}

static int inflate_rc(int zrc, const z_stream *z, struct err *e)
{
	if (zrc == Z_MEM_ERROR)
		return err_set(e, ERR_NOMEM, "no memory to decompress a record");
	return err_set(e, ERR_FORMAT, "a compressed record is damaged: %s",
		zrc == Z_BUF_ERROR || zrc == Z_OK ? "it ends too early"
		: z->msg                          ? z->msg
						  : "it is no zlib stream");
}

static int run_inflate(z_stream *z, struct slice in, struct buf *ret, struct err *e)
{
	uint64_t max = ret->max ? ret->max - ret->len : ZRECORD_MAX;
	const uint8_t *p = in.data;
	size_t left = in.len;
	size_t start = ret->len;
	uint8_t beyond; /* a stream of exactly max bytes has yet to say that it ends */
	int zrc = Z_OK;

	while (zrc == Z_OK) {
		uint64_t have = ret->len - start;
		int rc = OK;

		if (have < max) {
			rc = make_room(z, ret, have, max, e);
		} else {
			z->next_out = &beyond;
			z->avail_out = 1;
		}
		if (rc != OK)
			return rc;
		feed(z, &p, &left);
		zrc = inflate(z, Z_NO_FLUSH);
		if (have < max)
			buf_advance(ret, (size_t)(z->next_out - (ret->data + ret->len)));
		else if (z->next_out != &beyond)
			return err_set(e, ERR_LIMIT, "a compressed record of more than %llu bytes",
				(unsigned long long)max);
	}
	return zrc == Z_STREAM_END ? OK : inflate_rc(zrc, z, e);
}

int zrecord_inflate(struct slice record, struct buf *ret, struct err *e)
{
	z_stream z = { .zalloc = z_alloc, .zfree = z_free };
	int rc;

	if (inflateInit(&z) != Z_OK)
		return err_set(e, ERR_NOMEM, "no memory to decompress a record");
	rc = run_inflate(&z, slice_of(record.data + PREFIX_LEN, record.len - PREFIX_LEN), ret, e);
	inflateEnd(&z);
	return rc;
}

/* Length of the stream, 0 when it is longer than @room. */
static size_t run_deflate(z_stream *z, struct slice record, uint8_t *out, size_t room)
{
	const uint8_t *p = record.data;
	size_t left = record.len;
	size_t room_left = room;
	int zrc = Z_OK;

	while (zrc == Z_OK && (z->avail_out || room_left)) {
		feed(z, &p, &left);
		if (!z->avail_out) {
			z->avail_out = (unsigned)clamp(room_left, 0, UINT_MAX);
			z->next_out = out + (room - room_left);
			room_left -= z->avail_out;
		}
		zrc = deflate(z, left ? Z_NO_FLUSH : Z_FINISH);
	}
	return zrc == Z_STREAM_END ? room - room_left - z->avail_out : 0;
}

int zrecord_deflate(struct slice record, struct buf *ret, struct err *e)
{
	z_stream z = { .zalloc = z_alloc, .zfree = z_free };
	size_t len;
	uint8_t *out;

	if (record.len <= DEFLATE_MIN || zrecord_is(record)) {
		buf_put_slice(ret, record);
		return buf_ok(ret) ? OK : err_set(e, ERR_NOMEM, "no memory for a record");
	}
	out = buf_reserve(ret, record.len);
	if (!out || deflateInit(&z, Z_DEFAULT_COMPRESSION) != Z_OK)
		return err_set(e, ERR_NOMEM, "no memory to compress a record");
	/* with the prefix it has to be shorter: one byte less than the record */
	len = run_deflate(&z, record, out + PREFIX_LEN, record.len - PREFIX_LEN - 1);
	deflateEnd(&z);
	if (!len) {
		buf_put_slice(ret, record);
		return OK;
	}
	out[0] = '.';
	out[1] = 'z';
	buf_advance(ret, PREFIX_LEN + len);
	return OK;
}
