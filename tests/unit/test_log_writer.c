#include "storage_util.h"

#include "crash_disk.h"
#include "storage/filestorage/filestorage.h"
#include "storage/filestorage/format.h"
#include "storage/filestorage/fs.h"

static struct test_clock test_time = TEST_CLOCK(TEST_NOW_US);

static int try_core(struct crash_disk *d, struct storage **ret, struct err *e)
{
	struct filestorage_options o = { .recent_txns = 10, .clock = &test_time.base };

	return filestorage_core_open(&d->base, &o, ret, e);
}

static struct storage *open_core(struct crash_disk *d)
{
	struct storage *s = NULL;
	struct err e = ERR_INIT;

	if (try_core(d, &s, &e) != OK)
		fail_msg("%s", e.text);
	return s;
}

static void run(struct storage *s)
{
	while (filestorage_step(s))
		;
}

struct pending {
	struct txn *t;
	struct test_outcome o;
};

/* Voted and queued, not stepped. */
static void queue_one(
	struct storage *s, struct pending *p, uint64_t oid, uint64_t serial, const char *text)
{
	struct vote_req v;

	p->t = test_txn("u", "d");
	test_store(p->t, oid, serial, text);
	v = test_vote(s, p->t, false);
	if (v.rc != OK)
		fail_msg("%s", v.err.text);
	test_finish(s, p->t, &p->o);
}

static uint64_t size_of(struct storage *s)
{
	struct storage_info info;

	s->ops->info(s, &info);
	return info.size;
}

/* One sync and one durable byte for all that was waiting; nothing is visible before. */
static void test_batch(void **state)
{
	struct crash_disk *d = crash_disk_new();
	struct storage *s = open_core(d);
	struct pending p[5];
	int syncs = d->n_syncs;

	for (int i = 0; i < 5; i++)
		queue_one(s, &p[i], (uint64_t)i + 1, 0, "data");
	assert_true(filestorage_step(s));
	assert_int_equal(d->n_syncs, syncs + 1);
	assert_false(p[0].o.done);
	assert_no_object(s, 1);
	assert_int_equal(size_of(s), 4);
	assert_int_equal(d->now[4 + FS_STATUS_OFF], 'c');
	assert_false(filestorage_step(s));
	assert_int_equal(d->n_syncs, syncs + 1);
	assert_int_equal(d->n_dsyncs, 1);
	assert_int_equal(d->now[4 + FS_STATUS_OFF], ' ');
	for (int i = 0; i < 5; i++) {
		assert_true(p[i].o.done);
		assert_int_equal(p[i].o.rc, OK);
		assert_current(s, (uint64_t)i + 1, "data", p[i].t->tid);
		assert_true(i == 0 || p[i].t->tid > p[i - 1].t->tid);
	}
	for (int i = 0; i < 5; i++)
		txn_free(p[i].t);
	assert_int_equal(size_of(s), d->size);
	s->ops->close(s);
}

/* Under load: one sync a batch. */
static void test_status_rides(void **state)
{
	struct crash_disk *d = crash_disk_new();
	struct storage *s = open_core(d);
	int syncs = d->n_syncs;
	struct pending p[10];

	for (int i = 0; i < 10; i++) {
		queue_one(s, &p[i], (uint64_t)i, 0, "data");
		assert_true(filestorage_step(s));
		assert_false(p[i].o.done);
		assert_true(i == 0 || p[i - 1].o.done);
	}
	run(s);
	assert_int_equal(d->n_syncs, syncs + 10);
	assert_int_equal(d->n_dsyncs, 1);
	for (int i = 0; i < 10; i++) {
		assert_true(p[i].o.done && p[i].o.rc == OK);
		txn_free(p[i].t);
	}
	s->ops->close(s);
}

/* --- a transaction that waits for another one --- */

static uint64_t sync_takes_us;

static void on_slow_sync(void *ctx)
{
	test_time.now_us += sync_takes_us;
}

static void vote_only(struct storage *s, struct pending *p, uint64_t oid)
{
	struct vote_req v;

	p->t = test_txn("u", "d");
	test_store(p->t, oid, 0, "data");
	v = test_vote(s, p->t, false);
	assert_int_equal(v.rc, OK);
}

static uint64_t wait_us(struct storage *s)
{
	return log_writer_wait_us(fs_of(s)->writer);
}

/* The last sync took 100 us. */
static struct storage *open_slow(struct crash_disk *d)
{
	struct storage *s = open_core(d);
	struct pending p;

	sync_takes_us = 100;
	d->on_sync = on_slow_sync;
	assert_int_equal(wait_us(s), 0);
	queue_one(s, &p, 1, 0, "data");
	assert_int_equal(wait_us(s), 0); /* nobody else is there */
	run(s);
	txn_free(p.t);
	return s;
}

static void close_slow(struct storage *s, struct pending *all, size_t n)
{
	run(s);
	for (size_t i = 0; i < n; i++) {
		assert_true(all[i].o.done && all[i].o.rc == OK);
		txn_free(all[i].t);
	}
	s->ops->close(s);
}

/* One sync for both, where each would have had its own. */
static void test_waits_for_a_vote(void **state)
{
	struct crash_disk *d = crash_disk_new();
	struct storage *s = open_slow(d);
	int syncs = d->n_syncs;
	struct pending p[2];

	vote_only(s, &p[0], 2);
	vote_only(s, &p[1], 3);
	assert_int_equal(wait_us(s), 0); /* there is nothing to write yet */
	test_finish(s, p[0].t, &p[0].o);
	assert_int_equal(wait_us(s), 100);
	test_time.now_us += 30;
	assert_int_equal(wait_us(s), 70);
	test_finish(s, p[1].t, &p[1].o);
	assert_int_equal(wait_us(s), 0);
	assert_true(filestorage_step(s));
	assert_int_equal(wait_us(s), 0);
	assert_false(filestorage_step(s));
	assert_int_equal(d->n_syncs, syncs + 1);
	close_slow(s, p, 2);
}

/* Counted from its vote, and from when the wait began: who votes meanwhile does not prolong it. */
static void test_waits_no_longer_than_a_sync(void **state)
{
	struct crash_disk *d = crash_disk_new();
	struct storage *s = open_slow(d);
	struct pending p[4];

	vote_only(s, &p[0], 2);
	vote_only(s, &p[1], 3);
	test_time.now_us += 40;
	test_finish(s, p[0].t, &p[0].o);
	assert_int_equal(wait_us(s), 60);
	test_time.now_us += 50;
	vote_only(s, &p[2], 4);
	assert_int_equal(wait_us(s), 50);
	test_time.now_us += 50;
	assert_int_equal(wait_us(s), 0);
	run(s);
	assert_true(p[0].o.done);
	vote_only(s, &p[3], 5);
	test_finish(s, p[3].t, &p[3].o);
	assert_int_equal(wait_us(s), 0); /* the other two take their time: they were waited for */
	run(s);
	test_finish(s, p[1].t, &p[1].o);
	test_finish(s, p[2].t, &p[2].o);
	close_slow(s, p, 4);
}

/* So that it need not have a sync of its own. */
static void test_a_status_byte_waits(void **state)
{
	struct crash_disk *d = crash_disk_new();
	struct storage *s = open_slow(d);
	int dsyncs = d->n_dsyncs;
	struct pending p[2];

	queue_one(s, &p[0], 2, 0, "data");
	assert_true(filestorage_step(s));
	assert_int_equal(wait_us(s), 0);
	vote_only(s, &p[1], 3);
	assert_int_equal(wait_us(s), 100);
	test_finish(s, p[1].t, &p[1].o);
	assert_int_equal(wait_us(s), 0);
	assert_true(filestorage_step(s));
	assert_true(p[0].o.done);
	assert_int_equal(d->n_dsyncs, dsyncs);
	close_slow(s, p, 2);
}

static void run_nothing(struct writer_job *j)
{
}

/* What goes on at once: several that share a sync in any case, one that is alone again, the end of a pack. */
static void test_does_not_wait(void **state)
{
	struct crash_disk *d = crash_disk_new();
	struct storage *s = open_slow(d);
	struct writer_job job = { .run = run_nothing };
	struct pending p[4];
	struct pending gone;

	vote_only(s, &p[0], 2);
	vote_only(s, &p[1], 3);
	vote_only(s, &p[2], 4);
	test_finish(s, p[0].t, &p[0].o);
	assert_int_equal(wait_us(s), 100);
	test_finish(s, p[1].t, &p[1].o);
	assert_int_equal(wait_us(s), 0);
	assert_true(filestorage_step(s));
	vote_only(s, &gone, 5);
	assert_int_equal(wait_us(s), 0);
	run(s);
	s->ops->abort(s, gone.t);
	txn_free(gone.t);
	vote_only(s, &gone, 5);
	test_finish(s, p[2].t, &p[2].o);
	assert_int_equal(wait_us(s), 100);
	s->ops->abort(s, gone.t);
	assert_int_equal(wait_us(s), 0);
	run(s);
	txn_free(gone.t);
	vote_only(s, &gone, 5);
	queue_one(s, &p[3], 6, 0, "data");
	assert_int_equal(wait_us(s), 100);
	assert_true(log_writer_call(fs_of(s)->writer, &job)); /* wakes who waits */
	assert_int_equal(wait_us(s), 0);
	s->ops->abort(s, gone.t);
	txn_free(gone.t);
	close_slow(s, p, 4);
}

/* A disk that once stood still for a second is no reason to do so again. */
static void test_a_slow_disk(void **state)
{
	struct crash_disk *d = crash_disk_new();
	struct storage *s = open_slow(d);
	struct pending p[3];

	sync_takes_us = 1000000;
	queue_one(s, &p[0], 2, 0, "data");
	run(s);
	vote_only(s, &p[1], 3);
	queue_one(s, &p[2], 4, 0, "data");
	assert_int_equal(wait_us(s), 5000);
	test_finish(s, p[1].t, &p[1].o);
	close_slow(s, p, 3);
}

/* A tid that was given is used, and its status. */
static void test_given(void **state)
{
	struct crash_disk *d = crash_disk_new();
	struct storage *s = open_core(d);
	struct pending p;
	struct pending q;

	queue_one(s, &p, 1, 0, "one");
	p.t->given_tid = UINT64_C(0x0500000000000000);
	p.t->status = 'p';
	queue_one(s, &q, 2, 0, "two");
	run(s);
	assert_true(p.t->tid == p.t->given_tid);
	assert_true(q.t->tid == p.t->tid + 1); /* R4 */
	assert_int_equal(d->now[4 + FS_STATUS_OFF], 'p');
	txn_free(p.t);
	txn_free(q.t);
	s->ops->close(s);
}

/* A file whose last tid is the largest of all can be read and takes no more. */
static void test_no_tid_left(void **state)
{
	struct crash_disk *d = crash_disk_new();
	struct storage *s = open_core(d);
	struct pending p;

	queue_one(s, &p, 1, 0, "data");
	run(s);
	txn_free(p.t);
	filestorage_core_drop(s);
	memset(d->now + 4, 0xff, 8);
	memset(d->now + 4 + FS_TXN_HEADER_LEN + 2 + 8, 0xff, 8);
	s = open_core(d);
	assert_int_equal(test_load(s, LOAD_TID, 1, 0, TID_MAX).rc, OK);
	queue_one(s, &p, 2, 0, "data");
	run(s);
	assert_int_equal(p.o.rc, ERR_INVAL);
	txn_free(p.t);
	s->ops->close(s);
}

static void reopen_and_check(struct crash_disk *d, struct storage *s, uint64_t n)
{
	filestorage_core_drop(s);
	s = open_core(d);
	for (uint64_t i = 1; i <= n; i++)
		assert_current(s, i, "data", 0);
	assert_no_object(s, n + 1);
	s->ops->close(s);
}

/* R6: a failed write is cut away, fails its transactions, and that was it. */
static void test_failed_write(void **state)
{
	struct crash_disk *d = crash_disk_new();
	struct storage *s = open_core(d);
	struct pending p[3];
	uint64_t size;

	queue_one(s, &p[0], 1, 0, "data");
	run(s);
	size = d->size;
	d->fail_write = 0;
	d->fail_code = ERR_NOSPC;
	queue_one(s, &p[1], 2, 0, "data");
	queue_one(s, &p[2], 3, 0, "data");
	run(s);
	for (int i = 1; i < 3; i++)
		assert_int_equal(p[i].o.rc, ERR_NOSPC);
	assert_int_equal(d->size, size);
	txn_free(p[1].t);
	queue_one(s, &p[1], 2, 0, "data");
	run(s);
	assert_int_equal(p[1].o.rc, OK);
	for (int i = 0; i < 3; i++)
		txn_free(p[i].t);
	reopen_and_check(d, s, 2);
}

/* A failed write while the batch before waits for its status byte: that one completes. */
static void test_failed_write_behind_a_batch(void **state)
{
	struct crash_disk *d = crash_disk_new();
	struct storage *s = open_core(d);
	struct pending p[2];

	queue_one(s, &p[0], 1, 0, "data");
	filestorage_step(s);
	queue_one(s, &p[1], 2, 0, "data");
	d->fail_write = 0;
	run(s);
	assert_int_equal(p[0].o.rc, OK);
	assert_int_equal(p[1].o.rc, ERR_IO);
	for (int i = 0; i < 2; i++)
		txn_free(p[i].t);
	reopen_and_check(d, s, 1);
}

static void assert_broken(struct storage *s, struct crash_disk *d)
{
	struct txn *t = test_txn("", "");
	struct vote_req v;
	int writes = d->n_writes;
	int syncs = d->n_syncs;

	test_store(t, 99, 0, "x");
	v = test_vote(s, t, false);
	assert_int_equal(v.rc, ERR_READONLY);
	txn_free(t);
	run(s);
	assert_int_equal(d->n_writes, writes);
	assert_int_equal(d->n_syncs, syncs);
}

/* R6: a failed sync is final, whichever it is; what failed is not there after a restart. */
static void test_failed_sync(void **state)
{
	for (int which = 0; which < 3; which++) {
		struct crash_disk *d = crash_disk_new();
		struct storage *s = open_core(d);
		struct pending p[4];

		queue_one(s, &p[0], 1, 0, "data");
		run(s);
		queue_one(s, &p[1], 2, 0, "data");
		if (which == 0)
			d->fail_sync = 0;
		else if (which == 1)
			d->fail_dsync = 0;
		else
			d->fail_sync = 1; /* the one that the status byte rides in */
		filestorage_step(s);
		if (which == 2)
			queue_one(s, &p[2], 3, 0, "data");
		run(s);
		assert_int_equal(p[0].o.rc, OK);
		assert_true(p[1].o.done);
		assert_int_equal(p[1].o.rc, ERR_IO);
		if (which == 2) {
			assert_int_equal(p[2].o.rc, ERR_IO);
			txn_free(p[2].t);
		}
		assert_broken(s, d);
		assert_current(s, 1, "data", p[0].t->tid); /* reads go on */
		assert_no_object(s, 2);
		txn_free(p[0].t);
		txn_free(p[1].t);
		d->fail_sync = d->fail_dsync = -1;
		reopen_and_check(d, s, 1);
	}
}

static void test_failed_truncation(void **state)
{
	struct crash_disk *d = crash_disk_new();
	struct storage *s = open_core(d);
	struct pending p;

	d->fail_write = 0;
	d->fail_truncate = 0;
	queue_one(s, &p, 1, 0, "data");
	run(s);
	assert_int_equal(p.o.rc, ERR_IO);
	txn_free(p.t);
	assert_broken(s, d);
	filestorage_core_drop(s);
	s = open_core(d); /* the torn tail goes at the next start */
	assert_no_object(s, 1);
	s->ops->close(s);
}

/* What votes reserved is given back whatever becomes of them. */
static void test_reservations(void **state)
{
	struct crash_disk *d = crash_disk_new();
	struct storage *s = open_core(d);
	struct pending p[2];

	queue_one(s, &p[0], 1, 0, "data");
	assert_true(fs_of(s)->reserved > 0);
	run(s);
	assert_int_equal(fs_of(s)->reserved, 0);
	d->fail_write = 0;
	queue_one(s, &p[1], 2, 0, "data");
	run(s);
	assert_int_equal(p[1].o.rc, ERR_IO);
	assert_int_equal(fs_of(s)->reserved, 0);
	txn_free(p[0].t);
	txn_free(p[1].t);
	s->ops->close(s);
}

struct noted_job {
	struct writer_job job;
	int runs;
};

static void note(struct writer_job *j)
{
	CONTAINER_OF(j, struct noted_job, job)->runs++;
}

struct failing_commit {
	struct storage *s;
	struct crash_disk *d;
	struct pending p;
	struct noted_job job;
};

/* A job that comes while a step is on its way, also one that fails: the step's answer tells of it. */
static void push_a_job(void *ctx)
{
	struct failing_commit *f = ctx;

	f->d->on_write = NULL;
	assert_true(log_writer_call(fs_of(f->s)->writer, &f->job.job));
}

static void test_job_behind_a_commit(void **state)
{
	struct crash_disk *d = crash_disk_new();
	struct failing_commit f = { .s = open_core(d), .d = d, .job.job.run = note };

	for (int broken = 0; broken < 2; broken++) {
		f.job.runs = 0;
		d->fail_sync = broken ? 0 : -1;
		d->on_write = push_a_job;
		d->on_write_ctx = &f;
		queue_one(f.s, &f.p, 1 + (uint64_t)broken, 0, "data");
		run(f.s);
		assert_int_equal(f.p.o.rc, broken ? ERR_IO : OK);
		assert_int_equal(f.job.runs, 1);
		txn_free(f.p.t);
	}
	f.s->ops->close(f.s);
}

/* While a vote reserves blocks another transaction's write fails, and the file is cut. */
static void fail_a_commit(void *ctx)
{
	struct failing_commit *f = ctx;

	f->d->on_reserve = NULL;
	f->d->fail_write = 0;
	run(f->s);
	assert_int_equal(f->p.o.rc, ERR_IO);
}

static void test_blocks_lost_while_reserved(void **state)
{
	struct crash_disk *d = crash_disk_new();
	struct failing_commit f = { .s = open_core(d), .d = d };
	struct pending after[2];
	int before;

	queue_one(f.s, &f.p, 1, 0, "data");
	pthread_mutex_lock(&fs_of(f.s)->space_lock);
	fs_of(f.s)->reserved_until = 0; /* the next vote has to reserve */
	pthread_mutex_unlock(&fs_of(f.s)->space_lock);
	before = d->n_reserves;
	d->on_reserve = fail_a_commit;
	d->on_reserve_ctx = &f;
	queue_one(f.s, &after[0], 2, 0, "data");
	assert_int_equal(d->n_reserves, before + 2); /* the first was for nothing */
	queue_one(f.s, &after[1], 3, 0, "data");
	assert_int_equal(d->n_reserves, before + 2);
	run(f.s);
	assert_int_equal(after[1].o.rc, OK);
	txn_free(f.p.t);
	txn_free(after[0].t);
	txn_free(after[1].t);
	f.s->ops->close(f.s);
}

/* --- power cuts --- */

enum { OBJECTS = 6 };

/* What the client side knows. */
struct model {
	uint64_t acked[OBJECTS]; /* number of the last acknowledged revision */
	uint64_t sent[OBJECTS];  /* and of the last one that may be there */
	uint64_t serial[OBJECTS];
	uint64_t last_acked_tid;
};

static char *revision_text(uint64_t oid, uint64_t n, char *out)
{
	size_t len = 20 + (oid * 7919 + n * 104729) % 1500;

	memset(out, (int)('a' + n % 26), len);
	out[len] = 0;
	memcpy(out, "                ", 16);
	sprintf(out, "%lu %lu", oid, n);
	out[strlen(out)] = ' ';
	return out;
}

static void settle_model(struct model *m, struct pending *p, uint64_t oid)
{
	if (!p->o.done)
		return;
	if (p->o.rc == OK) { /* else the power went, and it may be there or not */
		m->acked[oid] = m->sent[oid];
		m->serial[oid] = p->t->tid;
		m->last_acked_tid = p->t->tid > m->last_acked_tid ? p->t->tid : m->last_acked_tid;
	}
	txn_free(p->t);
	p->t = NULL;
}

/* Random commits, each object in one transaction at a time, until the power goes. */
static void work(struct storage *s, struct crash_disk *d, struct model *m, unsigned *seed)
{
	struct pending p[OBJECTS] = { 0 };
	char text[2000];

	d->life = rand_r(seed) % 30;
	while (d->life) {
		uint64_t oid = (uint64_t)rand_r(seed) % OBJECTS;

		if (!p[oid].t) {
			m->sent[oid]++;
			queue_one(s, &p[oid], oid, m->serial[oid],
				revision_text(oid, m->sent[oid], text));
		}
		if (rand_r(seed) % 4 == 0)
			filestorage_step(s);
		for (oid = 0; oid < OBJECTS; oid++)
			if (p[oid].t)
				settle_model(m, &p[oid], oid);
	}
	for (uint64_t oid = 0; oid < OBJECTS; oid++)
		txn_free(p[oid].t);
}

/* R7: every acknowledged revision is there, and what is there is whole. */
static void check(struct storage *s, struct model *m)
{
	char text[2000];

	assert_true(pubchain_last_tid(s->pubs) >= m->last_acked_tid);
	for (uint64_t oid = 0; oid < OBJECTS; oid++) {
		struct load_req r = test_load(s, LOAD_BEFORE, oid, TID_MAX, TID_MAX);
		uint64_t got_oid = 99, n = 0;

		if (r.rc == ERR_NOKEY) {
			assert_int_equal(m->acked[oid], 0);
			m->serial[oid] = 0;
		} else {
			assert_int_equal(r.rc, OK);
			assert_int_equal(
				sscanf((const char *)r.data.data, "%lu %lu", &got_oid, &n), 2);
			assert_true(n >= m->acked[oid] && n <= m->sent[oid]);
			assert_true(slice_is(r.data, revision_text(oid, n, text)));
			m->serial[oid] = r.serial;
		}
		m->acked[oid] = m->sent[oid] = n;
		test_load_free(&r);
	}
	m->last_acked_tid = pubchain_last_tid(s->pubs);
}

static void test_power_cuts(void **state)
{
	for (unsigned first = 1; first <= 400; first++) {
		struct crash_disk *d = crash_disk_new();
		struct model m = { 0 };
		unsigned seed = first;

		for (int life = 0; life < 4; life++) {
			struct storage *s = NULL;
			struct err e = ERR_INIT;

			if (try_core(d, &s, &e) != OK)
				fail_msg("seed %u, life %d: %s", first, life, e.text);
			check(s, &m);
			work(s, d, &m, &seed);
			filestorage_core_drop(s);
			crash_disk_crash(d, &seed);
		}
		d->base.ops->close(&d->base);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_batch),
		cmocka_unit_test(test_status_rides),
		cmocka_unit_test(test_waits_for_a_vote),
		cmocka_unit_test(test_waits_no_longer_than_a_sync),
		cmocka_unit_test(test_a_status_byte_waits),
		cmocka_unit_test(test_does_not_wait),
		cmocka_unit_test(test_a_slow_disk),
		cmocka_unit_test(test_given),
		cmocka_unit_test(test_no_tid_left),
		cmocka_unit_test(test_failed_write),
		cmocka_unit_test(test_failed_write_behind_a_batch),
		cmocka_unit_test(test_failed_sync),
		cmocka_unit_test(test_failed_truncation),
		cmocka_unit_test(test_reservations),
		cmocka_unit_test(test_job_behind_a_commit),
		cmocka_unit_test(test_blocks_lost_while_reserved),
		cmocka_unit_test(test_power_cuts),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
