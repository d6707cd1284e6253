/* Restore: a revision of another database, with its tid. Where it had the same data as an older revision,
 * and that one is here, too, it is a back-pointer again (T20). */
#include "storage/filestorage/fs_data.h"
#include "storage/filestorage/fs_vote.h"

/* Is the data of @rec that of the record at @off? One with a back-pointer is trusted, as ZODB does. */
static int is_same(struct fs_voting *w, const struct txn_rec *rec, uint64_t off,
	const struct fs_rec_header *h, bool *ret)
{
	struct err *e = &w->v->err;
	struct slice data;
	int rc;

	*ret = h->plen == 0;
	if (*ret)
		return OK;
	if (!rec->has_data)
		return err_set(e, ERR_INVAL,
			"restore of object %016llx without the data that its "
			"hint has",
			(unsigned long long)rec->oid);
	if (h->plen != rec->data_len)
		return OK;
	rc = fs_read_back(w->d, rec->oid, off, &w->data[0], e);
	if (rc == OK)
		rc = txn_data(w->v->txn, rec, &w->data[1], &data, e);
	if (rc == OK)
		*ret = slice_eq(data, buf_slice(&w->data[0]));
	return rc;
}

/* The object has no record of that transaction: does it exist at all? */
static int check_hint(struct fs_voting *w, uint64_t tid)
{
	struct fs_txn_walk t;
	int rc = fs_find_txn(w->d, tid, &t, &w->v->err);

	return rc == ERR_NOENT ? err_set(&w->v->err, ERR_UNDO, "Invalid transaction id") : rc;
}

int fs_restore(struct fs_voting *w, size_t i)
{
	struct txn_rec *rec = &w->v->txn->recs[i];
	struct fs_rec_header h;
	uint64_t off;
	uint64_t back;
	bool same;
	int rc;

	rec->back_off = 0;
	if (rec->prev_txn == TID_NONE)
		return OK;
	/* Along the object's revisions: a search through the whole file for each record of a copy would
	 * take for ever. */
	rc = fs_find_revision(w->d, rec->oid, rec->prev_txn, &off, &h, &back, &w->v->err);
	if (rc == OK && !off)
		return check_hint(w, rec->prev_txn);
	if (rc == OK)
		rc = is_same(w, rec, off, &h, &same);
	if (rc == OK && same)
		rec->back_off = off;
	return rc;
}
