#include "storage/blob/blob_txn.h"

#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <sys/stat.h>

#include "base/mem.h"
#include "base/os.h"
#include "storage/blob/blob_dir_core.h"

enum { LINK_TRIES = 10 };

/* --- vote --- */

/* As ZODB leaves a committed file: what the folder lets people read, nobody may write. */
static int set_mode(int fd, mode_t mode, const char *dir, struct err *e)
{
	struct stat st;

	mode &= 0555;
	if (stat(dir, &st) == 0)
		mode |= st.st_mode & 0444;
	return os_fchmod(fd, mode, e);
}

static int sync_file(const char *path, const char *dir, struct err *e)
{
	struct stat st;
	int fd = -1;
	int rc = os_open(path, O_RDONLY | O_NOFOLLOW | O_NONBLOCK, &fd, e);

	if (rc == OK && (fstat(fd, &st) != 0 || !S_ISREG(st.st_mode)))
		rc = err_set(e, ERR_INVAL, "'%s' is not a file", path);
	if (rc == OK)
		rc = set_mode(fd, st.st_mode & 07777, dir, e);
	if (rc == OK)
		rc = os_fsync(fd, e);
	os_close(fd);
	return rc;
}

static int vote_blob(struct blob_dir *d, struct txn_blob *b, struct err *e)
{
	char dir[PATH_MAX];
	char to[PATH_MAX];
	char *path;
	int rc = blob_dir_oid_path(d, b->oid, dir, sizeof(dir), e);

	if (rc == OK)
		rc = blob_dir_make_oid_dir(d, b->oid, e);
	if (rc == OK)
		rc = sync_file(b->path, dir, e);
	if (rc == OK)
		rc = blob_dir_voted_name(d, b->oid, to, sizeof(to), e);
	if (rc != OK)
		return rc;
	path = mem_strdup(to);
	if (!path)
		return err_set(e, ERR_NOMEM, "no memory for a blob of a transaction");
	rc = os_rename(b->path, to, e);
	if (rc != OK) {
		mem_free(path);
		return rc;
	}
	mem_free(b->path);
	b->path = path;
	return OK;
}

/* --- when the tid is known --- */

static int link_file(
	struct blob_dir *d, const char *from, const char *to, uint64_t oid, struct err *e)
{
	int rc = ERR_NOENT;

	for (int i = 0; rc != OK && i < LINK_TRIES; i++) {
		rc = os_link(from, to, e);
		if (rc == ERR_NOENT) /* a pack has taken the empty folder away */
			rc = blob_dir_make_oid_dir(d, oid, e) == OK ? ERR_NOENT : e->code;
		else if (rc == ERR_EXISTS) /* an earlier record of the object in this transaction */
			rc = os_unlink(to, e) == OK ? ERR_EXISTS : e->code;
		else if (rc == ERR_UNSUPPORTED)
			rc = os_rename(from, to, e);
		if (rc != ERR_NOENT && rc != ERR_EXISTS)
			break;
	}
	return rc;
}

static bool has_blob(const struct txn_rec *rec)
{
	return rec->blob && txn_rec_is_written(rec);
}

/* In the order of the records: the last one of an object wins. */
static int link_blobs(struct txn *t, struct err *e)
{
	struct blob_dir *d = t->prepare_ctx;
	char to[PATH_MAX];
	int rc = OK;

	for (size_t i = 0; rc == OK && i < t->n_recs; i++) {
		const struct txn_rec *rec = &t->recs[i];

		if (!has_blob(rec))
			continue;
		rc = blob_dir_file_path(d, rec->oid, t->tid, to, sizeof(to), e);
		if (rc == OK)
			rc = link_file(d, t->blobs[rec->blob - 1].path, to, rec->oid, e);
		if (rc == OK)
			rc = os_sync_dir_of(to, e);
	}
	return rc;
}

static bool is_same_file(const char *a, const char *b)
{
	struct stat x;
	struct stat y;

	return stat(a, &x) == 0 && stat(b, &y) == 0 && x.st_ino == y.st_ino && x.st_dev == y.st_dev;
}

/* I2: its name in tmp stays until the other one is gone for good. What fails here is left to the next
 * start. */
static void unlink_blob(struct txn *t, const struct txn_rec *rec)
{
	struct err e = ERR_INIT;
	char to[PATH_MAX];

	if (blob_dir_file_path(t->prepare_ctx, rec->oid, t->tid, to, sizeof(to), &e) != OK ||
		!is_same_file(t->blobs[rec->blob - 1].path, to))
		return;
	if (os_unlink(to, &e) != OK || os_sync_dir_of(to, &e) != OK) {
		mem_free(t->blobs[rec->blob - 1].path);
		t->blobs[rec->blob - 1].path = NULL;
	}
}

static void drop_name(struct txn_blob *b)
{
	struct err e = ERR_INIT;
	int rc = b->path ? os_unlink(b->path, &e) : OK;

	(void)rc; /* else the next start does it */
	mem_free(b->path);
	b->path = NULL;
}

static void blobs_settled(struct txn *t, int rc)
{
	if (rc == OK) {
		for (uint32_t i = 0; i < t->n_blobs; i++)
			drop_name(&t->blobs[i]);
		return;
	}
	for (size_t i = 0; i < t->n_recs; i++)
		if (has_blob(&t->recs[i]) && t->blobs[t->recs[i].blob - 1].path)
			unlink_blob(t, &t->recs[i]);
}

int blob_txn_vote(struct blob_dir *d, struct txn *t, struct err *e)
{
	int rc = OK;

	if (t->n_blobs == 0)
		return OK;
	for (size_t i = 0; rc == OK && i < t->n_recs; i++) {
		struct txn_blob *b = has_blob(&t->recs[i]) ? &t->blobs[t->recs[i].blob - 1] : NULL;

		if (b && !blob_dir_is_voted_name(d, b->path))
			rc = vote_blob(d, b, e);
	}
	if (rc == OK)
		rc = os_fsync(d->tmp_fd, e); /* I2 */
	if (rc != OK)
		return rc;
	t->prepare = link_blobs;
	t->settled = blobs_settled;
	t->prepare_ctx = d;
	return OK;
}

int blob_txn_attach(struct txn *t, size_t rec, const char *path, struct err *e)
{
	struct txn_blob *blobs = mem_realloc(t->blobs, (t->n_blobs + 1) * sizeof(*blobs));
	struct txn_blob b = { mem_strdup(path), t->recs[rec].oid };

	if (blobs)
		t->blobs = blobs;
	if (!blobs || !b.path) {
		struct err ignored = ERR_INIT;
		int rc = os_unlink(path, &ignored);

		(void)rc; /* else the next start does it */
		mem_free(b.path);
		return err_set(e, ERR_NOMEM, "no memory for a blob of a transaction");
	}
	t->blobs[t->n_blobs++] = b;
	t->recs[rec].blob = t->n_blobs;
	return OK;
}

int blob_txn_order(struct txn *t, struct err *e)
{
	struct txn_rec **with;
	struct txn_rec *recs;
	size_t n = 0;

	if (t->n_blobs == 0)
		return OK;
	with = mem_zalloc(t->n_blobs, sizeof(*with));
	recs = mem_zalloc(t->n_recs, sizeof(*recs));
	if (!with || !recs) {
		mem_free(with);
		mem_free(recs);
		return err_set(
			e, ERR_NOMEM, "no memory for %zu records of a transaction", t->n_recs);
	}
	for (size_t i = 0; i < t->n_recs; i++) {
		if (t->recs[i].blob)
			with[t->recs[i].blob - 1] = &t->recs[i];
		else
			recs[n++] = t->recs[i];
	}
	for (size_t i = t->n_blobs; i-- > 0;)
		if (with[i])
			recs[n++] = *with[i];
	mem_free(with);
	mem_free(t->recs);
	t->recs = recs;
	t->recs_room = t->n_recs;
	return OK;
}
