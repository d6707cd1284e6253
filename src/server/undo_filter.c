#include "server/undo_filter.h"

#include <string.h>

#include "base/bigendian.h"
#include "base/compiler.h"
#include "codec/pickle.h"
#include "codec/tid.h"

/* --- descriptions --- */

enum {
	OWN_KEYS = 5,
	UNDO_ID_LEN = 12, /* a tid in base64 */
};

/* As base64.encodebytes(tid).rstrip() */
static bool make_id(uint64_t tid, struct arena *arena, struct val *ret)
{
	static const char digits[] =
		"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
	uint8_t *p = arena_alloc(arena, UNDO_ID_LEN);

	if (!p)
		return false;
	for (int i = 0; i < 10; i++)
		p[i] = (uint8_t)digits[tid >> (58 - 6 * i) & 0x3f];
	p[10] = (uint8_t)digits[tid << 2 & 0x3f];
	p[11] = '=';
	*ret = (struct val){ .type = VAL_BYTES, .s = slice_of(p, UNDO_ID_LEN) };
	return true;
}

static struct val key(const char *s)
{
	return (struct val){ .type = VAL_STR, .s = slice_str(s) };
}

static struct val bytes(struct slice s)
{
	return (struct val){ .type = VAL_BYTES, .s = s };
}

/* msgpack has no sets and no keys but strings, which an extension may have. */
static bool can_be_written(enum encoding encoding, const struct val *pair)
{
	struct buf b = BUF_INIT(0);
	struct enc en;
	bool ok;

	enc_begin(&en, &b, encoding);
	enc_val(&en, &pair[0]);
	enc_val(&en, &pair[1]);
	enc_finish(&en);
	ok = buf_ok(&b) &&
	     (encoding == ENC_PICKLE || pair[0].type == VAL_STR || pair[0].type == VAL_BYTES);
	buf_free(&b);
	return ok;
}

/* In place of the key's value, or behind all others. */
static void set(struct val *dict, const struct val *pair)
{
	for (uint32_t i = 0; i < 2 * OWN_KEYS; i += 2) {
		if (val_equal(&dict->items[i], &pair[0])) {
			dict->items[i + 1] = pair[1];
			return;
		}
	}
	dict->items[dict->n++] = pair[0];
	dict->items[dict->n++] = pair[1];
}

static void decode_ext(struct slice ext, struct arena *arena, struct val *ret)
{
	struct err e = ERR_INIT;

	if (ext.len == 0 ||
		pickle_decode(ext, 0, &pickle_limits_message, arena, ret, NULL, &e) != OK ||
		ret->type != VAL_DICT)
		*ret = (struct val){ .type = VAL_DICT };
}

bool undo_describe(
	const struct txn_info *t, enum encoding encoding, struct arena *arena, struct val *ret)
{
	struct val dict = { .type = VAL_DICT, .n = 2 * OWN_KEYS };
	struct val ext;
	struct val id;

	decode_ext(t->ext, arena, &ext);
	dict.items = arena_alloc(arena, (dict.n + ext.n) * sizeof(struct val));
	if (!dict.items || !make_id(t->tid, arena, &id))
		return false;
	dict.items[0] = key("id");
	dict.items[1] = id;
	dict.items[2] = key("time");
	dict.items[3] = (struct val){ .type = VAL_FLOAT, .f = tid_to_time(t->tid) };
	dict.items[4] = key("user_name");
	dict.items[5] = bytes(t->user);
	dict.items[6] = key("size");
	dict.items[7] = (struct val){ .type = VAL_INT, .i = (int64_t)t->size_bytes };
	dict.items[8] = key("description");
	dict.items[9] = bytes(t->desc);
	for (uint32_t i = 0; i + 1 < ext.n; i += 2)
		if (can_be_written(encoding, &ext.items[i]))
			set(&dict, &ext.items[i]);
	*ret = dict;
	return true;
}

/* --- specifications --- */

/* The path that a ZopeUndo.Prefix.Prefix holds as a list of its steps, or NULL. */
static const struct val *prefix_path(const struct val *v)
{
	const struct val *path;

	if (v->type != VAL_REDUCE || v->n < 3 || v->items[0].type != VAL_GLOBAL ||
		!slice_is(v->items[0].s, "ZopeUndo.Prefix\nPrefix"))
		return NULL;
	path = val_get(&v->items[2], "path");
	return path && (path->type == VAL_LIST || path->type == VAL_TUPLE) ? path : NULL;
}

/* What follows a space in a path's last step is not part of it: Zope writes a user's name there. */
static struct slice without_name(struct slice s)
{
	for (size_t i = s.len; i-- > 0 && s.data[i] != '/';)
		if (s.data[i] == ' ')
			return slice_of(s.data, i);
	return s;
}

/* Are the first steps of @text those of the prefix? */
static bool has_prefix(struct slice text, const struct val *path)
{
	struct slice rest = without_name(text);
	bool ended = false;

	for (uint32_t i = 0; i < path->n; i++) {
		const uint8_t *slash = rest.len ? memchr(rest.data, '/', rest.len) : NULL;
		size_t n = slash ? (size_t)(slash - rest.data) : rest.len;

		if (ended || path->items[i].type != VAL_STR ||
			!slice_eq(path->items[i].s, slice_of(rest.data, n)))
			return false;
		ended = !slash;
		if (slash)
			rest = slice_of(slash + 1, rest.len - n - 1);
	}
	return true;
}

static bool is_number(const struct val *v)
{
	return v->type == VAL_INT || v->type == VAL_BOOL || v->type == VAL_FLOAT;
}

static double number(const struct val *v)
{
	return v->type == VAL_FLOAT ? v->f : v->type == VAL_BOOL ? v->b : (double)v->i;
}

static bool equals(const struct val *found, const struct val *wanted)
{
	const struct val *path = prefix_path(wanted);

	if (path)
		return (found->type == VAL_STR || found->type == VAL_BYTES) &&
		       has_prefix(found->s, path);
	if (is_number(found) && is_number(wanted) &&
		(found->type == VAL_FLOAT || wanted->type == VAL_FLOAT))
		return number(found) == number(wanted);
	return val_equal(found, wanted);
}

/* What a dictionary has not is None, as for dict.get(). */
static const struct val *get(const struct val *dict, const struct val *k)
{
	static const struct val none = { .type = VAL_NONE };

	for (uint32_t i = dict->n; i >= 2; i -= 2)
		if (val_equal(&dict->items[i - 2], k))
			return &dict->items[i - 1];
	return &none;
}

bool undo_matches(const struct val *desc, const struct val *spec)
{
	for (uint32_t i = 0; i + 1 < spec->n; i += 2)
		if (!equals(get(desc, &spec->items[i]), &spec->items[i + 1]))
			return false;
	return true;
}
