/* Python's values as they go over the wire, and oids and tids. */
#ifndef PYTHON_VALUES_H
#define PYTHON_VALUES_H

#include "module.h"

#include "base/address.h"
#include "base/arena.h"
#include "codec/val.h"

/** 8 bytes, as an oid or a tid is. 0, or -1 with TypeError or ValueError that names @what. */
MUST_CHECK int id_of(PyObject *o, const char *what, uint64_t *ret);
/** The same of the revision something was made from; None: it is new. */
MUST_CHECK int serial_of(PyObject *o, uint64_t *ret);
/** The 8 bytes. */
PyObject *id_object(uint64_t id);
/** None for TID_NONE. */
PyObject *id_or_none(uint64_t id);

/**
 * The values of a tuple, in @arena; strings and bytes are borrowed from its objects, which the caller keeps.
 * What is no plain value is taken as its pickle: one holds a reference to it, which the caller gives back: *ret_keep, NULL when there
 * is none.
 * 0 or -1 with an exception.
 */
MUST_CHECK int values_of(
	PyObject *tuple, struct arena *arena, struct val **ret, PyObject **ret_keep);
/** The same of one object. */
MUST_CHECK int value_of(PyObject *o, struct arena *arena, struct val *ret, PyObject **ret_keep);

/** A (host, port) tuple, or the path of a Unix socket. 0 or -1 with an exception. */
MUST_CHECK int address_of(PyObject *o, struct address *ret);
PyObject *address_object(const struct address *a);

/** The bytes of a bytes object, or of the UTF-8 of a str; borrowed. 0 or -1 with TypeError. */
MUST_CHECK int text_of(PyObject *o, const char *what, struct slice *ret);

#endif
