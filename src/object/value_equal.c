#include "codec/number.h"
#include "object/tree.h"

static bool is_number(const struct value *v)
{
	return v->kind == VALUE_BOOL || v->kind == VALUE_INT || v->kind == VALUE_BIGINT ||
	       v->kind == VALUE_FLOAT;
}

struct val value_number(const struct value *v)
{
	if (v->kind == VALUE_FLOAT)
		return (struct val){ .type = VAL_FLOAT, .f = v->f };
	if (v->kind == VALUE_BIGINT)
		return (struct val){ .type = VAL_BIGINT, .s = value_as_slice(v) };
	return (struct val){ .type = VAL_INT, .i = value_as_int(v) };
}

static bool numbers_equal(const struct value *a, const struct value *b)
{
	struct val x = value_number(a);
	struct val y = value_number(b);

	return number_order(&x, &y) == 0;
}

static bool bytes_equal(const struct value *a, const struct value *b)
{
	return slice_eq(
		slice_of(a->bytes.data, a->bytes.len), slice_of(b->bytes.data, b->bytes.len));
}

/* The class is only a hint. */
static bool references_equal(const struct reference *a, const struct reference *b)
{
	if (a->oid != b->oid || a->weak != b->weak || !a->database != !b->database)
		return false;
	return !a->database || strcmp(a->database, b->database) == 0;
}

static bool items_equal(const struct value *a, const struct value *b)
{
	if (a->seq.n != b->seq.n)
		return false;
	for (size_t i = 0; i < a->seq.n; i++)
		if (!value_equal(a->seq.items[i], b->seq.items[i]))
			return false;
	return true;
}

static bool dicts_equal(const struct value *a, const struct value *b)
{
	struct value *key;
	struct value *v;
	size_t pos = 0;

	if (value_len(a) != value_len(b))
		return false;
	while (value_next(a, &pos, &key, &v)) {
		const struct value *other = value_get(b, key);

		if (!other || !value_equal(v, other))
			return false;
	}
	return true;
}

bool value_equal(const struct value *a, const struct value *b)
{
	if (is_number(a) && is_number(b))
		return numbers_equal(a, b);
	if (a->kind != b->kind)
		return false;
	switch (a->kind) {
	case VALUE_NONE:
		return true;
	case VALUE_REFERENCE:
		return references_equal(&a->ref.r, &b->ref.r);
	case VALUE_TUPLE:
	case VALUE_LIST:
		return items_equal(a, b);
	case VALUE_DICT:
		return dicts_equal(a, b);
	default:
		return bytes_equal(a, b);
	}
}
