/* ZooKeeper: reading and changing nodes. */
#include "zookeeper_object.h"

#include <stdlib.h>
#include <string.h>

#include "base/mem.h"

int zookeeper_acl(PyObject *list, struct zk_acl **ret, size_t *ret_n)
{
	struct zk_acl *acl;
	Py_ssize_t n;

	*ret = NULL;
	*ret_n = 0;
	if (list == Py_None)
		return 0;
	if (!PyList_Check(list) && !PyTuple_Check(list)) {
		PyErr_Format(PyExc_TypeError, "an access control list is a list, not %s",
			Py_TYPE(list)->tp_name);
		return -1;
	}
	n = PySequence_Size(list);
	if (n < 1 || n > ZK_ACL_MAX) {
		PyErr_Format(PyExc_ValueError, "an access control list has 1 to %d entries",
			(int)ZK_ACL_MAX);
		return -1;
	}
	acl = mem_zalloc((size_t)n, sizeof(*acl));
	if (!acl) {
		PyErr_NoMemory();
		return -1;
	}
	for (Py_ssize_t i = 0; i < n; i++) {
		PyObject *item =
			PyList_Check(list) ? PyList_GET_ITEM(list, i) : PyTuple_GET_ITEM(list, i);
		int right = PyTuple_Check(item) && PyTuple_GET_SIZE(item) == 2
				    ? PyArg_ParseTuple(item, "i(ss)", &acl[i].perms, &acl[i].scheme,
					      &acl[i].id)
				    : PyArg_Parse(item, "(iss)", &acl[i].perms, &acl[i].scheme,
					      &acl[i].id);

		if (!right) {
			mem_free(acl);
			return -1;
		}
	}
	*ret = acl;
	*ret_n = (size_t)n;
	return 0;
}

/* Ask without the GIL. Returns 0, or -1 with an exception. */
static int ask(PyObject *self, const struct live_ask *q, struct zk_event **ret, int *ret_rc)
{
	struct reader *r = zookeeper_begin(self);
	struct live *l = ((struct zookeeper_object *)self)->live;
	struct err e = ERR_INIT;
	int rc;

	if (!r)
		return -1;
	Py_BEGIN_ALLOW_THREADS
	rc = reader_ask(r, q, ret, &e);
	zookeeper_end(r, l);
	Py_END_ALLOW_THREADS
	if (ret_rc)
		*ret_rc = rc;
	if (rc == OK || (ret_rc && rc == ERR_NOENT))
		return 0;
	zookeeper_raise(&e, NULL);
	return -1;
}

static PyObject *stat_object(const struct zk_stat *s)
{
	return Py_BuildValue("(LLLLiiiLiiL)", (long long)s->czxid, (long long)s->mzxid,
		(long long)s->ctime, (long long)s->mtime, s->version, s->cversion, s->aversion,
		(long long)s->owner, s->data_len, s->n_children, (long long)s->pzxid);
}

static PyObject *node_get(PyObject *self, PyObject *args)
{
	struct live_ask q = { .what = LIVE_GET };
	struct zk_event *ev = NULL;
	PyObject *result;

	if (!PyArg_ParseTuple(args, "s:get", &q.path) || ask(self, &q, &ev, NULL))
		return NULL;
	result = Py_BuildValue("(y#N)", ev->data, (Py_ssize_t)ev->data_len, stat_object(&ev->stat));
	mem_free(ev);
	return result;
}

static PyObject *node_exists(PyObject *self, PyObject *args)
{
	struct live_ask q = { .what = LIVE_GET };
	struct zk_event *ev = NULL;
	PyObject *result;
	int rc = OK;

	if (!PyArg_ParseTuple(args, "s:exists", &q.path) || ask(self, &q, &ev, &rc))
		return NULL;
	if (rc == ERR_NOENT)
		Py_RETURN_NONE;
	result = stat_object(&ev->stat);
	mem_free(ev);
	return result;
}

static PyObject *node_children(PyObject *self, PyObject *args)
{
	struct live_ask q = { .what = LIVE_CHILDREN };
	struct zk_event *ev = NULL;
	PyObject *list;
	const char *p;

	if (!PyArg_ParseTuple(args, "s:get_children", &q.path) || ask(self, &q, &ev, NULL))
		return NULL;
	list = PyList_New((Py_ssize_t)ev->n_children);
	p = ev->data;
	for (size_t i = 0; list && i < ev->n_children; i++, p += strlen(p) + 1) {
		PyObject *name = PyUnicode_FromString(p);

		if (name)
			PyList_SET_ITEM(list, (Py_ssize_t)i, name);
		else
			Py_CLEAR(list);
	}
	mem_free(ev);
	return list;
}

static PyObject *node_create(PyObject *self, PyObject *args)
{
	struct live_ask q = { .what = LIVE_CREATE };
	struct zk_event *ev = NULL;
	struct zk_acl *acl = NULL;
	PyObject *list, *path = NULL;
	const char *data;
	Py_ssize_t n;

	if (!PyArg_ParseTuple(args, "sy#Oi:create", &q.path, &data, &n, &list, &q.flags) ||
		zookeeper_acl(list, &acl, &q.n_acl))
		return NULL;
	q.data = slice_of(data, (size_t)n);
	q.acl = acl;
	if (ask(self, &q, &ev, NULL) == 0)
		path = PyUnicode_FromString(ev->data);
	mem_free(acl);
	mem_free(ev);
	return path;
}

static PyObject *node_set(PyObject *self, PyObject *args)
{
	struct live_ask q = { .what = LIVE_SET };
	struct zk_event *ev = NULL;
	PyObject *stat;
	const char *data;
	Py_ssize_t n;

	if (!PyArg_ParseTuple(args, "sy#i:set", &q.path, &data, &n, &q.version))
		return NULL;
	q.data = slice_of(data, (size_t)n);
	if (ask(self, &q, &ev, NULL))
		return NULL;
	stat = stat_object(&ev->stat);
	mem_free(ev);
	return stat;
}

static PyObject *node_delete(PyObject *self, PyObject *args)
{
	struct live_ask q = { .what = LIVE_DELETE };

	if (!PyArg_ParseTuple(args, "si:delete", &q.path, &q.version) || ask(self, &q, NULL, NULL))
		return NULL;
	Py_RETURN_NONE;
}

static PyObject *acl_item(const char *text)
{
	const char *scheme = strchr(text, ' ') + 1;
	const char *id = strchr(scheme, ' ') + 1;

	return Py_BuildValue("(is#s)", atoi(text), scheme, (Py_ssize_t)(id - 1 - scheme), id);
}

static PyObject *node_get_acls(PyObject *self, PyObject *args)
{
	struct live_ask q = { .what = LIVE_GET_ACL };
	struct zk_event *ev = NULL;
	PyObject *list, *result;
	const char *p;

	if (!PyArg_ParseTuple(args, "s:get_acls", &q.path) || ask(self, &q, &ev, NULL))
		return NULL;
	list = PyList_New((Py_ssize_t)ev->n_children);
	p = ev->data;
	for (size_t i = 0; list && i < ev->n_children; i++, p += strlen(p) + 1) {
		PyObject *item = acl_item(p);

		if (item)
			PyList_SET_ITEM(list, (Py_ssize_t)i, item);
		else
			Py_CLEAR(list);
	}
	result = list ? Py_BuildValue("(NN)", list, stat_object(&ev->stat)) : NULL;
	mem_free(ev);
	return result;
}

static PyObject *node_set_acls(PyObject *self, PyObject *args)
{
	struct live_ask q = { .what = LIVE_SET_ACL };
	struct zk_acl *acl = NULL;
	PyObject *list;
	int rc;

	if (!PyArg_ParseTuple(args, "sOi:set_acls", &q.path, &list, &q.version) ||
		zookeeper_acl(list, &acl, &q.n_acl))
		return NULL;
	q.acl = acl;
	rc = ask(self, &q, NULL, NULL);
	mem_free(acl);
	if (rc)
		return NULL;
	Py_RETURN_NONE;
}

const PyMethodDef zookeeper_node_methods[] = {
	{ "get", node_get, METH_VARARGS, PyDoc_STR("get(path): data and what is known of it") },
	{ "exists", node_exists, METH_VARARGS, PyDoc_STR("exists(path): what is known, or None") },
	{ "get_children", node_children, METH_VARARGS, PyDoc_STR("get_children(path): names") },
	{ "create", node_create, METH_VARARGS,
		PyDoc_STR("create(path, data, acl, flags): the path created") },
	{ "set", node_set, METH_VARARGS, PyDoc_STR("set(path, data, version)") },
	{ "delete", node_delete, METH_VARARGS, PyDoc_STR("delete(path, version)") },
	{ "get_acls", node_get_acls, METH_VARARGS,
		PyDoc_STR("get_acls(path): entries, and what is known") },
	{ "set_acls", node_set_acls, METH_VARARGS, PyDoc_STR("set_acls(path, acl, version)") },
	{ NULL },
};
