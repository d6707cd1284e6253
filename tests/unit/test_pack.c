/* Packs of a FileStorage. That the packed file is ZODB's is tests/interop/test_pack.py's. */
#include "storage_util.h"

#include <errno.h>
#include <stdatomic.h>

#include "base/bigendian.h"
#include "base/os.h"
#include "codec/tid.h"
#include "storage/filestorage/filestorage.h"
#include "storage/filestorage/fs.h"
#include "storage/filestorage/fs_pack.h"

#define NOW_S ((double)TEST_NOW_US / 1e6)
#define LATER (NOW_S + 86400)

static struct test_clock test_time = TEST_CLOCK(TEST_NOW_US);
static char logged[8192];

static void log_line(void *ctx, int level, const char *text)
{
	strncat(logged, text, sizeof(logged) - strlen(logged) - 2);
	strcat(logged, "\n");
}

static struct filestorage_options options(struct test_dir *d)
{
	return (struct filestorage_options){ .path = d->data,
		.recent_txns = 100,
		.clock = &test_time.base,
		.pack_gc = true,
		.pack_keep_old = true,
		.log = log_line };
}

static struct storage *open_with(const struct filestorage_options *o)
{
	struct storage *s = NULL;
	struct err e = ERR_INIT;

	logged[0] = 0;
	if (filestorage_open(o, &s, &e) != OK)
		fail_msg("%s", e.text);
	return s;
}

static struct storage *open_in(struct test_dir *d)
{
	struct filestorage_options o = options(d);

	return open_with(&o);
}

/* --- records --- */

#define NO_REF UINT64_MAX

/* A record that refers to two objects, and is @n bytes longer than it needs to be. */
static struct slice record(struct buf *b, uint64_t first, uint64_t second, size_t n)
{
	const uint64_t refs[] = { first, second };

	buf_reset(b);
	buf_put_str(b, "N.(");
	for (size_t i = 0; i < ARRAY_LEN(refs); i++) {
		if (refs[i] == NO_REF)
			continue;
		buf_put_str(b, "C\x08");
		buf_put_be64(b, refs[i]);
		buf_put_u8(b, 'Q');
	}
	buf_put_str(b, "t.");
	for (size_t i = 0; i < n; i++)
		buf_put_u8(b, (uint8_t)(i * 7));
	return buf_slice(b);
}

static struct txn *with_record(
	uint64_t oid, uint64_t serial, uint64_t first, uint64_t second, size_t n)
{
	struct txn_rec rec = { .oid = oid, .serial = serial, .op = TXN_STORE, .has_data = true };
	struct txn *t = test_txn("user", "description");
	struct buf b = BUF_INIT(0);
	struct err e = ERR_INIT;

	assert_int_equal(txn_add(t, &rec, record(&b, first, second, n), &e), OK);
	buf_free(&b);
	return t;
}

static void vote(struct storage *s, struct txn *t)
{
	struct vote_req v = test_vote(s, t, false);

	if (v.rc != OK)
		fail_msg("%s", v.err.text);
}

static uint64_t finish(struct storage *s, struct txn *t)
{
	struct test_outcome o;
	uint64_t tid;

	test_finish(s, t, &o);
	while (!__atomic_load_n(&o.done, __ATOMIC_ACQUIRE))
		usleep(100);
	if (o.rc != OK)
		fail_msg("%s", o.err.text);
	tid = t->tid;
	txn_free(t);
	return tid;
}

static uint64_t store(
	struct storage *s, uint64_t oid, uint64_t serial, uint64_t first, uint64_t second, size_t n)
{
	struct txn *t = with_record(oid, serial, first, second, n);

	vote(s, t);
	return finish(s, t);
}

/* 0 -> 1 -> 2; 3 refers to 2, and nothing to 3; 1 has two revisions. Returns the tids of those. */
static void fill(struct storage *s, uint64_t tids[2])
{
	store(s, 2, 0, NO_REF, NO_REF, 500);
	tids[0] = store(s, 1, 0, 3, NO_REF, 300);
	store(s, 3, 0, 2, NO_REF, 700);
	store(s, 0, 0, 1, NO_REF, 0);
	tids[1] = store(s, 1, tids[0], 2, NO_REF, 100);
}

static int load(struct storage *s, uint64_t oid, uint64_t tid)
{
	struct load_req r = test_load(s, LOAD_SERIAL, oid, tid, TID_MAX);
	int rc = r.rc;

	test_load_free(&r);
	return rc;
}

static uint64_t current(struct storage *s, uint64_t oid)
{
	struct load_req r = test_load(s, LOAD_BEFORE, oid, TID_MAX, TID_MAX);
	uint64_t serial = r.rc == OK && !r.none ? r.serial : TID_NONE;

	test_load_free(&r);
	return serial;
}

/* --- packs --- */

struct packing_test {
	struct pack_req req;
	atomic_bool done;
};

static void pack_done(struct pack_req *r)
{
	atomic_store(&CONTAINER_OF(r, struct packing_test, req)->done, true);
}

static void pack_start(struct storage *s, double time_s, struct packing_test *p)
{
	*p = (struct packing_test){ .req = { .done = pack_done, .time_s = time_s } };
	s->ops->pack(s, &p->req);
}

static int pack_end(struct packing_test *p)
{
	while (!atomic_load(&p->done))
		usleep(200);
	return p->req.rc;
}

static struct packing_test pack(struct storage *s, double time_s)
{
	struct packing_test p;

	pack_start(s, time_s, &p);
	pack_end(&p);
	return p;
}

static void assert_packed(struct storage *s, double time_s)
{
	struct packing_test p = pack(s, time_s);

	if (p.req.rc != OK)
		fail_msg("%s", p.req.err.text);
}

static void assert_files(struct test_dir *d, bool old)
{
	assert_false(test_exists(test_path(d, ".pack")));
	assert_false(test_exists(test_path(d, ".pack.index")));
	assert_true(test_exists(test_path(d, ".old")) == old);
}

static void test_garbage(void **state)
{
	struct test_dir *d = *state;
	struct storage *s = open_in(d);
	struct storage_info info;
	uint64_t tids[2];
	uint8_t *before, *old;
	size_t len, old_len;

	fill(s, tids);
	before = test_read_file(d->data, &len);
	assert_packed(s, LATER);
	old = test_read_file(test_path(d, ".old"), &old_len);
	assert_int_equal(len, old_len);
	assert_memory_equal(before, old, len);
	free(before);
	free(old);
	assert_files(d, true);
	s->ops->info(s, &info);
	assert_int_equal(info.length, 3);
	assert_int_equal(load(s, 3, TID_MAX), ERR_NOKEY);
	assert_int_equal(current(s, 3), TID_NONE);
	assert_int_equal(load(s, 1, tids[0]), ERR_NOKEY);
	assert_int_equal(load(s, 1, tids[1]), OK);
	tids[0] = store(s, 1, tids[1], 2, NO_REF, 50);
	s->ops->close(s);
	s = open_in(d);
	assert_null(strstr(logged, "index"));
	assert_true(current(s, 1) == tids[0]);
	assert_int_equal(load(s, 1, tids[1]), OK);
	s->ops->close(s);
}

static void test_without_gc(void **state)
{
	struct test_dir *d = *state;
	struct filestorage_options o = options(d);
	struct storage *s;
	uint64_t tids[2];

	o.pack_gc = o.pack_keep_old = false;
	s = open_with(&o);
	fill(s, tids);
	assert_packed(s, LATER);
	assert_files(d, false);
	assert_int_equal(load(s, 1, tids[0]), ERR_NOKEY);
	assert_true(current(s, 3) != TID_NONE);
	s->ops->close(s);
}

/* An empty storage, times at which there was nothing, and no times. */
static void test_nothing_to_pack(void **state)
{
	struct test_dir *d = *state;
	struct storage *s = open_in(d);
	uint64_t tids[2];
	struct stat a, b;

	assert_packed(s, NOW_S);
	fill(s, tids);
	stat(d->data, &a);
	assert_packed(s, NOW_S - 3600);
	stat(d->data, &b);
	assert_int_equal(a.st_ino, b.st_ino);
	assert_int_equal(pack(s, -1e12).req.rc, ERR_INVAL);
	assert_int_equal(pack(s, 1e300 * 1e300).req.rc, ERR_INVAL);
	assert_packed(s, LATER);
	stat(d->data, &a);
	assert_int_not_equal(a.st_ino, b.st_ino);
	assert_packed(s, LATER);
	stat(d->data, &b);
	assert_int_equal(a.st_ino, b.st_ino);
	assert_non_null(strstr(logged, "has already been packed to a later time"));
	assert_files(d, false); /* as ZODB: gone when a pack begins */
	s->ops->close(s);
}

static void test_dangling(void **state)
{
	struct test_dir *d = *state;
	struct storage *s = open_in(d);
	struct packing_test p;
	uint64_t tids[2];

	fill(s, tids);
	store(s, 2, current(s, 2), 77, NO_REF, 0);
	p = pack(s, LATER);
	assert_int_equal(p.req.rc, ERR_NOKEY);
	assert_int_equal(p.req.oid, 77);
	assert_files(d, false);
	assert_int_equal(load(s, 1, tids[0]), OK);
	s->ops->close(s);
}

/* Many more objects than fit on the stack of what is still to be read. */
static void test_wide(void **state)
{
	enum { N = 300000 };
	struct test_dir *d = *state;
	struct storage *s = open_in(d);
	struct txn *t = test_txn("", "");
	struct buf b = BUF_INIT(0);
	struct err e = ERR_INIT;
	struct storage_info info;

	for (uint64_t i = 0; i < N; i++) {
		struct txn_rec rec = { .oid = i, .op = TXN_STORE, .has_data = true };

		buf_reset(&b);
		buf_put_str(&b, "N.(");
		for (uint64_t k = 1; i == 0 && k <= N / 2; k++) {
			buf_put_str(&b, "C\x08");
			buf_put_be64(&b, k * 2 - 1);
			buf_put_u8(&b, 'Q');
		}
		if (i % 2 && i + 1 < N) {
			buf_put_str(&b, "C\x08");
			buf_put_be64(&b, i + 1);
			buf_put_u8(&b, 'Q');
		}
		buf_put_str(&b, "t.");
		assert_int_equal(txn_add(t, &rec, buf_slice(&b), &e), OK);
	}
	buf_free(&b);
	vote(s, t);
	finish(s, t);
	store(s, N + 5, 0, NO_REF, NO_REF, 0);
	assert_packed(s, LATER);
	s->ops->info(s, &info);
	assert_int_equal(info.length, N);
	s->ops->close(s);
}

/* --- what goes on meanwhile --- */

/* So slow that the test has the time it needs. */
static struct storage *open_slow(struct test_dir *d, uint64_t bandwidth)
{
	struct filestorage_options o = options(d);

	o.pack_bandwidth = bandwidth;
	return open_with(&o);
}

static void test_busy_and_closed(void **state)
{
	struct test_dir *d = *state;
	struct storage *s = open_slow(d, 100);
	struct packing_test p, second;
	struct pack_progress progress;
	uint64_t tids[2];
	uint64_t tid;

	fill(s, tids);
	pack_start(s, LATER, &p);
	second = pack(s, LATER);
	assert_int_equal(second.req.rc, ERR_BUSY);
	assert_string_equal(second.req.err.text, "Already packing");
	assert_true(fs_is_packing(fs_of(s)));
	s->ops->pack_progress(s, &progress);
	assert_true(progress.running);
	tid = store(s, 1, tids[1], 2, NO_REF, 10);
	assert_false(atomic_load(&p.done));
	s->ops->close(s); /* does not wait for minutes */
	assert_int_equal(pack_end(&p), ERR_CLOSED);
	assert_files(d, false);
	s = open_in(d);
	assert_true(current(s, 1) == tid);
	assert_int_equal(load(s, 1, tids[0]), OK);
	s->ops->close(s);
}

/* Commits while it copies, a vote before and a finish after it, and loads. */
static void test_meanwhile(void **state)
{
	struct test_dir *d = *state;
	struct storage *s = open_slow(d, 20000);
	struct txn *voted = with_record(5, 0, NO_REF, NO_REF, 900);
	struct packing_test p;
	uint64_t tids[2];
	uint64_t tid;
	int n = 0;

	fill(s, tids);
	vote(s, voted);
	/* what is stored from here on is newer than the pack */
	test_time.now_us += 10 * UINT64_C(1000000);
	pack_start(s, NOW_S + 5, &p);
	tid = tids[1];
	while (!atomic_load(&p.done)) {
		tid = store(s, 1, tid, 2, NO_REF, (size_t)n++ % 50);
		assert_true(current(s, 1) == tid);
		assert_true(current(s, 2) != TID_NONE);
		usleep(1000);
	}
	assert_int_equal(pack_end(&p), OK);
	assert_true(n > 0);
	finish(s, voted);
	tid = store(s, 1, tid, 2, 5, 50);
	assert_files(d, true);
	s->ops->close(s);
	s = open_in(d);
	assert_true(current(s, 1) == tid);
	assert_true(current(s, 5) != TID_NONE);
	assert_int_equal(load(s, 1, tids[1]), OK);
	assert_int_equal(load(s, 1, tids[0]), ERR_NOKEY);
	s->ops->close(s);
	test_time.now_us = TEST_NOW_US;
}

/* A voted undo holds offsets of the old file: the end waits for it. */
static void test_pinned(void **state)
{
	struct test_dir *d = *state;
	struct storage *s = open_in(d);
	struct txn *t = test_txn("", "");
	struct packing_test p;
	uint64_t tids[2];

	fill(s, tids);
	fs_pin(fs_of(s), t);
	pack_start(s, LATER, &p);
	while (!test_exists(test_path(d, ".pack.index")))
		usleep(200);
	usleep(20000);
	assert_false(atomic_load(&p.done));
	assert_int_equal(load(s, 1, tids[0]), OK);
	fs_unpin(fs_of(s), t);
	assert_int_equal(pack_end(&p), OK);
	assert_int_equal(load(s, 1, tids[0]), ERR_NOKEY);
	fs_pin(fs_of(s), t); /* not barred any more */
	fs_unpin(fs_of(s), t);
	txn_free(t);
	s->ops->close(s);
}

static void no_wake(struct pub_cursor *c)
{
	(void)c;
}

/* R8: what an event loop that is behind reads as current stays. */
static void test_applied(void **state)
{
	struct test_dir *d = *state;
	struct storage *s = open_in(d);
	struct pub_cursor c = { .wake = no_wake };
	uint64_t tids[2];
	uint64_t tid;

	fill(s, tids);
	pub_cursor_attach(s->pubs, &c);
	assert_true(pubchain_min_tid(s->pubs) == tids[1]);
	tid = store(s, 1, tids[1], 2, NO_REF, 20);
	assert_true(pubchain_min_tid(s->pubs) == tids[1]);
	assert_packed(s, LATER);
	assert_int_equal(load(s, 1, tids[0]), ERR_NOKEY);
	assert_int_equal(load(s, 1, tids[1]), OK);
	while (pub_cursor_peek(&c))
		pub_cursor_take(&c, pub_cursor_peek(&c));
	assert_true(pubchain_min_tid(s->pubs) == tid);
	assert_packed(s, LATER);
	assert_int_equal(load(s, 1, tids[1]), ERR_NOKEY);
	pub_cursor_detach(s->pubs, &c);
	s->ops->close(s);
}

/* --- starts --- */

static void test_left_over(void **state)
{
	struct test_dir *d = *state;
	struct storage *s = open_in(d);
	struct filestorage_options o = options(d);
	uint64_t tids[2];

	fill(s, tids);
	s->ops->close(s);
	test_write_file(test_path(d, ".pack"), "half", 4);
	test_write_file(test_path(d, ".pack.index"), "half", 4);
	test_write_file(test_path(d, ".pack.index.index_tmp"), "half", 4);
	assert_int_equal(link(d->data, test_path(d, ".old")), 0);
	o.read_only = true;
	s = open_with(&o);
	assert_true(test_exists(test_path(d, ".pack")));
	assert_int_equal(pack(s, LATER).req.rc, ERR_READONLY);
	s->ops->close(s);
	s = open_in(d);
	assert_files(d, false);
	assert_false(test_exists(test_path(d, ".old"))); /* it was the data file itself */
	assert_false(test_exists(test_path(d, ".pack.index.index_tmp")));
	assert_non_null(strstr(logged, "which a pack left behind"));
	assert_true(current(s, 1) == tids[1]);
	s->ops->close(s);
}

/* --- failures --- */

static struct {
	atomic_int left;
	atomic_bool fired;
	int errnum;
} fault;

static int fault_os(const char *call)
{
	if (atomic_fetch_sub(&fault.left, 1) != 0)
		return 0;
	atomic_store(&fault.fired, true);
	return fault.errnum;
}

static int fault_mem(void)
{
	return fault_os("") != 0;
}

/* The n-th call of a pack fails: it is packed or it is not, and nothing else is lost. */
static void one_failure(struct test_dir *d, bool memory, int n)
{
	struct storage *s = open_in(d);
	struct packing_test p;
	uint64_t tids[2];
	uint64_t tid;

	fill(s, tids);
	atomic_store(&fault.left, n);
	atomic_store(&fault.fired, false);
	if (memory)
		mem_fault_hook = fault_mem;
	else
		os_fault_hook = fault_os;
	p = pack(s, LATER);
	mem_fault_hook = NULL;
	os_fault_hook = NULL;
	assert_false(test_exists(test_path(d, ".pack")));
	assert_int_equal(test_exists(test_path(d, ".old")), p.req.rc == OK);
	assert_int_equal(load(s, 1, tids[0]), p.req.rc == OK ? ERR_NOKEY : OK);
	tid = log_writer_broken(fs_of(s)->writer) ? tids[1] : store(s, 1, tids[1], 2, NO_REF, 30);
	s->ops->close(s);
	s = open_in(d);
	assert_true(current(s, 1) == tid);
	assert_int_equal(load(s, 1, tids[1]), OK);
	assert_true(current(s, 0) != TID_NONE && current(s, 2) != TID_NONE);
	assert_packed(s, LATER);
	assert_int_equal(load(s, 1, tids[1]), tid == tids[1] ? OK : ERR_NOKEY);
	s->ops->close(s);
	assert_int_equal(unlink(d->data), 0);
	unlink(test_path(d, ".old"));
	unlink(test_path(d, ".index"));
}

static void failures(struct test_dir *d, bool memory, int errnum)
{
	int n = 0;

	fault.errnum = errnum;
	do {
		one_failure(d, memory, n++);
		assert_true(n < 1000);
	} while (atomic_load(&fault.fired));
	assert_true(n > 10);
}

static int fault_fsync(const char *call)
{
	return strcmp(call, "fsync") == 0 ? EIO : 0;
}

/* The new file's name may not last: what would be committed to it could be lost (R6). */
static void test_folder_not_synced(void **state)
{
	struct storage *s = open_in(*state);
	struct packing_test p;
	uint64_t tids[2];
	struct vote_req v;
	struct txn *t = test_txn("", "");

	fill(s, tids);
	os_fault_hook = fault_fsync;
	p = pack(s, LATER);
	os_fault_hook = NULL;
	assert_int_equal(p.req.rc, OK);
	assert_int_equal(load(s, 1, tids[0]), ERR_NOKEY);
	assert_int_equal(load(s, 1, tids[1]), OK);
	test_store(t, 1, tids[1], "lost?");
	v = test_vote(s, t, false);
	assert_int_equal(v.rc, ERR_READONLY);
	txn_free(t);
	s->ops->close(s);
	s = open_in(*state);
	assert_true(current(s, 1) == tids[1]);
	s->ops->close(s);
}

static void test_disk_full(void **state)
{
	failures(*state, false, ENOSPC);
}

static void test_disk_fails(void **state)
{
	failures(*state, false, EIO);
}

static void test_no_memory(void **state)
{
	failures(*state, true, ENOMEM);
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, test_dir_setup, test_dir_teardown)

static void test_crowded(void **state)
{
	(void)state;
	assert_false(pack_is_crowded(5000, 5000, 5000, 2)); /* nobody else */
	assert_false(pack_is_crowded(5000, 4999, 5000, 2)); /* clocks read one after the other */
	assert_false(pack_is_crowded(5000, 7400, 5000, 2));
	assert_true(pack_is_crowded(5000, 7600, 5000, 2));
	assert_true(pack_is_crowded(5000, 2600, 0, 2)); /* as it rested */
	assert_false(pack_is_crowded(5000, 10000, 5000, 64));
	assert_true(pack_is_crowded(5000, 5000 * 63, 0, 64));
	assert_false(pack_is_crowded(5000, 4000, 3000, 1));
	assert_true(pack_is_crowded(5000, 4000, 2000, 1));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_crowded),
		TEST(test_garbage),
		TEST(test_without_gc),
		TEST(test_nothing_to_pack),
		TEST(test_dangling),
		TEST(test_wide),
		TEST(test_busy_and_closed),
		TEST(test_meanwhile),
		TEST(test_pinned),
		TEST(test_applied),
		TEST(test_left_over),
		TEST(test_folder_not_synced),
		TEST(test_disk_full),
		TEST(test_disk_fails),
		TEST(test_no_memory),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
