#include "storage_util.h"

#include "storage/demo/demo.h"
#include "storage/filestorage/filestorage.h"
#include "storage/mapping/mapping.h"
#include "storage/resolver.h"
#include "storage/zlib/zlib_storage.h"

static struct test_clock test_time = TEST_CLOCK(TEST_NOW_US);

enum { FIRST_OID = 1000 };

/* A base with something in it, the changes, and both in one. */
struct stack {
	struct storage *base;
	struct storage *changes;
	struct storage *demo;
	uint64_t t1; /* base: object 1 "one", object 2 "two" */
	uint64_t t2; /* base: object 1 "uno" */
};

static struct storage *open_mapping(const char *name)
{
	struct storage *s = NULL;
	struct err e = ERR_INIT;

	assert_int_equal(mapping_open(name, &test_time.base, 10, &s, &e), OK);
	return s;
}

static uint64_t commit(struct storage *s, struct txn *t)
{
	struct vote_req v = test_vote(s, t, false);
	struct test_outcome o;
	uint64_t tid;

	assert_int_equal(v.rc, OK);
	mem_free(v.changed_oids);
	test_finish(s, t, &o);
	assert_true(o.done);
	assert_int_equal(o.rc, OK);
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

static struct storage *open_demo(const char *name, struct storage *base, struct storage *changes)
{
	struct demo_options o = {
		.name = name, .base = base, .changes = changes, .first_oid = FIRST_OID
	};
	struct storage *s = NULL;
	struct err e = ERR_INIT;

	assert_int_equal(demo_open(&o, &s, &e), OK);
	return s;
}

static struct stack open_stack(void)
{
	struct stack k = { .base = open_mapping("base"), .changes = open_mapping("it's") };
	struct txn *t = test_txn("base", "");

	test_store(t, 1, 0, "one");
	test_store(t, 2, 0, "two");
	k.t1 = commit(k.base, t);
	k.t2 = commit_one(k.base, 1, k.t1, "uno");
	test_time.now_us -=
		1000000; /* the clock stepped back: what follows is newer all the same */
	k.demo = open_demo(NULL, k.base, k.changes);
	return k;
}

static void assert_load(struct storage *s, uint64_t oid, uint64_t tid, uint64_t applied,
	const char *text, uint64_t serial, uint64_t end_tid)
{
	struct load_req r = test_load(s, LOAD_BEFORE, oid, tid, applied);

	assert_int_equal(r.rc, OK);
	assert_false(r.none);
	assert_true(slice_is(r.data, text));
	assert_true(r.serial == serial);
	assert_true(r.end_tid == end_tid);
	test_load_free(&r);
}

static void test_base_shows(void **state)
{
	struct stack k = open_stack();
	struct storage_info info;
	struct load_req r;

	assert_string_equal(k.demo->name, "DemoStorage('base', \"it's\")");
	assert_true(pubchain_last_tid(k.demo->pubs) == k.t2);
	assert_load(k.demo, 1, TID_MAX, k.t2, "uno", k.t2, TID_NONE);
	assert_load(k.demo, 1, k.t2, k.t2, "one", k.t1, k.t2);
	assert_load(k.demo, 2, TID_MAX, k.t2, "two", k.t1, TID_NONE);
	assert_no_object(k.demo, 3);
	r = test_load(k.demo, LOAD_BEFORE, 1, k.t1, k.t2);
	assert_true(r.rc == OK && r.none);
	r = test_load(k.demo, LOAD_SERIAL, 1, k.t1, k.t2);
	assert_true(slice_is(r.data, "one"));
	test_load_free(&r);
	r = test_load(k.demo, LOAD_TID, 1, 0, k.t2);
	assert_true(r.serial == k.t2);
	r = test_load(k.demo, LOAD_NEXT, 0, 0, k.t2);
	assert_int_equal(r.rc, ERR_UNSUPPORTED);
	k.demo->ops->info(k.demo, &info);
	assert_int_equal(info.length, 0); /* as ZODB's: of the changes */
	assert_string_equal(info.interfaces[1], "IStorage");
	k.demo->ops->close(k.demo);
}

/* What was current in the base ended with the first change. */
static void test_seam(void **state)
{
	struct stack k = open_stack();
	uint64_t t3 = commit_one(k.demo, 1, k.t2, "eins");
	uint64_t t4 = commit_one(k.demo, 1, t3, "un");
	uint64_t t5 = commit_one(k.demo, 3, 0, "three");
	struct load_req r;

	assert_true(t3 > k.t2); /* R4 */
	assert_load(k.demo, 1, TID_MAX, t5, "un", t4, TID_NONE);
	assert_load(k.demo, 1, t4, t5, "eins", t3, t4);
	assert_load(k.demo, 1, t3, t5, "uno", k.t2, t3);
	assert_load(k.demo, 1, t3, t3, "uno", k.t2, t3);
	assert_load(k.demo, 1, k.t2, t5, "one", k.t1, k.t2);
	assert_load(k.demo, 1, TID_MAX, k.t2, "uno", k.t2, TID_NONE); /* R1 */
	assert_load(k.demo, 1, t4, k.t2, "uno", k.t2, TID_NONE);      /* R1 */
	r = test_load(k.demo, LOAD_BEFORE, 3, t5, t5);
	assert_true(r.rc == OK && r.none && r.end_tid == t5);
	r = test_load(k.demo, LOAD_SERIAL, 1, t3, t5);
	assert_true(slice_is(r.data, "eins"));
	test_load_free(&r);
	assert_current(k.base, 1, "uno", k.t2); /* I1 */
	k.demo->ops->close(k.demo);
}

static void test_serials(void **state)
{
	struct stack k = open_stack();
	struct txn *t = test_txn("", "");
	struct vote_req v;

	test_store(t, 1, k.t1, "from an old one");
	test_check(t, 2, k.t1); /* right: only the base has it */
	test_check(t, 2, 5);
	test_check(t, 9, 5);
	test_store(t, 8, 5, "new");
	for (int i = 0; i < 2; i++) { /* a vote that failed leaves the transaction as it was */
		v = test_vote(k.demo, t, true);
		assert_int_equal(v.rc, ERR_CONFLICT);
		assert_int_equal(v.n_conflicts, 3);
		assert_int_equal(v.conflicts[0].rec, 0);
		assert_true(v.conflicts[0].committed_serial == k.t2);
		assert_true(v.conflicts[0].old_serial == k.t1);
		assert_int_equal(v.conflicts[1].rec, 2);
		assert_true(v.conflicts[1].committed_serial == k.t1);
		assert_true(v.conflicts[2].missing);
		assert_false(t->recs[1].dropped);
		mem_free(v.conflicts);
	}
	v = test_vote(k.demo, t, false);
	assert_int_equal(v.n_conflicts, 1);
	mem_free(v.conflicts);
	txn_free(t);
	t = test_txn("", "");
	test_check(t, 2, k.t1);
	test_store(t, 1, k.t2, "right");
	commit(k.demo, t);
	assert_current(k.demo, 1, "right", 0);
	k.demo->ops->close(k.demo);
}

static void test_unsupported(void **state)
{
	struct stack k = open_stack();
	uint8_t ops[] = { TXN_RESTORE, TXN_DELETE, TXN_UNDO };
	struct err e = ERR_INIT;

	for (size_t i = 0; i < ARRAY_LEN(ops); i++) {
		struct txn *t = test_txn("", "");
		struct txn_rec rec = { .oid = 1, .serial = k.t2, .op = ops[i] };

		assert_int_equal(txn_add(t, &rec, slice_of(NULL, 0), &e), OK);
		assert_int_equal(test_vote(k.demo, t, false).rc, ERR_UNSUPPORTED);
		txn_free(t);
	}
	assert_null(k.demo->ops->undo_log);
	k.demo->ops->close(k.demo);
}

/* --- conflicts that are resolved --- */

struct test_resolver {
	struct resolver base;
	int rc;
	char seen[200];
};

static void put_state(struct test_resolver *r, const char *what, struct slice s)
{
	size_t n = strlen(r->seen);

	snprintf(r->seen + n, sizeof(r->seen) - n, "%s=%.*s;", what, (int)s.len,
		(const char *)s.data);
}

static int resolve(
	struct resolver *base, const struct resolve_req *q, struct buf *ret, struct err *e)
{
	struct test_resolver *r = CONTAINER_OF(base, struct test_resolver, base);

	r->seen[0] = 0;
	put_state(r, "old", q->old);
	put_state(r, "committed", q->committed);
	put_state(r, "changed", q->changed);
	if (r->rc != OK)
		return err_set(e, r->rc, "no");
	buf_put_str(ret, "merged, and long enough to be compressed: aaaaaaaaaaaaaaaaaaaaaaaaa");
	return OK;
}

static void vote_done(struct vote_req *v)
{
	v->exec = NULL;
}

static struct vote_req vote_resolved(struct storage *s, struct txn *t, struct test_resolver *r)
{
	struct test_exec x = TEST_EXEC;
	struct vote_req v = { .exec = &x.base, .done = vote_done, .txn = t, .resolver = &r->base };

	t->state = TXN_VOTING;
	s->ops->vote(s, &v);
	test_exec_run(&x);
	assert_null(v.exec);
	t->state = v.rc == OK ? TXN_VOTED : TXN_BUFFERING;
	return v;
}

/* The state the change was made from is in the base, the one that is current in the changes. */
static void test_resolves_across(void **state)
{
	struct stack k = open_stack();
	struct test_resolver r = { .base.resolve = resolve };
	struct txn *t = test_txn("", "");
	struct test_outcome o;
	struct vote_req v;
	uint64_t t3 = commit_one(k.demo, 1, k.t2, "eins");

	test_store(t, 1, k.t2, "mine");
	test_store(t, 2, k.t1, "no conflict");
	v = vote_resolved(k.demo, t, &r);
	assert_int_equal(v.rc, OK);
	assert_string_equal(r.seen, "old=uno;committed=eins;changed=mine;");
	assert_int_equal(v.n_changed_oids, 1);
	assert_int_equal(v.n_resolved, 1);
	assert_int_equal(v.changed_oids[0], 1);
	assert_true(t->recs[0].serial == t3);
	mem_free(v.changed_oids);
	test_finish(k.demo, t, &o);
	assert_int_equal(o.rc, OK);
	txn_free(t);
	assert_current(k.demo, 1,
		"merged, and long enough to be compressed: aaaaaaaaaaaaaaaaaaaaaaaaa", 0);
	k.demo->ops->close(k.demo);
}

static void test_unresolved(void **state)
{
	struct stack k = open_stack();
	struct test_resolver r = { .base.resolve = resolve, .rc = ERR_CONFLICT };
	struct txn *t = test_txn("", "");
	struct vote_req v;

	test_store(t, 1, k.t1, "mine");
	v = vote_resolved(k.demo, t, &r);
	assert_int_equal(v.rc, ERR_CONFLICT);
	assert_string_equal(r.seen, "old=one;committed=uno;changed=mine;");
	mem_free(v.conflicts);
	t->recs[0].serial = 77; /* there is no such revision */
	r.seen[0] = 0;
	v = vote_resolved(k.demo, t, &r);
	assert_int_equal(v.rc, ERR_CONFLICT);
	assert_int_equal(v.n_conflicts, 1);
	assert_string_equal(r.seen, "");
	mem_free(v.conflicts);
	r.rc = ERR_NOMEM;
	t->recs[0].serial = k.t1;
	v = vote_resolved(k.demo, t, &r);
	assert_int_equal(v.rc, ERR_NOMEM);
	assert_int_equal(v.n_conflicts, 0);
	txn_free(t);
	k.demo->ops->close(k.demo);
}

/* --- the rest --- */

static void answered(struct history_req *r)
{
	r->exec = NULL;
}

static void test_history(void **state)
{
	struct stack k = open_stack();
	struct arena arena = ARENA_INIT(0);
	uint64_t t3 = commit_one(k.demo, 1, k.t2, "eins");
	struct history_req r = {
		.done = answered, .oid = 1, .applied = t3, .size = 5, .arena = &arena
	};

	k.demo->ops->history(k.demo, &r);
	assert_int_equal(r.rc, OK);
	assert_int_equal(r.n_items, 3);
	assert_true(r.items[0].tid == t3 && r.items[1].tid == k.t2 && r.items[2].tid == k.t1);
	assert_true(slice_is(r.items[2].user, "base"));
	r.size = 2;
	k.demo->ops->history(k.demo, &r);
	assert_int_equal(r.n_items, 2);
	r.size = 1;
	k.demo->ops->history(k.demo, &r);
	assert_true(r.n_items == 1 && r.items[0].tid == t3);
	r.size = 9;
	r.oid = 2;
	k.demo->ops->history(k.demo, &r);
	assert_true(r.n_items == 1 && r.items[0].tid == k.t1);
	r.oid = 9;
	k.demo->ops->history(k.demo, &r);
	assert_int_equal(r.rc, ERR_NOKEY);
	arena_free(&arena);
	k.demo->ops->close(k.demo);
}

/* R10: none that exists, in base or changes, and none twice. */
static void test_oids(void **state)
{
	struct stack k = open_stack();

	commit_one(k.demo, FIRST_OID + 5, 0, "x");
	commit_one(k.demo, FIRST_OID + 20, 0, "x");
	assert_int_equal(k.demo->ops->new_oids(k.demo, 5), FIRST_OID);
	assert_int_equal(k.demo->ops->new_oids(k.demo, 10), FIRST_OID + 6);
	assert_int_equal(k.demo->ops->new_oids(k.demo, 10), FIRST_OID + 21);
	assert_int_equal(k.demo->ops->new_oids(k.demo, 1), FIRST_OID + 31);
	assert_true(k.demo->ops->has_oid(k.demo, 1));
	assert_false(k.demo->ops->has_oid(k.demo, 999));
	k.demo->ops->close(k.demo);
}

/* Behind the base's last tid nothing is known of what changed. */
static void add_oid(void *ctx, uint64_t oid)
{
	*(uint64_t *)ctx += oid;
}

static void test_publications(void **state)
{
	struct stack k = open_stack();
	struct pub_cursor cursor = { .wake = NULL };
	uint64_t sum = 0;
	uint64_t last = 0;
	uint64_t t3 = commit_one(k.demo, 1, k.t2, "eins");

	pub_cursor_attach(k.demo->pubs, &cursor);
	assert_true(pubchain_since(k.demo->pubs, &cursor, k.t2, add_oid, &sum, &last));
	assert_true(sum == 1 && last == t3);
	assert_false(pubchain_since(k.demo->pubs, &cursor, k.t2 - 1, add_oid, &sum, &last));
	pub_cursor_detach(k.demo->pubs, &cursor);
	k.demo->ops->close(k.demo);
}

/* A DemoStorage as base and changes of another one. */
static void test_nested(void **state)
{
	struct stack a = open_stack();
	struct storage *changes;
	struct storage *top;
	uint64_t t3 = commit_one(a.demo, 1, a.t2, "eins");
	uint64_t t4;

	changes = open_demo(NULL, open_mapping("b"), open_mapping("c"));
	top = open_demo("top", a.demo, changes);
	assert_string_equal(top->name, "top");
	assert_current(top, 1, "eins", t3);
	t4 = commit_one(top, 1, t3, "un");
	assert_true(t4 > t3);
	assert_load(top, 1, t4, t4, "eins", t3, t4);
	assert_load(top, 1, t3, t4, "uno", a.t2, t3);
	assert_current(a.demo, 1, "eins", t3);
	top->ops->close(top);
}

/* --- without memory --- */

static int allocations_left;

static int fail_allocation(void)
{
	return allocations_left-- <= 0;
}

static bool answers(int rc)
{
	assert_true(rc == OK || rc == ERR_NOMEM);
	return rc == OK;
}

/* The n-th allocation fails, and all that follow. */
static bool load_without(struct storage *s, int n, uint64_t oid)
{
	struct test_exec x = TEST_EXEC;
	struct load_req r = { .exec = &x.base,
		.done = test_load_done,
		.oid = oid,
		.tid = TID_MAX,
		.applied = TID_MAX };

	allocations_left = n;
	mem_fault_hook = fail_allocation;
	s->ops->load(s, &r);
	test_exec_run(&x);
	mem_fault_hook = NULL;
	assert_true(r.oid == UINT64_MAX);
	test_load_free(&r);
	return answers(r.rc);
}

static bool history_without(struct storage *s, int n, uint64_t oid)
{
	struct arena arena = ARENA_INIT(0);
	struct history_req r = {
		.done = answered, .oid = oid, .applied = TID_MAX, .size = 9, .arena = &arena
	};

	allocations_left = n;
	mem_fault_hook = fail_allocation;
	s->ops->history(s, &r);
	mem_fault_hook = NULL;
	arena_free(&arena);
	assert_true(r.rc != OK || r.n_items == 2);
	return answers(r.rc);
}

static bool commit_without(struct storage *s, int n, uint64_t serial, uint64_t check)
{
	struct test_resolver resolver = { .base.resolve = resolve };
	struct txn *t = test_txn("", "");
	struct test_outcome o = { 0 };
	struct vote_req v;

	test_store(t, 1, serial,
		"a record that is long enough to be compressed: aaaaaaaaaaaaaaaaaaaaa");
	test_check(t, 2, check);
	allocations_left = n;
	mem_fault_hook = fail_allocation;
	v = vote_resolved(s, t, &resolver);
	if (v.rc == OK)
		test_finish(s, t, &o);
	mem_fault_hook = NULL;
	mem_free(v.changed_oids);
	mem_free(v.conflicts);
	/* a state that cannot be loaded is a conflict that nobody resolves, but memory is another matter */
	answers(v.rc);
	assert_true(v.rc != OK || o.done);
	txn_free(t);
	return v.rc == OK && answers(o.rc);
}

/* Wherever memory runs out, that request fails, and what it was about stays as it was. */
static void test_no_memory(void **state)
{
	struct zlib_storage_options o = { .inflate = true, .deflate = true };
	struct stack k = open_stack();
	struct storage *s = NULL;
	struct err e = ERR_INIT;
	int n;

	assert_int_equal(zlib_storage_open(k.demo, &o, &s, &e), OK);
	for (n = 0; !load_without(s, n, 1); n++)
		assert_current(s, 1, "uno", k.t2);
	assert_true(n > 1);
	for (n = 0; !history_without(s, n, 1); n++)
		assert_true(n < 100);
	assert_true(n > 1);
	for (n = 0; !commit_without(s, n, k.t1, k.t1); n++)
		assert_current(s, 1, "uno", k.t2);
	assert_true(n > 10);
	assert_current(
		s, 1, "merged, and long enough to be compressed: aaaaaaaaaaaaaaaaaaaaaaaaa", 0);
	s->ops->close(s);
}

/* --- over files --- */

static struct storage *open_file(const char *path, bool read_only)
{
	struct filestorage_options o = {
		.path = path,
		.read_only = read_only,
		.recent_txns = 10,
		.clock = &clock_system,
	};
	struct storage *s = NULL;
	struct err e = ERR_INIT;

	assert_int_equal(filestorage_open(&o, &s, &e), OK);
	return s;
}

static uint64_t commit_file(struct storage *s, uint64_t oid, uint64_t serial, const char *text)
{
	struct txn *t = test_txn("user", "");
	struct vote_req v;
	struct test_outcome o;
	uint64_t tid;

	test_store(t, oid, serial, text);
	v = test_vote(s, t, false);
	assert_int_equal(v.rc, OK);
	test_finish(s, t, &o);
	while (!__atomic_load_n(&o.done, __ATOMIC_ACQUIRE))
		usleep(1000);
	assert_int_equal(o.rc, OK);
	tid = t->tid;
	txn_free(t);
	return tid;
}

/* Changes in a file are there after a restart, on a base that nobody may write. */
static void test_files(void **state)
{
	struct test_dir *d = *state;
	const char *base = test_path(d, "");
	const char *changes = test_path(d, ".changes");
	struct storage *s = open_file(base, false);
	uint64_t t1 = commit_file(s, 1, 0, "one");
	uint64_t t2;

	s->ops->close(s);
	s = open_demo(NULL, open_file(base, true), open_file(changes, false));
	assert_false(s->read_only);
	assert_current(s, 1, "one", t1);
	assert_true(pubchain_last_tid(s->pubs) == t1);
	t2 = commit_file(s, 1, t1, "two");
	assert_true(t2 > t1);
	s->ops->close(s);
	s = open_demo(NULL, open_file(base, true), open_file(changes, false));
	assert_true(pubchain_last_tid(s->pubs) == t2);
	assert_load(s, 1, TID_MAX, t2, "two", t2, TID_NONE);
	assert_load(s, 1, t2, t2, "one", t1, t2);
	s->ops->close(s);
	s = open_demo(NULL, open_mapping("m"), open_file(changes, true));
	assert_true(s->read_only);
	s->ops->close(s);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_base_shows),
		cmocka_unit_test(test_seam),
		cmocka_unit_test(test_serials),
		cmocka_unit_test(test_unsupported),
		cmocka_unit_test(test_resolves_across),
		cmocka_unit_test(test_unresolved),
		cmocka_unit_test(test_history),
		cmocka_unit_test(test_oids),
		cmocka_unit_test(test_publications),
		cmocka_unit_test(test_nested),
		cmocka_unit_test(test_no_memory),
		cmocka_unit_test_setup_teardown(test_files, test_dir_setup, test_dir_teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
