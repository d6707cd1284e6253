#include "zookeeper/literal.h"

#include <ctype.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "base/decimal.h"

enum { DEPTH_MAX = 100, NUMBER_MAX = 400 };

struct parser {
	const char *start, *p, *end;
	unsigned depth;
	struct err *e;
};

static json_t *parse_value(struct parser *in);

static void skip_space(struct parser *in)
{
	while (in->p < in->end && isspace((unsigned char)*in->p))
		in->p++;
}

static json_t *expected(struct parser *in, const char *what)
{
	err_set(in->e, ERR_FORMAT, "'%.*s': expected %s at character %d",
		(int)(in->end - in->start > 200 ? 200 : in->end - in->start), in->start, what,
		(int)(in->p - in->start) + 1);
	return NULL;
}

static bool take(struct parser *in, char c)
{
	skip_space(in);
	if (in->p == in->end || *in->p != c)
		return false;
	in->p++;
	return true;
}

static bool take_word(struct parser *in, const char *word)
{
	size_t n = strlen(word);

	if ((size_t)(in->end - in->p) < n || memcmp(in->p, word, n) != 0)
		return false;
	if (in->p + n < in->end && (isalnum((unsigned char)in->p[n]) || in->p[n] == '_'))
		return false;
	in->p += n;
	return true;
}

/* ---- numbers ---- */

static json_t *integer_of(struct parser *in, const char *digits, int base, bool negative)
{
	char *stop;
	unsigned long long n;

	errno = 0;
	n = strtoull(digits, &stop, base);
	if (*stop || stop == digits)
		return expected(in, "digits");
	if (errno || n > (unsigned long long)INT64_MAX + negative) {
		err_set(in->e, ERR_LIMIT, "'%.*s': a number has at most 64 bits",
			(int)(in->end - in->start), in->start);
		return NULL;
	}
	return json_integer(negative ? (json_int_t)(0 - n) : (json_int_t)n);
}

static json_t *real_of(struct parser *in, const char *text, bool negative)
{
	char *stop;
	double v = decimal_parse(text, &stop);
	json_t *value;

	if (*stop)
		return expected(in, "a number");
	value = json_real(negative ? -v : v);
	if (!value)
		err_set(in->e, ERR_LIMIT, "'%.*s': a number that is too large",
			(int)(in->end - in->start), in->start);
	return value;
}

static json_t *number_of(struct parser *in, char *text, size_t n, bool negative)
{
	if (n > 1 && (text[n - 1] == 'L' || text[n - 1] == 'l'))
		text[--n] = 0;
	if (text[0] == '0' && n > 1) {
		char kind = (char)tolower((unsigned char)text[1]);

		if (kind == 'x')
			return integer_of(in, text + 2, 16, negative);
		if (kind == 'o' || kind == 'b')
			return integer_of(in, text + 2, kind == 'o' ? 8 : 2, negative);
		if (strspn(text, "01234567") == n)
			return integer_of(in, text, 8, negative); /* Python 2's 0644 */
	}
	if (strspn(text, "0123456789") == n)
		return integer_of(in, text, 10, negative);
	return real_of(in, text, negative);
}

static json_t *parse_number(struct parser *in, bool negative)
{
	char text[NUMBER_MAX];
	size_t n = 0;

	while (in->p < in->end && n < sizeof(text) - 1) {
		char c = *in->p;
		bool sign = (c == '+' || c == '-') && n &&
			    tolower((unsigned char)text[n - 1]) == 'e' &&
			    !(n > 1 && tolower((unsigned char)text[1]) == 'x');

		if (!isalnum((unsigned char)c) && c != '.' && c != '_' && !sign)
			break;
		if (c != '_')
			text[n++] = c;
		in->p++;
	}
	text[n] = 0;
	if (!n || !strpbrk(text, "0123456789"))
		return expected(in, "a number");
	return number_of(in, text, n, negative);
}

/* ---- strings ---- */

static void put_utf8(struct buf *out, uint32_t c)
{
	if (c < 0x80) {
		buf_put_u8(out, (uint8_t)c);
		return;
	}
	if (c < 0x800) {
		buf_put_u8(out, (uint8_t)(0xc0 | c >> 6));
	} else {
		if (c < 0x10000) {
			buf_put_u8(out, (uint8_t)(0xe0 | c >> 12));
		} else {
			buf_put_u8(out, (uint8_t)(0xf0 | c >> 18));
			buf_put_u8(out, (uint8_t)(0x80 | (c >> 12 & 0x3f)));
		}
		buf_put_u8(out, (uint8_t)(0x80 | (c >> 6 & 0x3f)));
	}
	buf_put_u8(out, (uint8_t)(0x80 | (c & 0x3f)));
}

/* @n hexadecimal digits. */
static bool take_hex(struct parser *in, int n, uint32_t *ret)
{
	uint32_t c = 0;

	for (; n; n--, in->p++) {
		if (in->p == in->end || !isxdigit((unsigned char)*in->p))
			return false;
		c = c << 4 | (uint32_t)(isdigit((unsigned char)*in->p)
						? *in->p - '0'
						: tolower((unsigned char)*in->p) - 'a' + 10);
	}
	*ret = c;
	return true;
}

static bool put_code(struct parser *in, struct buf *out, int n_digits)
{
	uint32_t c = 0, low = 0;

	if (!take_hex(in, n_digits, &c))
		return false;
	/* two halves of a character beyond 16 bits */
	if (c >= 0xd800 && c < 0xdc00 && in->end - in->p > 2 && memcmp(in->p, "\\u", 2) == 0) {
		in->p += 2;
		if (!take_hex(in, 4, &low) || low < 0xdc00 || low > 0xdfff)
			return false;
		c = 0x10000 + ((c - 0xd800) << 10) + (low - 0xdc00);
	}
	if (c > 0x10ffff || (c >= 0xd800 && c < 0xe000))
		return false;
	put_utf8(out, c);
	return true;
}

static bool put_octal(struct parser *in, struct buf *out)
{
	uint32_t c = 0;

	for (int i = 0; i < 3 && in->p < in->end && *in->p >= '0' && *in->p <= '7'; i++)
		c = c * 8 + (uint32_t)(*in->p++ - '0');
	put_utf8(out, c);
	return true;
}

/* Behind a backslash. */
static bool put_escape(struct parser *in, struct buf *out)
{
	static const char from[] = "abfnrtv\\'\"", to[] = "\a\b\f\n\r\t\v\\'\"";
	const char *found;
	char c;

	if (in->p == in->end)
		return false;
	c = *in->p;
	if (c >= '0' && c <= '7')
		return put_octal(in, out);
	in->p++;
	if (c == 'x')
		return put_code(in, out, 2);
	if (c == 'u')
		return put_code(in, out, 4);
	if (c == 'U')
		return put_code(in, out, 8);
	found = strchr(from, c);
	if (!found || !c)
		buf_put_u8(out, '\\'); /* no escape: both stay */
	buf_put_u8(out, (uint8_t)(found && c ? to[found - from] : c));
	return true;
}

/* At a string's prefix or quote? Takes the prefix. */
static bool at_string(struct parser *in, bool *ret_raw)
{
	const char *p = in->p;
	bool raw = false;

	while (p < in->end && p < in->p + 2 && strchr("uUbBrR", *p)) {
		raw |= tolower((unsigned char)*p) == 'r';
		p++;
	}
	if (p == in->end || (*p != '\'' && *p != '"'))
		return false;
	in->p = p;
	*ret_raw = raw;
	return true;
}

static bool put_string(struct parser *in, struct buf *out, bool raw)
{
	char quote = *in->p++;

	while (in->p < in->end && *in->p != quote) {
		if (*in->p != '\\') {
			buf_put_u8(out, (uint8_t)*in->p++);
			continue;
		}
		in->p++;
		if (!raw && !put_escape(in, out))
			return false;
		if (raw) {
			buf_put_u8(out, '\\');
			if (in->p < in->end)
				buf_put_u8(out, (uint8_t)*in->p++);
		}
	}
	return in->p < in->end && *in->p++ == quote;
}

static json_t *parse_string(struct parser *in, bool raw)
{
	struct buf text = BUF_INIT(0);
	json_t *value = NULL;
	bool right;

	do {
		right = put_string(in, &text, raw);
		skip_space(in);
	} while (right && at_string(in, &raw));
	if (right)
		value = json_stringn((const char *)text.data, text.len);
	if (right && !text.len)
		value = json_string("");
	buf_free(&text);
	return value ? value : expected(in, right ? "valid UTF-8" : "the end of a string");
}

/* ---- containers ---- */

static json_t *parse_array(struct parser *in, char close)
{
	json_t *array = json_array();

	while (array && !take(in, close)) {
		json_t *item = parse_value(in);
		bool more = item && take(in, ',');

		if (!item || json_array_append_new(array, item) ||
			(!more && (skip_space(in), in->p == in->end || *in->p != close))) {
			if (item)
				expected(in, close == ')' ? "',' or ')'" : "',' or ']'");
			json_decref(array);
			return NULL;
		}
	}
	return array;
}

/* (1) is 1; (1,) and () are tuples. */
static json_t *parse_parenthesis(struct parser *in)
{
	const char *before = in->p;
	json_t *one;

	if (take(in, ')'))
		return json_array();
	one = parse_value(in);
	if (!one || take(in, ')'))
		return one;
	json_decref(one);
	in->p = before;
	return parse_array(in, ')');
}

static bool parse_item(struct parser *in, json_t *object)
{
	json_t *key = parse_value(in);
	json_t *value = NULL;
	bool right = false;

	if (key && !json_is_string(key))
		expected(in, "a string as key");
	else if (key && !take(in, ':'))
		expected(in, "':'");
	else if (key)
		value = parse_value(in);
	if (value)
		right = json_object_set_new(object, json_string_value(key), value) == 0;
	json_decref(key);
	return right;
}

static json_t *parse_object(struct parser *in)
{
	json_t *object = json_object();

	while (object && !take(in, '}')) {
		bool right = parse_item(in, object);

		if (right && !take(in, ',') && (in->p == in->end || *in->p != '}')) {
			expected(in, "',' or '}'");
			right = false;
		}
		if (!right) {
			json_decref(object);
			return NULL;
		}
	}
	return object;
}

static json_t *parse_here(struct parser *in)
{
	bool raw = false;

	skip_space(in);
	if (at_string(in, &raw))
		return parse_string(in, raw);
	if (take_word(in, "True"))
		return json_true();
	if (take_word(in, "False"))
		return json_false();
	if (take_word(in, "None"))
		return json_null();
	if (take(in, '['))
		return parse_array(in, ']');
	if (take(in, '('))
		return parse_parenthesis(in);
	if (take(in, '{'))
		return parse_object(in);
	if (take(in, '-'))
		return parse_number(in, true);
	if (take(in, '+') || (in->p < in->end && (isdigit((unsigned char)*in->p) || *in->p == '.')))
		return parse_number(in, false);
	return expected(in, "a number, a string, True, False, None, a list or a dictionary");
}

static json_t *parse_value(struct parser *in)
{
	json_t *value;

	if (in->depth == DEPTH_MAX) {
		err_set(in->e, ERR_LIMIT, "a value is nested deeper than %d levels", DEPTH_MAX);
		return NULL;
	}
	in->depth++;
	value = parse_here(in);
	in->depth--;
	return value;
}

int literal_parse(struct slice text, json_t **ret, struct err *e)
{
	const char *start = (const char *)text.data;
	struct err none = ERR_INIT;
	struct parser in = { start, start, start + text.len, 0, e ? e : &none };
	json_t *value;

	in.e->code = OK;
	value = parse_value(&in);
	skip_space(&in);
	if (value && in.p < in.end && *in.p != '#') {
		json_decref(value);
		value = expected(&in, "the end");
	}
	if (!value)
		return in.e->code ? in.e->code : err_set(e, ERR_NOMEM, "no memory for a value");
	*ret = value;
	return OK;
}
