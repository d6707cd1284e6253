/* What the tests of the storages share: a pool that runs when it is told, requests that wait for their
 * answer, data files in a folder of their own. */
#ifndef TESTS_STORAGE_UTIL_H
#define TESTS_STORAGE_UTIL_H

#include "cmocka_all.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/check.h"
#include "base/clock.h"
#include "base/mem.h"
#include "storage/storage.h"

/* --- a folder --- */

struct test_dir {
	char path[64];
	char data[80]; /* the data file's name */
};

static inline int test_dir_setup(void **state)
{
	struct test_dir *d = calloc(1, sizeof(*d));

	strcpy(d->path, "/tmp/zkzeo-test-XXXXXX");
	if (!mkdtemp(d->path))
		return -1;
	snprintf(d->data, sizeof(d->data), "%s/Data.fs", d->path);
	*state = d;
	return 0;
}

static inline int test_dir_teardown(void **state)
{
	struct test_dir *d = *state;
	char command[100];

	snprintf(command, sizeof(command), "rm -r %s", d->path);
	free(d);
	return system(command);
}

static inline char *test_path(const struct test_dir *d, const char *suffix)
{
	static char path[4][200];
	static int at;

	at = (at + 1) % 4;
	snprintf(path[at], sizeof(path[at]), "%s%s", d->data, suffix);
	return path[at];
}

static inline uint8_t *test_read_file(const char *path, size_t *ret_len)
{
	FILE *f = fopen(path, "rb");
	uint8_t *p;
	long len;

	assert_non_null(f);
	fseek(f, 0, SEEK_END);
	len = ftell(f);
	rewind(f);
	p = malloc((size_t)len + 1);
	assert_int_equal(fread(p, 1, (size_t)len, f), len);
	fclose(f);
	*ret_len = (size_t)len;
	return p;
}

static inline void test_write_file(const char *path, const void *p, size_t len)
{
	FILE *f = fopen(path, "wb");

	assert_non_null(f);
	assert_int_equal(len ? fwrite(p, 1, len, f) : 0, len);
	fclose(f);
}

static inline bool test_exists(const char *path)
{
	struct stat st;

	return stat(path, &st) == 0;
}

/* --- a pool --- */

struct test_exec {
	struct exec base;
	struct job *jobs;
	int submitted;
};

static inline void test_exec_submit(struct exec *x, struct job *j)
{
	struct test_exec *t = CONTAINER_OF(x, struct test_exec, base);

	j->link = t->jobs;
	t->jobs = j;
	t->submitted++;
}

static inline void test_exec_run(struct test_exec *t)
{
	while (t->jobs) {
		struct job *j = t->jobs;

		t->jobs = j->link;
		j->work(j);
		j->done(j);
	}
}

#define TEST_EXEC                                                                                  \
	{                                                                                          \
		{ test_exec_submit }, NULL, 0                                                      \
	}

/* --- a clock that stands where it was put --- */

struct test_clock {
	struct clock base;
	uint64_t now_us;
};

static inline uint64_t test_clock_now(const struct clock *c)
{
	return CONTAINER_OF(c, struct test_clock, base)->now_us;
}

#define TEST_CLOCK(us)                                                                             \
	{                                                                                          \
		{ test_clock_now, test_clock_now }, (us)                                           \
	}

/* 2026-01-01 */
#define TEST_NOW_US UINT64_C(1767225600000000)

/* --- requests --- */

static inline void test_load_done(struct load_req *r)
{
	/* data is borrowed until here */
	void *copy = r->rc == OK && r->data.len ? malloc(r->data.len) : NULL;

	if (copy)
		r->data.data = memcpy(copy, r->data.data, r->data.len);
	r->oid = UINT64_MAX; /* answered */
}

/* The answer; its data is the caller's, freed by test_load_free(). */
static inline struct load_req test_load(
	struct storage *s, enum load_kind kind, uint64_t oid, uint64_t tid, uint64_t applied)
{
	struct test_exec x = TEST_EXEC;
	struct load_req r = { .exec = &x.base,
		.done = test_load_done,
		.kind = kind,
		.oid = oid,
		.tid = tid,
		.applied = applied };

	s->ops->load(s, &r);
	test_exec_run(&x);
	assert_true(r.oid == UINT64_MAX);
	r.oid = oid;
	return r;
}

static inline void test_load_free(struct load_req *r)
{
	if (r->rc == OK && r->data.len)
		free((void *)r->data.data);
	r->data = slice_of(NULL, 0);
}

/* The object's data now is @text, its serial *ret. */
static inline void assert_current(
	struct storage *s, uint64_t oid, const char *text, uint64_t serial)
{
	struct load_req r = test_load(s, LOAD_BEFORE, oid, TID_MAX, TID_MAX);

	assert_int_equal(r.rc, OK);
	assert_false(r.none);
	assert_int_equal(r.data.len, strlen(text));
	assert_memory_equal(r.data.data, text, r.data.len);
	if (serial)
		assert_true(r.serial == serial);
	assert_true(r.end_tid == TID_NONE);
	test_load_free(&r);
}

static inline void assert_no_object(struct storage *s, uint64_t oid)
{
	struct load_req r = test_load(s, LOAD_BEFORE, oid, TID_MAX, TID_MAX);

	assert_int_equal(r.rc, ERR_NOKEY);
}

/* --- transactions --- */

static inline struct txn *test_txn(const char *user, const char *desc)
{
	struct txn *t = txn_new();

	assert_non_null(t);
	buf_put_str(&t->user, user);
	buf_put_str(&t->desc, desc);
	return t;
}

static inline void test_store(struct txn *t, uint64_t oid, uint64_t serial, const char *text)
{
	struct txn_rec rec = { .oid = oid, .serial = serial, .op = TXN_STORE, .has_data = true };
	struct err e = ERR_INIT;

	assert_int_equal(txn_add(t, &rec, slice_str(text), &e), OK);
	if (txn_wants_spill(t))
		assert_int_equal(txn_spill(t, &e), OK);
}

static inline void test_check(struct txn *t, uint64_t oid, uint64_t serial)
{
	struct txn_rec rec = { .oid = oid, .serial = serial, .op = TXN_CHECK };
	struct err e = ERR_INIT;

	assert_int_equal(txn_add(t, &rec, slice_of(NULL, 0), &e), OK);
}

static inline void test_vote_done(struct vote_req *v)
{
	v->txn = NULL; /* answered */
}

/* The caller frees v.conflicts. */
static inline struct vote_req test_vote(struct storage *s, struct txn *t, bool collect)
{
	struct test_exec x = TEST_EXEC;
	struct vote_req v = {
		.exec = &x.base, .done = test_vote_done, .txn = t, .collect = collect
	};

	t->state = TXN_VOTING;
	s->ops->vote(s, &v);
	test_exec_run(&x);
	assert_null(v.txn);
	t->state = v.rc == OK ? TXN_VOTED : TXN_BUFFERING;
	return v;
}

/* What done() of a transaction said; t->owner points to it. */
struct test_outcome {
	bool done;
	int rc;
	struct err err;
};

static inline void test_txn_done(struct txn *t, int rc, const struct err *e)
{
	struct test_outcome *o = t->owner;

	o->rc = rc;
	if (rc != OK)
		o->err = *e;
	__atomic_store_n(&o->done, true, __ATOMIC_RELEASE);
}

static inline void test_finish(struct storage *s, struct txn *t, struct test_outcome *o)
{
	*o = (struct test_outcome){ 0 };
	t->owner = o;
	t->done = test_txn_done;
	t->state = TXN_FINISHING;
	s->ops->finish(s, t);
}

#endif
