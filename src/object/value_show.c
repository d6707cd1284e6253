/* Values as Python's repr() shows them. */
#include <inttypes.h>
#include <math.h>

#include "base/buf.h"
#include "base/decimal.h"
#include "codec/number.h"
#include "object/tree.h"

struct shower {
	struct buf *out;
	size_t end; /* of the room in it */
};

static bool is_full(const struct shower *s)
{
	return s->out->len >= s->end || !buf_ok(s->out);
}

/* The fewest digits that give the same float. */
static void show_float(struct shower *s, double f)
{
	char text[40];

	if (isnan(f) || isinf(f)) {
		buf_put_str(s->out, isnan(f) ? "nan" : f < 0 ? "-inf" : "inf");
		return;
	}
	for (int digits = 1; digits <= 17; digits++) {
		decimal_print(text, sizeof(text), 'g', digits, f);
		if (decimal_parse(text, NULL) == f)
			break;
	}
	buf_put_str(s->out, text);
	if (!text[strcspn(text, ".en")])
		buf_put_str(s->out, ".0");
}

static void show_escaped(struct shower *s, uint8_t c, bool is_text)
{
	static const char plain[] = "\\'\n\r\t";
	static const char *const escaped[] = { "\\\\", "\\'", "\\n", "\\r", "\\t" };
	const char *at = c ? strchr(plain, c) : NULL;

	if (at)
		buf_put_str(s->out, escaped[at - plain]);
	else if (c < 0x20 || c == 0x7f || (c >= 0x80 && !is_text))
		buf_printf(s->out, "\\x%02x", c);
	else
		buf_put_u8(s->out, c);
}

static void show_bytes(struct shower *s, const struct value *v)
{
	bool is_text = v->kind == VALUE_STR;

	buf_put_str(s->out, is_text ? "'" : "b'");
	for (size_t i = 0; i < v->bytes.len && !is_full(s); i++)
		show_escaped(s, (uint8_t)v->bytes.data[i], is_text);
	buf_put_str(s->out, "'");
}

static void show_reference(struct shower *s, const struct value *v)
{
	const struct reference *r = &v->ref.r;

	buf_printf(s->out, "<%s%s%soid 0x%" PRIx64, r->weak ? "weak " : "", v->ref.dotted,
		*v->ref.dotted ? " " : "", r->oid);
	if (r->database)
		buf_printf(s->out, " in %s", r->database);
	buf_put_str(s->out, ">");
}

static void show(struct shower *s, const struct value *v);

static void show_items(struct shower *s, const struct value *v)
{
	bool tuple = v->kind == VALUE_TUPLE;

	buf_put_str(s->out, tuple ? "(" : "[");
	for (size_t i = 0; i < v->seq.n && !is_full(s); i++) {
		buf_put_str(s->out, i ? ", " : "");
		show(s, v->seq.items[i]);
	}
	buf_put_str(s->out, !tuple ? "]" : v->seq.n == 1 ? ",)" : ")");
}

static void show_dict(struct shower *s, const struct value *v)
{
	struct value *key;
	struct value *item;
	size_t pos = 0;
	bool first = true;

	buf_put_str(s->out, "{");
	while (!is_full(s) && value_next(v, &pos, &key, &item)) {
		buf_put_str(s->out, first ? "" : ", ");
		show(s, key);
		buf_put_str(s->out, ": ");
		show(s, item);
		first = false;
	}
	buf_put_str(s->out, "}");
}

static void show(struct shower *s, const struct value *v)
{
	if (is_full(s))
		return;
	switch (v->kind) {
	case VALUE_NONE:
		buf_put_str(s->out, "None");
		return;
	case VALUE_BOOL:
		buf_put_str(s->out, v->b ? "True" : "False");
		return;
	case VALUE_INT:
		buf_printf(s->out, "%" PRId64, v->i);
		return;
	case VALUE_BIGINT:
		number_print(value_as_slice(v), s->out);
		return;
	case VALUE_FLOAT:
		show_float(s, v->f);
		return;
	case VALUE_STR:
	case VALUE_BYTES:
		show_bytes(s, v);
		return;
	case VALUE_REFERENCE:
		show_reference(s, v);
		return;
	case VALUE_OTHER:
		buf_printf(s->out, "<%s, %zu bytes>",
			*v->bytes.dotted ? v->bytes.dotted : "an object", v->bytes.len);
		return;
	case VALUE_DICT:
		show_dict(s, v);
		return;
	default:
		show_items(s, v);
		return;
	}
}

void value_show(const struct value *v, size_t max, struct buf *out)
{
	struct shower s = { .out = out, .end = out->len + max };

	show(&s, v);
	if (!buf_ok(out) || out->len <= s.end)
		return;
	while (s.end > 0 && (out->data[s.end] & 0xc0) == 0x80) /* not within a character */
		s.end--;
	out->len = s.end;
}
