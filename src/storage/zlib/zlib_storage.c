#include "storage/zlib/zlib_storage.h"

#include "base/mem.h"
#include "storage/zlib/zlib_core.h"

static void plain_load(struct storage *s, struct load_req *r)
{
	struct storage *inner = zlib_of(s)->inner;

	inner->ops->load(inner, r);
}

static void zlib_history(struct storage *s, struct history_req *r)
{
	struct storage *inner = zlib_of(s)->inner;

	inner->ops->history(inner, r); /* sizes are those stored, as zc.zlibstorage's */
}

static void plain_vote(struct storage *s, struct vote_req *v)
{
	struct storage *inner = zlib_of(s)->inner;

	inner->ops->vote(inner, v);
}

static void zlib_abort(struct storage *s, struct txn *t)
{
	struct storage *inner = zlib_of(s)->inner;

	inner->ops->abort(inner, t);
}

static void zlib_finish(struct storage *s, struct txn *t)
{
	struct storage *inner = zlib_of(s)->inner;

	inner->ops->finish(inner, t);
}

static void plain_iter_close(struct storage *s, struct storage_iter *it)
{
	struct storage *inner = zlib_of(s)->inner;

	inner->ops->iter_close(inner, it);
}

static int plain_iter_open(
	struct storage *s, uint64_t start, uint64_t stop, struct storage_iter **ret, struct err *e)
{
	struct storage *inner = zlib_of(s)->inner;

	return inner->ops->iter_open(inner, start, stop, ret, e);
}

static void zlib_undo_log(struct storage *s, struct undo_log_req *r)
{
	struct storage *inner = zlib_of(s)->inner;

	inner->ops->undo_log(inner, r);
}

static void zlib_changes(struct storage *s, struct changes_req *r)
{
	struct storage *inner = zlib_of(s)->inner;

	inner->ops->changes(inner, r);
}

static void zlib_pack(struct storage *s, struct pack_req *r)
{
	struct storage *inner = zlib_of(s)->inner;

	inner->ops->pack(inner, r);
}

static void zlib_pack_progress(struct storage *s, struct pack_progress *ret)
{
	struct storage *inner = zlib_of(s)->inner;

	inner->ops->pack_progress(inner, ret);
}

static void zlib_pack_stop(struct storage *s)
{
	struct storage *inner = zlib_of(s)->inner;

	inner->ops->pack_stop(inner);
}

static void zlib_open_blob(struct storage *s, struct blob_req *r)
{
	struct storage *inner = zlib_of(s)->inner;

	inner->ops->open_blob(inner, r);
}

static uint64_t zlib_new_oids(struct storage *s, uint32_t n)
{
	struct storage *inner = zlib_of(s)->inner;

	return inner->ops->new_oids(inner, n);
}

static void zlib_ask_oids(struct storage *s, struct oids_req *r)
{
	struct storage *inner = zlib_of(s)->inner;

	inner->ops->ask_oids(inner, r);
}

static void zlib_sync(struct storage *s, struct sync_req *r)
{
	struct storage *inner = zlib_of(s)->inner;

	inner->ops->sync(inner, r);
}

static bool zlib_has_oid(struct storage *s, uint64_t oid)
{
	struct storage *inner = zlib_of(s)->inner;

	return inner->ops->has_oid(inner, oid);
}

static void zlib_info(struct storage *s, struct storage_info *ret)
{
	struct zlib_storage *z = zlib_of(s);

	z->inner->ops->info(z->inner, ret);
	ret->supports_record_iternext = true; /* as zc.zlibstorage says, whatever is inside */
	ret->interfaces = z->interfaces;
}

static void zlib_close(struct storage *s)
{
	struct zlib_storage *z = zlib_of(s);

	z->inner->ops->close(z->inner);
	mem_free(z);
}

/* T57: a wrapper provides what the storage inside does, and IStorageWrapper before the last one, which
 * is zope.interface's own. */
static int set_interfaces(struct zlib_storage *z, struct err *e)
{
	struct storage_info info;
	size_t n = 0;

	z->inner->ops->info(z->inner, &info);
	for (; info.interfaces[n]; n++) {
		if (n == ZLIB_NAMES_MAX)
			return err_set(e, ERR_LIMIT, "a storage with too many interfaces");
		z->interfaces[n] = info.interfaces[n];
	}
	z->interfaces[n] = z->interfaces[n - 2];
	z->interfaces[n + 1] = z->interfaces[n - 1];
	z->interfaces[n - 2] = "ZODB.interfaces";
	z->interfaces[n - 1] = "IStorageWrapper";
	z->interfaces[n + 2] = NULL;
	return OK;
}

static const struct storage_ops ops = {
	.load = zlib_load,
	.history = zlib_history,
	.vote = zlib_vote,
	.abort = zlib_abort,
	.finish = zlib_finish,
	.undo_log = zlib_undo_log,
	.iter_open = zlib_iter_open,
	.iter_records = zlib_iter_records,
	.iter_next = zlib_iter_next,
	.iter_close = zlib_iter_close,
	.changes = zlib_changes,
	.pack = zlib_pack,
	.pack_progress = zlib_pack_progress,
	.pack_stop = zlib_pack_stop,
	.open_blob = zlib_open_blob,
	.new_oids = zlib_new_oids,
	.ask_oids = zlib_ask_oids,
	.sync = zlib_sync,
	.has_oid = zlib_has_oid,
	.info = zlib_info,
	.close = zlib_close,
};

static void set_ops(struct zlib_storage *z, const struct zlib_storage_options *o)
{
	const struct storage_ops *in = z->inner->ops;

	z->ops = ops;
	if (!o->inflate) {
		z->ops.load = plain_load;
		z->ops.iter_open = plain_iter_open;
		z->ops.iter_records = in->iter_records;
		z->ops.iter_next = in->iter_next;
		z->ops.iter_close = plain_iter_close;
	}
	if (!o->deflate)
		z->ops.vote = plain_vote;
	if (!in->ask_oids)
		z->ops.ask_oids = NULL;
	if (!in->sync)
		z->ops.sync = NULL;
	if (!in->undo_log)
		z->ops.undo_log = NULL;
	if (!in->iter_open)
		z->ops.iter_open = NULL;
	if (!in->changes)
		z->ops.changes = NULL;
	if (!in->pack)
		z->ops.pack = NULL;
	if (!in->pack_progress)
		z->ops.pack_progress = NULL;
	if (!in->pack_stop)
		z->ops.pack_stop = NULL;
	if (!in->open_blob)
		z->ops.open_blob = NULL;
	z->storage.ops = &z->ops;
}

int zlib_storage_open(struct storage *inner, const struct zlib_storage_options *o,
	struct storage **ret, struct err *e)
{
	struct zlib_storage *z = mem_zalloc(1, sizeof(*z));
	int rc = z ? OK : err_set(e, ERR_NOMEM, "no memory for a storage");

	if (rc != OK)
		return rc;
	z->inner = inner;
	rc = set_interfaces(z, e);
	if (rc != OK) {
		mem_free(z);
		return rc;
	}
	z->storage.name = inner->name;
	z->storage.read_only = inner->read_only;
	z->storage.one_at_a_time = inner->one_at_a_time;
	z->storage.lists_changes = inner->lists_changes;
	z->storage.pubs = inner->pubs;
	z->storage.blobs = inner->blobs;
	set_ops(z, o);
	*ret = &z->storage;
	return OK;
}
