#include "resolver/reference.h"

#include "base/err.h"
#include "resolver/btrees_class.h"

struct reference {
	const struct val *oid;
	const struct val *database; /* NULL: the same one */
	bool weak;
};

/* Python 2 wrote oids as str: those of ASCII only can be read, as text. */
static bool is_oid(const struct val *v)
{
	for (size_t i = 0; v->type == VAL_STR && i < v->s.len; i++)
		if (v->s.data[i] >= 0x80)
			return false;
	return v->type == VAL_BYTES || v->type == VAL_STR;
}

static bool oid_equal(const struct val *a, const struct val *b)
{
	return slice_eq(a->s, b->s);
}

static bool parse_list(const struct val *list, struct reference *ret)
{
	const struct val *args = list->n == 2 ? &list->items[1] : NULL;
	struct slice kind;

	if (list->n == 1) { /* the oldest form of a weak reference */
		ret->oid = &list->items[0];
		ret->weak = true;
		return is_oid(ret->oid);
	}
	if (!args || list->items[0].type != VAL_STR || args->type != VAL_TUPLE || args->n == 0)
		return false;
	kind = list->items[0].s;
	ret->weak = slice_is(kind, "w");
	if (ret->weak) {
		ret->oid = &args->items[0];
		ret->database = args->n > 1 ? &args->items[1] : NULL;
		return args->n <= 2 && is_oid(ret->oid);
	}
	if (!(slice_is(kind, "m") && args->n == 3) && !(slice_is(kind, "n") && args->n == 2))
		return false;
	ret->database = &args->items[0];
	ret->oid = &args->items[1];
	return is_oid(ret->oid);
}

static bool parse(const struct val *persid, struct reference *ret)
{
	const struct val *v = &persid->items[0];

	*ret = (struct reference){ .oid = v };
	if (is_oid(v))
		return true;
	if (v->type == VAL_LIST)
		return parse_list(v, ret) && (!ret->database || ret->database->type == VAL_STR);
	if (v->type != VAL_TUPLE || v->n != 2)
		return false;
	ret->oid = &v->items[0];
	return is_oid(ret->oid);
}

bool reference_ok(const struct val *v)
{
	struct reference r;

	return parse(v, &r);
}

/* Equality of what spells a reference. */
static int same_spelling(const struct val *a, const struct val *b, bool *ret)
{
	*ret = false;
	if (a->type != b->type)
		return OK;
	switch (a->type) {
	case VAL_NONE:
		*ret = true;
		return OK;
	case VAL_BYTES:
	case VAL_STR:
		*ret = slice_eq(a->s, b->s);
		return OK;
	case VAL_GLOBAL:
		*ret = btrees_same_class(a->s, b->s);
		/* any module may give a class of another one a second name */
		return *ret ? OK : ERR_UNSUPPORTED;
	case VAL_TUPLE:
	case VAL_LIST:
		if (a->n != b->n)
			return OK;
		*ret = true;
		for (uint32_t i = 0; i < a->n && *ret; i++) {
			int rc = same_spelling(&a->items[i], &b->items[i], ret);

			if (rc)
				return rc;
		}
		return OK;
	default:
		return ERR_UNSUPPORTED;
	}
}

int reference_same(const struct val *a, const struct val *b, bool *ret)
{
	return same_spelling(&a->items[0], &b->items[0], ret);
}

bool reference_equal(const struct val *a, const struct val *b)
{
	struct reference x;
	struct reference y;
	bool same = false;

	if (!parse(a, &x) || !parse(b, &y))
		return false;
	if (x.weak || y.weak)
		return same_spelling(&a->items[0], &b->items[0], &same) == OK && same;
	if (!oid_equal(x.oid, y.oid) || !x.database != !y.database)
		return false;
	return !x.database || slice_eq(x.database->s, y.database->s);
}
