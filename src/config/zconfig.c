#include "config/zconfig.h"

#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/os.h"
#include "config/substitute.h"

/* One file while it is read. */
struct source {
	const struct source *includer;
	const char *name; /* as it was given */
	char *real;       /* canonical path; NULL for text at hand */
	int line;
	int depth;
	struct zconfig_node *base;    /* the section the file is included into */
	struct zconfig_node *section; /* the innermost open one */
};

struct parser {
	struct arena *mem;
	struct substitute_define *defines;
	struct err *e;
};

static int parse_text(struct parser *p, struct source *src, struct slice text);
static int read_source(struct parser *p, struct source *src);

char *zconfig_copy(struct arena *mem, const char *s, size_t len)
{
	char *copy = arena_alloc(mem, len + 1);

	if (!copy)
		return NULL;
	memcpy(copy, s, len);
	copy[len] = 0;
	return copy;
}

int zconfig_error(const struct zconfig_node *at, int code, struct err *e, const char *fmt, ...)
{
	char text[sizeof(((struct err *)0)->text)];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	return err_set(e, code, "%s:%d: %s", at->file, at->line, text);
}

static int fail(struct parser *p, const struct source *src, const char *fmt, ...) PRINTF(3, 4);

static int fail(struct parser *p, const struct source *src, const char *fmt, ...)
{
	char text[sizeof(p->e->text)];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	return err_set(p->e, ERR_INVAL, "%s:%d: %s", src->name, src->line, text);
}

static int no_memory(struct parser *p)
{
	return err_set(p->e, ERR_NOMEM, "no memory to read the configuration");
}

/* Python's str.strip() knows four more than isspace(). */
static bool is_space(char c)
{
	return isspace((unsigned char)c) || (c >= 0x1c && c <= 0x1f);
}

/* Bytes of @s up to white space or a parenthesis: what ZConfig takes for a name. */
static size_t word_length(const char *s)
{
	size_t n = 0;

	while (s[n] && !is_space(s[n]) && s[n] != '(' && s[n] != ')')
		n++;
	return n;
}

static const char *skip_space(const char *s)
{
	while (is_space(*s))
		s++;
	return s;
}

static void strip_end(char *s)
{
	size_t n = strlen(s);

	while (n && is_space(s[n - 1]))
		s[--n] = 0;
}

static char *lower_copy(struct arena *mem, const char *s, size_t len)
{
	char *copy = zconfig_copy(mem, s, len);
	char *c;

	for (c = copy; c && *c; c++)
		*c = (char)tolower((unsigned char)*c);
	return copy;
}

static struct zconfig_node *add_node(struct parser *p, const struct source *src,
	enum zconfig_kind kind, const char *name, const char *value)
{
	struct zconfig_node *n = name ? arena_alloc(p->mem, sizeof(*n)) : NULL;
	struct zconfig_node *parent = src->section;

	if (!n)
		return NULL;
	*n = (struct zconfig_node){
		.kind = kind,
		.name = name,
		.value = value,
		.file = src->name,
		.line = src->line,
		.parent = parent,
	};
	if (parent && parent->last_child)
		parent->last_child->next = n;
	else if (parent)
		parent->children = n;
	if (parent)
		parent->last_child = n;
	return n;
}

/* Texts of substitution have no place of their own. */
static int replace(struct parser *p, const struct source *src, const char *text, const char **ret)
{
	int rc = substitute(text, p->defines, p->mem, ret, p->e);

	if (rc == ERR_INVAL)
		err_wrap(p->e, "%s:%d", src->name, src->line);
	return rc;
}

static int close_section(struct parser *p, struct source *src, char *type)
{
	struct zconfig_node *open = src->section;

	strip_end(type);
	if (open == src->base)
		return fail(p, src, "</%s> was found, but no section is open here", type);
	if (strcasecmp(type, open->name) != 0)
		return fail(p, src, "</%s> was found: </%s> was expected, for line %d", type,
			open->name, open->line);
	src->section = open->parent;
	return OK;
}

static int nesting(const struct zconfig_node *n)
{
	int depth = 0;

	for (; n; n = n->parent)
		depth++;
	return depth;
}

/* @head is what stands between < and >. */
static int open_section(struct parser *p, struct source *src, char *head)
{
	size_t len = strlen(head);
	bool empty = len && head[len - 1] == '/';
	size_t type_len;
	size_t name_len;
	const char *name;
	struct zconfig_node *n;

	if (empty)
		head[len - 1] = 0;
	strip_end(head);
	type_len = word_length(head);
	name = skip_space(head + type_len);
	name_len = word_length(name);
	if (!type_len || name[name_len] || (name_len && name == head + type_len))
		return fail(p, src, "<%s> was found: <TYPE> or <TYPE NAME> was expected", head);
	if (nesting(src->section) > ZCONFIG_DEPTH_MAX)
		return fail(p, src, "sections are nested more than %d deep", ZCONFIG_DEPTH_MAX);
	n = add_node(p, src, ZCONFIG_SECTION, lower_copy(p->mem, head, type_len),
		name_len ? lower_copy(p->mem, name, name_len) : NULL);
	if (!n || (name_len && !n->value))
		return no_memory(p);
	if (!empty)
		src->section = n;
	return OK;
}

static int parse_section_line(struct parser *p, struct source *src, char *line)
{
	size_t len = strlen(line);

	if (line[len - 1] != '>')
		return fail(p, src, "'%s' was found: a '>' was expected at its end", line);
	line[len - 1] = 0;
	if (line[1] == '/')
		return close_section(p, src, line + 2);
	return open_section(p, src, line + 1);
}

static int do_import(struct parser *p, struct source *src, const char *arg)
{
	const char *package;
	int rc = replace(p, src, arg, &package);

	if (rc)
		return rc;
	return add_node(p, src, ZCONFIG_IMPORT, package, NULL) ? OK : no_memory(p);
}

static int do_define(struct parser *p, struct source *src, const char *arg)
{
	size_t len = strcspn(arg, " \t\v\f\r");
	const char *value = skip_space(arg + len);
	const char *name = lower_copy(p->mem, arg, len);
	struct substitute_define *d = arena_alloc(p->mem, sizeof(*d));
	const char *before;
	int rc;

	if (!name || !d)
		return no_memory(p);
	if (!substitute_is_name(name))
		return fail(p, src,
			"'%s' was found after %%define: a name of letters, digits and '_' was "
			"expected",
			name);
	before = substitute_find(p->defines, name);
	if (before && strcmp(before, value) != 0)
		return fail(p, src, "'%s' is defined as '%s' already", name, before);
	rc = replace(p, src, value, &d->value);
	if (rc)
		return rc;
	d->name = name;
	d->value = zconfig_copy(p->mem, d->value, strlen(d->value));
	d->next = p->defines;
	p->defines = d;
	return d->value ? OK : no_memory(p);
}

static const char *without_scheme(const char *path)
{
	return strncasecmp(path, "file://", 7) == 0 ? path + 7 : path;
}

/* As a browser would: relative to the file with the %include. */
static const char *include_path(struct parser *p, const struct source *src, const char *arg)
{
	const char *path = without_scheme(arg);
	const char *slash = strrchr(src->name, '/');
	size_t dir = slash ? (size_t)(slash + 1 - src->name) : 0;
	char *joined;

	if (*path == '/' || !dir)
		return zconfig_copy(p->mem, path, strlen(path));
	joined = arena_alloc(p->mem, dir + strlen(path) + 1);
	if (!joined)
		return NULL;
	memcpy(joined, src->name, dir);
	strcpy(joined + dir, path);
	return joined;
}

static int do_include(struct parser *p, struct source *src, const char *arg)
{
	struct source inner = {
		.includer = src,
		.line = 0,
		.depth = src->depth + 1,
		.base = src->section,
		.section = src->section,
	};
	int rc = replace(p, src, arg, &arg);

	if (rc)
		return rc;
	if (strstr(arg, "://") && strncasecmp(arg, "file://", 7) != 0)
		return fail(p, src, "'%s' was found after %%include: a file was expected", arg);
	if (inner.depth > ZCONFIG_DEPTH_MAX)
		return fail(p, src, "files are included more than %d deep", ZCONFIG_DEPTH_MAX);
	inner.name = include_path(p, src, arg);
	if (!inner.name)
		return no_memory(p);
	return read_source(p, &inner);
}

static int parse_directive(struct parser *p, struct source *src, const char *line)
{
	static const struct {
		const char *name;
		int (*run)(struct parser *p, struct source *src, const char *arg);
	} directives[] = {
		{ "define", do_define },
		{ "import", do_import },
		{ "include", do_include },
	};
	size_t len = word_length(line);
	const char *arg = skip_space(line + len);
	size_t i;

	for (i = 0; i < ARRAY_LEN(directives); i++) {
		if (strlen(directives[i].name) != len || memcmp(directives[i].name, line, len) != 0)
			continue;
		if (!*arg)
			return fail(
				p, src, "%%%s was found without an argument", directives[i].name);
		return directives[i].run(p, src, arg);
	}
	return fail(p, src, "'%%%.*s' was found: %%define, %%import or %%include was expected",
		(int)len, line);
}

static int parse_key(struct parser *p, struct source *src, const char *line)
{
	size_t len = word_length(line);
	const char *value = skip_space(line + len);
	int rc;

	if (!len)
		return fail(p, src, "'%s' was found: a key and its value were expected", line);
	rc = replace(p, src, value, &value);
	if (rc)
		return rc;
	value = zconfig_copy(p->mem, value, strlen(value));
	if (!value || !add_node(p, src, ZCONFIG_KEY, lower_copy(p->mem, line, len), value))
		return no_memory(p);
	return OK;
}

static int parse_line(struct parser *p, struct source *src, char *line)
{
	switch (*line) {
	case 0:
	case '#':
		return OK;
	case '<':
		return parse_section_line(p, src, line);
	case '%':
		return parse_directive(p, src, line + 1);
	default:
		return parse_key(p, src, line);
	}
}

/* A copy of the line without the white space around it. */
static int next_line(struct parser *p, struct source *src, struct slice *rest, char **ret)
{
	const char *start = (const char *)rest->data;
	const char *newline = memchr(start, '\n', rest->len);
	size_t len = newline ? (size_t)(newline - start) : rest->len;
	size_t taken = newline ? len + 1 : len;
	char *line;

	src->line++;
	if (memchr(start, 0, len))
		return fail(p, src, "a byte of value 0 was found: text was expected");
	line = zconfig_copy(p->mem, start, len);
	if (!line)
		return no_memory(p);
	strip_end(line);
	*ret = (char *)skip_space(line);
	rest->data += taken;
	rest->len -= taken;
	return OK;
}

static int parse_text(struct parser *p, struct source *src, struct slice rest)
{
	char *line = NULL;
	int rc;

	while (rest.len) {
		rc = next_line(p, src, &rest, &line);
		if (rc == OK)
			rc = parse_line(p, src, line);
		if (rc)
			return rc;
	}
	if (src->section != src->base)
		return fail(p, src, "the file ends in <%s> of line %d: </%s> was expected",
			src->section->name, src->section->line, src->section->name);
	return OK;
}

/* Pipes, too, so that "-C /dev/stdin" works. */
static int read_all(int fd, struct buf *out, const char *name, struct err *e)
{
	for (;;) {
		uint8_t *room = buf_reserve(out, 4096);
		ssize_t n;

		if (!room && out->len + 4096 <= ZCONFIG_FILE_MAX)
			return err_set(e, ERR_NOMEM, "no memory to read '%s'", name);
		if (!room)
			return err_set(
				e, ERR_LIMIT, "%s: more than %d bytes", name, ZCONFIG_FILE_MAX);
		n = read(fd, room, 4096);
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return err_sys(e, errno, "%s: cannot be read", name);
		if (n == 0)
			return OK;
		buf_advance(out, (size_t)n);
	}
}

static int check_cycle(struct parser *p, const struct source *src)
{
	const struct source *s;

	for (s = src->includer; s; s = s->includer)
		if (src->real && s->real && strcmp(s->real, src->real) == 0)
			return fail(p, src->includer, "%%include of '%s', which is being read",
				src->name);
	return OK;
}

static int open_source(struct parser *p, const struct source *src, int *ret_fd)
{
	int rc = os_open(src->name, O_RDONLY, ret_fd, p->e);

	if (rc && src->includer)
		err_wrap(p->e, "%s:%d", src->includer->name, src->includer->line);
	return rc;
}

static int read_source(struct parser *p, struct source *src)
{
	struct buf text = BUF_INIT(ZCONFIG_FILE_MAX);
	int fd = -1;
	int rc;

	src->real = realpath(src->name, NULL);
	rc = check_cycle(p, src);
	if (rc == OK)
		rc = open_source(p, src, &fd);
	if (rc == OK)
		rc = read_all(fd, &text, src->name, p->e);
	if (rc == OK)
		rc = parse_text(p, src, buf_slice(&text));
	os_close(fd);
	buf_free(&text);
	free(src->real); /* realpath()'s own */
	return rc;
}

static int start(struct parser *p, struct source *src, const char *name)
{
	src->name = zconfig_copy(p->mem, name, strlen(name));
	if (!src->name)
		return no_memory(p);
	src->base = add_node(p, src, ZCONFIG_SECTION, "", NULL);
	src->section = src->base;
	return src->base ? OK : no_memory(p);
}

static void finish(const struct source *src, struct zconfig_node **ret)
{
	src->base->line = src->line;
	*ret = src->base;
}

int zconfig_read(const char *path, struct arena *mem, struct zconfig_node **ret, struct err *e)
{
	struct parser p = { mem, NULL, e };
	struct source src = { 0 };
	int rc = start(&p, &src, without_scheme(path));

	if (rc == OK)
		rc = read_source(&p, &src);
	if (rc == OK)
		finish(&src, ret);
	return rc;
}

int zconfig_parse(const char *name, struct slice text, struct arena *mem, struct zconfig_node **ret,
	struct err *e)
{
	struct parser p = { mem, NULL, e };
	struct source src = { 0 };
	int rc = start(&p, &src, name);

	if (rc == OK)
		rc = parse_text(&p, &src, text);
	if (rc == OK)
		finish(&src, ret);
	return rc;
}
