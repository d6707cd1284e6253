#include "config/schema.h"

#include <stdio.h>
#include <string.h>

#include "base/buf.h"
#include "config/datatype.h"
#include "config/schema_value.h"

/* Packages whose components ZConfig's %import names. Those whose sections are known from
 * the start may be imported again. */
static const char *const packages[] = { "ZODB", "ZEO", "zc.zkzeo", "zc.zlibstorage", "zdaemon",
	"ZConfig.components.basic", "ZConfig.components.logger" };

/* A walk over a file in its own order: a section is known after its %import. */
struct walk {
	struct arena *mem;
	bool imported[ARRAY_LEN(packages)];
	struct err *e;
};

const struct schema_section *schema_find(const char *type)
{
	size_t i;

	for (i = 1; i < schema_sections_n; i++)
		if (strcmp(schema_sections[i]->type, type) == 0)
			return schema_sections[i];
	return NULL;
}

const struct schema_section *schema_find_in(const struct schema_section *parent, const char *type)
{
	size_t i;

	for (i = 0; i < parent->children_n; i++) {
		const struct schema_child *c = &parent->children[i];

		if (c->section && strcmp(c->type, type) == 0)
			return c->section;
	}
	return schema_find(type);
}

const struct zconfig_node *schema_get(const struct zconfig_node *node, const char *name)
{
	const struct zconfig_node *found = NULL;
	const struct zconfig_node *n;

	for (n = node ? node->children : NULL; n; n = n->next)
		if (n->kind == ZCONFIG_KEY && strcmp(n->name, name) == 0)
			found = n;
	return found;
}

static const struct schema_key *find_key(const struct schema_section *s, const char *name)
{
	size_t i;

	for (; s; s = s->extends)
		for (i = 0; i < s->keys_n; i++)
			if (strcmp(s->keys[i].name, name) == 0)
				return &s->keys[i];
	return NULL;
}

static int unknown_key(
	const struct zconfig_node *key, const struct schema_section *s, struct err *e)
{
	struct buf known = BUF_INIT(400);
	const struct schema_section *from;
	size_t i;
	int rc;

	for (from = s; from; from = from->extends)
		for (i = 0; i < from->keys_n; i++)
			buf_printf(&known, "%s%s", known.len ? ", " : "", from->keys[i].name);
	if (!known.len)
		rc = zconfig_error(key, ERR_INVAL, e,
			"the key '%s' was found: only sections were expected here", key->name);
	else
		rc = zconfig_error(key, ERR_INVAL, e,
			"the key '%s' was found in <%s>: one of %.*s was expected", key->name,
			s->type, (int)known.len, (const char *)known.data);
	buf_free(&known);
	return rc;
}

/* An earlier node of the same kind and, for sections, of the same name. */
static const struct zconfig_node *find_earlier(const struct zconfig_node *n)
{
	const struct zconfig_node *before;

	for (before = n->parent->children; before != n; before = before->next) {
		if (before->kind != n->kind)
			continue;
		if (n->kind == ZCONFIG_KEY && strcmp(before->name, n->name) == 0)
			return before;
		if (n->kind == ZCONFIG_SECTION && before->value && n->value &&
			strcmp(before->value, n->value) == 0)
			return before;
	}
	return NULL;
}

/* Values that were checked: they compare as what they mean. */
static bool is_default(const struct schema_key *k, const char *text)
{
	bool given;
	bool def;

	if (k->type != TYPE_BOOLEAN)
		return strcasecmp(text, k->def) == 0;
	return datatype_boolean(text, &given, NULL) == OK &&
	       datatype_boolean(k->def, &def, NULL) == OK && given == def;
}

static bool key_is_refused(const struct schema_key *k, const struct zconfig_node *key)
{
	if (!k->refusal || !*key->value)
		return false;
	return !(k->flags & KEY_IF_CHANGED) || !is_default(k, key->value);
}

static int refuse_key(const struct schema_key *k, const struct zconfig_node *key, struct err *e)
{
	return zconfig_error(key, ERR_UNSUPPORTED, e, "'%s' in <%s> %s", key->name,
		key->parent->name, k->refusal);
}

/* A format that is wrong may be right in a style that is not offered: say that. */
static int check_style_offered(
	const struct schema_section *s, const struct zconfig_node *section, struct err *e)
{
	const struct zconfig_node *n;

	for (n = section->children; n; n = n->next) {
		const struct schema_key *k = n->kind == ZCONFIG_KEY ? find_key(s, n->name) : NULL;

		if (k && k->flags & KEY_IF_CHANGED && key_is_refused(k, n))
			return refuse_key(k, n, e);
	}
	return OK;
}

static int check_key(struct walk *w, const struct schema_section *s, const struct zconfig_node *key)
{
	const struct schema_key *k = find_key(s, key->name);
	const struct zconfig_node *before;
	union schema_value v;
	int rc;

	if (!k)
		return unknown_key(key, s, w->e);
	before = k->flags & KEY_MULTI ? NULL : find_earlier(key);
	if (before)
		return zconfig_error(key, ERR_INVAL, w->e,
			"the key '%s' was found again: line %d of '%s' has it, and one was "
			"expected",
			key->name, before->line, before->file);
	if (k->flags & KEY_REQUIRED && !*key->value)
		return zconfig_error(
			key, ERR_INVAL, w->e, "the key '%s' was found without a value", key->name);
	rc = schema_convert(k, key->value, w->mem, &v, w->e);
	if (rc == ERR_INVAL && k->type == TYPE_LOG_FORMAT &&
		check_style_offered(s, key->parent, w->e))
		return ERR_UNSUPPORTED;
	if (rc)
		err_wrap(w->e, "%s:%d: %s", key->file, key->line, key->name);
	return rc;
}

static int check_import(struct walk *w, const struct zconfig_node *n)
{
	size_t i;

	for (i = 0; i < ARRAY_LEN(packages); i++) {
		if (strcmp(packages[i], n->name) == 0) {
			w->imported[i] = true;
			return OK;
		}
	}
	return zconfig_error(n, ERR_INVAL, w->e,
		"%%import of '%s' was found: ZEO, ZODB, zc.zkzeo, zc.zlibstorage, zdaemon or "
		"ZConfig.components.logger was expected",
		n->name);
}

static bool is_imported(const struct walk *w, const char *package)
{
	size_t i;

	for (i = 0; i < ARRAY_LEN(packages); i++)
		if (package && strcmp(packages[i], package) == 0)
			return w->imported[i];
	return true;
}

static bool matches(const struct schema_child *c, const struct schema_section *s)
{
	return c->type ? strcmp(c->type, s->type) == 0 : c->class == s->class;
}

static const struct schema_child *find_child(
	const struct schema_section *parent, const struct schema_section *s)
{
	size_t i;

	for (i = 0; i < parent->children_n; i++)
		if (matches(&parent->children[i], s))
			return &parent->children[i];
	return NULL;
}

/* How many sections of @node stand where @c allows them, up to and without @end. */
static size_t count_children(const struct zconfig_node *node, const struct schema_child *c,
	const struct zconfig_node *end)
{
	const struct zconfig_node *n;
	size_t count = 0;

	for (n = node->children; n != end; n = n->next)
		if (n->kind == ZCONFIG_SECTION && matches(c, schema_find(n->name)))
			count++;
	return count;
}

static int check_place(
	struct walk *w, const struct schema_section *parent, const struct zconfig_node *n)
{
	const struct schema_section *s = schema_find(n->name);
	const struct zconfig_node *before = find_earlier(n);
	const struct schema_child *c;

	if (!s)
		return zconfig_error(n, ERR_INVAL, w->e,
			"<%s> was found: no section of this type is known", n->name);
	if (!is_imported(w, s->import))
		return zconfig_error(n, ERR_INVAL, w->e,
			"<%s> was found: '%%import %s' was expected before it", n->name, s->import);
	c = find_child(parent, s);
	if (!c && *parent->type)
		return zconfig_error(n, ERR_INVAL, w->e,
			"<%s> was found in <%s>, where it has no place", n->name, parent->type);
	if (!c)
		return zconfig_error(n, ERR_INVAL, w->e,
			"<%s> was found outside of the section that it belongs to", n->name);
	if (before)
		return zconfig_error(n, ERR_INVAL, w->e,
			"<%s %s> was found: line %d of '%s' uses this name, and another one was "
			"expected",
			n->name, n->value, before->line, before->file);
	if (!c->multi && count_children(n->parent, c, n))
		return zconfig_error(n, ERR_INVAL, w->e,
			"<%s> was found: one was expected, and it is there", n->name);
	return OK;
}

static int check_required_keys(
	struct walk *w, const struct schema_section *s, const struct zconfig_node *node)
{
	size_t i;

	for (; s; s = s->extends)
		for (i = 0; i < s->keys_n; i++)
			if (s->keys[i].flags & KEY_REQUIRED && !schema_get(node, s->keys[i].name))
				return zconfig_error(node, ERR_INVAL, w->e,
					"<%s> was found without the key '%s', which is required",
					node->name, s->keys[i].name);
	return OK;
}

static int check_required_sections(
	struct walk *w, const struct schema_section *s, const struct zconfig_node *node)
{
	size_t i;

	for (i = 0; i < s->children_n; i++) {
		const struct schema_child *c = &s->children[i];
		char what[32];

		if (!c->required || count_children(node, c, NULL))
			continue;
		snprintf(what, sizeof(what), "%s%s%s", c->type ? "<" : "a ",
			c->type ? c->type : "storage", c->type ? ">" : "");
		if (*s->type)
			return zconfig_error(node, ERR_INVAL, w->e,
				"<%s> was found without %s, which is required", s->type, what);
		return zconfig_error(
			node, ERR_INVAL, w->e, "the file ends without %s, which is required", what);
	}
	return OK;
}

static int check_section(
	struct walk *w, const struct schema_section *s, const struct zconfig_node *node)
{
	const struct zconfig_node *n;
	int rc = OK;

	for (n = node->children; n && rc == OK; n = n->next) {
		if (n->kind == ZCONFIG_KEY)
			rc = check_key(w, s, n);
		else if (n->kind == ZCONFIG_IMPORT)
			rc = check_import(w, n);
		else if ((rc = check_place(w, s, n)) == OK)
			rc = check_section(w, schema_find_in(s, n->name), n);
	}
	if (rc == OK)
		rc = check_required_keys(w, s, node);
	if (rc == OK)
		rc = check_required_sections(w, s, node);
	if (rc == OK && s->check)
		rc = s->check(node, w->e);
	return rc;
}

int schema_check(const struct zconfig_node *file, struct arena *mem, struct err *e)
{
	struct walk w = { .mem = mem, .e = e };

	return check_section(&w, schema_sections[0], file);
}

static int fill_key(const struct schema_key *k, const struct zconfig_node *node, void *target,
	struct arena *mem, struct err *e)
{
	const struct zconfig_node *given = schema_get(node, k->name);
	const char *text = given ? given->value : k->def;
	union schema_value v;
	int rc;

	if (k->offset == SCHEMA_NO_FIELD || !text)
		return OK;
	rc = schema_convert(k, text, mem, &v, e);
	if (rc == OK)
		schema_store(k, &v, target);
	return rc;
}

int schema_fill(const struct schema_section *s, const struct zconfig_node *node, void *target,
	struct arena *mem, struct err *e)
{
	size_t i;
	int rc = OK;

	for (; s && rc == OK; s = s->extends)
		for (i = 0; i < s->keys_n && rc == OK; i++)
			rc = fill_key(&s->keys[i], node, target, mem, e);
	return rc;
}

static int check_section_offered(const struct schema_section *s, const struct zconfig_node *node,
	bool skip_storages, struct err *e)
{
	const struct zconfig_node *n;
	int rc = OK;

	if (s->ignored)
		return OK;
	if (s->refusal)
		return zconfig_error(node, ERR_UNSUPPORTED, e, "<%s> %s", s->type, s->refusal);
	for (n = node->children; n && rc == OK; n = n->next) {
		const struct schema_key *k = find_key(s, n->name);
		const struct schema_section *child = schema_find_in(s, n->name);

		if (n->kind == ZCONFIG_KEY && key_is_refused(k, n))
			return refuse_key(k, n, e);
		if (n->kind == ZCONFIG_SECTION && !(skip_storages && child->class == CLASS_STORAGE))
			rc = check_section_offered(child, n, false, e);
	}
	return rc;
}

int schema_check_offered(const struct zconfig_node *file, bool skip_storages, struct err *e)
{
	return check_section_offered(schema_sections[0], file, skip_storages, e);
}
