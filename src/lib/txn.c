/* Two-phase commit for programs. */
#include "base/mem.h"
#include "client/commit.h"
#include "codec/tid.h"
#include "lib/api.h"
#include <zkzeo/blob.h>

struct zkzeo_txn {
	struct zkzeo_client *client;
	struct client_txn *txn;
	uint64_t *oids; /* that were changed, for the databases */
	size_t n_oids, room;
	struct blobs_txn blobs;
	bool voted;
};

struct commit_note api_note(const struct zkzeo_note *note)
{
	struct commit_note ret = { 0 };

	if (note)
		ret = (struct commit_note){ note->user, note->description,
			const_value_of(note->extension) };
	return ret;
}

int zkzeo_txn_begin(struct zkzeo_client *c, const struct zkzeo_note *note, struct zkzeo_txn **ret,
	struct zkzeo_error *e)
{
	return zkzeo_txn_begin_as(c, note, TID_NONE, ' ', ret, e);
}

int zkzeo_txn_begin_as(struct zkzeo_client *c, const struct zkzeo_note *note, uint64_t tid,
	char status, struct zkzeo_txn **ret, struct zkzeo_error *e)
{
	struct zkzeo_txn *t = mem_zalloc(1, sizeof(*t));
	struct commit_note n = api_note(note);
	int rc;

	if (!t)
		return err_set(err_of(e), ERR_NOMEM, "no memory for a transaction");
	t->client = c;
	rc = commit_note_begin(c->client, &n, tid, status, &t->txn, err_of(e));
	if (rc)
		mem_free(t);
	else
		*ret = t;
	return rc;
}

static int note_oid(struct zkzeo_txn *t, uint64_t oid, struct err *e)
{
	size_t room = t->room ? t->room * 2 : 16;
	uint64_t *oids;

	if (t->n_oids == t->room) {
		oids = mem_realloc(t->oids, room * sizeof(*oids));
		if (!oids)
			return err_set(e, ERR_NOMEM, "no memory for a transaction");
		t->oids = oids;
		t->room = room;
	}
	t->oids[t->n_oids++] = oid;
	return OK;
}

static int may_change(struct zkzeo_txn *t, struct err *e)
{
	return t->voted ? err_set(e, ERR_STATE, "the transaction has voted already") : OK;
}

static int check_data(const void *data, size_t len, struct err *e)
{
	return data && len ? OK : err_set(e, ERR_INVAL, "no data: a record was expected");
}

/* Before something that changes @oid. */
static int begin_change(struct zkzeo_txn *t, uint64_t oid, struct err *e)
{
	int rc = may_change(t, e);

	return rc ? rc : note_oid(t, oid, e);
}

int zkzeo_txn_store(struct zkzeo_txn *t, uint64_t oid, uint64_t serial, const void *data,
	size_t len, struct zkzeo_error *e)
{
	int rc = check_data(data, len, err_of(e));

	if (rc == OK)
		rc = begin_change(t, oid, err_of(e));
	return rc ? rc : client_txn_store(t->txn, oid, serial, slice_of(data, len), err_of(e));
}

int zkzeo_txn_store_blob(struct zkzeo_txn *t, uint64_t oid, uint64_t serial, const void *data,
	size_t len, const char *path, struct zkzeo_error *e)
{
	int rc = check_data(data, len, err_of(e));

	if (rc == OK)
		rc = begin_change(t, oid, err_of(e));
	if (rc == OK && !t->client->blobs)
		rc = err_set(err_of(e), ERR_UNSUPPORTED, "no blobs: the client has no blob_dir");
	return rc ? rc
		  : blobs_store(t->client->blobs, &t->blobs, t->txn, oid, serial,
			    slice_of(data, len), path, err_of(e));
}

int zkzeo_txn_check(struct zkzeo_txn *t, uint64_t oid, uint64_t serial, struct zkzeo_error *e)
{
	int rc = may_change(t, err_of(e));

	return rc ? rc : client_txn_check(t->txn, oid, serial, err_of(e));
}

int zkzeo_txn_delete(struct zkzeo_txn *t, uint64_t oid, uint64_t serial, struct zkzeo_error *e)
{
	int rc = begin_change(t, oid, err_of(e));

	return rc ? rc : client_txn_delete(t->txn, oid, serial, err_of(e));
}

int zkzeo_txn_restore(struct zkzeo_txn *t, uint64_t oid, uint64_t serial, const void *data,
	size_t len, uint64_t data_tid, struct zkzeo_error *e)
{
	int rc = begin_change(t, oid, err_of(e));

	return rc ? rc
		  : client_txn_restore(t->txn, oid, serial, slice_of(data, len), data != NULL,
			    data_tid, err_of(e));
}

int zkzeo_txn_undo(struct zkzeo_txn *t, uint64_t tid, struct zkzeo_error *e)
{
	int rc = may_change(t, err_of(e));

	return rc ? rc : client_txn_undo(t->txn, tid, err_of(e));
}

/* What was undone is changed as well. */
static int note_resolved(struct zkzeo_txn *t, struct err *e)
{
	const uint64_t *oids;
	size_t n;
	int rc = OK;

	client_txn_resolved(t->txn, &oids, &n);
	for (size_t i = 0; i < n && rc == OK; i++)
		rc = note_oid(t, oids[i], e);
	return rc;
}

int zkzeo_txn_vote(struct zkzeo_txn *t, struct zkzeo_error *e)
{
	int rc = may_change(t, err_of(e));

	if (rc == OK)
		rc = client_txn_vote_resolving(t->txn, &t->client->resolver.base, NULL, err_of(e));
	if (rc == OK)
		rc = note_resolved(t, err_of(e));
	if (rc == OK)
		t->voted = true;
	return rc;
}

void zkzeo_txn_resolved(const struct zkzeo_txn *t, const uint64_t **ret, size_t *ret_n)
{
	*ret_n = 0;
	*ret = NULL;
	if (t->voted)
		client_txn_resolved(t->txn, ret, ret_n);
}

/* @tid  TID_NONE: it was not committed */
static void free_txn(struct zkzeo_txn *t, uint64_t tid)
{
	if (t->client->blobs && tid != TID_NONE)
		blobs_finished(t->client->blobs, &t->blobs, tid);
	else if (t->client->blobs)
		blobs_aborted(t->client->blobs, &t->blobs);

	mem_free(t->oids);
	mem_free(t);
}

/* As an invalidation of somebody else's transaction would be told (R3): the databases on this client have not made it. */
static void told(void *arg, uint64_t tid)
{
	const struct zkzeo_txn *t = arg;

	api_invalidate(t->client, tid, t->oids, t->n_oids);
}

int zkzeo_txn_finish(struct zkzeo_txn *t, uint64_t *ret_tid, struct zkzeo_error *e)
{
	uint64_t tid;
	int rc = t->voted ? OK : zkzeo_txn_vote(t, e);

	if (rc) {
		zkzeo_txn_abort(t);
		return rc;
	}
	rc = client_txn_finish(t->txn, told, t, &tid, NULL, err_of(e));
	if (rc == OK && ret_tid)
		*ret_tid = tid;
	free_txn(t, rc == OK ? tid : TID_NONE);
	return rc;
}

void zkzeo_txn_abort(struct zkzeo_txn *t)
{
	if (!t)
		return;
	client_txn_abort(t->txn, 0);
	free_txn(t, TID_NONE);
}
