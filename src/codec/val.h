/* A decoded Python value: what a ZEO message or a pickled piece of metadata holds.
 * Built in an arena by pickle_decode() or msgpack_decode(); strings and bytes are
 * borrowed from the decoded input where they stand there literally. */
#ifndef CODEC_VAL_H
#define CODEC_VAL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/slice.h"

enum val_type {
	VAL_NONE,
	VAL_BOOL,
	VAL_INT,    /* fits in int64 */
	VAL_BIGINT, /* does not: s holds little-endian two's complement bytes */
	VAL_FLOAT,
	VAL_BYTES, /* also zodbpickle.binary and bytearray */
	VAL_STR,   /* UTF-8 */
	VAL_TUPLE,
	VAL_LIST,
	VAL_DICT,   /* items: key, value, key, value ...; n counts items, twice the pairs */
	VAL_SET,    /* also frozenset */
	VAL_GLOBAL, /* s: "module\nname"; only where the decoder was told to keep globals */
	VAL_REDUCE, /* items: callable, args tuple [, state]; never executed */
	VAL_PERSID, /* one item: what names a persistent object; only with PICKLE_EXACT */
	/* only with PICKLE_OBJECTS */
	VAL_NEWOBJ, /* items: class, args tuple: class.__new__(class, *args) */
	VAL_BUILD,  /* items: object, state */
	VAL_FILLED, /* items: object, and the list or dict of what is added to it */
};

struct val {
	enum val_type type;
	uint32_t n; /* of items */
	union {
		bool b;
		int64_t i;
		double f;
		struct slice s;
		struct val *items; /* n of them, contiguous */
	};
};

static inline bool val_is_none(const struct val *v)
{
	return v->type == VAL_NONE;
}

/** Deep equality; 1 == True as in Python, 1.0 == 1 not. */
bool val_equal(const struct val *a, const struct val *b);

/** The value of key @key (a str, or bytes of the same letters) of a dict, or NULL. */
const struct val *val_get(const struct val *dict, const char *key);

#endif
