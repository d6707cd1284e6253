#include "values.h"

#include <string.h>

#include "base/bigendian.h"
#include "codec/pickle.h"
#include "codec/tid.h"

enum { DEPTH_MAX = 60 };

int id_of(PyObject *o, const char *what, uint64_t *ret)
{
	/* as programs that were written for Python 2 have it: '\0' * 8 */
	if (PyUnicode_Check(o) && PyUnicode_READY(o) == 0 && PyUnicode_GET_LENGTH(o) == 8 &&
		PyUnicode_KIND(o) == PyUnicode_1BYTE_KIND) {
		*ret = get_be64(PyUnicode_1BYTE_DATA(o));
		return 0;
	}
	if (!PyBytes_Check(o)) {
		PyErr_Format(
			PyExc_TypeError, "%s must be bytes, not %.100s", what, Py_TYPE(o)->tp_name);
		return -1;
	}
	if (PyBytes_GET_SIZE(o) != 8) {
		PyErr_Format(PyExc_ValueError, "%s must have 8 bytes, not %zd: %R", what,
			PyBytes_GET_SIZE(o), o);
		return -1;
	}
	*ret = get_be64((const uint8_t *)PyBytes_AS_STRING(o));
	return 0;
}

int serial_of(PyObject *o, uint64_t *ret)
{
	if (o != Py_None)
		return id_of(o, "serial", ret);
	*ret = TID_NONE;
	return 0;
}

PyObject *id_object(uint64_t id)
{
	uint8_t bytes[8];
	put_be64(bytes, id);
	return PyBytes_FromStringAndSize((const char *)bytes, 8);
}

PyObject *id_or_none(uint64_t id)
{
	if (id == TID_NONE)
		Py_RETURN_NONE;
	return id_object(id);
}

int text_of(PyObject *o, const char *what, struct slice *ret)
{
	if (PyBytes_Check(o)) {
		*ret = slice_of(PyBytes_AS_STRING(o), (size_t)PyBytes_GET_SIZE(o));
		return 0;
	}
	if (PyUnicode_Check(o)) {
		Py_ssize_t len;
		const char *text = PyUnicode_AsUTF8AndSize(o, &len);
		if (!text)
			return -1;
		*ret = slice_of(text, (size_t)len);
		return 0;
	}
	PyErr_Format(
		PyExc_TypeError, "%s must be bytes or str, not %.100s", what, Py_TYPE(o)->tp_name);
	return -1;
}

/* ---- plain values ---- */

struct converter {
	struct arena *arena;
	PyObject *keep; /* a list of what values borrow from, beside the argument itself */
	int depth;
};

static int convert(struct converter *c, PyObject *o, struct val *ret);

static void *room(struct converter *c, size_t n)
{
	void *p = arena_alloc(c->arena, n ? n : 1);
	if (!p)
		PyErr_NoMemory();
	return p;
}

/* The converter holds @o, which it takes over, until the values are not needed any more. */
static int keep(struct converter *c, PyObject *o)
{
	if (!o)
		return -1;
	if (!c->keep)
		c->keep = PyList_New(0);
	int rc = c->keep ? PyList_Append(c->keep, o) : -1;
	Py_DECREF(o);
	return rc;
}

static int convert_int(struct converter *c, PyObject *o, struct val *ret)
{
	int overflow;
	long long i = PyLong_AsLongLongAndOverflow(o, &overflow);
	if (!overflow) {
		ret->type = VAL_INT;
		ret->i = i;
		return i == -1 && PyErr_Occurred() ? -1 : 0;
	}
	PyObject *bits = PyObject_CallMethod(o, "bit_length", NULL);
	if (!bits)
		return -1;
	Py_ssize_t n = PyLong_AsSsize_t(bits);
	Py_DECREF(bits);
	if (n < 0)
		return -1;
	PyObject *method = PyObject_GetAttrString(o, "to_bytes");
	PyObject *args = Py_BuildValue("(ns)", n / 8 + 1, "little");
	PyObject *kw = Py_BuildValue("{sO}", "signed", Py_True);
	PyObject *bytes = method && args && kw ? PyObject_Call(method, args, kw) : NULL;
	Py_XDECREF(method);
	Py_XDECREF(args);
	Py_XDECREF(kw);
	if (!bytes)
		return -1;
	ret->type = VAL_BIGINT;
	ret->s = slice_of(PyBytes_AS_STRING(bytes), (size_t)PyBytes_GET_SIZE(bytes));
	return keep(c, bytes);
}

static int convert_items(struct converter *c, PyObject *tuple, enum val_type type, struct val *ret)
{
	Py_ssize_t n = PyTuple_GET_SIZE(tuple);
	struct val *items = room(c, (size_t)n * sizeof(*items));
	if (!items)
		return -1;
	for (Py_ssize_t i = 0; i < n; i++)
		if (convert(c, PyTuple_GET_ITEM(tuple, i), &items[i]))
			return -1;
	*ret = (struct val){ .type = type, .n = (uint32_t)n, .items = items };
	return 0;
}

/* What others can change meanwhile is copied. */
static int convert_list(struct converter *c, PyObject *o, struct val *ret)
{
	PyObject *tuple = PyList_AsTuple(o);
	return keep(c, tuple) ? -1 : convert_items(c, tuple, VAL_LIST, ret);
}

static int convert_dict(struct converter *c, PyObject *o, struct val *ret)
{
	PyObject *pairs = PyDict_Items(o);
	if (keep(c, pairs))
		return -1;
	Py_ssize_t n = PyList_GET_SIZE(pairs);
	struct val *items = room(c, 2 * (size_t)n * sizeof(*items));
	if (!items)
		return -1;
	for (Py_ssize_t i = 0; i < n; i++) {
		PyObject *pair = PyList_GET_ITEM(pairs, i);
		if (convert(c, PyTuple_GET_ITEM(pair, 0), &items[2 * i]) ||
			convert(c, PyTuple_GET_ITEM(pair, 1), &items[2 * i + 1]))
			return -1;
	}
	*ret = (struct val){ .type = VAL_DICT, .n = (uint32_t)(2 * n), .items = items };
	return 0;
}

/* Anything else: what its pickle says. In msgpack it cannot be written, as in Python. */
static int convert_pickle(struct converter *c, PyObject *o, struct val *ret)
{
	PyObject *module = PyImport_ImportModule("zodbpickle.pickle");
	if (!module)
		return -1;
	PyObject *pickle = PyObject_CallMethod(module, "dumps", "Oi", o, 3);
	Py_DECREF(module);
	if (!pickle)
		return -1;
	struct slice s = slice_of(PyBytes_AS_STRING(pickle), (size_t)PyBytes_GET_SIZE(pickle));
	struct err e = ERR_INIT;
	int rc = pickle_decode(
		s, PICKLE_KEEP_GLOBALS, &pickle_limits_message, c->arena, ret, NULL, &e);
	if (keep(c, pickle))
		return -1;
	if (rc)
		PyErr_Format(PyExc_TypeError, "%.100s cannot be sent to a server: %s",
			Py_TYPE(o)->tp_name, e.text);
	return rc ? -1 : 0;
}

static int convert_plain(struct converter *c, PyObject *o, struct val *ret)
{
	if (o == Py_None) {
		ret->type = VAL_NONE;
		return 0;
	}
	if (PyBool_Check(o)) {
		*ret = (struct val){ .type = VAL_BOOL, .b = o == Py_True };
		return 0;
	}
	if (PyLong_CheckExact(o))
		return convert_int(c, o, ret);
	if (PyFloat_CheckExact(o)) {
		*ret = (struct val){ .type = VAL_FLOAT, .f = PyFloat_AS_DOUBLE(o) };
		return 0;
	}
	if (PyBytes_CheckExact(o) || PyUnicode_CheckExact(o)) {
		ret->type = PyBytes_CheckExact(o) ? VAL_BYTES : VAL_STR;
		return text_of(o, "text", &ret->s);
	}
	if (PyTuple_CheckExact(o))
		return convert_items(c, o, VAL_TUPLE, ret);
	if (PyList_CheckExact(o))
		return convert_list(c, o, ret);
	if (PyDict_CheckExact(o))
		return convert_dict(c, o, ret);
	return convert_pickle(c, o, ret);
}

static int convert(struct converter *c, PyObject *o, struct val *ret)
{
	if (++c->depth > DEPTH_MAX) {
		PyErr_Format(PyExc_ValueError,
			"values more than %d deep cannot be sent to a server", DEPTH_MAX);
		return -1;
	}
	memset(ret, 0, sizeof(*ret));
	int rc = convert_plain(c, o, ret);
	c->depth--;
	return rc;
}

int values_of(PyObject *tuple, struct arena *arena, struct val **ret, PyObject **ret_keep)
{
	struct converter c = { .arena = arena };
	Py_ssize_t n = PyTuple_GET_SIZE(tuple);
	struct val *vals = room(&c, (size_t)n * sizeof(*vals));
	int rc = vals ? 0 : -1;
	for (Py_ssize_t i = 0; i < n && rc == 0; i++)
		rc = convert(&c, PyTuple_GET_ITEM(tuple, i), &vals[i]);
	if (rc) {
		Py_CLEAR(c.keep);
		return -1;
	}
	*ret = vals;
	*ret_keep = c.keep;
	return 0;
}

int value_of(PyObject *o, struct arena *arena, struct val *ret, PyObject **ret_keep)
{
	struct converter c = { .arena = arena };
	if (convert(&c, o, ret)) {
		Py_CLEAR(c.keep);
		return -1;
	}
	*ret_keep = c.keep;
	return 0;
}

/* ---- addresses ---- */

static int copy_text(PyObject *o, char *out, size_t room, const char *what)
{
	struct slice s;
	if (text_of(o, what, &s))
		return -1;
	if (s.len >= room || (s.len && memchr(s.data, 0, s.len))) {
		PyErr_Format(PyExc_ValueError, "%s: %R, expected less than %zu bytes without NUL",
			what, o, room);
		return -1;
	}
	if (s.len)
		memcpy(out, s.data, s.len);
	out[s.len] = 0;
	return 0;
}

int address_of(PyObject *o, struct address *ret)
{
	struct address a = { .family = ADDRESS_INET };
	if (PyUnicode_Check(o)) {
		a.family = ADDRESS_UNIX;
		if (copy_text(o, a.path, sizeof(a.path), "the path of a socket"))
			return -1;
		*ret = a;
		return 0;
	}
	if (!PyTuple_Check(o) || PyTuple_GET_SIZE(o) != 2 ||
		!PyUnicode_Check(PyTuple_GET_ITEM(o, 0)) || !PyLong_Check(PyTuple_GET_ITEM(o, 1))) {
		PyErr_Format(PyExc_TypeError,
			"an address is (host, port) or the path of a Unix socket, not %R", o);
		return -1;
	}
	if (copy_text(PyTuple_GET_ITEM(o, 0), a.host, sizeof(a.host), "a host"))
		return -1;
	if (!a.host[0])
		strcpy(a.host, "127.0.0.1");
	long port = PyLong_AsLong(PyTuple_GET_ITEM(o, 1));
	if (port == -1 && PyErr_Occurred())
		return -1;
	if (port < 0 || port > 65535) {
		PyErr_Format(PyExc_ValueError, "port %ld, expected 0 to 65535", port);
		return -1;
	}
	a.port = (uint16_t)port;
	*ret = a;
	return 0;
}

PyObject *address_object(const struct address *a)
{
	if (a->family == ADDRESS_UNIX)
		return PyUnicode_DecodeFSDefault(a->path);
	return Py_BuildValue("(si)", a->host, (int)a->port);
}
