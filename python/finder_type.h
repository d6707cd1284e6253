/* The servers at a path in ZooKeeper. */
#ifndef PYTHON_FINDER_TYPE_H
#define PYTHON_FINDER_TYPE_H

#include "module.h"

MUST_CHECK int finder_type_add(PyObject *module, struct state *st);

#endif
