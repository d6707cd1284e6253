/* The state of one pickle being decoded; shared by the three files of the decoder. */
#ifndef CODEC_PICKLE_MACHINE_H
#define CODEC_PICKLE_MACHINE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/arena.h"
#include "base/err.h"
#include "base/slice.h"
#include "codec/pickle.h"
#include "codec/val.h"

/** A value on the stack or in the memo. It weighs what it would take when written out, everything
 * it refers to included, and may weigh some times the input at most: a small pickle cannot stand
 * for a huge value, and walking or writing one costs no more than its input explains. */
struct pickle_node {
	struct val v;         /* containers: room for items up to the next power of two */
	uint32_t depth : 30;  /* containers below and including this one */
	uint32_t mutable : 1; /* a list, dict or set, or one is in it */
	uint32_t placed : 1;  /* it is part of another one: it cannot grow any more */
	uint32_t weight;      /* values in it, itself included, and the bytes of strings */
};

enum { PICKLE_STACK_INLINE = 48, PICKLE_MARKS_INLINE = 16 };

struct pickle_machine {
	struct slice in;
	size_t pos;
	size_t op_pos; /* of the opcode being executed */
	unsigned flags;
	const struct pickle_limits *limits;
	struct arena *arena;
	struct err *e;
	int rc; /* sticky */
	bool stopped;
	bool shared;      /* something mutable stands in two places */
	uint8_t protocol; /* the pickle's own word; 0: it says nothing */
	uint32_t n_items;
	uint32_t weight_max;

	struct pickle_node **stack;
	size_t n_stack, stack_room;
	size_t *marks; /* heights of the stack */
	size_t n_marks, marks_room;
	struct pickle_node **memo;
	size_t n_memo;   /* highest index used + 1 */
	size_t memo_set; /* entries that have a value: where MEMOIZE puts the next one */
	size_t memo_room;
	struct pickle_node *stack_inline[PICKLE_STACK_INLINE];
	size_t marks_inline[PICKLE_MARKS_INLINE];
};

/** Ready to run, but for arena and e. */
void pm_init(struct pickle_machine *m, struct slice in, unsigned flags,
	const struct pickle_limits *limits);
/** Set the error once: "... at byte N (opcode 0xNN)". */
void pm_fail(struct pickle_machine *m, int code, const char *fmt, ...) PRINTF(3, 4);
/** The arena gave none: it has none, or may give no more. */
void pm_no_memory(struct pickle_machine *m);
/** @n bytes of input, or NULL after a failure. */
const uint8_t *pm_take(struct pickle_machine *m, uint64_t n);
/** Up to the next newline, which is consumed and not in it. False after a failure. */
bool pm_line(struct pickle_machine *m, struct slice *ret);
/** A new value on the stack, or NULL after a failure. */
struct val *pm_push(struct pickle_machine *m, enum val_type type);
/** A new value of bytes or text: unchecked. */
void pm_push_slice(struct pickle_machine *m, enum val_type type, struct slice s);
/** Push a value that was taken off. */
void pm_push_node(struct pickle_machine *m, struct pickle_node *node);
/** Push a value that stays in its other place. */
void pm_share_node(struct pickle_machine *m, struct pickle_node *node);
/** Take the top off, or look at it; NULL after a failure. */
struct pickle_node *pm_pop(struct pickle_machine *m);
struct pickle_node *pm_top(struct pickle_machine *m);
/** Replace the topmost @n values by a container of them. */
void pm_collect(struct pickle_machine *m, enum val_type type, size_t n);
/** Append the topmost @n values to the container of @type below them. */
void pm_extend(struct pickle_machine *m, enum val_type type, size_t n);
/** Mark the top of the stack. */
void pm_mark(struct pickle_machine *m);
/** Give @ret items of its own: two containers that shared them would grow into each other. */
bool pm_copy_items(struct pickle_machine *m, const struct val *from, struct val *ret);
/** Append the topmost @n values, a list or dict of @type, to an object below them. */
void pm_fill(struct pickle_machine *m, enum val_type type, size_t n);
/** How many values are above the last mark; the mark is removed. */
size_t pm_take_mark(struct pickle_machine *m);
/** Make @child count as part of @parent. */
void pm_adopt(struct pickle_machine *m, struct pickle_node *parent, struct pickle_node *child);
/** A slice of str: UTF-8 checked. */
void pm_push_str(struct pickle_machine *m, struct slice s);
void pm_push_bytes(struct pickle_machine *m, struct slice s);
/** Python 2's str: text when it is ASCII, else bytes. */
void pm_push_py2_str(struct pickle_machine *m, struct slice s);
/** From little-endian two's complement bytes. */
void pm_push_long(struct pickle_machine *m, struct slice le);
void pm_memo_put(struct pickle_machine *m, uint64_t i);
void pm_memo_get(struct pickle_machine *m, uint64_t i);
/** Walk the finished value for what no opcode can see (pickle_check.c). */
void pm_check_value(struct pickle_machine *m, const struct val *v);

typedef void (*pickle_op)(struct pickle_machine *m);

/* pickle_text.c: opcodes of protocol 0 */
void pm_op_int(struct pickle_machine *m);
void pm_op_long(struct pickle_machine *m);
void pm_op_float(struct pickle_machine *m);
void pm_op_string(struct pickle_machine *m);
void pm_op_unicode(struct pickle_machine *m);
void pm_op_put(struct pickle_machine *m);
void pm_op_get(struct pickle_machine *m);
void pm_op_persid(struct pickle_machine *m);

/* pickle_object.c: globals and what is made with them */
void pm_op_global(struct pickle_machine *m);
void pm_op_stack_global(struct pickle_machine *m);
void pm_op_reduce(struct pickle_machine *m);
void pm_op_newobj(struct pickle_machine *m);
void pm_op_newobj_ex(struct pickle_machine *m);
void pm_op_build(struct pickle_machine *m);
void pm_op_inst(struct pickle_machine *m);
void pm_op_obj(struct pickle_machine *m);
void pm_op_binpersid(struct pickle_machine *m);

#endif
