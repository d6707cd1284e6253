#include "resolver/reference.h"

#include "base/err.h"
#include "codec/persid.h"
#include "resolver/btrees_class.h"

static bool oid_equal(const struct val *a, const struct val *b)
{
	return slice_eq(a->s, b->s);
}

bool reference_ok(const struct val *v)
{
	struct persid r;

	return persid_parse(v, &r);
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
	struct persid x;
	struct persid y;
	bool same = false;

	if (!persid_parse(a, &x) || !persid_parse(b, &y))
		return false;
	if (x.weak || y.weak)
		return same_spelling(&a->items[0], &b->items[0], &same) == OK && same;
	if (!oid_equal(x.oid, y.oid) || !x.database != !y.database)
		return false;
	return !x.database || slice_eq(x.database->s, y.database->s);
}
