#include "object/value.h"

#include <string.h>

#include "base/mem.h"
#include "codec/utf8.h"
#include "object/tree.h"

struct value *value_new(enum value_kind kind)
{
	struct value *v = mem_zalloc(1, sizeof(*v));

	if (!v)
		return NULL;
	v->kind = kind;
	v->height = kind == VALUE_TUPLE || kind == VALUE_LIST || kind == VALUE_DICT;
	return v;
}

struct value *value_none(void)
{
	return value_new(VALUE_NONE);
}

struct value *value_bool(bool b)
{
	struct value *v = value_new(VALUE_BOOL);

	if (v)
		v->b = b;
	return v;
}

struct value *value_int(int64_t i)
{
	struct value *v = value_new(VALUE_INT);

	if (v)
		v->i = i;
	return v;
}

struct value *value_float(double f)
{
	struct value *v = value_new(VALUE_FLOAT);

	if (v)
		v->f = f;
	return v;
}

/* A copy with a NUL behind it. */
static char *copy_bytes(struct slice s)
{
	char *p = mem_alloc(s.len + 1);

	if (!p)
		return NULL;
	if (s.len)
		memcpy(p, s.data, s.len);
	p[s.len] = 0;
	return p;
}

static struct value *of_bytes(enum value_kind kind, struct slice s)
{
	struct value *v = value_new(kind);

	if (!v)
		return NULL;
	v->bytes.data = copy_bytes(s);
	v->bytes.len = s.len;
	if (v->bytes.data)
		return v;
	mem_free(v);
	return NULL;
}

struct value *value_str(struct slice utf8)
{
	return utf8_ok(utf8, true) ? of_bytes(VALUE_STR, utf8) : NULL;
}

struct value *value_bytes(struct slice s)
{
	return of_bytes(VALUE_BYTES, s);
}

struct value *value_bigint(struct slice le)
{
	uint64_t bits = le.len && le.data[le.len - 1] >= 0x80 ? UINT64_MAX : 0;

	while (le.len > 1 && le.data[le.len - 1] == (le.data[le.len - 2] >= 0x80 ? 0xff : 0))
		le.len--;
	if (le.len > 8)
		return of_bytes(VALUE_BIGINT, le);
	for (size_t i = le.len; i-- > 0;)
		bits = bits << 8 | le.data[i];
	return value_int((int64_t)bits);
}

struct value *value_tuple(void)
{
	return value_new(VALUE_TUPLE);
}

struct value *value_list(void)
{
	return value_new(VALUE_LIST);
}

struct value *value_dict(void)
{
	return value_new(VALUE_DICT);
}

bool value_is_class(struct slice s)
{
	const uint8_t *nl = s.len ? memchr(s.data, '\n', s.len) : NULL;
	size_t module = nl ? (size_t)(nl - s.data) : 0;

	return module && module + 1 < s.len && !memchr(nl + 1, '\n', s.len - module - 1) &&
	       utf8_ok(s, false);
}

struct value *value_reference(const struct reference *r)
{
	const char *class = r->class ? r->class : "";
	struct value *v;
	char *nl;

	if ((*class && !value_is_class(slice_str(class))) ||
		(r->database && !utf8_ok(slice_str(r->database), true)))
		return NULL;
	v = value_new(VALUE_REFERENCE);
	if (!v)
		return NULL;
	v->height = r->database || r->weak ? 3 : *class ? 2 : 1; /* as it is written */
	v->ref.r = (struct reference){ .oid = r->oid, .weak = r->weak };
	v->ref.r.class = mem_strdup(class);
	v->ref.dotted = mem_strdup(class);
	v->ref.r.database = r->database ? mem_strdup(r->database) : NULL;
	nl = v->ref.dotted ? strchr(v->ref.dotted, '\n') : NULL;
	if (nl)
		*nl = '.';
	if (v->ref.r.class && v->ref.dotted && !r->database == !v->ref.r.database)
		return v;
	value_free(v);
	return NULL;
}

struct value *value_other(struct slice body, const char *class, bool alone)
{
	struct value *v = of_bytes(VALUE_OTHER, body);

	if (!v)
		return NULL;
	v->alone = alone;
	v->bytes.dotted = mem_strdup(class);
	if (v->bytes.dotted)
		return v;
	value_free(v);
	return NULL;
}

static struct value *copy_other(const struct value *from)
{
	struct value *v = value_other(
		slice_of(from->bytes.data, from->bytes.len), from->bytes.dotted, from->alone);

	if (!v)
		return NULL;
	v->old = from->old;
	v->height = from->height;
	return v;
}

static struct value *copy_items(const struct value *from)
{
	struct value *v = value_new(from->kind);
	struct err e;

	for (size_t i = 0; v && i < from->seq.n; i++) {
		struct value *item = NULL;

		if (!from->seq.items[i])
			continue; /* of a pair that was removed */
		if (value_reserve(v, 1, &e) == OK)
			item = value_copy(from->seq.items[i]);
		if (!item) {
			value_free(v);
			return NULL;
		}
		value_own(v, item);
		v->seq.items[v->seq.n++] = item;
	}
	return v;
}

struct value *value_copy(const struct value *v)
{
	switch (v->kind) {
	case VALUE_NONE:
		return value_none();
	case VALUE_BOOL:
		return value_bool(v->b);
	case VALUE_INT:
		return value_int(v->i);
	case VALUE_FLOAT:
		return value_float(v->f);
	case VALUE_BIGINT:
	case VALUE_STR:
	case VALUE_BYTES:
		return of_bytes(v->kind, slice_of(v->bytes.data, v->bytes.len));
	case VALUE_OTHER:
		return copy_other(v);
	case VALUE_REFERENCE:
		return value_reference(&v->ref.r);
	default:
		return copy_items(v);
	}
}

static void free_tree(struct value *v)
{
	switch (v->kind) {
	case VALUE_OTHER:
		mem_free(v->bytes.dotted);
		mem_free(v->bytes.data);
		break;
	case VALUE_BIGINT:
	case VALUE_STR:
	case VALUE_BYTES:
		mem_free(v->bytes.data);
		break;
	case VALUE_REFERENCE:
		mem_free((char *)v->ref.r.class);
		mem_free((char *)v->ref.r.database);
		mem_free(v->ref.dotted);
		break;
	case VALUE_TUPLE:
	case VALUE_LIST:
	case VALUE_DICT:
		for (size_t i = 0; i < v->seq.n; i++)
			if (v->seq.items[i])
				free_tree(v->seq.items[i]);
		mem_free(v->seq.items);
		value_index_free(&v->seq.index);
		break;
	default:
		break;
	}
	mem_free(v);
}

void value_free(struct value *v)
{
	if (v && !v->owner)
		free_tree(v);
}

/* --- atoms --- */

enum value_kind value_kind(const struct value *v)
{
	return v->kind;
}

bool value_as_bool(const struct value *v)
{
	return v->kind == VALUE_BOOL && v->b;
}

int64_t value_as_int(const struct value *v)
{
	return v->kind == VALUE_BOOL ? v->b : v->kind == VALUE_INT ? v->i : 0;
}

double value_as_float(const struct value *v)
{
	return v->kind == VALUE_FLOAT ? v->f : 0;
}

struct slice value_as_slice(const struct value *v)
{
	if (v->kind != VALUE_STR && v->kind != VALUE_BYTES && v->kind != VALUE_BIGINT)
		return slice_of(NULL, 0);
	return slice_of(v->bytes.data, v->bytes.len);
}

struct reference value_as_reference(const struct value *v)
{
	if (v->kind == VALUE_REFERENCE)
		return v->ref.r;
	return (struct reference){ .class = "" };
}

const char *value_class(const struct value *v)
{
	if (v->kind == VALUE_REFERENCE)
		return v->ref.dotted;
	return v->kind == VALUE_OTHER ? v->bytes.dotted : "";
}

/* --- lists and tuples --- */

static bool is_sequence(const struct value *v)
{
	return v->kind == VALUE_LIST || v->kind == VALUE_TUPLE;
}

size_t value_len(const struct value *v)
{
	if (v->kind == VALUE_DICT)
		return v->seq.n / 2 - v->seq.n_removed;
	return is_sequence(v) ? v->seq.n : 0;
}

struct value *value_item(const struct value *v, size_t i)
{
	return is_sequence(v) && i < v->seq.n ? v->seq.items[i] : NULL;
}

static int refuse_owned(struct err *e)
{
	return err_set(e, ERR_INVAL, "the value is in a container or an object already: copy it");
}

/* The owner of what is in no container, and yet not the caller's. */
static struct value holder = { .kind = VALUE_NONE };

int value_hold(struct value *v, struct err *e)
{
	if (!v)
		return err_set(e, ERR_NOMEM, "no state: there was no memory for it");
	if (v->owner)
		return refuse_owned(e);
	v->owner = &holder;
	return OK;
}

void value_let_go(struct value *v)
{
	if (v && v->owner == &holder)
		v->owner = NULL;
}

int value_may_own(const struct value *v, const struct value *item, struct err *e)
{
	unsigned depth;

	if (!item)
		return err_set(e, ERR_NOMEM,
			"no value: there was no memory for it, or it is none (text that is not "
			"UTF-8)");
	if (item->owner)
		return refuse_owned(e);
	depth = item->height;
	for (; v && v != &holder; v = v->owner, depth++)
		if (v == item)
			return err_set(e, ERR_INVAL, "a value that would hold itself");
	return depth > VALUE_DEPTH_MAX ? value_too_deep(e) : OK;
}

int value_too_deep(struct err *e)
{
	return err_set(e, ERR_LIMIT, "values nested deeper than %d", VALUE_DEPTH_MAX);
}

void value_own(struct value *v, struct value *item)
{
	item->owner = v;
	for (; v && v != &holder && v->height <= item->height; item = v, v = v->owner)
		v->height = (uint8_t)(item->height + 1);
}

void value_refuse(const struct value *v, struct value *item)
{
	while (v->owner)
		v = v->owner;
	if (item != v)
		value_free(item);
}

int value_reserve(struct value *v, size_t more, struct err *e)
{
	size_t room = v->seq.room ? v->seq.room : 4;
	struct value **items;

	if (v->seq.n + more <= v->seq.room)
		return OK;
	while (room < v->seq.n + more)
		room *= 2;
	if (room > UINT32_MAX / 2)
		return err_set(e, ERR_LIMIT, "more than two billion items");
	items = mem_realloc(v->seq.items, room * sizeof(struct value *));
	if (!items)
		return err_set(e, ERR_NOMEM, "no memory for %zu items", room);
	v->seq.items = items;
	v->seq.room = room;
	return OK;
}

int value_insert(struct value *v, size_t i, struct value *item, struct err *e)
{
	struct value **at;
	int rc = is_sequence(v) ? value_may_own(v, item, e)
				: err_set(e, ERR_INVAL, "an item is for a list or tuple");

	if (rc == OK)
		rc = value_reserve(v, 1, e);
	if (rc) {
		value_refuse(v, item);
		return rc;
	}
	if (i > v->seq.n)
		i = v->seq.n;
	at = v->seq.items + i;
	memmove(at + 1, at, (v->seq.n - i) * sizeof(struct value *));
	*at = item;
	value_own(v, item);
	v->seq.n++;
	return OK;
}

int value_replace(struct value *v, size_t i, struct value *item, struct err *e)
{
	int rc = is_sequence(v) ? value_may_own(v, item, e)
				: err_set(e, ERR_INVAL, "an item is for a list or tuple");

	if (rc == OK && i >= v->seq.n)
		rc = err_set(e, ERR_NOENT, "there is no item %zu of %zu", i, v->seq.n);
	if (rc) {
		value_refuse(v, item);
		return rc;
	}
	free_tree(v->seq.items[i]);
	v->seq.items[i] = item;
	value_own(v, item);
	return OK;
}

struct value *value_take(struct value *v, size_t i)
{
	struct value *item = value_item(v, i);

	if (!item)
		return NULL;
	v->seq.n--;
	if (!v->seq.n)
		v->height = 1;
	memmove(v->seq.items + i, v->seq.items + i + 1, (v->seq.n - i) * sizeof(struct value *));
	item->owner = NULL;
	return item;
}
