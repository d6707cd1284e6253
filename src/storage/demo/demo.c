#include "storage/demo/demo.h"

#include <string.h>

#include "base/check.h"
#include "base/mem.h"
#include "storage/blob/blob_dir.h"
#include "storage/demo/demo_core.h"

static void demo_abort(struct storage *s, struct txn *t)
{
	struct storage *changes = demo_of(s)->changes;

	changes->ops->abort(changes, t);
}

static void demo_finish(struct storage *s, struct txn *t)
{
	struct storage *changes = demo_of(s)->changes;

	changes->ops->finish(changes, t);
}

static void demo_undo_log(struct storage *s, struct undo_log_req *r)
{
	struct storage *changes = demo_of(s)->changes;

	changes->ops->undo_log(changes, r);
}

static void demo_changes(struct storage *s, struct changes_req *r)
{
	struct demo *d = demo_of(s);

	if (r->tid >= d->base_last) {
		d->changes->ops->changes(d->changes, r);
		return;
	}
	/* what the base had changed before nobody asks it for: such a client looks at all it has */
	r->oids = NULL;
	r->n_oids = 0;
	r->rc = err_set(&r->err, ERR_NOENT, "the changes begin after that transaction");
	r->done(r);
}

static void demo_pack(struct storage *s, struct pack_req *r)
{
	struct storage *changes = demo_of(s)->changes;

	changes->ops->pack(changes, r);
}

static void demo_pack_progress(struct storage *s, struct pack_progress *ret)
{
	struct storage *changes = demo_of(s)->changes;

	changes->ops->pack_progress(changes, ret);
}

static void demo_pack_stop(struct storage *s)
{
	struct storage *changes = demo_of(s)->changes;

	changes->ops->pack_stop(changes);
}

static bool demo_has_oid(struct storage *s, uint64_t oid)
{
	struct demo *d = demo_of(s);

	return d->changes->ops->has_oid(d->changes, oid) || d->base->ops->has_oid(d->base, oid);
}

/* The first of @n oids in a row, from @oid on, that no object has. */
static uint64_t find_unused(struct storage *s, uint64_t oid, uint32_t n)
{
	uint32_t found = 0;

	while (found < n) {
		if (demo_has_oid(s, oid + found)) {
			oid += found + 1;
			found = 0;
		} else {
			found++;
		}
	}
	return oid;
}

/* Oids only grow: what was given once is not given again, stored or not (R10). */
static uint64_t demo_new_oids(struct storage *s, uint32_t n)
{
	struct demo *d = demo_of(s);
	uint64_t first;

	pthread_mutex_lock(&d->oid_lock);
	first = find_unused(s, d->next_oid, n);
	d->next_oid = first + n;
	pthread_mutex_unlock(&d->oid_lock);
	return first;
}

static void demo_info(struct storage *s, struct storage_info *ret)
{
	struct demo *d = demo_of(s);

	d->changes->ops->info(d->changes, ret);
	ret->supports_record_iternext = false;
	ret->interfaces = d->interfaces;
}

static void demo_free(struct demo *d)
{
	mem_free((char *)d->storage.name);
	mem_free(d->temporary_dir);
	pthread_mutex_destroy(&d->oid_lock);
	mem_free(d);
}

static void demo_close(struct storage *s)
{
	struct demo *d = demo_of(s);
	struct err e = ERR_INIT;
	int rc = OK;

	d->base->ops->close(d->base);
	d->changes->ops->close(d->changes);
	if (d->temporary_dir)
		rc = blob_dir_remove_tree(d->temporary_dir, &e);
	(void)rc; /* what is left is in nobody's way */
	demo_free(d);
}

static const struct storage_ops ops = {
	.load = demo_load,
	.history = demo_history,
	.vote = demo_vote,
	.abort = demo_abort,
	.finish = demo_finish,
	.undo_log = demo_undo_log,
	.iter_open = demo_iter_open,
	.iter_records = demo_iter_records,
	.iter_next = demo_iter_next,
	.iter_close = demo_iter_close,
	.changes = demo_changes,
	.pack = demo_pack,
	.pack_progress = demo_pack_progress,
	.pack_stop = demo_pack_stop,
	.open_blob = demo_open_blob,
	.new_oids = demo_new_oids,
	.has_oid = demo_has_oid,
	.info = demo_info,
	.close = demo_close,
};

static void set_ops(struct demo *d)
{
	const struct storage_ops *c = d->changes->ops;
	const struct storage_ops *b = d->base->ops;

	d->ops = ops;
	if (!c->undo_log)
		d->ops.undo_log = NULL;
	if (!c->changes)
		d->ops.changes = NULL;
	if (!c->pack)
		d->ops.pack = NULL;
	if (!c->pack_progress)
		d->ops.pack_progress = NULL;
	if (!c->pack_stop)
		d->ops.pack_stop = NULL;
	if (!c->open_blob)
		d->ops.open_blob = NULL;
	if (!c->iter_open || !b->iter_open)
		d->ops.iter_open = NULL;
	d->storage.ops = &d->ops;
}

/* --- what clients are told --- */

static size_t add_interface(struct demo *d, size_t n, const char *module, const char *name)
{
	CHECK(n + 2 < DEMO_NAMES_ROOM);
	d->interfaces[n] = module;
	d->interfaces[n + 1] = name;
	return n + 2;
}

static bool has_interface(const char *const *names, const char *name)
{
	for (; names[0]; names += 2)
		if (strcmp(names[1], name) == 0)
			return true;
	return false;
}

/* T57: as zope.interface orders what a DemoStorage takes over from its changes. */
static void set_interfaces(struct demo *d)
{
	static const char zodb[] = "ZODB.interfaces";
	struct storage_info info;
	size_t n = 0;

	d->changes->ops->info(d->changes, &info);
	if (has_interface(info.interfaces, "IBlobStorage"))
		n = add_interface(d, n, zodb, "IBlobStorage");
	if (info.supports_undo)
		n = add_interface(d, n, zodb, "IStorageUndoable");
	n = add_interface(d, n, zodb, "IStorage");
	n = add_interface(d, n, zodb, "IStorageIteration");
	add_interface(d, n, "zope.interface", "Interface");
}

/* As Python's repr() shows a text. */
static void put_repr(struct buf *b, const char *s)
{
	char quote = strchr(s, '\'') && !strchr(s, '"') ? '"' : '\'';

	buf_put_u8(b, (uint8_t)quote);
	for (; *s; s++) {
		unsigned char c = (unsigned char)*s;

		if (c == '\t' || c == '\n' || c == '\r')
			buf_printf(b, "\\%c", c == '\t' ? 't' : c == '\n' ? 'n' : 'r');
		else if (c < 0x20 || c == 0x7f)
			buf_printf(b, "\\x%02x", c);
		else if (c == '\\' || c == quote)
			buf_printf(b, "\\%c", c);
		else
			buf_put_u8(b, c);
	}
	buf_put_u8(b, (uint8_t)quote);
}

/* Allocated; NULL without memory. */
static char *make_name(const struct demo_options *o)
{
	struct buf b = BUF_INIT(0);
	char *name;

	if (o->name)
		return mem_strdup(o->name);
	buf_put_str(&b, "DemoStorage(");
	put_repr(&b, o->base->name);
	buf_put_str(&b, ", ");
	put_repr(&b, o->changes->name);
	buf_put(&b, ")", 2);
	name = buf_ok(&b) ? mem_strdup((const char *)b.data) : NULL;
	buf_free(&b);
	return name;
}

int demo_open(const struct demo_options *o, struct storage **ret, struct err *e)
{
	struct demo *d = mem_zalloc(1, sizeof(*d));

	if (!d)
		return err_set(e, ERR_NOMEM, "no memory for a storage");
	pthread_mutex_init(&d->oid_lock, NULL);
	d->base = o->base;
	d->changes = o->changes;
	d->base_last = pubchain_last_tid(o->base->pubs);
	d->next_oid = o->first_oid;
	d->storage.name = make_name(o);
	if (o->temporary_dir)
		d->temporary_dir = mem_strdup(o->temporary_dir);
	if (!d->storage.name || (o->temporary_dir && !d->temporary_dir) ||
		pubchain_start_at(o->changes->pubs, d->base_last) != OK) {
		demo_free(d);
		return err_set(e, ERR_NOMEM, "no memory for a storage");
	}
	d->storage.read_only = o->changes->read_only;
	d->storage.pubs = o->changes->pubs; /* I3 */
	d->storage.blobs = o->changes->blobs;
	d->storage.one_at_a_time = o->changes->one_at_a_time;
	set_ops(d);
	set_interfaces(d);
	*ret = &d->storage;
	return OK;
}
