/* Two-phase commit: methods of ClientStorage, and what a transaction keeps of it meanwhile. */
#include "client_commit.h"

#include "args.h"
#include "base/arena.h"
#include "codec/tid.h"
#include "errors.h"
#include "values.h"

/* ---- the transaction's buffer ---- */

struct open_txn transaction_take(struct transaction_object *t)
{
	struct open_txn open = t->open;
	t->open = (struct open_txn){ NULL, { NULL } };
	if (t->owner && t->owner->txn == t)
		t->owner->txn = NULL;
	return open;
}

void open_txn_abort(struct open_txn *x, struct blobs *blobs, uint32_t timeout_ms)
{
	client_txn_abort(x->txn, timeout_ms);
	if (blobs)
		blobs_aborted(blobs, &x->files);
}

/* Dropped without an end: the next one must not wait for it for ever. */
static void transaction_drop(struct transaction_object *t)
{
	if (!t->open.txn)
		return;
	PyObject *type, *value, *traceback;
	PyErr_Fetch(&type, &value, &traceback);
	struct client_object *o = t->owner;
	struct open_txn open = transaction_take(t);
	if (client_use(o)) {
		Py_BEGIN_ALLOW_THREADS
		open_txn_abort(&open, o->blobs, 1);
		Py_END_ALLOW_THREADS
		client_used(o);
	} else {
		/* another thread is closing the storage, and will free it */
		o->orphan = open;
	}
	PyErr_Restore(type, value, traceback);
}

static int transaction_traverse(PyObject *self, visitproc visit, void *arg)
{
	struct transaction_object *t = (struct transaction_object *)self;
	Py_VISIT(Py_TYPE(self));
	Py_VISIT(t->owner);
	return 0;
}

static void transaction_dealloc(PyObject *self)
{
	struct transaction_object *t = (struct transaction_object *)self;
	PyTypeObject *type = Py_TYPE(self);
	PyObject_GC_UnTrack(self);
	transaction_drop(t);
	Py_CLEAR(t->owner);
	PyObject_GC_Del(self);
	Py_DECREF(type);
}

static PyMemberDef transaction_members[] = {
	{ "connection_generation", T_ULONGLONG, offsetof(struct transaction_object, generation),
		READONLY, "the connection it belongs to" },
	{ NULL, 0, 0, 0, NULL },
};

static char transaction_doc[] =
	"What a transaction keeps of the storage between tpc_begin() and its end.";

static PyType_Slot transaction_slots[] = {
	{ Py_tp_doc, transaction_doc },
	{ Py_tp_traverse, transaction_traverse },
	{ Py_tp_dealloc, transaction_dealloc },
	{ Py_tp_members, transaction_members },
	{ 0, NULL },
};

static PyType_Spec transaction_spec = {
	.name = "zc.zkzeo._zkzeo.TransactionBuffer",
	.basicsize = sizeof(struct transaction_object),
	.flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC | Py_TPFLAGS_DISALLOW_INSTANTIATION,
	.slots = transaction_slots,
};

int transaction_type_add(PyObject *module, struct state *st)
{
	return add_type(module, &transaction_spec, &st->transaction_type);
}

static struct transaction_object *transaction_new(struct client_object *o)
{
	struct transaction_object *t =
		PyObject_GC_New(struct transaction_object, o->st->transaction_type);
	if (!t)
		return NULL;
	Py_INCREF(o);
	t->owner = o;
	t->open = (struct open_txn){ NULL, { NULL } };
	t->generation = 0;
	t->busy = false;
	PyObject_GC_Track((PyObject *)t);
	return t;
}

/* ---- a transaction's data ---- */

/* txn.data(storage): NULL without an exception when there is none. */
static PyObject *data_of(struct client_object *o, PyObject *txn)
{
	PyObject *data = PyObject_CallMethodObjArgs(txn, o->st->name_data, o, NULL);
	if (data || !PyErr_ExceptionMatches(PyExc_KeyError))
		return data;
	PyErr_Clear();
	return NULL;
}

static int set_data(struct client_object *o, PyObject *txn, PyObject *data)
{
	PyObject *r = PyObject_CallMethodObjArgs(txn, o->st->name_set_data, o, data, NULL);
	Py_XDECREF(r);
	return r ? 0 : -1;
}

static PyObject *raise_with(struct client_object *o, int code, PyObject *args)
{
	if (args) {
		PyErr_SetObject(o->st->errors[-code], args);
		Py_DECREF(args);
	}
	return NULL;
}

struct client *transaction_check(
	struct client_object *o, PyObject *txn, const char *method, struct transaction_object **ret)
{
	struct client *c = client_use(o);
	if (!c)
		return NULL;
	if (client_is_read_only(c)) {
		PyErr_SetNone(o->st->errors[-ERR_READONLY]);
		client_used(o);
		return NULL;
	}
	PyObject *data = data_of(o, txn);
	struct transaction_object *t = (struct transaction_object *)data;
	if (!data && PyErr_Occurred())
		;
	else if (!data || !Py_IS_TYPE(data, o->st->transaction_type))
		raise_with(o, ERR_STATE,
			Py_BuildValue("ssO", "Transaction not committing", method, txn));
	else if (!t->open.txn || t->generation != client_generation(c))
		raise_with(o, ERR_CLOSED,
			Py_BuildValue("ss", method, "on a disconnected transaction"));
	else if (t->busy)
		raise_with(o, ERR_STATE,
			Py_BuildValue("ssO", "Transaction in use by another thread", method, txn));
	if (PyErr_Occurred()) {
		Py_XDECREF(data);
		client_used(o);
		return NULL;
	}
	t->busy = true;
	*ret = t;
	return c;
}

void transaction_done(struct client_object *o, struct transaction_object *t)
{
	t->busy = false;
	client_used(o);
	Py_DECREF(t);
}

/* What the server, or we, have said of a failure. */
static PyObject *raise_failure(
	struct client_object *o, struct client_failure *failure, const struct err *e)
{
	if (failure->reply.len)
		raise_reply(buf_slice(&failure->reply), failure->encoding);
	else
		raise_err(o->st, e);
	return NULL;
}

/* ---- begin ---- */

/* Transactions of a copy have no data(): give them one. */
static int give_data(PyObject *txn)
{
	PyObject *module = PyImport_ImportModule("zc.zkzeo._replies");
	PyObject *r = module ? PyObject_CallMethod(module, "give_data", "O", txn) : NULL;
	Py_XDECREF(module);
	Py_XDECREF(r);
	return r ? 0 : -1;
}

static int set_first_data(struct client_object *o, PyObject *txn, PyObject *data)
{
	if (set_data(o, txn, data) == 0)
		return 0;
	if (!PyErr_ExceptionMatches(PyExc_AttributeError))
		return -1;
	PyErr_Clear();
	return give_data(txn) ? -1 : set_data(o, txn, data);
}

/* Only one that is open here has begun: others are not asked, which would raise a KeyError in each of them. */
static int check_not_begun(struct client_object *o, PyObject *txn)
{
	PyObject *data = o->txn ? data_of(o, txn) : NULL;
	if (!data && PyErr_Occurred()) {
		if (!PyErr_ExceptionMatches(PyExc_AttributeError))
			return -1;
		PyErr_Clear();
	}
	bool begun = data && data != Py_None;
	Py_XDECREF(data);
	if (begun)
		raise_with(o, ERR_STATE,
			Py_BuildValue("(s)", "Duplicate tpc_begin calls for same transaction"));
	return begun ? -1 : 0;
}

/* What tpc_begin sends of a transaction. */
struct metadata {
	PyObject *user, *description, *extension, *keep;
	struct slice user_text, description_text;
	struct val ext;
	struct arena arena;
};

static int metadata_of(PyObject *txn, struct metadata *ret)
{
	*ret = (struct metadata){ .arena = ARENA_INIT(0) };
	ret->user = PyObject_GetAttrString(txn, "user");
	ret->description = ret->user ? PyObject_GetAttrString(txn, "description") : NULL;
	ret->extension = ret->description ? PyObject_GetAttrString(txn, "extension") : NULL;
	if (!ret->extension || text_of(ret->user, "user", &ret->user_text) ||
		text_of(ret->description, "description", &ret->description_text))
		return -1;
	return value_of(ret->extension, &ret->arena, &ret->ext, &ret->keep);
}

static void metadata_end(struct metadata *m)
{
	Py_XDECREF(m->user);
	Py_XDECREF(m->description);
	Py_XDECREF(m->extension);
	Py_XDECREF(m->keep);
	arena_free(&m->arena);
}

static int status_of(PyObject *o, char *ret)
{
	struct slice s = slice_str(" ");
	if (o && text_of(o, "status", &s))
		return -1;
	if (s.len != 1) {
		PyErr_Format(PyExc_ValueError, "status must be one letter, not %R", o);
		return -1;
	}
	*ret = (char)s.data[0];
	return 0;
}

static int begin_now(struct client_object *o, struct transaction_object *t, PyObject *txn,
	uint64_t tid, char status)
{
	struct metadata m;
	struct err e = ERR_INIT;
	struct client *c = NULL;
	int rc = metadata_of(txn, &m);
	if (rc == 0) {
		c = client_use(o);
		rc = c ? 0 : -1;
	}
	if (c) {
		struct client_txn *begun = NULL;
		Py_BEGIN_ALLOW_THREADS
		rc = client_txn_begin(
			c, m.user_text, m.description_text, &m.ext, tid, status, &begun, &e);
		Py_END_ALLOW_THREADS
		if (rc == 0) {
			t->open.txn = begun;
			t->generation = client_txn_generation(begun);
			o->txn = t;
		} else {
			raise_err(o->st, &e);
		}
		client_used(o);
	}
	metadata_end(&m);
	return rc ? -1 : 0;
}

static const struct signature begin_signature = { "tpc_begin", 1,
	{ "txn", "tid", "status", NULL } };

PyObject *client_m_tpc_begin(
	PyObject *self, PyObject *const *args, Py_ssize_t n, PyObject *keywords)
{
	struct client_object *o = (struct client_object *)self;
	PyObject *given[3] = { NULL };
	uint64_t tid = TID_NONE;
	char status;
	if (args_of(&begin_signature, args, n, keywords, given) || status_of(given[2], &status))
		return NULL;
	if (given[1] && given[1] != Py_None && id_of(given[1], "tid", &tid))
		return NULL;
	struct client *c = client_peek(o);
	if (!c)
		return NULL;
	if (client_is_read_only(c)) {
		PyErr_SetNone(o->st->errors[-ERR_READONLY]);
		return NULL;
	}
	if (check_not_begun(o, given[0]))
		return NULL;
	struct transaction_object *t = transaction_new(o);
	if (!t)
		return NULL;
	int rc = begin_now(o, t, given[0], tid, status);
	if (rc == 0)
		rc = set_first_data(o, given[0], (PyObject *)t);
	Py_DECREF(t);
	if (rc)
		return NULL;
	Py_RETURN_NONE;
}

/* ---- what is stored ---- */

static int check_version(PyObject *version)
{
	int rc = version ? PyObject_IsTrue(version) : 0;
	if (rc > 0)
		PyErr_SetString(PyExc_AssertionError, "versions are not supported");
	return rc ? -1 : 0;
}

static PyObject *ended(
	struct client_object *o, struct transaction_object *t, int rc, const struct err *e)
{
	transaction_done(o, t);
	if (rc)
		return raise_err(o->st, e);
	Py_RETURN_NONE;
}

static const struct signature store_signature = { "store", 5,
	{ "oid", "serial", "data", "version", "txn", NULL } };

PyObject *client_m_store(PyObject *self, PyObject *const *args, Py_ssize_t n, PyObject *keywords)
{
	struct client_object *o = (struct client_object *)self;
	PyObject *given[5];
	uint64_t oid, serial;
	struct transaction_object *t;
	Py_buffer data;
	if (args_of(&store_signature, args, n, keywords, given) || check_version(given[3]))
		return NULL;
	struct client *c = transaction_check(o, given[4], "store", &t);
	if (!c)
		return NULL;
	if (id_of(given[0], "oid", &oid) || serial_of(given[1], &serial) ||
		PyObject_GetBuffer(given[2], &data, PyBUF_SIMPLE)) {
		transaction_done(o, t);
		return NULL;
	}
	struct err e = ERR_INIT;
	int rc;
	Py_BEGIN_ALLOW_THREADS
	rc = client_txn_store(t->open.txn, oid, serial, slice_of(data.buf, (size_t)data.len), &e);
	Py_END_ALLOW_THREADS
	PyBuffer_Release(&data);
	return ended(o, t, rc, &e);
}

/* checkCurrentSerialInTransaction() and deleteObject() */
static PyObject *oid_and_serial(struct client_object *o, PyObject **given, const char *method,
	int (*f)(struct client_txn *t, uint64_t oid, uint64_t serial, struct err *e))
{
	uint64_t oid, serial;
	struct transaction_object *t;
	struct client *c = transaction_check(o, given[2], method, &t);
	if (!c)
		return NULL;
	if (id_of(given[0], "oid", &oid) || serial_of(given[1], &serial)) {
		transaction_done(o, t);
		return NULL;
	}
	struct err e = ERR_INIT;
	int rc;
	Py_BEGIN_ALLOW_THREADS
	rc = f(t->open.txn, oid, serial, &e);
	Py_END_ALLOW_THREADS
	return ended(o, t, rc, &e);
}

static const struct signature check_signature = { "checkCurrentSerialInTransaction", 3,
	{ "oid", "serial", "transaction", NULL } };

PyObject *client_m_check(PyObject *self, PyObject *const *args, Py_ssize_t n, PyObject *keywords)
{
	PyObject *given[3];
	if (args_of(&check_signature, args, n, keywords, given))
		return NULL;
	return oid_and_serial(
		(struct client_object *)self, given, check_signature.method, client_txn_check);
}

static const struct signature delete_signature = { "deleteObject", 3,
	{ "oid", "serial", "txn", NULL } };

PyObject *client_m_delete(PyObject *self, PyObject *const *args, Py_ssize_t n, PyObject *keywords)
{
	PyObject *given[3];
	if (args_of(&delete_signature, args, n, keywords, given))
		return NULL;
	return oid_and_serial(
		(struct client_object *)self, given, delete_signature.method, client_txn_delete);
}

static const struct signature restore_signature = { "restore", 6,
	{ "oid", "serial", "data", "version", "prev_txn", "transaction", NULL } };

PyObject *client_m_restore(PyObject *self, PyObject *const *args, Py_ssize_t n, PyObject *keywords)
{
	struct client_object *o = (struct client_object *)self;
	PyObject *given[6];
	uint64_t oid, serial, prev_txn = TID_NONE;
	struct transaction_object *t;
	Py_buffer data = { 0 };
	if (args_of(&restore_signature, args, n, keywords, given) || check_version(given[3]))
		return NULL;
	struct client *c = transaction_check(o, given[5], "restore", &t);
	if (!c)
		return NULL;
	bool has_data = given[2] != Py_None;
	if (id_of(given[0], "oid", &oid) || serial_of(given[1], &serial) ||
		(given[4] != Py_None && id_of(given[4], "prev_txn", &prev_txn)) ||
		(has_data && PyObject_GetBuffer(given[2], &data, PyBUF_SIMPLE))) {
		transaction_done(o, t);
		return NULL;
	}
	struct err e = ERR_INIT;
	int rc;
	Py_BEGIN_ALLOW_THREADS
	rc = client_txn_restore(t->open.txn, oid, serial, slice_of(data.buf, (size_t)data.len),
		has_data, prev_txn, &e);
	Py_END_ALLOW_THREADS
	if (has_data)
		PyBuffer_Release(&data);
	return ended(o, t, rc, &e);
}

static const struct signature undo_signature = { "undo", 2, { "trans_id", "txn", NULL } };

/* The id of a transaction in an undo log: the base64 of its tid. */
static int undo_tid(PyObject *id, uint64_t *ret)
{
	PyObject *module = PyImport_ImportModule("zc.zkzeo._replies");
	PyObject *tid = module ? PyObject_CallMethod(module, "undo_tid", "O", id) : NULL;
	int rc = tid ? id_of(tid, "trans_id", ret) : -1;
	Py_XDECREF(module);
	Py_XDECREF(tid);
	return rc;
}

PyObject *client_m_undo(PyObject *self, PyObject *const *args, Py_ssize_t n, PyObject *keywords)
{
	struct client_object *o = (struct client_object *)self;
	PyObject *given[2];
	uint64_t tid;
	struct transaction_object *t;
	if (args_of(&undo_signature, args, n, keywords, given))
		return NULL;
	struct client *c = transaction_check(o, given[1], "undo", &t);
	if (!c)
		return NULL;
	if (undo_tid(given[0], &tid)) {
		transaction_done(o, t);
		return NULL;
	}
	struct err e = ERR_INIT;
	int rc;
	Py_BEGIN_ALLOW_THREADS
	rc = client_txn_undo(t->open.txn, tid, &e);
	Py_END_ALLOW_THREADS
	return ended(o, t, rc, &e);
}

/* ---- vote ---- */

enum { VOTES_MAX = 9 }; /* as ZEO's client: it might go on for ever */

static PyObject *conflict_list(const struct client_conflict *c, size_t n)
{
	PyObject *list = PyList_New(0);
	for (size_t i = 0; list && i < n; i++) {
		PyObject *item = Py_BuildValue("NNNy#", id_object(c[i].oid),
			id_object(c[i].committed_serial), id_object(c[i].old_serial),
			(const char *)c[i].data.data, (Py_ssize_t)c[i].data.len);
		if (!item || PyList_Append(list, item))
			Py_CLEAR(list);
		Py_XDECREF(item);
	}
	return list;
}

/* tryToResolveConflict() and store what it makes. */
static int resolve_one(struct client_object *o, struct transaction_object *t, PyObject *args)
{
	struct client_conflict conflict = { 0 };
	Py_buffer data;
	PyObject *method = PyObject_GetAttrString((PyObject *)o, "tryToResolveConflict");
	PyObject *merged = method ? PyObject_CallObject(method, args) : NULL;
	Py_XDECREF(method);
	if (!merged || PyObject_GetBuffer(merged, &data, PyBUF_SIMPLE)) {
		Py_XDECREF(merged);
		return -1;
	}
	struct err e = ERR_INIT;
	int rc = -1;
	if (id_of(PyTuple_GET_ITEM(args, 0), "oid", &conflict.oid) == 0 &&
		id_of(PyTuple_GET_ITEM(args, 1), "serial", &conflict.committed_serial) == 0 &&
		id_of(PyTuple_GET_ITEM(args, 2), "serial", &conflict.old_serial) == 0) {
		Py_BEGIN_ALLOW_THREADS
		rc = client_txn_resolve(
			t->open.txn, &conflict, slice_of(data.buf, (size_t)data.len), &e);
		Py_END_ALLOW_THREADS
		if (rc)
			raise_err(o->st, &e);
	}
	PyBuffer_Release(&data);
	Py_DECREF(merged);
	return rc ? -1 : 0;
}

static int resolve_all(struct client_object *o, struct transaction_object *t, PyObject *conflicts)
{
	for (Py_ssize_t i = 0; i < PyList_GET_SIZE(conflicts); i++)
		if (resolve_one(o, t, PyList_GET_ITEM(conflicts, i)))
			return -1;
	return 0;
}

/* 1: voted, 0: there were conflicts, and they are resolved; -1 with an exception. */
static int vote_once(struct client_object *o, struct transaction_object *t)
{
	const struct client_conflict *conflicts = NULL;
	size_t n = 0;
	struct client_failure failure = { 0 };
	struct err e = ERR_INIT;
	int rc;
	Py_BEGIN_ALLOW_THREADS
	rc = client_txn_vote(t->open.txn, &conflicts, &n, &failure, &e);
	Py_END_ALLOW_THREADS
	if (rc)
		raise_failure(o, &failure, &e);
	buf_free(&failure.reply);
	if (rc)
		return -1;
	if (n == 0)
		return 1;
	PyObject *list = conflict_list(conflicts, n);
	rc = list ? resolve_all(o, t, list) : -1;
	Py_XDECREF(list);
	return rc;
}

static PyObject *resolved_list(struct transaction_object *t)
{
	const uint64_t *oids;
	size_t n;
	client_txn_resolved(t->open.txn, &oids, &n);
	if (n == 0)
		Py_RETURN_NONE;
	PyObject *list = PyList_New(0);
	for (size_t i = 0; list && i < n; i++) {
		PyObject *oid = id_object(oids[i]);
		if (!oid || PyList_Append(list, oid))
			Py_CLEAR(list);
		Py_XDECREF(oid);
	}
	return list;
}

/* The connection was lost, and is back: say that, not what the server, which has never heard of it, says. */
static void blame_connection(struct client_object *o, struct transaction_object *t)
{
	if (!PyErr_ExceptionMatches(o->st->errors[-ERR_STATE]) || !o->client ||
		t->generation == client_generation(o->client))
		return;
	PyErr_Clear();
	raise_with(o, ERR_CLOSED, Py_BuildValue("ss", "tpc_vote", "on a disconnected transaction"));
}

static const struct signature vote_signature = { "tpc_vote", 1, { "txn", NULL } };

PyObject *client_m_tpc_vote(PyObject *self, PyObject *const *args, Py_ssize_t n, PyObject *keywords)
{
	struct client_object *o = (struct client_object *)self;
	PyObject *given[1], *ret = NULL;
	struct transaction_object *t;
	if (args_of(&vote_signature, args, n, keywords, given))
		return NULL;
	struct client *c = transaction_check(o, given[0], "tpc_vote", &t);
	if (!c)
		return NULL;
	int rc = 0;
	for (int i = 0; i < VOTES_MAX && rc == 0; i++)
		rc = vote_once(o, t);
	if (rc > 0)
		ret = resolved_list(t);
	else if (rc == 0)
		raise_with(o, ERR_CONFLICT,
			Py_BuildValue("(s)", "conflicts again after each resolution"));
	else
		blame_connection(o, t);
	transaction_done(o, t);
	return ret;
}

/* ---- the end ---- */

/* The transaction's data goes; an exception that is set stays. */
static int forget(struct client_object *o, PyObject *txn)
{
	PyObject *type, *value, *traceback;
	PyErr_Fetch(&type, &value, &traceback);
	int rc = set_data(o, txn, Py_None);
	if (type)
		PyErr_Restore(type, value, traceback);
	return rc;
}

/* The caller's function, called where the transaction's invalidation would stand. */
struct told {
	struct client_object *o;
	PyObject *f;
	PyObject *type, *value, *traceback; /* what it has raised */
};

static void on_told(void *arg, uint64_t tid)
{
	struct told *told = arg;
	PyGILState_STATE gil = link_call_begins();
	struct client_object *o = told->o;
	PyThread_acquire_lock(o->telling, WAIT_LOCK);
	o->teller = PyThread_get_thread_ident();
	o->told_tid = tid;
	PyObject *id = id_object(tid);
	PyObject *r = id ? PyObject_CallOneArg(told->f, id) : NULL;
	if (!r)
		PyErr_Fetch(&told->type, &told->value, &told->traceback);
	o->teller = 0;
	PyThread_release_lock(o->telling);
	Py_XDECREF(id);
	Py_XDECREF(r);
	link_call_ends(gil);
}

static const struct signature finish_signature = { "tpc_finish", 1, { "txn", "f", NULL } };

PyObject *client_m_tpc_finish(
	PyObject *self, PyObject *const *args, Py_ssize_t n, PyObject *keywords)
{
	struct client_object *o = (struct client_object *)self;
	PyObject *given[2] = { NULL };
	struct transaction_object *t;
	uint64_t tid = 0;
	if (args_of(&finish_signature, args, n, keywords, given))
		return NULL;
	struct client *c = transaction_check(o, given[0], "tpc_finish", &t);
	if (!c)
		return NULL;
	struct told told = { .o = o, .f = given[1] };
	bool tell = told.f && told.f != Py_None;
	struct client_failure failure = { 0 };
	struct err e = ERR_INIT;
	int rc;
	struct open_txn open = transaction_take(t);
	Py_BEGIN_ALLOW_THREADS
	rc = client_txn_finish(open.txn, tell ? on_told : NULL, &told, &tid, &failure, &e);
	if (o->blobs && rc == 0)
		blobs_finished(o->blobs, &open.files, tid);
	else if (o->blobs)
		blobs_aborted(o->blobs, &open.files);
	Py_END_ALLOW_THREADS
	if (told.type)
		PyErr_Restore(told.type, told.value, told.traceback);
	else if (rc)
		raise_failure(o, &failure, &e);
	buf_free(&failure.reply);
	int failed = forget(o, given[0]) || PyErr_Occurred();
	transaction_done(o, t);
	return failed ? NULL : id_object(tid);
}

static const struct signature abort_signature = { "tpc_abort", 1, { "txn", "timeout", NULL } };

PyObject *client_m_tpc_abort(
	PyObject *self, PyObject *const *args, Py_ssize_t n, PyObject *keywords)
{
	struct client_object *o = (struct client_object *)self;
	PyObject *given[2] = { NULL };
	uint32_t timeout_ms;
	if (args_of(&abort_signature, args, n, keywords, given) ||
		timeout_of(given[1], &timeout_ms))
		return NULL;
	PyObject *data = data_of(o, given[0]);
	if (!data && PyErr_Occurred())
		return NULL;
	if (!data || !Py_IS_TYPE(data, o->st->transaction_type)) {
		Py_XDECREF(data);
		Py_RETURN_NONE;
	}
	struct transaction_object *t = (struct transaction_object *)data;
	if (t->busy) {
		Py_DECREF(t);
		return raise_with(o, ERR_STATE,
			Py_BuildValue("ssO", "Transaction in use by another thread", "tpc_abort",
				given[0]));
	}
	if (!t->open.txn)
		;
	else if (client_use(o)) {
		struct open_txn open = transaction_take(t);
		Py_BEGIN_ALLOW_THREADS
		open_txn_abort(&open, o->blobs, timeout_ms);
		Py_END_ALLOW_THREADS
		client_used(o);
	} else {
		/* the storage is closed, or being closed, which frees it */
		PyErr_Clear();
	}
	Py_DECREF(t);
	if (set_data(o, given[0], Py_None) || raise_interrupted())
		return NULL;
	Py_RETURN_NONE;
}
