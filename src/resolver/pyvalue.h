/* Comparing values as Python compares what they unpickle to. */
#ifndef RESOLVER_PYVALUE_H
#define RESOLVER_PYVALUE_H

#include <stdbool.h>

#include "base/compiler.h"
#include "codec/val.h"

enum pyvalue_op { PY_EQ, PY_LT, PY_GT };

/**
 * a @op b, of values decoded with PICKLE_EXACT whose references are reference_ok().
 * Returns OK; ERR_CONFLICT where Python raises an exception; ERR_UNSUPPORTED where this code does
 * not know what Python finds.
 */
MUST_CHECK int pyvalue_compare(
	const struct val *a, const struct val *b, enum pyvalue_op op, bool *ret);

/** Whether @v is an int or bool. */
bool pyvalue_is_int(const struct val *v);

/** The sign of a - b; both are ints. */
int pyvalue_int_order(const struct val *a, const struct val *b);

#endif
