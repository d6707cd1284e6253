#include "zookeeper/tree.h"

#include <ctype.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/decimal.h"
#include "base/mem.h"
#include "zookeeper/properties.h"

/* Next character of valid UTF-8 (jansson lets no other through). */
static uint32_t take_char(const char **p)
{
	const unsigned char *s = (const unsigned char *)*p;
	int more = s[0] < 0x80 ? 0 : s[0] < 0xe0 ? 1 : s[0] < 0xf0 ? 2 : 3;
	uint32_t c = more ? s[0] & (0x3f >> more) : s[0];

	for (int i = 1; i <= more; i++)
		c = c << 6 | (s[i] & 0x3f);
	*p += more + 1;
	return c;
}

static void put_char(struct buf *out, uint32_t c, char quote)
{
	const char *short_form = c == '\n' ? "\\n" : c == '\r' ? "\\r" : c == '\t' ? "\\t" : NULL;

	if (short_form)
		buf_put_str(out, short_form);
	else if (c == '\\' || c == (uint32_t)quote)
		buf_printf(out, "\\%c", (int)c);
	else if (c >= 0x20 && c < 0x7f)
		buf_put_u8(out, (uint8_t)c);
	else if (c < 0x100)
		buf_printf(out, "\\x%02x", c);
	else
		buf_printf(out, c < 0x10000 ? "\\u%04x" : "\\U%08x", c);
}

static char quote_for(const char *s, size_t n)
{
	return memchr(s, '\'', n) && !memchr(s, '"', n) ? '"' : '\'';
}

static void put_text(struct buf *out, const json_t *value)
{
	const char *p = json_string_value(value);
	const char *end = p + json_string_length(value);
	char quote = quote_for(p, (size_t)(end - p));

	buf_printf(out, "u%c", quote);
	while (p < end)
		put_char(out, take_char(&p), quote);
	buf_put_u8(out, (uint8_t)quote);
}

static void put_bytes(struct buf *out, struct slice s)
{
	char quote = quote_for((const char *)s.data, s.len);

	buf_put_u8(out, (uint8_t)quote);
	for (size_t i = 0; i < s.len; i++)
		put_char(out, s.data[i], quote);
	buf_put_u8(out, (uint8_t)quote);
}

/* The shortest digits that give the same number; an exponent from 1e16 and below 1e-4. */
static void put_real(struct buf *out, double v)
{
	char text[64];
	int precision = 0;
	double size = fabs(v);

	do
		decimal_print(text, sizeof(text), 'e', precision, v);
	while (decimal_parse(text, NULL) != v && ++precision < 17);
	if (v == 0 || (size >= 1e-4 && size < 1e16)) {
		int before = atoi(strchr(text, 'e') + 1); /* digits before the point, less one */
		int after = precision > before ? precision - before : 1;

		decimal_print(text, sizeof(text), 'f', after, v);
	}
	buf_put_str(out, text);
}

static void put_array(struct buf *out, const json_t *array)
{
	buf_put_u8(out, '[');
	for (size_t i = 0; i < json_array_size(array); i++) {
		if (i)
			buf_put_str(out, ", ");
		tree_print_value(out, json_array_get(array, i));
	}
	buf_put_u8(out, ']');
}

static int compare(const void *a, const void *b)
{
	return strcmp(*(const char *const *)a, *(const char *const *)b);
}

/* The names of an object, sorted and with a NULL at the end; freed with mem_free(). */
static const char **sorted_names(const json_t *object)
{
	const char **names = mem_zalloc(json_object_size(object) + 1, sizeof(*names));
	size_t n = 0;
	void *it = json_object_iter((json_t *)object);

	for (; names && it; it = json_object_iter_next((json_t *)object, it))
		names[n++] = json_object_iter_key(it);
	if (names)
		qsort(names, n, sizeof(*names), compare);
	return names;
}

static void put_object(struct buf *out, const json_t *object)
{
	const char **names = sorted_names(object);

	buf_put_u8(out, '{');
	for (size_t i = 0; names && names[i]; i++) {
		json_t *name = json_string(names[i]);

		if (i)
			buf_put_str(out, ", ");
		put_text(out, name);
		buf_put_str(out, ": ");
		tree_print_value(out, json_object_get(object, names[i]));
		json_decref(name);
	}
	buf_put_u8(out, '}');
	mem_free(names);
}

void tree_print_value(struct buf *out, const json_t *value)
{
	switch (json_typeof(value)) {
	case JSON_OBJECT:
		put_object(out, value);
		break;
	case JSON_ARRAY:
		put_array(out, value);
		break;
	case JSON_STRING:
		put_text(out, value);
		break;
	case JSON_INTEGER:
		buf_printf(out, "%lld", (long long)json_integer_value(value));
		break;
	case JSON_REAL:
		put_real(out, json_real_value(value));
		break;
	default:
		buf_put_str(out, json_is_true(value)    ? "True"
				 : json_is_false(value) ? "False"
							: "None");
	}
}

static bool is_link(const char *name)
{
	size_t n = strlen(name);

	return n >= 3 && strcmp(name + n - 3, " ->") == 0;
}

static void put_link(struct buf *out, unsigned indent, const char *name, const json_t *value)
{
	buf_printf(out, "%*s%s ", (int)indent, "", name);
	if (json_is_string(value))
		buf_put(out, json_string_value(value), json_string_length(value));
	else
		tree_print_value(out, value);
	buf_put_u8(out, '\n');
}

static void put_property(struct buf *out, unsigned indent, const char *name, const json_t *value)
{
	buf_printf(out, "%*s%s = ", (int)indent, "", name);
	tree_print_value(out, value);
	buf_put_u8(out, '\n');
}

static void put_properties(struct buf *out, unsigned indent, const json_t *properties, bool links)
{
	const char **names = sorted_names(properties);

	for (size_t i = 0; names && names[i]; i++) {
		const json_t *value = json_object_get(properties, names[i]);

		if (is_link(names[i]) != links)
			continue;
		if (links)
			put_link(out, indent, names[i], value);
		else
			put_property(out, indent, names[i], value);
	}
	mem_free(names);
}

void tree_print_node(struct buf *out, const char *name, unsigned indent, struct slice data)
{
	json_t *properties = properties_decode(data);
	json_t *type = json_object_get(properties, "type");

	buf_printf(out, "%*s/%s", (int)indent, "", name);
	if (json_is_string(type)) {
		if (json_string_length(type))
			buf_printf(out, " : %s", json_string_value(type));
		json_object_del(properties, "type");
	}
	buf_put_u8(out, '\n');
	indent += 2;
	if (properties) {
		put_properties(out, indent, properties, false);
		put_properties(out, indent, properties, true);
	} else {
		buf_printf(out, "%*sstring_value = ", (int)indent, "");
		put_bytes(out, data);
		buf_put_u8(out, '\n');
	}
	json_decref(properties);
}

struct printing {
	struct reader *r;
	bool ephemeral;
	struct buf *out;
};

static int print_below(const struct printing *t, const char *path, unsigned indent, struct err *e);

static int print_one(const struct printing *t, const char *path, const char *name, unsigned indent,
	struct err *e)
{
	struct zk_event *node = NULL;
	int rc = reader_get(t->r, path, &node, e);
	bool shown;

	if (rc)
		return rc;
	shown = t->ephemeral || !node->stat.owner;
	if (shown)
		tree_print_node(t->out, name ? name : strrchr(path, '/') + 1, indent,
			slice_of(node->data, node->data_len));
	mem_free(node);
	return shown ? print_below(t, path, indent + 2, e) : OK;
}

static int print_child(const struct printing *t, const char *path, const char *name,
	unsigned indent, struct err *e)
{
	char *full;
	size_t room = strlen(path) + strlen(name) + 2;
	int rc;

	if (strcmp(path, "/") == 0 && strcmp(name, "zookeeper") == 0)
		return OK;
	full = mem_alloc(room);
	if (!full)
		return err_set(e, ERR_NOMEM, "no memory to print a tree");
	snprintf(full, room, "%s/%s", strcmp(path, "/") == 0 ? "" : path, name);
	rc = print_one(t, full, NULL, indent, e);
	mem_free(full);
	return rc == ERR_NOENT ? OK : rc;
}

static int print_below(const struct printing *t, const char *path, unsigned indent, struct err *e)
{
	struct zk_event *ev = NULL;
	const char **names = NULL;
	int rc = reader_children(t->r, path, &ev, &names, e);

	for (size_t i = 0; rc == OK && i < ev->n_children; i++)
		rc = print_child(t, path, names[i], indent, e);
	mem_free(names);
	mem_free(ev);
	return rc;
}

int tree_export(struct reader *r, const char *path, bool ephemeral, const char *name,
	struct buf *out, struct err *e)
{
	struct printing t = { r, ephemeral, out };
	bool root = strcmp(path, "/") == 0;
	int rc;

	if (root && name)
		buf_printf(out, "/%s\n", name);
	rc = root ? print_below(&t, path, name ? 2 : 0, e) : print_one(&t, path, name, 0, e);
	if (rc == OK && !buf_ok(out))
		return err_set(e, ERR_NOMEM, "no memory to print a tree");
	return rc;
}

int tree_print(struct reader *r, const char *path, struct buf *out, struct err *e)
{
	return tree_export(r, path, true, NULL, out, e);
}
