/* ZooKeeper: what is followed, and what is registered. */
#include "zookeeper_object.h"

#include <string.h>

#include "base/mem.h"
#include "zookeeper/names.h"
#include "zookeeper/registration.h"

#define CAPSULE "zc.zkzeo._zkzeo.watch"

enum { STOP_MS = 5000 };

/* A watch of Python's. The first content is taken by who opens it; later ones go into the queue. */
struct followed {
	struct watch *watch;
	enum watch_kind kind;
	PyObject *put;
	PyObject *id;
	/* the session's thread's */
	char path[ZK_PATH_MAX];
	bool opened;
	char *first;
	size_t first_len, first_n;
};

static PyObject *content(enum watch_kind kind, const char *data, size_t len, size_t n)
{
	PyObject *list;

	if (kind == WATCH_DATA)
		return PyBytes_FromStringAndSize(data, (Py_ssize_t)len);
	list = PyList_New((Py_ssize_t)n);
	for (size_t i = 0; list && i < n; i++, data += strlen(data) + 1) {
		PyObject *name = PyUnicode_FromString(data);

		if (name)
			PyList_SET_ITEM(list, (Py_ssize_t)i, name);
		else
			Py_CLEAR(list);
	}
	return list;
}

/* @item is taken over; NULL: an exception is set. With the GIL. */
static void put_item(PyObject *put, PyObject *item)
{
	PyObject *result = item ? PyObject_CallOneArg(put, item) : NULL;

	if (!result)
		PyErr_WriteUnraisable(put);
	Py_XDECREF(item);
	Py_XDECREF(result);
}

static void on_changed(void *arg, const char *data, size_t len, size_t n)
{
	struct followed *f = arg;
	PyGILState_STATE gil;

	if (!f->opened) {
		f->first = mem_alloc(len + 1);
		if (f->first)
			memcpy(f->first, data, len);
		f->first_len = len;
		f->first_n = n;
		f->opened = true;
		return;
	}
	gil = PyGILState_Ensure();
	put_item(f->put, Py_BuildValue("(OsN)", f->id, f->path, content(f->kind, data, len, n)));
	PyGILState_Release(gil);
}

static void on_deleted(void *arg)
{
	struct followed *f = arg;
	PyGILState_STATE gil = PyGILState_Ensure();

	put_item(f->put, Py_BuildValue("(OOO)", f->id, Py_None, Py_None));
	PyGILState_Release(gil);
}

static void on_moved(void *arg, const char *path)
{
	struct followed *f = arg;

	snprintf(f->path, sizeof(f->path), "%s", path);
}

static void free_followed(struct followed *f)
{
	Py_XDECREF(f->put);
	Py_XDECREF(f->id);
	mem_free(f->first);
	mem_free(f);
}

/* Its events need the GIL: they are waited for without. */
static void capsule_free(PyObject *capsule)
{
	struct followed *f = PyCapsule_GetPointer(capsule, CAPSULE);

	Py_BEGIN_ALLOW_THREADS
	live_watch_close(f->watch);
	Py_END_ALLOW_THREADS
	free_followed(f);
}

static int open_followed(PyObject *self, const char *path, struct followed *f)
{
	struct zookeeper_object *o = (struct zookeeper_object *)self;
	struct watch_events events = {
		.arg = f, .changed = on_changed, .deleted = on_deleted, .moved = on_moved
	};
	struct live *l = zookeeper_live(self);
	struct err e = ERR_INIT;
	int rc;

	if (!l)
		return -1;
	live_ref(l);
	Py_BEGIN_ALLOW_THREADS
	rc = live_watch_open(l, path, f->kind, o->timeout_ms, &events, &f->watch, &e);
	live_unref(l);
	Py_END_ALLOW_THREADS
	if (rc == OK && !f->first)
		rc = err_set(&e, ERR_NOMEM, "no memory");
	if (rc == OK)
		return 0;
	zookeeper_raise(&e, rc == ERR_STATE ? "LinkLoop" : NULL);
	return -1;
}

static PyObject *watch_follow(PyObject *self, PyObject *args)
{
	struct followed *f = mem_zalloc(1, sizeof(*f));
	PyObject *capsule, *id;
	const char *path;
	int children;

	if (!f)
		return PyErr_NoMemory();
	if (!PyArg_ParseTuple(args, "Osp:follow", &id, &path, &children)) {
		mem_free(f);
		return NULL;
	}
	f->kind = children ? WATCH_CHILDREN : WATCH_DATA;
	f->put = Py_NewRef(((struct zookeeper_object *)self)->put);
	f->id = Py_NewRef(id);
	capsule = open_followed(self, path, f) ? NULL : PyCapsule_New(f, CAPSULE, capsule_free);
	if (!capsule) {
		Py_BEGIN_ALLOW_THREADS
		live_watch_close(f->watch);
		Py_END_ALLOW_THREADS
		free_followed(f);
		return NULL;
	}
	return Py_BuildValue(
		"(NsN)", capsule, f->path, content(f->kind, f->first, f->first_len, f->first_n));
}

/* ---- registering ---- */

static void on_log(void *context, int level, const char *text)
{
	PyGILState_STATE gil = PyGILState_Ensure();

	put_item(context, Py_BuildValue("(Ois)", Py_None, level, text));
	PyGILState_Release(gil);
}

void zookeeper_stop_registered(struct registered *all)
{
	for (; all; all = all->next)
		if (registration_stop(all->r, STOP_MS)) {
			/* a thread stays behind, and may still write a line */
			all->put = NULL;
		}
}

static int find_names(const char *text, struct node_names *ret, struct err *e)
{
	struct address a;
	int rc;

	memset(ret, 0, sizeof(*ret));
	if (text[0] == ':') {
		rc = address_parse(text, "", &a, e);
		return rc ? rc : names_find(&a, NULL, ret, e);
	}
	if (!text[0] || strchr(text, '/') || strlen(text) >= sizeof(ret->text[0]))
		return err_set(e, ERR_INVAL, "'%.100s' is no address: expected HOST:PORT", text);
	strcpy(ret->text[0], text);
	ret->n = 1;
	return OK;
}

static PyObject *remember(struct zookeeper_object *o, struct registered *g, struct registration *r)
{
	g->r = r;
	g->next = o->registered;
	o->registered = g;
	Py_RETURN_NONE;
}

static PyObject *start_registration(
	struct zookeeper_object *o, struct registration_options *options, const char *address)
{
	struct registered *g = mem_zalloc(1, sizeof(*g));
	struct registration *r = NULL;
	struct err e = ERR_INIT;
	int rc;

	if (!g)
		return PyErr_NoMemory();
	g->put = Py_NewRef(o->put);
	options->log = on_log;
	options->log_context = g->put;
	Py_BEGIN_ALLOW_THREADS
	rc = find_names(address, &options->names, &e);
	if (rc == OK)
		rc = registration_start(options, &r, &e);
	Py_END_ALLOW_THREADS
	if (rc == OK)
		return remember(o, g, r);
	if (rc != ERR_TIMEOUT) /* else its thread may be held up, and still write a line */
		Py_DECREF(g->put);
	mem_free(g);
	return zookeeper_raise(&e, NULL);
}

static PyObject *watch_register(PyObject *self, PyObject *args)
{
	struct zookeeper_object *o = (struct zookeeper_object *)self;
	struct registration_options options = { .must_connect = true };
	const char *address;
	struct zk_acl *acl = NULL;
	PyObject *list, *result;

	if (!zookeeper_live(self) ||
		!PyArg_ParseTuple(args, "sssOI:register", &options.path, &address, &options.data,
			&list, &options.session_timeout_ms) ||
		zookeeper_acl(list, &acl, &options.n_acl))
		return NULL;
	options.acl = acl;
	options.connection = o->connection;
	result = start_registration(o, &options, address);
	mem_free(acl);
	return result;
}

const PyMethodDef zookeeper_watch_methods[] = {
	{ "follow", watch_follow, METH_VARARGS,
		PyDoc_STR(
			"follow(id, path, children): a handle, the node's path, and what is there; "
			"later contents are put as (id, path, content), a node that went as "
			"(id, None, None)") },
	{ "register", watch_register, METH_VARARGS,
		PyDoc_STR(
			"register(path, address, data, acl, session_timeout_ms); lines of log are "
			"put as (None, level, text)") },
	{ NULL },
};
