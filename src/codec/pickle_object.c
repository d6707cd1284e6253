/* Globals and what pickles make with them. Nothing is imported or executed: a few callables have a
 * plain meaning, the others are refused or, where the caller wants to see them, kept as they are. */
#include <string.h>

#include "codec/pickle_machine.h"
#include "codec/utf8.h"

static bool is_exact(const struct pickle_machine *m)
{
	return m->flags & PICKLE_EXACT;
}

static bool keeps_all(const struct pickle_machine *m)
{
	return m->flags & PICKLE_KEEP_GLOBALS;
}

/* What a call gives. Returns false when the arguments are not what it takes. */
typedef bool (*global_call)(struct pickle_machine *m, const struct val *args, struct val *ret);

static bool call_bytes(struct pickle_machine *m, const struct val *args, struct val *ret)
{
	(void)m;
	ret->type = VAL_BYTES;
	ret->s = slice_of(NULL, 0);
	if (args->n == 0)
		return true;
	if (args->n > 1 || args->items[0].type != VAL_BYTES)
		return false;
	ret->s = args->items[0].s;
	return true;
}

/* _codecs.encode(str, 'latin1'): how protocols below 3 write bytes. */
static bool call_encode(struct pickle_machine *m, const struct val *args, struct val *ret)
{
	const struct val *text = args->items;
	uint8_t *out;
	size_t n = 0;

	if (args->n != 2 || text->type != VAL_STR || args->items[1].type != VAL_STR ||
		!(slice_is(args->items[1].s, "latin1") || slice_is(args->items[1].s, "latin-1")))
		return false;
	out = arena_alloc(m->arena, text->s.len + 1);
	if (!out)
		return false;
	for (size_t i = 0; i < text->s.len; i++) {
		uint8_t c = text->s.data[i];

		if (c >= 0x80) {
			if (c > 0xc3) /* above U+00FF */
				return false;
			c = (uint8_t)(c << 6 | (text->s.data[++i] & 0x3f));
		}
		out[n++] = c;
	}
	ret->type = VAL_BYTES;
	ret->s = slice_of(out, n);
	return true;
}

static bool call_bytearray(struct pickle_machine *m, const struct val *args, struct val *ret)
{
	return args->n == 2 ? call_encode(m, args, ret) : call_bytes(m, args, ret);
}

static bool call_set(struct pickle_machine *m, const struct val *args, struct val *ret)
{
	ret->type = VAL_SET;
	ret->n = 0;
	ret->items = NULL;
	if (args->n == 0)
		return true;
	if (args->n > 1 || (args->items[0].type != VAL_LIST && args->items[0].type != VAL_TUPLE))
		return false;
	return pm_copy_items(m, &args->items[0], ret);
}

/* dict(pairs): how an object that is like a dictionary may say that it is to be loaded as one. */
static bool call_dict(struct pickle_machine *m, const struct val *args, struct val *ret)
{
	const struct val *pairs = args->items;
	struct val flat = { .type = VAL_DICT };

	ret->type = VAL_DICT;
	ret->n = 0;
	ret->items = NULL;
	if (args->n == 0)
		return true;
	if (args->n > 1 || (pairs->type != VAL_LIST && pairs->type != VAL_TUPLE) ||
		pairs->n > UINT32_MAX / 2)
		return false;
	flat.items = arena_alloc(m->arena, (2 * (size_t)pairs->n + 1) * sizeof(*flat.items));
	if (!flat.items)
		return false;
	for (uint32_t i = 0; i < pairs->n; i++) {
		const struct val *pair = &pairs->items[i];

		if ((pair->type != VAL_TUPLE && pair->type != VAL_LIST) || pair->n != 2)
			return false;
		flat.items[flat.n++] = pair->items[0];
		flat.items[flat.n++] = pair->items[1];
	}
	return pm_copy_items(m, &flat, ret);
}

/* copyreg._reconstructor(class, object, None): how protocols below 2 make an object. */
static bool call_reconstructor(struct pickle_machine *m, const struct val *args, struct val *ret)
{
	const struct val *a = args->items;

	if (args->n != 3 || a[0].type != VAL_GLOBAL || a[1].type != VAL_GLOBAL ||
		!val_is_none(&a[2]))
		return false;
	if (!slice_is(a[1].s, "builtins\nobject") && !slice_is(a[1].s, "__builtin__\nobject"))
		return false;
	ret->items = arena_alloc(m->arena, 2 * sizeof(*ret->items));
	if (!ret->items)
		return false;
	ret->type = VAL_REDUCE;
	ret->n = 2;
	ret->items[0] = a[0];
	ret->items[1] = (struct val){ .type = VAL_TUPLE };
	return true;
}

/* NULL: kept as VAL_REDUCE. */
static const struct {
	const char *name;
	global_call call;
} globals[] = {
	{ "zodbpickle\nbinary", call_bytes },
	{ "builtins\nbytes", call_bytes },
	{ "__builtin__\nbytes", call_bytes },
	{ "builtins\nbytearray", call_bytearray },
	{ "__builtin__\nbytearray", call_bytearray },
	{ "builtins\nset", call_set },
	{ "__builtin__\nset", call_set },
	{ "builtins\nfrozenset", call_set },
	{ "__builtin__\nfrozenset", call_set },
	{ "builtins\ndict", call_dict },
	{ "__builtin__\ndict", call_dict },
	{ "_codecs\nencode", call_encode },
	{ "copyreg\n_reconstructor", call_reconstructor },
	{ "copy_reg\n_reconstructor", call_reconstructor },
	{ "builtins\nobject", NULL },
	{ "__builtin__\nobject", NULL },
	{ "ZopeUndo.Prefix\nPrefix", NULL },
};

static bool is_known(struct slice name, global_call *ret)
{
	for (size_t i = 0; i < ARRAY_LEN(globals); i++) {
		if (slice_is(name, globals[i].name)) {
			*ret = globals[i].call;
			return true;
		}
	}
	return false;
}

/* "module.name" for a log: printable, and not long. */
static const char *show_name(struct slice name, char *out, size_t room)
{
	size_t n = name.len < room - 1 ? name.len : room - 1;

	for (size_t i = 0; i < n; i++) {
		uint8_t c = name.data[i];

		out[i] = (char)(c == '\n' ? '.' : c < 0x20 || c > 0x7e ? '?' : c);
	}
	out[n] = 0;
	return out;
}

/* Of protocol 4 on a name is a path; what we write says that it is none. */
static bool is_within_class(struct slice name)
{
	const uint8_t *nl = memchr(name.data, '\n', name.len);

	return nl && memchr(nl, '.', (size_t)(name.data + name.len - nl));
}

static void push_global(struct pickle_machine *m, struct slice name)
{
	global_call call;

	if (m->rc != OK)
		return;
	if (!utf8_ok(name, false)) {
		pm_fail(m, ERR_FORMAT, "the name of a global that is not UTF-8");
		return;
	}
	if (is_exact(m) && m->protocol >= 4 && is_within_class(name)) {
		pm_fail(m, ERR_UNSUPPORTED, "a name within a class");
		return;
	}
	if (!is_known(name, &call) && !keeps_all(m)) {
		char shown[120];

		pm_fail(m, ERR_FORMAT, "the global '%s' is not allowed in a message",
			show_name(name, shown, sizeof(shown)));
		return;
	}
	pm_push_slice(m, VAL_GLOBAL, name);
}

void pm_op_global(struct pickle_machine *m)
{
	struct slice module;
	struct slice name;

	if (pm_line(m, &module) && pm_line(m, &name)) /* they stand as "module\nname" already */
		push_global(m, slice_of(module.data, module.len + 1 + name.len));
}

void pm_op_stack_global(struct pickle_machine *m)
{
	struct pickle_node *name = pm_pop(m);
	struct pickle_node *module = pm_pop(m);
	struct slice a;
	struct slice b;
	uint8_t *out;

	if (m->rc != OK)
		return;
	if (name->v.type != VAL_STR || module->v.type != VAL_STR) {
		pm_fail(m, ERR_FORMAT, "the name of a global was expected");
		return;
	}
	a = module->v.s;
	b = name->v.s;
	if (memchr(a.data, '\n', a.len) || memchr(b.data, '\n', b.len)) {
		pm_fail(m, ERR_FORMAT, "a newline in the name of a global");
		return;
	}
	out = arena_alloc(m->arena, a.len + b.len + 1);
	if (!out) {
		pm_no_memory(m);
		return;
	}
	memcpy(out, a.data, a.len);
	out[a.len] = '\n';
	memcpy(out + a.len + 1, b.data, b.len);
	push_global(m, slice_of(out, a.len + b.len + 1));
}

static bool keeps_objects(const struct pickle_machine *m)
{
	return m->flags & PICKLE_OBJECTS;
}

static void refuse_call(struct pickle_machine *m)
{
	pm_fail(m, ERR_UNSUPPORTED, "an object of another class");
}

/* Classes whose objects never change: they may stand in two places. */
static bool is_immutable(const struct val *class)
{
	static const char *const names[] = { "datetime\ndatetime", "datetime\ndate",
		"datetime\ntime", "datetime\ntimedelta", "datetime\ntimezone", "decimal\nDecimal",
		"fractions\nFraction", "uuid\nUUID", "builtins\ncomplex", "builtins\nfrozenset" };

	for (size_t i = 0; class->type == VAL_GLOBAL && i < ARRAY_LEN(names); i++)
		if (slice_is(class->s, names[i]))
			return true;
	return false;
}

/* The call stays as it is; only bytes are bytes. */
static void keep_call(struct pickle_machine *m, struct pickle_node *node, bool new)
{
	struct val *class = &node->v.items[0];
	struct val ret = { .type = VAL_NONE };
	global_call call = NULL;

	if (class->type == VAL_GLOBAL && !new &&is_known(class->s, &call) &&
		(call == call_bytes || call == call_encode) && call(m, &node->v.items[1], &ret)) {
		node->v = ret;
		return;
	}
	node->v.type = new ? VAL_NEWOBJ : VAL_REDUCE;
	node->mutable = !is_immutable(class);
}

/* The two topmost values, a callable and its arguments, become what the call gives. */
static void make_call(struct pickle_machine *m, bool new)
{
	struct pickle_node *node;
	global_call call = NULL;
	struct val ret = { .type = VAL_NONE };
	bool known;

	pm_collect(m, VAL_REDUCE, 2);
	node = pm_top(m);
	if (!node)
		return;
	if (node->v.items[1].type != VAL_TUPLE) {
		pm_fail(m, ERR_FORMAT, "the arguments of a call are not a tuple");
		return;
	}
	if (keeps_objects(m)) {
		keep_call(m, node, new);
		return;
	}
	if (node->v.items[0].type != VAL_GLOBAL) {
		if (is_exact(m))
			refuse_call(m);
		else if (!keeps_all(m))
			pm_fail(m, ERR_FORMAT, "a call of something that is not a global");
		return;
	}
	known = is_known(node->v.items[0].s, &call) && call;
	if (is_exact(m) && (!known || (call != call_bytes && call != call_encode)))
		refuse_call(m);
	else if (known && call(m, &node->v.items[1], &ret))
		node->v = ret;
	else if (known && is_exact(m))
		refuse_call(m);
	else if (known && !keeps_all(m))
		pm_fail(m, ERR_FORMAT, "arguments that a call does not take");
}

void pm_op_reduce(struct pickle_machine *m)
{
	make_call(m, false);
}

void pm_op_newobj(struct pickle_machine *m)
{
	make_call(m, true);
}

/* class, args, keywords: a call of what Python's copyreg has for it */
void pm_op_newobj_ex(struct pickle_machine *m)
{
	struct pickle_node *args;

	if (!keeps_all(m)) {
		pm_fail(m, ERR_FORMAT, "a call with keywords has no place here");
		return;
	}
	pm_collect(m, VAL_TUPLE, 3);
	args = pm_pop(m);
	push_global(m, slice_str("copyreg\n__newobj_ex__"));
	if (m->rc != OK)
		return;
	pm_push_node(m, args);
	make_call(m, false);
}

static void keep_state(
	struct pickle_machine *m, struct pickle_node *object, struct pickle_node *state)
{
	uint32_t mutable = object->mutable;
	struct val *items;

	if (object->v.type < VAL_REDUCE || object->v.type == VAL_PERSID)
		pm_fail(m, ERR_FORMAT, "a state for something that has none");
	else if (object->placed)
		pm_fail(m, ERR_UNSUPPORTED, "an object that holds itself");
	items = m->rc == OK ? arena_alloc(m->arena, 2 * sizeof(*items)) : NULL;
	if (!items) {
		pm_no_memory(m);
		return;
	}
	items[0] = object->v;
	items[1] = state->v;
	object->depth++; /* states on states */
	pm_adopt(m, object, state);
	object->mutable = mutable & 1;
	object->v = (struct val){ .type = VAL_BUILD, .n = 2, .items = items };
}

/* object, state: only something that was made by a call has a state */
void pm_op_build(struct pickle_machine *m)
{
	struct pickle_node *state = pm_pop(m);
	struct pickle_node *object = pm_top(m);
	struct val *items;

	if (!object)
		return;
	if (keeps_objects(m)) {
		keep_state(m, object, state);
		return;
	}
	if (object->v.type != VAL_REDUCE || object->v.n > 2) {
		pm_fail(m, ERR_FORMAT, "a state for something that has none");
		return;
	}
	items = arena_alloc(m->arena, 3 * sizeof(*items));
	if (!items) {
		pm_no_memory(m);
		return;
	}
	pm_adopt(m, object, state);
	items[0] = object->v.items[0];
	items[1] = object->v.items[1];
	items[2] = state->v;
	object->v.items = items;
	object->v.n = 3;
}

/* Protocol 0's instance: mark, arguments, then the class as two lines. */
void pm_op_inst(struct pickle_machine *m)
{
	struct pickle_node *args;

	pm_collect(m, VAL_TUPLE, pm_take_mark(m));
	args = pm_pop(m);
	pm_op_global(m);
	if (m->rc != OK)
		return;
	pm_push_node(m, args);
	make_call(m, args->v.n == 0);
}

/* Protocol 1's: mark, class, arguments. */
void pm_op_obj(struct pickle_machine *m)
{
	size_t n = pm_take_mark(m);

	if (m->rc == OK && n == 0)
		pm_fail(m, ERR_FORMAT, "no class");
	if (m->rc != OK)
		return;
	pm_collect(m, VAL_TUPLE, n - 1);
	make_call(m, n == 1);
}

/* The reference itself stands for the object. */
void pm_op_binpersid(struct pickle_machine *m)
{
	if (!keeps_all(m))
		pm_fail(m, ERR_FORMAT, "a persistent reference has no place here");
	else if (!is_exact(m))
		pm_top(m);
	else
		pm_collect(m, VAL_PERSID, 1);
	if (m->rc == OK && is_exact(m)) /* equal ones are one object: Python keeps them so */
		pm_top(m)->mutable = 0;
}
