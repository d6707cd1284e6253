/* ZooKeeper: what its parts share. */
#ifndef PYTHON_ZOOKEEPER_OBJECT_H
#define PYTHON_ZOOKEEPER_OBJECT_H

#include "module.h"

#include "zookeeper/live.h"
#include "zookeeper/reader.h"

struct registration;

struct registered {
	struct registered *next;
	struct registration *r;
	PyObject *put; /* its log's */
};

struct zookeeper_object {
	PyObject ob_base;
	struct live *live; /* NULL: closed */
	char *connection;
	uint32_t timeout_ms;
	PyObject *put; /* put(item) of the queue that events and lines of log go to */
	struct registered *registered;
};

/** Set the exception that belongs to e->code, of zc.zkzeo._zookeeper_errors, or @name's. Returns NULL. */
PyObject *zookeeper_raise(const struct err *e, const char *name);

/** A reader for one call, which takes place without the GIL; NULL with an exception when it is closed. */
struct reader *zookeeper_begin(PyObject *self);
void zookeeper_end(struct reader *r, struct live *l);
/** The session of a reader that zookeeper_begin() gave is kept by it. */
struct live *zookeeper_live(PyObject *self);

/** Permissions from a list of (perms, (scheme, id)) or (perms, scheme, id), or None: no list. The texts are borrowed from the
 * objects. Freed with mem_free(). 0 or -1 with an exception. */
MUST_CHECK int zookeeper_acl(PyObject *list, struct zk_acl **ret, size_t *ret_n);

/* Methods, of zookeeper_nodes.c, zookeeper_tree.c and zookeeper_watch.c. */
extern const PyMethodDef zookeeper_node_methods[];
extern const PyMethodDef zookeeper_tree_methods[];
extern const PyMethodDef zookeeper_watch_methods[];
PyObject *zookeeper_parse_tree(PyObject *module, PyObject *text);
/** End all registrations, without the GIL held. */
void zookeeper_stop_registered(struct registered *all);

#endif
