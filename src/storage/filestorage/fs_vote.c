/* Votes: serials against the index, quota, space on the disk. Nothing is written. */
#include "base/mem.h"
#include "storage/filestorage/fs.h"

enum {
	VOTE_INLINE = 256,       /* records; larger votes run on the pool */
	RESERVE_AHEAD = 4 << 20, /* bytes: most votes find their space reserved already */
};

typedef unsigned long long ull;

static int check_string(const struct buf *b, const char *what, struct err *e)
{
	if (b->len <= FS_STRING_MAX)
		return OK;
	return err_set(e, ERR_LIMIT, "%s (%zu bytes, %d is the most)", what, b->len, FS_STRING_MAX);
}

static int check_op(const struct txn_rec *rec, struct err *e)
{
	switch (rec->op) {
	case TXN_CHECK:
		return OK;
	case TXN_STORE:
		if (rec->data_len == 0)
			return err_set(e, ERR_INVAL, "a data record of no bytes for object %016llx",
				(ull)rec->oid);
		return OK;
	case TXN_RESTORE:
		return err_set(e, ERR_UNSUPPORTED, "restore is not offered by this server");
	case TXN_DELETE:
		return err_set(e, ERR_UNSUPPORTED, "deleteObject is not offered by this server");
	default:
		return err_set(e, ERR_UNSUPPORTED, "undo is not offered by this server");
	}
}

/* A tid of the last minute there is would leave none for those that follow. */
static int check_given_tid(struct filestorage *fs, const struct txn *t, struct err *e)
{
	if (t->given_tid == TID_NONE)
		return OK;
	if (t->given_tid <= pubchain_last_tid(fs->base.pubs))
		return err_set(e, ERR_INVAL, "tid %016llx is not newer than the last one",
			(ull)t->given_tid);
	if (t->given_tid >> 32 == UINT32_MAX)
		return err_set(e, ERR_INVAL, "tid %016llx is no time", (ull)t->given_tid);
	return OK;
}

/* What can be said without the file. */
static int check_txn(struct filestorage *fs, const struct txn *t, struct err *e)
{
	int rc = OK;

	if (!fs->writer)
		return err_set(e, ERR_READONLY, "the storage was opened read-only");
	if (log_writer_broken(fs->writer))
		return err_set(
			e, ERR_READONLY, "the storage is read-only after a failure of its disk");
	if ((rc = check_string(&t->user, "user name too long", e)) != OK ||
		(rc = check_string(&t->desc, "description too long", e)) != OK ||
		(rc = check_string(&t->ext, "too much extension data", e)) != OK)
		return rc;
	if (t->status != ' ' && t->status != 'p')
		return err_set(e, ERR_INVAL, "a transaction of status 0x%02x", t->status);
	rc = check_given_tid(fs, t, e);
	for (size_t i = 0; rc == OK && i < t->n_recs; i++)
		if (!t->recs[i].dropped)
			rc = check_op(&t->recs[i], e);
	return rc;
}

/* --- serials --- */

static int add_conflict(struct vote_req *v, const struct conflict *c)
{
	struct conflict *all = mem_realloc(v->conflicts, (v->n_conflicts + 1) * sizeof(*all));

	if (!all)
		return err_set(&v->err, ERR_NOMEM, "no memory for conflicts");
	all[v->n_conflicts++] = *c;
	v->conflicts = all;
	return OK;
}

static int check_new(
	const struct txn_rec *rec, struct conflict *c, bool *ret_conflict, struct err *e)
{
	if (rec->op == TXN_CHECK)
		c->missing = *ret_conflict = true;
	else if (rec->oid > FS_NEW_OID_MAX)
		return err_set(e, ERR_INVAL, "object id %016llx is too large for a new object",
			(ull)rec->oid);
	return OK; /* as FileStorage: a new object has no serial to compare with */
}

static int check_serial(struct data_file *d, const struct txn_rec *rec, bool may_block,
	struct conflict *c, bool *ret_conflict, struct err *e)
{
	uint64_t off = index_get(d->index, rec->oid);
	struct fs_rec_header h;
	uint64_t back;
	int rc;

	*ret_conflict = false;
	if (!off)
		return check_new(rec, c, ret_conflict, e);
	rc = fs_read_record(d, off, rec->oid, may_block, &h, &back, e);
	if (rc != OK)
		return rc;
	c->missing = rec->op == TXN_CHECK && h.plen == 0 && back == 0; /* creation undone */
	c->committed_serial = c->missing ? TID_NONE : h.tid;
	*ret_conflict = c->missing || h.tid != rec->serial;
	return OK;
}

static int check_serials(struct data_file *d, struct vote_req *v, bool may_block)
{
	const struct txn *t = v->txn;

	for (size_t i = 0; i < t->n_recs; i++) {
		const struct txn_rec *rec = &t->recs[i];
		struct conflict c = {
			.rec = i, .op = rec->op, .oid = rec->oid, .old_serial = rec->serial
		};
		bool found;
		int rc;

		if (rec->dropped)
			continue;
		rc = check_serial(d, rec, may_block, &c, &found, &v->err);
		if (rc == OK && found)
			rc = add_conflict(v, &c);
		if (rc != OK)
			return rc;
		if (found && !v->collect)
			break;
	}
	return v->n_conflicts ? ERR_CONFLICT : OK;
}

/* Reads that do not block borrow the file, those that may keep it. */
static int check_current(struct filestorage *fs, struct vote_req *v, bool may_block)
{
	struct data_file *d = may_block ? data_file_get(&fs->data) : data_file_borrow(&fs->data);
	int rc = check_serials(d, v, may_block);

	if (may_block)
		data_file_unref(d);
	else
		data_file_return();
	return rc;
}

/* --- space --- */

/* Bytes it takes, and where in it the last record starts. */
static uint64_t txn_bytes(const struct txn *t, uint64_t *ret_last_start)
{
	uint64_t n = FS_TXN_HEADER_LEN + t->user.len + t->desc.len + t->ext.len;

	*ret_last_start = 0;
	for (size_t i = 0; i < t->n_recs; i++) {
		if (!txn_rec_is_written(&t->recs[i]))
			continue;
		*ret_last_start = n;
		n += FS_REC_HEADER_LEN + log_writer_body_bytes(&t->recs[i]);
	}
	return n + 8;
}

/* Blocks on the disk from the end to *until, without a change of the file's size (R6); more than
 * is needed, if there is so much. */
static int reserve_blocks(struct data_file *d, uint64_t *until, struct err *e)
{
	struct disk_file *f = d->disk;
	uint64_t end = data_file_end(d);
	int rc;

	if (end >= *until)
		return OK; /* others have committed meanwhile: what is needed is counted anew */
	rc = f->ops->reserve(f, end, *until + RESERVE_AHEAD - end, e);

	if (rc == ERR_NOSPC)
		return f->ops->reserve(f, end, *until - end, e);
	*until += RESERVE_AHEAD;
	return rc;
}

/* ERR_AGAIN: there are blocks up to reserved_until, *ret_until is needed. The lock is held. */
static int take_space(struct filestorage *fs, struct txn *t, uint64_t *ret_until, struct err *e)
{
	uint64_t base = fs_end(fs) + fs->reserved;
	uint64_t last_start;
	uint64_t bytes = txn_bytes(t, &last_start);

	if (fs->options.quota_bytes && last_start && base + last_start > fs->options.quota_bytes)
		return err_set(e, ERR_QUOTA, "The storage quota has been exceeded.");
	*ret_until = base + bytes;
	if (*ret_until > fs->reserved_until)
		return ERR_AGAIN;
	fs->reserved += bytes;
	t->reserved_bytes = bytes;
	return OK;
}

static int reserve(struct filestorage *fs, struct txn *t, bool may_block, struct err *e)
{
	struct data_file *d;
	uint64_t until = 0;
	int rc;

	for (;;) {
		pthread_mutex_lock(&fs->space_lock);
		if (until > fs->reserved_until)
			fs->reserved_until = until;
		rc = take_space(fs, t, &until, e);
		pthread_mutex_unlock(&fs->space_lock);
		if (rc != ERR_AGAIN || !may_block)
			return rc;
		d = data_file_get(&fs->data);
		rc = reserve_blocks(d, &until, e); /* no lock is held meanwhile */
		data_file_unref(d);
		if (rc != OK)
			return rc;
	}
}

void fs_pin(struct filestorage *fs, struct txn *t)
{
	pthread_mutex_lock(&fs->pin_lock);
	while (fs->switching)
		pthread_cond_wait(&fs->unpinned, &fs->pin_lock);
	fs->pins += !t->pinned;
	t->pinned = true;
	pthread_mutex_unlock(&fs->pin_lock);
}

void fs_unpin(struct filestorage *fs, struct txn *t)
{
	if (!t->pinned)
		return;
	pthread_mutex_lock(&fs->pin_lock);
	fs->pins--;
	t->pinned = false;
	pthread_cond_broadcast(&fs->unpinned);
	pthread_mutex_unlock(&fs->pin_lock);
}

static void unreserve(struct filestorage *fs, struct txn *t, bool was_cut)
{
	pthread_mutex_lock(&fs->space_lock);
	fs->reserved -= t->reserved_bytes;
	t->reserved_bytes = 0;
	if (was_cut)
		fs->reserved_until = 0;
	pthread_mutex_unlock(&fs->space_lock);
	fs_unpin(fs, t);
}

void fs_abort(struct storage *s, struct txn *t)
{
	unreserve(fs_of(s), t, false);
}

void fs_settle(void *ctx, struct txn *t, int rc)
{
	unreserve(ctx, t, rc != OK);
}

/* --- the vote --- */

/* R10: what a client named is not handed out to another. */
static void keep_oids(struct filestorage *fs, const struct txn *t)
{
	for (size_t i = 0; i < t->n_recs; i++) {
		uint64_t next = atomic_load(&fs->next_oid);

		if (t->recs[i].op != TXN_STORE || t->recs[i].oid > FS_NEW_OID_MAX)
			continue;
		while (next <= t->recs[i].oid &&
			!atomic_compare_exchange_weak(&fs->next_oid, &next, t->recs[i].oid + 1))
			;
	}
}

/* ERR_AGAIN, when it may not block: nothing is held, ask again from the pool. */
static int vote(struct filestorage *fs, struct vote_req *v, bool may_block)
{
	int rc = check_txn(fs, v->txn, &v->err);

	v->conflicts = NULL;
	v->n_conflicts = 0;
	if (rc == OK)
		rc = check_current(fs, v, may_block);
	if (rc == OK || rc == ERR_CONFLICT)
		keep_oids(fs, v->txn);
	if (rc == OK)
		rc = reserve(fs, v->txn, may_block, &v->err);
	if (rc != OK && rc != ERR_CONFLICT) {
		mem_free(v->conflicts);
		v->conflicts = NULL;
		v->n_conflicts = 0;
	}
	return rc;
}

static void vote_work(struct job *j)
{
	struct vote_req *v = CONTAINER_OF(j, struct vote_req, job);

	v->rc = vote(fs_of(v->storage), v, true);
}

static void vote_done(struct job *j)
{
	struct vote_req *v = CONTAINER_OF(j, struct vote_req, job);

	v->done(v);
}

void fs_vote(struct storage *s, struct vote_req *v)
{
	v->storage = s;
	v->rc = v->txn->n_recs > VOTE_INLINE ? ERR_AGAIN : vote(fs_of(s), v, false);
	if (v->rc != ERR_AGAIN) {
		v->done(v);
		return;
	}
	v->job.work = vote_work;
	v->job.done = vote_done;
	v->exec->submit(v->exec, &v->job);
}
