/* Values out of pickles, and into them. */
#include <string.h>

#include "base/bigendian.h"
#include "base/mem.h"
#include "codec/persid.h"
#include "codec/pickle.h"
#include "object/tree.h"

/* Text without a NUL, which ends ours. */
static bool is_text(const struct val *v, enum val_type type)
{
	return v->type == type && !(v->s.len && memchr(v->s.data, 0, v->s.len));
}

static char *text_of(const struct val *v)
{
	char *p = mem_alloc(v->s.len + 1);

	if (!p)
		return NULL;
	if (v->s.len)
		memcpy(p, v->s.data, v->s.len);
	p[v->s.len] = 0;
	return p;
}

/* The dotted name of what an object is made by, if that is to be seen. */
static void class_of(const struct val *v, char *out, size_t room)
{
	size_t n;

	while (v->type == VAL_REDUCE || v->type == VAL_NEWOBJ || v->type == VAL_BUILD ||
		v->type == VAL_FILLED)
		v = &v->items[0];
	out[0] = 0;
	if (v->type == VAL_SET)
		strcpy(out, "builtins.set");
	if (v->type != VAL_GLOBAL)
		return;
	n = v->s.len < room - 1 ? v->s.len : room - 1;
	for (size_t i = 0; i < n; i++)
		out[i] = v->s.data[i] == '\n' ? '.' : (char)v->s.data[i];
	out[n] = 0;
}

/* Of what is written: a set is a call with a tuple of a list. */
static uint8_t height_of(const struct val *from)
{
	uint8_t height = 0;

	if (from->type < VAL_TUPLE || from->type == VAL_GLOBAL)
		return 0;
	for (uint32_t i = 0; i < from->n; i++) {
		uint8_t below = height_of(&from->items[i]);

		height = below > height ? below : height;
	}
	return (uint8_t)(height + (from->type == VAL_SET ? 3 : 1));
}

static int of_other(const struct val *from, bool old, struct value **ret, struct err *e)
{
	struct buf body = BUF_INIT(0);
	struct enc en;
	char class[200];

	enc_begin(&en, &body, ENC_PICKLE);
	body.len = 0; /* without its head */
	enc_val(&en, from);
	class_of(from, class, sizeof(class));
	*ret = buf_ok(&body) ? value_other(buf_slice(&body), class, false) : NULL;
	buf_free(&body);
	if (*ret) {
		(*ret)->old = old;
		(*ret)->height = height_of(from);
	}
	return *ret ? OK : err_set(e, ERR_NOMEM, "no memory for an object of class %s", class);
}

/* A form that a reference of ours has room for. */
static bool is_plain(const struct persid *p)
{
	if (p->oid->s.len != 8 || (p->database && !is_text(p->database, VAL_STR)))
		return false;
	return !p->class || (is_text(p->class, VAL_GLOBAL) && value_is_class(p->class->s));
}

static int of_persid(const struct val *from, bool old, struct value **ret, struct err *e)
{
	struct reference r = { 0 };
	char *class = NULL;
	char *database = NULL;
	struct persid p;

	if (!persid_parse(from, &p) || !is_plain(&p))
		return of_other(from, old, ret, e);
	if (p.class)
		r.class = class = text_of(p.class);
	if (p.database)
		r.database = database = text_of(p.database);
	r.oid = get_be64(p.oid->s.data);
	r.weak = p.weak;
	*ret = !p.class == !class && !p.database == !database ? value_reference(&r) : NULL;
	mem_free(class);
	mem_free(database);
	return *ret ? OK : err_set(e, ERR_NOMEM, "no memory for a reference");
}

static int of_items(const struct val *from, bool old, struct value **ret, struct err *e)
{
	struct value *v = value_new(from->type == VAL_LIST ? VALUE_LIST : VALUE_TUPLE);
	int rc = v ? value_reserve(v, from->n, e) : err_set(e, ERR_NOMEM, "no memory for a list");

	for (uint32_t i = 0; rc == OK && i < from->n; i++) {
		rc = value_of_val(&from->items[i], old, &v->seq.items[i], e);
		if (rc)
			break;
		value_own(v, v->seq.items[i]);
		v->seq.n = i + 1;
	}
	if (rc == OK && v->height > VALUE_DEPTH_MAX)
		rc = value_too_deep(e);
	if (rc)
		value_free(v);
	else
		*ret = v;
	return rc;
}

static int of_dict(const struct val *from, bool old, struct value **ret, struct err *e)
{
	struct value *v = value_dict();
	int rc = v ? value_reserve(v, from->n, e) : err_set(e, ERR_NOMEM, "no memory for a dict");

	for (uint32_t i = 0; rc == OK && i < from->n; i += 2) {
		struct value *key = NULL;
		struct value *item = NULL;

		rc = value_of_val(&from->items[i], old, &key, e);
		if (rc == OK)
			rc = value_of_val(&from->items[i + 1], old, &item, e);
		if (rc == OK)
			rc = value_set(v, key, item, e);
		else
			value_free(key);
	}
	if (rc)
		value_free(v);
	else
		*ret = v;
	return rc;
}

static struct value *of_atom(const struct val *from)
{
	switch (from->type) {
	case VAL_NONE:
		return value_none();
	case VAL_BOOL:
		return value_bool(from->b);
	case VAL_INT:
		return value_int(from->i);
	case VAL_BIGINT:
		return value_bigint(from->s);
	case VAL_FLOAT:
		return value_float(from->f);
	case VAL_STR:
		return value_str(from->s);
	default:
		return value_bytes(from->s);
	}
}

int value_of_val(const struct val *from, bool old, struct value **ret, struct err *e)
{
	struct value *v;

	switch (from->type) {
	case VAL_TUPLE:
	case VAL_LIST:
		return of_items(from, old, ret, e);
	case VAL_DICT:
		return of_dict(from, old, ret, e);
	case VAL_PERSID:
		return of_persid(from, old, ret, e);
	case VAL_SET:
	case VAL_GLOBAL:
	case VAL_REDUCE:
	case VAL_NEWOBJ:
	case VAL_BUILD:
	case VAL_FILLED:
		return of_other(from, old, ret, e);
	default:
		v = of_atom(from);
		if (!v)
			return err_set(e, ERR_NOMEM, "no memory for a value");
		*ret = v;
		return OK;
	}
}

/* --- into a record --- */

/* In the forms of persid.h, as ZODB's ObjectWriter has them. */
static void put_reference(struct record_writer *w, const struct reference *r)
{
	struct enc *en = &w->en;
	bool has_class = *r->class && !r->weak;

	if (r->database || r->weak) {
		enc_list(en, 2);
		enc_str(en, slice_str(r->weak ? "w" : has_class ? "m" : "n"));
		enc_tuple(en, r->database ? has_class ? 3 : 2 : 1);
		if (r->database && !r->weak)
			enc_str(en, slice_str(r->database));
	} else if (has_class) {
		enc_tuple(en, 2);
	}
	enc_id(en, r->oid);
	if (has_class)
		record_put_global(w, slice_str(r->class));
	if (r->database && r->weak)
		enc_str(en, slice_str(r->database));
	if (r->database || r->weak || has_class)
		enc_end(en);
	if (r->database || r->weak)
		enc_end(en);
	enc_raw(en, slice_str("Q"));
}

static int put_items(struct record_writer *w, const struct value *v, struct err *e)
{
	struct value *key;
	struct value *item;
	size_t pos = 0;
	int rc = OK;

	if (w->en.depth == ENC_DEPTH_MAX)
		return err_set(e, ERR_LIMIT, "values nested deeper than %d", ENC_DEPTH_MAX);
	if (v->kind == VALUE_DICT)
		enc_dict(&w->en, (uint32_t)value_len(v));
	else if (v->kind == VALUE_LIST)
		enc_list(&w->en, (uint32_t)v->seq.n);
	else
		enc_tuple(&w->en, (uint32_t)v->seq.n);
	if (v->kind == VALUE_DICT) {
		while (rc == OK && value_next(v, &pos, &key, &item)) {
			rc = value_put(w, key, e);
			if (rc == OK)
				rc = value_put(w, item, e);
		}
	} else {
		for (size_t i = 0; rc == OK && i < v->seq.n; i++)
			rc = value_put(w, v->seq.items[i], e);
	}
	if (rc == OK)
		enc_end(&w->en);
	return rc;
}

static void put_atom(struct enc *en, const struct value *v)
{
	switch (v->kind) {
	case VALUE_NONE:
		enc_none(en);
		return;
	case VALUE_BOOL:
		enc_bool(en, v->b);
		return;
	case VALUE_INT:
		enc_int(en, v->i);
		return;
	case VALUE_FLOAT:
		enc_float(en, v->f);
		return;
	case VALUE_STR:
		enc_str(en, value_as_slice(v));
		return;
	case VALUE_BYTES:
		enc_bytes(en, value_as_slice(v));
		return;
	default:
		enc_val(en, &(struct val){ .type = VAL_BIGINT, .s = value_as_slice(v) });
		return;
	}
}

int value_put(struct record_writer *w, const struct value *v, struct err *e)
{
	switch (v->kind) {
	case VALUE_TUPLE:
	case VALUE_LIST:
	case VALUE_DICT:
		return put_items(w, v, e);
	case VALUE_REFERENCE:
		put_reference(w, &v->ref.r);
		return OK;
	case VALUE_OTHER:
		if (v->alone)
			return err_set(e, ERR_UNSUPPORTED,
				"a state that is not understood can be written nowhere else");
		w->old |= v->old;
		enc_raw(&w->en, slice_of(v->bytes.data, v->bytes.len));
		return OK;
	default:
		put_atom(&w->en, v);
		return OK;
	}
}

int value_pickle(const struct value *v, struct buf *out, struct err *e)
{
	struct record_writer w;
	int rc;

	if (v->kind == VALUE_OTHER && v->alone) { /* it is a whole pickle */
		buf_put_slice(out, slice_of(v->bytes.data, v->bytes.len));
		return OK;
	}
	record_begin(&w, out);
	rc = value_put(&w, v, e);
	record_finish(&w);
	return rc;
}

int value_to_val(const struct value *v, struct arena *arena, struct buf *pickle, struct val *ret,
	struct err *e)
{
	static const struct pickle_limits limits = { 60, 1 << 16, 1 << 20 };
	int rc = value_pickle(v, pickle, e);

	if (rc == OK && !buf_ok(pickle))
		rc = err_set(e, ERR_NOMEM, "no memory for a value");
	if (rc == OK)
		rc = pickle_decode(buf_slice(pickle), 0, &limits, arena, ret, NULL, e);
	return rc;
}
