/* What can be undone: the transactions from the end of the file back to the last one that was packed. On the
 * pool, from one header to the one before. */

#include "base/mem.h"
#include "storage/filestorage/fs.h"
#include "storage/filestorage/fs_data.h"

enum { STRINGS_MAX = 3 * FS_STRING_MAX };

/* An undone transaction would be in the file that is about to go. */
static int check_no_pack(struct storage *s, struct err *e)
{
	struct pack_progress p = { 0 };

	if (s->ops->pack_progress)
		s->ops->pack_progress(s, &p);
	return p.running ? err_set(e, ERR_UNDO,
				   "Undo is currently disabled for database maintenance.<p>")
			 : OK;
}

/* @room  of STRINGS_MAX bytes. False in *ret_more: enough. */
static int take(struct undo_log_req *r, const struct fs_txn_walk *w, uint8_t *room, bool *ret_more)
{
	const struct fs_txn_header *h = &w->h;
	size_t n = (size_t)h->ulen + h->dlen + h->elen;
	struct txn_info t = {
		.tid = h->tid,
		.size_bytes = h->tlen,
		.status = h->status,
		.user = slice_of(room, h->ulen),
		.desc = slice_of(room + h->ulen, h->dlen),
		.ext = slice_of(room + h->ulen + h->dlen, h->elen),
	};
	int rc = fs_read_exactly(w->d, w->pos + FS_TXN_HEADER_LEN, room, n, &r->err);

	if (rc == OK)
		*ret_more = r->take(r, &t);
	return rc;
}

static int walk(struct undo_log_req *r, struct data_file *d, uint8_t *room)
{
	struct fs_txn_walk w = { .d = d, .pos = data_file_end(d) };
	bool more = true;

	while (more && w.pos >= FS_SEARCH_START) {
		int rc = fs_txn_before(&w, &r->err);

		if (rc == OK && w.h.status == 'p')
			break;
		if (rc == OK && w.h.status == ' ' && w.h.tid <= r->applied)
			rc = take(r, &w, room, &more);
		if (rc != OK)
			return rc;
	}
	return OK;
}

static void undo_log_work(struct job *j)
{
	struct undo_log_req *r = CONTAINER_OF(j, struct undo_log_req, job);
	uint8_t *room = mem_alloc(STRINGS_MAX);

	r->rc = room ? check_no_pack(r->storage, &r->err)
		     : err_set(&r->err, ERR_NOMEM, "no memory to list transactions");
	if (r->rc == OK) {
		struct data_file *d = data_file_get(&fs_of(r->storage)->data);

		r->rc = walk(r, d, room);
		data_file_unref(d);
	}
	mem_free(room);
}

static void undo_log_done(struct job *j)
{
	struct undo_log_req *r = CONTAINER_OF(j, struct undo_log_req, job);

	r->done(r);
}

void fs_undo_log(struct storage *s, struct undo_log_req *r)
{
	r->storage = s;
	r->job.work = undo_log_work;
	r->job.done = undo_log_done;
	r->exec->submit(r->exec, &r->job);
}
