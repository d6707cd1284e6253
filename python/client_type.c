/* The base of zc.zkzeo.ClientStorage. */
#include "client_commit.h"

#include <pthread.h>
#include <unistd.h>

#include "base/mem.h"
#include "errors.h"
#include "values.h"

/* Uses of clients by this thread: close() from within one must not wait for it. */
static __thread unsigned uses;

struct client *client_peek(struct client_object *o)
{
	if (o->client && !o->closed)
		return o->client;
	raise_err(o->st, &(struct err){ ERR_CLOSED, "closed" });
	return NULL;
}

struct client *client_use(struct client_object *o)
{
	struct client *c = client_peek(o);
	if (c) {
		o->users++;
		uses++;
	}
	return c;
}

static void free_client(struct client_object *o);

void client_used(struct client_object *o)
{
	uses--;
	if (--o->users > 0 || !o->closed)
		return;
	if (o->idle)
		PyThread_release_lock(o->idle);
	else if (o->last_closes && !link_is_calling())
		/* closed from within a call, which has ended now */
		free_client(o);
}

/* ---- open ---- */

static int addresses_of(PyObject *list, struct address **ret, size_t *ret_n)
{
	PyObject *seq = PySequence_Fast(list, "the addresses must be a list");
	if (!seq)
		return -1;
	Py_ssize_t n = PySequence_Fast_GET_SIZE(seq);
	struct address *a = mem_zalloc((size_t)n + 1, sizeof(*a));
	int rc = 0;
	if (!a) {
		PyErr_NoMemory();
		rc = -1;
	}
	for (Py_ssize_t i = 0; i < n && rc == 0; i++)
		rc = address_of(PySequence_Fast_GET_ITEM(seq, i), &a[i]);
	Py_DECREF(seq);
	if (rc) {
		mem_free(a);
		return -1;
	}
	*ret = a;
	*ret_n = (size_t)n;
	return 0;
}

static PyObject *set_addresses(struct client_object *o, PyObject *list)
{
	struct address *a;
	size_t n;
	if (addresses_of(list, &a, &n))
		return NULL;
	struct client *c = client_use(o);
	if (!c) {
		mem_free(a);
		return NULL;
	}
	struct err e = ERR_INIT;
	int rc;
	Py_BEGIN_ALLOW_THREADS
	rc = client_set_addresses(c, a, n, &e);
	Py_END_ALLOW_THREADS
	client_used(o);
	mem_free(a);
	if (rc)
		return raise_err(o->st, &e);
	Py_RETURN_NONE;
}

static uint32_t milliseconds(double s)
{
	return s <= 0 ? 0 : s > 4e6 ? UINT32_MAX : (uint32_t)(s * 1e3 + 0.999);
}

/* The client without servers yet: nothing is told before the object knows it. */
static PyObject *open_client(
	struct client_object *o, struct client_options *options, PyObject *dialer)
{
	struct err e = ERR_INIT;
	int rc;
	if (link_new(o, dialer, options))
		return NULL;
	struct client *c = NULL;
	Py_BEGIN_ALLOW_THREADS
	rc = client_open(options, NULL, 0, &c, &e);
	Py_END_ALLOW_THREADS
	if (rc) {
		link_cut(o->link);
		link_free(o->link);
		o->link = NULL;
		return raise_err(o->st, &e);
	}
	o->client = c;
	o->owner = getpid();
	Py_RETURN_NONE;
}

static PyObject *client_m_open(PyObject *self, PyObject *args, PyObject *keywords)
{
	static const char *const names[] = { "storage", "name", "label", "cache_path",
		"cache_bytes", "read_only", "read_only_fallback", "wait_timeout", "min_poll",
		"max_poll", "server_sync", "dialer", NULL };
	struct client_object *o = (struct client_object *)self;
	struct client_options options = { 0 };
	PyObject *cache_path, *path = NULL, *dialer, *ret;
	unsigned long long cache_bytes;
	int read_only, fallback, sync;
	double wait_timeout, min_poll, max_poll;
	if (!PyArg_ParseTupleAndKeywords(args, keywords, "sszOKppdddpO:_open",
		    (char **)(uintptr_t)names, &options.storage, &options.name, &options.label,
		    &cache_path, &cache_bytes, &read_only, &fallback, &wait_timeout, &min_poll,
		    &max_poll, &sync, &dialer))
		return NULL;
	if (o->client || o->closed)
		return PyErr_Format(PyExc_RuntimeError, "the storage was opened before");
	if (cache_path != Py_None && !PyUnicode_FSConverter(cache_path, &path))
		return NULL;
	options.cache_path = path ? PyBytes_AS_STRING(path) : NULL;
	options.cache_bytes = cache_bytes;
	options.read_only = read_only;
	options.read_only_fallback = fallback;
	options.wait_timeout_ms = milliseconds(wait_timeout);
	options.min_poll_ms = milliseconds(min_poll);
	options.max_poll_ms = milliseconds(max_poll);
	o->server_sync = sync;
	ret = open_client(o, &options, dialer);
	Py_XDECREF(path);
	return ret;
}

static PyObject *client_m_set_addresses(PyObject *self, PyObject *list)
{
	return set_addresses((struct client_object *)self, list);
}

/* Wait until connected. */
static PyObject *client_m_wait(PyObject *self, PyObject *timeout)
{
	struct client_object *o = (struct client_object *)self;
	double s = PyFloat_AsDouble(timeout);
	if (s == -1 && PyErr_Occurred())
		return NULL;
	struct client *c = client_use(o);
	if (!c)
		return NULL;
	uint32_t ms = milliseconds(s);
	struct err e = ERR_INIT;
	int rc;
	Py_BEGIN_ALLOW_THREADS
	rc = client_wait(c, ms ? ms : 1, &e);
	Py_END_ALLOW_THREADS
	client_used(o);
	if (rc)
		return raise_err(o->st, &e);
	Py_RETURN_NONE;
}

/* ---- close ---- */

/* Nobody uses it any more. With the GIL, which is released. */
static void free_client(struct client_object *o)
{
	struct client *c = o->client;
	struct link *link = o->link;
	struct open_txn open = o->txn ? transaction_take(o->txn) : o->orphan;
	struct blobs *blobs = o->blobs;
	o->client = NULL;
	o->link = NULL;
	o->orphan.txn = NULL;
	o->blobs = NULL;
	if (!c)
		return;
	Py_BEGIN_ALLOW_THREADS
	open_txn_abort(&open, blobs, 1);
	client_close(c);
	blobs_close(blobs);
	Py_END_ALLOW_THREADS
	link_cut(link);
	link_free(link);
}

static int close_finder(struct client_object *o)
{
	PyObject *finder = o->finder;
	o->finder = NULL;
	if (!finder)
		return 0;
	PyObject *r = PyObject_CallMethod(finder, "close", NULL);
	Py_DECREF(finder);
	Py_XDECREF(r);
	return r ? 0 : -1;
}

static void end_calls(struct client_object *o)
{
	struct client *c = o->client;
	Py_BEGIN_ALLOW_THREADS
	client_shut(c);
	Py_END_ALLOW_THREADS
}

static int wait_for_users(struct client_object *o)
{
	o->idle = PyThread_allocate_lock();
	if (!o->idle) {
		PyErr_NoMemory();
		return -1;
	}
	PyThread_acquire_lock(o->idle, WAIT_LOCK);
	Py_BEGIN_ALLOW_THREADS
	PyThread_acquire_lock(o->idle, WAIT_LOCK);
	Py_END_ALLOW_THREADS
	PyThread_release_lock(o->idle);
	PyThread_free_lock(o->idle);
	o->idle = NULL;
	return 0;
}

/* False: not from within a callback, but another thread can do it. */
static PyObject *client_m_close(PyObject *self, PyObject *unused)
{
	struct client_object *o = (struct client_object *)self;
	if (o->closed)
		Py_RETURN_TRUE;
	if (link_is_calling())
		Py_RETURN_FALSE;
	o->closed = true;
	int rc = close_finder(o);
	if (!uses && o->owner != getpid())
		o->users = 0; /* they were threads of the parent's */
	if (o->client) {
		end_calls(o);
		if (o->users && !uses && wait_for_users(o))
			return NULL;
		/* from within a call of this thread: when that has ended */
		o->last_closes = o->users > 0;
		if (!o->users)
			free_client(o);
	}
	if (rc)
		return NULL;
	Py_RETURN_TRUE;
}

/* What dealloc leaves to a thread of its own: it runs on one that the client needs. */
struct leftover {
	struct client *client;
	struct open_txn open;
	struct blobs *blobs;
	struct link *link;
};

static void *close_leftover(void *arg)
{
	struct leftover *l = arg;
	open_txn_abort(&l->open, l->blobs, 1);
	client_close(l->client);
	blobs_close(l->blobs);
	link_free(l->link);
	mem_free(l);
	return NULL;
}

static void free_elsewhere(struct client_object *o)
{
	struct leftover *l = mem_zalloc(1, sizeof(*l));
	pthread_t thread;
	struct open_txn open = o->txn ? transaction_take(o->txn) : o->orphan;
	link_cut(o->link);
	if (!l)
		return; /* no memory: it stays */
	*l = (struct leftover){ o->client, open, o->blobs, o->link };
	if (pthread_create(&thread, NULL, close_leftover, l) == 0)
		pthread_detach(thread);
}

static void client_finalize(PyObject *self)
{
	struct client_object *o = (struct client_object *)self;
	PyObject *type, *value, *traceback;
	PyErr_Fetch(&type, &value, &traceback);
	o->closed = true;
	if (close_finder(o))
		PyErr_WriteUnraisable(self);
	if (o->client && link_is_calling())
		free_elsewhere(o);
	else if (o->client)
		free_client(o);
	o->client = NULL;
	o->link = NULL;
	PyErr_Restore(type, value, traceback);
}

/* ---- what is known without asking ---- */

static PyObject *client_m_last_transaction(PyObject *self, PyObject *unused)
{
	struct client_object *o = (struct client_object *)self;
	struct client *c = client_use(o);
	if (!c)
		return NULL;
	uint64_t told = 0;
	if (o->teller && o->teller != PyThread_get_thread_ident() && o->owner == getpid()) {
		told = o->told_tid;
		/* loads show it already: as with ZEO, it is the last one for all, or for nobody */
		Py_BEGIN_ALLOW_THREADS
		PyThread_acquire_lock(o->telling, WAIT_LOCK);
		PyThread_release_lock(o->telling);
		Py_END_ALLOW_THREADS
	}
	uint64_t tid = client_last_tid(c);
	client_used(o);
	return id_object(tid > told ? tid : told);
}

/* ZEO's takes an argument, and does not use it. */
static PyObject *client_m_is_connected(PyObject *self, PyObject *args, PyObject *keywords)
{
	static const char *const names[] = { "test", NULL };
	PyObject *unused = NULL;
	if (!PyArg_ParseTupleAndKeywords(
		    args, keywords, "|O:is_connected", (char **)(uintptr_t)names, &unused))
		return NULL;
	struct client_object *o = (struct client_object *)self;
	return PyBool_FromLong(o->client && !o->closed && client_is_connected(o->client));
}

static PyObject *client_m_is_read_only(PyObject *self, PyObject *unused)
{
	struct client *c = client_peek((struct client_object *)self);
	return c ? PyBool_FromLong(client_is_read_only(c)) : NULL;
}

static PyObject *client_m_sort_key(PyObject *self, PyObject *unused)
{
	struct client_object *o = (struct client_object *)self;
	struct client *c = client_peek(o);
	if (!c)
		return NULL;
	struct buf out = BUF_INIT(0);
	struct err e = ERR_INIT;
	PyObject *ret = client_sort_key(c, &out, &e)
				? raise_err(o->st, &e)
				: PyUnicode_DecodeUTF8((const char *)out.data, (Py_ssize_t)out.len,
					  "surrogateescape");
	buf_free(&out);
	return ret;
}

static PyObject *get_generation(PyObject *self, void *unused)
{
	struct client_object *o = (struct client_object *)self;
	return PyLong_FromUnsignedLongLong(o->client ? client_generation(o->client) : 0);
}

static PyObject *get_protocol(PyObject *self, void *unused)
{
	struct client *c = client_peek((struct client_object *)self);
	char protocol[4];
	if (!c)
		return NULL;
	client_protocol(c, protocol);
	return PyBytes_FromString(protocol);
}

static PyObject *get_verify_result(PyObject *self, void *unused)
{
	struct client *c = client_peek((struct client_object *)self);
	const char *text = c ? client_verify_result(c) : NULL;
	return !c ? NULL : text ? PyUnicode_FromString(text) : Py_NewRef(Py_None);
}

static PyGetSetDef client_getset[] = {
	{ "_connection_generation", get_generation, NULL,
		PyDoc_STR("Grows with every connect and every loss."), NULL },
	{ "protocol_version", get_protocol, NULL, PyDoc_STR("b'Z5' or b'M5'."), NULL },
	{ "_verify_result", get_verify_result, NULL,
		PyDoc_STR("How the last verification of the cache went."), NULL },
	{ NULL, NULL, NULL, NULL, NULL },
};

/* ---- the type ---- */

static PyObject *client_new(PyTypeObject *type, PyObject *args, PyObject *keywords)
{
	struct state *st = state_of_type(type);
	if (!st)
		return NULL;
	struct client_object *o = (struct client_object *)type->tp_alloc(type, 0);
	if (!o)
		return NULL;
	o->st = st;
	o->telling = PyThread_allocate_lock();
	if (!o->telling) {
		Py_DECREF(o);
		return PyErr_NoMemory();
	}
	return (PyObject *)o;
}

static int client_traverse(PyObject *self, visitproc visit, void *arg)
{
	struct client_object *o = (struct client_object *)self;
	Py_VISIT(Py_TYPE(self));
	Py_VISIT(o->finder);
	if (o->link)
		Py_VISIT(o->link->dialer);
	return 0;
}

static int client_clear(PyObject *self)
{
	Py_CLEAR(((struct client_object *)self)->finder);
	return 0;
}

static void client_dealloc(PyObject *self)
{
	PyTypeObject *type = Py_TYPE(self);
	if (PyObject_CallFinalizerFromDealloc(self))
		return; /* somebody has got hold of it */
	PyObject_GC_UnTrack(self);
	struct client_object *o = (struct client_object *)self;
	if (o->weakrefs)
		PyObject_ClearWeakRefs(self);
	if (o->telling)
		PyThread_free_lock(o->telling);
	type->tp_free(self);
	Py_DECREF(type);
}

#define FAST(name, f, doc)                                                                         \
	{                                                                                          \
		name, (PyCFunction)(void (*)(void))(f), METH_FASTCALL | METH_KEYWORDS,             \
			PyDoc_STR(doc)                                                             \
	}

static PyMethodDef client_methods[] = {
	{ "_open", (PyCFunction)(void (*)(void))client_m_open, METH_VARARGS | METH_KEYWORDS, NULL },
	{ "_open_blobs", client_m_open_blobs, METH_VARARGS, NULL },
	{ "_set_addresses", client_m_set_addresses, METH_O, NULL },
	{ "_wait_connected", client_m_wait, METH_O, NULL },
	{ "_close", client_m_close, METH_NOARGS, NULL },
	{ "_cache_stats", client_m_cache_stats, METH_NOARGS, NULL },
	{ "_raw_info", client_m_info, METH_NOARGS, NULL },
	FAST("_raw_call", client_m_raw_call,
		"(answer, encoding) of a call; the arguments are a tuple."),
	FAST("_cast", client_m_cast, "Say something to the server that has no answer."),
	FAST("load", client_m_load,
		"(data, serial) of the revision that is current as far as is known here."),
	FAST("loadBefore", client_m_load_before,
		"(data, serial, end tid or None) of the revision current before tid, or None."),
	FAST("prefetch", client_m_prefetch,
		"Ask for objects that the cache has not got, all at once."),
	{ "new_oid", client_m_new_oid, METH_NOARGS, PyDoc_STR("An object id never used before.") },
	{ "ping", client_m_ping, METH_NOARGS,
		PyDoc_STR("Wait for the server: what was committed before is known then.") },
	{ "_forget_cached", client_m_forget_cached, METH_NOARGS, NULL },
	{ "sync", client_m_sync, METH_NOARGS,
		PyDoc_STR("ping(), where server_sync was asked for.") },
	{ "lastTransaction", client_m_last_transaction, METH_NOARGS,
		PyDoc_STR("The id of the last transaction known here.") },
	{ "is_connected", (PyCFunction)(void (*)(void))client_m_is_connected,
		METH_VARARGS | METH_KEYWORDS,
		PyDoc_STR("Whether there is a connection to a server.") },
	{ "is_read_only", client_m_is_read_only, METH_NOARGS,
		PyDoc_STR("Whether nothing can be written.") },
	{ "isReadOnly", client_m_is_read_only, METH_NOARGS,
		PyDoc_STR("Whether nothing can be written.") },
	{ "sortKey", client_m_sort_key, METH_NOARGS,
		PyDoc_STR("Decides the order in which several storages vote.") },
	FAST("tpc_begin", client_m_tpc_begin, "Begin a transaction; waits for the one before."),
	FAST("store", client_m_store, "Store an object's new state."),
	FAST("checkCurrentSerialInTransaction", client_m_check,
		"Let the vote fail when the object has changed."),
	FAST("deleteObject", client_m_delete, "Delete an object."),
	FAST("restore", client_m_restore, "Write what another database has committed."),
	FAST("undo", client_m_undo, "Undo a transaction."),
	FAST("storeBlob", client_m_store_blob,
		"Store an object with a blob; the file is the storage's from now on."),
	FAST("loadBlob", client_m_load_blob, "The file of a blob, downloaded if it is not there."),
	FAST("tpc_vote", client_m_tpc_vote,
		"The oids whose states are not those that were stored, or None. Conflicts are "
		"resolved."),
	FAST("tpc_finish", client_m_tpc_finish,
		"Commit. f(tid) is called in the order of transactions; returns the tid."),
	FAST("tpc_abort", client_m_tpc_abort, "Give the transaction up."),
	{ NULL, NULL, 0, NULL },
};

static PyMemberDef client_members[] = {
	{ "__weaklistoffset__", T_PYSSIZET, offsetof(struct client_object, weakrefs), READONLY,
		NULL },
	{ "server_sync", T_BOOL, offsetof(struct client_object, server_sync), 0,
		"Whether sync() asks the server." },
	{ "_finder", T_OBJECT, offsetof(struct client_object, finder), 0, NULL },
	{ "_closed", T_BOOL, offsetof(struct client_object, closed), READONLY, NULL },
	{ NULL, 0, 0, 0, NULL },
};

static char client_doc[] = "A client of ZEO servers.";

static PyType_Slot client_slots[] = {
	{ Py_tp_doc, client_doc },
	{ Py_tp_new, client_new },
	{ Py_tp_traverse, client_traverse },
	{ Py_tp_clear, client_clear },
	{ Py_tp_finalize, client_finalize },
	{ Py_tp_dealloc, client_dealloc },
	{ Py_tp_methods, client_methods },
	{ Py_tp_members, client_members },
	{ Py_tp_getset, client_getset },
	{ 0, NULL },
};

static PyType_Spec client_spec = {
	.name = "zc.zkzeo._zkzeo.Client",
	.basicsize = sizeof(struct client_object),
	.flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_BASETYPE | Py_TPFLAGS_HAVE_GC,
	.slots = client_slots,
};

int client_type_add(PyObject *module, struct state *st)
{
	return add_type(module, &client_spec, &st->client_type);
}
