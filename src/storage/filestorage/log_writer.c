#include "storage/filestorage/log_writer.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/bigendian.h"
#include "base/check.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/os.h"
#include "codec/tid.h"
#include "storage/filestorage/format.h"

enum {
	BATCH_MAX = 16 << 20, /* bytes of a batch, but for one transaction that is larger */
	WRITE_CHUNK = 256 << 10,
	RECORDS_A_GO = 256, /* until other threads have their turn */
	WAIT_MAX_US = 5000, /* for another transaction, whatever the last sync took */
};

/* A transaction of a batch. */
struct entry {
	struct txn *txn;
	struct publication *pub;
	uint64_t start; /* offset of its header */
	uint64_t end;
};

struct batch {
	struct entry *entries;
	size_t n;
	size_t room;
};

struct log_writer {
	struct log_writer_env env;
	pthread_mutex_t lock; /* guards the queue; docs/threads.md */
	struct txn *queue;
	struct txn **queue_end;
	size_t n_queue;
	struct txn *expected;    /* voted, not finished yet; the newest first */
	bool waits;              /* for one of them: what changes wakes */
	struct writer_job *jobs; /* newest first: there is hardly ever more than one */
	atomic_bool broken;

	/* the writer's own */
	struct batch appended; /* synced, its first status still 'c' */
	struct batch filling;
	uint64_t last_tid;         /* of what is in the file */
	uint64_t file_end;         /* where whole transactions end, published or not */
	uint64_t dirty_end;        /* highest offset that may have been written */
	uint64_t flushed;          /* offset of out's first byte */
	uint64_t sync_us;          /* what the last sync of a batch took */
	uint64_t wait_since_us;    /* first asked whether to wait for the next step; 0: not yet */
	bool write_failed;         /* of the batch being filled */
	struct buf out;            /* appended bytes that are not written yet */
	struct txn_window spilled; /* of the transaction that is being appended */
};

static void say(struct log_writer *w, int level, const char *what, const struct err *e)
{
	char text[sizeof(e->text) + 100];

	if (!w->env.log)
		return;
	snprintf(text, sizeof(text), "%s: %s", what, e->text);
	w->env.log(w->env.log_ctx, level, text);
}

/* A large transaction shall not keep a processor from those who wait for an answer. */
static void give_way(size_t n_done)
{
	if (n_done % RECORDS_A_GO == RECORDS_A_GO - 1)
		os_give_way();
}

/* --- the batch in memory --- */

static int flush(struct log_writer *w, struct err *e)
{
	struct disk_file *f = w->env.data->disk;
	int rc;

	if (w->out.len == 0)
		return OK;
	w->dirty_end = w->flushed + w->out.len;
	rc = f->ops->pwrite(f, w->out.data, w->out.len, w->flushed, e);
	if (rc != OK) {
		w->write_failed = true;
		return rc;
	}
	w->flushed += w->out.len;
	buf_shrink(&w->out, 2 * WRITE_CHUNK);
	return OK;
}

static uint64_t txn_length(const struct txn *t)
{
	uint64_t n = FS_TXN_HEADER_LEN + t->user.len + t->desc.len + t->ext.len;

	for (size_t i = 0; i < t->n_recs; i++)
		if (txn_rec_is_written(&t->recs[i]))
			n += FS_REC_HEADER_LEN + log_writer_body_bytes(&t->recs[i]);
	return n;
}

static int by_value(const void *a, const void *b)
{
	uint64_t x = *(const uint64_t *)a;
	uint64_t y = *(const uint64_t *)b;

	return x < y ? -1 : x > y;
}

/* New objects come in their order: most transactions of many are sorted. */
static void sort(uint64_t *oids, uint32_t n)
{
	uint32_t i = 1;

	while (i < n && oids[i - 1] <= oids[i])
		i++;
	if (i < n)
		qsort(oids, n, sizeof(oids[0]), by_value);
}

/* What it wrote, each oid once; room in the index for them. */
static int make_publication(
	struct log_writer *w, const struct txn *t, struct publication **ret, struct err *e)
{
	struct publication *p = publication_new((uint32_t)t->n_recs);
	uint32_t n = 0;
	uint32_t used = 0;

	if (!p)
		return err_set(e, ERR_NOMEM, "no memory for the invalidations of a transaction");
	for (size_t i = 0; i < t->n_recs; i++)
		if (txn_rec_is_written(&t->recs[i]))
			p->oids[n++] = t->recs[i].oid;
	sort(p->oids, n);
	for (uint32_t i = 0; i < n; i++)
		if (used == 0 || p->oids[used - 1] != p->oids[i])
			p->oids[used++] = p->oids[i];
	p->n_oids = used;
	p->origin = t->origin;
	if (index_prepare(w->env.data->index, p->oids, used) != OK) {
		publication_free(p);
		return err_set(e, ERR_NOMEM, "no memory for the index");
	}
	*ret = p;
	return OK;
}

static int put_header(struct log_writer *w, const struct txn *t, uint64_t tlen, uint8_t status)
{
	struct fs_txn_header h = {
		.tid = t->tid,
		.tlen = tlen,
		.status = status,
		.ulen = (uint16_t)t->user.len,
		.dlen = (uint16_t)t->desc.len,
		.elen = (uint16_t)t->ext.len,
	};
	uint8_t *p = buf_reserve(&w->out, FS_TXN_HEADER_LEN);

	if (!p)
		return ERR_NOMEM;
	fs_txn_header_put(p, &h);
	buf_advance(&w->out, FS_TXN_HEADER_LEN);
	buf_put_slice(&w->out, buf_slice(&t->user));
	buf_put_slice(&w->out, buf_slice(&t->desc));
	buf_put_slice(&w->out, buf_slice(&t->ext));
	return buf_ok(&w->out) ? OK : ERR_NOMEM;
}

static int put_record(struct log_writer *w, const struct txn *t, const struct txn_rec *rec,
	uint64_t start, struct err *e)
{
	struct fs_rec_header h = {
		.oid = rec->oid,
		.tid = rec->op == TXN_RESTORE ? rec->serial : t->tid,
		.prev = index_get(w->env.data->index, rec->oid),
		.tloc = start,
	};
	uint8_t back[8];
	struct slice data = slice_of(back, sizeof(back));
	uint8_t *p;
	int rc = OK;

	put_be64(back, rec->back_off);
	if (rec->has_data && rec->back_off == 0) {
		rc = txn_data_in_order(t, rec, &w->spilled, &data, e);
		h.plen = data.len;
	}
	if (rc != OK)
		return rc;
	p = buf_reserve(&w->out, FS_REC_HEADER_LEN + data.len);
	if (!p)
		return err_set(e, ERR_NOMEM, "no memory to write a record");
	fs_rec_header_put(p, &h);
	buf_advance(&w->out, FS_REC_HEADER_LEN);
	buf_put_slice(&w->out, data);
	return w->out.len >= WRITE_CHUNK ? flush(w, e) : OK;
}

/* Append its bytes. The first one of a batch is not finished until the batch is durable. */
static int put_txn(struct log_writer *w, const struct txn *t, uint64_t tlen, struct err *e)
{
	uint64_t start = w->file_end;
	uint8_t status = w->filling.n == 0 ? 'c' : t->status;
	int rc = put_header(w, t, tlen, status);

	buf_reset(&w->spilled.bytes);
	if (rc != OK)
		return err_set(e, rc, "no memory to write a transaction");
	for (size_t i = 0; rc == OK && i < t->n_recs; i++) {
		if (txn_rec_is_written(&t->recs[i]))
			rc = put_record(w, t, &t->recs[i], start, e);
		give_way(i);
	}
	if (rc != OK)
		return rc;
	buf_put_be64(&w->out, tlen);
	if (!buf_ok(&w->out))
		return err_set(e, ERR_NOMEM, "no memory to write a transaction");
	CHECK(w->flushed + w->out.len == start + tlen + 8);
	return OK;
}

static int assign_tid(struct log_writer *w, struct txn *t, struct err *e)
{
	bool given = t->given_tid != TID_NONE;
	uint64_t after = t->after_tid > w->last_tid ? t->after_tid : w->last_tid;
	uint64_t tid = given ? t->given_tid : tid_next(clock_wall_us(w->env.clock), after);

	if (tid <= w->last_tid) /* R4; also behind the largest there can be */
		return err_set(e, ERR_INVAL, "%s",
			given ? "the given tid is not newer than the last one"
			      : "there is no tid after the last one");
	t->tid = tid;
	return OK;
}

static int batch_room(struct batch *b)
{
	size_t room = b->room ? b->room * 2 : 16;
	struct entry *entries;

	if (b->n < b->room)
		return OK;
	entries = mem_realloc(b->entries, room * sizeof(*entries));
	if (!entries)
		return ERR_NOMEM;
	b->entries = entries;
	b->room = room;
	return OK;
}

/* Drop what was appended behind file_end; bytes of it that are in the file are cut later. */
static void drop_bytes(struct log_writer *w)
{
	buf_shrink(&w->out, 2 * WRITE_CHUNK);
	w->flushed = w->file_end;
}

/* Append one transaction to the batch. A failure is that transaction's own, except of a write. */
static int append(struct log_writer *w, struct txn *t, struct err *e)
{
	struct publication *pub = NULL;
	uint64_t tlen = txn_length(t);
	size_t out_len = w->out.len;
	uint64_t flushed = w->flushed;
	int rc = batch_room(&w->filling) == OK ? OK : err_set(e, ERR_NOMEM, "no memory");

	if (rc == OK)
		rc = assign_tid(w, t, e);
	if (rc == OK)
		rc = make_publication(w, t, &pub, e);
	if (rc != OK)
		return rc;
	if (t->prepare)
		rc = t->prepare(t, e);
	if (rc == OK)
		rc = put_txn(w, t, tlen, e);
	if (rc != OK) {
		publication_free(pub);
		if (w->flushed == flushed) {
			w->out.failed = false;
			w->out.len = out_len;
		} else {
			drop_bytes(w);
		}
		return rc;
	}
	w->filling.entries[w->filling.n++] =
		(struct entry){ t, pub, w->file_end, w->file_end + tlen + 8 };
	w->file_end += tlen + 8;
	w->last_tid = t->tid;
	return OK;
}

/* --- ends of a transaction --- */

static void finish(struct log_writer *w, struct txn *t, int rc, const struct err *e)
{
	if (t->prepare)
		t->settled(t, rc);
	if (w->env.settle)
		w->env.settle(w->env.settle_ctx, t, rc);
	t->done(t, rc, e);
}

static void fail_batch(struct log_writer *w, struct batch *b, const struct err *e)
{
	for (size_t i = 0; i < b->n; i++) {
		publication_free(b->entries[i].pub);
		finish(w, b->entries[i].txn, e->code, e);
	}
	b->n = 0;
}

static void set_index(struct log_writer *w, const struct entry *en)
{
	const struct txn *t = en->txn;
	uint64_t at = en->start + FS_TXN_HEADER_LEN + t->user.len + t->desc.len + t->ext.len;

	for (size_t i = 0; i < t->n_recs; i++) {
		if (!txn_rec_is_written(&t->recs[i]))
			continue;
		index_set(w->env.data->index, t->recs[i].oid, at);
		give_way(i);
		at += FS_REC_HEADER_LEN + log_writer_body_bytes(&t->recs[i]);
	}
}

static void publish_batch(struct log_writer *w, struct batch *b)
{
	for (size_t i = 0; i < b->n; i++) {
		struct entry *en = &b->entries[i];

		/* A reader that finds an entry finds it before the end; and all of them before the
		 * publication can be seen. */
		atomic_store_explicit(&w->env.data->end, en->end, memory_order_release);
		set_index(w, en);
		en->pub->tid = en->txn->tid;
		en->pub->size_bytes = en->end;
		en->pub->length = index_count(w->env.data->index);
		pubchain_prepare(w->env.pubs, en->pub);
		pubchain_append(w->env.pubs, en->pub);
	}
	/* What a loop is told of a transaction finds all of the batch: one turn of the loop takes it. */
	for (size_t i = 0; i < b->n; i++)
		finish(w, b->entries[i].txn, OK, NULL);
	if (b->n)
		pubchain_wake(w->env.pubs);
	b->n = 0;
}

static void swap_batches(struct log_writer *w)
{
	struct batch b = w->appended;

	w->appended = w->filling;
	w->filling = b;
}

/* --- the disk --- */

static void mark_broken(struct log_writer *w, const char *what, const struct err *e)
{
	atomic_store(&w->broken, true);
	say(w, LOG_CRITICAL, what, e);
}

/* The first status byte of the appended batch, as it is to be at last. */
static int write_status(struct log_writer *w, bool durable, struct err *e)
{
	struct disk_file *f = w->env.data->disk;
	const struct entry *en = &w->appended.entries[0];
	uint64_t off = en->start + FS_STATUS_OFF;

	return durable ? f->ops->pwrite_dsync(f, &en->txn->status, 1, off, e)
		       : f->ops->pwrite(f, &en->txn->status, 1, off, e);
}

/* The appended batch is not going to be acknowledged: hide it from a restart, if that can be done. */
static void unmark(struct log_writer *w)
{
	struct disk_file *f = w->env.data->disk;
	struct err e = ERR_INIT;

	if (w->appended.n == 0)
		return;
	if (f->ops->pwrite(f, "c", 1, w->appended.entries[0].start + FS_STATUS_OFF, &e) != OK)
		say(w, LOG_ERROR, "a failed transaction may be there after a restart", &e);
}

/* Read-only from here on (R6). */
static void give_up(struct log_writer *w, const struct err *e)
{
	mark_broken(w, "the storage is read-only until it is restarted", e);
	unmark(w);
	fail_batch(w, &w->appended, e);
	fail_batch(w, &w->filling, e);
}

/* The file ends with whole transactions again, up to file_end. */
static void cut(struct log_writer *w)
{
	struct disk_file *f = w->env.data->disk;
	struct err e = ERR_INIT;

	drop_bytes(w);
	if (w->dirty_end <= w->file_end)
		return;
	if (f->ops->ftruncate(f, w->file_end, &e) != OK)
		give_up(w, &e);
	w->dirty_end = w->file_end;
}

/* A write failed: nothing of the batch is kept. */
static void drop_filling(struct log_writer *w, const struct err *e)
{
	if (w->filling.n) {
		w->file_end = w->filling.entries[0].start;
		w->last_tid = w->appended.n ? w->appended.entries[w->appended.n - 1].txn->tid
					    : pubchain_last_tid(w->env.pubs);
	}
	say(w, LOG_ERROR, "cannot append to the data file", e);
	cut(w);
	fail_batch(w, &w->filling, e);
}

/* --- the queue --- */

static struct txn *take_queue(struct log_writer *w)
{
	struct txn *t;

	pthread_mutex_lock(&w->lock);
	t = w->queue;
	w->queue = NULL;
	w->queue_end = &w->queue;
	w->n_queue = 0;
	pthread_mutex_unlock(&w->lock);
	return t;
}

static void give_back(struct log_writer *w, struct txn *t)
{
	struct txn **end = &t;

	if (!t)
		return;
	pthread_mutex_lock(&w->lock);
	while (*end) {
		end = &(*end)->next;
		w->n_queue++;
	}
	*end = w->queue;
	if (!w->queue)
		w->queue_end = end;
	w->queue = t;
	pthread_mutex_unlock(&w->lock);
}

static bool has_queue(struct log_writer *w)
{
	bool waiting;

	pthread_mutex_lock(&w->lock);
	waiting = w->queue != NULL;
	pthread_mutex_unlock(&w->lock);
	return waiting;
}

/* Something for the next step: who queued it behind something else wakes nobody. */
static bool is_waiting(struct log_writer *w)
{
	bool waiting;

	pthread_mutex_lock(&w->lock);
	waiting = w->queue || w->jobs;
	pthread_mutex_unlock(&w->lock);
	return waiting;
}

/* Append what is waiting, up to a batch. False when a write failed. */
static bool fill_batch(struct log_writer *w)
{
	struct txn *t = take_queue(w);
	uint64_t start = w->file_end;
	struct err e = ERR_INIT;

	w->write_failed = false;
	w->flushed = w->file_end;
	while (t && w->file_end - start < BATCH_MAX && !w->write_failed) {
		struct txn *next = t->next;
		int rc;

		if (w->file_end > start && w->file_end - start + txn_length(t) > BATCH_MAX)
			break;
		rc = append(w, t, &e);
		if (rc != OK)
			finish(w, t, rc, &e);
		t = next;
	}
	give_back(w, t);
	buf_shrink(&w->spilled.bytes, 2 * WRITE_CHUNK);
	if (!w->write_failed && w->filling.n == 0)
		cut(w);
	else if (w->write_failed || flush(w, &e) != OK)
		drop_filling(w, &e);
	else
		cut(w);
	return !w->write_failed;
}

/* Step 2 with nothing to ride on: the status byte alone, durably. */
static void complete(struct log_writer *w)
{
	struct err e = ERR_INIT;

	if (write_status(w, true, &e) == OK)
		publish_batch(w, &w->appended);
	else
		give_up(w, &e);
}

/* Step 1 of the batch just filled, with step 2 of the one before. */
static void sync_batch(struct log_writer *w)
{
	struct disk_file *f = w->env.data->disk;
	uint64_t since = clock_mono_us(w->env.clock);
	struct err e = ERR_INIT;
	int rc = w->appended.n ? write_status(w, false, &e) : OK;

	if (rc == OK)
		rc = f->ops->fdatasync(f, &e);
	w->sync_us = clock_mono_us(w->env.clock) - since;
	if (rc != OK) {
		give_up(w, &e);
		return;
	}
	publish_batch(w, &w->appended);
	swap_batches(w);
}

static void refuse_all(struct log_writer *w)
{
	struct txn *t = take_queue(w);
	struct err e = ERR_INIT;

	err_set(&e, ERR_READONLY, "the storage is read-only after a failure of its disk");
	while (t) {
		struct txn *next = t->next;

		finish(w, t, e.code, &e);
		t = next;
	}
}

/* True when a job was run. */
static bool run_job(struct log_writer *w)
{
	struct writer_job *j;

	pthread_mutex_lock(&w->lock);
	j = w->jobs;
	if (j)
		w->jobs = j->next;
	pthread_mutex_unlock(&w->lock);
	if (!j)
		return false;
	if (w->appended.n && !atomic_load(&w->broken))
		complete(w);
	j->run(j);
	return true;
}

void log_writer_give_up(struct log_writer *w, const struct err *e)
{
	give_up(w, e);
}

bool log_writer_call(struct log_writer *w, struct writer_job *j)
{
	bool wake;

	pthread_mutex_lock(&w->lock);
	wake = (w->queue == NULL && w->jobs == NULL) || w->waits;
	w->waits = false;
	j->next = w->jobs;
	w->jobs = j;
	pthread_mutex_unlock(&w->lock);
	return wake;
}

void log_writer_switch(struct log_writer *w, struct data_file *d)
{
	CHECK(w->appended.n == 0 && w->filling.n == 0);
	w->env.data = d;
	w->file_end = w->dirty_end = w->flushed = data_file_end(d);
}

bool log_writer_step(struct log_writer *w)
{
	w->wait_since_us = 0;
	if (run_job(w))
		return true;
	if (atomic_load(&w->broken)) {
		refuse_all(w);
		return is_waiting(w);
	}
	if (has_queue(w) && fill_batch(w) && w->filling.n)
		sync_batch(w);
	else if (w->appended.n && !atomic_load(&w->broken))
		complete(w);
	return w->appended.n || is_waiting(w);
}

/* --- who is about to come --- */

void log_writer_expect(struct log_writer *w, struct txn *t)
{
	CHECK(!t->expected);
	t->expected = true;
	t->voted_us = clock_mono_us(w->env.clock);
	t->newer = NULL;
	pthread_mutex_lock(&w->lock);
	t->older = w->expected;
	if (t->older)
		t->older->newer = t;
	w->expected = t;
	pthread_mutex_unlock(&w->lock);
}

/* The lock is held. */
static void end_expectation(struct log_writer *w, struct txn *t)
{
	if (!t->expected)
		return;
	if (t->newer)
		t->newer->older = t->older;
	else
		w->expected = t->older;
	if (t->older)
		t->older->newer = t->newer;
	t->expected = false;
}

bool log_writer_unexpect(struct log_writer *w, struct txn *t)
{
	bool wake;

	pthread_mutex_lock(&w->lock);
	end_expectation(w, t);
	wake = w->waits;
	w->waits = false;
	pthread_mutex_unlock(&w->lock);
	return wake;
}

/* Would the next step sync for a single transaction: its records, or its status byte? With more of them those that come
 * during one sync share the next; there waiting costs more than it saves. The lock is held. */
static bool is_alone(const struct log_writer *w)
{
	return w->n_queue + w->appended.n == 1;
}

uint64_t log_writer_wait_us(struct log_writer *w)
{
	uint64_t now = clock_mono_us(w->env.clock);
	uint64_t longest = w->sync_us < WAIT_MAX_US ? w->sync_us : WAIT_MAX_US;
	uint64_t until = 0;

	if (!w->wait_since_us)
		w->wait_since_us = now;
	pthread_mutex_lock(&w->lock);
	if (w->expected && !w->jobs && is_alone(w) && !atomic_load(&w->broken)) {
		uint64_t voted_us = w->expected->voted_us;

		/* votes that follow do not make it wait for longer */
		until = (voted_us < w->wait_since_us ? voted_us : w->wait_since_us) + longest;
	}
	w->waits = until > now;
	pthread_mutex_unlock(&w->lock);
	return until > now ? until - now : 0;
}

bool log_writer_push(struct log_writer *w, struct txn *t)
{
	bool wake;

	CHECK(t->state == TXN_FINISHING);
	t->next = NULL;
	pthread_mutex_lock(&w->lock);
	wake = (w->queue == NULL && w->jobs == NULL) || w->waits;
	w->waits = false;
	*w->queue_end = t;
	w->queue_end = &t->next;
	w->n_queue++;
	end_expectation(w, t);
	pthread_mutex_unlock(&w->lock);
	return wake;
}

struct log_writer *log_writer_new(const struct log_writer_env *env, uint64_t last_tid)
{
	uint64_t end = data_file_end(env->data);
	struct log_writer *w = mem_zalloc(1, sizeof(*w));

	if (!w)
		return NULL;
	w->env = *env;
	w->queue_end = &w->queue;
	w->last_tid = last_tid;
	w->file_end = end;
	w->dirty_end = end;
	w->flushed = end;
	pthread_mutex_init(&w->lock, NULL);
	return w;
}

void log_writer_free(struct log_writer *w)
{
	if (!w)
		return;
	for (size_t i = 0; i < w->appended.n; i++)
		publication_free(w->appended.entries[i].pub);
	pthread_mutex_destroy(&w->lock);
	mem_free(w->appended.entries);
	mem_free(w->filling.entries);
	buf_free(&w->out);
	buf_free(&w->spilled.bytes);
	mem_free(w);
}

bool log_writer_broken(const struct log_writer *w)
{
	return atomic_load(&w->broken);
}
