/* Loads. What is in the cache goes straight into the object that is returned, with the GIL held. */
#include "client_object.h"

#include "args.h"
#include "base/mem.h"
#include "codec/tid.h"
#include "errors.h"
#include "values.h"

PyObject *raise_of_oid(struct client_object *o, uint64_t oid, const struct err *e)
{
	if (e->code != ERR_NOKEY)
		return raise_err(o->st, e);
	PyObject *id = id_object(oid);
	if (id) {
		PyErr_SetObject(o->st->errors[-ERR_NOKEY], id);
		Py_DECREF(id);
	}
	return NULL;
}

/* A revision on its way to Python. */
struct revision {
	PyObject *data;
	uint64_t serial;
	uint64_t end_tid;
};

static void *room(void *arg, size_t len)
{
	PyObject **data = arg;
	/* the cache asks again where what it copied has changed under it */
	Py_XSETREF(*data, PyBytes_FromStringAndSize(NULL, (Py_ssize_t)len));
	return *data ? PyBytes_AS_STRING(*data) : NULL;
}

/* 1: found, 0: not, -1: with an exception. */
static int from_cache(struct client *c, uint64_t oid, uint64_t tid, struct revision *ret)
{
	ret->data = NULL;
	if (client_cached(c, oid, tid, room, &ret->data, &ret->serial, &ret->end_tid) == 0)
		return 1;
	Py_CLEAR(ret->data);
	return PyErr_Occurred() ? -1 : 0;
}

/* 1: found, 0: there is none, -1: with an exception. */
static int from_server(struct client_object *o, uint64_t oid, uint64_t tid, struct revision *ret)
{
	struct client *c = client_use(o);
	if (!c)
		return -1;
	struct client_record record;
	struct err e = ERR_INIT;
	int rc;
	Py_BEGIN_ALLOW_THREADS
	rc = client_fetch_before(c, oid, tid, &record, &e);
	Py_END_ALLOW_THREADS
	client_used(o);
	if (rc == ERR_NOENT)
		return 0;
	if (rc) {
		raise_of_oid(o, oid, &e);
		return -1;
	}
	ret->data = PyBytes_FromStringAndSize(
		(const char *)record.data.data, (Py_ssize_t)record.data.len);
	ret->serial = record.serial;
	ret->end_tid = record.end_tid;
	client_record_end(&record);
	return ret->data ? 1 : -1;
}

static int find(struct client_object *o, uint64_t oid, uint64_t tid, struct revision *ret)
{
	struct client *c = client_peek(o);
	if (!c)
		return -1;
	int found = from_cache(c, oid, tid, ret);
	return found ? found : from_server(o, oid, tid, ret);
}

static const struct signature load_signature = { "load", 1, { "oid", "version", NULL } };

PyObject *client_m_load(PyObject *self, PyObject *const *args, Py_ssize_t n, PyObject *keywords)
{
	struct client_object *o = (struct client_object *)self;
	PyObject *given[2];
	uint64_t oid;
	struct revision r;
	if (args_of(&load_signature, args, n, keywords, given) || id_of(given[0], "oid", &oid))
		return NULL;
	int found = find(o, oid, INT64_MAX, &r);
	if (found == 0)
		return raise_of_oid(o, oid, &(struct err){ .code = ERR_NOKEY });
	return found < 0 ? NULL : Py_BuildValue("NN", r.data, id_object(r.serial));
}

static const struct signature load_before_signature = { "loadBefore", 2, { "oid", "tid", NULL } };

PyObject *client_m_load_before(
	PyObject *self, PyObject *const *args, Py_ssize_t n, PyObject *keywords)
{
	PyObject *given[2];
	uint64_t oid, tid;
	struct revision r;
	if (args_of(&load_before_signature, args, n, keywords, given) ||
		id_of(given[0], "oid", &oid) || id_of(given[1], "tid", &tid))
		return NULL;
	int found = find((struct client_object *)self, oid, tid, &r);
	if (found < 0)
		return NULL;
	if (!found)
		Py_RETURN_NONE;
	PyObject *ret = PyTuple_New(3);
	PyObject *serial = id_object(r.serial), *end = id_or_none(r.end_tid);
	if (!ret || !serial || !end) {
		Py_XDECREF(ret);
		Py_XDECREF(serial);
		Py_XDECREF(end);
		Py_DECREF(r.data);
		return NULL;
	}
	PyTuple_SET_ITEM(ret, 0, r.data);
	PyTuple_SET_ITEM(ret, 1, serial);
	PyTuple_SET_ITEM(ret, 2, end);
	return ret;
}

static int oids_of(PyObject *iterable, uint64_t **ret, size_t *ret_n)
{
	PyObject *seq = PySequence_Fast(iterable, "oids must be iterable");
	if (!seq)
		return -1;
	Py_ssize_t n = PySequence_Fast_GET_SIZE(seq);
	uint64_t *oids = mem_alloc((size_t)n * sizeof(*oids));
	int rc = 0;
	if (!oids) {
		PyErr_NoMemory();
		rc = -1;
	}
	for (Py_ssize_t i = 0; i < n && rc == 0; i++)
		rc = id_of(PySequence_Fast_GET_ITEM(seq, i), "oid", &oids[i]);
	Py_DECREF(seq);
	if (rc) {
		mem_free(oids);
		return -1;
	}
	*ret = oids;
	*ret_n = (size_t)n;
	return 0;
}

static const struct signature prefetch_signature = { "prefetch", 2, { "oids", "tid", NULL } };

PyObject *client_m_prefetch(
	PyObject *self, PyObject *const *args, Py_ssize_t n_args, PyObject *keywords)
{
	struct client_object *o = (struct client_object *)self;
	PyObject *given[2];
	uint64_t tid, *oids;
	size_t n;
	if (args_of(&prefetch_signature, args, n_args, keywords, given) ||
		id_of(given[1], "tid", &tid) || oids_of(given[0], &oids, &n))
		return NULL;
	struct client *c = client_use(o);
	if (!c) {
		mem_free(oids);
		return NULL;
	}
	struct err e = ERR_INIT;
	int rc;
	Py_BEGIN_ALLOW_THREADS
	rc = client_prefetch(c, oids, n, tid, &e);
	Py_END_ALLOW_THREADS
	client_used(o);
	mem_free(oids);
	/* only a hint: who needs an object will hear of the lost connection */
	if (rc && rc != ERR_CLOSED)
		return raise_err(o->st, &e);
	Py_RETURN_NONE;
}
