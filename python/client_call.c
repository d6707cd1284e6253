/* Calls of any method, and the small ones that have functions of their own. */
#include "client_object.h"

#include "args.h"
#include "base/arena.h"
#include "client/cache.h"
#include "errors.h"
#include "values.h"

/* An answer as zc.zkzeo._replies takes it. */
static PyObject *reply_object(struct slice reply, enum encoding encoding)
{
	return Py_BuildValue("y#s", (const char *)reply.data, (Py_ssize_t)reply.len,
		encoding == ENC_MSGPACK ? "M" : "Z");
}

PyObject *raise_reply(struct slice reply, enum encoding encoding)
{
	PyObject *module = PyImport_ImportModule("zc.zkzeo._replies");
	if (!module)
		return NULL;
	PyObject *result = PyObject_CallMethod(module, "result", "y#s", (const char *)reply.data,
		(Py_ssize_t)reply.len, encoding == ENC_MSGPACK ? "M" : "Z");
	Py_DECREF(module);
	if (result) {
		Py_DECREF(result);
		PyErr_SetString(PyExc_RuntimeError, "an answer that says of no error");
	}
	return NULL;
}

int timeout_of(PyObject *o, uint32_t *ret_ms)
{
	*ret_ms = 0;
	if (!o || o == Py_None)
		return 0;
	double s = PyFloat_AsDouble(o);
	if (s == -1 && PyErr_Occurred())
		return -1;
	*ret_ms = s <= 0 ? 1 : s > 4e6 ? UINT32_MAX : (uint32_t)(s * 1e3 + 0.999);
	return 0;
}

static const struct signature raw_call_signature = { "_raw_call", 2,
	{ "method", "args", "timeout", NULL } };

/* (answer, encoding) */
PyObject *client_m_raw_call(
	PyObject *self, PyObject *const *args, Py_ssize_t n_args, PyObject *keywords)
{
	struct client_object *o = (struct client_object *)self;
	PyObject *given[3] = { NULL }, *keep = NULL, *ret = NULL;
	uint32_t timeout_ms;
	struct val *vals;
	if (args_of(&raw_call_signature, args, n_args, keywords, given) ||
		timeout_of(given[2], &timeout_ms))
		return NULL;
	const char *method = PyUnicode_AsUTF8(given[0]);
	if (!method)
		return NULL;
	if (!PyTuple_Check(given[1]))
		return PyErr_Format(PyExc_TypeError, "the arguments must be a tuple");
	struct arena arena = ARENA_INIT(0);
	struct client *c = client_use(o);
	if (!c)
		return NULL;
	if (values_of(given[1], &arena, &vals, &keep))
		goto out;
	struct call k = { 0 };
	struct err e = ERR_INIT;
	int rc;
	Py_BEGIN_ALLOW_THREADS
	rc = client_call(c, &k, method, vals, (uint32_t)PyTuple_GET_SIZE(given[1]), timeout_ms, &e);
	Py_END_ALLOW_THREADS
	if (rc == 0 || k.remote)
		ret = reply_object(k.reply, k.encoding);
	else
		raise_err(o->st, &e);
	call_end(&k);
out:
	Py_XDECREF(keep);
	arena_free(&arena);
	client_used(o);
	return ret;
}

static const struct signature cast_signature = { "_cast", 2, { "method", "args", NULL } };

PyObject *client_m_cast(
	PyObject *self, PyObject *const *args, Py_ssize_t n_args, PyObject *keywords)
{
	struct client_object *o = (struct client_object *)self;
	PyObject *given[2], *keep = NULL;
	struct val *vals;
	if (args_of(&cast_signature, args, n_args, keywords, given))
		return NULL;
	const char *method = PyUnicode_AsUTF8(given[0]);
	if (!method)
		return NULL;
	if (!PyTuple_Check(given[1]))
		return PyErr_Format(PyExc_TypeError, "the arguments must be a tuple");
	struct arena arena = ARENA_INIT(0);
	struct client *c = client_use(o);
	if (!c)
		return NULL;
	struct err e = ERR_INIT;
	int rc = -1;
	if (values_of(given[1], &arena, &vals, &keep) == 0) {
		Py_BEGIN_ALLOW_THREADS
		rc = client_cast(c, method, vals, (uint32_t)PyTuple_GET_SIZE(given[1]), &e);
		Py_END_ALLOW_THREADS
		if (rc)
			raise_err(o->st, &e);
	}
	Py_XDECREF(keep);
	arena_free(&arena);
	client_used(o);
	if (rc)
		return NULL;
	Py_RETURN_NONE;
}

PyObject *client_m_new_oid(PyObject *self, PyObject *unused)
{
	struct client_object *o = (struct client_object *)self;
	struct client *c = client_use(o);
	if (!c)
		return NULL;
	struct err e = ERR_INIT;
	int rc = ERR_READONLY;
	uint64_t oid = 0;
	if (!client_is_read_only(c)) {
		Py_BEGIN_ALLOW_THREADS
		rc = client_new_oid(c, &oid, &e);
		Py_END_ALLOW_THREADS
	}
	client_used(o);
	if (rc == ERR_READONLY) {
		PyErr_SetNone(o->st->errors[-ERR_READONLY]);
		return NULL;
	}
	return rc ? raise_err(o->st, &e) : id_object(oid);
}

static PyObject *wait_for(struct client_object *o, int (*call)(struct client *c, struct err *e))
{
	struct client *c = client_use(o);
	if (!c)
		return NULL;
	struct err e = ERR_INIT;
	int rc;
	Py_BEGIN_ALLOW_THREADS
	rc = call(c, &e);
	Py_END_ALLOW_THREADS
	client_used(o);
	if (rc)
		return raise_err(o->st, &e);
	Py_RETURN_NONE;
}

PyObject *client_m_ping(PyObject *self, PyObject *unused)
{
	return wait_for((struct client_object *)self, client_ping);
}

PyObject *client_m_forget_cached(PyObject *self, PyObject *unused)
{
	return wait_for((struct client_object *)self, client_forget_cached);
}

PyObject *client_m_sync(PyObject *self, PyObject *unused)
{
	struct client_object *o = (struct client_object *)self;
	if (o->server_sync)
		return wait_for(o, client_ping);
	Py_RETURN_NONE;
}

/* What the cache holds and did: a dict. */
PyObject *client_m_cache_stats(PyObject *self, PyObject *unused)
{
	struct client *c = client_peek((struct client_object *)self);
	struct cache_stats s;
	if (!c)
		return NULL;
	client_cache_stats(c, &s);
	return Py_BuildValue("{sKsKsKsKsKsKsK}", "hits", (unsigned long long)s.hits, "misses",
		(unsigned long long)s.misses, "stores", (unsigned long long)s.stores, "evictions",
		(unsigned long long)s.evictions, "entries", (unsigned long long)s.entries, "used",
		(unsigned long long)s.used_bytes, "size", (unsigned long long)s.size_bytes);
}

/* What get_info() and info() have said, encoded, or None. */
PyObject *client_m_info(PyObject *self, PyObject *unused)
{
	struct client_object *o = (struct client_object *)self;
	struct client *c = client_peek(o);
	if (!c)
		return NULL;
	struct buf out = BUF_INIT(0);
	enum encoding encoding;
	struct err e = ERR_INIT;
	PyObject *ret;
	if (client_info(c, &out, &encoding, &e))
		ret = raise_err(o->st, &e);
	else if (out.len == 0)
		ret = Py_NewRef(Py_None);
	else
		ret = reply_object(buf_slice(&out), encoding);
	buf_free(&out);
	return ret;
}
