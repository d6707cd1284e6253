#include "base/mem.h"
#include "codec/tid.h"
#include "database/connection.h"

void persistent_free(struct persistent *p)
{
	if (p->status != PERSISTENT_DEAD)
		table_remove(&p->conn->table, p);
	object_free(&p->record);
	mem_free(p->blob_path);
	mem_free(p->dotted);
	mem_free(p);
}

/* Nobody holds it: what has no state has no use. */
static void let_go(struct persistent *p)
{
	if (p->refs || p->checked || p->status == PERSISTENT_CHANGED || p->status == PERSISTENT_NEW)
		return;
	if (p->status == PERSISTENT_CLEAN)
		table_idle(&p->conn->table, p);
	else
		persistent_free(p);
}

void persistent_make_ghost(struct persistent *p)
{
	table_busy(&p->conn->table, p);
	object_free(&p->record);
	p->status = PERSISTENT_GHOST;
	let_go(p);
}

struct persistent *persistent_ref(struct persistent *p)
{
	p->refs++;
	table_busy(&p->conn->table, p);
	return p;
}

void persistent_unref(struct persistent *p)
{
	struct object_table *t;

	if (!p || --p->refs)
		return;
	if (p->status == PERSISTENT_DEAD) {
		persistent_free(p);
		return;
	}
	t = &p->conn->table;
	let_go(p);
	table_trim(t);
}

uint64_t persistent_oid(const struct persistent *p)
{
	return p->oid;
}

uint64_t persistent_serial(const struct persistent *p)
{
	return p->serial;
}

const char *persistent_class(const struct persistent *p)
{
	return p->dotted ? p->dotted : "";
}

struct value *persistent_reference(const struct persistent *p)
{
	struct reference r = { .oid = p->oid };
	struct value *v = NULL;
	char *class = NULL;

	/* of a class whose instances take arguments ZODB names no class either */
	if (!p->dotted || p->has_args)
		return value_reference(&r);
	class = p->record.class ? mem_strdup(p->record.class) : object_class(p->dotted);
	r.class = class;
	if (class)
		v = value_reference(&r);
	mem_free(class);
	return v;
}

static int load(struct persistent *p, struct err *e)
{
	struct connection *conn = p->conn;
	struct object_record record = { 0 };
	struct client_record r = { 0 };
	char *dotted = NULL;
	int rc = client_load_before(conn->db->client, p->oid, conn->start, &r, e);

	if (rc == ERR_NOENT)
		return err_set(e, ERR_CONFLICT,
			"object 0x%llx is not in this snapshot: it was created after it, or a "
			"pack has removed it",
			(unsigned long long)p->oid);
	if (rc)
		return rc;
	rc = object_read(r.data, &record, e);
	if (rc)
		err_wrap(e, "object 0x%llx", (unsigned long long)p->oid);
	if (rc == OK) {
		dotted = object_dotted(record.class);
		if (!dotted)
			rc = err_set(e, ERR_NOMEM, "no memory for an object");
	}
	if (rc == OK) {
		object_free(&p->record);
		mem_free(p->dotted);
		p->dotted = dotted;
		p->record = record;
		p->has_args = record.args;
		p->serial = r.serial;
		p->bytes = r.data.len;
		p->status = PERSISTENT_CLEAN;
		let_go(p);
	} else {
		object_free(&record);
	}
	client_record_end(&r);
	return rc;
}

static int activate(struct persistent *p, struct err *e)
{
	int rc;

	if (p->status == PERSISTENT_DEAD)
		return err_set(e, ERR_STATE,
			"object 0x%llx was new in a transaction that was not committed",
			(unsigned long long)p->oid);
	rc = connection_use(p->conn, e);
	if (rc == OK && p->status == PERSISTENT_GHOST)
		rc = load(p, e);
	return rc;
}

int persistent_state(struct persistent *p, const struct value **ret, struct err *e)
{
	int rc = activate(p, e);

	if (rc == OK)
		*ret = p->record.state;
	return rc;
}

void persistent_mark_changed(struct persistent *p, enum persistent_status status)
{
	table_busy(&p->conn->table, p);
	p->status = status;
	p->next_changed = p->conn->changed;
	p->conn->changed = p;
}

static int make_changeable(struct persistent *p, struct err *e)
{
	int rc = activate(p, e);

	if (rc == OK && p->conn->historical)
		rc = err_set(e, ERR_READONLY, "a connection to the past is for reading only");
	if (rc == OK && persistent_is_blob(p))
		rc = err_set(e, ERR_INVAL, "object 0x%llx is a blob: what can be set is its file",
			(unsigned long long)p->oid);
	return rc;
}

int persistent_change(struct persistent *p, struct value **ret, struct err *e)
{
	int rc = make_changeable(p, e);

	if (rc)
		return rc;
	if (p->record.fixed)
		return err_set(e, ERR_UNSUPPORTED,
			"object 0x%llx (%s) can be read only, not changed: %s",
			(unsigned long long)p->oid, p->dotted, p->record.fixed);
	if (p->status == PERSISTENT_CLEAN)
		persistent_mark_changed(p, PERSISTENT_CHANGED);
	*ret = p->record.state;
	return OK;
}

int persistent_set(struct persistent *p, struct value *state, struct err *e)
{
	struct value *own;
	int rc = make_changeable(p, e);

	if (rc == OK && state && state == p->record.state)
		return persistent_change(p, &own, e);
	if (rc == OK)
		rc = object_set_state(&p->record, state, e);
	if (rc) {
		value_free(state);
		return rc;
	}
	if (p->status == PERSISTENT_CLEAN)
		persistent_mark_changed(p, PERSISTENT_CHANGED);
	return OK;
}

static int no_data(const struct persistent *p, struct err *e)
{
	return err_set(e, ERR_INVAL,
		"object 0x%llx is a %s: a PersistentMapping or PersistentList was expected",
		(unsigned long long)p->oid, p->dotted);
}

int persistent_data(struct persistent *p, const struct value **ret, struct err *e)
{
	struct value *data;
	int rc = activate(p, e);

	if (rc)
		return rc;
	data = object_data(&p->record);
	if (!data)
		return no_data(p, e);
	*ret = data;
	return OK;
}

int persistent_change_data(struct persistent *p, struct value **ret, struct err *e)
{
	const struct value *data;
	struct value *state;
	int rc = persistent_data(p, &data, e);

	if (rc == OK)
		rc = persistent_change(p, &state, e);
	if (rc == OK)
		*ret = object_data(&p->record);
	return rc;
}

int persistent_read_current(struct persistent *p, struct err *e)
{
	int rc = activate(p, e);

	if (rc || p->checked || p->status == PERSISTENT_NEW)
		return rc;
	table_busy(&p->conn->table, p);
	p->checked = true;
	p->next_checked = p->conn->checked;
	p->conn->checked = p;
	return OK;
}
