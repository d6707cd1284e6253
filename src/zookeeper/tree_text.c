#include "zookeeper/tree_text.h"

#include <ctype.h>
#include <stdlib.h>
#include <string.h>

#include "zookeeper/literal.h"

enum { DEPTH_MAX = 200 };

/* What a line may be indented under. */
struct level {
	size_t indent;
	json_t *node; /* borrowed; NULL: lines without anything below */
};

struct reading {
	struct level levels[DEPTH_MAX]; /* from the root on, deeper and deeper */
	size_t n;
	size_t line;
	struct err *e;
};

static int bad(struct reading *in, struct slice s, const char *why)
{
	return err_set(in->e, ERR_FORMAT, "line %zu: '%.*s': %s", in->line,
		(int)(s.len > 200 ? 200 : s.len), s.data, why);
}

static struct slice part(struct slice s, size_t from, size_t n)
{
	return slice_of(s.data + from, n);
}

static struct slice skip_space(struct slice s)
{
	while (s.len && isspace(s.data[0]))
		s = part(s, 1, s.len - 1);
	return s;
}

static size_t word_len(struct slice s)
{
	size_t n = 0;

	while (n < s.len && !isspace(s.data[n]))
		n++;
	return n;
}

/* Divide "NAME OP REST", where NAME is one word and spaces around OP may be missing. */
static bool divide(struct slice s, const char *op, struct slice *ret_name, struct slice *ret_rest)
{
	size_t n = word_len(s), n_op = strlen(op);
	struct slice rest = skip_space(part(s, n, s.len - n));

	if (rest.len > n_op && memcmp(rest.data, op, n_op) == 0) {
		*ret_name = part(s, 0, n);
		*ret_rest = skip_space(part(rest, n_op, rest.len - n_op));
		return ret_rest->len > 0;
	}
	for (size_t at = n; at-- > 1;) {
		if (at + n_op > s.len || memcmp(s.data + at, op, n_op) != 0)
			continue;
		*ret_name = part(s, 0, at);
		*ret_rest = skip_space(part(s, at + n_op, s.len - at - n_op));
		return ret_rest->len > 0;
	}
	return false;
}

static size_t count_words(struct slice s)
{
	size_t n = 0;

	for (s = skip_space(s); s.len; n++) {
		size_t len = word_len(s);

		s = skip_space(part(s, len, s.len - len));
	}
	return n;
}

static json_t *new_node(void)
{
	return json_pack("{s:{}, s:{}}", "properties", "children");
}

static json_t *properties_of(const json_t *node)
{
	return json_object_get(node, "properties");
}

/* Find the level that a line of this indentation stands in: levels[n - 1] is its parent. */
static int place(struct reading *in, struct slice s, size_t indent)
{
	const struct level *last = &in->levels[in->n - 1];

	if (indent > last->indent || in->n == 1) {
		if (!last->node)
			return bad(in, s, "a property has nothing below it");
		if (in->n == DEPTH_MAX)
			return bad(in, s, "nested too deep");
		return OK;
	}
	while (in->n > 1 && indent < in->levels[in->n - 1].indent)
		in->n--;
	if (in->n == 1 || indent > in->levels[in->n - 1].indent)
		return bad(in, s, "it is indented as no line above it is");
	in->n--;
	return OK;
}

static void push(struct reading *in, size_t indent, json_t *node)
{
	in->levels[in->n++] = (struct level){ indent, node };
}

static int add_property(
	struct reading *in, struct slice s, struct slice name, const char *suffix, json_t *value)
{
	json_t *properties = properties_of(in->levels[in->n - 1].node);
	json_t *key = json_sprintf("%.*s%s", (int)name.len, name.data, suffix);
	int rc = OK;

	if (!key)
		rc = bad(in, s, "its name is not valid UTF-8");
	else if (json_object_get(properties, json_string_value(key)))
		rc = bad(in, s, "a property of this name is there already");
	else if (json_object_set(properties, json_string_value(key), value))
		rc = err_set(in->e, ERR_NOMEM, "no memory for a tree");
	json_decref(key);
	json_decref(value);
	return rc;
}

static int read_property(struct reading *in, struct slice s, struct slice name, struct slice rest,
	const char *suffix)
{
	json_t *value = NULL;
	int rc = literal_parse(rest, &value, in->e);

	if (rc)
		return err_wrap(
			in->e, "line %zu: the value of %.*s", in->line, (int)name.len, name.data);
	return add_property(in, s, name, suffix, value);
}

static int read_link(struct reading *in, struct slice s, struct slice name, struct slice rest,
	const char *suffix)
{
	json_t *value = json_stringn((const char *)rest.data, rest.len);

	if (!value)
		return bad(in, s, "where it leads is not valid UTF-8");
	return add_property(in, s, name, suffix, value);
}

/* "NAME" or "NAME : TYPE"; the name of a node may have colons. */
static void divide_type(struct slice s, struct slice *ret_name, struct slice *ret_type)
{
	size_t n = word_len(s);
	struct slice rest = skip_space(part(s, n, s.len - n));

	*ret_name = part(s, 0, n);
	*ret_type = slice_of(NULL, 0);
	if (rest.len > 1 && rest.data[0] == ':') {
		*ret_type = skip_space(part(rest, 1, rest.len - 1));
		return;
	}
	while (rest.len && n > 1 && s.data[n - 1] != ':')
		n--;
	if (rest.len && n > 1) {
		*ret_name = part(s, 0, n - 1);
		*ret_type = skip_space(part(s, n, s.len - n));
	}
}

static int read_node(struct reading *in, struct slice s, size_t indent)
{
	json_t *children = json_object_get(in->levels[in->n - 1].node, "children");
	struct slice name, type;
	json_t *key, *node = new_node();
	int rc = OK;

	divide_type(part(s, 1, s.len - 1), &name, &type);
	key = json_stringn((const char *)name.data, name.len);
	if (!name.len || (name.len + 1 < s.len && !type.len))
		rc = bad(in, s, "expected /NAME or /NAME : TYPE");
	else if (!key || memchr(name.data, 0, name.len))
		rc = bad(in, s, "its name is not valid UTF-8");
	else if (json_object_get(children, json_string_value(key)))
		rc = bad(in, s, "a node of this name is there already");
	else if (!node || json_object_set(children, json_string_value(key), node))
		rc = err_set(in->e, ERR_NOMEM, "no memory for a tree");
	if (rc == OK && type.len)
		json_object_set_new(properties_of(node), "type",
			json_stringn((const char *)type.data, type.len));
	if (rc == OK)
		push(in, indent, node);
	json_decref(key);
	json_decref(node);
	return rc;
}

/* A line that is no node. */
static int read_other(struct reading *in, struct slice s)
{
	struct slice name, rest;

	if (in->n == 1)
		return bad(in, s, "a property stands below a node");
	if (divide(s, "=>", &name, &rest)) {
		/* as it is printed: a => = u'/path' */
		if (rest.data[0] == '=')
			return read_property(in, s, name, part(rest, 1, rest.len - 1), " =>");
		if (count_words(rest) > 2)
			return bad(in, s, "expected NAME => PATH or NAME => PATH PROPERTY");
		return read_link(in, s, name, rest, " =>");
	}
	if (divide(s, "=", &name, &rest))
		return read_property(in, s, name, rest, "");
	if (divide(s, "->", &name, &rest) && count_words(rest) == 1)
		return read_link(in, s, name, rest, " ->");
	return bad(in, s, "expected /NODE, NAME = VALUE, NAME -> PATH or NAME => PATH");
}

static int read_line(struct reading *in, struct slice line)
{
	struct slice s;
	size_t indent;
	int rc;

	while (line.len && isspace(line.data[line.len - 1]))
		line.len--;
	s = skip_space(line);
	indent = line.len - s.len;
	if (!s.len || s.data[0] == '#')
		return OK;
	rc = place(in, s, indent);
	if (rc)
		return rc;
	if (s.data[0] == '/')
		return read_node(in, s, indent);
	rc = read_other(in, s);
	if (rc == OK)
		push(in, indent, NULL);
	return rc;
}

int tree_parse(struct slice text, json_t **ret, struct err *e)
{
	json_t *root = new_node();
	struct reading in = { .levels = { { 0, root } }, .n = 1, .e = e };
	int rc = root ? OK : err_set(e, ERR_NOMEM, "no memory for a tree");

	while (rc == OK && text.len) {
		const uint8_t *newline = memchr(text.data, '\n', text.len);
		size_t n = newline ? (size_t)(newline - text.data) : text.len;

		in.line++;
		rc = read_line(&in, part(text, 0, n));
		n += newline != NULL;
		text = part(text, n, text.len - n);
	}
	if (rc) {
		json_decref(root);
		return rc;
	}
	*ret = root;
	return OK;
}

char *tree_encode(const json_t *properties)
{
	const json_t *text = json_object_get(properties, "string_value");

	if (json_object_size(properties) == 1 && json_is_string(text))
		return strdup(json_string_value(text));
	return json_dumps(properties, JSON_COMPACT | JSON_SORT_KEYS);
}
