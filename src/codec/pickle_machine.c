/* The machine's input, stack, memo and limits. */
#include "codec/pickle_machine.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "codec/utf8.h"

/* Shared parts of a value are written once and read often: by this much it may be larger. */
enum { WEIGHT_FACTOR = 16, WEIGHT_MIN = 4096 };

static uint32_t weight_max(struct slice in)
{
	if (in.len > (UINT32_MAX - WEIGHT_MIN) / WEIGHT_FACTOR)
		return UINT32_MAX;
	return WEIGHT_MIN + WEIGHT_FACTOR * (uint32_t)in.len;
}

void pm_init(struct pickle_machine *m, struct slice in, unsigned flags,
	const struct pickle_limits *limits)
{
	m->in = slice_of(in.data ? in.data : (const uint8_t *)"", in.len);
	m->pos = m->op_pos = 0;
	m->flags = flags;
	m->limits = limits;
	m->rc = OK;
	m->stopped = m->shared = false;
	m->protocol = 0;
	m->n_items = 0;
	m->weight_max = weight_max(in);
	m->stack = m->stack_inline;
	m->n_stack = 0;
	m->stack_room = PICKLE_STACK_INLINE;
	m->marks = m->marks_inline;
	m->n_marks = 0;
	m->marks_room = PICKLE_MARKS_INLINE;
	m->memo = NULL;
	m->n_memo = m->memo_set = m->memo_room = 0;
}

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

void pm_no_memory(struct pickle_machine *m)
{
	if (m->arena->max)
		pm_fail(m, ERR_LIMIT, "more memory would be needed than one message may take");
	else
		pm_fail(m, ERR_NOMEM, "no memory");
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
		pm_no_memory(m);
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

void pm_share_node(struct pickle_machine *m, struct pickle_node *node)
{
	if (node->mutable && m->flags & PICKLE_OBJECTS)
		m->shared = true;
	else if (node->mutable && m->flags & PICKLE_EXACT)
		pm_fail(m, ERR_UNSUPPORTED, "a list or dictionary that stands in two places");
	pm_push_node(m, node);
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

void pm_adopt(struct pickle_machine *m, struct pickle_node *parent, struct pickle_node *child)
{
	child->placed = 1;
	if (child->depth + 1 > parent->depth)
		parent->depth = (child->depth + 1) & (INT32_MAX >> 1);
	parent->mutable |= child->mutable;
	if (parent->depth > m->limits->depth)
		pm_fail(m, ERR_LIMIT, "nested deeper than %u", m->limits->depth);
	else if (child->weight > m->weight_max || parent->weight > m->weight_max - child->weight)
		pm_fail(m, ERR_LIMIT, "it stands for more than %u times its bytes", WEIGHT_FACTOR);
	else
		parent->weight += child->weight;
}

void pm_mark(struct pickle_machine *m)
{
	if (m->n_marks == m->marks_room) {
		void *p = m->marks;

		if (!grow(m, &p, sizeof(*m->marks), m->n_marks, &m->marks_room))
			return;
		m->marks = p;
	}
	m->marks[m->n_marks++] = m->n_stack;
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

bool pm_copy_items(struct pickle_machine *m, const struct val *from, struct val *ret)
{
	ret->n = from->n;
	ret->items = NULL;
	if (from->n == 0)
		return true;
	ret->items = take_memory(m, room_for(from->n), sizeof(*ret->items));
	if (!ret->items)
		return false;
	memcpy(ret->items, from->items, from->n * sizeof(*ret->items));
	return true;
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
	m->stack[m->n_stack - 1]->mutable = type == VAL_LIST || type == VAL_DICT || type == VAL_SET;
	for (size_t i = 0; i < n && m->rc == OK; i++) {
		struct pickle_node *child = i ? from[i] : node;

		pm_adopt(m, m->stack[m->n_stack - 1], child);
		items[i] = child->v;
	}
	node = m->stack[m->n_stack - 1];
	node->v.n = (uint32_t)n;
	node->v.items = items;
}

static bool is_object(const struct val *v)
{
	return v->type == VAL_REDUCE || v->type == VAL_NEWOBJ || v->type == VAL_BUILD ||
	       v->type == VAL_FILLED;
}

void pm_fill(struct pickle_machine *m, enum val_type type, size_t n)
{
	struct pickle_node *items;
	struct pickle_node *object;
	struct val *pair;

	pm_collect(m, type, n);
	items = pm_pop(m);
	object = pm_top(m);
	if (!object)
		return;
	if (object->placed)
		pm_fail(m, ERR_UNSUPPORTED, "an object that holds itself");
	else if (type == VAL_SET)
		pm_fail(m, ERR_UNSUPPORTED, "members of an object of another class");
	pair = take_memory(m, 2, sizeof(*pair));
	if (m->rc != OK)
		return;
	pair[0] = object->v;
	pair[1] = items->v;
	object->depth++;
	pm_adopt(m, object, items);
	object->v = (struct val){ .type = VAL_FILLED, .n = 2, .items = pair };
}

void pm_extend(struct pickle_machine *m, enum val_type type, size_t n)
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
	if (to && is_object(&to->v) && m->flags & PICKLE_OBJECTS) {
		m->n_stack += n;
		pm_fill(m, type, n);
		return;
	}
	if (to && to->placed && m->flags & PICKLE_OBJECTS)
		pm_fail(m, ERR_UNSUPPORTED, "a value that holds itself");
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
	if (!ascii && m->flags & PICKLE_EXACT)
		pm_fail(m, ERR_FORMAT, "a Python 2 string that is not ASCII");
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
	pm_share_node(m, m->memo[i]);
}
