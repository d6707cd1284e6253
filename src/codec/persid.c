#include "codec/persid.h"

static bool is_oid(const struct val *v)
{
	for (size_t i = 0; v->type == VAL_STR && i < v->s.len; i++)
		if (v->s.data[i] >= 0x80)
			return false;
	return v->type == VAL_BYTES || v->type == VAL_STR;
}

static bool parse_list(const struct val *list, struct persid *ret)
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
	ret->class = args->n == 3 ? &args->items[2] : NULL;
	return is_oid(ret->oid);
}

bool persid_parse(const struct val *persid, struct persid *ret)
{
	const struct val *v = &persid->items[0];

	*ret = (struct persid){ .oid = v };
	if (is_oid(v))
		return true;
	if (v->type == VAL_LIST)
		return parse_list(v, ret) && (!ret->database || ret->database->type == VAL_STR);
	if (v->type != VAL_TUPLE || v->n != 2)
		return false;
	ret->oid = &v->items[0];
	ret->class = &v->items[1];
	return is_oid(ret->oid);
}
