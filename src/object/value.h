/* Values as a record holds them, for who reads and changes them: trees in which every value has one owner.
 *
 * A value belongs to who made it until it is put into a list, tuple or dict, which owns it from then on. What takes a value
 * ("takes") owns it also when it fails: it is freed then. So values are built without a check in between: a NULL that a
 * constructor gave is refused where it is put. What is got from a container is borrowed and lives as long as it is in there.
 *
 * They are nested no deeper than VALUE_DEPTH_MAX, so that what is put can be written, and what walks them may call itself.
 *
 * Threads: one at a time for a tree. */
#ifndef OBJECT_VALUE_H
#define OBJECT_VALUE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/arena.h"
#include "base/buf.h"
#include "base/compiler.h"
#include "base/err.h"
#include "base/slice.h"
#include "codec/record.h"
#include "codec/val.h"

enum { VALUE_DEPTH_MAX = 60 }; /* containers; an object and a reference are some, too */

enum value_kind {
	VALUE_NONE,
	VALUE_BOOL,
	VALUE_INT,    /* fits in int64 */
	VALUE_BIGINT, /* does not */
	VALUE_FLOAT,
	VALUE_STR,
	VALUE_BYTES,
	VALUE_TUPLE,
	VALUE_LIST,
	VALUE_DICT,
	VALUE_REFERENCE, /* to a persistent object */
	VALUE_OTHER,     /* an object of Python: kept as its pickle */
};

/** What a reference says. Texts are borrowed and end in NUL. */
struct reference {
	uint64_t oid;
	const char *class;    /* "module\nname"; "" or NULL: not said */
	const char *database; /* NULL: the same one */
	bool weak;            /* it keeps nothing alive */
};

struct value;

/* Constructors: NULL without memory, and for what is no such value (text that is not UTF-8, a reference whose class is no
 * name). Bytes are copied. */
struct value *value_none(void);
struct value *value_bool(bool b);
struct value *value_int(int64_t i);
/** Of little-endian two's complement bytes, any number of them. */
struct value *value_bigint(struct slice le);
struct value *value_float(double f);
struct value *value_str(struct slice utf8);
struct value *value_bytes(struct slice s);
struct value *value_tuple(void);
struct value *value_list(void);
struct value *value_dict(void);
struct value *value_reference(const struct reference *r);
/** A whole tree, which the caller owns. */
struct value *value_copy(const struct value *v);
/** Only what nobody else owns. NULL is fine. */
void value_free(struct value *v);
/** Own @v as a container does: it cannot be put into one, nor freed, by others. ERR_INVAL: it is owned; ERR_NOMEM: NULL. */
MUST_CHECK int value_hold(struct value *v, struct err *e);
/** Nobody's any more. NULL is fine. */
void value_let_go(struct value *v);

/** "module\nname": both are lines of their own in a pickle. */
bool value_is_class(struct slice s);

enum value_kind value_kind(const struct value *v);
bool value_as_bool(const struct value *v);
/** VALUE_INT and VALUE_BOOL. */
int64_t value_as_int(const struct value *v);
double value_as_float(const struct value *v);
/** The bytes of VALUE_STR, VALUE_BYTES and VALUE_BIGINT, with a NUL behind them. */
struct slice value_as_slice(const struct value *v);
struct reference value_as_reference(const struct value *v);
/** The dotted class of VALUE_REFERENCE or VALUE_OTHER, "" when there is none to be seen. */
const char *value_class(const struct value *v);

/** Of a tuple, list or dict: how many items, or pairs. Others have none. */
size_t value_len(const struct value *v);
/** The item at @i of a list or tuple; NULL behind its end. */
struct value *value_item(const struct value *v, size_t i);
/** Put @item before the one at @i of a list or tuple, or at the end. Takes it. */
MUST_CHECK int value_insert(struct value *v, size_t i, struct value *item, struct err *e);
/** Put @item in the place of the one at @i, which is freed. Takes it. */
MUST_CHECK int value_replace(struct value *v, size_t i, struct value *item, struct err *e);
/** Remove an item, which is the caller's then; NULL when there is none. */
struct value *value_take(struct value *v, size_t i);

/** The value of a key that is equal to @key as Python has it (1, 1.0 and True are), or NULL. */
struct value *value_get(const struct value *dict, const struct value *key);
struct value *value_get_str(const struct value *dict, struct slice key);
/** Set a key. Takes both. ERR_INVAL: @key cannot be one (a list, a dict), or @dict is no dict. */
MUST_CHECK int value_set(struct value *dict, struct value *key, struct value *v, struct err *e);
/** Remove a key; false when it is not there. */
bool value_remove(struct value *dict, const struct value *key);
/** The pairs in the order in which they were put; *pos is 0 at first. The dict does not change meanwhile. */
bool value_next(const struct value *dict, size_t *pos, struct value **ret_key, struct value **ret);

/** Equal as Python finds it; an object only to one of the same pickle. */
bool value_equal(const struct value *a, const struct value *b);
/** As repr() shows it, about; cut behind @max bytes. Check buf_ok(). */
void value_show(const struct value *v, size_t max, struct buf *out);

/* --- between pickles and values --- */

/** Of what pickle_decode_objects() gave, @old as it noted. Returns 0, ERR_FORMAT or ERR_NOMEM. */
MUST_CHECK int value_of_val(const struct val *from, bool old, struct value **ret, struct err *e);
/** An object whose pickle, without PROTO and STOP, is @body. */
struct value *value_other(struct slice body, const char *class, bool alone);
/** Write one into a record. Returns 0, ERR_UNSUPPORTED (the text says what cannot be written) or ERR_LIMIT. */
MUST_CHECK int value_put(struct record_writer *w, const struct value *v, struct err *e);
/** As messages have it: borrows from @arena and from @pickle, which is written to. */
MUST_CHECK int value_to_val(const struct value *v, struct arena *arena, struct buf *pickle,
	struct val *ret, struct err *e);
/** A pickle of its own, appended. Errors as value_put(). */
MUST_CHECK int value_pickle(const struct value *v, struct buf *out, struct err *e);

#endif
