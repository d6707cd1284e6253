/* Connections: snapshots, invalidations, commits, conflicts, the cache. */
#include "cmocka_all.h"

#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/mem.h"
#include "database/connection.h"
#include "fake_client.h"

static struct client *client;
static struct database *db;
static struct err last;

static int set_up_with(const struct database_options *o)
{
	client = calloc(1, sizeof(*client));
	assert_int_equal(database_new(o, client, NULL, &db, &last), OK);
	client->db = db;
	return 0;
}

static int set_up(void **state)
{
	return set_up_with(&(struct database_options){ 0 });
}

static int tear_down(void **state)
{
	database_free(db);
	fake_free(client);
	return 0;
}

static void ok(int rc)
{
	if (rc != OK)
		fail_msg("%s: %s", err_name(rc), last.text);
}

static struct connection *open_connection(void)
{
	struct connection *conn = NULL;

	ok(database_open(db, &conn, &last));
	return conn;
}

static void put(struct value *dict, const char *key, struct value *v)
{
	ok(value_set(dict, value_str(slice_str(key)), v, &last));
}

/* root[key] = n */
static void set_number(struct connection *conn, const char *key, int64_t n)
{
	struct persistent *root;
	struct value *data;

	ok(connection_root(conn, &root, &last));
	ok(persistent_change_data(root, &data, &last));
	put(data, key, value_int(n));
	persistent_unref(root);
}

/* root[key], or -1 */
static int64_t number(struct connection *conn, const char *key)
{
	struct persistent *root;
	const struct value *data;
	const struct value *v;
	int64_t n;

	ok(connection_root(conn, &root, &last));
	ok(persistent_data(root, &data, &last));
	v = value_get_str(data, slice_str(key));
	n = v ? value_as_int(v) : -1;
	persistent_unref(root);
	return n;
}

static uint64_t commit(struct connection *conn)
{
	uint64_t tid = 0;

	ok(connection_commit(conn, NULL, &tid, &last));
	return tid;
}

/* An object of one number, committed. Returns its oid. */
static uint64_t new_object(struct connection *conn, int64_t n)
{
	struct persistent *p;
	uint64_t oid;

	ok(connection_add(conn, OBJECT_LIST, value_int(n), &p, &last));
	oid = persistent_oid(p);
	persistent_unref(p);
	return oid;
}

static int64_t state_of(struct connection *conn, uint64_t oid)
{
	const struct value *v;
	struct persistent *p;
	int64_t n;

	ok(connection_get(conn, oid, &p, &last));
	ok(persistent_state(p, &v, &last));
	n = value_as_int(v);
	persistent_unref(p);
	return n;
}

static void set_state(struct connection *conn, uint64_t oid, int64_t n)
{
	struct persistent *p;

	ok(connection_get(conn, oid, &p, &last));
	ok(persistent_set(p, value_int(n), &last));
	persistent_unref(p);
}

static void test_an_empty_database_gets_a_root(void **state)
{
	struct connection *a = open_connection();
	struct connection *b;

	assert_int_equal(number(a, "x"), -1);
	set_number(a, "x", 1);
	assert_int_equal(commit(a), 1);
	assert_int_equal(number(a, "x"), 1);
	b = open_connection();
	assert_int_equal(number(b, "x"), 1);
	connection_close(a);
	connection_close(b);
}

static void test_a_snapshot_stays(void **state)
{
	struct connection *a = open_connection();
	struct connection *b;

	set_number(a, "x", 1);
	commit(a);
	b = open_connection();
	set_number(a, "x", 2);
	commit(a);
	assert_int_equal(number(b, "x"), 1); /* D1, loaded after the commit */
	assert_int_equal(number(a, "x"), 2); /* D2 */
	ok(connection_begin(b, &last));
	assert_int_equal(number(b, "x"), 2);
	set_number(a, "x", 3);
	commit(a);
	assert_int_equal(number(b, "x"), 2); /* loaded before it */
	connection_abort(b);
	assert_int_equal(number(b, "x"), 3);
	connection_close(a);
	connection_close(b);
}

static void test_a_conflict(void **state)
{
	struct connection *a = open_connection();
	struct connection *b;

	set_number(a, "x", 1);
	commit(a);
	b = open_connection();
	set_number(b, "x", 10);
	set_number(a, "x", 2);
	commit(a);
	assert_int_equal(connection_commit(b, NULL, NULL, &last), ERR_CONFLICT);
	assert_false(connection_is_changed(b));
	assert_int_equal(number(b, "x"), 2);
	connection_close(a);
	connection_close(b);
}

static void test_what_was_merged_is_read_again(void **state)
{
	struct connection *a = open_connection();
	struct connection *b;
	uint64_t oid;

	oid = new_object(a, 1);
	commit(a);
	b = open_connection();
	set_state(b, oid, 10);
	set_state(a, oid, 2);
	commit(a);
	client->resolves = oid;
	commit(b);
	/* the server's merge is another state than what b stored */
	client->revisions[client->n_revisions - 1]
		.data[client->revisions[client->n_revisions - 1].len - 2] = 77;
	assert_int_equal(state_of(b, oid), 77);
	connection_close(a);
	connection_close(b);
}

static void test_reads_that_must_be_current(void **state)
{
	struct connection *a = open_connection();
	struct connection *b;
	struct persistent *p;
	uint64_t oid;

	oid = new_object(a, 1);
	set_number(a, "x", 1);
	commit(a);
	b = open_connection();
	ok(connection_get(b, oid, &p, &last));
	ok(persistent_read_current(p, &last));
	ok(persistent_read_current(p, &last));
	set_number(b, "x", 2);
	commit(b);
	assert_int_equal(client->n_checks, 1);
	ok(persistent_read_current(p, &last));
	persistent_unref(p);
	set_state(a, oid, 2);
	commit(a);
	set_number(b, "x", 3);
	assert_int_equal(connection_commit(b, NULL, NULL, &last), ERR_CONFLICT);
	assert_int_equal(state_of(b, oid), 2);
	connection_close(a);
	connection_close(b);
}

static void test_what_is_new_dies_with_its_transaction(void **state)
{
	struct connection *a = open_connection();
	struct persistent *p;
	const struct value *v;
	uint64_t oid;

	ok(connection_add(a, OBJECT_LIST, value_int(1), &p, &last));
	oid = persistent_oid(p);
	assert_int_equal(persistent_serial(p), 0);
	assert_int_equal(state_of(a, oid), 1);
	assert_int_equal(connection_begin(a, &last), ERR_STATE);
	connection_abort(a);
	assert_int_equal(persistent_state(p, &v, &last), ERR_STATE);
	assert_int_equal(persistent_set(p, value_none(), &last), ERR_STATE);
	persistent_unref(p);
	assert_int_equal(connection_get(a, oid, &p, &last), ERR_NOKEY);
	/* and one that stays */
	ok(connection_add(a, OBJECT_LIST, value_int(1), &p, &last));
	commit(a);
	assert_int_not_equal(persistent_serial(p), 0);
	ok(persistent_set(p, value_int(2), &last));
	commit(a);
	assert_int_equal(state_of(a, persistent_oid(p)), 2);
	persistent_unref(p);
	connection_close(a);
}

static void test_a_state_belongs_to_its_object(void **state)
{
	struct connection *a = open_connection();
	struct value *list = value_list();
	struct value *item = value_list();
	struct value *own = NULL;
	struct persistent *p;
	struct persistent *q;

	ok(value_insert(list, 0, item, &last));
	assert_int_equal(connection_add(a, OBJECT_LIST, item, &p, &last), ERR_INVAL);
	assert_non_null(strstr(last.text, "copy it"));
	ok(connection_add(a, OBJECT_LIST, value_int(1), &p, &last));
	assert_int_equal(persistent_set(p, item, &last), ERR_INVAL);
	ok(persistent_set(p, list, &last));
	/* to be changed, but not to be given away */
	ok(persistent_change(p, &own, &last));
	assert_ptr_equal(own, list);
	ok(connection_add(a, OBJECT_LIST, value_list(), &q, &last));
	assert_int_equal(persistent_set(q, own, &last), ERR_INVAL);
	ok(persistent_change(q, &item, &last));
	assert_int_equal(value_insert(item, 0, own, &last), ERR_INVAL);
	value_free(own);
	/* set once more */
	commit(a);
	ok(persistent_change(p, &own, &last));
	ok(value_insert(own, 1, value_int(7), &last));
	ok(persistent_set(p, own, &last));
	commit(a);
	ok(persistent_change(p, &own, &last));
	assert_int_equal(value_len(own), 2);
	persistent_unref(p);
	persistent_unref(q);
	connection_close(a);
}

static void test_what_is_held_back_is_not_seen(void **state)
{
	struct connection *a = open_connection();
	struct connection *b = open_connection();
	uint64_t oid = new_object(a, 1);

	commit(a);
	set_number(a, "x", 0);
	commit(a);
	ok(connection_begin(b, &last));
	assert_int_equal(state_of(b, oid), 1);
	client->holds_back = true;
	fake_commit(client, oid, slice_of(client->revisions[0].data, client->revisions[0].len));
	ok(connection_begin(b, &last));
	assert_int_equal(connection_snapshot(b), 2);
	/* what it has loaded is not current; the commit says so, and then it is known */
	set_state(b, oid, 5);
	fake_tell(client);
	assert_int_equal(connection_commit(b, NULL, NULL, &last), ERR_CONFLICT);
	assert_int_equal(connection_snapshot(b), 2);
	assert_int_equal(state_of(b, oid), 1);
	assert_int_equal(connection_snapshot(b), 3);
	connection_close(a);
	connection_close(b);
}

/* A begin between "anything may have changed" and the tid that goes with it. */
static void test_after_another_connection(void **state)
{
	struct connection *a = open_connection();
	uint64_t oid = new_object(a, 1);
	struct buf other = BUF_INIT(0);
	struct fake_revision *r;

	commit(a);
	r = &client->revisions[0];
	buf_put(&other, r->data, r->len);
	other.data[other.len - 2] = 42;
	assert_int_equal(state_of(a, oid), 1);
	client->holds_back = true;
	fake_commit(client, oid, buf_slice(&other));
	fake_reconnect(client, false);
	ok(connection_begin(a, &last));
	assert_int_equal(state_of(a, oid), 1); /* loaded again, before it is known what there is */
	fake_reconnect(client, true);
	ok(connection_begin(a, &last));
	assert_int_equal(state_of(a, oid), 42);
	/* no change: nothing is loaded again */
	client->n_loads = 0;
	fake_reconnect(client, false);
	ok(connection_begin(a, &last));
	assert_int_equal(state_of(a, oid), 42);
	ok(connection_begin(a, &last));
	assert_int_equal(state_of(a, oid), 42);
	assert_int_equal(client->n_loads, 1);
	buf_free(&other);
	connection_close(a);
}

/* A server that tells of an older transaction behind a newer one (T45). */
static void test_what_is_told_late(void **state)
{
	struct connection *a = open_connection();
	uint64_t oid = new_object(a, 1);
	struct buf other = BUF_INIT(0);
	struct fake_revision *r;

	commit(a);
	r = &client->revisions[0];
	buf_put(&other, r->data, r->len);
	other.data[other.len - 2] = 42;
	assert_int_equal(state_of(a, oid), 1);
	client->holds_back = true;
	fake_commit(client, oid, buf_slice(&other));
	fake_commit(client, 99, slice_str("x"));
	database_invalidate(db, 3, (uint64_t[]){ 99 }, 1);
	client->last_tid = 3;
	ok(connection_begin(a, &last));
	database_invalidate(db, 2, &oid, 1);
	ok(connection_begin(a, &last));
	assert_int_equal(state_of(a, oid), 42);
	client->n_told = client->n_revisions;
	buf_free(&other);
	connection_close(a);
}

static void test_too_much_was_told(void **state)
{
	struct connection *a = open_connection();
	uint64_t *oids = calloc(200000, sizeof(*oids));
	uint64_t oid = new_object(a, 1);
	struct changes_cursor cursor = { 0 };

	commit(a);
	assert_int_equal(state_of(a, oid), 1);
	client->n_loads = 0;
	for (uint64_t tid = 2; tid < 200000; tid++) {
		oids[0] = tid + 1000;
		database_invalidate(db, tid, oids, 1);
		client->last_tid = tid;
		if (tid == 100) { /* one that has followed knows */
			ok(connection_begin(a, &last));
			assert_int_equal(state_of(a, oid), 1);
			assert_int_equal(client->n_loads, 0);
		}
	}
	assert_true(db->changes.weight <= db->changes.weight_max);
	ok(connection_begin(a, &last));
	assert_int_equal(state_of(a, oid), 1);
	assert_int_equal(client->n_loads, 1);
	/* a transaction that is larger than what is kept */
	database_invalidate(db, 300000, oids, 200000);
	client->last_tid = 300000;
	ok(connection_begin(a, &last));
	assert_int_equal(state_of(a, oid), 1);
	assert_int_equal(client->n_loads, 2);
	assert_false(changes_advance(&db->changes, &cursor, 300000, NULL, NULL));
	assert_true(changes_advance(&db->changes, &cursor, 300000, NULL, NULL));
	free(oids);
	client->committed_tid = client->last_tid;
	connection_close(a);
}

static void test_the_cache_has_a_bound(void **state)
{
	struct connection *a;
	struct persistent *held;
	uint64_t oids[50];

	tear_down(state);
	set_up_with(&(struct database_options){ .cache_objects = 10 });
	a = open_connection();
	for (int i = 0; i < 50; i++)
		oids[i] = new_object(a, i);
	assert_int_equal(a->table.n, 50); /* what is changed stays */
	commit(a);
	assert_int_equal(a->table.n, 10);
	ok(connection_get(a, oids[0], &held, &last));
	client->n_loads = 0;
	for (int i = 1; i < 50; i++)
		assert_int_equal(state_of(a, oids[i]), i);
	assert_int_equal(a->table.n, 11);
	assert_true(client->n_loads >= 39 && client->n_loads <= 49);
	client->n_loads = 0;
	for (int i = 40; i < 50; i++)
		assert_int_equal(state_of(a, oids[i]), i);
	assert_int_equal(state_of(a, oids[0]), 0);
	assert_int_equal(client->n_loads, 0);
	persistent_unref(held);
	connection_close(a);
}

static void test_the_pool(void **state)
{
	struct connection *a = open_connection();
	struct connection *b;

	set_number(a, "x", 1);
	commit(a);
	assert_int_equal(number(a, "x"), 1);
	set_number(a, "x", 2); /* dropped */
	connection_close(a);
	client->n_loads = 0;
	b = open_connection();
	assert_ptr_equal(a, b);
	assert_int_equal(number(b, "x"), 1);
	assert_int_equal(client->n_loads, 1);
	connection_close(b);
}

static void test_the_past(void **state)
{
	struct connection *a = open_connection();
	struct connection *past = NULL;
	struct persistent *root;
	struct value *data;
	uint64_t tid;

	set_number(a, "x", 1);
	commit(a);
	set_number(a, "x", 2);
	tid = commit(a);
	ok(database_open_before(db, tid, &past, &last));
	assert_int_equal(number(past, "x"), 1);
	ok(connection_begin(past, &last));
	assert_int_equal(number(past, "x"), 1);
	ok(connection_root(past, &root, &last));
	assert_int_equal(persistent_change_data(root, &data, &last), ERR_READONLY);
	persistent_unref(root);
	connection_close(past);
	connection_close(a);
}

/* What it would show changes while it is read. */
static void test_the_future(void **state)
{
	struct connection *a = open_connection();
	struct connection *other = NULL;
	uint64_t tid;

	set_number(a, "x", 1);
	tid = commit(a);
	assert_int_equal(database_open_before(db, tid + 2, &other, &last), ERR_INVAL);
	assert_non_null(strstr(last.text, "future"));
	assert_int_equal(database_open_before(db, 0, &other, &last), ERR_INVAL);
	ok(database_open_before(db, tid + 1, &other, &last));
	assert_int_equal(number(other, "x"), 1);
	connection_close(other);
	/* what the client only does not know of yet is asked for */
	client->holds_back = true;
	fake_commit(client, 99, slice_str("x"));
	ok(database_open_before(db, tid + 2, &other, &last));
	assert_int_equal(connection_snapshot(other), tid + 1);
	connection_close(other);
	connection_close(a);
}

static void test_server_sync(void **state)
{
	struct connection *a;

	tear_down(state);
	set_up_with(&(struct database_options){ .server_sync = true });
	a = open_connection();
	set_number(a, "x", 1);
	commit(a);
	client->holds_back = true;
	fake_commit(client, 99, slice_str("x"));
	client->n_pings = 0;
	ok(connection_begin(a, &last));
	assert_int_equal(client->n_pings, 1);
	assert_int_equal(connection_snapshot(a), 2);
	connection_close(a);
}

struct runner {
	struct connection *other;
	int calls;
	int conflicts; /* so many times somebody else is faster */
	int rc;
};

static int run_once(struct connection *conn, void *arg, struct err *e)
{
	struct runner *r = arg;

	r->calls++;
	set_number(conn, "mine", number(conn, "mine") + 1);
	if (r->conflicts-- > 0) {
		connection_abort(r->other);
		set_number(r->other, "theirs", r->calls);
		commit(r->other);
	}
	return r->rc;
}

static void test_run(void **state)
{
	struct runner r = { .conflicts = 2 };
	struct connection *a = open_connection();
	uint64_t tid = 0;

	set_number(a, "mine", 0);
	commit(a);
	r.other = a;
	ok(database_run(db, run_once, &r, 3, NULL, &tid, &last));
	assert_int_equal(r.calls, 3);
	assert_int_equal(tid, client->committed_tid);
	connection_abort(a);
	assert_int_equal(number(a, "mine"), 1);
	assert_int_equal(number(a, "theirs"), 2);
	r = (struct runner){ .conflicts = 9, .other = a };
	assert_int_equal(database_run(db, run_once, &r, 3, NULL, NULL, &last), ERR_CONFLICT);
	assert_int_equal(r.calls, 3);
	r = (struct runner){ .other = a, .rc = ERR_INVAL };
	assert_int_equal(database_run(db, run_once, &r, 3, NULL, NULL, &last), ERR_INVAL);
	assert_int_equal(r.calls, 1);
	connection_abort(a);
	assert_int_equal(number(a, "mine"), 1);
	connection_close(a);
}

/* In a child the locks may be somebody's who is not there, and nothing is asked or told. */
static void test_a_child_is_told_that_it_is_one(void **state)
{
	struct connection *a = open_connection();
	struct connection *b = NULL;
	uint64_t tid = 0;
	int status = -1;
	pid_t pid;

	set_number(a, "x", 1);
	commit(a);
	pthread_mutex_lock(&db->lock);
	pthread_mutex_lock(&db->changes.lock);
	pid = fork();
	if (pid == 0) {
		int bad = 0;

		alarm(10);
		bad |= database_open(db, &b, &last) != ERR_CLOSED;
		bad |= (database_open_before(db, 1, &b, &last) != ERR_CLOSED) << 1;
		bad |= (connection_begin(a, &last) != ERR_CLOSED) << 2;
		bad |= (connection_commit(a, NULL, &tid, &last) != ERR_CLOSED) << 3;
		bad |= (database_run(db, run_once, NULL, 1, NULL, NULL, &last) != ERR_CLOSED) << 4;
		connection_close(a);
		database_free(db);
		_exit(bad);
	}
	pthread_mutex_unlock(&db->changes.lock);
	pthread_mutex_unlock(&db->lock);
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_int_equal(status, 0);
	connection_close(a);
}

static void make_file(char path[32])
{
	int fd;

	strcpy(path, "/tmp/test_database-XXXXXX");
	fd = mkstemp(path);
	assert_true(fd >= 0);
	assert_int_equal(write(fd, "blob", 4), 4);
	close(fd);
}

/* The file is the parent's, who will commit it. */
static void test_a_child_leaves_blobs_alone(void **state)
{
	struct connection *a;
	struct persistent *p;
	char path[32];
	int status = -1;
	pid_t pid;

	tear_down(state);
	set_up_with(&(struct database_options){ .blobs = (struct blobs *)state });
	a = open_connection();
	make_file(path);
	ok(connection_add_blob(a, path, &p, &last));
	pid = fork();
	if (pid == 0) {
		persistent_unref(p);
		connection_close(a);
		database_free(db);
		_exit(access(path, F_OK) != 0);
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_int_equal(status, 0);
	persistent_unref(p);
	connection_close(a);
	assert_int_not_equal(access(path, F_OK), 0);
}

static void test_failures_forget_the_changes(void **state)
{
	struct connection *a = open_connection();

	set_number(a, "x", 1);
	commit(a);
	client->fail_vote = ERR_CLOSED;
	set_number(a, "x", 2);
	assert_int_equal(connection_commit(a, NULL, NULL, &last), ERR_CLOSED);
	client->fail_vote = OK;
	assert_int_equal(number(a, "x"), 1);
	client->fail_finish = ERR_CLOSED;
	set_number(a, "x", 2);
	assert_int_equal(connection_commit(a, NULL, NULL, &last), ERR_CLOSED);
	client->fail_finish = OK;
	assert_int_equal(number(a, "x"), 1);
	assert_int_equal(commit(a), 0); /* nothing is left of them */
	connection_close(a);
}

static void test_a_blobs_file_is_taken(void **state)
{
	struct connection *a;
	struct persistent *p;
	struct value *v;
	char path[32];
	char other[32];
	char got[8] = "";
	int fd = -1;

	tear_down(state);
	set_up_with(&(struct database_options){ .blobs = (struct blobs *)state });
	a = open_connection();
	make_file(path);
	ok(connection_add_blob(a, path, &p, &last));
	ok(persistent_open_blob(p, &fd, &last));
	assert_int_equal(read(fd, got, sizeof(got)), 4);
	close(fd);
	connection_abort(a);
	assert_int_not_equal(access(path, F_OK), 0);
	assert_int_equal(persistent_set_blob(p, path, &last), ERR_STATE);
	persistent_unref(p);
	assert_int_equal(connection_add_blob(a, path, &p, &last), ERR_NOENT);
	make_file(path);
	make_file(other);
	ok(connection_add_blob(a, path, &p, &last));
	ok(persistent_set_blob(p, other, &last));
	assert_int_not_equal(access(path, F_OK), 0);
	commit(a);
	assert_int_equal(client->n_blobs_stored, 1);
	assert_int_not_equal(access(other, F_OK), 0);
	assert_int_equal(persistent_change(p, &v, &last), ERR_INVAL);
	assert_int_equal(persistent_set(p, value_none(), &last), ERR_INVAL);
	persistent_unref(p);
	/* one that has no file is not stored */
	ok(connection_add(a, OBJECT_BLOB, value_none(), &p, &last));
	persistent_unref(p);
	assert_int_equal(connection_commit(a, NULL, NULL, &last), ERR_STATE);
	connection_close(a);
}

/* Some connections and somebody else, under a seed: what a connection sees is the state after its snapshot. */
enum { OBJECTS = 8, CONNECTIONS = 3, STEPS = 3000 };

static int64_t number_as_of(uint64_t oid, uint64_t snapshot)
{
	struct fake_revision *found = NULL;
	struct object_record record = { 0 };
	int64_t n;

	for (size_t i = 0; i < client->n_revisions; i++)
		if (client->revisions[i].oid == oid && client->revisions[i].tid <= snapshot)
			found = &client->revisions[i];
	ok(object_read(slice_of(found->data, found->len), &record, &last));
	n = value_as_int(record.state);
	object_free(&record);
	return n;
}

static void other_commits(uint64_t oid, int64_t n)
{
	struct object_record record = { 0 };
	struct buf out = BUF_INIT(0);

	ok(object_make(OBJECT_LIST, value_int(n), &record, &last));
	ok(object_write(&record, &out, &last));
	fake_commit(client, oid, buf_slice(&out));
	object_free(&record);
	buf_free(&out);
}

static void step(struct connection *conn, bool changed[OBJECTS + 1])
{
	uint64_t oid = 1 + (uint64_t)rand() % OBJECTS;
	int rc;

	switch (rand() % 8) {
	case 0:
		client->holds_back = rand() % 2;
		other_commits(oid, rand());
		return;
	case 1:
		fake_tell(client);
		return;
	case 2:
		set_state(conn, oid, rand());
		changed[oid] = true;
		return;
	case 3:
		rc = connection_commit(conn, NULL, NULL, &last);
		assert_true(rc == OK || rc == ERR_CONFLICT);
		memset(changed, 0, OBJECTS + 1);
		return;
	case 4:
		connection_abort(conn);
		memset(changed, 0, OBJECTS + 1);
		return;
	case 5:
		if (rand() % 10 == 0) {
			fake_reconnect(client, false);
			fake_reconnect(client, true);
		}
		return;
	default:
		if (!changed[oid]) {
			int64_t n = state_of(conn, oid);

			assert_int_equal(n, number_as_of(oid, connection_snapshot(conn)));
		}
	}
}

static void test_snapshots_under_a_seed(void **state)
{
	const char *given = getenv("ZKZEO_TEST_SEED");
	unsigned seed = given ? (unsigned)strtoul(given, NULL, 10) : (unsigned)getpid();
	struct connection *conn[CONNECTIONS];
	bool changed[CONNECTIONS][OBJECTS + 1] = { 0 };

	print_message("ZKZEO_TEST_SEED=%u\n", seed);
	srand(seed);
	client->committed_tid = client->last_tid = 100;
	for (int i = 0; i < OBJECTS; i++)
		other_commits(++client->next_oid, 0);
	for (int i = 0; i < CONNECTIONS; i++)
		conn[i] = open_connection();
	for (int i = 0; i < STEPS; i++) {
		int k = rand() % CONNECTIONS;

		step(conn[k], changed[k]);
	}
	assert_true(client->n_commits > 10);
	for (int i = 0; i < CONNECTIONS; i++)
		connection_close(conn[i]);
}

static int allocations, fail_from;

static int fail_one(void)
{
	return allocations++ == fail_from;
}

static int work(struct connection *conn, void *arg, struct err *e)
{
	struct persistent *root = NULL;
	struct persistent *p = NULL;
	struct value *data;
	struct value *state = NULL;
	int rc = connection_root(conn, &root, e);

	if (rc == OK)
		rc = object_state_of_data(value_dict(), &state, e);
	if (rc == OK)
		rc = connection_add(conn, OBJECT_MAPPING, state, &p, e);
	if (rc == OK)
		rc = persistent_read_current(root, e);
	if (rc == OK)
		rc = persistent_change_data(root, &data, e);
	if (rc == OK)
		rc = value_set(data, value_str(slice_str("new")), persistent_reference(p), e);
	persistent_unref(p);
	persistent_unref(root);
	return rc;
}

static void test_without_memory(void **state)
{
	struct connection *a = open_connection();
	int rc = ERR_NOMEM;

	set_number(a, "x", 1);
	commit(a);
	connection_close(a);
	for (fail_from = 0; rc != OK && fail_from < 1000; fail_from++) {
		allocations = 0;
		mem_fault_hook = fail_one;
		rc = database_run(db, work, NULL, 1, NULL, NULL, &last);
		mem_fault_hook = NULL;
		if (rc != OK && rc != ERR_NOMEM)
			fail_msg("allocation %d: %s", fail_from, last.text);
	}
	assert_true(fail_from > 15); /* the last one only makes connections forget */
	assert_int_equal(rc, OK);
	assert_int_equal(client->n_commits, 2);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
	const struct CMUnitTest tests[] = {
		TEST(test_an_empty_database_gets_a_root),
		TEST(test_a_snapshot_stays),
		TEST(test_a_conflict),
		TEST(test_what_was_merged_is_read_again),
		TEST(test_reads_that_must_be_current),
		TEST(test_what_is_new_dies_with_its_transaction),
		TEST(test_a_state_belongs_to_its_object),
		TEST(test_what_is_held_back_is_not_seen),
		TEST(test_after_another_connection),
		TEST(test_what_is_told_late),
		TEST(test_too_much_was_told),
		TEST(test_the_cache_has_a_bound),
		TEST(test_the_pool),
		TEST(test_the_past),
		TEST(test_the_future),
		TEST(test_server_sync),
		TEST(test_run),
		TEST(test_a_child_is_told_that_it_is_one),
		TEST(test_a_child_leaves_blobs_alone),
		TEST(test_failures_forget_the_changes),
		TEST(test_a_blobs_file_is_taken),
		TEST(test_snapshots_under_a_seed),
		TEST(test_without_memory),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
