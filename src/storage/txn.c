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

/* What cannot be removed is, at the next start. */
static void unlink_blob(const char *path)
{
	struct err e = ERR_INIT;
	int rc = os_unlink(path, &e);

	(void)rc;
}

static void drop_blob(struct txn_blob *b)
{
	if (b->path)
		unlink_blob(b->path);
	mem_free(b->path);
}

void txn_free(struct txn *t)
{
	if (!t)
		return;
	if (t->kept)
		t->free_kept(t->kept);
	txn_drop_data(t);
	for (uint32_t i = 0; i < t->n_blobs; i++)
		drop_blob(&t->blobs[i]);
	mem_free(t->blobs);
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

int txn_spill(struct txn *t, struct err *e)
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

/* Room for one more record and its data. */
static int make_room(struct txn *t, struct slice data, struct err *e)
{
	int rc = OK;

	if (t->n_recs == TXN_RECS_MAX || t->data_spilled + t->data.len + data.len > TXN_BYTES_MAX)
		return err_set(e, ERR_LIMIT, "a transaction of more than %d records or %llu bytes",
			TXN_RECS_MAX, (unsigned long long)TXN_BYTES_MAX);
	if (t->n_recs == t->recs_room)
		rc = grow_recs(t, e);
	if (rc == OK && t->state != TXN_BUFFERING && t->data.len &&
		t->data.len + data.len > TXN_MEMORY_MAX)
		rc = txn_spill(t, e);
	return rc;
}

static int put_data(struct txn *t, struct txn_rec *r, struct slice data, struct err *e)
{
	uint64_t off = t->data_spilled + t->data.len;

	buf_put_slice(&t->data, data);
	if (!buf_ok(&t->data))
		return err_set(e, ERR_NOMEM, "no memory for %zu bytes of a transaction", data.len);
	r->data_off = off;
	r->data_len = data.len;
	return OK;
}

static int append(struct txn *t, const struct txn_rec *rec, struct slice data, struct err *e)
{
	int rc = make_room(t, data, e);

	if (rc != OK)
		return rc;
	t->recs[t->n_recs] = *rec;
	rc = put_data(t, &t->recs[t->n_recs], data, e);
	if (rc == OK)
		t->n_recs++;
	return rc;
}

int txn_add(struct txn *t, const struct txn_rec *rec, struct slice data, struct err *e)
{
	CHECK(t->state == TXN_BUFFERING);
	return append(t, rec, data, e);
}

int txn_add_blob(struct txn *t, const struct txn_rec *rec, struct slice data, const char *path,
	struct err *e)
{
	struct txn_rec with_blob = *rec;
	struct txn_blob *blobs = mem_realloc(t->blobs, (t->n_blobs + 1) * sizeof(*blobs));
	struct txn_blob b = { mem_strdup(path), rec->oid };

	if (blobs)
		t->blobs = blobs;
	if (!blobs || !b.path) {
		unlink_blob(path);
		mem_free(b.path);
		return err_set(e, ERR_NOMEM, "no memory for a blob of a transaction");
	}
	t->blobs[t->n_blobs++] = b;
	with_blob.blob = t->n_blobs;
	return txn_add(t, &with_blob, data, e);
}

int txn_set_data(struct txn *t, size_t rec, struct slice data, struct err *e)
{
	int rc = make_room(t, data, e);

	CHECK(rec < t->n_recs && t->state != TXN_FINISHING);
	return rc == OK ? put_data(t, &t->recs[rec], data, e) : rc;
}

int txn_add_voted(struct txn *t, const struct txn_rec *rec, struct slice data, struct err *e)
{
	CHECK(t->state == TXN_VOTING && rec->made_of);
	if (t->n_asked == 0)
		t->n_asked = t->n_recs;
	return append(t, rec, data, e);
}

int txn_place_voted(struct txn *t, struct err *e)
{
	struct txn_rec *recs;
	size_t own = t->n_asked;
	size_t n = 0;

	if (t->n_asked == 0)
		return OK;
	recs = mem_zalloc(t->n_recs, sizeof(*recs));
	if (!recs)
		return err_set(
			e, ERR_NOMEM, "no memory for %zu records of a transaction", t->n_recs);
	for (size_t i = 0; i < t->n_asked; i++) {
		recs[n++] = t->recs[i];
		while (own < t->n_recs && t->recs[own].made_of == i + 1)
			recs[n++] = t->recs[own++];
	}
	CHECK(n == t->n_recs);
	mem_free(t->recs);
	t->recs = recs;
	t->recs_room = n;
	return OK;
}

/* Vote's blobs are the last ones. */
static void drop_voted_blob(struct txn *t, uint32_t blob)
{
	drop_blob(&t->blobs[blob - 1]);
	t->blobs[blob - 1].path = NULL;
	if (blob <= t->n_blobs)
		t->n_blobs = blob - 1;
}

void txn_drop_voted(struct txn *t)
{
	size_t n = 0;

	for (size_t i = 0; i < t->n_recs; i++) {
		if (!t->recs[i].made_of)
			t->recs[n++] = t->recs[i];
		else if (t->recs[i].blob)
			drop_voted_blob(t, t->recs[i].blob);
	}
	t->n_recs = n;
	t->n_asked = 0;
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
