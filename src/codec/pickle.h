/* Reading pickles: protocols 0 to 5 and zodbpickle's opcodes. Nothing is executed or
 * imported; a global is either one of a short table with a plain meaning here
 * (zodbpickle.binary, builtins' bytes, bytearray, set, frozenset, dict of pairs; complex is refused;
 * _codecs.encode(str, 'latin1'), copyreg._reconstructor for object without state,
 * ZopeUndo.Prefix.Prefix) or an error, unless PICKLE_KEEP_GLOBALS is given. */
#ifndef CODEC_PICKLE_H
#define CODEC_PICKLE_H

#include <stdbool.h>
#include <stddef.h>

#include "base/arena.h"
#include "base/compiler.h"
#include "base/err.h"
#include "base/slice.h"
#include "codec/val.h"

enum pickle_flags {
	/* Unknown globals, REDUCE, BUILD ... become VAL_GLOBAL and VAL_REDUCE, a persistent
	 * reference the value that names it; lone surrogates pass in strings. */
	PICKLE_KEEP_GLOBALS = 1,
	/* With PICKLE_KEEP_GLOBALS: the value written out again unpickles to what Python would have
	 * made of this pickle. A persistent reference becomes VAL_PERSID. What a value cannot tell
	 * apart or show is ERR_UNSUPPORTED: calls but those that make bytes, sets, bytearrays,
	 * and a list or dict that stands in two places. A Python 2 str that is not ASCII is
	 * ERR_FORMAT, as ZODB cannot read it in a record. */
	PICKLE_EXACT = 2,
	/* With both: objects are kept, too, as calls that are to be made. VAL_SET is a set. */
	PICKLE_OBJECTS = 4,
};

struct pickle_limits {
	uint32_t depth; /* nesting of containers */
	uint32_t memo;  /* entries */
	uint32_t items; /* values made in total; each needs sizeof(struct val) */
};

/** Limits for messages: generous for ZEO, small for an attacker. */
extern const struct pickle_limits pickle_limits_message;

/**
 * Decode one pickle that starts at in->data.
 * @arena    receives the values; its own max bounds memory
 * @ret      borrowed from @arena and @in
 * @ret_len  bytes up to and including STOP; may be NULL, then the pickle must end with the input
 * A value may hold a part of itself twice (by the memo), but never itself, and walking it costs no
 * more than some times the input's length.
 * Returns 0, ERR_FORMAT (not a pickle, truncated, a global that is not in the table; the text
 * names the byte offset and opcode), ERR_LIMIT, ERR_NOMEM. ZopeUndo's Prefix becomes VAL_REDUCE of
 * VAL_GLOBAL "ZopeUndo.Prefix\nPrefix" also without PICKLE_KEEP_GLOBALS.
 * Threads: any; no state.
 */
MUST_CHECK int pickle_decode(struct slice in, unsigned flags, const struct pickle_limits *limits,
	struct arena *arena, struct val *ret, size_t *ret_len, struct err *e);

/**
 * Decode a data record: the pickle of the class, and that of the state, which may refer to what
 * the first one put into the memo.
 * @arena          receives the values; its own max bounds memory
 * @ret_class      borrowed from @arena and @record, as @ret_state
 * @ret_class_len  bytes of the first pickle, including STOP
 * Bytes after the second pickle are passed over, as ZODB does. Errors as pickle_decode().
 * Threads: any; no state.
 */
MUST_CHECK int pickle_decode_record(struct slice record, unsigned flags,
	const struct pickle_limits *limits, struct arena *arena, struct val *ret_class,
	struct val *ret_state, size_t *ret_class_len, struct err *e);

struct pickle_notes {
	bool shared; /* something that can be changed stands in two places; written out again there would be two */
	bool old; /* the state's protocol is below 3: Python 3 reads names of Python 2's modules in it as its own */
};

/**
 * The same for who writes the record again: objects are VAL_REDUCE, VAL_NEWOBJ, VAL_BUILD and VAL_FILLED, references
 * VAL_PERSID.
 * ERR_UNSUPPORTED: a value that holds itself, and what else no such value can show.
 */
MUST_CHECK int pickle_decode_objects(struct slice record, const struct pickle_limits *limits,
	struct arena *arena, struct val *ret_class, struct val *ret_state,
	struct pickle_notes *ret_notes, struct err *e);

/**
 * The dotted class name ("module.name") in a data record's first pickle: what
 * ConflictError.class_name shows, as ZODB.utils.get_pickle_metadata reads it ((cls, args) tuples,
 * bare classes, (module, name) pairs). Writes "." when there is none, which is what ZODB makes
 * of it. @out is cut to @room.
 */
void pickle_class_name(struct slice record, char *out, size_t room);

#endif
