#include "storage_util.h"

#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>

#include "base/bigendian.h"
#include "base/os.h"
#include "storage/filestorage/filestorage.h"
#include "storage/filestorage/format.h"
#include "storage/filestorage/fs.h"

static struct test_clock test_time = TEST_CLOCK(TEST_NOW_US);

/* What was logged, for tests that want to know. */
static char logged[4096];

static void log_line(void *ctx, int level, const char *text)
{
	strncat(logged, text, sizeof(logged) - strlen(logged) - 2);
	strcat(logged, "\n");
}

static struct filestorage_options options(struct test_dir *d)
{
	return (struct filestorage_options){
		.path = d->data, .recent_txns = 100, .clock = &test_time.base, .log = log_line
	};
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

static void wait_for(const struct test_outcome *o)
{
	while (!__atomic_load_n(&o->done, __ATOMIC_ACQUIRE))
		usleep(100);
}

/* Vote and finish; returns the tid. */
static uint64_t commit(struct storage *s, struct txn *t)
{
	struct vote_req v = test_vote(s, t, false);
	struct test_outcome o;
	uint64_t tid;

	if (v.rc != OK)
		fail_msg("%s", v.err.text);
	test_finish(s, t, &o);
	wait_for(&o);
	if (o.rc != OK)
		fail_msg("%s", o.err.text);
	tid = t->tid;
	txn_free(t);
	return tid;
}

static uint64_t commit_one(struct storage *s, uint64_t oid, uint64_t serial, const char *text)
{
	struct txn *t = test_txn("user", "description");

	test_store(t, oid, serial, text);
	return commit(s, t);
}

/* --- a file that Python wrote --- */

static struct storage *open_python(struct test_dir *d, bool with_index)
{
	size_t len;
	uint8_t *p = test_read_file(TESTS_DATA "/python.fs", &len);

	test_write_file(d->data, p, len);
	free(p);
	if (with_index) {
		p = test_read_file(TESTS_DATA "/python.fs.index", &len);
		test_write_file(test_path(d, ".index"), p, len);
		free(p);
	}
	return open_in(d);
}

static unsigned long sum(struct slice s)
{
	unsigned long n = 0;

	for (size_t i = 0; i < s.len; i++)
		n += s.data[i];
	return n;
}

static void describe_load(struct load_req *r, char *out, size_t room)
{
	if (r->rc == ERR_NOKEY)
		snprintf(out, room, "nokey");
	else if (r->rc != OK)
		snprintf(out, room, "%s", r->err.text);
	else if (r->none)
		snprintf(out, room, "none");
	else if (r->kind == LOAD_BEFORE)
		snprintf(out, room, "%zu %lu %016lx %016lx", r->data.len, sum(r->data), r->serial,
			r->end_tid);
	else if (r->kind == LOAD_SERIAL)
		snprintf(out, room, "%zu %lu", r->data.len, sum(r->data));
	else
		snprintf(out, room, "%016lx", r->serial);
	test_load_free(r);
}

static void hex(struct slice s, char *out)
{
	strcpy(out, s.len ? "" : "-");
	for (size_t i = 0; i < s.len; i++)
		sprintf(out + 2 * i, "%02x", s.data[i]);
}

static void history_answered(struct history_req *r)
{
	r->exec = NULL;
}

static struct history_req ask_history(
	struct storage *s, uint64_t oid, uint64_t applied, uint32_t size, struct arena *arena)
{
	struct test_exec x = TEST_EXEC;
	struct history_req r = { .exec = &x.base,
		.done = history_answered,
		.oid = oid,
		.applied = applied,
		.size = size,
		.arena = arena };

	s->ops->history(s, &r);
	test_exec_run(&x);
	assert_null(r.exec);
	return r;
}

static void describe_history(struct storage *s, uint64_t oid, uint32_t n, char *out, size_t room)
{
	struct arena arena = ARENA_INIT(0);
	struct history_req r = ask_history(s, oid, TID_MAX, 100, &arena);
	char user[200], desc[200];

	if (r.rc != OK) {
		snprintf(out, room, "nokey");
	} else {
		assert_true(n < r.n_items);
		hex(r.items[n].user, user);
		hex(r.items[n].desc, desc);
		snprintf(out, room, "%lu %s %s", r.items[n].size, user, desc);
	}
	arena_free(&arena);
}

/* One line of python.fs.txt. */
static void check_answer(struct storage *s, char *line)
{
	char expected[400] = "", got[800] = "";
	uint64_t oid = 0, tid = 0;
	uint32_t n = 0;
	struct load_req r;

	if (sscanf(line, "before %lx %lx %399[^\n]", &oid, &tid, expected) == 3) {
		r = test_load(s, LOAD_BEFORE, oid, tid, TID_MAX);
		describe_load(&r, got, sizeof(got));
	} else if (sscanf(line, "serial %lx %lx %399[^\n]", &oid, &tid, expected) == 3) {
		r = test_load(s, LOAD_SERIAL, oid, tid, TID_MAX);
		describe_load(&r, got, sizeof(got));
	} else if (sscanf(line, "tid %lx %399[^\n]", &oid, expected) == 2) {
		r = test_load(s, LOAD_TID, oid, 0, TID_MAX);
		describe_load(&r, got, sizeof(got));
	} else if (sscanf(line, "history %lx %u %*x %399[^\n]", &oid, &n, expected) == 3 ||
		   sscanf(line, "history %lx %399[^\n]", &oid, expected) == 2) {
		describe_history(s, oid, n, got, sizeof(got));
	} else if (sscanf(line, "last %399[^\n]", expected) == 1) {
		snprintf(got, sizeof(got), "%016lx", pubchain_last_tid(s->pubs));
	} else if (sscanf(line, "info %399[^\n]", expected) == 1) {
		struct storage_info info;

		s->ops->info(s, &info);
		snprintf(got, sizeof(got), "%lu %lu", info.length, info.size);
	} else {
		assert_int_equal(strncmp(line, "changed ", 8), 0); /* test_recent() */
		return;
	}
	if (strcmp(expected, got) != 0)
		fail_msg("%s: got %s", line, got);
}

static void check_all_answers(struct storage *s)
{
	FILE *f = fopen(TESTS_DATA "/python.fs.txt", "r");
	char line[800];
	int n = 0;

	assert_non_null(f);
	for (; fgets(line, sizeof(line), f); n++)
		check_answer(s, line);
	fclose(f);
	assert_true(n > 300);
}

/* T19, T20 and what else reading has to get right: the answers are ZODB's own. */
static void test_python_file(void **state)
{
	for (int with_index = 0; with_index < 2; with_index++) {
		struct storage *s = open_python(*state, with_index);

		assert_string_equal(logged, "");
		check_all_answers(s);
		s->ops->close(s);
	}
}

/* The index that is saved after a scan is the one Python saved. */
static void test_index_as_python(void **state)
{
	struct storage *s = open_python(*state, false);
	size_t len, expected_len;
	uint8_t *bytes, *expected = test_read_file(TESTS_DATA "/python.fs.index", &expected_len);

	s->ops->close(s);
	bytes = test_read_file(test_path(*state, ".index"), &len);
	assert_int_equal(len, expected_len);
	assert_memory_equal(bytes, expected, len);
	free(bytes);
	free(expected);
}

struct changes {
	char text[2000];
	size_t n;
};

static void add_change(void *ctx, uint64_t oid)
{
	struct changes *c = ctx;

	sprintf(c->text + strlen(c->text), " %016lx", oid);
	c->n++;
}

/* T55: the last transactions' objects are known right after the start, with an exact boundary. */
static void test_recent(void **state)
{
	struct filestorage_options o = options(*state);
	struct storage *s = open_python(*state, true);
	struct pub_cursor cur = { .wake = NULL };
	struct changes c = { 0 };
	uint64_t last;

	s->ops->close(s);
	o.recent_txns = 4; /* oldest known: 040b000000000000 */
	s = open_with(&o);
	pub_cursor_attach(s->pubs, &cur);
	assert_false(
		pubchain_since(s->pubs, &cur, UINT64_C(0x0400000affffffff), add_change, &c, &last));
	assert_true(
		pubchain_since(s->pubs, &cur, UINT64_C(0x0400000b00000000), add_change, &c, &last));
	assert_true(last == UINT64_C(0x0400000e00000000));
	assert_string_equal(c.text, " 0000000000000001 0000000000000001 0000000000000001");
	pub_cursor_detach(s->pubs, &cur);
	s->ops->close(s);
}

/* --- writing --- */

static void test_new_file(void **state)
{
	struct test_dir *d = *state;
	struct storage *s = open_in(d);
	struct storage_info info;
	size_t len;
	uint8_t *p;

	assert_string_equal(s->name, d->data);
	s->ops->info(s, &info);
	assert_int_equal(info.length, 0);
	assert_int_equal(info.size, 4);
	assert_true(pubchain_last_tid(s->pubs) == TID_NONE);
	assert_int_equal(s->ops->new_oids(s, 3), 1);
	assert_int_equal(s->ops->new_oids(s, 1), 4);
	s->ops->close(s);
	p = test_read_file(d->data, &len);
	assert_int_equal(len, 4);
	assert_memory_equal(p, "FS30", 4);
	free(p);
	s = open_in(d);
	assert_string_equal(logged, ""); /* no word of an index that is too small to be believed */
	s->ops->close(s);
}

static void test_commit_and_load(void **state)
{
	struct storage *s = open_in(*state);
	uint64_t tid1 = commit_one(s, 1, 0, "one");
	uint64_t tid2 = commit_one(s, 1, tid1, "two");
	struct load_req r;

	assert_true(tid2 > tid1); /* R4: the clock stands */
	for (int again = 0; again < 2; again++) {
		assert_true(pubchain_last_tid(s->pubs) == tid2);
		assert_current(s, 1, "two", tid2);
		r = test_load(s, LOAD_BEFORE, 1, tid2, TID_MAX);
		assert_int_equal(r.data.len, 3);
		assert_true(r.serial == tid1 && r.end_tid == tid2);
		test_load_free(&r);
		/* R1: as of tid1 nothing newer is there */
		r = test_load(s, LOAD_BEFORE, 1, TID_MAX, tid1);
		assert_true(r.serial == tid1 && r.end_tid == TID_NONE);
		test_load_free(&r);
		r = test_load(s, LOAD_TID, 1, 0, tid1);
		assert_true(r.serial == tid1);
		r = test_load(s, LOAD_SERIAL, 1, tid2, tid1);
		assert_int_equal(r.rc, ERR_NOKEY);
		r = test_load(s, LOAD_BEFORE, 1, TID_MAX, tid1 - 1);
		assert_int_equal(r.rc, ERR_NOKEY);
		r = test_load(s, LOAD_BEFORE, 1, tid1, TID_MAX); /* T19 */
		assert_true(r.rc == OK && r.none);
		assert_no_object(s, 2);
		s->ops->close(s);
		s = open_in(*state);
		assert_int_equal(s->ops->new_oids(s, 1), 2); /* R10 */
	}
	s->ops->close(s);
}

/* R4 also when the clock steps back, and across a restart. */
static void test_clock_steps_back(void **state)
{
	struct storage *s = open_in(*state);
	uint64_t tid1 = commit_one(s, 1, 0, "one");

	test_time.now_us -= 1000000;
	assert_true(commit_one(s, 1, tid1, "two") == tid1 + 1);
	s->ops->close(s);
	s = open_in(*state);
	assert_non_null(strstr(logged, "seconds in the future"));
	assert_true(commit_one(s, 1, tid1 + 1, "three") == tid1 + 2);
	test_time.now_us = TEST_NOW_US;
	s->ops->close(s);
}

/* T15 */
static void test_empty_transaction(void **state)
{
	struct storage *s = open_in(*state);
	uint64_t tid = commit(s, test_txn("", ""));
	struct storage_info info;

	assert_true(pubchain_last_tid(s->pubs) == tid);
	s->ops->info(s, &info);
	assert_int_equal(info.size, 4 + FS_TXN_HEADER_LEN + 8);
	s->ops->close(s);
}

static void test_twice_in_one_transaction(void **state)
{
	struct storage *s = open_in(*state);
	struct txn *t = test_txn("", "");
	struct storage_info info;

	test_store(t, 7, 0, "first");
	test_store(t, 7, 0, "second");
	commit(s, t);
	assert_current(s, 7, "second", 0);
	assert_int_equal(atomic_load(&s->pubs->newest)->n_oids, 1);
	s->ops->info(s, &info); /* both are written, as Python does */
	assert_int_equal(info.size,
		4 + FS_TXN_HEADER_LEN + 2 * FS_REC_HEADER_LEN + strlen("firstsecond") + 8);
	assert_int_equal(info.length, 1);
	s->ops->close(s);
}

static void test_checked_and_dropped(void **state)
{
	struct storage *s = open_in(*state);
	uint64_t tid1 = commit_one(s, 1, 0, "one");
	struct txn *t = test_txn("", "");

	t->origin = 42;
	test_check(t, 1, tid1);
	test_store(t, 2, 0, "dropped");
	t->recs[1].dropped = true;
	test_store(t, 2, 0, "two");
	commit(s, t);
	assert_int_equal(atomic_load(&s->pubs->newest)->n_oids, 1);  /* T11 */
	assert_int_equal(atomic_load(&s->pubs->newest)->oids[0], 2); /* T10 */
	assert_int_equal(atomic_load(&s->pubs->newest)->origin, 42);
	assert_int_equal(atomic_load(&s->pubs->newest)->length, 2);
	assert_current(s, 1, "one", tid1);
	assert_current(s, 2, "two", 0);
	s->ops->close(s);
}

/* R10: what a client chose itself is not handed out to another. */
static void test_chosen_oids_are_not_handed_out(void **state)
{
	struct storage *s = open_in(*state);
	uint64_t next = s->ops->new_oids(s, 1);

	commit_one(s, next + 1000, 0, "chosen");
	assert_int_equal(s->ops->new_oids(s, 1), next + 1001);
	s->ops->close(s);
}

static void test_conflicts(void **state)
{
	struct storage *s = open_in(*state);
	uint64_t tid1 = commit_one(s, 1, 0, "one");
	uint64_t tid2 = commit_one(s, 1, tid1, "two");
	struct txn *t = test_txn("", "");
	struct vote_req v;

	test_store(t, 2, tid1, "a new object may have any serial");
	test_store(t, 1, tid1, "conflict");
	test_check(t, 1, tid1);
	test_check(t, 9, tid1);
	v = test_vote(s, t, false);
	assert_int_equal(v.rc, ERR_CONFLICT);
	assert_int_equal(v.n_conflicts, 1);
	assert_int_equal(v.conflicts[0].rec, 1);
	assert_int_equal(v.conflicts[0].op, TXN_STORE);
	assert_true(v.conflicts[0].committed_serial == tid2);
	assert_true(v.conflicts[0].old_serial == tid1);
	mem_free(v.conflicts);
	v = test_vote(s, t, true);
	assert_int_equal(v.n_conflicts, 3);
	assert_int_equal(v.conflicts[1].op, TXN_CHECK);
	assert_true(v.conflicts[2].missing);
	assert_int_equal(v.conflicts[2].oid, 9);
	mem_free(v.conflicts);
	assert_int_equal(t->reserved_bytes, 0);
	txn_free(t);
	s->ops->close(s);
}

static int vote_and_abort(struct storage *s, struct txn *t)
{
	struct vote_req v = test_vote(s, t, false);

	if (v.rc == OK)
		s->ops->abort(s, t);
	t->state = TXN_BUFFERING;
	mem_free(v.conflicts);
	return v.rc;
}

static void fill_buf(struct buf *b, size_t n)
{
	buf_reset(b);
	while (b->len < n)
		buf_put_u8(b, 'x');
}

/* T59 and other things that must not reach the file. */
static void test_refused_votes(void **state)
{
	struct storage *s = open_in(*state);
	uint64_t tid1 = commit_one(s, 1, 0, "one");
	struct txn *t = test_txn("", "");

	fill_buf(&t->user, 65536);
	assert_int_equal(vote_and_abort(s, t), ERR_LIMIT);
	fill_buf(&t->user, 65535);
	assert_int_equal(vote_and_abort(s, t), OK);
	fill_buf(&t->desc, 65536);
	assert_int_equal(vote_and_abort(s, t), ERR_LIMIT);
	buf_reset(&t->desc);
	t->given_tid = tid1;
	assert_int_equal(vote_and_abort(s, t), ERR_INVAL);
	t->given_tid = TID_MAX; /* none would be left */
	assert_int_equal(vote_and_abort(s, t), ERR_INVAL);
	t->given_tid = tid1 + 1;
	assert_int_equal(vote_and_abort(s, t), OK);
	t->status = 'c';
	assert_int_equal(vote_and_abort(s, t), ERR_INVAL);
	t->status = ' ';
	test_store(t, 1, tid1, "");
	assert_int_equal(vote_and_abort(s, t), ERR_INVAL);
	t->recs[0] = (struct txn_rec){ .op = TXN_UNDO, .serial = tid1 + 1 };
	assert_int_equal(vote_and_abort(s, t), ERR_UNDO);
	txn_free(t);
	s->ops->close(s);
}

static void test_quota(void **state)
{
	struct filestorage_options o = options(*state);
	struct storage *s;
	struct txn *t = test_txn("", "");

	o.quota_bytes = 200;
	s = open_with(&o);
	commit_one(s, 1, 0,
		"a record that starts below the quota and ends above it is taken ........"
		"..........................................................................");
	test_store(t, 2, 0, "no");
	assert_int_equal(vote_and_abort(s, t), ERR_QUOTA);
	txn_free(t);
	s->ops->close(s);
}

static char *large_text(size_t n)
{
	char *p = malloc(n + 1);

	for (size_t i = 0; i < n; i++)
		p[i] = (char)('a' + i % 26);
	p[n] = 0;
	return p;
}

/* R6: lack of space is found at vote, and what was promised to others counts. */
static int disk_full(const char *call)
{
	return strcmp(call, "fallocate") == 0 ? ENOSPC : 0;
}

static void test_no_space(void **state)
{
	struct storage *s = open_in(*state);
	struct txn *t = test_txn("", "");
	struct txn *second = test_txn("", "");
	char *text = large_text(3000000);

	test_store(t, 1, 0, text);
	os_fault_hook = disk_full;
	assert_int_equal(vote_and_abort(s, t), ERR_NOSPC);
	os_fault_hook = NULL;
	assert_int_equal(test_vote(s, t, false).rc, OK); /* reserves some more than it needs */
	os_fault_hook = disk_full;
	test_store(second, 2, 0, text);
	assert_int_equal(vote_and_abort(s, second), OK);
	test_store(second, 3, 0, text);
	assert_int_equal(vote_and_abort(s, second), ERR_NOSPC);
	os_fault_hook = NULL;
	s->ops->abort(s, t);
	assert_int_equal(fs_of(s)->reserved, 0);
	free(text);
	txn_free(t);
	txn_free(second);
	s->ops->close(s);
}

/* R10: an oid that a client stored is not handed out, also when it was refused. */
static void test_oids(void **state)
{
	struct storage *s = open_in(*state);
	struct txn *t = test_txn("", "");

	test_store(t, 100, 0, "x");
	assert_int_equal(vote_and_abort(s, t), OK);
	assert_int_equal(s->ops->new_oids(s, 1), 101);
	test_store(t, UINT64_MAX - 5, 0, "x");
	assert_int_equal(vote_and_abort(s, t), ERR_INVAL);
	assert_int_equal(s->ops->new_oids(s, 1), 102);
	txn_free(t);
	s->ops->close(s);
}

/* Data beyond the scratch memory, beyond what is kept in memory, many records. */
static void test_large_transaction(void **state)
{
	static const size_t sizes[] = { 4054, 4055, 65536, 65537, 3000000, 3000001 };
	struct storage *s = open_in(*state);
	struct txn *t = test_txn("", "");

	for (uint64_t i = 0; i < ARRAY_LEN(sizes); i++) {
		char *text = large_text(sizes[i]);

		test_store(t, i, 0, text);
		free(text);
	}
	for (uint64_t i = 100; i < 1000; i++)
		test_store(t, i, 0, "small");
	assert_true(txn_spilled(t));
	commit(s, t);
	for (int again = 0; again < 2; again++) {
		for (uint64_t i = 0; i < ARRAY_LEN(sizes); i++) {
			char *text = large_text(sizes[i]);

			assert_current(s, i, text, 0);
			free(text);
		}
		assert_current(s, 999, "small", 0);
		s->ops->close(s);
		s = open_in(*state);
	}
	s->ops->close(s);
}

/* A load asked for from within done() leaves the outer one's data alone. */
struct nested {
	struct load_req r;
	struct load_req inner;
	struct storage *s;
	bool right;
};

static void nested_inner_done(struct load_req *r)
{
	struct nested *n = CONTAINER_OF(r, struct nested, inner);

	n->right = slice_is(r->data, "two") && slice_is(n->r.data, "one");
}

static void nested_done(struct load_req *r)
{
	struct nested *n = CONTAINER_OF(r, struct nested, r);

	n->inner = *r;
	n->inner.oid = 2;
	n->inner.done = nested_inner_done;
	n->s->ops->load(n->s, &n->inner);
	assert_true(slice_is(r->data, "one"));
}

static void test_nested_load(void **state)
{
	struct storage *s = open_in(*state);
	struct test_exec x = TEST_EXEC;
	struct nested n = { .s = s };

	commit_one(s, 1, 0, "one");
	commit_one(s, 2, 0, "two");
	n.r = (struct load_req){ .exec = &x.base,
		.done = nested_done,
		.kind = LOAD_BEFORE,
		.oid = 1,
		.tid = TID_MAX,
		.applied = TID_MAX };
	s->ops->load(s, &n.r);
	assert_true(n.right);
	assert_int_equal(x.submitted, 0); /* all inline */
	s->ops->close(s);
}

/* Nothing is in the page cache: the answer comes from the pool. */
static int would_wait(const char *call)
{
	return strcmp(call, "preadv2") == 0 ? EAGAIN : 0;
}

static void test_cold(void **state)
{
	struct storage *s = open_in(*state);
	char *text = large_text(100000);
	uint64_t tid1 = commit_one(s, 1, 0, "one");
	struct txn *t = test_txn("", "");

	commit_one(s, 2, 0, text);
	os_fault_hook = would_wait;
	assert_current(s, 1, "one", tid1);
	assert_current(s, 2, text, 0);
	assert_no_object(s, 3);
	test_store(t, 1, tid1 + 1, "conflict");
	assert_int_equal(vote_and_abort(s, t), ERR_CONFLICT);
	os_fault_hook = NULL;
	free(text);
	txn_free(t);
	s->ops->close(s);
}

/* T21: a long walk is not the caller's. */
static void test_long_history(void **state)
{
	enum { N = 3000 };
	struct storage *s = open_in(*state);
	struct arena arena = ARENA_INIT(0);
	uint64_t first = commit_one(s, 1, 0, "first");
	struct test_exec x = TEST_EXEC;
	struct load_req r = { .exec = &x.base,
		.done = test_load_done,
		.kind = LOAD_BEFORE,
		.oid = 1,
		.tid = first + 1,
		.applied = TID_MAX };
	struct history_req h;
	uint64_t tid = first;

	for (int i = 1; i < N; i++)
		tid = commit_one(s, 1, tid, "later");
	s->ops->load(s, &r);
	assert_int_equal(x.submitted, 1);
	test_exec_run(&x);
	assert_true(r.serial == first && r.end_tid > first);
	assert_true(slice_is(r.data, "first"));
	test_load_free(&r);
	h = ask_history(s, 1, tid - 1, 20, &arena);
	assert_int_equal(h.rc, OK);
	assert_int_equal(h.n_items, 20);
	assert_true(h.items[0].tid < tid);
	assert_true(slice_is(h.items[19].user, "user"));
	arena_free(&arena);
	s->ops->close(s);
}

/* Threads that load while commits go on: two objects are always written together, so as of any tid
 * they are equal (R1), and nothing is ever missing. */
struct reading {
	struct storage *s;
	atomic_bool stop;
	atomic_int bad;
};

struct pair_load {
	struct load_req r;
	char head[16];
};

static void copy_head(struct load_req *r)
{
	struct pair_load *p = CONTAINER_OF(r, struct pair_load, r);

	snprintf(p->head, sizeof(p->head), "%.*s", r->data.len < 15 ? (int)r->data.len : 15,
		r->data.len ? (const char *)r->data.data : "");
}

static void load_head(struct storage *s, uint64_t oid, uint64_t applied, struct pair_load *p)
{
	struct test_exec x = TEST_EXEC;

	*p = (struct pair_load){ .r = { .exec = &x.base,
					 .done = copy_head,
					 .kind = LOAD_BEFORE,
					 .oid = oid,
					 .tid = TID_MAX,
					 .applied = applied } };
	s->ops->load(s, &p->r);
	test_exec_run(&x);
	p->r.exec = NULL;
}

static void *read_pairs(void *arg)
{
	struct reading *rd = arg;

	for (unsigned n = 0; !atomic_load(&rd->stop); n++) {
		uint64_t applied = pubchain_last_tid(rd->s->pubs);
		uint64_t oid = n % 10;
		struct pair_load a, b;

		load_head(rd->s, oid, applied, &a);
		load_head(rd->s, oid + 1000000007, applied, &b);
		if (a.r.rc != OK || b.r.rc != OK || strcmp(a.head, b.head) != 0) {
			atomic_fetch_add(&rd->bad, 1);
			return NULL;
		}
	}
	return NULL;
}

static void test_loads_while_committing(void **state)
{
	struct storage *s = open_in(*state);
	struct reading rd = { .s = s };
	uint64_t serial[10] = { 0 };
	pthread_t threads[2];

	for (unsigned n = 0; n < 400; n++) {
		struct txn *t = test_txn("", "");
		char text[200];

		snprintf(text, sizeof(text), "%u", n);
		test_store(t, n % 10, serial[n % 10], text);
		test_store(t, n % 10 + 1000000007, serial[n % 10], text);
		test_store(t, 5000 + n, 0, text);
		serial[n % 10] = commit(s, t);
		for (int i = 0; n == 10 && i < 2; i++)
			pthread_create(&threads[i], NULL, read_pairs, &rd);
	}
	atomic_store(&rd.stop, true);
	for (int i = 0; i < 2; i++)
		pthread_join(threads[i], NULL);
	assert_int_equal(rd.bad, 0);
	s->ops->close(s);
}

/* --- opening --- */

static void test_locked(void **state)
{
	struct filestorage_options o = options(*state);
	struct storage *s = open_in(*state);
	struct storage *second = NULL;
	struct err e = ERR_INIT;
	char pid[32];

	assert_int_equal(filestorage_open(&o, &second, &e), ERR_BUSY);
	snprintf(pid, sizeof(pid), "(%ld)", (long)getpid());
	assert_non_null(strstr(e.text, pid));
	s->ops->close(s);
	assert_true(test_exists(test_path(*state, ".lock")));
	s = open_in(*state);
	s->ops->close(s);
}

static void test_read_only(void **state)
{
	struct filestorage_options o = options(*state);
	struct storage *s = NULL;
	struct err e = ERR_INIT;
	struct txn *t = test_txn("", "");
	size_t len;
	uint8_t *p;

	o.read_only = true;
	assert_int_equal(filestorage_open(&o, &s, &e), ERR_NOENT);
	s = open_in(*state);
	commit_one(s, 1, 0, "one");
	p = test_read_file(test_path(*state, ""), &len);
	p = realloc(p, len + 10);
	memset(p + len, 0, 10);
	s->ops->close(s);
	test_write_file(test_path(*state, ""), p, len + 10);
	unlink(test_path(*state, ".index"));
	unlink(test_path(*state, ".lock"));

	s = open_with(&o);
	assert_true(s->read_only);
	assert_current(s, 1, "one", 0);
	test_store(t, 2, 0, "x");
	assert_int_equal(vote_and_abort(s, t), ERR_READONLY);
	s->ops->close(s);
	assert_false(test_exists(test_path(*state, ".lock")));
	assert_false(test_exists(test_path(*state, ".index")));
	assert_false(test_exists(test_path(*state, ".tr0")));
	free(p);
	p = test_read_file(test_path(*state, ""), &len);
	assert_int_equal(p[len - 1], 0);
	free(p);
	txn_free(t);
}

static void test_create(void **state)
{
	struct filestorage_options o = options(*state);
	struct storage *s = open_in(*state);

	commit_one(s, 1, 0, "one");
	s->ops->close(s);
	o.create = true;
	s = open_with(&o);
	assert_no_object(s, 1);
	s->ops->close(s);
}

/* T67 */
static void test_remains_of_a_pack(void **state)
{
	struct filestorage_options o = options(*state);
	struct storage *s = NULL;
	struct err e = ERR_INIT;

	test_write_file(test_path(*state, ".old"), "FS30", 4);
	assert_int_equal(filestorage_open(&o, &s, &e), ERR_CORRUPT);
	assert_non_null(strstr(e.text, ".old"));
	assert_false(test_exists(test_path(*state, "")));
}

/* T27: after a clean stop the index is used; T62: one of another file is not. */
static void test_stale_index(void **state)
{
	struct storage *s = open_in(*state);
	size_t len;
	uint8_t *index;

	commit_one(
		s, 1, 0, "one, and some more bytes so that an index is worth it at all ........");
	commit_one(s, 2, 0, "two");
	s->ops->close(s);
	index = test_read_file(test_path(*state, ".index"), &len);
	s = open_in(*state);
	assert_string_equal(logged, "");
	commit_one(s, 3, 0, "three");
	s->ops->close(s);

	test_write_file(test_path(*state, ".index"), index, len); /* older: completed */
	s = open_in(*state);
	assert_string_equal(logged, "");
	assert_current(s, 3, "three", 0);
	s->ops->close(s);

	index[len - 10] ^= 1; /* wrong: ignored */
	test_write_file(test_path(*state, ".index"), index, len);
	s = open_in(*state);
	assert_non_null(strstr(logged, "Ignoring index"));
	assert_current(
		s, 1, "one, and some more bytes so that an index is worth it at all ........", 0);
	assert_current(s, 2, "two", 0);
	assert_current(s, 3, "three", 0);
	s->ops->close(s);
	free(index);
}

static int fsync_fails(const char *call)
{
	return strcmp(call, "fsync") == 0 ? EIO : 0;
}

/* A new file whose folder cannot be synced: an error, and everything is closed once. */
static void test_folder_cannot_be_synced(void **state)
{
	struct test_dir *d = *state;
	struct filestorage_options o = options(d);
	struct storage *s = NULL;
	struct err e = ERR_INIT;

	os_fault_hook = fsync_fails;
	assert_int_equal(filestorage_open(&o, &s, &e), ERR_IO);
	os_fault_hook = NULL;
	assert_null(s);
	assert_non_null(strstr(e.text, d->data));
}

int main(void)
{
#define FS_TEST(f) cmocka_unit_test_setup_teardown(f, test_dir_setup, test_dir_teardown)
	const struct CMUnitTest tests[] = {
		FS_TEST(test_python_file),
		FS_TEST(test_index_as_python),
		FS_TEST(test_recent),
		FS_TEST(test_new_file),
		FS_TEST(test_commit_and_load),
		FS_TEST(test_clock_steps_back),
		FS_TEST(test_empty_transaction),
		FS_TEST(test_twice_in_one_transaction),
		FS_TEST(test_checked_and_dropped),
		FS_TEST(test_chosen_oids_are_not_handed_out),
		FS_TEST(test_conflicts),
		FS_TEST(test_refused_votes),
		FS_TEST(test_quota),
		FS_TEST(test_no_space),
		FS_TEST(test_folder_cannot_be_synced),
		FS_TEST(test_oids),
		FS_TEST(test_large_transaction),
		FS_TEST(test_nested_load),
		FS_TEST(test_cold),
		FS_TEST(test_long_history),
		FS_TEST(test_loads_while_committing),
		FS_TEST(test_locked),
		FS_TEST(test_read_only),
		FS_TEST(test_create),
		FS_TEST(test_remains_of_a_pack),
		FS_TEST(test_stale_index),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
