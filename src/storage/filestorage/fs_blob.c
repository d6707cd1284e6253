/* A FileStorage's blobs: which revisions there are, votes, undo. */
#include <limits.h>

#include "base/log.h"
#include "storage/blob/blob_dir.h"
#include "storage/blob/blob_removals.h"
#include "storage/blob/blob_txn.h"
#include "storage/filestorage/fs.h"

bool fs_has_revision(void *ctx, uint64_t oid, uint64_t tid)
{
	struct filestorage *fs = ctx;
	struct data_file *d = data_file_get(&fs->data);
	uint64_t off = index_get(d->index, oid);
	struct fs_rec_header h = { .tid = TID_MAX };
	struct err e = ERR_INIT;
	uint64_t back;
	int rc = OK;

	while (rc == OK && off && h.tid > tid) {
		rc = fs_read_record(d, off, oid, true, &h, &back, &e);
		off = h.prev;
	}
	data_file_unref(d);
	return rc != OK || h.tid == tid;
}

static int recover(struct filestorage *fs, struct err *e)
{
	struct err why = ERR_INIT;

	if (blob_removals_resume(fs->base.blobs, fs_has_revision, fs, &why) != OK)
		fs_log(fs, LOG_WARNING, "blobs of an interrupted pack were not removed: %s",
			why.text);
	return blob_dir_recover(fs->base.blobs, fs_has_revision, fs, e);
}

int fs_blobs_open(struct filestorage *fs, struct err *e)
{
	struct blob_dir_options o = {
		.path = fs->options.blob_dir,
		.create = fs->options.create,
		.read_only = fs->options.read_only,
		.log = fs->options.log,
		.log_ctx = fs->options.log_ctx,
	};
	int rc;

	if (!o.path)
		return OK;
	rc = blob_dir_open(&o, &fs->base.blobs, e);
	return rc == OK ? recover(fs, e) : rc;
}

int fs_vote_blobs(struct filestorage *fs, struct txn *t, struct err *e)
{
	return fs->base.blobs ? blob_txn_vote(fs->base.blobs, t, e) : OK;
}

/* The tid of the record that has the data, and so the blob's. */
static int find_data(
	struct data_file *d, uint64_t off, uint64_t oid, uint64_t *ret_tid, struct err *e)
{
	struct fs_rec_header h = { 0 };
	uint64_t back = off;
	int rc = OK;

	while (rc == OK && h.plen == 0 && back) {
		off = back;
		rc = fs_read_record(d, off, oid, true, &h, &back, e);
		if (rc == OK && h.plen == 0 && back >= off)
			rc = err_set(e, ERR_CORRUPT,
				"damaged at %llu: a back-pointer that does not point back",
				(unsigned long long)off);
	}
	*ret_tid = h.plen ? h.tid : TID_NONE;
	return rc;
}

int fs_undo_blob(
	struct filestorage *fs, struct data_file *d, struct txn *t, size_t rec, struct err *e)
{
	uint64_t oid = t->recs[rec].oid;
	char path[PATH_MAX];
	uint64_t tid;
	int rc;

	if (!fs->base.blobs || t->recs[rec].back_off == 0)
		return OK;
	rc = find_data(d, t->recs[rec].back_off, oid, &tid, e);
	if (rc != OK || tid == TID_NONE)
		return rc;
	rc = blob_dir_copy(fs->base.blobs, oid, tid, path, sizeof(path), e);
	if (rc == ERR_NOKEY)
		return OK; /* no blob */
	return rc == OK ? blob_txn_attach(t, rec, path, e) : rc;
}
