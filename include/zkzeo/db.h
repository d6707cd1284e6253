/* libzkzeo: objects in a database.
 *
 * A connection sees the database as it was at one moment, its snapshot, whatever others commit; begin, commit and abort
 * give it a new one. Its objects are PersistentMappings, PersistentLists and objects of other classes, whose states are
 * values (value.h) that Python's ZODB reads and writes as well.
 *
 *     static int visit(struct zkzeo_connection *conn, void *arg, struct zkzeo_error *e) { ... }
 *     rc = zkzeo_db_run(db, visit, NULL, 5, NULL, NULL, &error);
 *
 * Threads: a database any; a connection and its objects one at a time. */
#ifndef ZKZEO_DB_H
#define ZKZEO_DB_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "zkzeo/client.h"
#include "zkzeo/error.h"
#include "zkzeo/value.h"

#ifdef __cplusplus
extern "C" {
#endif

struct zkzeo_db;
struct zkzeo_connection;
struct zkzeo_object;

#define ZKZEO_PMAPPING "persistent.mapping.PersistentMapping"
#define ZKZEO_PLIST    "persistent.list.PersistentList"

/** Zero is the default, in brackets. */
struct zkzeo_db_options {
	size_t size;          /* zkzeo_db_options_default() sets it */
	size_t cache_objects; /* of a connection that nobody holds [10,000] */
	size_t cache_bytes;   /* of their records [64 MiB] */
	size_t pool_size;     /* connections kept when they are closed [7] */
};

static inline struct zkzeo_db_options zkzeo_db_options_default(void)
{
	struct zkzeo_db_options o;

	memset(&o, 0, sizeof(o));
	o.size = sizeof(o);
	return o;
}

/** A database with a client of its own. @db_options NULL: the defaults. Errors as zkzeo_client_open(). */
ZKZEO_MUST_CHECK int zkzeo_db_open(const struct zkzeo_options *options,
	const struct zkzeo_db_options *db_options, struct zkzeo_db **ret, struct zkzeo_error *e);
/** A database on a client that is there, and closed later than the database. */
ZKZEO_MUST_CHECK int zkzeo_db_of_client(struct zkzeo_client *c,
	const struct zkzeo_db_options *db_options, struct zkzeo_db **ret, struct zkzeo_error *e);
/** Its connections are closed before. NULL is fine. */
ZKZEO_API void zkzeo_db_close(struct zkzeo_db *db);
ZKZEO_API struct zkzeo_client *zkzeo_db_client(struct zkzeo_db *db);

/**
 * Call @fn in a transaction and commit; after a conflict again, on a newer snapshot, @attempts times at most.
 * @fn  returns 0 to commit, ZKZEO_CONFLICT to be called again, another number to give up: that is returned then. It lets go of
 *      the objects it holds
 * @note, @ret_tid  NULL is fine
 */
ZKZEO_MUST_CHECK int zkzeo_db_run(struct zkzeo_db *db,
	int (*fn)(struct zkzeo_connection *conn, void *arg, struct zkzeo_error *e), void *arg,
	unsigned attempts, const struct zkzeo_note *note, uint64_t *ret_tid, struct zkzeo_error *e);

/* ---- connections ---- */

/** A connection from the pool, or a new one, in a transaction that has just begun. */
ZKZEO_MUST_CHECK int zkzeo_connection_open(
	struct zkzeo_db *db, struct zkzeo_connection **ret, struct zkzeo_error *e);
/** The database as it was before transaction @tid, for reading. ZKZEO_INVAL: @tid is later than the next one after the last. */
ZKZEO_MUST_CHECK int zkzeo_connection_open_before(
	struct zkzeo_db *db, uint64_t tid, struct zkzeo_connection **ret, struct zkzeo_error *e);
/** Changes are forgotten. Objects are let go of before. NULL is fine. */
ZKZEO_API void zkzeo_connection_close(struct zkzeo_connection *conn);
/** A new snapshot. ZKZEO_STATE: there are changes. */
ZKZEO_MUST_CHECK int zkzeo_connection_begin(struct zkzeo_connection *conn, struct zkzeo_error *e);
/**
 * Make the changes durable; a connection to a server is waited for. @note, @ret_tid NULL are fine; *ret_tid is ZKZEO_NO_TID when there was nothing to do.
 * ZKZEO_CONFLICT: somebody else was faster. ZKZEO_CLOSED: the connection to the server was lost; when that was in the last
 * step, nobody knows whether it is committed. After a failure the changes are gone.
 */
ZKZEO_MUST_CHECK int zkzeo_connection_commit(struct zkzeo_connection *conn,
	const struct zkzeo_note *note, uint64_t *ret_tid, struct zkzeo_error *e);
/** Forget the changes. */
ZKZEO_API void zkzeo_connection_abort(struct zkzeo_connection *conn);
/** The last transaction of the snapshot. */
ZKZEO_API uint64_t zkzeo_connection_snapshot(const struct zkzeo_connection *conn);
ZKZEO_API bool zkzeo_connection_is_changed(const struct zkzeo_connection *conn);

/* ---- objects: held until zkzeo_object_release() ---- */

/** The root, a PersistentMapping. */
ZKZEO_MUST_CHECK int zkzeo_connection_root(
	struct zkzeo_connection *conn, struct zkzeo_object **ret, struct zkzeo_error *e);
/** ZKZEO_NOKEY: no such object. ZKZEO_CONFLICT: it is not in this snapshot. */
ZKZEO_MUST_CHECK int zkzeo_connection_get(struct zkzeo_connection *conn, uint64_t oid,
	struct zkzeo_object **ret, struct zkzeo_error *e);
/** What a reference names. NULL is ZKZEO_NOENT, so that it takes what zkzeo_dict_get_str() gives. */
ZKZEO_MUST_CHECK int zkzeo_connection_follow(struct zkzeo_connection *conn,
	const struct zkzeo_value *reference, struct zkzeo_object **ret, struct zkzeo_error *e);
/** A new object of class @class_name ("module.name"), stored with the commit. @state is taken. Others find it when a state has a
 * zkzeo_object_reference() to it. */
ZKZEO_MUST_CHECK int zkzeo_connection_new(struct zkzeo_connection *conn, const char *class_name,
	struct zkzeo_value *state, struct zkzeo_object **ret, struct zkzeo_error *e);
/** A new PersistentMapping with @dict, or PersistentList with @list, which is taken. */
ZKZEO_MUST_CHECK int zkzeo_connection_new_mapping(struct zkzeo_connection *conn,
	struct zkzeo_value *dict, struct zkzeo_object **ret, struct zkzeo_error *e);
ZKZEO_MUST_CHECK int zkzeo_connection_new_list(struct zkzeo_connection *conn,
	struct zkzeo_value *list, struct zkzeo_object **ret, struct zkzeo_error *e);
/** Ask for objects that will be read. */
ZKZEO_MUST_CHECK int zkzeo_connection_prefetch(
	struct zkzeo_connection *conn, const uint64_t *oids, size_t n, struct zkzeo_error *e);

ZKZEO_API struct zkzeo_object *zkzeo_object_hold(struct zkzeo_object *o);
/** NULL is fine. */
ZKZEO_API void zkzeo_object_release(struct zkzeo_object *o);
ZKZEO_API uint64_t zkzeo_object_oid(const struct zkzeo_object *o);
/** The transaction of its state; ZKZEO_NO_TID: it is new. */
ZKZEO_API uint64_t zkzeo_object_serial(const struct zkzeo_object *o);
/** Dotted. */
ZKZEO_API const char *zkzeo_object_class(const struct zkzeo_object *o);
/** A reference to it for another object's state; NULL without memory. */
ZKZEO_API struct zkzeo_value *zkzeo_object_reference(const struct zkzeo_object *o);

/** The state. It lives until the transaction ends or the state is set, and is not to be changed. */
ZKZEO_MUST_CHECK int zkzeo_object_state(
	struct zkzeo_object *o, const struct zkzeo_value **ret, struct zkzeo_error *e);
/** The same, to be changed: it stays the object's, and is written with the commit. ZKZEO_UNSUPPORTED: a state that can only be read. */
ZKZEO_MUST_CHECK int zkzeo_object_change(
	struct zkzeo_object *o, struct zkzeo_value **ret, struct zkzeo_error *e);
/** Another state. Taken. ZKZEO_INVAL: a container or another object has it. */
ZKZEO_MUST_CHECK int zkzeo_object_set(
	struct zkzeo_object *o, struct zkzeo_value *state, struct zkzeo_error *e);
/** The dict of a PersistentMapping or the list of a PersistentList. ZKZEO_INVAL: it is neither. */
ZKZEO_MUST_CHECK int zkzeo_object_data(
	struct zkzeo_object *o, const struct zkzeo_value **ret, struct zkzeo_error *e);
ZKZEO_MUST_CHECK int zkzeo_object_change_data(
	struct zkzeo_object *o, struct zkzeo_value **ret, struct zkzeo_error *e);
/** The commit conflicts when somebody else has changed it by then. */
ZKZEO_MUST_CHECK int zkzeo_object_read_current(struct zkzeo_object *o, struct zkzeo_error *e);

#ifdef __cplusplus
}
#endif

#endif
