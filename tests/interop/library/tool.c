/* What the tests ask of the installed library: a command a line, an answer a line. */
#include <inttypes.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include <zkzeo/zkzeo.h>

static struct zkzeo_client *client;
static struct zkzeo_db *db;
static struct zkzeo_connection *conn;
static struct zkzeo_db *other_db;
static struct zkzeo_connection *other_conn;
static struct zkzeo_iterator *iterator;
static struct zkzeo_error error;
static char line[1 << 16];
static int n_resolved;
static int n_stale;
static struct zkzeo_options options;

#define TRY(call)                                                                                  \
	do {                                                                                       \
		int rc_ = (call);                                                                  \
		if (rc_)                                                                           \
			return rc_;                                                                \
	} while (0)

static char *word(void)
{
	return strtok(NULL, " ");
}

static uint64_t number(void)
{
	char *w = word();

	return w ? strtoull(w, NULL, 0) : 0;
}

/* --- values: taken apart and made again with what the library offers --- */

static struct zkzeo_value *again(const struct zkzeo_value *v);

static struct zkzeo_value *again_int(const struct zkzeo_value *v)
{
	struct zkzeo_value *a = NULL, *b = NULL;
	uint8_t *bytes;
	char *text;
	size_t len;
	int64_t i;

	if (zkzeo_value_get_int(v, &i, NULL) == ZKZEO_OK)
		return zkzeo_int(i);
	if (zkzeo_value_get_int_text(v, &text, NULL) == ZKZEO_OK) {
		a = zkzeo_int_of_text(text);
		zkzeo_free(text);
	}
	if (zkzeo_value_get_int_bytes(v, &bytes, &len, NULL) == ZKZEO_OK) {
		b = zkzeo_int_of_bytes(bytes, len);
		zkzeo_free(bytes);
	}
	if (!zkzeo_value_equal(a, b))
		abort();
	zkzeo_value_free(b);
	return a;
}

static struct zkzeo_value *again_container(const struct zkzeo_value *v)
{
	enum zkzeo_kind kind = zkzeo_value_kind(v);
	struct zkzeo_value *ret = kind == ZKZEO_DICT   ? zkzeo_dict()
				  : kind == ZKZEO_LIST ? zkzeo_list()
						       : zkzeo_tuple();
	struct zkzeo_value *key, *item;
	size_t pos = 0;
	int rc = 0;

	for (size_t i = 0; kind != ZKZEO_DICT && !rc && i < zkzeo_value_len(v); i++)
		rc = zkzeo_list_append(ret, again(zkzeo_list_item(v, i)), &error);
	while (!rc && zkzeo_dict_next(v, &pos, &key, &item))
		rc = zkzeo_dict_set(ret, again(key), again(item), &error);
	if (rc) {
		zkzeo_value_free(ret);
		return NULL;
	}
	return ret;
}

static struct zkzeo_value *again(const struct zkzeo_value *v)
{
	struct zkzeo_reference_info r;
	const void *bytes;
	const char *text;
	size_t len;
	double f;
	bool b;

	switch (zkzeo_value_kind(v)) {
	case ZKZEO_NONE:
		return zkzeo_none();
	case ZKZEO_BOOL:
		return zkzeo_value_get_bool(v, &b, NULL) ? NULL : zkzeo_bool(b);
	case ZKZEO_INT:
		return again_int(v);
	case ZKZEO_FLOAT:
		return zkzeo_value_get_float(v, &f, NULL) ? NULL : zkzeo_float(f);
	case ZKZEO_STR:
		return zkzeo_value_get_str(v, &text, &len, NULL) ? NULL
								 : zkzeo_str_of_bytes(text, len);
	case ZKZEO_BYTES:
		return zkzeo_value_get_bytes(v, &bytes, &len, NULL) ? NULL
								    : zkzeo_bytes(bytes, len);
	case ZKZEO_REFERENCE:
		if (zkzeo_value_get_reference(v, &r, NULL))
			return NULL;
		return r.weak ? zkzeo_weak_reference(r.oid, r.database)
			      : zkzeo_reference(r.oid, r.class_name);
	case ZKZEO_OTHER:
		return zkzeo_value_copy(v);
	default:
		return again_container(v);
	}
}

/* --- commands --- */

/* root[TO] = root[FROM], made again */
static int cmd_copy(void)
{
	char *from = word(), *to = word();
	struct zkzeo_object *root;
	struct zkzeo_value *data, *v;
	int rc;

	TRY(zkzeo_connection_root(conn, &root, &error));
	rc = zkzeo_object_change_data(root, &data, &error);
	if (!rc) {
		v = again(zkzeo_dict_get_str(data, from));
		rc = zkzeo_dict_set_str(data, to, v, &error);
	}
	zkzeo_object_release(root);
	if (!rc)
		rc = zkzeo_connection_commit(conn, NULL, NULL, &error);
	else
		zkzeo_connection_abort(conn);
	return rc;
}

/* root[KEY] as repr(), on the connection's snapshot */
static int cmd_show(void)
{
	char *key = word(), *text;
	struct zkzeo_object *root;
	const struct zkzeo_value *data;

	TRY(zkzeo_connection_root(conn, &root, &error));
	TRY(zkzeo_object_data(root, &data, &error));
	text = zkzeo_value_show(zkzeo_dict_get_str(data, key), 1 << 20);
	printf("ok %s\n", text);
	zkzeo_free(text);
	zkzeo_object_release(root);
	return 0;
}

/* The state of an object and its class */
static int cmd_state(void)
{
	struct zkzeo_object *o;
	const struct zkzeo_value *state;
	char *text;

	TRY(zkzeo_connection_get(conn, number(), &o, &error));
	TRY(zkzeo_object_state(o, &state, &error));
	text = zkzeo_value_show(state, 1 << 20);
	printf("ok %s %s\n", zkzeo_object_class(o), text);
	zkzeo_free(text);
	zkzeo_object_release(o);
	return 0;
}

/* root[KEY] = N in a transaction of its own user */
static int set_in(struct zkzeo_connection *c, const char *key, int64_t n)
{
	struct zkzeo_object *root;
	struct zkzeo_value *data;
	int rc;

	TRY(zkzeo_connection_root(c, &root, &error));
	rc = zkzeo_object_change_data(root, &data, &error);
	if (!rc)
		rc = zkzeo_dict_set_str(data, key, zkzeo_int(n), &error);
	zkzeo_object_release(root);
	return rc;
}

static int cmd_set(void)
{
	char *key = word();

	return set_in(conn, key, (int64_t)number());
}

static int cmd_commit(void)
{
	struct zkzeo_value *extension = zkzeo_dict();
	struct zkzeo_note note = { "user", "t\xc3\xa9xt", extension };
	uint64_t tid = 0;
	int rc = zkzeo_dict_set_str(extension, "key", zkzeo_int(7), &error);

	if (!rc)
		rc = zkzeo_connection_commit(conn, &note, &tid, &error);
	zkzeo_value_free(extension);
	if (!rc)
		printf("ok %" PRIu64 "\n", tid);
	return rc;
}

static int cmd_begin(void)
{
	return zkzeo_connection_begin(conn, &error);
}

static int cmd_abort(void)
{
	zkzeo_connection_abort(conn);
	return 0;
}

static int cmd_sync(void)
{
	return zkzeo_client_sync(client, &error);
}

static int cmd_current(void)
{
	struct zkzeo_object *o;
	int rc;

	TRY(zkzeo_connection_get(conn, number(), &o, &error));
	rc = zkzeo_object_read_current(o, &error);
	zkzeo_object_release(o);
	return rc;
}

static int print_record(struct zkzeo_record *r)
{
	char *class_name, *text;
	struct zkzeo_value *state;
	int rc = zkzeo_record_parse(r->data, r->len, &class_name, &state, &error);

	if (!rc) {
		text = zkzeo_value_show(state, 1000);
		printf("ok %" PRIu64 " %" PRIu64 " %s\n", r->serial, r->end_tid, text);
		zkzeo_free(text);
		zkzeo_free(class_name);
		zkzeo_value_free(state);
	}
	zkzeo_record_end(r);
	return rc;
}

static int cmd_load(void)
{
	struct zkzeo_record r;

	TRY(zkzeo_client_load(client, number(), &r, &error));
	return print_record(&r);
}

static int cmd_load_before(void)
{
	struct zkzeo_record r;
	uint64_t oid = number();

	TRY(zkzeo_client_load_before(client, oid, number(), &r, &error));
	return print_record(&r);
}

static int cmd_load_serial(void)
{
	struct zkzeo_record r;
	uint64_t oid = number();

	TRY(zkzeo_client_load_serial(client, oid, number(), &r, &error));
	return print_record(&r);
}

/* As of a transaction */
static int cmd_before(void)
{
	struct zkzeo_connection *now = conn, *past;
	int rc;

	TRY(zkzeo_connection_open_before(db, number(), &past, &error));
	conn = past;
	rc = cmd_show();
	conn = now;
	zkzeo_connection_close(past);
	return rc;
}

static int print_value(struct zkzeo_value *v)
{
	char *text = zkzeo_value_show(v, 1 << 20);

	printf("ok %s\n", text);
	zkzeo_free(text);
	zkzeo_value_free(v);
	return 0;
}

static int cmd_history(void)
{
	struct zkzeo_value *v;

	TRY(zkzeo_client_history(client, number(), 10, &v, &error));
	return print_value(v);
}

static int cmd_undo_log(void)
{
	struct zkzeo_value *v;

	TRY(zkzeo_client_undo_log(client, 0, 20, &v, &error));
	return print_value(v);
}

/* undo_info first KEY N: of those that have N as KEY; KEY text: as bytes */
static int cmd_undo_info(void)
{
	char *key = word(), *wanted = word();
	struct zkzeo_value *filter = zkzeo_dict();
	struct zkzeo_value *v = NULL;
	int rc = zkzeo_dict_set_str(filter, key,
		*wanted >= '0' && *wanted <= '9' ? zkzeo_int(atoi(wanted))
						 : zkzeo_bytes(wanted, strlen(wanted)),
		&error);

	if (!rc)
		rc = zkzeo_client_undo_info(client, 0, 20, filter, &v, &error);
	zkzeo_value_free(filter);
	return rc ? rc : print_value(v);
}

/* Every object there is: oid and serial */
static int cmd_walk(void)
{
	uint64_t oid = ZKZEO_ROOT_OID, found;
	struct zkzeo_record r;
	int rc = 0;

	printf("ok");
	while (!rc && oid != ZKZEO_NO_OID) {
		rc = zkzeo_client_load_next(client, oid, &found, &r, &oid, &error);
		if (!rc) {
			printf(" %" PRIu64 ":%" PRIu64 ":%zu", found, r.serial, r.len);
			zkzeo_record_end(&r);
		}
	}
	printf("%s\n", rc ? " failed" : "");
	return 0;
}

static int cmd_load_next(void)
{
	struct zkzeo_record r;
	uint64_t oid, next;

	TRY(zkzeo_client_load_next(client, number(), &oid, &r, &next, &error));
	zkzeo_record_end(&r);
	return 0;
}

static int cmd_is_connected(void)
{
	printf("ok %d\n", zkzeo_client_is_connected(client));
	return 0;
}

static int cmd_info(void)
{
	struct zkzeo_value *v;

	TRY(zkzeo_client_info(client, &v, &error));
	return print_value(v);
}

static int cmd_pack(void)
{
	char *w = word();

	return zkzeo_client_pack(client, strtod(w, NULL), &error);
}

static int cmd_sort_key(void)
{
	char *key;

	TRY(zkzeo_client_sort_key(client, &key, &error));
	printf("ok %s\n", key);
	zkzeo_free(key);
	return 0;
}

/* undo TID / store OID SERIAL N / store_length OID SERIAL N / check OID SERIAL / delete OID SERIAL, in a transaction */
static int in_transaction(struct zkzeo_txn *t, const char *what)
{
	uint64_t a = number();
	uint64_t serial = number();
	struct zkzeo_value *v;
	uint8_t *data;
	size_t len;
	int rc;

	if (strcmp(what, "undo") == 0)
		return zkzeo_txn_undo(t, a, &error);
	if (strcmp(what, "check") == 0)
		return zkzeo_txn_check(t, a, serial, &error);
	if (strcmp(what, "nothing") == 0)
		return zkzeo_txn_store(t, a, serial, NULL, 0, &error);
	if (strcmp(what, "delete") == 0)
		return zkzeo_txn_delete(t, a, serial, &error);
	v = zkzeo_int((int64_t)number());
	rc = zkzeo_record_make(strcmp(what, "store_length") ? "persistent.list.PersistentList"
							    : "BTrees.Length.Length",
		v, &data, &len, &error);
	zkzeo_value_free(v);
	if (rc)
		return rc;
	if (strcmp(what, "restore") == 0)
		rc = zkzeo_txn_restore(t, a, serial, data, len, ZKZEO_NO_TID, &error);
	else
		rc = zkzeo_txn_store(t, a, serial, data, len, &error);
	zkzeo_free(data);
	return rc;
}

static int cmd_txn(void)
{
	char *what = word();
	struct zkzeo_txn *t;
	const uint64_t *resolved;
	size_t n;
	uint64_t tid;
	int rc;

	TRY(zkzeo_txn_begin(client, NULL, &t, &error));
	rc = in_transaction(t, what);
	if (!rc)
		rc = zkzeo_txn_vote(t, &error);
	if (rc) {
		zkzeo_txn_abort(t);
		return rc;
	}
	zkzeo_txn_resolved(t, &resolved, &n);
	TRY(zkzeo_txn_finish(t, &tid, &error));
	printf("ok %" PRIu64 " %zu\n", tid, n);
	return 0;
}

/* restore OID TID N: a transaction with a given tid */
static int cmd_restore(void)
{
	char *rest = strdup(line + strlen(line) + 1);
	uint64_t tid = strtoull(strchr(rest, ' '), NULL, 0);
	struct zkzeo_txn *t;
	int rc;

	free(rest);
	TRY(zkzeo_txn_begin_as(client, NULL, tid, ' ', &t, &error));
	rc = in_transaction(t, "restore");
	if (rc) {
		zkzeo_txn_abort(t);
		return rc;
	}
	TRY(zkzeo_txn_finish(t, &tid, &error));
	printf("ok %" PRIu64 "\n", tid);
	return 0;
}

static int cmd_new_oid(void)
{
	uint64_t oid;

	TRY(zkzeo_client_new_oid(client, &oid, &error));
	printf("ok %" PRIu64 "\n", oid);
	return 0;
}

static int cmd_last_tid(void)
{
	printf("ok %" PRIu64 "\n", zkzeo_client_last_tid(client));
	return 0;
}

static int cmd_prefetch(void)
{
	uint64_t oids[100];
	size_t n = 0;
	char *w;

	while ((w = word()) && n < 100)
		oids[n++] = strtoull(w, NULL, 0);
	return zkzeo_connection_prefetch(conn, oids, n, &error);
}

/* Threads that count up root[KEY], and others that check the snapshots they read */
struct counting {
	const char *key;
	int times;
	int failures;
};

static int count_once(struct zkzeo_connection *c, void *arg, struct zkzeo_error *e)
{
	struct counting *k = arg;
	struct zkzeo_object *root;
	struct zkzeo_value *data;
	int64_t n = 0, twice = 0;
	int rc;

	TRY(zkzeo_connection_root(c, &root, e));
	rc = zkzeo_object_change_data(root, &data, e);
	if (!rc) {
		(void)!zkzeo_value_get_int(zkzeo_dict_get_str(data, k->key), &n, NULL);
		(void)!zkzeo_value_get_int(zkzeo_dict_get_str(data, "twice"), &twice, NULL);
		if (twice != 2 * n)
			k->failures++;
		rc = zkzeo_dict_set_str(data, k->key, zkzeo_int(n + 1), e);
	}
	if (!rc)
		rc = zkzeo_dict_set_str(data, "twice", zkzeo_int(2 * (n + 1)), e);
	zkzeo_object_release(root);
	return rc;
}

static void *count_thread(void *arg)
{
	struct counting *k = arg;
	struct zkzeo_error e;

	for (int i = 0; i < k->times; i++)
		if (zkzeo_db_run(db, count_once, k, 10000, NULL, NULL, &e) != ZKZEO_OK)
			k->failures++;
	return NULL;
}

static int cmd_threads(void)
{
	enum { THREADS = 4 };
	pthread_t threads[THREADS];
	struct counting k[THREADS];
	char *key = word();
	int times = (int)number(), failures = 0;

	for (int i = 0; i < THREADS; i++) {
		k[i] = (struct counting){ key, times, 0 };
		pthread_create(&threads[i], NULL, count_thread, &k[i]);
	}
	for (int i = 0; i < THREADS; i++) {
		pthread_join(threads[i], NULL);
		failures += k[i].failures;
	}
	printf("ok %d\n", failures);
	return 0;
}

/* root[KEY] counts up once */
static int cmd_run(void)
{
	struct counting k = { word(), 1, 0 };

	return zkzeo_db_run(db, count_once, &k, 1, NULL, NULL, &error);
}

static int cmd_stale(void)
{
	printf("ok %d\n", n_stale);
	return 0;
}

static void on_stale(void *arg)
{
	(void)arg;
	n_stale++;
}

static int cmd_resolved(void)
{
	printf("ok %d\n", n_resolved);
	return 0;
}

/* The sum of what both have changed, of objects whose state is an int */
static int resolve(void *arg, const struct zkzeo_conflict *c, void **ret, size_t *ret_len)
{
	const void *data[] = { c->old_data, c->committed_data, c->new_data };
	const size_t lens[] = { c->old_len, c->committed_len, c->new_len };
	struct zkzeo_value *v;
	char *class_name = NULL;
	int64_t n[3];
	uint8_t *merged;
	int rc = 0;

	(void)arg;
	for (int i = 0; i < 3; i++) {
		zkzeo_free(class_name);
		TRY(zkzeo_record_parse(data[i], lens[i], &class_name, &v, &error));
		rc = rc ? rc : zkzeo_value_get_int(v, &n[i], &error);
		zkzeo_value_free(v);
	}
	if (!rc) {
		v = zkzeo_int(n[1] + n[2] - n[0]);
		rc = zkzeo_record_make(class_name, v, &merged, ret_len, &error);
		zkzeo_value_free(v);
	}
	zkzeo_free(class_name);
	if (rc)
		return rc;
	*ret = malloc(*ret_len);
	memcpy(*ret, merged, *ret_len);
	zkzeo_free(merged);
	n_resolved++;
	return 0;
}

static int resolve_to_nothing(
	void *arg, const struct zkzeo_conflict *c, void **ret, size_t *ret_len)
{
	(void)arg, (void)c, (void)ret, (void)ret_len;
	return 0;
}

static int print_file(int fd)
{
	char text[1000];
	ssize_t n = read(fd, text, sizeof(text) - 1);

	close(fd);
	text[n > 0 ? n : 0] = 0;
	printf("ok %s\n", text);
	return 0;
}

/* blob put PATH / blob get: root['blob'] */
static int cmd_blob(void)
{
	char *what = word();
	struct zkzeo_object *root, *blob = NULL;
	struct zkzeo_value *data;
	int rc, fd;

	TRY(zkzeo_connection_root(conn, &root, &error));
	if (strcmp(what, "put") == 0) {
		rc = zkzeo_connection_new_blob(conn, word(), &blob, &error);
		if (!rc)
			rc = zkzeo_object_change_data(root, &data, &error);
		if (!rc)
			rc = zkzeo_dict_set_str(data, "blob", zkzeo_object_reference(blob), &error);
		if (!rc)
			rc = zkzeo_connection_commit(conn, NULL, NULL, &error);
		else
			zkzeo_connection_abort(conn);
		if (!rc)
			printf("ok\n");
	} else {
		const struct zkzeo_value *state;

		rc = zkzeo_object_data(root, &state, &error);
		if (!rc)
			rc = zkzeo_connection_follow(
				conn, zkzeo_dict_get_str(state, "blob"), &blob, &error);
		if (!rc)
			rc = zkzeo_object_open_blob(blob, &fd, &error);
		if (!rc)
			rc = print_file(fd);
	}
	zkzeo_object_release(blob);
	zkzeo_object_release(root);
	return rc;
}

static int cmd_blob_txn(void)
{
	char *path = strtok(NULL, "");
	struct zkzeo_value *none = zkzeo_none();
	struct zkzeo_txn *t;
	uint64_t oid, tid;
	uint8_t *data;
	size_t len;
	int rc;

	TRY(zkzeo_client_new_oid(client, &oid, &error));
	TRY(zkzeo_record_make(ZKZEO_PBLOB, none, &data, &len, &error));
	zkzeo_value_free(none);
	rc = zkzeo_txn_begin(client, NULL, &t, &error);
	if (!rc) {
		rc = zkzeo_txn_store_blob(t, oid, ZKZEO_NO_TID, data, len, path, &error);
		if (rc)
			zkzeo_txn_abort(t);
		else
			rc = zkzeo_txn_finish(t, &tid, &error);
	}
	zkzeo_free(data);
	if (!rc)
		printf("ok %" PRIu64 " %" PRIu64 "\n", oid, tid);
	return rc;
}

static int cmd_blob_read(void)
{
	uint64_t oid = number(), tid = number();
	char *path;
	int fd;

	TRY(zkzeo_client_blob_path(client, oid, tid, &path, &error));
	if (access(path, R_OK) != 0)
		abort();
	zkzeo_free(path);
	TRY(zkzeo_client_open_blob(client, oid, tid, &fd, &error));
	return print_file(fd);
}

/* What follows is asked of another database on the same client, and back. */
static int cmd_swap(void)
{
	struct zkzeo_connection *c = conn;

	if (!other_db)
		TRY(zkzeo_db_of_client(client, NULL, &other_db, &error));
	if (!other_conn)
		TRY(zkzeo_connection_open(other_db, &other_conn, &error));
	conn = other_conn;
	other_conn = c;
	return 0;
}

/* iterate / next / change / end: a transaction's or object's number */
static int cmd_iterate(void)
{
	struct zkzeo_transaction t;
	struct zkzeo_change change;
	char *what = word();

	if (!what) {
		TRY(zkzeo_client_iterate(client, ZKZEO_NO_TID, ZKZEO_NO_TID, &iterator, &error));
		printf("ok\n");
	} else if (strcmp(what, "next") == 0) {
		TRY(zkzeo_iterator_next(iterator, &t, &error));
		printf("ok %" PRIu64 "\n", t.tid);
	} else if (strcmp(what, "change") == 0) {
		TRY(zkzeo_iterator_change(iterator, &change, &error));
		printf("ok %" PRIu64 "\n", change.oid);
	} else {
		zkzeo_iterator_close(iterator);
		iterator = NULL;
		printf("ok\n");
	}
	return 0;
}

/* A child cannot use what it has inherited; it opens its own. */
static int in_child(void)
{
	struct zkzeo_record r;
	struct zkzeo_connection *another;
	struct zkzeo_object *o = NULL;
	struct zkzeo_db *second;
	struct zkzeo_error e;
	int bad = 0;

	bad |= zkzeo_client_load(client, 0xffff, &r, &e) != ZKZEO_CLOSED;
	bad |= (zkzeo_client_sync(client, &e) != ZKZEO_CLOSED) << 1;
	bad |= (zkzeo_connection_open(db, &another, &e) != ZKZEO_CLOSED) << 5;
	bad |= (zkzeo_db_of_client(client, NULL, &second, &e) != ZKZEO_CLOSED) << 6;
	zkzeo_connection_close(conn);
	zkzeo_db_close(db);
	bad |= (zkzeo_db_open(&options, NULL, &db, &e) != 0) << 2;
	if (bad)
		return bad;
	bad |= (zkzeo_connection_open(db, &conn, &e) != 0) << 3;
	bad |= (zkzeo_connection_root(conn, &o, &e) != 0) << 4;
	zkzeo_object_release(o);
	zkzeo_connection_close(conn);
	zkzeo_db_close(db);
	return bad;
}

static int cmd_fork(void)
{
	int status = -1;
	pid_t pid;

	fflush(stdout);
	pid = fork();
	if (pid == 0)
		_exit(in_child());
	waitpid(pid, &status, 0);
	printf("ok %d\n", status);
	return 0;
}

static const struct {
	const char *name;
	int (*run)(void);
	int answers;
} commands[] = {
	{ "copy", cmd_copy, 0 },
	{ "show", cmd_show, 1 },
	{ "state", cmd_state, 1 },
	{ "set", cmd_set, 0 },
	{ "commit", cmd_commit, 1 },
	{ "begin", cmd_begin, 0 },
	{ "abort", cmd_abort, 0 },
	{ "sync", cmd_sync, 0 },
	{ "current", cmd_current, 0 },
	{ "load", cmd_load, 1 },
	{ "load_before", cmd_load_before, 1 },
	{ "load_serial", cmd_load_serial, 1 },
	{ "before", cmd_before, 1 },
	{ "history", cmd_history, 1 },
	{ "undo_log", cmd_undo_log, 1 },
	{ "undo_info", cmd_undo_info, 1 },
	{ "walk", cmd_walk, 1 },
	{ "load_next", cmd_load_next, 0 },
	{ "is_connected", cmd_is_connected, 1 },
	{ "run", cmd_run, 0 },
	{ "stale", cmd_stale, 1 },
	{ "info", cmd_info, 1 },
	{ "pack", cmd_pack, 0 },
	{ "sort_key", cmd_sort_key, 1 },
	{ "txn", cmd_txn, 1 },
	{ "restore", cmd_restore, 1 },
	{ "new_oid", cmd_new_oid, 1 },
	{ "last_tid", cmd_last_tid, 1 },
	{ "prefetch", cmd_prefetch, 0 },
	{ "threads", cmd_threads, 1 },
	{ "resolved", cmd_resolved, 1 },
	{ "fork", cmd_fork, 1 },
	{ "swap", cmd_swap, 0 },
	{ "iterate", cmd_iterate, 1 },
	{ "blob", cmd_blob, 1 },
	{ "blob_txn", cmd_blob_txn, 1 },
	{ "blob_read", cmd_blob_read, 1 },
};

static void run(void)
{
	char *name;
	int rc = ZKZEO_INVAL;

	line[strcspn(line, "\n")] = 0;
	name = strtok(line, " ");
	strcpy(error.text, "no such command");
	for (size_t i = 0; name && i < sizeof(commands) / sizeof(commands[0]); i++) {
		if (strcmp(commands[i].name, name) != 0)
			continue;
		rc = commands[i].run();
		if (rc == 0 && !commands[i].answers)
			printf("ok\n");
	}
	if (rc)
		printf("%s: %s\n", zkzeo_code_name(rc), error.text);
	fflush(stdout);
}

/* tool OPTION=VALUE ... */
static void parse(int argc, char **argv, struct zkzeo_options *o)
{
	static const char *addresses[8];

	for (int i = 1; i < argc; i++) {
		char *value = strchr(argv[i], '=');

		*value++ = 0;
		if (strcmp(argv[i], "address") == 0) {
			addresses[o->n_addresses++] = value;
			o->addresses = addresses;
		} else if (strcmp(argv[i], "zookeeper") == 0) {
			o->zookeeper = value;
		} else if (strcmp(argv[i], "path") == 0) {
			o->path = value;
		} else if (strcmp(argv[i], "read_only") == 0) {
			o->read_only = true;
		} else if (strcmp(argv[i], "server_sync") == 0) {
			o->server_sync = true;
		} else if (strcmp(argv[i], "no_wait") == 0) {
			o->no_wait = true;
		} else if (strcmp(argv[i], "wait_timeout_ms") == 0) {
			o->wait_timeout_ms = (uint32_t)atoi(value);
		} else if (strcmp(argv[i], "cache") == 0) {
			o->cache = value;
		} else if (strcmp(argv[i], "client") == 0) {
			o->client = value;
		} else if (strcmp(argv[i], "var") == 0) {
			o->var = value;
		} else if (strcmp(argv[i], "storage") == 0) {
			o->storage = value;
		} else if (strcmp(argv[i], "blob_cache_size") == 0) {
			o->blob_cache_size = strtoull(value, NULL, 0);
		} else if (strcmp(argv[i], "blob_cache_size_check") == 0) {
			o->blob_cache_size_check = (unsigned)atoi(value);
		} else if (strcmp(argv[i], "ssl_certificate") == 0) {
			o->ssl = true;
			o->ssl_certificate = value;
		} else if (strcmp(argv[i], "ssl_key") == 0) {
			o->ssl_key = value;
		} else if (strcmp(argv[i], "ssl_authorities") == 0) {
			o->ssl_authorities = value;
		} else if (strcmp(argv[i], "ssl_server_hostname") == 0) {
			o->ssl_server_hostname = value;
		} else if (strcmp(argv[i], "blob_dir") == 0) {
			o->blob_dir = value;
		} else if (strcmp(argv[i], "shared_blob_dir") == 0) {
			o->shared_blob_dir = true;
		} else if (strcmp(argv[i], "resolve") == 0) {
			o->events.resolve = strcmp(value, "nothing") ? resolve : resolve_to_nothing;
		} else {
			abort();
		}
	}
}

int main(int argc, char **argv)
{
	int rc;

	options = zkzeo_options_default();
	options.events.stale_cache = on_stale;
	parse(argc, argv, &options);
	rc = zkzeo_db_open(&options, NULL, &db, &error);
	if (!rc) {
		client = zkzeo_db_client(db);
		rc = options.no_wait ? 0 : zkzeo_connection_open(db, &conn, &error);
	}
	printf("%s: %s\n", zkzeo_code_name(rc), rc ? error.text : zkzeo_client_name(client));
	fflush(stdout);
	while (!rc && fgets(line, sizeof(line), stdin))
		run();
	zkzeo_iterator_close(iterator);
	zkzeo_connection_close(conn);
	zkzeo_connection_close(other_conn);
	zkzeo_db_close(other_db);
	zkzeo_db_close(db);
	return rc != 0;
}
