/* The decoder's machine and the opcodes of plain values; docs/protocol.md#pickles */
#include "codec/pickle.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "base/compiler.h"
#include "codec/pickle_machine.h"
#include "codec/utf8.h"

/* Shared parts of a value are written once and read often: by this much it may be larger. */
enum { WEIGHT_FACTOR = 16, WEIGHT_MIN = 4096 };

const struct pickle_limits pickle_limits_message = {
	.depth = 48,
	.memo = 1 << 16,
	.items = 4 << 20,
};

void pm_fail(struct pickle_machine *m, int code, const char *fmt, ...)
{
	char text[300];
	va_list ap;

	if (m->rc != OK)
		return;
	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	m->rc = err_set(m->e, code, "pickle: %s, at byte %zu (opcode 0x%02x)", text, m->op_pos,
		m->op_pos < m->in.len ? m->in.data[m->op_pos] : 0u);
}

const uint8_t *pm_take(struct pickle_machine *m, uint64_t n)
{
	const uint8_t *p = m->in.data + m->pos;

	if (m->rc != OK)
		return NULL;
	if (n > m->in.len - m->pos) {
		pm_fail(m, ERR_FORMAT, "%llu bytes were expected, %zu are left",
			(unsigned long long)n, m->in.len - m->pos);
		return NULL;
	}
	m->pos += (size_t)n;
	return p;
}

bool pm_line(struct pickle_machine *m, struct slice *ret)
{
	const uint8_t *start = m->in.data + m->pos;
	const uint8_t *end;

	if (m->rc != OK)
		return false;
	end = m->pos < m->in.len ? memchr(start, '\n', m->in.len - m->pos) : NULL;
	if (!end) {
		pm_fail(m, ERR_FORMAT, "a line that does not end");
		return false;
	}
	*ret = slice_of(start, (size_t)(end - start));
	m->pos += ret->len + 1;
	return true;
}

static void *take_memory(struct pickle_machine *m, size_t n, size_t size)
{
	void *p = n <= SIZE_MAX / size ? arena_alloc(m->arena, n * size) : NULL;

	if (!p)
		pm_fail(m, ERR_LIMIT, "more memory would be needed than one message may take");
	return p;
}

/* Double the room of an array whose old memory stays the arena's. */
static bool grow(struct pickle_machine *m, void **array, size_t size, size_t used, size_t *room)
{
	size_t more = *room ? *room * 2 : 64;
	void *p = take_memory(m, more, size);

	if (!p)
		return false;
	if (used)
		memcpy(p, *array, used * size);
	*array = p;
	*room = more;
	return true;
}

void pm_push_node(struct pickle_machine *m, struct pickle_node *node)
{
	if (m->rc != OK)
		return;
	if (m->n_stack == m->stack_room) {
		void *p = m->stack;

		if (!grow(m, &p, sizeof(m->stack[0]), m->n_stack, &m->stack_room))
			return;
		m->stack = p;
	}
	m->stack[m->n_stack++] = node;
}

struct val *pm_push(struct pickle_machine *m, enum val_type type)
{
	struct pickle_node *node;

	if (m->rc != OK)
		return NULL;
	if (++m->n_items > m->limits->items) {
		pm_fail(m, ERR_LIMIT, "more than %u values", m->limits->items);
		return NULL;
	}
	node = take_memory(m, 1, sizeof(*node));
	if (!node)
		return NULL;
	*node = (struct pickle_node){ .v.type = type, .weight = 1 };
	pm_push_node(m, node);
	return m->rc == OK ? &node->v : NULL;
}

struct pickle_node *pm_top(struct pickle_machine *m)
{
	size_t floor = m->n_marks ? m->marks[m->n_marks - 1] : 0;

	if (m->rc == OK && m->n_stack <= floor)
		pm_fail(m, ERR_FORMAT, "the stack is empty");
	return m->rc == OK ? m->stack[m->n_stack - 1] : NULL;
}

struct pickle_node *pm_pop(struct pickle_machine *m)
{
	struct pickle_node *top = pm_top(m);

	if (top)
		m->n_stack--;
	return top;
}

void pm_adopt(struct pickle_machine *m, struct pickle_node *parent, const struct pickle_node *child)
{
	if (child->depth + 1 > parent->depth)
		parent->depth = child->depth + 1;
	if (parent->depth > m->limits->depth)
		pm_fail(m, ERR_LIMIT, "nested deeper than %u", m->limits->depth);
	else if (child->weight > m->weight_max || parent->weight > m->weight_max - child->weight)
		pm_fail(m, ERR_LIMIT, "it stands for more than %u times its bytes", WEIGHT_FACTOR);
	else
		parent->weight += child->weight;
}

size_t pm_take_mark(struct pickle_machine *m)
{
	if (m->rc != OK)
		return 0;
	if (m->n_marks == 0) {
		pm_fail(m, ERR_FORMAT, "no mark");
		return 0;
	}
	return m->n_stack - m->marks[--m->n_marks];
}

/* Room for the items of a container of @n. */
static size_t room_for(size_t n)
{
	size_t room = n ? 4 : 0;

	while (room < n)
		room *= 2;
	return room;
}

void pm_collect(struct pickle_machine *m, enum val_type type, size_t n)
{
	size_t floor = m->n_marks ? m->marks[m->n_marks - 1] : 0;
	struct pickle_node **from;
	struct pickle_node *node;
	struct val *items;

	if (m->rc == OK && m->n_stack - floor < n)
		pm_fail(m, ERR_FORMAT, "%zu values were expected on the stack", n);
	if (m->rc != OK)
		return;
	items = n ? take_memory(m, room_for(n), sizeof(*items)) : NULL;
	m->n_stack -= n;
	from = m->stack + m->n_stack; /* pm_push() takes the place of the first one */
	node = n ? from[0] : NULL;
	if (!pm_push(m, type))
		return;
	m->stack[m->n_stack - 1]->depth = 1;
	for (size_t i = 0; i < n && m->rc == OK; i++) {
		const struct pickle_node *child = i ? from[i] : node;

		pm_adopt(m, m->stack[m->n_stack - 1], child);
		items[i] = child->v;
	}
	node = m->stack[m->n_stack - 1];
	node->v.n = (uint32_t)n;
	node->v.items = items;
}

/* Append the topmost @n values to the container below them. */
static void extend(struct pickle_machine *m, enum val_type type, size_t n)
{
	struct pickle_node **from;
	struct pickle_node *to;
	struct val *v;
	size_t room;

	if (m->rc != OK)
		return;
	m->n_stack -= n;
	from = m->stack + m->n_stack;
	to = pm_top(m);
	if (to && to->v.type != type)
		pm_fail(m, ERR_FORMAT, "items for something that is not a container of their kind");
	if (m->rc != OK)
		return;
	v = &to->v;
	room = room_for(v->n + n);
	if (room > room_for(v->n)) {
		struct val *items = take_memory(m, room, sizeof(*items));

		if (!items)
			return;
		if (v->n)
			memcpy(items, v->items, v->n * sizeof(*items));
		v->items = items;
	}
	for (size_t i = 0; i < n && m->rc == OK; i++) {
		if (from[i] == to)
			pm_fail(m, ERR_FORMAT, "a value that holds itself");
		pm_adopt(m, to, from[i]);
		v->items[v->n++] = from[i]->v;
	}
}

void pm_push_slice(struct pickle_machine *m, enum val_type type, struct slice s)
{
	struct val *v = pm_push(m, type);

	if (!v)
		return;
	v->s = s;
	m->stack[m->n_stack - 1]->weight = s.len < UINT32_MAX ? (uint32_t)s.len + 1 : UINT32_MAX;
}

void pm_push_bytes(struct pickle_machine *m, struct slice s)
{
	pm_push_slice(m, VAL_BYTES, s);
}

void pm_push_str(struct pickle_machine *m, struct slice s)
{
	if (m->rc == OK && !utf8_ok(s, m->flags & PICKLE_KEEP_GLOBALS))
		pm_fail(m, ERR_FORMAT, "a string that is not UTF-8");
	pm_push_slice(m, VAL_STR, s);
}

void pm_push_py2_str(struct pickle_machine *m, struct slice s)
{
	bool ascii = true;

	for (size_t i = 0; i < s.len; i++)
		ascii &= s.data[i] < 0x80;
	pm_push_slice(m, ascii ? VAL_STR : VAL_BYTES, s);
}

void pm_push_long(struct pickle_machine *m, struct slice le)
{
	uint64_t bits = 0;
	struct val *v;

	if (m->rc != OK)
		return;
	while (le.len > 1) { /* bytes that only repeat the sign */
		uint8_t top = le.data[le.len - 1];
		uint8_t below = le.data[le.len - 2];

		if (!((top == 0 && below < 0x80) || (top == 0xff && below >= 0x80)))
			break;
		le.len--;
	}
	if (le.len > 8) {
		pm_push_slice(m, VAL_BIGINT, le);
		return;
	}
	v = pm_push(m, VAL_INT);
	if (!v)
		return;
	if (le.len && le.data[le.len - 1] >= 0x80)
		bits = ~UINT64_C(0);
	for (size_t i = le.len; i-- > 0;)
		bits = bits << 8 | le.data[i];
	v->i = (int64_t)bits;
}

void pm_memo_put(struct pickle_machine *m, uint64_t i)
{
	struct pickle_node *top = pm_top(m);

	if (!top)
		return;
	if (i >= m->limits->memo) {
		pm_fail(m, ERR_LIMIT, "a memo of more than %u entries", m->limits->memo);
		return;
	}
	while (i >= m->memo_room) {
		void *p = m->memo;

		if (!grow(m, &p, sizeof(m->memo[0]), m->n_memo, &m->memo_room))
			return;
		m->memo = p;
	}
	for (; m->n_memo <= i; m->n_memo++)
		m->memo[m->n_memo] = NULL;
	m->memo_set += !m->memo[i];
	m->memo[i] = top;
}

void pm_memo_get(struct pickle_machine *m, uint64_t i)
{
	if (m->rc != OK)
		return;
	if (i >= m->n_memo || !m->memo[i]) {
		pm_fail(m, ERR_FORMAT, "memo entry %llu is not there", (unsigned long long)i);
		return;
	}
	pm_push_node(m, m->memo[i]);
}

static uint64_t take_le(struct pickle_machine *m, unsigned bytes)
{
	const uint8_t *p = pm_take(m, bytes);
	uint64_t v = 0;

	for (unsigned i = bytes; p && i-- > 0;)
		v = v << 8 | p[i];
	return v;
}

static struct slice take_slice(struct pickle_machine *m, unsigned length_bytes)
{
	uint64_t n = take_le(m, length_bytes);
	const uint8_t *p = pm_take(m, n);

	return slice_of(p, p ? (size_t)n : 0);
}

static void op_proto(struct pickle_machine *m)
{
	if (take_le(m, 1) > 5)
		pm_fail(m, ERR_FORMAT, "a protocol newer than 5");
}

static void op_stop(struct pickle_machine *m)
{
	m->stopped = true;
}

static void op_frame(struct pickle_machine *m)
{
	uint64_t n = take_le(m, 8);

	if (n > m->in.len - m->pos)
		pm_fail(m, ERR_FORMAT, "a frame of %llu bytes, %zu are left", (unsigned long long)n,
			m->in.len - m->pos);
}

/* Codes that copyreg's registry would give a meaning. */
static void op_extension(struct pickle_machine *m)
{
	pm_fail(m, ERR_FORMAT, "a class by its extension code: none is registered");
}

static void op_buffer(struct pickle_machine *m)
{
	pm_fail(m, ERR_FORMAT, "a buffer outside the pickle: there is none");
}

static void op_mark(struct pickle_machine *m)
{
	if (m->n_marks == m->marks_room) {
		void *p = m->marks;

		if (!grow(m, &p, sizeof(*m->marks), m->n_marks, &m->marks_room))
			return;
		m->marks = p;
	}
	m->marks[m->n_marks++] = m->n_stack;
}

static void op_pop(struct pickle_machine *m)
{
	if (m->n_marks && m->marks[m->n_marks - 1] == m->n_stack)
		m->n_marks--;
	else
		pm_pop(m);
}

static void op_pop_mark(struct pickle_machine *m)
{
	m->n_stack -= pm_take_mark(m);
}

static void op_dup(struct pickle_machine *m)
{
	struct pickle_node *top = pm_top(m);

	if (top)
		pm_push_node(m, top);
}

static void op_none(struct pickle_machine *m)
{
	pm_push(m, VAL_NONE);
}

static void push_bool(struct pickle_machine *m, bool b)
{
	struct val *v = pm_push(m, VAL_BOOL);

	if (v)
		v->b = b;
}

static void op_true(struct pickle_machine *m)
{
	push_bool(m, true);
}

static void op_false(struct pickle_machine *m)
{
	push_bool(m, false);
}

static void push_int(struct pickle_machine *m, int64_t i)
{
	struct val *v = pm_push(m, VAL_INT);

	if (v)
		v->i = i;
}

static void op_binint(struct pickle_machine *m)
{
	push_int(m, (int32_t)take_le(m, 4));
}

static void op_binint1(struct pickle_machine *m)
{
	push_int(m, (int64_t)take_le(m, 1));
}

static void op_binint2(struct pickle_machine *m)
{
	push_int(m, (int64_t)take_le(m, 2));
}

static void op_long1(struct pickle_machine *m)
{
	pm_push_long(m, take_slice(m, 1));
}

static void op_long4(struct pickle_machine *m)
{
	pm_push_long(m, take_slice(m, 4));
}

static void op_binfloat(struct pickle_machine *m)
{
	const uint8_t *p = pm_take(m, 8);
	struct val *v = pm_push(m, VAL_FLOAT);
	uint64_t bits = 0;

	if (!v)
		return;
	for (int i = 0; i < 8; i++)
		bits = bits << 8 | p[i];
	memcpy(&v->f, &bits, sizeof(bits));
}

static void op_short_binbytes(struct pickle_machine *m)
{
	pm_push_bytes(m, take_slice(m, 1));
}

static void op_binbytes(struct pickle_machine *m)
{
	pm_push_bytes(m, take_slice(m, 4));
}

static void op_binbytes8(struct pickle_machine *m)
{
	pm_push_bytes(m, take_slice(m, 8));
}

static void op_short_binunicode(struct pickle_machine *m)
{
	pm_push_str(m, take_slice(m, 1));
}

static void op_binunicode(struct pickle_machine *m)
{
	pm_push_str(m, take_slice(m, 4));
}

static void op_binunicode8(struct pickle_machine *m)
{
	pm_push_str(m, take_slice(m, 8));
}

static void op_short_binstring(struct pickle_machine *m)
{
	pm_push_py2_str(m, take_slice(m, 1));
}

static void op_binstring(struct pickle_machine *m)
{
	pm_push_py2_str(m, take_slice(m, 4));
}

static void op_empty_tuple(struct pickle_machine *m)
{
	pm_collect(m, VAL_TUPLE, 0);
}

static void op_tuple1(struct pickle_machine *m)
{
	pm_collect(m, VAL_TUPLE, 1);
}

static void op_tuple2(struct pickle_machine *m)
{
	pm_collect(m, VAL_TUPLE, 2);
}

static void op_tuple3(struct pickle_machine *m)
{
	pm_collect(m, VAL_TUPLE, 3);
}

static void op_tuple(struct pickle_machine *m)
{
	pm_collect(m, VAL_TUPLE, pm_take_mark(m));
}

static void op_empty_list(struct pickle_machine *m)
{
	pm_collect(m, VAL_LIST, 0);
}

static void op_list(struct pickle_machine *m)
{
	pm_collect(m, VAL_LIST, pm_take_mark(m));
}

static void op_append(struct pickle_machine *m)
{
	if (pm_top(m))
		extend(m, VAL_LIST, 1);
}

static void op_appends(struct pickle_machine *m)
{
	extend(m, VAL_LIST, pm_take_mark(m));
}

static void op_empty_dict(struct pickle_machine *m)
{
	pm_collect(m, VAL_DICT, 0);
}

/* Values above the last mark, which must be pairs. */
static size_t take_pairs(struct pickle_machine *m)
{
	size_t n = pm_take_mark(m);

	if (n % 2)
		pm_fail(m, ERR_FORMAT, "a key without a value");
	return n;
}

static void op_dict(struct pickle_machine *m)
{
	pm_collect(m, VAL_DICT, take_pairs(m));
}

static void op_setitem(struct pickle_machine *m)
{
	size_t floor = m->n_marks ? m->marks[m->n_marks - 1] : 0;

	if (m->n_stack - floor < 3)
		pm_fail(m, ERR_FORMAT, "a dictionary, a key and a value were expected");
	extend(m, VAL_DICT, 2);
}

static void op_setitems(struct pickle_machine *m)
{
	extend(m, VAL_DICT, take_pairs(m));
}

static void op_empty_set(struct pickle_machine *m)
{
	pm_collect(m, VAL_SET, 0);
}

static void op_additems(struct pickle_machine *m)
{
	extend(m, VAL_SET, pm_take_mark(m));
}

static void op_frozenset(struct pickle_machine *m)
{
	pm_collect(m, VAL_SET, pm_take_mark(m));
}

static void op_binput(struct pickle_machine *m)
{
	pm_memo_put(m, take_le(m, 1));
}

static void op_long_binput(struct pickle_machine *m)
{
	pm_memo_put(m, take_le(m, 4));
}

static void op_memoize(struct pickle_machine *m)
{
	pm_memo_put(m, m->memo_set);
}

static void op_binget(struct pickle_machine *m)
{
	pm_memo_get(m, take_le(m, 1));
}

static void op_long_binget(struct pickle_machine *m)
{
	pm_memo_get(m, take_le(m, 4));
}

static const pickle_op ops[256] = {
	['('] = op_mark,
	['.'] = op_stop,
	['0'] = op_pop,
	['1'] = op_pop_mark,
	['2'] = op_dup,
	['F'] = pm_op_float,
	['I'] = pm_op_int,
	['J'] = op_binint,
	['K'] = op_binint1,
	['L'] = pm_op_long,
	['M'] = op_binint2,
	['N'] = op_none,
	['P'] = pm_op_persid,
	['Q'] = pm_op_binpersid,
	['R'] = pm_op_reduce,
	['S'] = pm_op_string,
	['T'] = op_binstring,
	['U'] = op_short_binstring,
	['V'] = pm_op_unicode,
	['X'] = op_binunicode,
	['a'] = op_append,
	['b'] = pm_op_build,
	['c'] = pm_op_global,
	['d'] = op_dict,
	['}'] = op_empty_dict,
	['e'] = op_appends,
	['g'] = pm_op_get,
	['h'] = op_binget,
	['i'] = pm_op_inst,
	['j'] = op_long_binget,
	['l'] = op_list,
	[']'] = op_empty_list,
	['o'] = pm_op_obj,
	['p'] = pm_op_put,
	['q'] = op_binput,
	['r'] = op_long_binput,
	['s'] = op_setitem,
	['t'] = op_tuple,
	[')'] = op_empty_tuple,
	['u'] = op_setitems,
	['G'] = op_binfloat,
	['B'] = op_binbytes,
	['C'] = op_short_binbytes,
	[0x80] = op_proto,
	[0x81] = pm_op_newobj,
	[0x82] = op_extension,
	[0x83] = op_extension,
	[0x84] = op_extension,
	[0x85] = op_tuple1,
	[0x86] = op_tuple2,
	[0x87] = op_tuple3,
	[0x88] = op_true,
	[0x89] = op_false,
	[0x8a] = op_long1,
	[0x8b] = op_long4,
	[0x8c] = op_short_binunicode,
	[0x8d] = op_binunicode8,
	[0x8e] = op_binbytes8,
	[0x8f] = op_empty_set,
	[0x90] = op_additems,
	[0x91] = op_frozenset,
	[0x92] = pm_op_newobj_ex,
	[0x93] = pm_op_stack_global,
	[0x94] = op_memoize,
	[0x95] = op_frame,
	[0x96] = op_binbytes8, /* BYTEARRAY8 */
	[0x97] = op_buffer,
	[0x98] = op_buffer,
};

static void run(struct pickle_machine *m)
{
	while (m->rc == OK && !m->stopped) {
		const uint8_t *op;

		m->op_pos = m->pos;
		op = pm_take(m, 1);
		if (!op)
			return;
		if (ops[*op])
			ops[*op](m);
		else
			pm_fail(m, ERR_FORMAT, "an opcode that is not known here");
	}
}

static uint32_t weight_max(struct slice in)
{
	if (in.len > (UINT32_MAX - WEIGHT_MIN) / WEIGHT_FACTOR)
		return UINT32_MAX;
	return WEIGHT_MIN + WEIGHT_FACTOR * (uint32_t)in.len;
}

int pickle_decode(struct slice in, unsigned flags, const struct pickle_limits *limits,
	struct arena *arena, struct val *ret, size_t *ret_len, struct err *e)
{
	struct pickle_machine m;
	struct pickle_node *top;

	m.in = in;
	m.pos = m.op_pos = 0;
	m.flags = flags;
	m.limits = limits;
	m.arena = arena;
	m.e = e;
	m.rc = OK;
	m.stopped = false;
	m.n_items = 0;
	m.weight_max = weight_max(in);
	m.stack = m.stack_inline;
	m.n_stack = 0;
	m.stack_room = PICKLE_STACK_INLINE;
	m.marks = m.marks_inline;
	m.n_marks = 0;
	m.marks_room = PICKLE_MARKS_INLINE;
	m.memo = NULL;
	m.n_memo = m.memo_set = m.memo_room = 0;
	run(&m);
	top = pm_pop(&m);
	if (m.rc == OK && !ret_len && m.pos < in.len)
		pm_fail(&m, ERR_FORMAT, "%zu bytes after its end", in.len - m.pos);
	if (m.rc == OK)
		pm_check_value(&m, &top->v);
	if (m.rc != OK)
		return m.rc;
	*ret = top->v;
	if (ret_len)
		*ret_len = m.pos;
	return OK;
}
