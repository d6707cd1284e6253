/* One map from error codes to exceptions. */
#ifndef PYTHON_ERRORS_H
#define PYTHON_ERRORS_H

#include "module.h"

/** Import the classes. 0 or -1 with an exception. */
MUST_CHECK int errors_load(struct state *st);
int errors_traverse(struct state *st, visitproc visit, void *arg);
void errors_clear(struct state *st);

/** Set the exception that belongs to e->code, with its text. Returns NULL. */
PyObject *raise_err(struct state *st, const struct err *e);

#endif
