/* A connection's changes become a transaction. */
#include "client/commit.h"
#include "client/blobs.h"

#include "base/arena.h"
#include "base/mem.h"
#include "database/connection.h"

/* What is said of the transaction to the other connections. */
struct committed {
	struct database *db;
	uint64_t *oids;
	size_t n;
};

/* On the thread that reads, where the invalidation would stand (R3). */
static void told(void *arg, uint64_t tid)
{
	const struct committed *c = arg;
	const struct database_options *o = &c->db->options;

	if (o->committed)
		o->committed(o->arg, tid, c->oids, c->n);
	else
		changes_add(&c->db->changes, tid, c->oids, c->n);
}

static int list_oids(struct connection *conn, struct committed *ret, struct err *e)
{
	size_t n = 0;

	for (struct persistent *p = conn->changed; p; p = p->next_changed)
		n++;
	ret->db = conn->db;
	ret->n = 0;
	ret->oids = mem_zalloc(n, sizeof(uint64_t));
	if (!ret->oids)
		return err_set(e, ERR_NOMEM, "no memory for a transaction");
	for (struct persistent *p = conn->changed; p; p = p->next_changed)
		ret->oids[ret->n++] = p->oid;
	return OK;
}

/* The extension as the wire has it. */
static int read_extension(const struct value *extension, struct arena *arena, struct buf *pickle,
	struct val *ret, struct err *e)
{
	*ret = (struct val){ .type = VAL_DICT };
	if (!extension)
		return OK;
	if (value_kind(extension) != VALUE_DICT)
		return err_set(e, ERR_INVAL, "a transaction's extension is a dict");
	return value_to_val(extension, arena, pickle, ret, e);
}

int commit_note_begin(struct client *c, const struct commit_note *note, uint64_t tid, char status,
	struct client_txn **ret, struct err *e)
{
	struct arena arena = ARENA_INIT(0);
	struct buf pickle = BUF_INIT(0);
	struct val extension;
	int rc = read_extension(note ? note->extension : NULL, &arena, &pickle, &extension, e);

	if (rc == OK)
		rc = client_txn_begin(c, slice_str(note && note->user ? note->user : ""),
			slice_str(note && note->description ? note->description : ""), &extension,
			tid, status, ret, e);
	arena_free(&arena);
	buf_free(&pickle);
	return rc;
}

static int store(struct client_txn *t, struct persistent *p, struct blobs_txn *blobs,
	struct buf *record, struct err *e)
{
	int rc;

	buf_reset(record);
	rc = object_write(&p->record, record, e);
	if (rc) {
		err_wrap(e, "object 0x%llx", (unsigned long long)p->oid);
		return rc;
	}
	p->bytes = record->len;
	if (persistent_is_blob(p))
		return persistent_store_blob(p, t, blobs, buf_slice(record), e);
	return client_txn_store(t, p->oid, p->serial, buf_slice(record), e);
}

static int store_all(
	struct connection *conn, struct client_txn *t, struct blobs_txn *blobs, struct err *e)
{
	struct buf record = BUF_INIT(0);
	int rc = OK;

	for (struct persistent *p = conn->changed; p && rc == OK; p = p->next_changed)
		rc = store(t, p, blobs, &record, e);
	for (struct persistent *p = conn->checked; p && rc == OK; p = p->next_checked)
		if (p->status == PERSISTENT_CLEAN) /* what is written is compared anyway */
			rc = client_txn_check(t, p->oid, p->serial, e);
	buf_free(&record);
	return rc;
}

static int vote(struct connection *conn, struct client_txn *t, struct err *e)
{
	const struct client_conflict *conflicts;
	size_t n = 0;
	int rc;

	if (conn->db->resolver)
		return client_txn_vote_resolving(t, conn->db->resolver, NULL, e);
	rc = client_txn_vote(t, &conflicts, &n, NULL, e);
	if (rc == OK && n)
		rc = err_set(e, ERR_CONFLICT, "object 0x%llx was changed meanwhile",
			(unsigned long long)conflicts[0].oid);
	return rc;
}

/* What was merged is not what was stored: it is loaded again. Its place in the list stays. */
static void mark_merged(struct connection *conn, const struct client_txn *t)
{
	const uint64_t *oids;
	size_t n;

	client_txn_resolved(t, &oids, &n);
	for (size_t i = 0; i < n; i++) {
		struct persistent *p = table_find(&conn->table, oids[i]);

		if (p)
			p->merged = true;
	}
}

static void settle_committed(struct connection *conn, uint64_t tid)
{
	while (conn->changed) {
		struct persistent *p = conn->changed;

		conn->changed = p->next_changed;
		p->status = PERSISTENT_CLEAN;
		p->serial = tid;
		if (p->merged) {
			p->merged = false;
			persistent_make_ghost(p);
		} else {
			table_idle(&conn->table, p);
		}
	}
	connection_settle(conn);
}

static void settle_blobs(struct blobs *blobs, struct blobs_txn *stored, uint64_t tid)
{
	if (blobs && tid != TID_NONE)
		blobs_finished(blobs, stored, tid);
	else if (blobs)
		blobs_aborted(blobs, stored);
}

/* Nothing was said to a server yet: a connection is waited for, as loads wait for it. */
static int await_connection(struct client *c, struct err *e)
{
	int rc = client_is_connected(c) ? OK : client_wait(c, 0, e);

	if (rc == ERR_TIMEOUT && e)
		e->code = ERR_CLOSED;
	return rc == ERR_TIMEOUT ? ERR_CLOSED : rc;
}

static int commit_changes(
	struct connection *conn, const struct commit_note *note, uint64_t *ret_tid, struct err *e)
{
	struct committed what = { 0 };
	struct client_txn *t = NULL;
	struct blobs_txn blobs = { 0 };
	int rc = list_oids(conn, &what, e);

	if (rc == OK)
		rc = await_connection(conn->db->client, e);
	if (rc == OK)
		rc = commit_note_begin(conn->db->client, note, TID_NONE, ' ', &t, e);
	if (rc == OK)
		rc = store_all(conn, t, &blobs, e);
	if (rc == OK)
		rc = vote(conn, t, e);
	if (rc == OK) {
		mark_merged(conn, t);
		rc = client_txn_finish(t, told, &what, ret_tid, NULL, e);
		t = NULL; /* freed in any case */
	}
	client_txn_abort(t, 0);
	settle_blobs(conn->db->options.blobs, &blobs, rc == OK ? *ret_tid : TID_NONE);
	mem_free(what.oids);
	return rc;
}

int connection_commit(
	struct connection *conn, const struct commit_note *note, uint64_t *ret_tid, struct err *e)
{
	uint64_t tid = TID_NONE;
	int rc = database_check_fork(conn->db, e);

	if (rc == OK && (conn->changed || conn->checked))
		rc = commit_changes(conn, note, &tid, e);
	if (rc) {
		connection_abort(conn);
		return rc;
	}
	settle_committed(conn, tid);
	if (ret_tid)
		*ret_tid = tid;
	return OK;
}
