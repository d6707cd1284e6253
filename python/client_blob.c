/* Blobs: methods of ClientStorage. */
#include "client_commit.h"

#include <limits.h>

#include "args.h"
#include "errors.h"
#include "values.h"

/* (path, shared, size of the cache or None, percent of it between checks) */
PyObject *client_m_open_blobs(PyObject *self, PyObject *args)
{
	struct client_object *o = (struct client_object *)self;
	struct blobs_options options = { 0 };
	PyObject *path, *limit;
	int shared;
	if (!PyArg_ParseTuple(args, "O&pOI:_open_blobs", PyUnicode_FSConverter, &path, &shared,
		    &limit, &options.check_percent))
		return NULL;
	options.path = PyBytes_AS_STRING(path);
	options.shared = shared;
	options.limited = limit != Py_None;
	options.cache_bytes = options.limited ? PyLong_AsUnsignedLongLong(limit) : 0;
	struct client *c = PyErr_Occurred() ? NULL : client_use(o);
	struct err e = ERR_INIT;
	int rc = 0;
	if (c) {
		Py_BEGIN_ALLOW_THREADS
		rc = blobs_open(c, &options, &o->blobs, &e);
		Py_END_ALLOW_THREADS
		client_used(o);
	}
	Py_DECREF(path);
	if (rc)
		return raise_err(o->st, &e);
	if (!c)
		return NULL;
	Py_RETURN_NONE;
}

static struct blobs *need_blobs(struct client_object *o)
{
	if (!o->blobs && !PyErr_Occurred())
		PyErr_SetString(
			o->st->errors[-ERR_UNSUPPORTED], "No blob cache directory is configured.");
	return o->blobs;
}

static const struct signature load_signature = { "loadBlob", 2, { "oid", "serial", NULL } };

PyObject *client_m_load_blob(
	PyObject *self, PyObject *const *args, Py_ssize_t n, PyObject *keywords)
{
	struct client_object *o = (struct client_object *)self;
	PyObject *given[2];
	uint64_t oid, serial;
	char path[PATH_MAX];
	if (args_of(&load_signature, args, n, keywords, given) || id_of(given[0], "oid", &oid) ||
		id_of(given[1], "serial", &serial))
		return NULL;
	struct client *c = client_use(o);
	if (!c)
		return NULL;
	struct blobs *b = need_blobs(o);
	struct err e = ERR_INIT;
	int rc = 0;
	if (b) {
		Py_BEGIN_ALLOW_THREADS
		rc = blobs_load(b, oid, serial, path, sizeof(path), &e);
		Py_END_ALLOW_THREADS
	}
	client_used(o);
	if (!b)
		return NULL;
	if (rc != ERR_NOKEY)
		return rc ? raise_err(o->st, &e) : PyUnicode_DecodeFSDefault(path);
	PyObject *values = Py_BuildValue("sOO", "No blob file", given[0], given[1]);
	if (values) {
		PyErr_SetObject(o->st->errors[-ERR_NOKEY], values);
		Py_DECREF(values);
	}
	return NULL;
}

static const struct signature store_signature = { "storeBlob", 6,
	{ "oid", "serial", "data", "blobfilename", "version", "txn", NULL } };

/* What storeBlob() was given. */
struct stored {
	uint64_t oid, serial;
	PyObject *path;
	Py_buffer data;
};

static int stored_of(PyObject **given, struct stored *ret)
{
	int versions = PyObject_IsTrue(given[4]);
	if (versions)
		PyErr_SetString(PyExc_AssertionError, "versions are not supported");
	if (versions || id_of(given[0], "oid", &ret->oid) || serial_of(given[1], &ret->serial))
		return -1;
	if (!PyUnicode_FSConverter(given[3], &ret->path))
		return -1;
	if (PyObject_GetBuffer(given[2], &ret->data, PyBUF_SIMPLE)) {
		Py_DECREF(ret->path);
		return -1;
	}
	return 0;
}

PyObject *client_m_store_blob(
	PyObject *self, PyObject *const *args, Py_ssize_t n, PyObject *keywords)
{
	struct client_object *o = (struct client_object *)self;
	PyObject *given[6];
	struct transaction_object *t;
	struct stored s;
	if (args_of(&store_signature, args, n, keywords, given))
		return NULL;
	struct client *c = transaction_check(o, given[5], "storeBlob", &t);
	if (!c)
		return NULL;
	struct blobs *b = need_blobs(o);
	if (!b || stored_of(given, &s)) {
		transaction_done(o, t);
		return NULL;
	}
	struct err e = ERR_INIT;
	int rc;
	Py_BEGIN_ALLOW_THREADS
	rc = blobs_store(b, &t->open.files, t->open.txn, s.oid, s.serial,
		slice_of(s.data.buf, (size_t)s.data.len), PyBytes_AS_STRING(s.path), &e);
	Py_END_ALLOW_THREADS
	PyBuffer_Release(&s.data);
	Py_DECREF(s.path);
	transaction_done(o, t);
	if (rc)
		return raise_err(o->st, &e);
	Py_RETURN_NONE;
}
