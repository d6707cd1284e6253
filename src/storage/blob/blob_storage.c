#include "storage/blob/blob_storage.h"

#include <pthread.h>
#include <stdbool.h>

#include "base/buf.h"
#include "base/mem.h"
#include "storage/blob/blob_txn.h"
#include "storage/inline_exec.h"

/* T57: what ZODB's BlobStorage around a storage that cannot restore says of itself. */
/* clang-format off */
static const char *const interfaces[] = {
	"ZODB.interfaces", "IBlobStorage",
	"zope.interface", "Interface",
	NULL,
};
/* clang-format on */

struct blob_storage {
	struct storage base;
	struct storage_ops ops;
	struct storage *inner;
	/* Transactions with blobs are finished by a thread: that touches the disk. */
	pthread_t thread;
	pthread_mutex_t lock; /* guards the three below; docs/threads.md */
	pthread_cond_t wake;
	struct txn *queue;
	struct txn **queue_end;
	bool stop;
};

static struct blob_storage *blob_of(struct storage *s)
{
	return CONTAINER_OF(s, struct blob_storage, base);
}

/* --- reading --- */

static void open_work(struct job *j)
{
	struct blob_req *r = CONTAINER_OF(j, struct blob_req, job);

	r->rc = blob_dir_open_file(
		r->storage->blobs, r->oid, r->serial, &r->fd, &r->size_bytes, &r->err);
}

static void open_done(struct job *j)
{
	struct blob_req *r = CONTAINER_OF(j, struct blob_req, job);

	r->done(r);
}

void blob_storage_open_blob(struct storage *s, struct blob_req *r)
{
	if (!s->blobs) {
		r->rc = err_set(&r->err, ERR_UNSUPPORTED, "Blobs are not supported");
		r->done(r);
		return;
	}
	r->storage = s;
	r->job.work = open_work;
	r->job.done = open_done;
	r->exec->submit(r->exec, &r->job);
}

/* --- what is not about blobs --- */

static void pass_load(struct storage *s, struct load_req *r)
{
	struct storage *in = blob_of(s)->inner;

	in->ops->load(in, r);
}

static void pass_history(struct storage *s, struct history_req *r)
{
	struct storage *in = blob_of(s)->inner;

	in->ops->history(in, r);
}

static void pass_abort(struct storage *s, struct txn *t)
{
	struct storage *in = blob_of(s)->inner;

	in->ops->abort(in, t);
}

static void pass_undo_log(struct storage *s, struct undo_log_req *r)
{
	struct storage *in = blob_of(s)->inner;

	in->ops->undo_log(in, r);
}

static int pass_iter_open(
	struct storage *s, uint64_t start, uint64_t stop, struct storage_iter **ret, struct err *e)
{
	struct storage *in = blob_of(s)->inner;

	return in->ops->iter_open(in, start, stop, ret, e);
}

static void pass_iter_close(struct storage *s, struct storage_iter *it)
{
	struct storage *in = blob_of(s)->inner;

	in->ops->iter_close(in, it);
}

static void pass_changes(struct storage *s, struct changes_req *r)
{
	struct storage *in = blob_of(s)->inner;

	in->ops->changes(in, r);
}

static void pass_pack_progress(struct storage *s, struct pack_progress *ret)
{
	struct storage *in = blob_of(s)->inner;

	in->ops->pack_progress(in, ret);
}

static void pass_pack_stop(struct storage *s)
{
	struct storage *in = blob_of(s)->inner;

	in->ops->pack_stop(in);
}

static uint64_t pass_new_oids(struct storage *s, uint32_t n)
{
	struct storage *in = blob_of(s)->inner;

	return in->ops->new_oids(in, n);
}

static void pass_ask_oids(struct storage *s, struct oids_req *r)
{
	struct storage *in = blob_of(s)->inner;

	in->ops->ask_oids(in, r);
}

static void pass_sync(struct storage *s, struct sync_req *r)
{
	struct storage *in = blob_of(s)->inner;

	in->ops->sync(in, r);
}

static bool pass_has_oid(struct storage *s, uint64_t oid)
{
	struct storage *in = blob_of(s)->inner;

	return in->ops->has_oid(in, oid);
}

static void blob_info(struct storage *s, struct storage_info *ret)
{
	struct storage *in = blob_of(s)->inner;

	in->ops->info(in, ret);
	ret->interfaces = interfaces;
}

/* --- vote --- */

struct blob_vote {
	struct vote_req req; /* what the inner storage sees */
	struct vote_req *outer;
	struct blob_storage *b;
	struct job job;
	int rc;
};

static void vote_work(struct job *j)
{
	struct blob_vote *bv = CONTAINER_OF(j, struct blob_vote, job);

	bv->rc = blob_txn_vote(bv->b->base.blobs, bv->outer->txn, &bv->outer->err);
}

static void vote_done(struct job *j)
{
	struct blob_vote *bv = CONTAINER_OF(j, struct blob_vote, job);
	struct vote_req *v = bv->outer;

	if (bv->rc != OK) {
		v->rc = bv->rc;
		bv->b->inner->ops->abort(bv->b->inner, v->txn);
	}
	mem_free(bv);
	v->done(v);
}

static void inner_voted(struct vote_req *r)
{
	struct blob_vote *bv = CONTAINER_OF(r, struct blob_vote, req);
	struct vote_req *v = bv->outer;

	v->rc = r->rc;
	v->conflicts = r->conflicts;
	v->n_conflicts = r->n_conflicts;
	v->changed_oids = r->changed_oids;
	v->n_changed_oids = r->n_changed_oids;
	v->n_resolved = r->n_resolved;
	v->undo_failures = r->undo_failures;
	v->n_undo_failures = r->n_undo_failures;
	v->err = r->err;
	if (v->rc != OK) {
		mem_free(bv);
		v->done(v);
		return;
	}
	bv->job.work = vote_work;
	bv->job.done = vote_done;
	v->exec->submit(v->exec, &bv->job);
}

static void blob_vote(struct storage *s, struct vote_req *v)
{
	struct blob_storage *b = blob_of(s);
	struct blob_vote *bv;

	if (v->txn->n_blobs == 0) {
		b->inner->ops->vote(b->inner, v);
		return;
	}
	bv = mem_zalloc(1, sizeof(*bv));
	if (!bv) {
		v->rc = err_set(&v->err, ERR_NOMEM, "no memory for a vote");
		v->done(v);
		return;
	}
	bv->req = *v;
	bv->req.done = inner_voted;
	bv->outer = v;
	bv->b = b;
	b->inner->ops->vote(b->inner, &bv->req);
}

/* --- finish --- */

static struct txn *take_queue(struct blob_storage *b, bool *ret_stop)
{
	struct txn *t;

	pthread_mutex_lock(&b->lock);
	while (!b->queue && !b->stop)
		pthread_cond_wait(&b->wake, &b->lock);
	t = b->queue;
	*ret_stop = b->stop;
	b->queue = NULL;
	b->queue_end = &b->queue;
	pthread_mutex_unlock(&b->lock);
	return t;
}

static void *run_finish(void *arg)
{
	struct blob_storage *b = arg;
	bool stop = false;

	while (!stop) {
		struct txn *t = take_queue(b, &stop);

		while (t) {
			struct txn *next = t->next;

			b->inner->ops->finish(b->inner, t);
			t = next;
		}
	}
	return NULL;
}

static void blob_finish(struct storage *s, struct txn *t)
{
	struct blob_storage *b = blob_of(s);

	if (t->n_blobs == 0) {
		b->inner->ops->finish(b->inner, t);
		return;
	}
	t->next = NULL;
	pthread_mutex_lock(&b->lock);
	*b->queue_end = t;
	b->queue_end = &t->next;
	pthread_cond_signal(&b->wake);
	pthread_mutex_unlock(&b->lock);
}

/* --- pack --- */

struct blob_pack {
	struct pack_req req; /* what the inner storage sees */
	struct pack_req *outer;
	struct blob_storage *b;
	struct job job;
	struct inline_exec exec;
	uint64_t last_tid; /* files of later ones may be of transactions under way */
};

/* As ZODB's BlobStorage: the file of a revision that cannot be loaded any more goes. */
static int drop_unless_there(void *ctx, uint64_t oid, uint64_t tid, struct err *e)
{
	struct blob_pack *bp = ctx;
	struct load_req r = {
		.kind = LOAD_SERIAL, .oid = oid, .tid = tid, .applied = bp->last_tid
	};

	if (tid > bp->last_tid || inline_load(&bp->exec, bp->b->inner, &r, NULL) != ERR_NOKEY)
		return OK;
	return blob_dir_remove_file(bp->b->base.blobs, oid, tid, e);
}

static void pack_work(struct job *j)
{
	struct blob_pack *bp = CONTAINER_OF(j, struct blob_pack, job);

	inline_exec_init(&bp->exec);
	bp->last_tid = pubchain_last_tid(bp->b->base.pubs);
	bp->outer->rc = blob_dir_walk(bp->b->base.blobs, drop_unless_there, bp, &bp->outer->err);
	inline_exec_end(&bp->exec);
}

static void pack_done(struct job *j)
{
	struct blob_pack *bp = CONTAINER_OF(j, struct blob_pack, job);
	struct pack_req *r = bp->outer;

	mem_free(bp);
	r->done(r);
}

static void inner_packed(struct pack_req *in)
{
	struct blob_pack *bp = CONTAINER_OF(in, struct blob_pack, req);
	struct pack_req *r = bp->outer;

	r->rc = in->rc;
	r->oid = in->oid;
	r->err = in->err;
	r->raised = in->raised;
	r->kept = in->kept;
	r->free_kept = in->free_kept;
	if (r->rc != OK) {
		mem_free(bp);
		r->done(r);
		return;
	}
	r->on_own_thread = in->on_own_thread;
	if (in->on_own_thread) {
		pack_work(&bp->job);
		pack_done(&bp->job);
		return;
	}
	bp->job.work = pack_work;
	bp->job.done = pack_done;
	r->exec->submit(r->exec, &bp->job);
}

static void blob_pack(struct storage *s, struct pack_req *r)
{
	struct blob_storage *b = blob_of(s);
	struct blob_pack *bp = mem_zalloc(1, sizeof(*bp));

	if (!bp) {
		r->rc = err_set(&r->err, ERR_NOMEM, "no memory for a pack");
		r->done(r);
		return;
	}
	bp->req = *r;
	bp->req.done = inner_packed;
	bp->outer = r;
	bp->b = b;
	b->inner->ops->pack(b->inner, &bp->req);
}

/* --- opening and closing --- */

static void blob_close(struct storage *s)
{
	struct blob_storage *b = blob_of(s);

	pthread_mutex_lock(&b->lock);
	b->stop = true;
	pthread_cond_signal(&b->wake);
	pthread_mutex_unlock(&b->lock);
	pthread_join(b->thread, NULL);
	pthread_mutex_destroy(&b->lock);
	pthread_cond_destroy(&b->wake);
	b->inner->ops->close(b->inner);
	blob_dir_close(b->base.blobs);
	mem_free(b);
}

/* What the inner storage does not offer is not offered. */
static void set_ops(struct blob_storage *b)
{
	const struct storage_ops *in = b->inner->ops;

	b->ops = (struct storage_ops){
		.load = pass_load,
		.history = pass_history,
		.vote = blob_vote,
		.abort = pass_abort,
		.finish = blob_finish,
		.undo_log = in->undo_log ? pass_undo_log : NULL,
		.iter_open = in->iter_open ? pass_iter_open : NULL,
		.iter_records = in->iter_records,
		.iter_next = in->iter_next,
		.iter_close = in->iter_close ? pass_iter_close : NULL,
		.changes = in->changes ? pass_changes : NULL,
		.pack = in->pack ? blob_pack : NULL,
		.pack_progress = in->pack_progress ? pass_pack_progress : NULL,
		.pack_stop = in->pack_stop ? pass_pack_stop : NULL,
		.open_blob = blob_storage_open_blob,
		.new_oids = in->new_oids ? pass_new_oids : NULL,
		.ask_oids = in->ask_oids ? pass_ask_oids : NULL,
		.sync = in->sync ? pass_sync : NULL,
		.has_oid = in->has_oid ? pass_has_oid : NULL,
		.info = blob_info,
		.close = blob_close,
	};
}

static bool has_revision(void *ctx, uint64_t oid, uint64_t tid)
{
	struct storage *in = ctx;
	struct load_req r = { .kind = LOAD_SERIAL, .oid = oid, .tid = tid, .applied = TID_MAX };
	struct inline_exec x;
	bool has;

	inline_exec_init(&x);
	has = inline_load(&x, in, &r, NULL) != ERR_NOKEY;
	inline_exec_end(&x);
	return has;
}

int blob_storage_open(
	struct storage *inner, struct blob_dir *dir, struct storage **ret, struct err *e)
{
	struct blob_storage *b;
	int rc = blob_dir_recover(dir, has_revision, inner, e);
	int errnum;

	if (rc != OK)
		return rc;
	b = mem_zalloc(1, sizeof(*b));
	if (!b)
		return err_set(e, ERR_NOMEM, "no memory for a storage");
	b->inner = inner;
	b->queue_end = &b->queue;
	set_ops(b);
	b->base = *inner;
	b->base.ops = &b->ops;
	b->base.blobs = dir;
	pthread_mutex_init(&b->lock, NULL);
	pthread_cond_init(&b->wake, NULL);
	errnum = pthread_create(&b->thread, NULL, run_finish, b);
	if (errnum) {
		pthread_mutex_destroy(&b->lock);
		pthread_cond_destroy(&b->wake);
		mem_free(b);
		return err_sys(e, errnum, "cannot start a thread for blobs");
	}
	*ret = &b->base;
	return OK;
}
