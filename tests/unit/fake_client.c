#include "fake_client.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/mem.h"
#include "client/blobs.h"
#include "database/database.h"

struct client_txn {
	struct client *c;
	struct fake_revision stores[1000];
	uint64_t serials[1000];
	size_t n;
	uint64_t checks[1000], check_serials[1000];
	size_t n_checks;
	uint64_t resolved;
};

static struct fake_revision *newest_before(struct client *c, uint64_t oid, uint64_t tid)
{
	for (size_t i = c->n_revisions; i-- > 0;)
		if (c->revisions[i].oid == oid && c->revisions[i].tid < tid)
			return &c->revisions[i];
	return NULL;
}

static uint64_t serial_of(struct client *c, uint64_t oid)
{
	struct fake_revision *r = newest_before(c, oid, UINT64_MAX);

	return r ? r->tid : 0;
}

static void keep(struct client *c, uint64_t oid, uint64_t tid, struct slice data)
{
	struct fake_revision *r = &c->revisions[c->n_revisions++];

	*r = (struct fake_revision){ oid, tid, malloc(data.len + 1), data.len };
	memcpy(r->data, data.data, data.len);
}

void fake_tell(struct client *c)
{
	while (c->n_told < c->n_revisions) {
		uint64_t tid = c->revisions[c->n_told].tid;
		uint64_t oids[1000];
		size_t n = 0;

		while (c->n_told < c->n_revisions && c->revisions[c->n_told].tid == tid)
			oids[n++] = c->revisions[c->n_told++].oid;
		database_invalidate(c->db, tid, oids, n);
		c->last_tid = tid;
	}
}

void fake_reconnect(struct client *c, bool show)
{
	if (!show) {
		database_invalidate_all(c->db);
		return;
	}
	c->n_told = c->n_revisions;
	c->last_tid = c->committed_tid;
}

void fake_commit(struct client *c, uint64_t oid, struct slice data)
{
	keep(c, oid, ++c->committed_tid, data);
	if (!c->holds_back)
		fake_tell(c);
}

void fake_free(struct client *c)
{
	for (size_t i = 0; i < c->n_revisions; i++)
		free(c->revisions[i].data);
	free(c);
}

uint64_t client_last_tid(const struct client *c)
{
	return c->last_tid;
}

int client_ping(struct client *c, struct err *e)
{
	c->n_pings++;
	fake_tell(c);
	return OK;
}

int client_new_oid(struct client *c, uint64_t *ret, struct err *e)
{
	*ret = ++c->next_oid;
	return OK;
}

int client_prefetch(struct client *c, const uint64_t *oids, size_t n, uint64_t tid, struct err *e)
{
	return OK;
}

int client_load_before(
	struct client *c, uint64_t oid, uint64_t tid, struct client_record *ret, struct err *e)
{
	struct fake_revision *r = newest_before(c, oid, tid);

	c->n_loads++;
	if (!r && !serial_of(c, oid))
		return err_set(e, ERR_NOKEY, "no object");
	if (!r)
		return err_set(e, ERR_NOENT, "no revision");
	*ret = (struct client_record){ slice_of(r->data, r->len), r->tid, 0, NULL };
	return OK;
}

void client_record_end(struct client_record *r)
{
}

bool client_is_connected(const struct client *c)
{
	return true;
}

int client_wait(struct client *c, uint32_t timeout_ms, struct err *e)
{
	return OK;
}

int client_txn_begin(struct client *c, struct slice user, struct slice desc, const struct val *ext,
	uint64_t tid, char status, struct client_txn **ret, struct err *e)
{
	*ret = calloc(1, sizeof(**ret));
	(*ret)->c = c;
	return OK;
}

int client_txn_store(
	struct client_txn *t, uint64_t oid, uint64_t serial, struct slice data, struct err *e)
{
	struct fake_revision *r = &t->stores[t->n];

	t->serials[t->n++] = serial;
	*r = (struct fake_revision){ oid, 0, malloc(data.len + 1), data.len };
	memcpy(r->data, data.data, data.len);
	return OK;
}

int client_txn_check(struct client_txn *t, uint64_t oid, uint64_t serial, struct err *e)
{
	t->c->n_checks++;
	t->checks[t->n_checks] = oid;
	t->check_serials[t->n_checks++] = serial;
	return OK;
}

int client_txn_vote(struct client_txn *t, const struct client_conflict **ret_conflicts,
	size_t *ret_n, struct client_failure *failure, struct err *e)
{
	*ret_n = 0;
	if (t->c->fail_vote)
		return err_set(e, t->c->fail_vote, "told to fail");
	for (size_t i = 0; i < t->n; i++) {
		if (serial_of(t->c, t->stores[i].oid) == t->serials[i])
			continue;
		if (!t->c->resolves || t->stores[i].oid != t->c->resolves)
			return err_set(e, ERR_CONFLICT, "conflict");
		t->resolved = t->stores[i].oid;
	}
	for (size_t i = 0; i < t->n_checks; i++)
		if (serial_of(t->c, t->checks[i]) != t->check_serials[i])
			return err_set(e, ERR_CONFLICT, "read conflict");
	return OK;
}

int client_txn_vote_resolving(
	struct client_txn *t, struct resolver *r, struct client_failure *failure, struct err *e)
{
	const struct client_conflict *conflicts;
	size_t n;

	return client_txn_vote(t, &conflicts, &n, failure, e);
}

void client_txn_resolved(const struct client_txn *t, const uint64_t **ret, size_t *ret_n)
{
	*ret = &t->resolved;
	*ret_n = t->resolved != 0;
}

void client_txn_abort(struct client_txn *t, uint32_t timeout_ms)
{
	for (size_t i = 0; t && i < t->n; i++)
		free(t->stores[i].data);
	free(t);
}

int client_txn_finish(struct client_txn *t, void (*told)(void *arg, uint64_t tid), void *arg,
	uint64_t *ret_tid, struct client_failure *failure, struct err *e)
{
	struct client *c = t->c;
	int rc = c->fail_finish;
	uint64_t tid = c->committed_tid + 1;

	if (rc == OK) {
		fake_tell(c); /* what was before it in the stream */
		c->committed_tid = tid;
		for (size_t i = 0; i < t->n; i++)
			keep(c, t->stores[i].oid, tid,
				slice_of(t->stores[i].data, t->stores[i].len));
		c->n_told = c->n_revisions;
		told(arg, tid);
		c->last_tid = tid;
		c->n_commits++;
		*ret_tid = tid;
	} else {
		err_set(e, rc, "told to fail");
	}
	client_txn_abort(t, 0);
	return rc;
}

/* --- blobs: a revision's file is gone, and its record there --- */

int blobs_store(struct blobs *b, struct blobs_txn *t, struct client_txn *txn, uint64_t oid,
	uint64_t serial, struct slice data, const char *path, struct err *e)
{
	txn->c->n_blobs_stored++;
	unlink(path);
	return client_txn_store(txn, oid, serial, data, e);
}

void blobs_finished(struct blobs *b, struct blobs_txn *t, uint64_t tid)
{
}

void blobs_aborted(struct blobs *b, struct blobs_txn *t)
{
}

int blobs_open_file(struct blobs *b, uint64_t oid, uint64_t serial, int *ret_fd, char *out,
	size_t room, struct err *e)
{
	*ret_fd = -1;
	return OK;
}
