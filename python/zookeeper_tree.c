/* ZooKeeper: trees of nodes. */
#include "zookeeper_object.h"

#include <jansson.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "zookeeper/tree.h"
#include "zookeeper/tree_edit.h"
#include "zookeeper/tree_text.h"

/* Lines of an edit, on their way to Python: the edit runs without the GIL. */
struct lines {
	PyObject *say;
	PyThreadState *thread;
	bool failed; /* an exception is set */
};

static void on_line(void *arg, int level, const char *text)
{
	struct lines *lines = arg;

	if (lines->failed)
		return;
	PyEval_RestoreThread(lines->thread);
	PyObject *t = PyUnicode_DecodeUTF8(text, (Py_ssize_t)strlen(text), "replace");
	PyObject *result = t ? PyObject_CallFunction(lines->say, "iN", level, t) : NULL;
	lines->failed = !result;
	Py_XDECREF(result);
	lines->thread = PyEval_SaveThread();
}

static PyObject *finish(const struct lines *lines, int rc, const struct err *e)
{
	if (lines->failed)
		return NULL;
	if (rc)
		return zookeeper_raise(e, NULL);
	Py_RETURN_NONE;
}

static int set_trim(struct tree_edit *t, PyObject *trim)
{
	int on = trim == Py_None ? 0 : PyObject_IsTrue(trim);

	t->others = trim == Py_None ? TREE_KEEP_AND_SAY : on ? TREE_TRIM : TREE_KEEP;
	return on < 0 ? -1 : 0;
}

static PyObject *import_parsed(PyObject *self, struct tree_edit *t, const char *path,
	struct slice text, struct lines *lines)
{
	struct reader *r = zookeeper_begin(self);
	struct live *l = ((struct zookeeper_object *)self)->live;
	struct err e = ERR_INIT;
	json_t *tree = NULL;
	int rc;

	if (!r)
		return NULL;
	t->reader = r;
	lines->thread = PyEval_SaveThread();
	rc = tree_parse(text, &tree, &e);
	if (rc == OK)
		rc = tree_import(t, path, tree, &e);
	json_decref(tree);
	zookeeper_end(r, l);
	PyEval_RestoreThread(lines->thread);
	return finish(lines, rc, &e);
}

static PyObject *tree_import_text(PyObject *self, PyObject *args)
{
	struct lines lines = { 0 };
	struct tree_edit t = { .say = on_line, .arg = &lines };
	struct zk_acl *acl = NULL;
	const char *text, *path;
	PyObject *trim, *list, *result;
	Py_ssize_t n;
	int dry_run;

	if (!PyArg_ParseTuple(args, "s#sOOpO:import_tree", &text, &n, &path, &trim, &list, &dry_run,
		    &lines.say) ||
		set_trim(&t, trim) || zookeeper_acl(list, &acl, &t.n_acl))
		return NULL;
	t.acl = acl;
	t.dry_run = dry_run;
	result = import_parsed(self, &t, path, slice_of(text, (size_t)n), &lines);
	mem_free(acl);
	return result;
}

static PyObject *tree_delete_all(PyObject *self, PyObject *args)
{
	struct lines lines = { 0 };
	struct tree_edit t = { .say = on_line, .arg = &lines };
	const char *path;
	struct err e = ERR_INIT;
	int dry_run, force, quiet, rc;
	struct live *l;

	if (!PyArg_ParseTuple(
		    args, "spppO:delete_recursive", &path, &dry_run, &force, &quiet, &lines.say))
		return NULL;
	t.dry_run = dry_run;
	t.force = force;
	t.ignore_if_ephemeral = quiet;
	t.reader = zookeeper_begin(self);
	if (!t.reader)
		return NULL;
	l = ((struct zookeeper_object *)self)->live;
	lines.thread = PyEval_SaveThread();
	rc = tree_delete(&t, path, &e);
	zookeeper_end(t.reader, l);
	PyEval_RestoreThread(lines.thread);
	return finish(&lines, rc, &e);
}

static PyObject *tree_export_text(PyObject *self, PyObject *args)
{
	struct buf out = BUF_INIT(0);
	struct err e = ERR_INIT;
	const char *path, *name;
	PyObject *result;
	struct reader *r;
	struct live *l;
	int ephemeral, rc;

	if (!PyArg_ParseTuple(args, "spz:export_tree", &path, &ephemeral, &name))
		return NULL;
	r = zookeeper_begin(self);
	if (!r)
		return NULL;
	l = ((struct zookeeper_object *)self)->live;
	Py_BEGIN_ALLOW_THREADS
	rc = tree_export(r, path, ephemeral, name, &out, &e);
	zookeeper_end(r, l);
	Py_END_ALLOW_THREADS
	result = rc ? zookeeper_raise(&e, NULL)
		    : PyUnicode_DecodeUTF8(
			      (const char *)out.data, (Py_ssize_t)out.len, "surrogateescape");
	buf_free(&out);
	return result;
}

static PyObject *tree_resolve(PyObject *self, PyObject *args)
{
	char real[ZK_PATH_MAX];
	struct err e = ERR_INIT;
	const char *path;
	struct reader *r;
	struct live *l;
	int rc;

	if (!PyArg_ParseTuple(args, "s:resolve", &path))
		return NULL;
	r = zookeeper_begin(self);
	if (!r)
		return NULL;
	l = ((struct zookeeper_object *)self)->live;
	Py_BEGIN_ALLOW_THREADS
	rc = reader_resolve(r, path, real, &e);
	zookeeper_end(r, l);
	Py_END_ALLOW_THREADS
	if (rc)
		return zookeeper_raise(&e, rc == ERR_STATE ? "LinkLoop" : NULL);
	return PyUnicode_FromString(real);
}

PyObject *zookeeper_parse_tree(PyObject *module, PyObject *text)
{
	Py_ssize_t n;
	const char *s = PyUnicode_AsUTF8AndSize(text, &n);
	struct err e = ERR_INIT;
	json_t *tree = NULL;
	PyObject *result;
	char *json;

	if (!s)
		return NULL;
	if (tree_parse(slice_of(s, (size_t)n), &tree, &e))
		return zookeeper_raise(&e, NULL);
	json = json_dumps(tree, JSON_COMPACT);
	json_decref(tree);
	result = json ? PyUnicode_FromString(json) : PyErr_NoMemory();
	free(json);
	return result;
}

const PyMethodDef zookeeper_tree_methods[] = {
	{ "import_tree", tree_import_text, METH_VARARGS,
		PyDoc_STR("import_tree(text, path, trim, acl, dry_run, say)") },
	{ "delete_recursive", tree_delete_all, METH_VARARGS,
		PyDoc_STR("delete_recursive(path, dry_run, force, ignore_if_ephemeral, say)") },
	{ "export_tree", tree_export_text, METH_VARARGS,
		PyDoc_STR("export_tree(path, ephemeral, name): text") },
	{ "resolve", tree_resolve, METH_VARARGS,
		PyDoc_STR("resolve(path): the path that is meant, its links followed") },
	{ NULL },
};
