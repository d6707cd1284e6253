/* Databases for programs. */
#include <unistd.h>

#include "base/mem.h"
#include "lib/api.h"

static struct connection *conn_of(struct zkzeo_connection *conn)
{
	return (struct connection *)conn;
}

static struct persistent *object_of(struct zkzeo_object *o)
{
	return (struct persistent *)o;
}

static const struct persistent *const_object_of(const struct zkzeo_object *o)
{
	return (const struct persistent *)o;
}

static void attach(struct zkzeo_db *db)
{
	struct zkzeo_client *c = db->client;

	pthread_mutex_lock(&c->lock);
	db->next = c->dbs;
	c->dbs = db;
	pthread_mutex_unlock(&c->lock);
}

static void detach(struct zkzeo_db *db)
{
	struct zkzeo_db **at = &db->client->dbs;

	if (db->client->pid != getpid())
		return; /* of a child's memory only: nothing is told there */
	pthread_mutex_lock(&db->client->lock);
	while (*at && *at != db)
		at = &(*at)->next;
	if (*at)
		*at = db->next;
	pthread_mutex_unlock(&db->client->lock);
}

/* A database's own commits are news to the others on its client. */
static void on_committed(void *arg, uint64_t tid, const uint64_t *oids, size_t n)
{
	api_invalidate(arg, tid, oids, n);
}

int zkzeo_db_of_client(struct zkzeo_client *c, const struct zkzeo_db_options *options,
	struct zkzeo_db **ret, struct zkzeo_error *e)
{
	struct zkzeo_db_options o = zkzeo_db_options_default();
	struct database_options d = { .server_sync = c->server_sync,
		.blobs = c->blobs,
		.committed = on_committed,
		.arg = c };
	struct zkzeo_db *db;
	int rc;

	if (options && (options->size < sizeof(size_t) || options->size > (1 << 16)))
		return err_set(err_of(e), ERR_INVAL,
			"options without their size: zkzeo_db_options_default()");
	if (options)
		memcpy(&o, options, options->size < sizeof(o) ? options->size : sizeof(o));
	d.cache_objects = o.cache_objects;
	d.cache_bytes = o.cache_bytes;
	d.pool_size = o.pool_size;
	if (c->pid != getpid())
		return err_set(err_of(e), ERR_CLOSED,
			"the client was opened before a fork: a child opens its own");
	db = mem_zalloc(1, sizeof(*db));
	if (!db)
		return err_set(err_of(e), ERR_NOMEM, "no memory for a database");
	db->client = c;
	rc = database_new(&d, c->client, &c->resolver.base, &db->database, err_of(e));
	if (rc) {
		mem_free(db);
		return rc;
	}
	attach(db);
	*ret = db;
	return OK;
}

int zkzeo_db_open(const struct zkzeo_options *options, const struct zkzeo_db_options *db_options,
	struct zkzeo_db **ret, struct zkzeo_error *e)
{
	struct zkzeo_client *c = NULL;
	int rc = zkzeo_client_open(options, &c, e);

	if (rc)
		return rc;
	rc = zkzeo_db_of_client(c, db_options, ret, e);
	if (rc)
		zkzeo_client_close(c);
	else
		(*ret)->owns_client = true;
	return rc;
}

void zkzeo_db_close(struct zkzeo_db *db)
{
	if (!db)
		return;
	detach(db);
	database_free(db->database);
	if (db->owns_client)
		zkzeo_client_close(db->client);
	mem_free(db);
}

struct zkzeo_client *zkzeo_db_client(struct zkzeo_db *db)
{
	return db->client;
}

struct run {
	int (*fn)(struct zkzeo_connection *conn, void *arg, struct zkzeo_error *e);
	void *arg;
};

static int run_once(struct connection *conn, void *arg, struct err *e)
{
	const struct run *r = arg;

	return r->fn((struct zkzeo_connection *)conn, r->arg, (struct zkzeo_error *)e);
}

int zkzeo_db_run(struct zkzeo_db *db,
	int (*fn)(struct zkzeo_connection *conn, void *arg, struct zkzeo_error *e), void *arg,
	unsigned attempts, const struct zkzeo_note *note, uint64_t *ret_tid, struct zkzeo_error *e)
{
	struct run r = { fn, arg };
	struct commit_note n = api_note(note);

	return database_run(db->database, run_once, &r, attempts, &n, ret_tid, err_of(e));
}

/* --- connections --- */

int zkzeo_connection_open(struct zkzeo_db *db, struct zkzeo_connection **ret, struct zkzeo_error *e)
{
	return database_open(db->database, (struct connection **)ret, err_of(e));
}

int zkzeo_connection_open_before(
	struct zkzeo_db *db, uint64_t tid, struct zkzeo_connection **ret, struct zkzeo_error *e)
{
	return database_open_before(db->database, tid, (struct connection **)ret, err_of(e));
}

void zkzeo_connection_close(struct zkzeo_connection *conn)
{
	connection_close(conn_of(conn));
}

int zkzeo_connection_begin(struct zkzeo_connection *conn, struct zkzeo_error *e)
{
	return connection_begin(conn_of(conn), err_of(e));
}

int zkzeo_connection_commit(struct zkzeo_connection *conn, const struct zkzeo_note *note,
	uint64_t *ret_tid, struct zkzeo_error *e)
{
	struct commit_note n = api_note(note);

	return connection_commit(conn_of(conn), &n, ret_tid, err_of(e));
}

void zkzeo_connection_abort(struct zkzeo_connection *conn)
{
	connection_abort(conn_of(conn));
}

uint64_t zkzeo_connection_snapshot(const struct zkzeo_connection *conn)
{
	return connection_snapshot((const struct connection *)conn);
}

bool zkzeo_connection_is_changed(const struct zkzeo_connection *conn)
{
	return connection_is_changed((const struct connection *)conn);
}

int zkzeo_connection_root(
	struct zkzeo_connection *conn, struct zkzeo_object **ret, struct zkzeo_error *e)
{
	return connection_root(conn_of(conn), (struct persistent **)ret, err_of(e));
}

int zkzeo_connection_get(struct zkzeo_connection *conn, uint64_t oid, struct zkzeo_object **ret,
	struct zkzeo_error *e)
{
	return connection_get(conn_of(conn), oid, (struct persistent **)ret, err_of(e));
}

int zkzeo_connection_follow(struct zkzeo_connection *conn, const struct zkzeo_value *reference,
	struct zkzeo_object **ret, struct zkzeo_error *e)
{
	if (!reference)
		return err_set(err_of(e), ERR_NOENT, "no value: a reference was expected");
	return connection_follow(
		conn_of(conn), const_value_of(reference), (struct persistent **)ret, err_of(e));
}

int zkzeo_connection_new(struct zkzeo_connection *conn, const char *class_name,
	struct zkzeo_value *state, struct zkzeo_object **ret, struct zkzeo_error *e)
{
	char *class = NULL;
	int rc = api_class(class_name, &class, err_of(e));

	if (rc) {
		zkzeo_value_free(state);
		return rc;
	}
	rc = connection_add(
		conn_of(conn), class, value_of(state), (struct persistent **)ret, err_of(e));
	mem_free(class);
	return rc;
}

static int new_of_data(struct zkzeo_connection *conn, const char *class, enum value_kind kind,
	struct value *data, struct zkzeo_object **ret, struct err *e)
{
	struct value *state = NULL;
	int rc;

	if (data && value_kind(data) != kind) {
		value_free(data);
		return err_set(e, ERR_INVAL, "the data of a %s is a %s",
			kind == VALUE_DICT ? "PersistentMapping" : "PersistentList",
			kind == VALUE_DICT ? "dict" : "list");
	}
	rc = object_state_of_data(data, &state, e);
	return rc ? rc : connection_add(conn_of(conn), class, state, (struct persistent **)ret, e);
}

int zkzeo_connection_new_mapping(struct zkzeo_connection *conn, struct zkzeo_value *dict,
	struct zkzeo_object **ret, struct zkzeo_error *e)
{
	return new_of_data(conn, OBJECT_MAPPING, VALUE_DICT, value_of(dict), ret, err_of(e));
}

int zkzeo_connection_new_list(struct zkzeo_connection *conn, struct zkzeo_value *list,
	struct zkzeo_object **ret, struct zkzeo_error *e)
{
	return new_of_data(conn, OBJECT_LIST, VALUE_LIST, value_of(list), ret, err_of(e));
}

int zkzeo_connection_prefetch(
	struct zkzeo_connection *conn, const uint64_t *oids, size_t n, struct zkzeo_error *e)
{
	return connection_prefetch(conn_of(conn), oids, n, err_of(e));
}

/* --- objects --- */

struct zkzeo_object *zkzeo_object_hold(struct zkzeo_object *o)
{
	return (struct zkzeo_object *)persistent_ref(object_of(o));
}

void zkzeo_object_release(struct zkzeo_object *o)
{
	persistent_unref(object_of(o));
}

uint64_t zkzeo_object_oid(const struct zkzeo_object *o)
{
	return persistent_oid(const_object_of(o));
}

uint64_t zkzeo_object_serial(const struct zkzeo_object *o)
{
	return persistent_serial(const_object_of(o));
}

const char *zkzeo_object_class(const struct zkzeo_object *o)
{
	return persistent_class(const_object_of(o));
}

struct zkzeo_value *zkzeo_object_reference(const struct zkzeo_object *o)
{
	return api_value(persistent_reference(const_object_of(o)));
}

int zkzeo_object_state(
	struct zkzeo_object *o, const struct zkzeo_value **ret, struct zkzeo_error *e)
{
	return persistent_state(object_of(o), (const struct value **)ret, err_of(e));
}

int zkzeo_object_change(struct zkzeo_object *o, struct zkzeo_value **ret, struct zkzeo_error *e)
{
	return persistent_change(object_of(o), (struct value **)ret, err_of(e));
}

int zkzeo_object_set(struct zkzeo_object *o, struct zkzeo_value *state, struct zkzeo_error *e)
{
	return persistent_set(object_of(o), value_of(state), err_of(e));
}

int zkzeo_object_data(struct zkzeo_object *o, const struct zkzeo_value **ret, struct zkzeo_error *e)
{
	return persistent_data(object_of(o), (const struct value **)ret, err_of(e));
}

int zkzeo_object_change_data(
	struct zkzeo_object *o, struct zkzeo_value **ret, struct zkzeo_error *e)
{
	return persistent_change_data(object_of(o), (struct value **)ret, err_of(e));
}

int zkzeo_object_read_current(struct zkzeo_object *o, struct zkzeo_error *e)
{
	return persistent_read_current(object_of(o), err_of(e));
}
