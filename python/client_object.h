/* The object behind a ClientStorage.
 *
 * O1  `client` is there from open() to close(). Who uses it without the GIL is counted (`users`); it is freed when
 *     nobody uses it any more.
 * O2  Callbacks reach the object through its link, which does not keep it alive. */
#ifndef PYTHON_CLIENT_OBJECT_H
#define PYTHON_CLIENT_OBJECT_H

#include "module.h"

#include "client/blobs.h"
#include "client/client.h"
#include "client/commit.h"

struct transaction_object;

/** A transaction under way, and the files of its blobs. */
struct open_txn {
	struct client_txn *txn; /* NULL: none */
	struct blobs_txn files;
};

/** What callbacks know of the object. Its Python references are used with the GIL only. */
struct link {
	PyObject *ref;    /* a weak reference; NULL when the object is gone */
	PyObject *dialer; /* called to connect, or NULL */
};

struct client_object {
	PyObject ob_base;
	PyObject *weakrefs;
	struct state *st;
	struct client *client; /* NULL: not open */
	struct link *link;
	PyObject *finder;               /* closed before it; NULL */
	struct transaction_object *txn; /* the one that is open, or NULL; borrowed */
	struct open_txn orphan;         /* of a transaction object that is gone; close() ends it */
	struct blobs *blobs;            /* NULL: no folder for them */
	PyThread_type_lock idle;        /* released by the last user; close() waits for it */
	PyThread_type_lock telling;     /* held while a finish tells its function */
	unsigned long teller;           /* the thread that does; 0: none */
	uint64_t told_tid;              /* of that finish */
	unsigned users;
	pid_t owner; /* the process that has opened it */
	bool closed;
	bool last_closes; /* the last user frees the client */
	bool server_sync;
};

/** Count a user of the client. NULL with ClientDisconnected when it is closed. */
struct client *client_use(struct client_object *o);
void client_used(struct client_object *o);
/** The client, for what does not release the GIL; otherwise as client_use(). */
struct client *client_peek(struct client_object *o);

/** Make the link of an object that is being opened. 0 or -1 with an exception. */
MUST_CHECK int link_new(struct client_object *o, PyObject *dialer, struct client_options *ret);
/** The object goes. With the GIL. */
void link_cut(struct link *link);
/** Only when no callback can come any more. */
void link_free(struct link *link);
/** A callback runs on this thread. */
bool link_is_calling(void);
/** Around what a callback does: with the GIL. */
PyGILState_STATE link_call_begins(void);
void link_call_ends(PyGILState_STATE gil);

/** Raise what a call about one object failed with. Returns NULL. */
PyObject *raise_of_oid(struct client_object *o, uint64_t oid, const struct err *e);
/** Raise the server's exception. @reply is the whole answer. Returns NULL. */
PyObject *raise_reply(struct slice reply, enum encoding encoding);

/** Seconds, or None for the default, which is 0 here. 0 or -1 with an exception. */
MUST_CHECK int timeout_of(PyObject *o, uint32_t *ret_ms);

typedef PyObject *fast_method(
	PyObject *self, PyObject *const *args, Py_ssize_t n, PyObject *keywords);

/* client_load.c */
fast_method client_m_load, client_m_load_before, client_m_prefetch;
/* client_blob.c */
fast_method client_m_store_blob, client_m_load_blob;
PyObject *client_m_open_blobs(PyObject *self, PyObject *args);
/* client_call.c */
fast_method client_m_raw_call, client_m_cast;
PyObject *client_m_new_oid(PyObject *self, PyObject *unused);
PyObject *client_m_ping(PyObject *self, PyObject *unused);
PyObject *client_m_forget_cached(PyObject *self, PyObject *unused);
PyObject *client_m_sync(PyObject *self, PyObject *unused);
PyObject *client_m_info(PyObject *self, PyObject *unused);
PyObject *client_m_cache_stats(PyObject *self, PyObject *unused);
/* client_commit.c */
fast_method client_m_tpc_begin, client_m_store, client_m_check, client_m_delete, client_m_restore,
	client_m_undo, client_m_tpc_vote, client_m_tpc_finish, client_m_tpc_abort;

MUST_CHECK int client_type_add(PyObject *module, struct state *st);

#endif
