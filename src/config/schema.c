#include "config/schema.h"

#include <stdio.h>
#include <string.h>

#include "base/address.h"
#include "base/buf.h"
#include "base/check.h"
#include "base/logfile.h"
#include "config/datatype.h"

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

union value {
	const char *text;
	bool flag;
	uint32_t count;
	uint64_t bytes;
	double seconds;
	int level;
	struct address address;
	struct logfile_options logfile;
};

const struct schema_section *schema_find(const char *type)
{
	size_t i;

	for (i = 1; i < schema_sections_n; i++)
		if (strcmp(schema_sections[i]->type, type) == 0)
			return schema_sections[i];
	return NULL;
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

static int convert_integer(const char *text, union value *v, struct err *e)
{
	int64_t number;
	int rc = datatype_integer(text, 0, UINT32_MAX, &number, e);

	if (rc == OK)
		v->count = (uint32_t)number;
	return rc;
}

static int convert_seconds(const char *text, union value *v, struct err *e)
{
	int64_t number;
	int rc = datatype_integer(text, 0, UINT32_MAX, &number, e);

	if (rc == OK)
		v->seconds = (double)number;
	return rc;
}

static int check_style(const char *text, struct err *e)
{
	static const char *const styles[] = { "classic", "format", "template", "safe-template" };
	size_t i;

	for (i = 0; i < ARRAY_LEN(styles); i++)
		if (strcasecmp(text, styles[i]) == 0)
			return OK;
	return err_set(e, ERR_INVAL,
		"'%s' was found: classic, format, template or safe-template was expected", text);
}

static int check_command(const char *text, struct arena *mem, struct err *e)
{
	const char *name;
	const char *program;

	return datatype_command(text, mem, &name, &program, e);
}

static int check_monitor_server(const char *text, struct err *e)
{
	struct address address;
	bool flag;

	if (datatype_boolean(text, &flag, e) == OK)
		return OK;
	return address_parse(text, "", &address, e);
}

static int convert(const struct schema_key *k, const char *text, struct arena *mem, union value *v,
	struct err *e)
{
	v->text = NULL;
	switch (k->type) {
	case TYPE_STRING:
		v->text = *text ? text : NULL;
		return OK;
	case TYPE_TEXT:
		v->text = text;
		return OK;
	case TYPE_BOOLEAN:
		return datatype_boolean(text, &v->flag, e);
	case TYPE_INTEGER:
		return convert_integer(text, v, e);
	case TYPE_SECONDS:
		return convert_seconds(text, v, e);
	case TYPE_FLOAT:
		return datatype_float(text, &v->seconds, e);
	case TYPE_BYTES:
		return datatype_bytes(text, &v->bytes, e);
	case TYPE_INTERVAL:
		return datatype_interval(text, &v->bytes, e);
	case TYPE_LEVEL:
		return datatype_level(text, &v->level, e);
	case TYPE_DIRPATH:
		return *text ? datatype_dirpath(text, mem, &v->text, e) : OK;
	case TYPE_EXISTING_PATH:
		return *text ? datatype_existing_path(text, mem, &v->text, e) : OK;
	case TYPE_BIND_ADDRESS:
		return address_parse(text, "", &v->address, e);
	case TYPE_CONNECT_ADDRESS:
		return address_parse(text, "127.0.0.1", &v->address, e);
	case TYPE_LOG_FORMAT:
		return datatype_log_format(text, mem, &v->text, e);
	case TYPE_LOG_WHEN:
		return logfile_parse_when(text, &v->logfile, e);
	case TYPE_DOTTED_NAME:
		return datatype_dotted_name(text, e);
	case TYPE_ENCODING:
		return datatype_encoding(text, e);
	case TYPE_LOG_STYLE:
		return check_style(text, e);
	case TYPE_COMMAND:
		return check_command(text, mem, e);
	case TYPE_MONITOR_SERVER:
		return check_monitor_server(text, e);
	}
	return OK;
}

static void store(const struct schema_key *k, const union value *v, void *target)
{
	static const size_t sizes[] = {
		[TYPE_STRING] = sizeof(v->text),
		[TYPE_TEXT] = sizeof(v->text),
		[TYPE_BOOLEAN] = sizeof(v->flag),
		[TYPE_INTEGER] = sizeof(v->count),
		[TYPE_SECONDS] = sizeof(v->seconds),
		[TYPE_FLOAT] = sizeof(v->seconds),
		[TYPE_BYTES] = sizeof(v->bytes),
		[TYPE_INTERVAL] = sizeof(v->bytes),
		[TYPE_LEVEL] = sizeof(v->level),
		[TYPE_DIRPATH] = sizeof(v->text),
		[TYPE_EXISTING_PATH] = sizeof(v->text),
		[TYPE_BIND_ADDRESS] = sizeof(v->address),
		[TYPE_CONNECT_ADDRESS] = sizeof(v->address),
		[TYPE_LOG_FORMAT] = sizeof(v->text),
	};

	if (k->type == TYPE_LOG_WHEN) {
		struct logfile_options *o = target;

		o->when = v->logfile.when;
		o->weekday = v->logfile.weekday;
		return;
	}
	CHECK(k->type < ARRAY_LEN(sizes));
	memcpy((char *)target + k->offset, v, sizes[k->type]);
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
	union value v;
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
	rc = convert(k, key->value, w->mem, &v, w->e);
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
			rc = check_section(w, schema_find(n->name), n);
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
	union value v;
	int rc;

	if (k->offset == SCHEMA_NO_FIELD || !text)
		return OK;
	rc = convert(k, text, mem, &v, e);
	if (rc == OK)
		store(k, &v, target);
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
		const struct schema_section *child = schema_find(n->name);

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
