/* One map from error codes to exceptions. */
#ifndef PYTHON_ERRORS_H
#define PYTHON_ERRORS_H

#include <stdbool.h>

#include "module.h"

/** Import the classes. 0 or -1 with an exception. */
MUST_CHECK int errors_load(struct state *st);
int errors_traverse(struct state *st, visitproc visit, void *arg);
void errors_clear(struct state *st);

/** A call waits: have signals handled. Takes the GIL. Returns true when a handler has raised an exception; that is kept for
 * the thread until it is raised, as Python's code may run on it before. */
bool signals_interrupt(void);
/** Raise what signals_interrupt() has kept. Returns whether there was something. */
bool raise_interrupted(void);
/** Set the exception that belongs to e->code, with its text. Returns NULL. */
PyObject *raise_err(struct state *st, const struct err *e);

#endif
