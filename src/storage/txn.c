#include "storage/txn.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>

#include "base/check.h"
#include "base/mem.h"
#include "base/os.h"

/* What is growing beyond this gets the room of a large one at once: copying it a second time would take a loop too long,
 * and memory that is not written to costs nothing. */
enum {
	MANY_RECS = 4096,
	MUCH_DATA = 128 << 10,
};

enum {
	WINDOW_BYTES = 64 << 10, /* read at once from the temporary file */
	SPILL_BYTES = 256 << 10, /* written at once into it */
};

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
	size_t room = t->recs_room ? t->recs_room * (t->recs_room < MANY_RECS ? 2 : 16) : 8;
	struct txn_rec *recs;

	if (room > TXN_RECS_MAX)
		room = TXN_RECS_MAX;
	recs = mem_realloc(t->recs, room * sizeof(*recs));

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

	for (size_t at = 0; rc == OK && at < t->data.len; at += SPILL_BYTES) {
		size_t rest = t->data.len - at;

		rc = os_pwrite(t->spill_fd, t->data.data + at,
			rest < SPILL_BYTES ? rest : SPILL_BYTES, t->data_spilled + at, e);
		os_give_way();
	}
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

	if (t->data.len + data.len > t->data.room && t->data.len >= MUCH_DATA &&
		t->data.len < TXN_MEMORY_MAX)
		(void)buf_reserve(&t->data, TXN_MEMORY_MAX + data.len);
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

	if (t->n_asked == 0)
		return;
	for (size_t i = 0; i < t->n_recs; i++) {
		if (!t->recs[i].made_of)
			t->recs[n++] = t->recs[i];
		else if (t->recs[i].blob)
			drop_voted_blob(t, t->recs[i].blob);
	}
	t->n_recs = n;
	t->n_asked = 0;
}

/* @len bytes of the temporary file into @b, or as many more up to @most as there are. */
static int read_spilled(
	const struct txn *t, uint64_t off, size_t len, size_t most, struct buf *b, struct err *e)
{
	uint64_t there = t->data_spilled - off;
	size_t want = most > there ? (size_t)there : most;
	size_t got = 0;
	uint8_t *p;
	int rc;

	want = want < len ? len : want;
	buf_reset(b);
	p = buf_reserve(b, want);
	if (!p)
		return err_set(e, ERR_NOMEM, "no memory for a record of %zu bytes", len);
	rc = os_pread(t->spill_fd, p, want, off, &got, e);
	if (rc == OK && got < len)
		rc = err_set(e, ERR_IO,
			"the temporary file of a transaction ends at %llu, %llu was expected",
			(unsigned long long)(off + got), (unsigned long long)(off + len));
	if (rc == OK)
		buf_advance(b, got);
	return rc;
}

static struct slice data_in_memory(const struct txn *t, const struct txn_rec *rec)
{
	return slice_of(rec->data_len ? t->data.data + (rec->data_off - t->data_spilled) : NULL,
		rec->data_len);
}

int txn_data(const struct txn *t, const struct txn_rec *rec, struct buf *scratch, struct slice *ret,
	struct err *e)
{
	int rc;

	if (rec->data_off >= t->data_spilled) {
		*ret = data_in_memory(t, rec);
		return OK;
	}
	rc = read_spilled(t, rec->data_off, rec->data_len, rec->data_len, scratch, e);
	if (rc == OK)
		*ret = buf_slice(scratch);
	return rc;
}

int txn_data_in_order(const struct txn *t, const struct txn_rec *rec, struct txn_window *w,
	struct slice *ret, struct err *e)
{
	int rc = OK;

	if (rec->data_off >= t->data_spilled) {
		*ret = data_in_memory(t, rec);
		return OK;
	}
	if (rec->data_off < w->off || rec->data_off + rec->data_len > w->off + w->bytes.len) {
		w->off = rec->data_off;
		rc = read_spilled(t, rec->data_off, rec->data_len, WINDOW_BYTES, &w->bytes, e);
	}
	if (rc == OK)
		*ret = slice_of(w->bytes.data + (rec->data_off - w->off), rec->data_len);
	return rc;
}
