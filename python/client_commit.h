/* What a transaction keeps of a storage. */
#ifndef PYTHON_CLIENT_COMMIT_H
#define PYTHON_CLIENT_COMMIT_H

#include "client_object.h"

#include <structmember.h>

struct transaction_object {
	PyObject ob_base;
	struct client_object *owner;
	struct open_txn open;
	unsigned long long generation;
	bool busy; /* a thread is in one of its methods */
};

/** The caller ends it. */
struct open_txn transaction_take(struct transaction_object *t);
/** Without the GIL, which waits. @timeout_ms as client_txn_abort()'s */
void open_txn_abort(struct open_txn *x, struct blobs *blobs, uint32_t timeout_ms);

/**
 * What ZEO checks before each method: a writable storage, a transaction of this storage, the same connection. Then the client
 * and the transaction are in use, until transaction_done().
 * Returns NULL with an exception.
 */
struct client *transaction_check(struct client_object *o, PyObject *txn, const char *method,
	struct transaction_object **ret);
void transaction_done(struct client_object *o, struct transaction_object *t);

MUST_CHECK int transaction_type_add(PyObject *module, struct state *st);

#endif
