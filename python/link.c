/* Callbacks of a client: they come on the thread that reads, without the GIL. */
#include "client_object.h"

#include "base/mem.h"
#include "errors.h"
#include "values.h"

static __thread unsigned calling;

bool link_is_calling(void)
{
	return calling > 0;
}

PyGILState_STATE link_call_begins(void)
{
	PyGILState_STATE gil = PyGILState_Ensure();
	calling++;
	return gil;
}

void link_call_ends(PyGILState_STATE gil)
{
	calling--;
	PyGILState_Release(gil);
}

/* What a weak reference refers to, or NULL. */
static PyObject *strong(PyObject *ref)
{
	PyObject *o = NULL;
#if PY_VERSION_HEX >= 0x030D0000
	if (PyWeakref_GetRef(ref, &o) < 0)
		PyErr_Clear();
#else
	o = PyWeakref_GetObject(ref);
	if (o == Py_None)
		return NULL;
	Py_INCREF(o);
#endif
	return o;
}

/* A callback begins: the object, or NULL when it is gone. */
static PyObject *begin(struct link *link, PyGILState_STATE *ret)
{
	*ret = link_call_begins();
	return link->ref ? strong(link->ref) : NULL;
}

/* Nobody can be told of the exception that is set but sys.unraisablehook. True: it is Ctrl-C, which came while this thread
 * was in the callback by chance. */
static bool failed(PyObject *o)
{
	if (PyErr_ExceptionMatches(PyExc_KeyboardInterrupt)) {
		PyErr_Clear();
		return true;
	}
	PyErr_WriteUnraisable(o);
	return false;
}

/* @result of what was called, taken over. */
static void end(PyObject *o, PyObject *result, PyGILState_STATE gil)
{
	bool interrupted = o && !result && failed(o);
	Py_XDECREF(result);
	Py_XDECREF(o);
	link_call_ends(gil);
	if (interrupted)
		PyErr_SetInterrupt(); /* for the call that reads, or what follows it */
}

static void tell(void *arg, const char *method)
{
	PyGILState_STATE gil;
	PyObject *o = begin(arg, &gil);
	end(o, o ? PyObject_CallMethod(o, method, NULL) : NULL, gil);
}

static PyObject *oid_list(const uint64_t *oids, size_t n)
{
	PyObject *list = PyList_New((Py_ssize_t)n);
	for (size_t i = 0; list && i < n; i++) {
		PyObject *oid = id_object(oids[i]);
		if (!oid)
			Py_CLEAR(list);
		else
			PyList_SET_ITEM(list, (Py_ssize_t)i, oid);
	}
	return list;
}

static PyObject *invalidate(PyObject *o, uint64_t tid, const uint64_t *oids, size_t n)
{
	PyObject *t = id_object(tid), *list = oid_list(oids, n), *result = NULL;
	if (t && list)
		result = PyObject_CallMethod(o, "invalidateTransaction", "OO", t, list);
	Py_XDECREF(t);
	Py_XDECREF(list);
	return result;
}

static void on_invalidate(void *arg, uint64_t tid, const uint64_t *oids, size_t n)
{
	PyGILState_STATE gil;
	PyObject *result = NULL, *o = begin(arg, &gil);
	bool interrupted = false;
	if (o)
		result = invalidate(o, tid, oids, n);
	if (o && !result) {
		/* The tid moves on all the same: what the database did not take in, it must not go on showing. */
		interrupted = failed(o);
		result = PyObject_CallMethod(o, "invalidateCache", NULL);
	}
	end(o, result, gil);
	if (interrupted)
		PyErr_SetInterrupt();
}

static void on_invalidate_all(void *arg)
{
	tell(arg, "invalidateCache");
}

static void on_connected(void *arg)
{
	tell(arg, "_connected");
}

static void on_disconnected(void *arg)
{
	tell(arg, "_disconnected");
}

static void on_stale_cache(void *arg)
{
	tell(arg, "_stale_cache");
}

static void on_log(void *arg, int level, const char *logger, const char *text)
{
	PyGILState_STATE gil;
	PyObject *result = NULL, *o = begin(arg, &gil);
	if (o) {
		PyObject *t = PyUnicode_DecodeUTF8(text, (Py_ssize_t)strlen(text), "replace");
		if (t)
			result = PyObject_CallMethod(o, "_log", "isN", level, logger, t);
	}
	end(o, result, gil);
}

/* What a dialer in Python has raised, as an error. */
static int dial_failed(struct err *e)
{
	PyObject *type, *value, *traceback;
	PyErr_Fetch(&type, &value, &traceback);
	PyObject *text = value ? PyObject_Str(value) : NULL;
	const char *utf8 = text ? PyUnicode_AsUTF8(text) : NULL;
	err_set(e, ERR_IO, "%s", utf8 ? utf8 : "the dialer failed");
	Py_XDECREF(text);
	Py_XDECREF(type);
	Py_XDECREF(value);
	Py_XDECREF(traceback);
	PyErr_Clear();
	return ERR_IO;
}

/* dialer(address, seconds) -> (descriptor, peer) */
static int dial(void *arg, const struct address *a, uint32_t timeout_ms, int *ret_fd,
	struct address *ret_peer, struct err *e)
{
	struct link *link = arg;
	PyGILState_STATE gil = PyGILState_Ensure();
	int rc = ERR_CLOSED, fd;
	PyObject *peer, *dialer = link->dialer;
	if (dialer) {
		Py_INCREF(dialer);
		PyObject *result =
			PyObject_CallFunction(dialer, "Nd", address_object(a), timeout_ms / 1e3);
		if (result && PyArg_ParseTuple(result, "iO", &fd, &peer) &&
			address_of(peer, ret_peer) == 0) {
			*ret_fd = fd;
			rc = 0;
		} else {
			rc = dial_failed(e);
		}
		Py_XDECREF(result);
		Py_DECREF(dialer);
	} else {
		err_set(e, ERR_CLOSED, "closed");
	}
	PyGILState_Release(gil);
	return rc;
}

static bool on_wait(void *arg)
{
	return signals_interrupt();
}

int link_new(struct client_object *o, PyObject *dialer, struct client_options *ret)
{
	struct link *link = mem_zalloc(1, sizeof(*link));
	if (!link) {
		PyErr_NoMemory();
		return -1;
	}
	link->ref = PyWeakref_NewRef((PyObject *)o, NULL);
	if (!link->ref) {
		mem_free(link);
		return -1;
	}
	ret->events = (struct client_events){ .arg = link,
		.invalidate = on_invalidate,
		.invalidate_all = on_invalidate_all,
		.connected = on_connected,
		.disconnected = on_disconnected,
		.stale_cache = on_stale_cache,
		.interrupted = on_wait,
		.log = on_log };
	if (dialer != Py_None) {
		Py_INCREF(dialer);
		link->dialer = dialer;
		ret->dialer = (struct client_dialer){ .arg = link, .dial = dial };
	}
	o->link = link;
	return 0;
}

void link_cut(struct link *link)
{
	if (link) {
		Py_CLEAR(link->ref);
		Py_CLEAR(link->dialer);
	}
}

void link_free(struct link *link)
{
	mem_free(link);
}
