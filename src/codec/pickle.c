/* The opcodes of plain values, the stack and the memo; docs/protocol.md#pickles */
#include "codec/pickle.h"

#include "base/bigendian.h"
#include "codec/pickle_machine.h"

const struct pickle_limits pickle_limits_message = {
	.depth = 48,
	.memo = 1 << 16,
	.items = 1 << 20,
};

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
	m->protocol = (uint8_t)take_le(m, 1);
	if (m->protocol > 5)
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
		pm_share_node(m, top);
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
	uint64_t bits;

	if (!v)
		return;
	bits = get_be64(p);
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
		pm_extend(m, VAL_LIST, 1);
}

static void op_appends(struct pickle_machine *m)
{
	pm_extend(m, VAL_LIST, pm_take_mark(m));
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
	pm_extend(m, VAL_DICT, 2);
}

static void op_setitems(struct pickle_machine *m)
{
	pm_extend(m, VAL_DICT, take_pairs(m));
}

static void refuse_if_exact(struct pickle_machine *m, const char *what)
{
	if (m->flags & PICKLE_EXACT)
		pm_fail(m, ERR_UNSUPPORTED, "%s", what);
}

static bool keeps_objects(const struct pickle_machine *m)
{
	return m->flags & PICKLE_OBJECTS;
}

/* What a value cannot tell apart from another type is kept as the call that makes it. */
static void wrap_call(struct pickle_machine *m, const char *class)
{
	struct pickle_node *arg = pm_pop(m);

	pm_push_slice(m, VAL_GLOBAL, slice_str(class));
	if (m->rc == OK)
		pm_push_node(m, arg);
	pm_collect(m, VAL_TUPLE, 1);
	pm_collect(m, VAL_REDUCE, 2);
}

static void op_empty_set(struct pickle_machine *m)
{
	if (!keeps_objects(m))
		refuse_if_exact(m, "a set");
	pm_collect(m, VAL_SET, 0);
}

static void op_additems(struct pickle_machine *m)
{
	pm_extend(m, VAL_SET, pm_take_mark(m));
}

static void op_frozenset(struct pickle_machine *m)
{
	if (keeps_objects(m)) {
		pm_collect(m, VAL_LIST, pm_take_mark(m));
		wrap_call(m, "builtins\nfrozenset");
		if (m->rc == OK)
			pm_top(m)->mutable = 0;
		return;
	}
	refuse_if_exact(m, "a frozenset");
	pm_collect(m, VAL_SET, pm_take_mark(m));
}

static void op_bytearray(struct pickle_machine *m)
{
	if (keeps_objects(m)) {
		op_binbytes8(m);
		wrap_call(m, "builtins\nbytearray");
		if (m->rc == OK)
			pm_top(m)->mutable = 1;
		return;
	}
	refuse_if_exact(m, "a bytearray");
	op_binbytes8(m);
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
	['('] = pm_mark,
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
	[0x96] = op_bytearray,
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

static bool run_one(struct pickle_machine *m, struct val *ret)
{
	struct pickle_node *top;

	run(m);
	top = pm_pop(m);
	if (top)
		pm_check_value(m, &top->v);
	if (m->rc != OK)
		return false;
	*ret = top->v;
	return true;
}

int pickle_decode(struct slice in, unsigned flags, const struct pickle_limits *limits,
	struct arena *arena, struct val *ret, size_t *ret_len, struct err *e)
{
	struct pickle_machine m;
	struct val v;

	pm_init(&m, in, flags, limits);
	m.arena = arena;
	m.e = e;
	if (!run_one(&m, &v))
		return m.rc;
	if (!ret_len && m.pos < in.len)
		pm_fail(&m, ERR_FORMAT, "%zu bytes after its end", in.len - m.pos);
	if (m.rc != OK)
		return m.rc;
	*ret = v;
	if (ret_len)
		*ret_len = m.pos;
	return OK;
}

/* The two pickles of a record. Returns the first one's length, 0 after a failure. */
static size_t run_record(struct pickle_machine *m, struct val *ret_class, struct val *ret_state)
{
	struct val class;
	struct val state;
	size_t class_len;

	if (!run_one(m, &class))
		return 0;
	class_len = m->pos;
	m->stopped = false;
	m->protocol = 0;
	m->n_stack = m->n_marks = 0; /* but not the memo */
	if (!run_one(m, &state))
		return 0;
	*ret_class = class;
	*ret_state = state;
	return class_len;
}

int pickle_decode_record(struct slice record, unsigned flags, const struct pickle_limits *limits,
	struct arena *arena, struct val *ret_class, struct val *ret_state, size_t *ret_class_len,
	struct err *e)
{
	struct pickle_machine m;
	size_t class_len;

	pm_init(&m, record, flags, limits);
	m.arena = arena;
	m.e = e;
	class_len = run_record(&m, ret_class, ret_state);
	if (class_len)
		*ret_class_len = class_len;
	return m.rc;
}

int pickle_decode_objects(struct slice record, const struct pickle_limits *limits,
	struct arena *arena, struct val *ret_class, struct val *ret_state,
	struct pickle_notes *ret_notes, struct err *e)
{
	struct pickle_machine m;

	pm_init(&m, record, PICKLE_KEEP_GLOBALS | PICKLE_EXACT | PICKLE_OBJECTS, limits);
	m.arena = arena;
	m.e = e;
	if (run_record(&m, ret_class, ret_state))
		*ret_notes = (struct pickle_notes){ m.shared, m.protocol < 3 };
	return m.rc;
}
