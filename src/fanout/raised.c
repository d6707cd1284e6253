#include <string.h>

#include "codec/msgpack.h"
#include "codec/pickle.h"
#include "fanout/core.h"

enum { RAISED_BYTES_MAX = 64 << 20 };

void raised_text(struct raised *r, const char *class_name, const struct err *e)
{
	memcpy(r->room, e->text, sizeof(e->text));
	r->text = (struct val){ .type = VAL_STR, .s = slice_str(r->room) };
	r->items[0] = (struct val){ .type = VAL_STR, .s = slice_str(class_name) };
	r->items[1] = (struct val){ .type = VAL_TUPLE, .n = 1, .items = &r->text };
	r->pair = (struct val){ .type = VAL_TUPLE, .n = 2, .items = r->items };
	r->is_set = true;
}

static bool is_exception(const struct val *v)
{
	return v->type == VAL_TUPLE && v->n == 4 && v->items[1].type == VAL_INT &&
	       v->items[1].i == 2 && v->items[3].type == VAL_TUPLE && v->items[3].n == 2 &&
	       v->items[3].items[0].type == VAL_STR;
}

/* Whatever objects are in it: they are passed on, not looked at. */
void raised_frame(struct raised *r, struct slice content, enum encoding encoding)
{
	struct err e = ERR_INIT;
	uint8_t *copy;
	struct val v;
	int rc;

	r->arena.max = RAISED_BYTES_MAX;
	copy = arena_alloc(&r->arena, content.len ? content.len : 1);
	if (!copy)
		return;
	memcpy(copy, content.data, content.len);
	content.data = copy; /* the values borrow from it */
	if (encoding == ENC_PICKLE)
		rc = pickle_decode(content, PICKLE_KEEP_GLOBALS, &pickle_limits_message, &r->arena,
			&v, NULL, &e);
	else
		rc = msgpack_decode(content, &pickle_limits_message, &r->arena, &v, &e);
	if (rc != OK || !is_exception(&v))
		return;
	r->pair = v.items[3];
	r->is_set = true;
}

void raised_end(struct raised *r)
{
	arena_free(&r->arena);
	r->is_set = false;
}
