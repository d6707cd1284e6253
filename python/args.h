/* Arguments of methods with the fast calling convention. */
#ifndef PYTHON_ARGS_H
#define PYTHON_ARGS_H

#include "module.h"

enum { ARGS_MAX = 8 };

struct signature {
	const char *method;
	int required;
	const char *names[ARGS_MAX + 1]; /* ends with NULL */
};

/** Sort the arguments into @out, one place for each name; those that were not given stay as they are. 0 or -1 with TypeError. */
MUST_CHECK int args_of(const struct signature *s, PyObject *const *args, Py_ssize_t n,
	PyObject *keywords, PyObject **out);

#endif
