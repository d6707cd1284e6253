/* Persistent references in a state, compared as ZODB.ConflictResolution does: there each one
 * becomes a PersistentReference, and equal spellings become one object. */
#ifndef RESOLVER_REFERENCE_H
#define RESOLVER_REFERENCE_H

#include <stdbool.h>

#include "base/compiler.h"
#include "codec/val.h"

/** Whether ZODB understands the reference @v (a VAL_PERSID). */
bool reference_ok(const struct val *v);

/** Both are reference_ok(). True when Python finds them equal; otherwise it finds that they cannot
 * be compared, never that they differ. Weak ones are equal only when spelled alike. */
bool reference_equal(const struct val *a, const struct val *b);

/** Whether Python would hold one object for both. Returns OK, or ERR_UNSUPPORTED when that
 * depends on whether two names mean one class. */
MUST_CHECK int reference_same(const struct val *a, const struct val *b, bool *ret);

#endif
