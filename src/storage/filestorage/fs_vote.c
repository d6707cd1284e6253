/* Votes: serials against the index, what undo and restore write, quota, space on the disk. Nothing is
 * written. */
#include <string.h>

#include "base/mem.h"
#include "base/os.h"
#include "storage/filestorage/fs_vote.h"

enum {
	VOTE_INLINE = 256,       /* records; larger votes run on the pool */
	RECORDS_A_GO = 256,      /* there; then loops have their turn */
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
	if (rec->has_data && rec->data_len == 0)
		return err_set(e, ERR_INVAL, "a data record of no bytes for object %016llx",
			(ull)rec->oid);
	return OK;
}

/* A revision from behind its transaction could not be seen by anybody. */
static int check_restored_tid(const struct txn *t, const struct txn_rec *rec, struct err *e)
{
	if (rec->op != TXN_RESTORE || rec->serial <= t->given_tid)
		return OK;
	return err_set(e, ERR_INVAL,
		"restore of object %016llx as of %016llx, after its transaction's tid %016llx",
		(ull)rec->oid, (ull)rec->serial, (ull)t->given_tid);
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
	for (size_t i = 0; rc == OK && i < t->n_recs; i++) {
		if (t->recs[i].dropped)
			continue;
		rc = check_op(&t->recs[i], e);
		if (rc == OK)
			rc = check_restored_tid(t, &t->recs[i], e);
	}
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
	if (rec->op == TXN_CHECK || rec->op == TXN_DELETE)
		c->missing = *ret_conflict = true;
	else if (rec->oid > FS_NEW_OID_MAX)
		return err_set(e, ERR_INVAL, "object id %016llx is too large for a new object",
			(ull)rec->oid);
	return OK; /* as FileStorage: a new object has no serial to compare with */
}

/* The revisions of an object stand in the order of their tids. */
static int check_restored(const struct txn_rec *rec, uint64_t current, struct err *e)
{
	if (rec->serial > current)
		return OK;
	return err_set(e, ERR_INVAL,
		"restore of object %016llx as of %016llx, which is not newer than %016llx",
		(ull)rec->oid, (ull)rec->serial, (ull)current);
}

static int check_serial(
	struct fs_voting *w, const struct txn_rec *rec, struct conflict *c, bool *ret_conflict)
{
	uint64_t off = index_get(w->d->index, rec->oid);
	struct fs_rec_header h;
	uint64_t back;
	int rc;

	*ret_conflict = false;
	if (!off)
		return check_new(rec, c, ret_conflict, &w->v->err);
	rc = fs_read_record(w->d, off, rec->oid, w->may_block, &h, &back, &w->v->err);
	if (rc != OK)
		return rc;
	if (rec->op == TXN_RESTORE)
		return check_restored(rec, h.tid, &w->v->err);
	c->missing = rec->op == TXN_CHECK && h.plen == 0 && back == 0; /* creation undone */
	c->committed_serial = c->missing ? TID_NONE : h.tid;
	*ret_conflict = c->missing || h.tid != rec->serial;
	return OK;
}

/* ERR_CONFLICT: it stays one. */
static int resolve(struct fs_voting *w, const struct conflict *c)
{
	if (c->op != TXN_STORE || w->v->collect || !w->v->resolver)
		return ERR_CONFLICT;
	return w->may_block ? fs_resolve_store(w, c->rec, c->committed_serial) : ERR_AGAIN;
}

/* What a store, check, restore or deletion has to agree with. ERR_CONFLICT: the vote ends. */
static int check_record(struct fs_voting *w, size_t i)
{
	const struct txn_rec *rec = &w->v->txn->recs[i];
	struct conflict c = { .rec = i, .op = rec->op, .oid = rec->oid, .old_serial = rec->serial };
	bool found;
	int rc = check_serial(w, rec, &c, &found);

	if (rc == OK && found) {
		rc = resolve(w, &c);
		if (rc == ERR_CONFLICT)
			rc = add_conflict(w->v, &c);
		if (rc == OK && w->v->n_conflicts && !w->v->collect)
			rc = ERR_CONFLICT;
	}
	if (rc == OK && rec->op == TXN_RESTORE)
		rc = fs_restore(w, i);
	return rc;
}

/* In the order in which they came: what fails first is the answer. */
static int check_records(struct fs_voting *w)
{
	const struct txn *t = w->v->txn;
	size_t n = t->n_recs; /* without those that undo adds */

	for (size_t i = 0; i < n; i++) {
		int rc = OK;

		if (t->recs[i].op == TXN_UNDO)
			rc = fs_undo(w, i);
		else if (!t->recs[i].dropped)
			rc = check_record(w, i);
		if (w->may_block && i % RECORDS_A_GO == RECORDS_A_GO - 1)
			os_give_way();
		if (rc != OK)
			return rc;
	}
	return w->v->n_conflicts ? ERR_CONFLICT : OK;
}

int fs_oid_list_add(struct fs_oid_list *l, uint64_t oid, struct err *e)
{
	if (l->n == l->room) {
		size_t room = l->room ? l->room * 2 : 16;
		uint64_t *oids = mem_realloc(l->oids, room * sizeof(*oids));

		if (!oids)
			return err_set(e, ERR_NOMEM, "no memory for the oids of a transaction");
		l->oids = oids;
		l->room = room;
	}
	l->oids[l->n++] = oid;
	return OK;
}

/* What was undone, then what was resolved: the order of ZEO's answer. */
static int tell_changed(struct fs_voting *w)
{
	for (size_t i = 0; i < w->resolved.n; i++) {
		int rc = fs_oid_list_add(&w->undone, w->resolved.oids[i], &w->v->err);

		if (rc != OK)
			return rc;
	}
	w->v->changed_oids = w->undone.oids;
	w->v->n_changed_oids = w->undone.n;
	w->v->n_resolved = w->resolved.n;
	w->undone.oids = NULL;
	return OK;
}

/* Reads that do not block borrow the file, those that may keep it. */
static int check_current(struct filestorage *fs, struct vote_req *v, bool may_block)
{
	struct fs_voting w = { .fs = fs, .v = v, .may_block = may_block };
	int rc;

	w.d = may_block ? data_file_get(&fs->data) : data_file_borrow(&fs->data);
	rc = check_records(&w);
	if (may_block)
		data_file_unref(w.d);
	else
		data_file_return();
	if (rc == OK)
		rc = txn_place_voted(v->txn, &v->err);
	if (rc == OK)
		rc = tell_changed(&w);
	for (size_t i = 0; i < ARRAY_LEN(w.data); i++)
		buf_free(&w.data[i]);
	index_free(w.own);
	mem_free(w.undone.oids);
	mem_free(w.resolved.oids);
	return rc;
}

/* --- space --- */

/* Bytes it takes, and where in it the last record starts that a quota counts: as ZODB, which
 * lets undo and restore pass. */
static uint64_t txn_bytes(const struct txn *t, uint64_t *ret_last_start)
{
	uint64_t n = FS_TXN_HEADER_LEN + t->user.len + t->desc.len + t->ext.len;

	*ret_last_start = 0;
	for (size_t i = 0; i < t->n_recs; i++) {
		if (!txn_rec_is_written(&t->recs[i]))
			continue;
		if (!t->recs[i].made_of && t->recs[i].op != TXN_RESTORE)
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
	uint64_t epoch = 0; /* of what until was found for */
	int rc;

	for (;;) {
		pthread_mutex_lock(&fs->space_lock);
		/* what was reserved while the file was cut, or replaced by a pack, may be lost */
		if (epoch == fs->space_epoch && until > fs->reserved_until)
			fs->reserved_until = until;
		epoch = fs->space_epoch;
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
	if (was_cut) {
		fs->reserved_until = 0;
		fs->space_epoch++;
	}
	pthread_mutex_unlock(&fs->space_lock);
	fs_unpin(fs, t);
}

void fs_abort(struct storage *s, struct txn *t)
{
	struct filestorage *fs = fs_of(s);

	if (t->expected && log_writer_unexpect(fs->writer, t))
		fs_wake_writer(fs);
	unreserve(fs, t, false);
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

		if ((t->recs[i].op != TXN_STORE && t->recs[i].op != TXN_RESTORE) ||
			t->recs[i].oid > FS_NEW_OID_MAX)
			continue;
		while (next <= t->recs[i].oid &&
			!atomic_compare_exchange_weak(&fs->next_oid, &next, t->recs[i].oid + 1))
			;
	}
}

/* Nothing of a vote is left. */
static void reset(struct filestorage *fs, struct vote_req *v)
{
	fs_unpin(fs, v->txn);
	txn_drop_voted(v->txn);
	mem_free(v->changed_oids);
	v->changed_oids = NULL;
	v->n_changed_oids = v->n_resolved = 0;
}

static void forget_conflicts(struct vote_req *v)
{
	mem_free(v->conflicts);
	v->conflicts = NULL;
	v->n_conflicts = 0;
}

static void forget_undo_failures(struct vote_req *v)
{
	mem_free(v->undo_failures);
	v->undo_failures = NULL;
	v->n_undo_failures = 0;
}

/* Does it look at more than what is current, and take offsets? */
static bool needs_file(const struct txn *t)
{
	for (size_t i = 0; i < t->n_recs; i++)
		if (t->recs[i].op == TXN_UNDO || t->recs[i].op == TXN_RESTORE)
			return true;
	return false;
}

/* ERR_AGAIN, when it may not block: nothing is held, ask again from the pool. */
static int vote(struct filestorage *fs, struct vote_req *v, bool may_block)
{
	int rc = check_txn(fs, v->txn, &v->err);

	forget_conflicts(v);
	if (rc == OK && needs_file(v->txn)) {
		if (!may_block)
			return ERR_AGAIN;
		fs_pin(fs, v->txn);
	}
	if (rc == OK)
		rc = check_current(fs, v, may_block);
	if (rc == OK || rc == ERR_CONFLICT)
		keep_oids(fs, v->txn);
	if (rc == OK)
		rc = fs_vote_blobs(fs, v->txn, &v->err);
	if (rc == OK)
		rc = reserve(fs, v->txn, may_block, &v->err);
	if (rc != OK)
		reset(fs, v);
	if (rc != ERR_CONFLICT)
		forget_conflicts(v);
	if (rc != ERR_UNDO)
		forget_undo_failures(v);
	if (rc == OK)
		log_writer_expect(fs->writer, v->txn);
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

/* The results of an earlier one are the caller's. */
static void clear_results(struct vote_req *v)
{
	v->conflicts = NULL;
	v->changed_oids = NULL;
	v->undo_failures = NULL;
	v->n_conflicts = v->n_changed_oids = v->n_resolved = v->n_undo_failures = 0;
}

void fs_vote(struct storage *s, struct vote_req *v)
{
	v->storage = s;
	clear_results(v);
	txn_drop_voted(v->txn); /* of a vote before, when the client has resolved conflicts since */
	v->rc = v->txn->n_recs > VOTE_INLINE || v->txn->n_blobs ? ERR_AGAIN
								: vote(fs_of(s), v, false);
	if (v->rc != ERR_AGAIN) {
		v->done(v);
		return;
	}
	v->job.work = vote_work;
	v->job.done = vote_done;
	v->exec->submit(v->exec, &v->job);
}
