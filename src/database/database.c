#include "database/database.h"

#include <unistd.h>

#include "base/mem.h"
#include "codec/tid.h"
#include "database/connection.h"

enum {
	CACHE_OBJECTS = 10000,
	CACHE_BYTES = 64 << 20,
	POOL_SIZE = 7,
	CHANGES_MAX = 1 << 17, /* oids */
};

int database_new(const struct database_options *o, struct client *c, struct resolver *resolver,
	struct database **ret, struct err *e)
{
	struct database *db = mem_zalloc(1, sizeof(*db));

	if (!db)
		return err_set(e, ERR_NOMEM, "no memory for a database");
	db->pid = getpid();
	db->client = c;
	db->resolver = resolver;
	db->options = *o;
	if (!o->cache_objects)
		db->options.cache_objects = CACHE_OBJECTS;
	if (!o->cache_bytes)
		db->options.cache_bytes = CACHE_BYTES;
	if (!o->pool_size)
		db->options.pool_size = POOL_SIZE;
	changes_init(&db->changes, CHANGES_MAX);
	pthread_mutex_init(&db->lock, NULL);
	*ret = db;
	return OK;
}

void database_free(struct database *db)
{
	bool forked = db && database_check_fork(db, NULL) != OK;

	if (!db)
		return;
	while (db->pool) {
		struct connection *conn = db->pool;

		db->pool = conn->next;
		connection_free(conn);
	}
	changes_free(&db->changes, forked);
	if (!forked)
		pthread_mutex_destroy(&db->lock);
	mem_free(db);
}

struct client *database_client(struct database *db)
{
	return db->client;
}

void database_invalidate(struct database *db, uint64_t tid, const uint64_t *oids, size_t n)
{
	changes_add(&db->changes, tid, oids, n);
}

void database_invalidate_all(struct database *db)
{
	changes_all(&db->changes, client_last_tid(db->client));
}

int database_check_fork(const struct database *db, struct err *e)
{
	if (db->pid == getpid())
		return OK;
	return err_set(
		e, ERR_CLOSED, "the database was opened before a fork: a child opens its own");
}

/* The one that was used last has the most of what is current. */
static struct connection *take_pooled(struct database *db)
{
	struct connection *conn;

	pthread_mutex_lock(&db->lock);
	conn = db->pool;
	if (conn) {
		db->pool = conn->next;
		db->n_pool--;
	}
	pthread_mutex_unlock(&db->lock);
	return conn;
}

int database_open(struct database *db, struct connection **ret, struct err *e)
{
	struct connection *conn = NULL;
	int rc = database_check_fork(db, e);

	if (rc == OK)
		conn = take_pooled(db);
	if (rc == OK && !conn)
		rc = connection_new(db, &conn, e);
	if (rc)
		return rc;
	rc = connection_begin(conn, e);
	if (rc == OK)
		*ret = conn;
	else
		connection_close(conn);
	return rc;
}

/* What comes before @tid is known, and stays as it is (D1). */
static int check_past(struct database *db, uint64_t tid, struct err *e)
{
	int rc = OK;

	if (tid == TID_NONE)
		return err_set(e, ERR_INVAL, "a tid was expected: before it is what is shown");
	if (tid - 1 > client_last_tid(db->client)) /* others may know of more */
		rc = client_ping(db->client, e);
	if (rc == OK && tid - 1 > client_last_tid(db->client))
		rc = err_set(e, ERR_INVAL,
			"tid 0x%016llx is in the future: the last transaction is 0x%016llx",
			(unsigned long long)tid, (unsigned long long)client_last_tid(db->client));
	return rc;
}

int database_open_before(struct database *db, uint64_t tid, struct connection **ret, struct err *e)
{
	struct connection *conn = NULL;
	int rc = database_check_fork(db, e);

	if (rc == OK)
		rc = check_past(db, tid, e);
	if (rc == OK)
		rc = connection_new(db, &conn, e);
	if (rc)
		return rc;
	conn->historical = true;
	conn->begun = true;
	conn->start = tid;
	*ret = conn;
	return OK;
}

void connection_close(struct connection *conn)
{
	struct database *db = conn ? conn->db : NULL;

	if (!conn)
		return;
	connection_abort(conn);
	if (!conn->historical && db->pid == getpid()) {
		pthread_mutex_lock(&db->lock);
		if (db->n_pool < db->options.pool_size) {
			conn->next = db->pool;
			db->pool = conn;
			db->n_pool++;
			conn = NULL;
		}
		pthread_mutex_unlock(&db->lock);
	}
	connection_free(conn);
}

int database_run(struct database *db, int (*fn)(struct connection *conn, void *arg, struct err *e),
	void *arg, unsigned attempts, const struct commit_note *note, uint64_t *ret_tid,
	struct err *e)
{
	struct connection *conn = NULL;
	int rc = database_open(db, &conn, e);

	if (rc)
		return rc;
	do {
		rc = connection_use(conn, e);
		if (rc == OK)
			rc = fn(conn, arg, e);
		if (rc == OK)
			rc = connection_commit(conn, note, ret_tid, e);
		else
			connection_abort(conn);
	} while (rc == ERR_CONFLICT && attempts-- > 1);
	connection_close(conn);
	return rc;
}
