/* Objects in a database: connections, each with one consistent snapshot of what a client sees.
 *
 * D1  All that a connection reads between two begins is the state after one transaction: the snapshot.
 * D2  What was committed by this connection is in its next snapshot.
 * D3  A begin sees every transaction that the client knew of when it was called; with server_sync, every one that was
 *     committed before.
 *
 * Threads: a database any; a connection and its objects one at a time, whichever. */
#ifndef DATABASE_DATABASE_H
#define DATABASE_DATABASE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/compiler.h"
#include "base/err.h"
#include "client/client.h"
#include "object/object.h"
#include "object/value.h"
#include "storage/resolver.h"

struct blobs;
struct client_txn;
struct database;
struct connection;
struct persistent;

/** Zero means the default in brackets. */
struct database_options {
	size_t cache_objects; /* of a connection's objects that nobody holds [10,000] */
	size_t cache_bytes;   /* of their records [64 MiB] */
	size_t pool_size;     /* connections that are kept when they are closed [7] */
	bool server_sync;     /* a begin asks the server what it has (D3) */
	struct blobs *blobs;  /* [none]; outlives the database */
	/** What a connection has committed, where its invalidation would stand (R3): who has several databases on a client
	 * tells all of them, with database_invalidate(). [only this one learns of it] */
	void (*committed)(void *arg, uint64_t tid, const uint64_t *oids, size_t n);
	void *arg;
};

/** What a transaction says of itself; NULL: nothing. */
struct commit_note {
	const char *user;
	const char *description;
	const struct value *extension; /* a dict */
};

/** client_txn_begin() with what @note says; NULL is fine. */
MUST_CHECK int commit_note_begin(struct client *c, const struct commit_note *note, uint64_t tid,
	char status, struct client_txn **ret, struct err *e);

/**
 * @c         outlives the database; its owner passes on what it is told: database_invalidate(), database_invalidate_all()
 * @resolver  of conflicts that the server leaves to its clients; NULL: they stay conflicts. Outlives the database
 */
MUST_CHECK int database_new(const struct database_options *o, struct client *c,
	struct resolver *resolver, struct database **ret, struct err *e);
/** All connections are closed. NULL is fine. */
void database_free(struct database *db);
/** As client_events. Threads: the one that reads. */
void database_invalidate(struct database *db, uint64_t tid, const uint64_t *oids, size_t n);
void database_invalidate_all(struct database *db);

/** A connection from the pool, or a new one; its first transaction has begun. */
MUST_CHECK int database_open(struct database *db, struct connection **ret, struct err *e);
/** One that shows the database as it was before transaction @tid, for reading only. ERR_INVAL: a tid that is in the future
 * as far as the server knows. */
MUST_CHECK int database_open_before(
	struct database *db, uint64_t tid, struct connection **ret, struct err *e);
/** Back to the pool, or freed; changes are dropped. All objects were let go of. NULL is fine. */
void connection_close(struct connection *conn);
struct client *database_client(struct database *db);

/**
 * Call @fn in a transaction and commit; after a conflict again, on a newer snapshot, @attempts times at most.
 * @fn  returns 0 to commit, ERR_CONFLICT to be called again, anything else to give up: that is returned then
 */
MUST_CHECK int database_run(struct database *db,
	int (*fn)(struct connection *conn, void *arg, struct err *e), void *arg, unsigned attempts,
	const struct commit_note *note, uint64_t *ret_tid, struct err *e);

/** A new snapshot. ERR_STATE: there are changes. */
MUST_CHECK int connection_begin(struct connection *conn, struct err *e);
/**
 * Make the changes durable. When nothing was changed or checked, *ret_tid is TID_NONE and no server is asked.
 * Returns 0; ERR_CONFLICT; ERR_READONLY; ERR_CLOSED (when it happens as the last step, nobody knows whether it was
 * committed); ... After a failure the changes are gone. The next transaction begins when it is used.
 */
MUST_CHECK int connection_commit(
	struct connection *conn, const struct commit_note *note, uint64_t *ret_tid, struct err *e);
/** Forget the changes. New objects are dead: whoever holds them can only let them go. */
void connection_abort(struct connection *conn);
/** The last transaction of the snapshot. */
uint64_t connection_snapshot(const struct connection *conn);
bool connection_is_changed(const struct connection *conn);

/**
 * The object @oid, its state loaded. It is held until persistent_unref(), and before the connection is closed.
 * Returns 0; ERR_NOKEY: there is none; ERR_CONFLICT: not in this snapshot (created later, or packed away);
 * what client_load_before() and object_read() return.
 */
MUST_CHECK int connection_get(
	struct connection *conn, uint64_t oid, struct persistent **ret, struct err *e);
/** The root, a PersistentMapping; an empty database gets one. */
MUST_CHECK int connection_root(struct connection *conn, struct persistent **ret, struct err *e);
/** What a VALUE_REFERENCE of this database names. */
MUST_CHECK int connection_follow(struct connection *conn, const struct value *reference,
	struct persistent **ret, struct err *e);
/** A new object of class @class ("module\nname"), stored with the commit. @state is taken. */
MUST_CHECK int connection_add(struct connection *conn, const char *class, struct value *state,
	struct persistent **ret, struct err *e);
/** A new Blob with the file at @path, which is taken: moved away by the commit, removed when there is none.
 * Returns 0; ERR_UNSUPPORTED: no blobs; ERR_INVAL, ERR_NOENT, ERR_IO: no such file; what connection_add() returns. */
MUST_CHECK int connection_add_blob(
	struct connection *conn, const char *path, struct persistent **ret, struct err *e);
/** Ask for objects that will be read. */
MUST_CHECK int connection_prefetch(
	struct connection *conn, const uint64_t *oids, size_t n, struct err *e);

/** Hold once more; let go. NULL is fine. */
struct persistent *persistent_ref(struct persistent *p);
void persistent_unref(struct persistent *p);
uint64_t persistent_oid(const struct persistent *p);
/** Of the state that is loaded; TID_NONE of a new object. */
uint64_t persistent_serial(const struct persistent *p);
/** Dotted; lives as long as the object is held. "" when its state was never read. */
const char *persistent_class(const struct persistent *p);
/** A reference to it, to be put into another object's state; NULL without memory. */
struct value *persistent_reference(const struct persistent *p);

/** The state, which lives until the transaction ends or the state is set. */
MUST_CHECK int persistent_state(struct persistent *p, const struct value **ret, struct err *e);
/** The same to be changed in place: the object is written with the commit. ERR_UNSUPPORTED: it can be read only. */
MUST_CHECK int persistent_change(struct persistent *p, struct value **ret, struct err *e);
/** Another state. Taken. */
MUST_CHECK int persistent_set(struct persistent *p, struct value *state, struct err *e);
/** The dict of a PersistentMapping, the list of a PersistentList. ERR_INVAL: it is neither. */
MUST_CHECK int persistent_data(struct persistent *p, const struct value **ret, struct err *e);
MUST_CHECK int persistent_change_data(struct persistent *p, struct value **ret, struct err *e);
/** Another file of a Blob, taken as connection_add_blob() does. */
MUST_CHECK int persistent_set_blob(struct persistent *p, const char *path, struct err *e);
/** Its file, for reading: the snapshot's, or what was set. */
MUST_CHECK int persistent_open_blob(struct persistent *p, int *ret_fd, struct err *e);
/** The commit fails with ERR_CONFLICT when this object is changed by then. */
MUST_CHECK int persistent_read_current(struct persistent *p, struct err *e);

#endif
