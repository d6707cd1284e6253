#include "errors.h"

#include <errno.h>

/* Codes that are not here are RuntimeError: they do not come out of what the types call. */
static const struct row {
	int code;
	const char *module;
	const char *name;
} rows[] = {
	{ ERR_NOMEM, "builtins", "MemoryError" },
	{ ERR_IO, "builtins", "OSError" },
	{ ERR_NOSPC, "builtins", "OSError" },
	{ ERR_INVAL, "builtins", "ValueError" },
	{ ERR_FORMAT, "ZEO.Exceptions", "ProtocolError" },
	{ ERR_CORRUPT, "ZEO.Exceptions", "ClientStorageError" },
	{ ERR_NOENT, "builtins", "LookupError" },
	{ ERR_EXISTS, "builtins", "FileExistsError" },
	{ ERR_AGAIN, "builtins", "BlockingIOError" },
	{ ERR_LIMIT, "builtins", "OverflowError" },
	{ ERR_NOKEY, "ZODB.POSException", "POSKeyError" },
	{ ERR_CONFLICT, "ZODB.POSException", "ConflictError" },
	{ ERR_READONLY, "ZODB.POSException", "ReadOnlyError" },
	{ ERR_UNSUPPORTED, "ZODB.POSException", "Unsupported" },
	{ ERR_BUSY, "zc.lockfile", "LockError" },
	{ ERR_CLOSED, "ZEO.Exceptions", "ClientDisconnected" },
	{ ERR_TIMEOUT, "ZEO.Exceptions", "ClientDisconnected" },
	{ ERR_QUOTA, "builtins", "OSError" },
	{ ERR_STATE, "ZODB.POSException", "StorageTransactionError" },
	{ ERR_UNDO, "ZODB.POSException", "UndoError" },
	{ ERR_REMOTE, "ZEO.Exceptions", "ServerException" },
};

int errors_load(struct state *st)
{
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		PyObject *module = PyImport_ImportModule(rows[i].module);
		if (!module)
			return -1;
		PyObject *class = PyObject_GetAttrString(module, rows[i].name);
		Py_DECREF(module);
		if (!class)
			return -1;
		Py_XSETREF(st->errors[-rows[i].code], class);
	}
	return 0;
}

int errors_traverse(struct state *st, visitproc visit, void *arg)
{
	for (int i = 0; i < ERRORS_MAX; i++)
		Py_VISIT(st->errors[i]);
	return 0;
}

void errors_clear(struct state *st)
{
	for (int i = 0; i < ERRORS_MAX; i++)
		Py_CLEAR(st->errors[i]);
}

/* Errors of the system are told apart by their errno. */
static int errno_of(int code)
{
	switch (code) {
	case ERR_NOSPC:
		return ENOSPC;
	case ERR_QUOTA:
		return EDQUOT;
	case ERR_EXISTS:
		return EEXIST;
	case ERR_AGAIN:
		return EAGAIN;
	default:
		return 0;
	}
}

static __thread struct {
	PyObject *type, *value, *traceback;
} kept;

bool signals_interrupt(void)
{
	PyGILState_STATE gil = PyGILState_Ensure();
	bool yes = PyErr_CheckSignals() != 0;
	if (yes) { /* what nobody has taken is replaced */
		Py_CLEAR(kept.type);
		Py_CLEAR(kept.value);
		Py_CLEAR(kept.traceback);
		PyErr_Fetch(&kept.type, &kept.value, &kept.traceback);
	}
	PyGILState_Release(gil);
	return yes;
}

bool raise_interrupted(void)
{
	if (!kept.type)
		return false;
	PyErr_Restore(kept.type, kept.value, kept.traceback);
	kept.type = kept.value = kept.traceback = NULL;
	return true;
}

PyObject *raise_err(struct state *st, const struct err *e)
{
	if (e->code == ERR_INTERRUPTED && raise_interrupted())
		return NULL;
	PyObject *class = e->code < 0 && e->code > -ERRORS_MAX ? st->errors[-e->code] : NULL;
	if (!class)
		return PyErr_Format(PyExc_RuntimeError, "%s: %s", err_name(e->code), e->text);
	/* texts are ours, but may quote what a server or a file has said */
	PyObject *text = PyUnicode_DecodeUTF8(e->text, (Py_ssize_t)strlen(e->text), "replace");
	if (!text)
		return NULL;
	int number = errno_of(e->code);
	PyObject *args = number ? Py_BuildValue("(iN)", number, text) : Py_BuildValue("(N)", text);
	if (!args)
		return NULL;
	PyErr_SetObject(class, args);
	Py_DECREF(args);
	return NULL;
}
