/* Opcodes of protocol 0: everything is text up to the end of a line. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/decimal.h"
#include "codec/number.h"
#include "codec/pickle_machine.h"

enum { NUMBER_MAX = 1000 }; /* digits: more is not sent by anybody */

/* A line as a C string in @out; false after a failure. */
static bool number_line(struct pickle_machine *m, char out[NUMBER_MAX + 1])
{
	struct slice s;

	if (!pm_line(m, &s))
		return false;
	if (s.len == 0 || s.len > NUMBER_MAX || memchr(s.data, 0, s.len)) {
		pm_fail(m, ERR_FORMAT, "a number was expected");
		return false;
	}
	memcpy(out, s.data, s.len);
	out[s.len] = 0;
	return true;
}

static struct slice big_from_digits(struct pickle_machine *m, const char *digits, bool negative)
{
	size_t n = number_room(digits);
	uint8_t *le = arena_alloc(m->arena, n);

	if (!le) {
		pm_no_memory(m);
		return slice_of(NULL, 0);
	}
	number_from_digits(digits, negative, le, n);
	return slice_of(le, n);
}

/* [+-]digits[L] */
static void push_int(struct pickle_machine *m, char *text)
{
	size_t n = strlen(text);
	bool negative = text[0] == '-';

	if (n && text[n - 1] == 'L')
		text[--n] = 0;
	if (negative || text[0] == '+')
		text++;
	/* a 0 before others may be octal, or not be read: nobody writes it */
	if (!*text || text[strspn(text, "0123456789")] || (text[0] == '0' && text[1]))
		pm_fail(m, ERR_FORMAT, "a whole number was expected");
	else
		pm_push_long(m, big_from_digits(m, text, negative));
}

/* "00" and "01" are False and True. */
void pm_op_int(struct pickle_machine *m)
{
	char text[NUMBER_MAX + 1];
	struct val *v;

	if (!number_line(m, text))
		return;
	if (strcmp(text, "00") != 0 && strcmp(text, "01") != 0) {
		push_int(m, text);
		return;
	}
	v = pm_push(m, VAL_BOOL);
	if (v)
		v->b = text[1] == '1';
}

void pm_op_long(struct pickle_machine *m)
{
	char text[NUMBER_MAX + 1];

	if (number_line(m, text))
		push_int(m, text);
}

void pm_op_float(struct pickle_machine *m)
{
	char text[NUMBER_MAX + 1];
	struct val *v;
	char *end;
	double f;

	if (!number_line(m, text))
		return;
	f = decimal_parse(text, &end);
	if (*end || end == text || strpbrk(text, "xX(")) { /* Python knows no hexadecimal ones */
		pm_fail(m, ERR_FORMAT, "a number was expected");
		return;
	}
	v = pm_push(m, VAL_FLOAT);
	if (v)
		v->f = f;
}

static int hex(uint8_t c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	c |= 0x20;
	return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* @n hex digits at @p, or -1. */
static long hex_digits(const uint8_t *p, const uint8_t *end, int n)
{
	long v = 0;

	if (end - p < n)
		return -1;
	for (int i = 0; i < n; i++) {
		int d = hex(p[i]);

		if (d < 0)
			return -1;
		v = v * 16 + d;
	}
	return v;
}

/* Up to three octal digits. */
static size_t unescape_octal(const uint8_t *p, const uint8_t *end, uint8_t *out)
{
	size_t n = 0;
	unsigned v = 0;

	for (; n < 3 && p + n < end && p[n] >= '0' && p[n] <= '7'; n++)
		v = v * 8 + (p[n] - '0');
	*out = (uint8_t)v;
	return n;
}

/* One escape of repr(str) after its backslash, as codecs.escape_decode has it. Returns the bytes it
 * took (0: none, the backslash stands for itself), or -1. */
static int unescape(const uint8_t *p, const uint8_t *end, uint8_t *out)
{
	static const char from[] = "\\'\"ntrbfav";
	static const char to[] = "\\'\"\n\t\r\b\f\a\v";
	const char *at = p < end && *p ? strchr(from, *p) : NULL;
	long v;

	if (p == end)
		return -1;
	if (at) {
		*out = (uint8_t)to[at - from];
		return 1;
	}
	if (*p >= '0' && *p <= '7')
		return (int)unescape_octal(p, end, out);
	if (*p != 'x')
		return 0;
	v = hex_digits(p + 1, end, 2);
	*out = (uint8_t)v;
	return v < 0 ? -1 : 3;
}

/* A Python 2 str as repr() writes it. */
void pm_op_string(struct pickle_machine *m)
{
	struct slice line;
	const uint8_t *p;
	const uint8_t *end;
	uint8_t *out;
	size_t n = 0;

	if (!pm_line(m, &line))
		return;
	if (line.len < 2 || line.data[0] != line.data[line.len - 1] ||
		(line.data[0] != '\'' && line.data[0] != '"')) {
		pm_fail(m, ERR_FORMAT, "a string in quotes was expected");
		return;
	}
	out = arena_alloc(m->arena, line.len);
	if (!out) {
		pm_no_memory(m);
		return;
	}
	end = line.data + line.len - 1;
	for (p = line.data + 1; p < end; n++) {
		int took;

		out[n] = *p++;
		if (out[n] != '\\')
			continue;
		took = unescape(p, end, &out[n]);
		if (took < 0) {
			pm_fail(m, ERR_FORMAT, "an escape that is not known in a string");
			return;
		}
		p += took;
	}
	pm_push_py2_str(m, slice_of(out, n));
}

static size_t put_utf8(uint8_t *out, unsigned long c)
{
	if (c < 0x80) {
		out[0] = (uint8_t)c;
		return 1;
	}
	if (c < 0x800) {
		out[0] = (uint8_t)(0xc0 | c >> 6);
		out[1] = (uint8_t)(0x80 | (c & 0x3f));
		return 2;
	}
	if (c < 0x10000) {
		out[0] = (uint8_t)(0xe0 | c >> 12);
		out[1] = (uint8_t)(0x80 | (c >> 6 & 0x3f));
		out[2] = (uint8_t)(0x80 | (c & 0x3f));
		return 3;
	}
	out[0] = (uint8_t)(0xf0 | c >> 18);
	out[1] = (uint8_t)(0x80 | (c >> 12 & 0x3f));
	out[2] = (uint8_t)(0x80 | (c >> 6 & 0x3f));
	out[3] = (uint8_t)(0x80 | (c & 0x3f));
	return 4;
}

/* Text in "raw-unicode-escape": Latin-1, and \uXXXX and \UXXXXXXXX. */
void pm_op_unicode(struct pickle_machine *m)
{
	struct slice line;
	uint8_t *out;
	size_t n = 0;

	if (!pm_line(m, &line))
		return;
	out = arena_alloc(m->arena, line.len * 2 + 4);
	if (!out) {
		pm_no_memory(m);
		return;
	}
	for (size_t i = 0; i < line.len; i++) {
		const uint8_t *p = line.data + i;
		const uint8_t *end = line.data + line.len;
		bool pair = *p == '\\' && end - p > 1;
		int digits = !pair ? 0 : p[1] == 'u' ? 4 : p[1] == 'U' ? 8 : 0;
		long c = *p;

		if (digits) {
			c = hex_digits(p + 2, end, digits);
			i += (size_t)digits + 1;
		} else if (pair) { /* two that stand for themselves */
			n += put_utf8(out + n, '\\');
			c = p[1];
			i++;
		}
		if (c < 0 || c > 0x10ffff) {
			pm_fail(m, ERR_FORMAT, "an escape that is not right in a string");
			return;
		}
		n += put_utf8(out + n, (unsigned long)c);
	}
	pm_push_str(m, slice_of(out, n));
}

static bool memo_index(struct pickle_machine *m, uint64_t *ret)
{
	char text[NUMBER_MAX + 1];
	char *end;

	if (!number_line(m, text))
		return false;
	*ret = strtoull(text, &end, 10);
	if (*end || text[0] == '-') {
		pm_fail(m, ERR_FORMAT, "the number of a memo entry was expected");
		return false;
	}
	return true;
}

void pm_op_put(struct pickle_machine *m)
{
	uint64_t i;

	if (memo_index(m, &i))
		pm_memo_put(m, i);
}

void pm_op_get(struct pickle_machine *m)
{
	uint64_t i;

	if (memo_index(m, &i))
		pm_memo_get(m, i);
}

void pm_op_persid(struct pickle_machine *m)
{
	struct slice line;

	if (!(m->flags & PICKLE_KEEP_GLOBALS)) {
		pm_fail(m, ERR_FORMAT, "a persistent reference has no place here");
	} else if (!pm_line(m, &line)) {
		return;
	} else if (m->flags & PICKLE_EXACT) { /* zodbpickle names it in bytes */
		pm_push_bytes(m, line);
		pm_collect(m, VAL_PERSID, 1);
	} else {
		pm_push_py2_str(m, line);
	}
}
