#include "codec/record.h"

#include <string.h>

#include "base/compiler.h"

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

bool record_class(const struct val *class, struct arena *arena, struct slice *ret,
	const struct val **ret_args)
{
	const struct val *args = NULL;

	if (class->type == VAL_TUPLE) { /* (class, arguments) */
		if (class->n < 2)
			return false;
		args = &class->items[1];
		class = class->items;
	}
	if (args && (val_is_none(args) || (args->type == VAL_TUPLE && args->n == 0)))
		args = NULL;
	*ret_args = args;
	if (class->type == VAL_TUPLE && class->n == 2)
		return join(class, arena, ret);
	if (class->type != VAL_GLOBAL)
		return false;
	*ret = class->s;
	return true;
}

void record_begin(struct record_writer *w, struct buf *out)
{
	w->n_globals = 0;
	w->old = false;
	w->head = out->len;
	enc_begin(&w->en, out, ENC_PICKLE);
}

void record_finish(struct record_writer *w)
{
	enc_finish(&w->en);
	if (w->old && buf_ok(w->en.out))
		w->en.out->data[w->head + 1] = 2;
}

void record_next(struct record_writer *w)
{
	record_finish(w);
	w->head = w->en.out->len;
	enc_begin(&w->en, w->en.out, ENC_PICKLE);
}

void record_put_global(struct record_writer *w, struct slice name)
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

void record_put(struct record_writer *w, const struct val *v)
{
	switch (v->type) {
	case VAL_GLOBAL:
		record_put_global(w, v->s);
		return;
	case VAL_PERSID:
		record_put(w, &v->items[0]);
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
		record_put(w, &v->items[i]);
	enc_end(&w->en);
}

void record_write(const struct val *class, const struct val *state, struct buf *out)
{
	struct record_writer w;

	record_begin(&w, out);
	record_put(&w, class);
	record_next(&w);
	record_put(&w, state);
	record_finish(&w);
}
