/* The record of one persistent object: its class and its state. */
#ifndef OBJECT_OBJECT_H
#define OBJECT_OBJECT_H

#include <stdbool.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/compiler.h"
#include "base/err.h"
#include "base/slice.h"
#include "object/value.h"

#define OBJECT_MAPPING "persistent.mapping\nPersistentMapping"
#define OBJECT_LIST    "persistent.list\nPersistentList"
#define OBJECT_BLOB    "ZODB.blob\nBlob"

struct object_record {
	char *class;         /* "module\nname" */
	struct value *args;  /* what its instance is made from, a tuple; NULL: nothing */
	struct value *state; /* held; NULL: a ghost's */
	bool old;            /* its pickles had a protocol below 3 */
	char *fixed;         /* why the state cannot be changed in place; NULL: it can */
};

/**
 * Read a data record, compressed or not (codec/zrecord.h). A state that no values can show is one VALUE_OTHER, and
 * fixed; so is one in which a list or dict stands in two places: it is shown twice.
 * Returns 0; ERR_FORMAT: not a record; ERR_UNSUPPORTED: a class without a name; ERR_LIMIT, ERR_NOMEM.
 */
MUST_CHECK int object_read(struct slice data, struct object_record *ret, struct err *e);
/** Append the record. Returns 0; ERR_UNSUPPORTED: a state that can only be read; ERR_LIMIT; ERR_NOMEM. */
MUST_CHECK int object_write(const struct object_record *r, struct buf *out, struct err *e);
/** NULLs are fine. */
void object_free(struct object_record *r);

/** A record of class @class ("module\nname") with @state, which is taken. Returns 0, ERR_INVAL or
 * ERR_NOMEM. */
MUST_CHECK int object_make(
	const char *class, struct value *state, struct object_record *ret, struct err *e);

/** Another state, which is taken and can be changed in place. ERR_INVAL: a container or object has it; ERR_NOMEM: it is NULL. */
MUST_CHECK int object_set_state(struct object_record *r, struct value *state, struct err *e);
/** Its state, which is the caller's then. */
struct value *object_take_state(struct object_record *r);

/** The dict of a PersistentMapping's state or the list of a PersistentList's, old forms included; NULL: it is neither. */
struct value *object_data(const struct object_record *r);
/** The state of one with @data, which is taken. ERR_INVAL: a container or object has it; ERR_NOMEM. */
MUST_CHECK int object_state_of_data(struct value *data, struct value **ret, struct err *e);

/** "module.name" from "module\nname", or the reverse (at the last dot); the caller frees it with mem_free(). NULL without memory,
 * or when there is no dot. */
char *object_dotted(const char *class);
char *object_class(const char *dotted);

#endif
