#include "config/substitute.h"

#include <ctype.h>
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"

static bool name_start(char c)
{
	return isalpha((unsigned char)c) || c == '_';
}

static size_t name_length(const char *s)
{
	size_t n = 0;

	if (!name_start(*s))
		return 0;
	while (name_start(s[n]) || isdigit((unsigned char)s[n]))
		n++;
	return n;
}

bool substitute_is_name(const char *name)
{
	size_t n = name_length(name);

	return n && !name[n];
}

const char *substitute_find(const struct substitute_define *defines, const char *name)
{
	for (; defines; defines = defines->next)
		if (strcmp(defines->name, name) == 0)
			return defines->value;
	return NULL;
}

/* Names of %define have no case. */
static const char *find_define(
	const struct substitute_define *defines, const char *name, size_t len)
{
	for (; defines; defines = defines->next)
		if (strlen(defines->name) == len && strncasecmp(defines->name, name, len) == 0)
			return defines->value;
	return NULL;
}

static int put_value(struct buf *out, const char *value, const char *name, size_t len,
	const char *expected, struct err *e)
{
	if (!value)
		return err_set(e, ERR_INVAL, "'%.*s' has no value: %s was expected", (int)len, name,
			expected);
	buf_put_str(out, value);
	return OK;
}

static int put_env(struct buf *out, const char *name, size_t len, struct err *e)
{
	char copy[256];

	if (len >= sizeof(copy))
		return err_set(e, ERR_INVAL, "the name '%.32s...' is too long", name);
	memcpy(copy, name, len);
	copy[len] = 0;
	return put_value(out, getenv(copy), name, len, "a variable of the environment", e);
}

/* The reference after a '$'; *ret_next is what follows it. */
static int put_reference(struct buf *out, const char *s, const struct substitute_define *defines,
	const char **ret_next, struct err *e)
{
	const char close = *s == '{' ? '}' : *s == '(' ? ')' : 0;
	const char *name = close ? s + 1 : s;
	size_t len = name_length(name);

	if (*s == '$') {
		buf_put_u8(out, '$');
		*ret_next = s + 1;
		return OK;
	}
	if (!len)
		return err_set(e, ERR_INVAL,
			"'$%.16s' was found: $NAME, ${NAME}, $(NAME) or $$ was expected", s);
	if (close && name[len] != close)
		return err_set(e, ERR_INVAL, "'$%c%.*s' is not followed by '%c'", *s, (int)len,
			name, close);
	*ret_next = name + len + (close ? 1 : 0);
	if (*s == '(')
		return put_env(out, name, len, e);
	return put_value(out, find_define(defines, name, len), name, len,
		"a name that %define has given a value", e);
}

static int replace_all(
	const char *text, const struct substitute_define *defines, struct buf *out, struct err *e)
{
	const char *s = text;

	while (*s) {
		size_t plain = strcspn(s, "$");
		int rc = OK;

		buf_put(out, s, plain);
		s += plain;
		if (*s)
			rc = put_reference(out, s + 1, defines, &s, e);
		if (rc)
			return rc;
		if (out->len > SUBSTITUTE_MAX)
			return err_set(e, ERR_INVAL,
				"the value is longer than %d bytes after substitution",
				SUBSTITUTE_MAX);
	}
	buf_put_u8(out, 0);
	return buf_ok(out) ? OK : err_set(e, ERR_NOMEM, "no memory for a value");
}

int substitute(const char *text, const struct substitute_define *defines, struct arena *mem,
	const char **ret, struct err *e)
{
	struct buf out = BUF_INIT(0);
	char *copy;
	int rc;

	if (!strchr(text, '$')) {
		*ret = text;
		return OK;
	}
	rc = replace_all(text, defines, &out, e);
	if (rc)
		goto out;
	copy = arena_alloc(mem, out.len);
	if (!copy) {
		rc = err_set(e, ERR_NOMEM, "no memory for a value of %zu bytes", out.len);
		goto out;
	}
	memcpy(copy, out.data, out.len);
	*ret = copy;
out:
	buf_free(&out);
	return rc;
}
