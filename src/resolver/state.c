#include "resolver/state.h"

#include "codec/enc.h"
#include "codec/pickle.h"
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

static bool join(const struct val *pair, struct arena *arena, struct slice *ret)
{
	struct slice module = pair->items[0].s;
	struct slice name = pair->items[1].s;
	uint8_t *p;

	if (pair->items[0].type != VAL_STR || pair->items[1].type != VAL_STR)
		return false;
	p = arena_alloc(arena, module.len + 1 + name.len);
	if (!p)
		return false;
	memcpy(p, module.data, module.len);
	p[module.len] = '\n';
	memcpy(p + module.len + 1, name.data, name.len);
	*ret = slice_of(p, module.len + 1 + name.len);
	return true;
}

bool state_class_name(const struct state *s, struct arena *arena, struct slice *ret)
{
	const struct val *class = &s->class;

	if (class->type == VAL_TUPLE) { /* (class, arguments) */
		const struct val *args;

		if (class->n < 2)
			return false;
		args = &class->items[1];
		if (!val_is_none(args) && (args->type != VAL_TUPLE || args->n))
			return false;
		class = class->items;
	}
	if (class->type == VAL_TUPLE && class->n == 2)
		return join(class, arena, ret);
	if (class->type != VAL_GLOBAL)
		return false;
	*ret = class->s;
	return true;
}

/* Many references name one class: it is written once and remembered. */
struct writer {
	struct enc en;
	struct slice globals[64];
	uint8_t n_globals;
};

static void put_global(struct writer *w, struct slice name)
{
	uint8_t op[2] = { 'h' };

	for (; op[1] < w->n_globals; op[1]++) {
		if (slice_eq(w->globals[op[1]], name)) {
			enc_raw(&w->en, slice_of(op, 2));
			return;
		}
	}
	enc_val(&w->en, &(struct val){ .type = VAL_GLOBAL, .s = name });
	if (w->n_globals < ARRAY_LEN(w->globals)) {
		op[0] = 'q';
		w->globals[w->n_globals++] = name;
		enc_raw(&w->en, slice_of(op, 2));
	}
}

static void put(struct writer *w, const struct val *v)
{
	switch (v->type) {
	case VAL_GLOBAL:
		put_global(w, v->s);
		return;
	case VAL_PERSID:
		put(w, &v->items[0]);
		enc_raw(&w->en, slice_str("Q"));
		return;
	case VAL_TUPLE:
		enc_tuple(&w->en, v->n);
		break;
	case VAL_LIST:
		enc_list(&w->en, v->n);
		break;
	case VAL_DICT:
		enc_dict(&w->en, v->n / 2);
		break;
	default:
		enc_val(&w->en, v);
		return;
	}
	for (uint32_t i = 0; i < v->n; i++)
		put(w, &v->items[i]);
	enc_end(&w->en);
}

void state_write(const struct val *class, const struct val *value, struct buf *out)
{
	struct writer w = { .n_globals = 0 };

	enc_begin(&w.en, out, ENC_PICKLE);
	put(&w, class);
	enc_finish(&w.en);
	enc_begin(&w.en, out, ENC_PICKLE);
	put(&w, value);
	enc_finish(&w.en);
}
