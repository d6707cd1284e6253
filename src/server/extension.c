#include "server/extension.h"

#include <string.h>

#include "base/mem.h"
#include "codec/enc.h"

enum {
	BATCH = 1000, /* items added at once */
	ONE_CHAR = 0x100,
};

/* What Python has only one object of: it is written once. */
struct memo {
	uint32_t next;
	uint32_t strs[ONE_CHAR +
		      1]; /* 1 + memo index of the str of that one character, the last of '' */
	uint32_t bytes[ONE_CHAR + 1];
};

struct pickler {
	struct buf *out;
	struct memo memo;
	unsigned depth;
};

static void put(struct pickler *p, const struct val *v);

/* --- the memo --- */

static void put_index(struct pickler *p, uint8_t short_op, uint8_t long_op, uint32_t i)
{
	uint8_t le[] = { (uint8_t)i, (uint8_t)(i >> 8), (uint8_t)(i >> 16), (uint8_t)(i >> 24) };

	buf_put_u8(p->out, i < 256 ? short_op : long_op);
	buf_put(p->out, le, i < 256 ? 1 : 4);
}

static void memoize(struct pickler *p)
{
	put_index(p, 'q', 'r', p->memo.next++);
}

/* The place of a string that is the only one of its kind, or NULL. */
static uint32_t *only_one(struct pickler *p, const struct val *v)
{
	uint32_t *all = v->type == VAL_STR ? p->memo.strs : p->memo.bytes;
	const uint8_t *c = v->s.data;

	if (v->s.len == 0)
		return &all[ONE_CHAR];
	if (v->s.len == 1)
		return &all[c[0]];
	if (v->type == VAL_STR && v->s.len == 2 && (c[0] == 0xc2 || c[0] == 0xc3))
		return &all[(c[0] & 3) << 6 | (c[1] & 0x3f)];
	return NULL;
}

static void put_string(struct pickler *p, const struct val *v)
{
	struct enc en = { .out = p->out, .encoding = ENC_PICKLE };
	uint32_t *place = only_one(p, v);

	if (place && *place) {
		put_index(p, 'h', 'j', *place - 1);
		return;
	}
	enc_val(&en, v);
	memoize(p);
	if (place)
		*place = p->memo.next;
}

/* --- containers --- */

/* Items, @width values each: a single one is added with @one, several, in batches, with @many. */
static void put_items(
	struct pickler *p, const struct val *v, uint32_t width, uint8_t one, uint8_t many)
{
	bool single = v->n == width;
	uint32_t i = 0;

	while (i < v->n && buf_ok(p->out)) {
		uint32_t end = v->n - i > BATCH * width ? i + BATCH * width : v->n;

		if (!single)
			buf_put_u8(p->out, '(');
		for (; i < end; i++)
			put(p, &v->items[i]);
		buf_put_u8(p->out, single ? one : many);
	}
}

static void put_tuple(struct pickler *p, const struct val *v)
{
	if (v->n == 0) {
		buf_put_u8(p->out, ')');
		return;
	}
	if (v->n > 3)
		buf_put_u8(p->out, '(');
	for (uint32_t i = 0; i < v->n; i++)
		put(p, &v->items[i]);
	buf_put_u8(p->out, v->n > 3 ? 't' : (uint8_t)(0x84 + v->n));
	memoize(p);
}

static void put(struct pickler *p, const struct val *v)
{
	struct enc en = { .out = p->out, .encoding = ENC_PICKLE };

	if (++p->depth > ENC_DEPTH_MAX)
		p->out->failed = true;
	if (!buf_ok(p->out))
		return;
	switch (v->type) {
	case VAL_STR:
	case VAL_BYTES:
		put_string(p, v);
		break;
	case VAL_LIST:
		buf_put_u8(p->out, ']');
		memoize(p);
		put_items(p, v, 1, 'a', 'e');
		break;
	case VAL_DICT:
		buf_put_u8(p->out, '}');
		memoize(p);
		put_items(p, v, 2, 's', 'u');
		break;
	case VAL_TUPLE:
		put_tuple(p, v);
		break;
	default:
		enc_val(&en, v); /* numbers have no memo; what else there is is rare */
		break;
	}
	p->depth--;
}

void extension_pickle(const struct val *dict, struct buf *out)
{
	struct pickler *p = mem_zalloc(1, sizeof(*p));

	if (!p) {
		out->failed = true;
		return;
	}
	p->out = out;
	buf_put(out, "\x80\x03", 2);
	put(p, dict);
	buf_put_u8(out, '.');
	mem_free(p);
}
