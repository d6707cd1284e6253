#include "database/connection.h"

#include "base/mem.h"
#include "codec/tid.h"

int connection_new(struct database *db, struct connection **ret, struct err *e)
{
	struct connection *conn = mem_zalloc(1, sizeof(*conn));

	if (!conn)
		return err_set(e, ERR_NOMEM, "no memory for a connection");
	conn->db = db;
	conn->table.n_idle_max = db->options.cache_objects;
	conn->table.idle_bytes_max = db->options.cache_bytes;
	*ret = conn;
	return OK;
}

/* Each object of the table; @fn may remove it. */
static void each(struct connection *conn, void (*fn)(struct persistent *p))
{
	for (size_t i = 0; i < conn->table.n_slots; i++) {
		struct persistent *p = conn->table.slots[i];

		while (p) {
			struct persistent *next = p->next_in_slot;

			fn(p);
			p = next;
		}
	}
}

void connection_free(struct connection *conn)
{
	if (!conn)
		return;
	each(conn, persistent_free);
	mem_free(conn->table.slots);
	mem_free(conn);
}

static void invalidate(struct persistent *p)
{
	if (p->status == PERSISTENT_CLEAN)
		persistent_make_ghost(p);
}

static void changed_elsewhere(void *arg, uint64_t oid, uint64_t tid)
{
	struct connection *conn = arg;
	struct persistent *p = table_find(&conn->table, oid);

	if (p && p->serial < tid) /* else it is what this connection has committed */
		invalidate(p);
}

static void take_snapshot(struct connection *conn)
{
	/* first the tid, then what has changed: all up to it was told (T4) */
	uint64_t tid = client_last_tid(conn->db->client);

	if (!changes_advance(&conn->db->changes, &conn->cursor, tid, changed_elsewhere, conn))
		each(conn, invalidate);
	conn->start = tid + 1;
}

int connection_begin(struct connection *conn, struct err *e)
{
	int rc = database_check_fork(conn->db, e);

	if (rc == OK && conn->changed)
		rc = err_set(e, ERR_STATE,
			"a transaction with changes is to be committed or aborted first");
	if (rc == OK && conn->db->options.server_sync && !conn->historical)
		rc = client_ping(conn->db->client, e);
	if (rc)
		return rc;
	connection_settle(conn);
	if (!conn->historical)
		take_snapshot(conn);
	conn->begun = true;
	return OK;
}

int connection_use(struct connection *conn, struct err *e)
{
	return conn->begun ? OK : connection_begin(conn, e);
}

void connection_settle(struct connection *conn)
{
	while (conn->checked) {
		struct persistent *p = conn->checked;

		conn->checked = p->next_checked;
		p->checked = false;
		if (p->status == PERSISTENT_GHOST && !p->refs)
			persistent_free(p);
		else
			table_idle(&conn->table, p);
	}
	conn->begun = false;
	table_trim(&conn->table);
}

static void forget_change(struct persistent *p)
{
	p->merged = false;
	persistent_drop_blob(p);
	if (p->status == PERSISTENT_CHANGED) {
		persistent_make_ghost(p);
		return;
	}
	table_remove(&p->conn->table, p);
	p->status = PERSISTENT_DEAD;
	if (!p->refs)
		persistent_free(p);
}

void connection_abort(struct connection *conn)
{
	while (conn->changed) {
		struct persistent *p = conn->changed;

		conn->changed = p->next_changed;
		forget_change(p);
	}
	connection_settle(conn);
}

uint64_t connection_snapshot(const struct connection *conn)
{
	return conn->start - 1;
}

bool connection_is_changed(const struct connection *conn)
{
	return conn->changed;
}

static struct persistent *make(struct connection *conn, uint64_t oid, struct err *e)
{
	struct persistent *p = mem_zalloc(1, sizeof(*p));

	if (!p) {
		err_set(e, ERR_NOMEM, "no memory for an object");
		return NULL;
	}
	p->conn = conn;
	p->oid = oid;
	if (table_put(&conn->table, p, e) == OK)
		return p;
	mem_free(p);
	return NULL;
}

int connection_get(struct connection *conn, uint64_t oid, struct persistent **ret, struct err *e)
{
	const struct value *state;
	struct persistent *p;
	int rc = connection_use(conn, e);

	if (rc)
		return rc;
	p = table_find(&conn->table, oid);
	if (!p)
		p = make(conn, oid, e);
	if (!p)
		return ERR_NOMEM;
	persistent_ref(p);
	rc = persistent_state(p, &state, e);
	if (rc == OK)
		*ret = p;
	else
		persistent_unref(p);
	return rc;
}

int connection_follow(struct connection *conn, const struct value *reference,
	struct persistent **ret, struct err *e)
{
	struct reference r = value_as_reference(reference);

	if (value_kind(reference) != VALUE_REFERENCE)
		return err_set(e, ERR_INVAL, "no reference: there is nothing to be followed");
	if (r.database)
		return err_set(
			e, ERR_UNSUPPORTED, "a reference into the database '%s'", r.database);
	return connection_get(conn, r.oid, ret, e);
}

/* @state is taken. */
static int add(struct connection *conn, uint64_t oid, const char *class, struct value *state,
	struct persistent **ret, struct err *e)
{
	struct object_record record;
	struct persistent *p;
	int rc = object_make(class, state, &record, e);

	if (rc)
		return rc;
	p = make(conn, oid, e);
	if (!p) {
		object_free(&record);
		return ERR_NOMEM;
	}
	p->record = record;
	p->dotted = object_dotted(class);
	if (!p->dotted) {
		persistent_free(p);
		return err_set(e, ERR_NOMEM, "no memory for an object");
	}
	persistent_ref(p);
	persistent_mark_changed(p, PERSISTENT_NEW);
	*ret = p;
	return OK;
}

int connection_add(struct connection *conn, const char *class, struct value *state,
	struct persistent **ret, struct err *e)
{
	uint64_t oid = 0;
	int rc = connection_use(conn, e);

	if (rc == OK && conn->historical)
		rc = err_set(e, ERR_READONLY, "a connection to the past is for reading only");
	if (rc == OK)
		rc = client_new_oid(conn->db->client, &oid, e);
	if (rc) {
		value_free(state);
		return rc;
	}
	return add(conn, oid, class, state, ret, e);
}

int connection_root(struct connection *conn, struct persistent **ret, struct err *e)
{
	struct value *state = NULL;
	int rc = connection_get(conn, OID_ROOT, ret, e);

	if (rc != ERR_NOKEY || conn->historical)
		return rc;
	rc = object_state_of_data(value_dict(), &state, e);
	return rc ? rc : add(conn, OID_ROOT, OBJECT_MAPPING, state, ret, e);
}

int connection_prefetch(struct connection *conn, const uint64_t *oids, size_t n, struct err *e)
{
	int rc = connection_use(conn, e);

	return rc ? rc : client_prefetch(conn->db->client, oids, n, conn->start, e);
}
