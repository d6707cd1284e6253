/* The inside of values: shared by the files of this folder. */
#ifndef OBJECT_TREE_H
#define OBJECT_TREE_H

#include "object/value.h"

/** The keys of a dict by their hashes: open addressing, of indexes of pairs + 1. */
struct value_index {
	uint32_t *slots;
	size_t room; /* a power of two */
};

struct value {
	enum value_kind kind;
	bool alone;     /* an object that can be written nowhere else: it needs its record's memo */
	bool old;       /* an object whose pickle has a protocol below 3 */
	uint8_t height; /* containers on the way to its deepest part, itself included; of one that has become smaller it may be too much */
	struct value *owner; /* the container it is in; NULL: the caller's */
	union {
		bool b;
		int64_t i;
		double f;
		struct {
			char *data; /* NUL behind it */
			size_t len;
			char *dotted; /* the class of VALUE_OTHER */
		} bytes;
		/* a dict: key, value, key, value ...; a removed pair is two NULLs */
		struct {
			struct value **items;
			size_t n, room;
			size_t n_removed; /* pairs */
			struct value_index index;
		} seq;
		struct {
			struct reference r; /* texts owned */
			char *dotted;
		} ref;
	};
};

/** An empty one. */
struct value *value_new(enum value_kind kind);
/** Another owner's value, a container in itself, NULL, or what would be too deep cannot be put into @v: ERR_INVAL, ERR_NOMEM,
 * ERR_LIMIT. */
MUST_CHECK int value_may_own(const struct value *v, const struct value *item, struct err *e);
MUST_CHECK int value_too_deep(struct err *e);
/** @item is in @v from now on. */
void value_own(struct value *v, struct value *item);
/** Free @item, which @v did not take: not when a container has it, nor when @v is in it. */
void value_refuse(const struct value *v, struct value *item);
MUST_CHECK int value_reserve(struct value *v, size_t more, struct err *e);
/** Of one of the four kinds of numbers. */
struct val value_number(const struct value *v);
void value_index_free(struct value_index *x);

#endif
