/* Conflict resolution at vote: the three states are read here, what is made of them is the resolver's. */
#include "storage/filestorage/fs_data.h"
#include "storage/filestorage/fs_vote.h"
#include "storage/resolver.h"

/* The data of the revision of @tid. ERR_NOKEY: there is no such one, or it has none. */
static int load_serial(struct fs_voting *w, uint64_t oid, uint64_t tid, struct buf *out)
{
	struct fs_rec_header h;
	uint64_t off = 0;
	uint64_t back;
	int rc = OK;

	if (tid != TID_NONE)
		rc = fs_find_revision(w->d, oid, tid, &off, &h, &back, &w->v->err);
	return rc == OK ? fs_read_back(w->d, oid, off, out, &w->v->err) : rc;
}

int fs_resolve(struct fs_voting *w, uint64_t oid, uint64_t committed_serial, uint64_t old_serial,
	struct slice committed, struct slice changed, struct buf *ret)
{
	struct resolver *resolver = w->v->resolver;
	struct resolve_req q = {
		.oid = oid,
		.committed_serial = committed_serial,
		.old_serial = old_serial,
		.committed = committed,
		.changed = changed,
	};
	int rc;

	if (!resolver)
		return ERR_CONFLICT;
	rc = load_serial(w, oid, old_serial, &w->data[2]);
	if (rc == ERR_NOKEY)
		return ERR_CONFLICT;
	if (rc != OK)
		return rc;
	q.old = buf_slice(&w->data[2]);
	return resolver->resolve(resolver, &q, ret, &w->v->err);
}

int fs_resolve_store(struct fs_voting *w, size_t i, uint64_t committed_serial)
{
	struct txn *t = w->v->txn;
	struct txn_rec *rec = &t->recs[i];
	struct buf spilled = BUF_INIT(0);
	struct slice changed;
	int rc = load_serial(w, rec->oid, committed_serial, &w->data[0]);

	if (rc == ERR_NOKEY)
		return ERR_CONFLICT;
	if (rc == OK)
		rc = txn_data(t, rec, &spilled, &changed, &w->v->err);
	buf_reset(&w->data[1]);
	if (rc == OK)
		rc = fs_resolve(w, rec->oid, committed_serial, rec->serial, buf_slice(&w->data[0]),
			changed, &w->data[1]);
	if (rc == OK)
		rc = txn_set_data(t, i, buf_slice(&w->data[1]), &w->v->err);
	if (rc == OK)
		rc = fs_oid_list_add(&w->resolved, rec->oid, &w->v->err);
	buf_free(&spilled);
	return rc;
}
