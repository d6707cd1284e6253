#include "codec/references.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "base/bigendian.h"
#include "base/buf.h"
#include "base/mem.h"
#include "codec/zrecord.h"

enum {
	OID_LEN = 8,
	KEEP_BYTES = 1 << 20, /* of a record's memory, for the next one */
};

/* What is known of a value. OID and PAIR have their oid on a stack of its own. */
enum kind {
	KIND_OTHER, /* no persistent id */
	KIND_OID,   /* bytes or text of 8 bytes */
	KIND_PAIR,  /* a tuple that starts with one */
	KIND_LIST,
	KIND_MARK, /* not a value */
};

struct value {
	enum kind kind;
	uint64_t oid;
};

/* Of the memo, what is not KIND_OTHER: open addressing. */
struct memo_slot {
	uint64_t key; /* index + 1; 0: free */
	struct value value;
};

struct references {
	struct slice in;
	size_t pos;
	size_t op_pos;
	struct err *e;
	int rc; /* sticky */
	bool stopped;

	struct buf kinds; /* a byte for each value and mark */
	uint64_t *oids;   /* of the values that have one, in the same order */
	size_t n_oids, oids_room;
	struct memo_slot *memo;
	size_t n_memo, memo_room;
	uint64_t memo_next; /* where MEMOIZE puts */
	uint64_t *found;
	size_t n_found, found_room;
	struct buf inflated;
};

struct references *references_new(void)
{
	return mem_zalloc(1, sizeof(struct references));
}

void references_free(struct references *r)
{
	if (!r)
		return;
	buf_free(&r->kinds);
	buf_free(&r->inflated);
	mem_free(r->oids);
	mem_free(r->memo);
	mem_free(r->found);
	mem_free(r);
}

static void fail(struct references *r, const char *fmt, ...) PRINTF(2, 3);

static void fail(struct references *r, const char *fmt, ...)
{
	char text[200];
	va_list ap;

	if (r->rc != OK)
		return;
	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	r->rc = err_set(r->e, ERR_FORMAT, "record: %s, at byte %zu (opcode 0x%02x)", text,
		r->op_pos, r->op_pos < r->in.len ? r->in.data[r->op_pos] : 0u);
}

static void no_memory(struct references *r)
{
	if (r->rc == OK)
		r->rc = err_set(r->e, ERR_NOMEM, "no memory to look for references");
}

/* --- input --- */

static const uint8_t *take(struct references *r, uint64_t n)
{
	const uint8_t *p = r->in.data + r->pos;

	if (r->rc != OK)
		return NULL;
	if (n > r->in.len - r->pos) {
		fail(r, "%llu bytes were expected, %zu are left", (unsigned long long)n,
			r->in.len - r->pos);
		return NULL;
	}
	r->pos += (size_t)n;
	return p;
}

/* A little-endian number of @n bytes, 0 after a failure. */
static uint64_t take_num(struct references *r, unsigned n)
{
	const uint8_t *p = take(r, n);
	uint64_t v = 0;

	for (unsigned i = n; p && i-- > 0;)
		v = v << 8 | p[i];
	return v;
}

/* Up to the newline, which is passed. */
static struct slice take_line(struct references *r)
{
	const uint8_t *start = r->in.data + r->pos;
	const uint8_t *end = NULL;

	if (r->rc == OK && r->pos < r->in.len)
		end = memchr(start, '\n', r->in.len - r->pos);
	if (!end) {
		fail(r, "a line that does not end");
		return slice_of(NULL, 0);
	}
	r->pos += (size_t)(end - start) + 1;
	return slice_of(start, (size_t)(end - start));
}

/* --- the stack --- */

static bool has_oid(enum kind k)
{
	return k == KIND_OID || k == KIND_PAIR;
}

static bool grow(struct references *r, uint64_t **array, size_t used, size_t *room)
{
	size_t more = *room ? *room * 2 : 64;
	uint64_t *p;

	if (used < *room)
		return true;
	p = mem_realloc(*array, more * sizeof(*p));
	if (!p) {
		no_memory(r);
		return false;
	}
	*array = p;
	*room = more;
	return true;
}

static void push(struct references *r, struct value v)
{
	if (r->rc != OK)
		return;
	if (has_oid(v.kind)) {
		if (!grow(r, &r->oids, r->n_oids, &r->oids_room))
			return;
		r->oids[r->n_oids++] = v.oid;
	}
	buf_put_u8(&r->kinds, v.kind);
	if (!buf_ok(&r->kinds))
		no_memory(r);
}

static void push_kind(struct references *r, enum kind kind)
{
	push(r, (struct value){ kind, 0 });
}

/* The top; of kind KIND_MARK when there is none. */
static struct value top(const struct references *r)
{
	struct value v = { KIND_MARK, 0 };

	if (r->kinds.len)
		v.kind = r->kinds.data[r->kinds.len - 1];
	if (has_oid(v.kind))
		v.oid = r->oids[r->n_oids - 1];
	return v;
}

static struct value pop(struct references *r)
{
	struct value v = top(r);

	if (v.kind == KIND_MARK) {
		fail(r, "a value was expected on the stack");
		return v;
	}
	r->kinds.len--;
	r->n_oids -= has_oid(v.kind);
	return v;
}

static void pop_n(struct references *r, unsigned n)
{
	for (unsigned i = 0; i < n && r->rc == OK; i++)
		pop(r);
}

/* Down to the mark, which goes, too. Returns the value that was above it, KIND_MARK when there was none. */
static struct value pop_mark(struct references *r)
{
	struct value v = { KIND_MARK, 0 };

	while (r->rc == OK && r->kinds.len && r->kinds.data[r->kinds.len - 1] != KIND_MARK)
		v = pop(r);
	if (!r->kinds.len)
		fail(r, "no mark");
	else if (r->rc == OK)
		r->kinds.len--;
	return v;
}

/* A tuple whose first value is @first. */
static void push_tuple(struct references *r, struct value first)
{
	push(r, (struct value){ first.kind == KIND_OID ? KIND_PAIR : KIND_OTHER, first.oid });
}

static void push_counted_tuple(struct references *r, unsigned n)
{
	struct value first = { KIND_OTHER, 0 };

	for (unsigned i = 0; i < n; i++)
		first = pop(r);
	push_tuple(r, first);
}

static void push_string(struct references *r, struct slice s)
{
	if (s.len == OID_LEN)
		push(r, (struct value){ KIND_OID, get_be64(s.data) });
	else
		push_kind(r, KIND_OTHER);
}

/* Text is an oid only when it is ASCII. */
static void push_text(struct references *r, struct slice s)
{
	if (s.len == OID_LEN && get_be64(s.data) & UINT64_C(0x8080808080808080))
		push_kind(r, KIND_OTHER);
	else
		push_string(r, s);
}

/* A string behind its length of @n bytes. */
static struct slice take_counted(struct references *r, unsigned n)
{
	uint64_t len = take_num(r, n);
	const uint8_t *p = take(r, len);

	return slice_of(p, p ? (size_t)len : 0);
}

/* --- the memo --- */

static struct memo_slot *memo_find(const struct references *r, uint64_t i)
{
	size_t at = (size_t)((i * UINT64_C(0x9e3779b97f4a7c15)) >> 32) & (r->memo_room - 1);

	while (r->memo[at].key && r->memo[at].key != i + 1)
		at = (at + 1) & (r->memo_room - 1);
	return &r->memo[at];
}

static bool memo_grow(struct references *r)
{
	struct memo_slot *old = r->memo;
	size_t old_room = r->memo_room;
	size_t room = old_room ? old_room * 2 : 64;
	struct memo_slot *memo = mem_zalloc(room, sizeof(*memo));

	if (!memo) {
		no_memory(r);
		return false;
	}
	r->memo = memo;
	r->memo_room = room;
	for (size_t i = 0; i < old_room; i++)
		if (old[i].key)
			*memo_find(r, old[i].key - 1) = old[i];
	mem_free(old);
	return true;
}

static void memo_put(struct references *r, uint64_t i)
{
	struct value v = top(r);
	struct memo_slot *slot;

	if (v.kind == KIND_MARK)
		fail(r, "nothing to be put into the memo");
	if (i == UINT64_MAX)
		fail(r, "a memo entry of a number that is too large");
	if (r->rc != OK)
		return;
	if (i >= r->memo_next)
		r->memo_next = i + 1;
	if (v.kind == KIND_OTHER && !r->n_memo)
		return; /* what is not there is KIND_OTHER */
	if (2 * r->n_memo >= r->memo_room && !memo_grow(r))
		return;
	slot = memo_find(r, i);
	if (!slot->key && v.kind == KIND_OTHER)
		return;
	r->n_memo += !slot->key;
	*slot = (struct memo_slot){ i + 1, v };
}

static void memo_get(struct references *r, uint64_t i)
{
	const struct memo_slot *slot = r->n_memo ? memo_find(r, i) : NULL;

	if (slot && slot->key)
		push(r, slot->value);
	else
		push_kind(r, KIND_OTHER);
}

static uint64_t take_decimal(struct references *r)
{
	struct slice s = take_line(r);
	uint64_t v = 0;

	if (r->rc == OK && (s.len == 0 || s.len > 18))
		fail(r, "a number was expected");
	for (size_t i = 0; i < s.len && r->rc == OK; i++) {
		if (s.data[i] < '0' || s.data[i] > '9')
			fail(r, "a number was expected");
		v = v * 10 + (uint64_t)(s.data[i] - '0');
	}
	return v;
}

/* --- references --- */

static void found(struct references *r, struct value id)
{
	if (r->rc != OK || id.kind == KIND_LIST)
		return;
	if (!has_oid(id.kind)) {
		fail(r, "a persistent id that names no object");
		return;
	}
	if (grow(r, &r->found, r->n_found, &r->found_room))
		r->found[r->n_found++] = id.oid;
}

static void op_persid(struct references *r)
{
	struct slice s = take_line(r);

	push_string(r, s);
	found(r, pop(r));
	push_kind(r, KIND_OTHER);
}

static void op_binpersid(struct references *r)
{
	found(r, pop(r));
	push_kind(r, KIND_OTHER);
}

/* --- the text of protocol 0 --- */

static int hex_digit(uint8_t c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	c |= 0x20;
	return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* @n hex digits at *at, or -1. */
static int take_hex(struct slice s, size_t *at, unsigned n)
{
	int v = 0;

	for (unsigned i = 0; i < n; i++) {
		int digit = *at < s.len ? hex_digit(s.data[*at]) : -1;

		if (digit < 0 || v > 0x10ffff)
			return -1;
		v = v << 4 | digit;
		++*at;
	}
	return v;
}

static int take_octal(struct slice s, size_t *at)
{
	int v = 0;

	for (int i = 0; i < 3 && *at < s.len && s.data[*at] >= '0' && s.data[*at] <= '7'; i++)
		v = v << 3 | (s.data[(*at)++] - '0');
	return v & 0xff;
}

/* What stands behind a backslash at *at; -1: the escape is none, -2: it stands for nothing. */
static int take_escape(struct slice s, size_t *at)
{
	static const char from[] = "abfnrtv\\'\"";
	static const char to[] = "\a\b\f\n\r\t\v\\'\"";
	uint8_t c = *at < s.len ? s.data[*at] : 0;
	const char *known = c ? strchr(from, c) : NULL;

	if (c >= '0' && c <= '7')
		return take_octal(s, at);
	++*at;
	if (c == 'x')
		return take_hex(s, at, 2);
	if (known)
		return (uint8_t)to[known - from];
	--*at;
	return '\\'; /* it stands for itself, as Python takes what it does not know */
}

/* STRING: a repr(). Only 8 bytes are of interest; the rest is not looked at. */
static void op_string(struct references *r)
{
	struct slice s = take_line(r);
	uint8_t oid[OID_LEN];
	size_t n = 0;
	size_t at = 1;

	while (s.len && s.data[s.len - 1] <= ' ')
		s.len--;
	if (r->rc == OK && (s.len < 2 || s.data[0] != s.data[s.len - 1] ||
				   (s.data[0] != '\'' && s.data[0] != '"')))
		fail(r, "a string without quotes");
	if (r->rc != OK)
		return;
	s.len--;
	while (at < s.len && n <= OID_LEN) {
		int c = s.data[at++];

		if (c == '\\')
			c = take_escape(s, &at);
		if (c < 0) {
			fail(r, "a string with an escape that is none");
			return;
		}
		if (n < OID_LEN)
			oid[n] = (uint8_t)c;
		n++;
	}
	push_string(r, slice_of(oid, n));
}

/* UNICODE: raw-unicode-escape. */
static void op_unicode(struct references *r)
{
	struct slice s = take_line(r);
	uint8_t oid[OID_LEN];
	size_t n = 0;

	for (size_t at = 0; at < s.len && n <= OID_LEN; n++) {
		int c = s.data[at++];

		if (c == '\\' && at < s.len && (s.data[at] == 'u' || s.data[at] == 'U')) {
			unsigned digits = s.data[at++] == 'u' ? 4 : 8;

			c = take_hex(s, &at, digits);
			if (c < 0) {
				fail(r, "text with an escape that is none");
				return;
			}
		}
		if (n < OID_LEN)
			oid[n] = c < 0x80 ? (uint8_t)c : 0x80;
	}
	push_text(r, slice_of(oid, n));
}

/* --- opcodes --- */

static void skip_lines(struct references *r, unsigned n)
{
	for (unsigned i = 0; i < n; i++)
		(void)take_line(r);
}

static void skip_counted(struct references *r, unsigned n)
{
	(void)take_counted(r, n);
	push_kind(r, KIND_OTHER);
}

static void skip(struct references *r, unsigned n)
{
	(void)take(r, n);
	push_kind(r, KIND_OTHER);
}

/* Numbers and constants; true when it was one. */
static bool op_plain(struct references *r, uint8_t op)
{
	switch (op) {
	case 'N':  /* NONE */
	case 0x88: /* NEWTRUE */
	case 0x89: /* NEWFALSE */
	case '}':  /* EMPTY_DICT */
	case 0x8f: /* EMPTY_SET */
	case 0x97: /* NEXT_BUFFER */
		push_kind(r, KIND_OTHER);
		return true;
	case 'K':  /* BININT1 */
	case 0x82: /* EXT1 */
		skip(r, 1);
		return true;
	case 'M':  /* BININT2 */
	case 0x83: /* EXT2 */
		skip(r, 2);
		return true;
	case 'J':  /* BININT */
	case 0x84: /* EXT4 */
		skip(r, 4);
		return true;
	case 'G': /* BINFLOAT */
		skip(r, 8);
		return true;
	case 'I': /* INT */
	case 'L': /* LONG */
	case 'F': /* FLOAT */
		skip_lines(r, 1);
		push_kind(r, KIND_OTHER);
		return true;
	case 'c': /* GLOBAL */
		skip_lines(r, 2);
		push_kind(r, KIND_OTHER);
		return true;
	case 0x8a: /* LONG1 */
		skip_counted(r, 1);
		return true;
	case 0x8b: /* LONG4 */
		skip_counted(r, 4);
		return true;
	case 0x96: /* BYTEARRAY8 */
		skip_counted(r, 8);
		return true;
	default:
		return false;
	}
}

static bool op_text(struct references *r, uint8_t op)
{
	switch (op) {
	case 'U': /* SHORT_BINSTRING */
	case 'C': /* SHORT_BINBYTES */
		push_string(r, take_counted(r, 1));
		return true;
	case 'T': /* BINSTRING */
	case 'B': /* BINBYTES */
		push_string(r, take_counted(r, 4));
		return true;
	case 0x8e: /* BINBYTES8 */
		push_string(r, take_counted(r, 8));
		return true;
	case 0x8c: /* SHORT_BINUNICODE */
		push_text(r, take_counted(r, 1));
		return true;
	case 'X': /* BINUNICODE */
		push_text(r, take_counted(r, 4));
		return true;
	case 0x8d: /* BINUNICODE8 */
		push_text(r, take_counted(r, 8));
		return true;
	case 'S':
		op_string(r);
		return true;
	case 'V':
		op_unicode(r);
		return true;
	case 'P':
		op_persid(r);
		return true;
	case 'Q':
		op_binpersid(r);
		return true;
	default:
		return false;
	}
}

/* What puts several values into one. */
static bool op_collect(struct references *r, uint8_t op)
{
	switch (op) {
	case ')': /* EMPTY_TUPLE */
		push_kind(r, KIND_OTHER);
		return true;
	case 0x85: /* TUPLE1 */
	case 0x86:
	case 0x87: /* TUPLE3 */
		push_counted_tuple(r, op - 0x84u);
		return true;
	case 't': /* TUPLE */
		push_tuple(r, pop_mark(r));
		return true;
	case ']': /* EMPTY_LIST */
		push_kind(r, KIND_LIST);
		return true;
	case 'l': /* LIST */
		pop_mark(r);
		push_kind(r, KIND_LIST);
		return true;
	case 'i': /* INST */
		skip_lines(r, 2);
		/* fall through */
	case 'd':  /* DICT */
	case 'o':  /* OBJ */
	case 0x91: /* FROZENSET */
		pop_mark(r);
		push_kind(r, KIND_OTHER);
		return true;
	case 'e':  /* APPENDS */
	case 'u':  /* SETITEMS */
	case 0x90: /* ADDITEMS */
	case '1':  /* POP_MARK */
		pop_mark(r);
		return true;
	case 's': /* SETITEM */
		pop_n(r, 2);
		return true;
	case 'a': /* APPEND */
	case 'b': /* BUILD */
		pop_n(r, 1);
		return true;
	case 'R':  /* REDUCE */
	case 0x81: /* NEWOBJ */
	case 0x93: /* STACK_GLOBAL */
		pop_n(r, 2);
		push_kind(r, KIND_OTHER);
		return true;
	case 0x92: /* NEWOBJ_EX */
		pop_n(r, 3);
		push_kind(r, KIND_OTHER);
		return true;
	default:
		return false;
	}
}

static void op_stack(struct references *r, uint8_t op)
{
	switch (op) {
	case '(': /* MARK */
		push_kind(r, KIND_MARK);
		break;
	case '0': /* POP: a mark, too */
		if (r->kinds.len && top(r).kind == KIND_MARK)
			r->kinds.len--;
		else
			pop(r);
		break;
	case '2': /* DUP */
		if (top(r).kind == KIND_MARK)
			fail(r, "nothing to be doubled");
		push(r, top(r));
		break;
	case 'p': /* PUT */
		memo_put(r, take_decimal(r));
		break;
	case 'q': /* BINPUT */
		memo_put(r, take_num(r, 1));
		break;
	case 'r': /* LONG_BINPUT */
		memo_put(r, take_num(r, 4));
		break;
	case 0x94: /* MEMOIZE */
		memo_put(r, r->memo_next);
		break;
	case 'g': /* GET */
		memo_get(r, take_decimal(r));
		break;
	case 'h': /* BINGET */
		memo_get(r, take_num(r, 1));
		break;
	case 'j': /* LONG_BINGET */
		memo_get(r, take_num(r, 4));
		break;
	case 0x80: /* PROTO */
		(void)take(r, 1);
		break;
	case 0x95: /* FRAME */
		(void)take(r, 8);
		break;
	case 0x98: /* READONLY_BUFFER */
		break;
	case '.': /* STOP */
		pop(r);
		r->stopped = true;
		break;
	default:
		fail(r, "an opcode that is none");
	}
}

/* One pickle; the memo of the one before stays, as ZODB writes both with one pickler. */
static void scan_pickle(struct references *r)
{
	r->kinds.len = 0;
	r->n_oids = 0;
	r->stopped = false;
	while (r->rc == OK && !r->stopped) {
		const uint8_t *op;

		r->op_pos = r->pos;
		op = take(r, 1);
		if (op && !op_plain(r, *op) && !op_text(r, *op) && !op_collect(r, *op))
			op_stack(r, *op);
	}
}

static void forget(struct references *r)
{
	r->rc = OK;
	r->pos = 0;
	r->n_found = 0;
	buf_shrink(&r->kinds, KEEP_BYTES);
	buf_shrink(&r->inflated, KEEP_BYTES);
	if (r->memo_room * sizeof(*r->memo) > KEEP_BYTES) {
		mem_free(r->memo);
		r->memo = NULL;
		r->memo_room = 0;
	} else if (r->n_memo) {
		memset(r->memo, 0, r->memo_room * sizeof(*r->memo));
	}
	r->n_memo = 0;
	r->memo_next = 0;
}

int references_scan(struct references *r, struct slice record, const uint64_t **ret_oids,
	size_t *ret_n, struct err *e)
{
	forget(r);
	r->e = e;
	r->in = record;
	if (zrecord_is(record)) {
		int rc = zrecord_inflate(record, &r->inflated, e);

		if (rc != OK)
			return rc;
		r->in = buf_slice(&r->inflated);
	}
	scan_pickle(r);
	if (r->rc == OK)
		scan_pickle(r);
	if (r->rc != OK)
		return r->rc;
	*ret_oids = r->found;
	*ret_n = r->n_found;
	return OK;
}
