/* The revisions of an object, with what is known of their transactions. Always on the pool: each one
 * is two reads at places far apart. */
#include "storage/filestorage/fs.h"

typedef unsigned long long ull;

static int read_exactly(struct data_file *d, uint64_t off, void *p, size_t n, struct err *e)
{
	size_t got;
	int rc = d->disk->ops->pread(d->disk, p, n, off, true, &got, e);

	if (rc == OK && got < n)
		rc = err_set(e, ERR_CORRUPT, "damaged: the file ends in the transaction at %llu",
			(ull)off);
	return rc;
}

/* The three strings of the transaction at @tloc. */
static int read_strings(struct data_file *d, uint64_t tloc, struct arena *arena,
	struct history_item *it, struct err *e)
{
	uint8_t header[FS_TXN_HEADER_LEN];
	struct fs_txn_header h;
	uint8_t *p;
	int rc = read_exactly(d, tloc, header, sizeof(header), e);

	if (rc != OK)
		return rc;
	fs_txn_header_get(header, &h);
	p = arena_alloc(arena, (size_t)h.ulen + h.dlen + h.elen);
	if (!p)
		return err_set(e, ERR_NOMEM, "no memory for a history");
	rc = read_exactly(d, tloc + FS_TXN_HEADER_LEN, p, (size_t)h.ulen + h.dlen + h.elen, e);
	it->user = slice_of(p, h.ulen);
	it->desc = slice_of(p + h.ulen, h.dlen);
	it->ext = slice_of(p + h.ulen + h.dlen, h.elen);
	return rc;
}

/* One more item: they are few at first, so room doubles. The old one stays in the arena until its end. */
static struct history_item *next_item(struct history_req *r, uint32_t *room)
{
	if (r->n_items == *room) {
		uint32_t n = *room ? *room * 2 : 8;
		struct history_item *items = arena_alloc(r->arena, n * sizeof(*items));

		if (!items)
			return NULL;
		if (r->n_items)
			memcpy(items, r->items, r->n_items * sizeof(*items));
		r->items = items;
		*room = n;
	}
	return &r->items[r->n_items];
}

static int add_item(
	struct data_file *d, struct history_req *r, uint32_t *room, const struct fs_rec_header *h)
{
	struct history_item *it = next_item(r, room);

	if (!it)
		return err_set(&r->err, ERR_NOMEM, "no memory for a history");
	it->tid = h->tid;
	it->size = h->plen;
	r->n_items++;
	return read_strings(d, h->tloc, r->arena, it, &r->err);
}

static int history(struct data_file *d, struct history_req *r)
{
	uint64_t off = index_get(d->index, r->oid);
	uint32_t room = 0;
	bool visible = false;

	while (off && (!visible || r->n_items < r->size)) {
		struct fs_rec_header h;
		uint64_t back;
		int rc = fs_read_record(d, off, r->oid, true, &h, &back, &r->err);

		if (rc == OK && h.tid <= r->applied) {
			visible = true;
			if (r->n_items < r->size)
				rc = add_item(d, r, &room, &h);
		}
		if (rc != OK)
			return rc;
		off = h.prev;
	}
	return visible ? OK : ERR_NOKEY;
}

static void history_work(struct job *j)
{
	struct history_req *r = CONTAINER_OF(j, struct history_req, job);

	struct data_file *d = data_file_get(&fs_of(r->storage)->data);

	r->rc = history(d, r);
	data_file_unref(d);
}

static void history_done(struct job *j)
{
	struct history_req *r = CONTAINER_OF(j, struct history_req, job);

	r->done(r);
}

void fs_history(struct storage *s, struct history_req *r)
{
	r->storage = s;
	r->items = NULL;
	r->n_items = 0;
	r->job.work = history_work;
	r->job.done = history_done;
	r->exec->submit(r->exec, &r->job);
}
