#include "resolver/state.h"

#include "codec/pickle.h"
#include "codec/record.h"
#include "resolver/reference.h"

static const struct pickle_limits limits = { .depth = 48, .memo = 1 << 20, .items = 1 << 22 };

static bool references_ok(const struct val *v)
{
	if (v->type == VAL_PERSID)
		return reference_ok(v);
	if (v->type == VAL_GLOBAL) /* a class as a value: its comparison is its own */
		return false;
	if (v->type < VAL_TUPLE)
		return true;
	for (uint32_t i = 0; i < v->n; i++)
		if (!references_ok(&v->items[i]))
			return false;
	return true;
}

int state_read(struct slice record, struct arena *arena, struct state *ret, struct err *e)
{
	struct state s;
	size_t n = 0;
	int rc = pickle_decode_record(record, PICKLE_KEEP_GLOBALS | PICKLE_EXACT, &limits, arena,
		&s.class, &s.value, &n, e);

	if (rc) { /* also what this decoder takes for damage: Python has the last word */
		if (e)
			e->code = ERR_UNSUPPORTED;
		return ERR_UNSUPPORTED;
	}
	if (!references_ok(&s.value))
		return err_set(e, ERR_UNSUPPORTED, "a class or an odd reference in the state");
	*ret = s;
	return OK;
}

bool state_class_name(const struct state *s, struct arena *arena, struct slice *ret)
{
	const struct val *args;

	return record_class(&s->class, arena, ret, &args) && !args;
}
