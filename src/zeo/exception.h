/* Exceptions as ZEO sends them: (dotted class name, dictionary or tuple of arguments); the
 * client rebuilds them from the class name (T51). docs/protocol.md#errors */
#ifndef ZEO_EXCEPTION_H
#define ZEO_EXCEPTION_H

#include <stdint.h>

#include "base/slice.h"
#include "codec/enc.h"

/** POSKeyError(oid) */
void exception_pos_key(struct enc *en, uint64_t oid);
/** KeyError(oid): of a pack */
void exception_key(struct enc *en, uint64_t oid);

struct exception_conflict {
	const char *class_name; /* of the object; NULL: None */
	uint64_t oid;
	uint64_t committed_serial;
	uint64_t old_serial;
};

/** ConflictError: a store from a revision that is not current. */
void exception_conflict(struct enc *en, const struct exception_conflict *c);
/** ReadConflictError: a checked object has changed. */
void exception_read_conflict(struct enc *en, const struct exception_conflict *c);
/** ReadOnlyError() */
void exception_read_only(struct enc *en);
/** UndoError(text): of a whole transaction. */
void exception_undo(struct enc *en, const char *text);
/**
 * MultipleUndoErrors of @n objects, the first one of which is named here, too; @n exception_undo_failure() follow,
 * then exception_undo_end().
 */
void exception_undo_begin(struct enc *en, uint32_t n, uint64_t first_oid, const char *first_reason);
void exception_undo_failure(struct enc *en, uint64_t oid, const char *reason);
void exception_undo_end(struct enc *en);
/** One with a single text: @class_name as "ZODB.POSException.Unsupported". */
void exception_text(struct enc *en, const char *class_name, const char *text);
/** One that another server has raised: the pair as it was decoded. msgpack has no objects: there an exception in it is
 * reduced as all are. */
void exception_val(struct enc *en, const struct val *raised);
/** builtins.OSError(errno, text), as Python raises it for a full disk. */
void exception_os(struct enc *en, int errnum, const char *text);

#endif
