#include "storage/txn.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>

#include "base/check.h"
#include "base/mem.h"
#include "base/os.h"

struct txn *txn_new(void)
{
	struct txn *t = mem_zalloc(1, sizeof(*t));

	if (!t)
		return NULL;
	t->status = ' ';
	t->spill_fd = -1;
	return t;
}

void txn_free(struct txn *t)
{
	if (!t)
		return;
	txn_drop_data(t);
	buf_free(&t->user);
	buf_free(&t->desc);
	buf_free(&t->ext);
	mem_free(t->recs);
	mem_free(t);
}

void txn_drop_data(struct txn *t)
{
	buf_free(&t->data);
	os_close(t->spill_fd);
	t->spill_fd = -1;
	t->data_spilled = 0;
}

static int grow_recs(struct txn *t, struct err *e)
{
	size_t room = t->recs_room ? t->recs_room * 2 : 8;
	struct txn_rec *recs = mem_realloc(t->recs, room * sizeof(*recs));

	if (!recs)
		return err_set(e, ERR_NOMEM, "no memory for %zu records of a transaction", room);
	t->recs = recs;
	t->recs_room = room;
	return OK;
}

/* An unlinked file in TMPDIR: gone with the process, whatever happens to it. */
static int open_spill(struct txn *t, struct err *e)
{
	const char *dir = getenv("TMPDIR");
	return os_open_unnamed(dir && *dir ? dir : "/tmp", &t->spill_fd, e);
}

/* Move the data in memory to the file. */
static int spill(struct txn *t, struct err *e)
{
	int rc = t->spill_fd < 0 ? open_spill(t, e) : OK;

	if (rc == OK)
		rc = os_pwrite(t->spill_fd, t->data.data, t->data.len, t->data_spilled, e);
	if (rc != OK) {
		err_wrap(e, "temporary file of a large transaction");
		return rc;
	}
	t->data_spilled += t->data.len;
	buf_reset(&t->data);
	return OK;
}

int txn_add(struct txn *t, const struct txn_rec *rec, struct slice data, struct err *e)
{
	struct txn_rec *r;
	int rc = OK;

	CHECK(t->state == TXN_BUFFERING);
	if (t->n_recs == TXN_RECS_MAX || t->data_spilled + t->data.len + data.len > TXN_BYTES_MAX)
		return err_set(e, ERR_LIMIT, "a transaction of more than %d records or %llu bytes",
			TXN_RECS_MAX, (unsigned long long)TXN_BYTES_MAX);
	if (t->n_recs == t->recs_room)
		rc = grow_recs(t, e);
	if (rc == OK && t->data.len && t->data.len + data.len > TXN_MEMORY_MAX)
		rc = spill(t, e);
	if (rc != OK)
		return rc;
	r = &t->recs[t->n_recs];
	*r = *rec;
	r->data_off = t->data_spilled + t->data.len;
	r->data_len = data.len;
	buf_put_slice(&t->data, data);
	if (!buf_ok(&t->data))
		return err_set(e, ERR_NOMEM, "no memory for %zu bytes of a transaction", data.len);
	t->n_recs++;
	return OK;
}

int txn_data(const struct txn *t, const struct txn_rec *rec, struct buf *scratch, struct slice *ret,
	struct err *e)
{
	size_t got = 0;
	uint8_t *p;
	int rc;

	if (rec->data_off >= t->data_spilled) {
		*ret = slice_of(
			rec->data_len ? t->data.data + (rec->data_off - t->data_spilled) : NULL,
			rec->data_len);
		return OK;
	}
	buf_reset(scratch);
	p = buf_reserve(scratch, rec->data_len);
	if (!p)
		return err_set(e, ERR_NOMEM, "no memory for a record of %llu bytes",
			(unsigned long long)rec->data_len);
	rc = os_pread(t->spill_fd, p, rec->data_len, rec->data_off, &got, e);
	if (rc == OK && got < rec->data_len)
		rc = err_set(e, ERR_IO,
			"the temporary file of a transaction ends at %llu, %llu was expected",
			(unsigned long long)(rec->data_off + got),
			(unsigned long long)(rec->data_off + rec->data_len));
	if (rc != OK)
		return rc;
	buf_advance(scratch, got);
	*ret = buf_slice(scratch);
	return OK;
}
