/* Blobs: what clients of ours store is sent to the server at the vote; what they ask for comes from it by way of a cache
 * on our disk, where uploads are collected, too. */
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/mem.h"
#include "base/os.h"
#include "client/blobs.h"
#include "fanout/core.h"
#include "storage/blob/blob_dir.h"

struct fan_blobs {
	struct blobs *cache;
	struct blob_dir *uploads;
	char uploads_path[PATH_MAX];
};

/* A folder of its own: others may use the cache at the same time. */
static int open_uploads(struct fan_blobs *b, struct err *e)
{
	struct blob_dir_options o = { .path = b->uploads_path };
	int n = snprintf(b->uploads_path, sizeof(b->uploads_path), "%s/zkzeo-uploads-XXXXXX",
		blobs_temporary_directory(b->cache));

	if (n < 0 || (size_t)n >= sizeof(b->uploads_path)) {
		b->uploads_path[0] = 0;
		return err_set(e, ERR_LIMIT, "the path of 'blob-dir' is too long");
	}
	if (!mkdtemp(b->uploads_path)) {
		int rc = err_sys(e, errno, "cannot make '%s'", b->uploads_path);

		b->uploads_path[0] = 0;
		return rc;
	}
	return blob_dir_open(&o, &b->uploads, e);
}

int fan_blobs_open(struct fanout *f, const struct fanout_options *o, struct err *e)
{
	struct blobs_options bo = {
		.path = o->blob_dir,
		.shared = o->shared_blob_dir,
		.limited = o->blob_cache_bytes != 0,
		.cache_bytes = o->blob_cache_bytes,
		.check_percent = o->blob_cache_check,
	};
	int rc;

	if (!o->blob_dir)
		return OK;
	f->blobs = mem_zalloc(1, sizeof(*f->blobs));
	if (!f->blobs)
		return err_set(e, ERR_NOMEM, "no memory for blobs");
	rc = blobs_open(f->client, &bo, &f->blobs->cache, e);
	if (rc == OK)
		rc = open_uploads(f->blobs, e);
	if (rc == OK)
		f->storage.blobs = f->blobs->uploads;
	return rc;
}

void fan_blobs_close(struct fanout *f)
{
	struct fan_blobs *b = f->blobs;
	struct err e = ERR_INIT;
	int rc = OK;

	if (!b)
		return;
	blob_dir_close(b->uploads);
	if (b->uploads_path[0])
		rc = blob_dir_remove_tree(b->uploads_path, &e);
	(void)rc; /* what is left is in nobody's way */
	blobs_close(b->cache);
	mem_free(b);
	f->blobs = NULL;
}

/* --- storing --- */

bool fan_blobs_has(const struct txn *t, const struct txn_rec *rec)
{
	for (uint32_t i = 0; i < t->n_blobs; i++)
		if (t->blobs[i].oid == rec->oid)
			return true;
	return false;
}

/* The transaction may be voted again: the file that goes is a second name of its own. */
static int say_blob(struct fanout *f, struct blobs_txn *bt, struct client_txn *up,
	const struct txn *t, const struct txn_rec *rec, struct buf *scratch, struct err *e)
{
	const char *path = t->blobs[rec->blob - 1].path;
	char again[PATH_MAX];
	struct slice data;
	int rc = txn_data(t, rec, scratch, &data, e);

	if (rc == OK)
		rc = blob_dir_new_name(f->blobs->uploads, again, sizeof(again), e);
	if (rc == OK && link(path, again) != 0)
		rc = err_sys(e, errno, "cannot link '%s'", path);
	if (rc != OK)
		return rc;
	rc = blobs_store(f->blobs->cache, bt, up, rec->oid, rec->serial, data, again, e);
	if (rc != OK)
		(void)unlink(again); /* gone already, or in nobody's way */
	return rc;
}

/* In the order in which our client has sent them: a vote has turned it round (T52). */
int fan_blobs_say(struct fanout *f, struct blobs_txn *bt, struct client_txn *up,
	const struct txn *t, struct err *e)
{
	struct buf scratch = BUF_INIT(0);
	int rc = OK;

	for (size_t i = t->n_recs; i-- > 0 && rc == OK;) {
		const struct txn_rec *rec = &t->recs[i];

		if (rec->blob && !rec->dropped)
			rc = say_blob(f, bt, up, t, rec, &scratch, e);
	}
	buf_free(&scratch);
	return rc;
}

void fan_blobs_finished(struct fanout *f, struct blobs_txn *bt, uint64_t tid)
{
	if (f->blobs)
		blobs_finished(f->blobs->cache, bt, tid);
}

void fan_blobs_aborted(struct fanout *f, struct blobs_txn *bt)
{
	if (f->blobs)
		blobs_aborted(f->blobs->cache, bt);
}

/* --- reading: on the pool --- */

static int open_file(struct fanout *f, struct blob_req *r, struct err *e)
{
	struct stat st;
	int rc = blobs_open_file(f->blobs->cache, r->oid, r->serial, &r->fd, NULL, 0, e);

	if (rc != OK)
		return rc;
	if (fstat(r->fd, &st) != 0) {
		rc = err_sys(e, errno, "cannot look at a blob");
		os_close(r->fd);
		return rc;
	}
	r->size_bytes = (uint64_t)st.st_size;
	return OK;
}

static void open_work(struct job *j)
{
	struct op *op = CONTAINER_OF(j, struct op, job);

	op->rc = open_file(op->f, op->req, &op->err);
}

static int start_open(struct op *op, struct err *e)
{
	(void)e;
	op->job.work = open_work;
	op->job.done = op_worked;
	op->exec->submit(op->exec, &op->job);
	return OK;
}

static void opened(struct op *op)
{
	struct blob_req *r = op->req;

	r->rc = op->rc;
	if (r->rc != OK) {
		r->err = op->err;
		r->raised = r->rc == ERR_NOKEY ? NULL : raised_val(&op->raised);
	}
	r->done(r);
	op_free(op);
}

void fan_open_blob(struct storage *s, struct blob_req *r)
{
	struct fanout *f = fanout_of(s);
	struct op *op = NULL;

	r->raised = NULL;
	if (f->blobs)
		op = mem_zalloc(1, sizeof(*op));
	if (op) {
		op->req = r;
		op->again = true;
		op->start = start_open;
		op->answered = opened;
		op_start(op, f, r->exec);
		return;
	}
	r->rc = f->blobs ? err_set(&r->err, ERR_NOMEM, "no memory for a request")
			 : err_set(&r->err, ERR_UNSUPPORTED, "this storage has no blobs");
	r->done(r);
}
