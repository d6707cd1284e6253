/* Finder: the servers at a path in ZooKeeper, for a ClientStorage. */
#include "finder_type.h"

#include <structmember.h>

#include "base/mem.h"
#include "client/finder.h"
#include "client_object.h"
#include "errors.h"
#include "values.h"
#include "zookeeper_object.h"

struct finder_object {
	PyObject ob_base;
	struct state *st;
	struct finder *finder; /* NULL: closed */
	PyObject *log;         /* called with (level, logger, text) */
};

static void on_log(void *arg, int level, const char *logger, const char *text)
{
	PyGILState_STATE gil = link_call_begins();
	PyObject *log = arg;
	PyObject *t = PyUnicode_DecodeUTF8(text, (Py_ssize_t)strlen(text), "replace");
	PyObject *r = t ? PyObject_CallFunction(log, "isN", level, logger, t) : NULL;
	if (!r)
		PyErr_WriteUnraisable(log);
	Py_XDECREF(r);
	link_call_ends(gil);
}

/* While the start waits: Ctrl-C ends it. */
static bool stop(void *arg)
{
	PyGILState_STATE gil = PyGILState_Ensure();
	bool interrupted = PyErr_CheckSignals() != 0;
	PyGILState_Release(gil);
	return interrupted;
}

static int finder_init(PyObject *self, PyObject *args, PyObject *keywords)
{
	static const char *const names[] = { "connection", "path", "wait", "log", NULL };
	struct finder_object *o = (struct finder_object *)self;
	const char *connection, *path;
	int wait;
	PyObject *log;
	if (!PyArg_ParseTupleAndKeywords(args, keywords, "zspO:Finder", (char **)(uintptr_t)names,
		    &connection, &path, &wait, &log))
		return -1;
	if (o->finder) {
		PyErr_SetString(PyExc_RuntimeError, "the finder is open");
		return -1;
	}
	Py_INCREF(log);
	Py_XSETREF(o->log, log);
	struct client_events events = { .arg = log, .log = on_log };
	struct finder *finder = NULL;
	struct err e = ERR_INIT;
	int rc;
	Py_BEGIN_ALLOW_THREADS
	rc = finder_open(connection, path, wait, stop, &events, &finder, &e);
	Py_END_ALLOW_THREADS
	if (rc) {
		if (!PyErr_Occurred())
			zookeeper_raise(&e, rc == ERR_TIMEOUT ? "FailedConnect" : NULL);
		return -1;
	}
	o->finder = finder;
	return 0;
}

static PyObject *finder_new(PyTypeObject *type, PyObject *args, PyObject *keywords)
{
	struct state *st = state_of_type(type);
	if (!st)
		return NULL;
	struct finder_object *o = (struct finder_object *)type->tp_alloc(type, 0);
	if (o)
		o->st = st;
	return (PyObject *)o;
}

static struct finder *need_finder(struct finder_object *o)
{
	if (!o->finder)
		raise_err(o->st, &(struct err){ ERR_CLOSED, "closed" });
	return o->finder;
}

static PyObject *address_list(const struct address *a, size_t n)
{
	PyObject *list = PyList_New(0);
	for (size_t i = 0; list && i < n; i++) {
		PyObject *item = address_object(&a[i]);
		if (!item || PyList_Append(list, item))
			Py_CLEAR(list);
		Py_XDECREF(item);
	}
	return list;
}

/* With the GIL, so that nobody closes it meanwhile: nobody waits for anything while the list is locked. */
static PyObject *finder_m_addresses(PyObject *self, PyObject *unused)
{
	struct finder_object *o = (struct finder_object *)self;
	struct finder *f = need_finder(o);
	if (!f)
		return NULL;
	struct address *a = NULL;
	size_t n = 0;
	struct err e = ERR_INIT;
	if (finder_addresses(f, &a, &n, &e))
		return raise_err(o->st, &e);
	PyObject *list = address_list(a, n);
	mem_free(a);
	return list;
}

/* The storage has its servers from here, and closes this when it is closed. Nobody else has either of them yet. */
static PyObject *finder_m_attach(PyObject *self, PyObject *storage)
{
	struct finder_object *o = (struct finder_object *)self;
	if (!PyObject_TypeCheck(storage, o->st->client_type))
		return PyErr_Format(PyExc_TypeError, "a ClientStorage was expected, not %.100s",
			Py_TYPE(storage)->tp_name);
	struct client_object *client = (struct client_object *)storage;
	struct client *c = client_use(client);
	struct finder *f = c ? need_finder(o) : NULL;
	if (!f) {
		if (c)
			client_used(client);
		return NULL;
	}
	struct err e = ERR_INIT;
	int rc;
	Py_BEGIN_ALLOW_THREADS
	rc = finder_attach(f, c, &e);
	Py_END_ALLOW_THREADS
	if (rc == 0) {
		Py_INCREF(self);
		Py_XSETREF(client->finder, self);
	}
	client_used(client);
	if (rc)
		return raise_err(o->st, &e);
	Py_RETURN_NONE;
}

static PyObject *finder_m_close(PyObject *self, PyObject *unused)
{
	struct finder_object *o = (struct finder_object *)self;
	struct finder *finder = o->finder;
	o->finder = NULL;
	Py_BEGIN_ALLOW_THREADS
	finder_close(finder);
	Py_END_ALLOW_THREADS
	Py_RETURN_NONE;
}

static int finder_traverse(PyObject *self, visitproc visit, void *arg)
{
	Py_VISIT(Py_TYPE(self));
	Py_VISIT(((struct finder_object *)self)->log);
	return 0;
}

static void finder_finalize(PyObject *self)
{
	PyObject *type, *value, *traceback;
	PyErr_Fetch(&type, &value, &traceback);
	Py_XDECREF(finder_m_close(self, NULL));
	PyErr_Restore(type, value, traceback);
}

static void finder_dealloc(PyObject *self)
{
	PyTypeObject *type = Py_TYPE(self);
	if (PyObject_CallFinalizerFromDealloc(self))
		return;
	PyObject_GC_UnTrack(self);
	Py_CLEAR(((struct finder_object *)self)->log);
	type->tp_free(self);
	Py_DECREF(type);
}

static PyMethodDef finder_methods[] = {
	{ "addresses", finder_m_addresses, METH_NOARGS, PyDoc_STR("The addresses there are now.") },
	{ "attach", finder_m_attach, METH_O,
		PyDoc_STR("Let a storage have the addresses, now and from now on.") },
	{ "close", finder_m_close, METH_NOARGS, PyDoc_STR("Follow the path no longer.") },
	{ NULL, NULL, 0, NULL },
};

static char finder_doc[] =
	"Finder(connection, path, wait, log): the servers at a path in ZooKeeper.";

static PyType_Slot finder_slots[] = {
	{ Py_tp_doc, finder_doc },
	{ Py_tp_new, finder_new },
	{ Py_tp_init, finder_init },
	{ Py_tp_traverse, finder_traverse },
	{ Py_tp_finalize, finder_finalize },
	{ Py_tp_dealloc, finder_dealloc },
	{ Py_tp_methods, finder_methods },
	{ 0, NULL },
};

static PyType_Spec finder_spec = {
	.name = "zc.zkzeo._zkzeo.Finder",
	.basicsize = sizeof(struct finder_object),
	.flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC,
	.slots = finder_slots,
};

int finder_type_add(PyObject *module, struct state *st)
{
	return add_type(module, &finder_spec, &st->finder_type);
}
