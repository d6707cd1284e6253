/* What the package zc.zk does with ZooKeeper. */
#ifndef PYTHON_ZOOKEEPER_TYPE_H
#define PYTHON_ZOOKEEPER_TYPE_H

#include "module.h"

/** Add the type ZooKeeper and the function parse_tree(). 0 or -1 with an exception. */
MUST_CHECK int zookeeper_type_add(PyObject *module, struct state *st);

#endif
