/* What is checked in a whole value: it stands for no more than the limit allows (pm_adopt), so that
 * walking it is bounded, too. */
#include "codec/pickle_machine.h"

/* A list as a key, say: Python could not read it back. bytearray and set are not told apart from
 * bytes and frozenset here; a set is written as a set, so it is no key. */
static bool hashable(const struct val *v)
{
	if (v->type == VAL_LIST || v->type == VAL_DICT || v->type == VAL_SET)
		return false;
	for (uint32_t i = 0; v->type == VAL_TUPLE && i < v->n; i++)
		if (!hashable(&v->items[i]))
			return false;
	return true;
}

static void check_keys(struct pickle_machine *m, const struct val *v)
{
	uint32_t step = v->type == VAL_DICT ? 2 : 1;

	for (uint32_t i = 0; i < v->n; i += step)
		if (!hashable(&v->items[i]))
			pm_fail(m, ERR_FORMAT, "a %s that is not hashable",
				v->type == VAL_DICT ? "key" : "member of a set");
}

/* The only object of messages: the items say of what class it is. */
static bool is_prefix(const struct val *v)
{
	return v->items[0].type == VAL_GLOBAL && slice_is(v->items[0].s, "ZopeUndo.Prefix\nPrefix");
}

void pm_check_value(struct pickle_machine *m, const struct val *v)
{
	bool keep = m->flags & PICKLE_KEEP_GLOBALS;
	uint32_t first = 0;

	if (v->type == VAL_GLOBAL && !keep)
		pm_fail(m, ERR_FORMAT, "a global where a value was expected");
	if (v->type < VAL_TUPLE || v->type == VAL_GLOBAL)
		return;
	if (v->type == VAL_REDUCE && !keep) {
		if (!is_prefix(v))
			pm_fail(m, ERR_FORMAT, "an object that is not allowed in a message");
		first = 1;
	}
	for (uint32_t i = first; i < v->n && m->rc == OK; i++)
		pm_check_value(m, &v->items[i]);
	if (m->rc == OK && (v->type == VAL_DICT || v->type == VAL_SET))
		check_keys(m, v);
}
