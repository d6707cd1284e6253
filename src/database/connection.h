/* The inside of connections: shared by the files of this folder. */
#ifndef DATABASE_CONNECTION_H
#define DATABASE_CONNECTION_H

#include <sys/types.h>

#include "database/changes.h"
#include "database/database.h"

/* GHOST <-> CLEAN -> CHANGED -> (CLEAN | GHOST); NEW -> (CLEAN | DEAD) */
enum persistent_status {
	PERSISTENT_GHOST, /* its state is to be loaded */
	PERSISTENT_CLEAN,
	PERSISTENT_CHANGED,
	PERSISTENT_NEW,
	PERSISTENT_DEAD, /* was new in a transaction that was not committed; in no table */
};

struct persistent {
	struct connection *conn;
	uint64_t oid;
	uint64_t serial;
	enum persistent_status status;
	unsigned refs;
	bool checked;  /* in conn->checked */
	bool merged;   /* what is committed is not this state */
	size_t bytes;  /* of the record the state was read from */
	char *dotted;  /* its class */
	bool has_args; /* its instances are made from something: references do not name the class */
	struct object_record record;
	char *blob_path; /* of a Blob that is new or changed: the file to be stored, which is ours */
	struct persistent *next_in_slot;
	struct persistent *older, *newer; /* of those with a state that nobody holds */
	bool is_idle;                     /* among them */
	struct persistent *next_changed, *next_checked;
};

/** A connection's objects by oid. Those that nobody holds and nobody has changed go when there are too many, the ones
 * that were not used for longest first. */
struct object_table {
	struct persistent **slots;
	size_t n_slots, n; /* a power of two */
	struct persistent *oldest, *newest;
	size_t n_idle, idle_bytes;
	size_t n_idle_max, idle_bytes_max;
};

struct connection {
	struct database *db;
	struct connection *next; /* in the pool */
	bool begun;
	bool historical; /* of one snapshot for ever */
	uint64_t start;  /* what is before it is seen */
	struct changes_cursor cursor;
	struct object_table table;
	struct persistent *changed; /* held by being in here */
	struct persistent *checked;
};

struct database {
	struct client *client;
	struct resolver *resolver;
	struct database_options options;
	pid_t pid; /* whose it is: in a child its locks may be held for ever (T31) */
	struct changes changes;
	pthread_mutex_t lock; /* the pool */
	struct connection *pool;
	size_t n_pool;
};

/** ERR_CLOSED in a child of the process that has opened it (T31). */
MUST_CHECK int database_check_fork(const struct database *db, struct err *e);
MUST_CHECK int connection_new(struct database *db, struct connection **ret, struct err *e);
void connection_free(struct connection *conn);
/** Begin when none has begun. */
MUST_CHECK int connection_use(struct connection *conn, struct err *e);
/** The changes are over: nothing is changed or checked any more. */
void connection_settle(struct connection *conn);

struct persistent *table_find(const struct object_table *t, uint64_t oid);
MUST_CHECK int table_put(struct object_table *t, struct persistent *p, struct err *e);
void table_remove(struct object_table *t, struct persistent *p);
/** It is held or changed; or neither any more. */
void table_busy(struct object_table *t, struct persistent *p);
void table_idle(struct object_table *t, struct persistent *p);
/** Let go of what is too much. */
void table_trim(struct object_table *t);

/** No state any more; freed when nobody holds it. */
void persistent_make_ghost(struct persistent *p);
/** Freed, out of the table. */
void persistent_free(struct persistent *p);
bool persistent_is_blob(const struct persistent *p);
/** Remove the file that was to be stored. */
void persistent_drop_blob(struct persistent *p);
struct blobs_txn;
MUST_CHECK int persistent_store_blob(struct persistent *p, struct client_txn *t,
	struct blobs_txn *stored, struct slice record, struct err *e);
void persistent_mark_changed(struct persistent *p, enum persistent_status status);

#endif
