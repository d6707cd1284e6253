#include "resolver/pyvalue.h"

#include <math.h>
#include <stdint.h>

#include "base/err.h"
#include "resolver/reference.h"

enum { UNORDERED = 2 }; /* beside -1, 0 and 1: one of them is not a number */

bool pyvalue_is_int(const struct val *v)
{
	return v->type == VAL_INT || v->type == VAL_BOOL || v->type == VAL_BIGINT;
}

static bool is_number(const struct val *v)
{
	return pyvalue_is_int(v) || v->type == VAL_FLOAT;
}

static int64_t small_int(const struct val *v)
{
	return v->type == VAL_BOOL ? v->b : v->i;
}

static int sign_of_bigint(const struct val *v)
{
	return v->s.data[v->s.len - 1] >= 0x80 ? -1 : 1;
}

static int order_i64(int64_t a, int64_t b)
{
	return (a > b) - (a < b);
}

/* Of one sign; without bytes that repeat the sign, as the decoder makes them. */
static int order_bigints(struct slice a, struct slice b, int sign)
{
	if (a.len != b.len)
		return a.len > b.len ? sign : -sign;
	for (size_t i = a.len; i-- > 0;)
		if (a.data[i] != b.data[i])
			return a.data[i] > b.data[i] ? 1 : -1;
	return 0;
}

int pyvalue_int_order(const struct val *a, const struct val *b)
{
	bool big_a = a->type == VAL_BIGINT;
	bool big_b = b->type == VAL_BIGINT;

	if (big_a && big_b && sign_of_bigint(a) == sign_of_bigint(b))
		return order_bigints(a->s, b->s, sign_of_bigint(a));
	if (big_a)
		return sign_of_bigint(a);
	if (big_b)
		return -sign_of_bigint(b);
	return order_i64(small_int(a), small_int(b));
}

static int order_doubles(double a, double b)
{
	if (isnan(a) || isnan(b))
		return UNORDERED;
	return (a > b) - (a < b);
}

/* Exact: a large int is not rounded to be compared. */
static int order_int_double(int64_t i, double f)
{
	int64_t whole;

	if (isnan(f))
		return UNORDERED;
	if (f >= 0x1p63)
		return -1;
	if (f < -0x1p63)
		return 1;
	whole = (int64_t)f;
	return i != whole ? order_i64(i, whole) : order_doubles((double)whole, f);
}

static int number_order(const struct val *a, const struct val *b, int *ret)
{
	if (a->type == VAL_FLOAT && b->type == VAL_FLOAT) {
		*ret = order_doubles(a->f, b->f);
	} else if (a->type == VAL_BIGINT && b->type == VAL_FLOAT) {
		return ERR_UNSUPPORTED;
	} else if (a->type == VAL_FLOAT && b->type == VAL_BIGINT) {
		return ERR_UNSUPPORTED;
	} else if (a->type == VAL_FLOAT) {
		*ret = order_int_double(small_int(b), a->f);
		if (*ret != UNORDERED)
			*ret = -*ret;
	} else if (b->type == VAL_FLOAT) {
		*ret = order_int_double(small_int(a), b->f);
	} else {
		*ret = pyvalue_int_order(a, b);
	}
	return OK;
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
	return is_number(v) || v->type == VAL_NONE || v->type == VAL_BYTES || v->type == VAL_STR ||
	       v->type == VAL_TUPLE || v->type == VAL_LIST || v->type == VAL_DICT ||
	       v->type == VAL_PERSID;
}

int pyvalue_compare(const struct val *a, const struct val *b, enum pyvalue_op op, bool *ret)
{
	if (!is_known(a) || !is_known(b))
		return ERR_UNSUPPORTED;
	if (is_number(a) && is_number(b)) {
		int order = UNORDERED;
		int rc = number_order(a, b, &order);

		*ret = holds(order, op);
		return rc;
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
