/* libzkzeo: values, as they stand in the states of objects.
 *
 * A value belongs to who made it until it is put into a list, tuple or dict, which owns it from then on. What "takes" a value owns it
 * also when it fails: it is freed then, unless another container has it. So values are built without a check in between: a NULL
 * that a constructor gave is refused (ZKZEO_NOMEM) where it is put. What is got from a container is borrowed and lives as
 * long as it is in there; what is const is not to be changed or freed.
 *
 * Containers, objects and references are nested 60 deep at most (ZKZEO_LIMIT). A state that is deeper is read as one ZKZEO_OTHER.
 *
 * Threads: one at a time for a tree of values. */
#ifndef ZKZEO_VALUE_H
#define ZKZEO_VALUE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "zkzeo/error.h"

#ifdef __cplusplus
extern "C" {
#endif

struct zkzeo_value;

enum zkzeo_kind {
	ZKZEO_NONE,
	ZKZEO_BOOL,
	ZKZEO_INT, /* of any size */
	ZKZEO_FLOAT,
	ZKZEO_STR, /* UTF-8 */
	ZKZEO_BYTES,
	ZKZEO_TUPLE,
	ZKZEO_LIST,
	ZKZEO_DICT,
	ZKZEO_REFERENCE, /* to a persistent object */
	ZKZEO_OTHER,     /* another object of Python's, kept as its pickle */
};

/* Constructors: NULL without memory, or when it is no such value (text that is not UTF-8). Bytes and texts are copied. */
ZKZEO_API struct zkzeo_value *zkzeo_none(void);
ZKZEO_API struct zkzeo_value *zkzeo_bool(bool b);
ZKZEO_API struct zkzeo_value *zkzeo_int(int64_t i);
/** An int of any size: little-endian, two's complement. */
ZKZEO_API struct zkzeo_value *zkzeo_int_of_bytes(const void *bytes, size_t len);
/** An int of any size: [+-]digits. NULL also when it is none. */
ZKZEO_API struct zkzeo_value *zkzeo_int_of_text(const char *digits);
ZKZEO_API struct zkzeo_value *zkzeo_float(double f);
/** Text that ends in NUL. */
ZKZEO_API struct zkzeo_value *zkzeo_str(const char *utf8);
/** Text that may hold NULs. */
ZKZEO_API struct zkzeo_value *zkzeo_str_of_bytes(const char *utf8, size_t len);
ZKZEO_API struct zkzeo_value *zkzeo_bytes(const void *data, size_t len);
/** Empty; zkzeo_list_append() fills it. */
ZKZEO_API struct zkzeo_value *zkzeo_tuple(void);
ZKZEO_API struct zkzeo_value *zkzeo_list(void);
ZKZEO_API struct zkzeo_value *zkzeo_dict(void);
/** To an object of this database. @class "module.name"; NULL: not said. */
ZKZEO_API struct zkzeo_value *zkzeo_reference(uint64_t oid, const char *class_name);
/** A reference that keeps nothing alive. @database NULL: this one. */
ZKZEO_API struct zkzeo_value *zkzeo_weak_reference(uint64_t oid, const char *database);
/** A copy of the whole tree, which is the caller's. */
ZKZEO_API struct zkzeo_value *zkzeo_value_copy(const struct zkzeo_value *v);
/** What no container has; otherwise nothing happens. NULL is fine. */
ZKZEO_API void zkzeo_value_free(struct zkzeo_value *v);

ZKZEO_API enum zkzeo_kind zkzeo_value_kind(const struct zkzeo_value *v);
/** "int", "list" ...: the kind, for texts. */
ZKZEO_API const char *zkzeo_kind_name(enum zkzeo_kind kind);
/** Equal as Python finds it (1, 1.0 and True are); ZKZEO_OTHER only to one of the same pickle. */
ZKZEO_API bool zkzeo_value_equal(const struct zkzeo_value *a, const struct zkzeo_value *b);
/** As Python's repr() shows it, @max bytes of it at most; the caller frees it with zkzeo_free(). NULL without memory. */
ZKZEO_API char *zkzeo_value_show(const struct zkzeo_value *v, size_t max);
/** Memory that the library gave. NULL is fine. */
ZKZEO_API void zkzeo_free(void *p);

/* What is in it. ZKZEO_INVAL: it is of another kind, and the text says of which. @v NULL is ZKZEO_NOENT. */
ZKZEO_MUST_CHECK int zkzeo_value_get_bool(
	const struct zkzeo_value *v, bool *ret, struct zkzeo_error *e);
/** Ints and bools. ZKZEO_LIMIT: it has more than 64 bits. */
ZKZEO_MUST_CHECK int zkzeo_value_get_int(
	const struct zkzeo_value *v, int64_t *ret, struct zkzeo_error *e);
/** An int of any size: [-]digits; freed with zkzeo_free(). */
ZKZEO_MUST_CHECK int zkzeo_value_get_int_text(
	const struct zkzeo_value *v, char **ret, struct zkzeo_error *e);
/** An int of any size: little-endian, two's complement, the fewest bytes; freed with zkzeo_free(). */
ZKZEO_MUST_CHECK int zkzeo_value_get_int_bytes(
	const struct zkzeo_value *v, uint8_t **ret, size_t *ret_len, struct zkzeo_error *e);
/** Floats, and ints: the next float to them, infinite beyond the range. */
ZKZEO_MUST_CHECK int zkzeo_value_get_float(
	const struct zkzeo_value *v, double *ret, struct zkzeo_error *e);
/** Borrowed from @v; a NUL is behind it. @ret_len NULL is fine. */
ZKZEO_MUST_CHECK int zkzeo_value_get_str(
	const struct zkzeo_value *v, const char **ret, size_t *ret_len, struct zkzeo_error *e);
ZKZEO_MUST_CHECK int zkzeo_value_get_bytes(
	const struct zkzeo_value *v, const void **ret, size_t *ret_len, struct zkzeo_error *e);

/** What a reference says. Texts are borrowed. */
struct zkzeo_reference_info {
	uint64_t oid;
	const char *class_name; /* dotted; "": not said */
	const char *database;   /* NULL: this one */
	bool weak;
};
ZKZEO_MUST_CHECK int zkzeo_value_get_reference(
	const struct zkzeo_value *v, struct zkzeo_reference_info *ret, struct zkzeo_error *e);
/** The dotted class of ZKZEO_OTHER ("datetime.datetime"), as far as it is to be seen; "" for other kinds. */
ZKZEO_API const char *zkzeo_value_class(const struct zkzeo_value *v);
/** Any value as a pickle of its own (protocol 3); freed with zkzeo_free(). */
ZKZEO_MUST_CHECK int zkzeo_value_pickle(
	const struct zkzeo_value *v, uint8_t **ret, size_t *ret_len, struct zkzeo_error *e);

/* Lists, tuples and dicts. */
/** Items, or pairs; 0 for other kinds. */
ZKZEO_API size_t zkzeo_value_len(const struct zkzeo_value *v);
/** The item at @i of a list or tuple, borrowed; NULL: there is none. */
ZKZEO_API struct zkzeo_value *zkzeo_list_item(const struct zkzeo_value *v, size_t i);
/** Put @item behind the last one. Takes it. */
ZKZEO_MUST_CHECK int zkzeo_list_append(
	struct zkzeo_value *v, struct zkzeo_value *item, struct zkzeo_error *e);
/** Put @item before the one at @i. Takes it. */
ZKZEO_MUST_CHECK int zkzeo_list_insert(
	struct zkzeo_value *v, size_t i, struct zkzeo_value *item, struct zkzeo_error *e);
/** Put @item in place of the one at @i, which is freed. Takes it. */
ZKZEO_MUST_CHECK int zkzeo_list_replace(
	struct zkzeo_value *v, size_t i, struct zkzeo_value *item, struct zkzeo_error *e);
/** Take an item out; it is the caller's. NULL: there is none. */
ZKZEO_API struct zkzeo_value *zkzeo_list_take(struct zkzeo_value *v, size_t i);
/** The value of a key, borrowed; NULL: it is not there. */
ZKZEO_API struct zkzeo_value *zkzeo_dict_get(
	const struct zkzeo_value *dict, const struct zkzeo_value *key);
/** The same of a key that is a str. */
ZKZEO_API struct zkzeo_value *zkzeo_dict_get_str(const struct zkzeo_value *dict, const char *key);
/** Set a key; a value that was there is freed. Takes both. ZKZEO_INVAL: a list or dict as key. */
ZKZEO_MUST_CHECK int zkzeo_dict_set(struct zkzeo_value *dict, struct zkzeo_value *key,
	struct zkzeo_value *v, struct zkzeo_error *e);
ZKZEO_MUST_CHECK int zkzeo_dict_set_str(
	struct zkzeo_value *dict, const char *key, struct zkzeo_value *v, struct zkzeo_error *e);
/** False: the key was not there. */
ZKZEO_API bool zkzeo_dict_remove(struct zkzeo_value *dict, const struct zkzeo_value *key);
ZKZEO_API bool zkzeo_dict_remove_str(struct zkzeo_value *dict, const char *key);
/** The pairs, in the order in which they were put: *pos is 0 at first; false: no more. The dict must not change meanwhile. */
ZKZEO_API bool zkzeo_dict_next(const struct zkzeo_value *dict, size_t *pos,
	struct zkzeo_value **ret_key, struct zkzeo_value **ret_value);

/* Data records: what loads give and stores take. */
/** Its class, and its state, which the caller frees. @ret_class dotted, freed with zkzeo_free(). */
ZKZEO_MUST_CHECK int zkzeo_record_parse(const void *data, size_t len, char **ret_class,
	struct zkzeo_value **ret_state, struct zkzeo_error *e);
/** The record of an object of class @class_name ("module.name") with this state; freed with zkzeo_free(). */
ZKZEO_MUST_CHECK int zkzeo_record_make(const char *class_name, const struct zkzeo_value *state,
	uint8_t **ret, size_t *ret_len, struct zkzeo_error *e);

#ifdef __cplusplus
}
#endif

#endif
