#include "server/upload.h"

#include <fcntl.h>
#include <limits.h>

#include "base/buf.h"
#include "base/check.h"
#include "base/exec.h"
#include "base/mem.h"
#include "base/os.h"
#include "server/commit.h"
#include "server/hub.h"
#include "server/server.h"
#include "server/session.h"
#include "storage/blob/blob_dir.h"

struct upload {
	struct job job;
	struct session *session;
	bool open;    /* between start and end */
	bool ending;  /* all chunks are there */
	bool remove;  /* the file is not wanted */
	bool on_disk; /* a job has made the file, and none has removed it */
	struct buf waiting;
	uint64_t off; /* bytes written */
	char path[PATH_MAX];
	/* of the transaction */
	struct err failed;
	uint64_t bytes;
	uint32_t blobs;
	/* the job's, while busy */
	bool busy;
	bool last;     /* writing is all that was missing */
	bool removing; /* and nothing else */
	struct buf writing;
	int fd;
	int rc;
	struct err err;
};

static struct upload *upload_of(struct session *s)
{
	struct upload *u = s->upload;

	if (u)
		return u;
	u = mem_zalloc(1, sizeof(*u));
	if (!u)
		return NULL;
	u->session = s;
	u->fd = -1;
	s->upload = u;
	return u;
}

static void upload_free(struct upload *u)
{
	CHECK(!u->busy && u->fd < 0);
	u->session->upload = NULL;
	buf_free(&u->waiting);
	buf_free(&u->writing);
	mem_free(u);
}

/* The first failure is the one that is told. */
static void keep_error(struct upload *u, const struct err *e)
{
	if (u->failed.code == OK)
		u->failed = *e;
}

/* --- on the pool --- */

static int open_file(struct upload *u)
{
	int rc = os_open(u->path, O_WRONLY | O_CREAT | O_EXCL, &u->fd, &u->err);

	return rc == OK ? os_fchmod(u->fd, 0600, &u->err) : rc;
}

static void close_file(struct upload *u)
{
	os_close(u->fd);
	u->fd = -1;
}

static void remove_file(struct upload *u)
{
	struct err e = ERR_INIT;
	int rc = os_unlink(u->path, &e);

	(void)rc; /* else the next start does it */
	close_file(u);
}

static void work(struct job *j)
{
	struct upload *u = CONTAINER_OF(j, struct upload, job);

	u->rc = OK;
	if (u->removing) {
		remove_file(u);
		return;
	}
	if (u->fd < 0)
		u->rc = open_file(u);
	if (u->rc == OK)
		u->rc = os_pwrite(u->fd, u->writing.data, u->writing.len, u->off, &u->err);
	if (u->rc != OK)
		remove_file(u); /* a full disk has the space again */
	else if (u->last)
		close_file(u);
}

/* --- on the hub --- */

static void done(struct job *j);

static void submit(struct upload *u)
{
	struct buf b = u->writing;

	CHECK(!u->busy);
	u->writing = u->waiting;
	u->waiting = b;
	buf_reset(&u->waiting);
	u->busy = true;
	u->last = u->ending;
	u->removing = u->remove;
	u->job.work = work;
	u->job.done = done;
	session_load_started(u->session);
	u->session->hub->exec->submit(u->session->hub->exec, &u->job);
}

/* Start what is to be done next. The client is not heard when that is more than writing what it sends. */
static void go_on(struct upload *u)
{
	if (!u->busy && u->remove && !u->on_disk)
		u->remove = false;
	if (!u->busy && (u->remove || u->ending || u->waiting.len >= UPLOAD_WRITE_BYTES))
		submit(u);
	u->session->held =
		u->busy && (u->remove || u->ending || u->waiting.len >= UPLOAD_WAITING_MAX);
}

/* What was made for a connection that is gone goes, too: a transaction that was freed meanwhile has removed
 * what was there then. */
static void after_close(struct upload *u)
{
	u->remove = true;
	if (u->on_disk)
		submit(u);
	else
		upload_free(u);
}

static void done(struct job *j)
{
	struct upload *u = CONTAINER_OF(j, struct upload, job);
	struct session *s = u->session;

	u->busy = false;
	u->on_disk = u->rc == OK && !u->removing;
	u->off += u->writing.len;
	buf_shrink(&u->writing, UPLOAD_WAITING_MAX);
	if (u->rc != OK) {
		keep_error(u, &u->err);
		buf_free(&u->waiting);
	}
	if (u->rc != OK || u->last)
		u->ending = false;
	if (s->state == SESSION_CLOSED) {
		after_close(u);
	} else {
		if (u->last)
			u->on_disk = false; /* it is the transaction's */
		go_on(u);
	}
	session_load_ended(s);
}

/* The rest of the transaction's blobs are read over; the vote tells why. */
static void fail(struct upload *u, const struct err *e)
{
	keep_error(u, e);
	buf_free(&u->waiting);
	u->remove = true;
	go_on(u);
}

void upload_begin_txn(struct session *s)
{
	struct upload *u = s->upload;

	if (!u)
		return;
	if (u->failed.code != OK)
		upload_abort(s);
	u->failed = (struct err)ERR_INIT;
	u->bytes = 0;
	u->blobs = 0;
}

int upload_start(struct session *s, struct err *e)
{
	struct upload *u = upload_of(s);
	int rc;

	if (!u)
		return err_set(e, ERR_NOMEM, "no memory for a blob");
	if (u->open)
		return err_set(e, ERR_STATE, "storeBlobStart() while a blob is being sent");
	CHECK(!u->busy);
	rc = blob_dir_new_name(s->hs->ss->storage->blobs, u->path, sizeof(u->path), e);
	if (rc != OK)
		return rc;
	u->open = true;
	u->off = 0;
	u->on_disk = false;
	return OK;
}

int upload_chunk(struct session *s, struct slice data, struct err *e)
{
	struct upload *u = s->upload;
	struct err why = ERR_INIT;

	if (!u || !u->open)
		return err_set(e, ERR_STATE, "storeBlobChunk() without storeBlobStart()");
	if (u->failed.code != OK)
		return OK;
	u->bytes += data.len;
	if (u->bytes > UPLOAD_BYTES_MAX) {
		err_set(&why, ERR_LIMIT, "a transaction with more than %llu bytes of blobs",
			(unsigned long long)UPLOAD_BYTES_MAX);
		fail(u, &why);
		return OK;
	}
	buf_put_slice(&u->waiting, data);
	if (!buf_ok(&u->waiting)) {
		err_set(&why, ERR_NOMEM, "no memory for a chunk of a blob");
		fail(u, &why);
		return OK;
	}
	go_on(u);
	return OK;
}

static void add_blob(
	struct upload *u, const struct txn_rec *rec, struct slice data, const char *path)
{
	struct err why = ERR_INIT;

	if (u->failed.code != OK)
		return;
	if (u->blobs == UPLOAD_BLOBS_MAX)
		err_set(&why, ERR_LIMIT, "a transaction of more than %d blobs", UPLOAD_BLOBS_MAX);
	else
		(void)(txn_add_blob(commit_txn(u->session), rec, data, path, &why) == OK);
	u->blobs++;
	if (why.code != OK)
		fail(u, &why);
	else
		commit_added(u->session);
}

int upload_end(struct session *s, const struct txn_rec *rec, struct slice data, struct err *e)
{
	struct upload *u = s->upload;

	if (!u || !u->open)
		return err_set(e, ERR_STATE, "storeBlobEnd() without storeBlobStart()");
	u->open = false;
	add_blob(u, rec, data, u->path);
	u->ending = u->failed.code == OK;
	go_on(u);
	return OK;
}

void upload_shared(
	struct session *s, const struct txn_rec *rec, struct slice data, const char *path)
{
	struct upload *u = upload_of(s);

	if (u)
		add_blob(u, rec, data, path);
	else
		session_fail(s, "no memory for a blob");
}

int upload_error(const struct session *s, struct err *e)
{
	if (!s->upload || s->upload->failed.code == OK)
		return OK;
	*e = s->upload->failed;
	return e->code;
}

void upload_abort(struct session *s)
{
	struct upload *u = s->upload;

	if (!u || !u->open)
		return;
	u->open = false;
	u->remove = true;
	buf_free(&u->waiting);
	go_on(u);
}

void upload_closed(struct session *s)
{
	if (s->upload && !s->upload->busy)
		after_close(s->upload);
}

/* --- transactions with files --- */

struct txn_job {
	struct job job;
	struct txn *txn;
};

static void free_work(struct job *j)
{
	txn_free(CONTAINER_OF(j, struct txn_job, job)->txn);
}

static void free_done(struct job *j)
{
	mem_free(CONTAINER_OF(j, struct txn_job, job));
}

enum { MANY_RECS = 512 };

static bool has_files(const struct txn *t)
{
	for (uint32_t i = 0; i < t->n_blobs; i++)
		if (t->blobs[i].path)
			return true;
	return false;
}

void upload_free_txn(struct exec *x, struct txn *t)
{
	/* closing a large temporary file frees its pages; so does freeing much memory */
	bool is_long = t && (has_files(t) || txn_spilled(t) || t->n_recs > MANY_RECS);
	struct txn_job *j = is_long ? mem_alloc(sizeof(*j)) : NULL;

	if (!j) {
		txn_free(t);
		return;
	}
	j->txn = t;
	j->job.work = free_work;
	j->job.done = free_done;
	x->submit(x, &j->job);
}
