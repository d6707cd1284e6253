/* ZooKeeper: a session, and its life. */
#include "zookeeper_type.h"

#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/mem.h"
#include "zookeeper_object.h"

enum { WAIT_PIECE_MS = 200 };

PyObject *zookeeper_raise(const struct err *e, const char *name)
{
	static const struct {
		int code;
		const char *name;
	} rows[] = {
		{ ERR_NOMEM, "MemoryError" },
		{ ERR_INVAL, "ValueError" },
		{ ERR_FORMAT, "ValueError" },
		{ ERR_LIMIT, "ValueError" },
		{ ERR_NOENT, "NoNodeError" },
		{ ERR_EXISTS, "NodeExistsError" },
		{ ERR_STATE, "NotEmptyError" },
		{ ERR_CONFLICT, "BadVersionError" },
		{ ERR_READONLY, "NoAuthError" },
		{ ERR_CLOSED, "ConnectionLoss" },
		{ ERR_TIMEOUT, "OperationTimeoutError" },
	};
	PyObject *module, *class = NULL;

	for (size_t i = 0; !name && i < ARRAY_LEN(rows); i++)
		if (rows[i].code == e->code)
			name = rows[i].name;
	module = PyImport_ImportModule("zc.zkzeo._zookeeper_errors");
	if (module)
		class = PyObject_GetAttrString(module, name ? name : "ZookeeperError");
	Py_XDECREF(module);
	if (!class)
		return NULL;
	PyObject *text = PyUnicode_DecodeUTF8(e->text, (Py_ssize_t)strlen(e->text), "replace");
	if (text)
		PyErr_SetObject(class, text);
	Py_XDECREF(text);
	Py_DECREF(class);
	return NULL;
}

struct live *zookeeper_live(PyObject *self)
{
	struct zookeeper_object *o = (struct zookeeper_object *)self;
	struct err e = ERR_INIT;

	if (o->live)
		return o->live;
	err_set(&e, ERR_CLOSED, "the ZooKeeper session is closed");
	zookeeper_raise(&e, "ConnectionClosedError");
	return NULL;
}

struct reader *zookeeper_begin(PyObject *self)
{
	struct zookeeper_object *o = (struct zookeeper_object *)self;
	struct live *l = zookeeper_live(self);
	struct reader *r = NULL;
	struct err e = ERR_INIT;

	if (!l)
		return NULL;
	if (reader_on(l, o->timeout_ms, &r, &e)) {
		zookeeper_raise(&e, NULL);
		return NULL;
	}
	live_ref(l);
	return r;
}

void zookeeper_end(struct reader *r, struct live *l)
{
	reader_close(r);
	live_unref(l);
}

/* ---- life ---- */

/* Wait for the connection, in pieces: a signal ends it. Returns its result; 0 may come with an exception. */
static int wait_connected(struct live *l, uint32_t timeout_ms, struct err *e)
{
	uint64_t now = clock_mono_us(&clock_system);
	uint64_t end = now + (uint64_t)timeout_ms * 1000, until;
	int rc;

	do {
		uint64_t left_ms = (end - now) / 1000;
		uint32_t ms = left_ms < WAIT_PIECE_MS ? (uint32_t)left_ms : WAIT_PIECE_MS;

		until = now + (uint64_t)ms * 1000;
		Py_BEGIN_ALLOW_THREADS
		rc = live_connect(l, ms, e);
		Py_END_ALLOW_THREADS
		now = clock_mono_us(&clock_system);
		if (PyErr_CheckSignals())
			return OK;
		/* when it gives up before its time, there is nothing to wait for */
	} while (rc == ERR_TIMEOUT && now >= until && now < end);
	return rc;
}

static int connect_live(struct zookeeper_object *o, uint32_t session_ms)
{
	struct live *l = NULL;
	struct err e = ERR_INIT;
	int rc = live_open(o->connection, session_ms, &l, &e);

	if (rc == OK)
		rc = wait_connected(l, o->timeout_ms, &e);
	if (rc == OK && !PyErr_Occurred()) {
		o->live = l;
		return 0;
	}
	if (!PyErr_Occurred())
		zookeeper_raise(&e, rc == ERR_TIMEOUT ? "FailedConnect" : NULL);
	Py_BEGIN_ALLOW_THREADS
	live_close(l);
	Py_END_ALLOW_THREADS
	return -1;
}

static int zookeeper_init(PyObject *self, PyObject *args, PyObject *keywords)
{
	static const char *const names[] = { "connection", "put", "session_timeout", "timeout",
		NULL };
	struct zookeeper_object *o = (struct zookeeper_object *)self;
	const char *connection;
	double session_s = 10, timeout_s = 10;
	PyObject *put;

	if (!PyArg_ParseTupleAndKeywords(args, keywords, "sO|dd:ZooKeeper",
		    (char **)(uintptr_t)names, &connection, &put, &session_s, &timeout_s))
		return -1;
	if (o->live) {
		PyErr_SetString(PyExc_RuntimeError, "the ZooKeeper session is open");
		return -1;
	}
	if (!(session_s > 0 && session_s < 1e6 && timeout_s > 0 && timeout_s < 1e6)) {
		PyErr_SetString(PyExc_ValueError, "a time limit is a positive number of seconds");
		return -1;
	}
	mem_free(o->connection); /* of an attempt that failed */
	o->connection = mem_strdup(connection);
	if (!o->connection) {
		PyErr_NoMemory();
		return -1;
	}
	o->timeout_ms = (uint32_t)(timeout_s * 1000);
	Py_INCREF(put);
	Py_XSETREF(o->put, put);
	return connect_live(o, (uint32_t)(session_s * 1000));
}

static void close_object(struct zookeeper_object *o)
{
	struct live *l = o->live;
	struct registered *all = o->registered;

	o->live = NULL;
	o->registered = NULL;
	if (!l && !all)
		return;
	Py_BEGIN_ALLOW_THREADS
	zookeeper_stop_registered(all);
	live_close(l);
	Py_END_ALLOW_THREADS
	while (all) {
		struct registered *next = all->next;

		Py_XDECREF(all->put);
		mem_free(all);
		all = next;
	}
}

static PyObject *zookeeper_close(PyObject *self, PyObject *unused)
{
	close_object((struct zookeeper_object *)self);
	Py_RETURN_NONE;
}

static int zookeeper_traverse(PyObject *self, visitproc visit, void *arg)
{
	Py_VISIT(Py_TYPE(self));
	Py_VISIT(((struct zookeeper_object *)self)->put);
	return 0;
}

static int zookeeper_clear(PyObject *self)
{
	Py_CLEAR(((struct zookeeper_object *)self)->put);
	return 0;
}

static void zookeeper_dealloc(PyObject *self)
{
	struct zookeeper_object *o = (struct zookeeper_object *)self;
	PyTypeObject *type = Py_TYPE(self);

	PyObject_GC_UnTrack(self);
	close_object(o);
	Py_CLEAR(o->put);
	mem_free(o->connection);
	type->tp_free(self);
	Py_DECREF(type);
}

static PyObject *get_session_id(PyObject *self, void *unused)
{
	struct zookeeper_object *o = (struct zookeeper_object *)self;

	return PyLong_FromLongLong(o->live ? live_session_id(o->live) : 0);
}

static PyObject *get_closed(PyObject *self, void *unused)
{
	return PyBool_FromLong(((struct zookeeper_object *)self)->live == NULL);
}

static PyGetSetDef getset[] = {
	{ "session_id", get_session_id, NULL,
		PyDoc_STR("The id of the session that is connected; 0: not connected."), NULL },
	{ "closed", get_closed, NULL, PyDoc_STR("Whether close() was called."), NULL },
	{ NULL },
};

static const PyMethodDef life_methods[] = {
	{ "close", zookeeper_close, METH_NOARGS,
		PyDoc_STR("End the session, and with it what was registered.") },
	{ NULL },
};

/* One table of them all, which the type keeps for the process's life. */
static PyMethodDef *all_methods(void)
{
	const PyMethodDef *const tables[] = { life_methods, zookeeper_node_methods,
		zookeeper_tree_methods, zookeeper_watch_methods };
	static PyMethodDef all[40];
	size_t n = 0;

	for (size_t i = 0; i < ARRAY_LEN(tables); i++)
		for (const PyMethodDef *m = tables[i]; m->ml_name && n < ARRAY_LEN(all) - 1; m++)
			all[n++] = *m;
	return all;
}

static PyMethodDef module_functions[] = {
	{ "parse_tree", zookeeper_parse_tree, METH_O,
		PyDoc_STR("A tree's text as JSON: nodes with their properties and children.") },
	{ NULL },
};

int zookeeper_type_add(PyObject *module, struct state *st)
{
	PyType_Slot slots[] = {
		{ Py_tp_doc, (void *)PyDoc_STR(
				     "A session with ZooKeeper, its nodes, and trees of them.") },
		{ Py_tp_init, zookeeper_init },
		{ Py_tp_dealloc, zookeeper_dealloc },
		{ Py_tp_traverse, zookeeper_traverse },
		{ Py_tp_clear, zookeeper_clear },
		{ Py_tp_methods, all_methods() },
		{ Py_tp_getset, getset },
		{ 0, NULL },
	};
	PyType_Spec spec = {
		.name = "zc.zkzeo._zkzeo.ZooKeeper",
		.basicsize = sizeof(struct zookeeper_object),
		.flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_BASETYPE | Py_TPFLAGS_HAVE_GC,
		.slots = slots,
	};

	if (add_type(module, &spec, &st->zookeeper_type))
		return -1;
	return PyModule_AddFunctions(module, module_functions);
}
