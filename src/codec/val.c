#include "codec/val.h"

static bool is_number(const struct val *v)
{
	return v->type == VAL_INT || v->type == VAL_BOOL;
}

static int64_t number(const struct val *v)
{
	return v->type == VAL_BOOL ? v->b : v->i;
}

static bool items_equal(const struct val *a, const struct val *b)
{
	if (a->n != b->n)
		return false;
	for (uint32_t i = 0; i < a->n; i++)
		if (!val_equal(&a->items[i], &b->items[i]))
			return false;
	return true;
}

bool val_equal(const struct val *a, const struct val *b)
{
	if (is_number(a) && is_number(b))
		return number(a) == number(b);
	if (a->type != b->type)
		return false;
	switch (a->type) {
	case VAL_NONE:
		return true;
	case VAL_FLOAT:
		return a->f == b->f;
	case VAL_BIGINT:
	case VAL_BYTES:
	case VAL_STR:
	case VAL_GLOBAL:
		return slice_eq(a->s, b->s);
	default:
		return items_equal(a, b);
	}
}

const struct val *val_get(const struct val *dict, const char *key)
{
	if (dict->type != VAL_DICT)
		return NULL;
	for (uint32_t i = dict->n; i >= 2; i -= 2) { /* of equal keys the last one counts */
		const struct val *k = &dict->items[i - 2];

		if ((k->type == VAL_STR || k->type == VAL_BYTES) && slice_is(k->s, key))
			return &dict->items[i - 1];
	}
	return NULL;
}
