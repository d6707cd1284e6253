#include "client/written.h"

#include <stdlib.h>

#include "base/mem.h"
#include "base/os.h"

enum {
	MEMORY_MAX = 4 << 20,
	ROOM_KEPT = 2 << 20, /* fresh memory costs as much as what is written into it */
};

void written_init(struct written *w, struct buf *room)
{
	*w = (struct written){ .fd = -1, .memory = *room };
	*room = (struct buf)BUF_INIT(0);
}

struct buf written_fini(struct written *w)
{
	mem_free(w->recs);
	os_close(w->fd);
	buf_shrink(&w->memory, ROOM_KEPT);
	return w->memory;
}

static int grow(struct written *w, struct err *e)
{
	size_t room = w->room ? w->room * 2 : 16;
	struct written_rec *recs = mem_realloc(w->recs, room * sizeof(*recs));

	if (!recs)
		return err_set(e, ERR_NOMEM, "no memory for a transaction");
	w->recs = recs;
	w->room = room;
	return OK;
}

static int spill(struct written *w, struct err *e)
{
	const char *dir = getenv("TMPDIR");
	int rc = OK;

	if (w->fd < 0)
		rc = os_open_unnamed(dir && *dir ? dir : "/tmp", &w->fd, e);
	if (rc == OK)
		rc = os_pwrite(w->fd, w->memory.data, w->memory.len, w->spilled, e);
	if (rc != OK) {
		err_wrap(e, "a transaction's temporary file");
		return rc;
	}
	w->spilled += w->memory.len;
	buf_reset(&w->memory);
	return OK;
}

int written_add(struct written *w, uint64_t oid, struct slice data, bool has_data, struct err *e)
{
	int rc = OK;

	if (w->n == w->room)
		rc = grow(w, e);
	if (rc == OK && has_data && w->memory.len && w->memory.len + data.len > MEMORY_MAX)
		rc = spill(w, e);
	if (rc != OK)
		return rc;
	w->recs[w->n] = (struct written_rec){ oid, w->spilled + w->memory.len, data.len, has_data };
	if (has_data)
		buf_put_slice(&w->memory, data);
	if (!buf_ok(&w->memory)) {
		w->memory.failed = false;
		return err_set(e, ERR_NOMEM, "no memory for a transaction");
	}
	w->n++;
	return OK;
}

uint64_t written_bytes(const struct written *w)
{
	return w->spilled + w->memory.len;
}

void written_forget_data(struct written *w, uint64_t oid)
{
	for (size_t i = 0; i < w->n; i++)
		if (w->recs[i].oid == oid)
			w->recs[i].has_data = false;
}

bool written_data(
	const struct written *w, const struct written_rec *r, struct buf *room, struct slice *ret)
{
	size_t n = 0;
	uint8_t *p;

	if (r->off >= w->spilled) {
		*ret = slice_of(w->memory.data + (r->off - w->spilled), r->len);
		return true;
	}
	buf_reset(room);
	p = buf_reserve(room, r->len);
	if (!p || os_pread(w->fd, p, r->len, r->off, &n, NULL) != OK || n != r->len)
		return false;
	*ret = slice_of(p, n);
	return true;
}
