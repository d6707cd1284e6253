/* The class of a data record, as ZODB.utils.get_pickle_metadata finds it. */
#include <string.h>

#include "codec/pickle.h"
#include "codec/utf8.h"

/* "module\nname" */
static bool split(struct slice s, struct slice *module, struct slice *name)
{
	const uint8_t *nl = s.len ? memchr(s.data, '\n', s.len) : NULL;

	if (!nl)
		return false;
	*module = slice_of(s.data, (size_t)(nl - s.data));
	*name = slice_of(nl + 1, s.len - module->len - 1);
	return true;
}

/* Most records begin with the class as a GLOBAL opcode, alone or first in a tuple: it is read
 * also where the rest is damaged. */
static bool read_global(struct slice record, struct slice *module, struct slice *name)
{
	const uint8_t *end;

	if (record.len > 2 && record.data[0] == 0x80)
		record = slice_of(record.data + 2, record.len - 2);
	if (record.len > 2 && record.data[0] == '(' && record.data[1] == 'c')
		record = slice_of(record.data + 1, record.len - 1);
	if (record.len < 2 || record.data[0] != 'c')
		return false;
	if (!split(slice_of(record.data + 1, record.len - 1), module, name))
		return false;
	end = name->len ? memchr(name->data, '\n', name->len) : NULL;
	if (!end)
		return false;
	name->len = (size_t)(end - name->data);
	return utf8_ok(*module, false) && utf8_ok(*name, false);
}

static bool is_text(const struct val *v)
{
	return v->type == VAL_STR;
}

static bool read_class(const struct val *v, struct slice *module, struct slice *name)
{
	const struct val *pair = v;

	if (v->type == VAL_TUPLE && v->n > 0 &&
		(v->items[0].type == VAL_TUPLE || v->items[0].type == VAL_GLOBAL))
		pair = &v->items[0];
	if (pair->type == VAL_GLOBAL)
		return split(pair->s, module, name);
	if (pair->type != VAL_TUPLE || pair->n != 2 || !is_text(&pair->items[0]) ||
		!is_text(&pair->items[1]))
		return false;
	*module = pair->items[0].s;
	*name = pair->items[1].s;
	return utf8_ok(*module, false) && utf8_ok(*name, false);
}

/* As much of @s as there is room for, without cutting a character. Returns the bytes taken. */
static size_t put_text(char *out, size_t room, struct slice s)
{
	size_t n = s.len < room ? s.len : room;

	while (n > 0 && n < s.len && (s.data[n] & 0xc0) == 0x80)
		n--;
	if (n)
		memcpy(out, s.data, n);
	return n;
}

static void put_class(char *out, size_t room, struct slice module, struct slice name)
{
	size_t n = put_text(out, room - 1, module);

	n += put_text(out + n, room - 1 - n, slice_str("."));
	n += put_text(out + n, room - 1 - n, name);
	out[n] = 0;
}

void pickle_class_name(struct slice record, char *out, size_t room)
{
	struct arena arena = ARENA_INIT(1 << 20);
	struct slice module = { NULL, 0 };
	struct slice name = { NULL, 0 };
	struct val v;
	size_t len;

	if (!read_global(record, &module, &name) &&
		(pickle_decode(record, PICKLE_KEEP_GLOBALS, &pickle_limits_message, &arena, &v,
			 &len, NULL) != OK ||
			!read_class(&v, &module, &name)))
		module = name = slice_of(NULL, 0);
	put_class(out, room, module, name);
	arena_free(&arena);
}
