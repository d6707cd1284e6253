/* What a transaction keeps of a storage. */
#ifndef PYTHON_CLIENT_COMMIT_H
#define PYTHON_CLIENT_COMMIT_H

#include "client_object.h"

#include <structmember.h>

struct transaction_object {
	PyObject ob_base;
	struct client_object *owner;
	struct client_txn *txn; /* NULL: ended */
	unsigned long long generation;
	PyObject *blobs;
	bool busy; /* a thread is in one of its methods */
};

/** The caller ends it. NULL: it has ended. */
struct client_txn *transaction_take(struct transaction_object *t);

MUST_CHECK int transaction_type_add(PyObject *module, struct state *st);

#endif
