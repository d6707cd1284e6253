#include "resolver/pyvalue.h"

#include <stdint.h>

#include "base/err.h"
#include "codec/number.h"
#include "resolver/reference.h"

bool pyvalue_is_int(const struct val *v)
{
	return number_is_int(v);
}

int pyvalue_int_order(const struct val *a, const struct val *b)
{
	return number_order(a, b);
}

static bool holds(int order, enum pyvalue_op op)
{
	return order == (op == PY_EQ ? 0 : op == PY_LT ? -1 : 1);
}

/* UTF-8 sorts as code points do. */
static int order_slices(struct slice a, struct slice b)
{
	size_t n = a.len < b.len ? a.len : b.len;
	int c = n ? memcmp(a.data, b.data, n) : 0;

	return c ? (c > 0) - (c < 0) : (a.len > b.len) - (a.len < b.len);
}

static int compare_sequences(
	const struct val *a, const struct val *b, enum pyvalue_op op, bool *ret)
{
	uint32_t n = a->n < b->n ? a->n : b->n;

	if (a->type == VAL_LIST && op == PY_EQ && a->n != b->n) {
		*ret = false; /* without a look at the items */
		return OK;
	}
	for (uint32_t i = 0; i < n; i++) {
		bool equal = false;
		int rc = pyvalue_compare(&a->items[i], &b->items[i], PY_EQ, &equal);

		if (rc)
			return rc;
		if (equal)
			continue;
		if (op != PY_EQ)
			return pyvalue_compare(&a->items[i], &b->items[i], op, ret);
		*ret = false;
		return OK;
	}
	*ret = holds((a->n > b->n) - (a->n < b->n), op);
	return OK;
}

/* Of dictionaries only the plain case is known here: alike, item by item. */
static int compare_dicts(const struct val *a, const struct val *b, enum pyvalue_op op, bool *ret)
{
	bool equal = a->n == b->n;

	if (op != PY_EQ)
		return ERR_CONFLICT;
	for (uint32_t i = 0; i < a->n && equal; i++)
		if (pyvalue_compare(&a->items[i], &b->items[i], PY_EQ, &equal) != OK)
			return ERR_UNSUPPORTED;
	if (!equal)
		return ERR_UNSUPPORTED;
	*ret = true;
	return OK;
}

static int compare_alike(const struct val *a, const struct val *b, enum pyvalue_op op, bool *ret)
{
	switch (a->type) {
	case VAL_NONE:
		*ret = true;
		return op == PY_EQ ? OK : ERR_CONFLICT;
	case VAL_BYTES:
	case VAL_STR:
		*ret = holds(order_slices(a->s, b->s), op);
		return OK;
	case VAL_TUPLE:
	case VAL_LIST:
		return compare_sequences(a, b, op, ret);
	case VAL_DICT:
		return compare_dicts(a, b, op, ret);
	default:
		return ERR_UNSUPPORTED;
	}
}

static bool is_known(const struct val *v)
{
	return number_is(v) || v->type == VAL_NONE || v->type == VAL_BYTES || v->type == VAL_STR ||
	       v->type == VAL_TUPLE || v->type == VAL_LIST || v->type == VAL_DICT ||
	       v->type == VAL_PERSID;
}

int pyvalue_compare(const struct val *a, const struct val *b, enum pyvalue_op op, bool *ret)
{
	if (!is_known(a) || !is_known(b))
		return ERR_UNSUPPORTED;
	if (number_is(a) && number_is(b)) {
		*ret = holds(number_order(a, b), op);
		return OK;
	}
	if (a->type == VAL_PERSID || b->type == VAL_PERSID) {
		if (a->type != b->type || !reference_equal(a, b))
			return ERR_CONFLICT; /* with anything else, too */
		*ret = op == PY_EQ;
		return OK;
	}
	if (a->type == b->type)
		return compare_alike(a, b, op, ret);
	*ret = false;
	return op == PY_EQ ? OK : ERR_CONFLICT;
}
