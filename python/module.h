/* The extension module zc.zkzeo._zkzeo: what its parts share.
 *
 * P1  No Python object is touched while the GIL is released.
 * P2  The GIL is released around everything that may wait for a server, a disk, ZooKeeper or another thread.
 * P3  Every type is a heap type, and what is kept between calls is in the module's state: there is no static object. */
#ifndef PYTHON_MODULE_H
#define PYTHON_MODULE_H

#define PY_SSIZE_T_CLEAN
#include <Python.h>

#include "base/compiler.h"
#include "base/err.h"

enum { ERRORS_MAX = 32 };

/** What belongs to one loaded module. */
struct state {
	PyObject
		*errors[ERRORS_MAX]; /* exception classes, at the negative error codes (errors.c) */
	PyObject *failed_connect;    /* an exception: ZooKeeper cannot be reached */
	PyObject *name_data, *name_set_data;
	PyTypeObject *client_type;
	PyTypeObject *transaction_type;
	PyTypeObject *finder_type;
	PyTypeObject *zookeeper_type;
};

/** The state of the module that @type, or a type it is derived from, is of; NULL with an exception set. */
struct state *state_of_type(PyTypeObject *type);
/** The state of the module. */
struct state *state_of_module(PyObject *module);

/** Make a type of @spec, put it into the module under its name, and into *ret. 0 or -1 with an exception. */
MUST_CHECK int add_type(PyObject *module, PyType_Spec *spec, PyTypeObject **ret);

#endif
