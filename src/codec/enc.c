#include "codec/enc.h"

#include <string.h>

#include "base/bigendian.h"

/* Opcodes of pickle protocol 3. */
enum {
	OP_PROTO = 0x80,
	OP_STOP = '.',
	OP_MARK = '(',
	OP_NONE = 'N',
	OP_NEWTRUE = 0x88,
	OP_NEWFALSE = 0x89,
	OP_BININT = 'J',
	OP_BININT1 = 'K',
	OP_BININT2 = 'M',
	OP_LONG1 = 0x8a,
	OP_LONG4 = 0x8b,
	OP_BINFLOAT = 'G',
	OP_SHORT_BINBYTES = 'C',
	OP_BINBYTES = 'B',
	OP_BINUNICODE = 'X',
	OP_EMPTY_TUPLE = ')',
	OP_TUPLE = 't',
	OP_TUPLE1 = 0x85,
	OP_EMPTY_LIST = ']',
	OP_APPENDS = 'e',
	OP_EMPTY_DICT = '}',
	OP_SETITEMS = 'u',
	OP_GLOBAL = 'c',
	OP_REDUCE = 'R',
	OP_BUILD = 'b',
	OP_NEWOBJ = 0x81,
	OP_BINPERSID = 'Q',
};

static bool is_pickle(const struct enc *en)
{
	return en->encoding == ENC_PICKLE;
}

/* An opcode and its number. */
static void put_le(struct enc *en, uint8_t op, uint64_t v, int bytes)
{
	uint8_t b[9];

	b[0] = op;
	v = htole64(v);
	memcpy(b + 1, &v, sizeof(v));
	buf_put(en->out, b, (size_t)bytes + 1);
}

static void put_op(struct enc *en, uint8_t op)
{
	buf_put_u8(en->out, op);
}

static void fail(struct enc *en)
{
	en->out->failed = true;
}

void enc_begin(struct enc *en, struct buf *out, enum encoding encoding)
{
	en->out = out;
	en->encoding = encoding;
	en->depth = 0;
	if (encoding == ENC_PICKLE) {
		put_op(en, OP_PROTO);
		put_op(en, 3);
	}
}

void enc_finish(struct enc *en)
{
	if (en->depth)
		fail(en);
	if (is_pickle(en))
		put_op(en, OP_STOP);
}

void enc_raw(struct enc *en, struct slice encoded)
{
	buf_put_slice(en->out, encoded);
}

void enc_none(struct enc *en)
{
	put_op(en, is_pickle(en) ? OP_NONE : 0xc0);
}

void enc_bool(struct enc *en, bool v)
{
	if (is_pickle(en))
		put_op(en, v ? OP_NEWTRUE : OP_NEWFALSE);
	else
		put_op(en, v ? 0xc3 : 0xc2);
}

/* LONG1: the fewest little-endian bytes whose top bit is the sign. */
static void pickle_long(struct enc *en, int64_t v)
{
	int n = 8;

	while (n > 1) {
		int64_t rest = v >> (8 * (n - 1) - 1);

		if (rest != 0 && rest != -1)
			break;
		n--;
	}
	put_op(en, OP_LONG1);
	put_le(en, (uint8_t)n, (uint64_t)v, n);
}

static void pickle_int(struct enc *en, int64_t v)
{
	if (v >= 0 && v <= 0xff) {
		put_le(en, OP_BININT1, (uint64_t)v, 1);
	} else if (v >= 0 && v <= 0xffff) {
		put_le(en, OP_BININT2, (uint64_t)v, 2);
	} else if (v >= INT32_MIN && v <= INT32_MAX) {
		put_le(en, OP_BININT, (uint64_t)v, 4);
	} else {
		pickle_long(en, v);
	}
}

static void put_be(struct enc *en, uint8_t op, uint64_t v, int bytes)
{
	uint8_t b[9];

	b[0] = op;
	for (int i = 0; i < bytes; i++)
		b[1 + i] = (uint8_t)(v >> (8 * (bytes - 1 - i)));
	buf_put(en->out, b, (size_t)bytes + 1);
}

static void msgpack_int(struct enc *en, int64_t v)
{
	if (v >= -32 && v <= 127)
		put_op(en, (uint8_t)v);
	else if (v >= 0 && v <= 0xff)
		put_be(en, 0xcc, (uint64_t)v, 1);
	else if (v >= 0 && v <= 0xffff)
		put_be(en, 0xcd, (uint64_t)v, 2);
	else if (v >= 0 && v <= 0xffffffffLL)
		put_be(en, 0xce, (uint64_t)v, 4);
	else if (v >= 0)
		put_be(en, 0xcf, (uint64_t)v, 8);
	else if (v >= INT8_MIN)
		put_be(en, 0xd0, (uint64_t)v, 1);
	else if (v >= INT16_MIN)
		put_be(en, 0xd1, (uint64_t)v, 2);
	else if (v >= INT32_MIN)
		put_be(en, 0xd2, (uint64_t)v, 4);
	else
		put_be(en, 0xd3, (uint64_t)v, 8);
}

void enc_int(struct enc *en, int64_t v)
{
	if (is_pickle(en))
		pickle_int(en, v);
	else
		msgpack_int(en, v);
}

void enc_float(struct enc *en, double v)
{
	uint64_t bits;

	memcpy(&bits, &v, sizeof(bits));
	put_be(en, is_pickle(en) ? OP_BINFLOAT : 0xcb, bits, 8);
}

void enc_bytes_head(struct enc *en, uint32_t len)
{
	if (is_pickle(en) && len <= 0xff) {
		put_le(en, OP_SHORT_BINBYTES, len, 1);
	} else if (is_pickle(en)) {
		put_le(en, OP_BINBYTES, len, 4);
	} else if (len <= 0xff) {
		put_be(en, 0xc4, len, 1);
	} else if (len <= 0xffff) {
		put_be(en, 0xc5, len, 2);
	} else {
		put_be(en, 0xc6, len, 4);
	}
}

void enc_bytes(struct enc *en, struct slice s)
{
	if (s.len > UINT32_MAX) {
		fail(en);
		return;
	}
	enc_bytes_head(en, (uint32_t)s.len);
	buf_put_slice(en->out, s);
}

void enc_str(struct enc *en, struct slice utf8)
{
	if (utf8.len > UINT32_MAX) {
		fail(en);
		return;
	}
	if (is_pickle(en)) {
		put_le(en, OP_BINUNICODE, utf8.len, 4);
	} else if (utf8.len <= 31) {
		put_op(en, (uint8_t)(0xa0 | utf8.len));
	} else if (utf8.len <= 0xff) {
		put_be(en, 0xd9, utf8.len, 1);
	} else if (utf8.len <= 0xffff) {
		put_be(en, 0xda, utf8.len, 2);
	} else {
		put_be(en, 0xdb, utf8.len, 4);
	}
	buf_put_slice(en->out, utf8);
}

void enc_id(struct enc *en, uint64_t id)
{
	uint8_t b[8];

	put_be64(b, id);
	enc_bytes(en, slice_of(b, sizeof(b)));
}

static bool open_container(struct enc *en, uint8_t type, uint32_t n)
{
	if (en->depth == ENC_DEPTH_MAX) {
		fail(en);
		return false;
	}
	en->open[en->depth].type = type;
	en->open[en->depth].n = n;
	en->depth++;
	return true;
}

static void msgpack_array(struct enc *en, uint32_t n)
{
	if (n <= 15)
		put_op(en, (uint8_t)(0x90 | n));
	else if (n <= 0xffff)
		put_be(en, 0xdc, n, 2);
	else
		put_be(en, 0xdd, n, 4);
}

/* A pickled tuple of up to three needs no mark; a longer one is marked before its items. */
void enc_tuple(struct enc *en, uint32_t n)
{
	if (!open_container(en, VAL_TUPLE, n))
		return;
	if (!is_pickle(en))
		msgpack_array(en, n);
	else if (n > 3)
		put_op(en, OP_MARK);
}

void enc_list(struct enc *en, uint32_t n)
{
	if (!open_container(en, VAL_LIST, n))
		return;
	if (!is_pickle(en)) {
		msgpack_array(en, n);
		return;
	}
	put_op(en, OP_EMPTY_LIST);
	if (n)
		put_op(en, OP_MARK);
}

void enc_dict(struct enc *en, uint32_t n)
{
	if (!open_container(en, VAL_DICT, n))
		return;
	if (is_pickle(en)) {
		put_op(en, OP_EMPTY_DICT);
		if (n)
			put_op(en, OP_MARK);
	} else if (n <= 15) {
		put_op(en, (uint8_t)(0x80 | n));
	} else if (n <= 0xffff) {
		put_be(en, 0xde, n, 2);
	} else {
		put_be(en, 0xdf, n, 4);
	}
}

static void close_pickled(struct enc *en, uint8_t type, uint32_t n)
{
	if (type == VAL_TUPLE && n == 0)
		put_op(en, OP_EMPTY_TUPLE);
	else if (type == VAL_TUPLE && n <= 3)
		put_op(en, (uint8_t)(OP_TUPLE1 + n - 1));
	else if (type == VAL_TUPLE)
		put_op(en, OP_TUPLE);
	else if (n)
		put_op(en, type == VAL_LIST ? OP_APPENDS : OP_SETITEMS);
}

void enc_end(struct enc *en)
{
	if (en->depth == 0) {
		fail(en);
		return;
	}
	en->depth--;
	if (is_pickle(en))
		close_pickled(en, en->open[en->depth].type, en->open[en->depth].n);
}

static void enc_items(struct enc *en, const struct val *v)
{
	for (uint32_t i = 0; i < v->n; i++)
		enc_val(en, &v->items[i]);
}

static void enc_global(struct enc *en, struct slice module_name)
{
	put_op(en, OP_GLOBAL);
	buf_put_slice(en->out, module_name);
	put_op(en, '\n');
}

/* msgpack has unsigned numbers of 64 bits, and nothing above. */
static void msgpack_bigint(struct enc *en, struct slice s)
{
	uint64_t v = 0;

	if (s.len != 9 || s.data[8] != 0) {
		fail(en);
		return;
	}
	for (int i = 8; i-- > 0;)
		v = v << 8 | s.data[i];
	put_be(en, 0xcf, v, 8);
}

static void enc_bigint(struct enc *en, struct slice s)
{
	if (!is_pickle(en)) {
		msgpack_bigint(en, s);
		return;
	}
	if (s.len <= 0xff) {
		put_le(en, OP_LONG1, s.len, 1);
	} else {
		put_le(en, OP_LONG4, s.len, 4);
	}
	buf_put_slice(en->out, s);
}

/* callable, args[, state] */
static void enc_reduce(struct enc *en, const struct val *v)
{
	enc_val(en, &v->items[0]);
	enc_val(en, &v->items[1]);
	put_op(en, OP_REDUCE);
	if (v->n > 2 && buf_ok(en->out)) {
		enc_val(en, &v->items[2]);
		put_op(en, OP_BUILD);
	}
}

/* An opcode behind two values. */
static void enc_pair(struct enc *en, const struct val *v, uint8_t op)
{
	enc_val(en, &v->items[0]);
	enc_val(en, &v->items[1]);
	put_op(en, op);
}

/* An object, and what is appended or set in it. */
static void enc_filled(struct enc *en, const struct val *v)
{
	const struct val *more = &v->items[1];

	enc_val(en, &v->items[0]);
	if (more->n == 0)
		return;
	put_op(en, OP_MARK);
	enc_items(en, more);
	put_op(en, more->type == VAL_DICT ? OP_SETITEMS : OP_APPENDS);
}

static void enc_set(struct enc *en, const struct val *v)
{
	enc_global(en, slice_str("builtins\nset"));
	enc_list(en, v->n);
	if (!buf_ok(en->out))
		return;
	enc_items(en, v);
	enc_end(en);
	put_op(en, OP_TUPLE1);
	put_op(en, OP_REDUCE);
}

static void enc_rare(struct enc *en, const struct val *v)
{
	if (!is_pickle(en) && v->type != VAL_BIGINT) {
		fail(en);
		return;
	}
	switch (v->type) {
	case VAL_BIGINT:
		enc_bigint(en, v->s);
		return;
	case VAL_GLOBAL:
		enc_global(en, v->s);
		return;
	case VAL_SET:
		enc_set(en, v);
		return;
	case VAL_PERSID:
		enc_val(en, &v->items[0]);
		put_op(en, OP_BINPERSID);
		return;
	case VAL_NEWOBJ:
		enc_pair(en, v, OP_NEWOBJ);
		return;
	case VAL_BUILD:
		enc_pair(en, v, OP_BUILD);
		return;
	case VAL_FILLED:
		enc_filled(en, v);
		return;
	default:
		enc_reduce(en, v);
		return;
	}
}

void enc_val(struct enc *en, const struct val *v)
{
	switch (v->type) {
	case VAL_NONE:
		enc_none(en);
		return;
	case VAL_BOOL:
		enc_bool(en, v->b);
		return;
	case VAL_INT:
		enc_int(en, v->i);
		return;
	case VAL_FLOAT:
		enc_float(en, v->f);
		return;
	case VAL_BYTES:
		enc_bytes(en, v->s);
		return;
	case VAL_STR:
		enc_str(en, v->s);
		return;
	case VAL_TUPLE:
		enc_tuple(en, v->n);
		break;
	case VAL_LIST:
		enc_list(en, v->n);
		break;
	case VAL_DICT:
		enc_dict(en, v->n / 2);
		break;
	default:
		enc_rare(en, v);
		return;
	}
	if (buf_ok(en->out))
		enc_items(en, v);
	if (buf_ok(en->out))
		enc_end(en);
}
