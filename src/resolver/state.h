/* A data record taken apart for conflict resolution. */
#ifndef RESOLVER_STATE_H
#define RESOLVER_STATE_H

#include "base/arena.h"
#include "base/compiler.h"
#include "base/err.h"
#include "base/slice.h"
#include "codec/val.h"

struct state {
	struct val class; /* what the first pickle holds */
	struct val value; /* its references are reference_ok() */
};

/** Borrows from @arena and @record. Returns 0, or ERR_UNSUPPORTED for a record that holds what
 * only Python understands, or nobody. */
MUST_CHECK int state_read(
	struct slice record, struct arena *arena, struct state *ret, struct err *e);

/** The class of the record's object, "module\nname"; false when it takes arguments to make one or
 * the class has no name. Borrows from @arena. */
bool state_class_name(const struct state *s, struct arena *arena, struct slice *ret);

#endif
