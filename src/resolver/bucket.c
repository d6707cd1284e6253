#include "resolver/bucket.h"

#include "resolver/pyvalue.h"

static int conflict(struct err *e, const char *what)
{
	return err_set(e, ERR_CONFLICT, "BTrees conflict: %s", what);
}

static int unsure(struct err *e, const char *what)
{
	return err_set(e, ERR_UNSUPPORTED, "%s", what);
}

static int order_failed(int rc, struct err *e)
{
	if (rc == ERR_CONFLICT)
		return conflict(e, "keys or values that cannot be compared");
	return rc ? unsure(e, "keys or values whose comparison only Python knows") : OK;
}

static int convert_int(
	const struct val *from, int64_t min, int64_t max, struct val *ret, struct err *e)
{
	struct val v = *from;

	if (v.type == VAL_BOOL)
		v = (struct val){ .type = VAL_INT, .i = from->b };
	if (v.type != VAL_INT || v.i < min || v.i > max)
		return conflict(e, "not an integer of the class's range");
	*ret = v;
	return OK;
}

static int convert_uint64(const struct val *from, struct val *ret, struct err *e)
{
	/* 9 bytes with a zero on top: the upper half of the range */
	if (from->type == VAL_BIGINT && from->s.len == 9 && from->s.data[8] == 0) {
		*ret = *from;
		return OK;
	}
	return convert_int(from, 0, INT64_MAX, ret, e);
}

static int convert_bytes(const struct val *from, size_t n, struct val *ret, struct err *e)
{
	if (from->type != VAL_BYTES || from->s.len != n)
		return conflict(e, "not bytes of the class's length");
	*ret = *from;
	return OK;
}

/* Python's classes keep the double. */
static int convert_float(const struct val *from, struct val *ret, struct err *e)
{
	double f = from->f;

	if (from->type == VAL_BIGINT)
		return unsure(e, "a large integer as a float");
	if (pyvalue_is_int(from))
		f = (double)(from->type == VAL_BOOL ? from->b : from->i);
	else if (from->type != VAL_FLOAT)
		return conflict(e, "not a number");
	*ret = (struct val){ .type = VAL_FLOAT, .f = f };
	return OK;
}

int bucket_convert(enum btrees_type type, const struct val *from, struct val *ret, struct err *e)
{
	switch (type) {
	case BTREES_INT32:
		return convert_int(from, INT32_MIN, INT32_MAX, ret, e);
	case BTREES_UINT32:
		return convert_int(from, 0, UINT32_MAX, ret, e);
	case BTREES_INT64:
		return convert_int(from, INT64_MIN, INT64_MAX, ret, e);
	case BTREES_UINT64:
		return convert_uint64(from, ret, e);
	case BTREES_FLOAT:
		return convert_float(from, ret, e);
	case BTREES_BYTES2:
		return convert_bytes(from, 2, ret, e);
	case BTREES_BYTES6:
		return convert_bytes(from, 6, ret, e);
	default:
		*ret = *from;
		return OK;
	}
}

/* The classes in C hold a float of 32 bits, made from a float or an int. */
static int read_float(const struct val *from, struct val *ret, struct err *e)
{
	float f;

	if (from->type == VAL_FLOAT)
		f = (float)from->f;
	else if (from->type == VAL_INT || from->type == VAL_BOOL)
		f = (float)(from->type == VAL_BOOL ? from->b : from->i);
	else
		return conflict(e, "not a number");
	*ret = (struct val){ .type = VAL_FLOAT, .f = (double)f };
	return OK;
}

/* The classes in Python take what is there as it is. */
static int read_item(const struct btrees_class *class, bool is_value, const struct val *from,
	struct val *ret, struct err *e)
{
	enum btrees_type type = is_value ? class->value : class->key;

	if (class->python) {
		*ret = *from;
		return OK;
	}
	if (type == BTREES_FLOAT)
		return read_float(from, ret, e);
	return bucket_convert(type, from, ret, e);
}

static bool holds_reference(const struct val *v)
{
	if (v->type == VAL_PERSID)
		return true;
	for (uint32_t i = 0; v->type >= VAL_TUPLE && i < v->n; i++)
		if (holds_reference(&v->items[i]))
			return true;
	return false;
}

/* A class in Python looks its keys up when it merges: unless they are sorted it finds what no plain
 * merge does, and a reference cannot be looked up beside None. */
static int check_sorted(const struct btrees_class *class, const struct bucket *b, struct err *e)
{
	uint32_t step = bucket_has_values(class) ? 2 : 1;

	for (uint32_t i = 0; i < b->n; i++)
		if (holds_reference(&b->items[i * step]))
			return unsure(e, "keys that hold references");
	for (uint32_t i = 1; i < b->n; i++) {
		int order = 0;
		int rc = bucket_key_order(
			class, &b->items[(i - 1) * step], &b->items[i * step], &order, e);

		if (rc || order >= 0)
			return unsure(e, "keys that are not sorted");
	}
	return OK;
}

int bucket_read(const struct btrees_class *class, const struct val *state, struct arena *arena,
	struct bucket *ret, struct err *e)
{
	struct bucket b = { .n = 0 };
	bool values = bucket_has_values(class);
	uint32_t n;

	*ret = b;
	if (val_is_none(state))
		return OK;
	if (state->type != VAL_TUPLE || state->n < 1 || state->n > 2 ||
		state->items[0].type != VAL_TUPLE)
		return class->python ? unsure(e, "an odd state")
				     : conflict(e, "not the state of a bucket");
	n = state->items[0].n;
	if (values && class->python && n % 2)
		return conflict(e, "a key without a value");
	b.n = values ? n / 2 : n;
	n = values ? n / 2 * 2 : n;
	b.items = arena_alloc(arena, (n + 1) * sizeof(*b.items));
	if (!b.items)
		return err_set(e, ERR_NOMEM, "no memory");
	for (uint32_t i = 0; i < n; i++) {
		int rc = read_item(
			class, values && i % 2, &state->items[0].items[i], &b.items[i], e);

		if (rc)
			return rc;
	}
	if (state->n == 2)
		b.next = &state->items[1];
	if (b.next && class->python && val_is_none(b.next))
		b.next = NULL;
	*ret = b;
	return class->python ? check_sorted(class, &b, e) : OK;
}

static int order_objects(bool python, const struct val *a, const struct val *b, int *ret)
{
	bool yes = false;
	int rc;

	if (val_is_none(a) || val_is_none(b)) { /* first of all */
		*ret = val_is_none(b) - val_is_none(a);
		return OK;
	}
	rc = pyvalue_compare(a, b, PY_LT, &yes);
	if (rc)
		return rc;
	if (yes) {
		*ret = -1;
		return OK;
	}
	/* what is neither less nor equal counts as greater in C, what is neither less nor greater
	 * as equal in Python */
	rc = pyvalue_compare(a, b, python ? PY_GT : PY_EQ, &yes);
	if (rc == OK)
		*ret = yes == python;
	return rc;
}

int bucket_key_order(const struct btrees_class *class, const struct val *a, const struct val *b,
	int *ret, struct err *e)
{
	if (class->key == BTREES_OBJECT || class->python)
		return order_failed(order_objects(class->python, a, b, ret), e);
	if (class->key == BTREES_BYTES2) {
		int c = memcmp(a->s.data, b->s.data, 2);

		*ret = (c > 0) - (c < 0);
	} else {
		*ret = pyvalue_int_order(a, b);
	}
	return OK;
}

int bucket_value_same(const struct btrees_class *class, const struct val *a, const struct val *b,
	bool *ret, struct err *e)
{
	int order = 0;
	int rc = OK;

	if (class->python) {
		rc = pyvalue_compare(a, b, PY_EQ, ret);
	} else if (class->value == BTREES_OBJECT) {
		rc = order_objects(false, a, b, &order);
		*ret = order == 0;
	} else if (class->value == BTREES_FLOAT) {
		*ret = !(a->f < b->f) && !(a->f > b->f); /* NaN is the same as all */
	} else if (class->value == BTREES_BYTES6) {
		*ret = slice_eq(a->s, b->s);
	} else {
		*ret = pyvalue_int_order(a, b) == 0;
	}
	return order_failed(rc, e);
}
