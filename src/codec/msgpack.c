#include "codec/msgpack.h"

#include <mpack.h>
#include <string.h>

#include "codec/utf8.h"

/* A container being filled. */
struct level {
	struct val *v;
	uint32_t done;
};

enum { DEPTH_MAX = 64 };

struct reader {
	const char *p;
	size_t left;
	mpack_tokbuf_t tokens;
	const struct pickle_limits *limits;
	struct arena *arena;
	struct err *e;
	const char *start;
	uint32_t n_items;
	struct level levels[DEPTH_MAX];
	uint32_t depth;
};

static int fail(struct reader *r, int code, const char *what)
{
	return err_set(r->e, code, "msgpack: %s, at byte %zu", what, (size_t)(r->p - r->start));
}

static int next_token(struct reader *r, mpack_token_t *t)
{
	int rc = MPACK_EOF;

	if (r->left) /* mpack_read() takes for granted that there is a byte */
		rc = mpack_read(&r->tokens, &r->p, &r->left, t);
	if (rc == MPACK_OK)
		return OK;
	return fail(r, ERR_FORMAT,
		rc == MPACK_EOF ? "it ends too early" : "a byte that starts nothing");
}

/* The bytes of a string come as chunks that follow its token; here they are all at hand. */
static int take_bytes(struct reader *r, uint32_t n, struct slice *ret)
{
	uint32_t got = 0;

	*ret = slice_of(r->p, n);
	if (n > r->left)
		return fail(r, ERR_FORMAT, "it ends too early");
	while (got < n) {
		mpack_token_t t;
		int rc = next_token(r, &t);

		if (rc != OK)
			return rc;
		got += t.length;
	}
	return OK;
}

static int open_container(struct reader *r, struct val *v, enum val_type type, uint32_t n)
{
	size_t least = n; /* bytes that so many values take */

	if (r->depth >= r->limits->depth || r->depth == DEPTH_MAX)
		return fail(r, ERR_LIMIT, "nested too deep");
	if (least > r->left)
		return fail(r, ERR_FORMAT, "more values announced than bytes are left");
	v->type = type;
	v->n = n;
	v->items = n ? arena_alloc(r->arena, n * sizeof(*v->items)) : NULL;
	if (n && !v->items)
		return fail(r, ERR_LIMIT, "more memory would be needed than one message may take");
	if (n)
		r->levels[r->depth++] = (struct level){ v, 0 };
	return OK;
}

static int read_uint(struct reader *r, struct val *v, mpack_uintmax_t u)
{
	uint8_t *le;

	if (u <= INT64_MAX) {
		v->type = VAL_INT;
		v->i = (int64_t)u;
		return OK;
	}
	le = arena_alloc(r->arena, 9);
	if (!le)
		return fail(r, ERR_LIMIT, "no memory");
	for (int i = 0; i < 8; i++)
		le[i] = (uint8_t)(u >> (8 * i));
	le[8] = 0;
	v->type = VAL_BIGINT;
	v->s = slice_of(le, 9);
	return OK;
}

static int read_string(struct reader *r, struct val *v, enum val_type type, uint32_t n)
{
	int rc;

	v->type = type;
	rc = take_bytes(r, n, &v->s);
	if (rc == OK && type == VAL_STR && !utf8_ok(v->s, false))
		return fail(r, ERR_FORMAT, "a string that is not UTF-8");
	return rc;
}

static int read_value(struct reader *r, struct val *v)
{
	mpack_token_t t;
	int rc = next_token(r, &t);

	if (rc != OK)
		return rc;
	if (++r->n_items > r->limits->items)
		return fail(r, ERR_LIMIT, "too many values");
	*v = (struct val){ .type = VAL_NONE };
	switch (t.type) {
	case MPACK_TOKEN_NIL:
		return OK;
	case MPACK_TOKEN_BOOLEAN:
		v->type = VAL_BOOL;
		v->b = mpack_unpack_boolean(t);
		return OK;
	case MPACK_TOKEN_UINT:
		return read_uint(r, v, mpack_unpack_uint(t));
	case MPACK_TOKEN_SINT:
		v->type = VAL_INT;
		v->i = mpack_unpack_sint(t);
		return OK;
	case MPACK_TOKEN_FLOAT:
		v->type = VAL_FLOAT;
		v->f = mpack_unpack_float(t);
		return OK;
	case MPACK_TOKEN_BIN:
		return read_string(r, v, VAL_BYTES, t.length);
	case MPACK_TOKEN_STR:
		return read_string(r, v, VAL_STR, t.length);
	case MPACK_TOKEN_ARRAY:
		return open_container(r, v, VAL_TUPLE, t.length);
	case MPACK_TOKEN_MAP:
		if (t.length > UINT32_MAX / 2)
			return fail(r, ERR_LIMIT, "too many values");
		return open_container(r, v, VAL_DICT, t.length * 2);
	default:
		return fail(r, ERR_FORMAT, "an extension type");
	}
}

/* Keys are str or bytes: Python's unpackb (strict_map_key) takes no others. */
static int read_item(struct reader *r, struct level *l)
{
	struct val *v = &l->v->items[l->done];
	bool key = l->v->type == VAL_DICT && l->done % 2 == 0;
	int rc = read_value(r, v);

	l->done++;
	if (rc == OK && key && v->type != VAL_STR && v->type != VAL_BYTES)
		return fail(r, ERR_FORMAT, "a key that is neither str nor bytes");
	return rc;
}

int msgpack_decode(struct slice in, const struct pickle_limits *limits, struct arena *arena,
	struct val *ret, struct err *e)
{
	struct reader r; /* field by field: the levels need no clearing */
	struct val v;
	int rc;

	r.p = r.start = (const char *)in.data;
	r.left = in.len;
	r.limits = limits;
	r.arena = arena;
	r.e = e;
	r.n_items = r.depth = 0;
	mpack_tokbuf_init(&r.tokens);
	rc = read_value(&r, &v);
	while (rc == OK && r.depth) {
		struct level *l = &r.levels[r.depth - 1];

		if (l->done == l->v->n)
			r.depth--;
		else
			rc = read_item(&r, l);
	}
	if (rc == OK && r.left)
		rc = fail(&r, ERR_FORMAT, "bytes after its end");
	if (rc == OK)
		*ret = v;
	return rc;
}
