/* The watches' decisions against a small ZooKeeper of our own: nodes, a session, and whatever can go wrong between
 * it and its client. */
#include "cmocka_all.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "zookeeper/live_core.h"

enum { NODES_MAX = 32, FLAGS_MAX = 64, REQUESTS_MAX = 64, WATCHES = 3, SECOND = 1000000 };
enum { TIMEOUT = 10 * SECOND };

struct node {
	char path[64];
	char data[64];
	bool used;
};

/* A watch that a read left with the server. */
struct flag {
	char path[64];
	bool children;
};

struct request {
	char path[64];
	bool children, watch;
	uint64_t tag;
};

struct watched {
	struct live_watch w;
	bool added;
	struct err failure;
	char log[4096]; /* each event */
	char now[256];  /* what was told last; "-" = deleted */
	char path[64];  /* moved() */
	bool connected;
};

struct ensemble {
	struct live_core core;
	struct node nodes[NODES_MAX];
	bool reachable;
	bool refuses; /* to let anything be read */
	bool deaf;    /* what goes through the connection that there is, is lost */
	bool stays_deaf;
	int reconnects;
	uint64_t now;
	bool open, connected;
	int64_t wanted, session, last_session; /* attached to, alive; 0 = none */
	int opens;
	struct flag flags[FLAGS_MAX];
	size_t n_flags;
	struct request requests[REQUESTS_MAX];
	size_t n_requests;
	int reads;
	struct watched watches[WATCHES];
};

static struct ensemble *of(struct live_core *c)
{
	return CONTAINER_OF(c, struct ensemble, core);
}

static struct watched *of_watch(struct live_watch *w)
{
	return CONTAINER_OF(w, struct watched, w);
}

static struct node *find(struct ensemble *z, const char *path)
{
	for (size_t i = 0; i < NODES_MAX; i++)
		if (z->nodes[i].used && strcmp(z->nodes[i].path, path) == 0)
			return &z->nodes[i];
	return NULL;
}

static void parent_of(const char *path, char out[64])
{
	char *slash;

	snprintf(out, 64, "%s", path);
	slash = strrchr(out, '/');
	slash[slash == out] = 0;
}

static void fire(struct ensemble *z, const char *path, bool children)
{
	bool found = false;
	size_t n = 0;

	for (size_t i = 0; i < z->n_flags; i++)
		if (strcmp(z->flags[i].path, path) == 0 && z->flags[i].children == children)
			found = true;
		else
			z->flags[n++] = z->flags[i];
	z->n_flags = n;
	if (found && z->connected && !z->deaf)
		live_core_watch(&z->core, path, z->now);
}

static void set_node(struct ensemble *z, const char *path, const char *data)
{
	struct node *node = find(z, path);
	char parent[64];

	for (size_t i = 0; !node && i < NODES_MAX; i++)
		if (!z->nodes[i].used) {
			node = &z->nodes[i];
			break;
		}
	assert_non_null(node);
	snprintf(node->data, sizeof(node->data), "%s", data);
	if (node->used) {
		fire(z, path, false);
		return;
	}
	snprintf(node->path, sizeof(node->path), "%s", path);
	node->used = true;
	parent_of(path, parent);
	fire(z, parent, true);
}

static void remove_node(struct ensemble *z, const char *path)
{
	struct node *node = find(z, path);
	char parent[64];

	assert_non_null(node);
	node->used = false;
	parent_of(path, parent);
	fire(z, path, false);
	fire(z, path, true);
	fire(z, parent, true);
}

static int fake_open(struct live_core *c, const struct session_id *attach, struct err *e)
{
	struct ensemble *z = of(c);

	z->opens++;
	z->open = true;
	z->connected = false;
	z->wanted = attach ? attach->id : 0;
	z->n_requests = z->n_flags = 0;
	return OK;
}

static void ask(struct ensemble *z, const char *path, bool children, bool watch, uint64_t tag)
{
	struct request *q = &z->requests[z->n_requests++];

	assert_true(z->connected);
	assert_true(z->n_requests <= REQUESTS_MAX);
	z->reads++;
	*q = (struct request){ .children = children, .watch = watch, .tag = tag };
	snprintf(q->path, sizeof(q->path), "%s", path);
}

static void fake_get(struct live_core *c, const char *path, bool watch, uint64_t tag)
{
	ask(of(c), path, false, watch, tag);
}

static void fake_children(struct live_core *c, const char *path, uint64_t tag)
{
	ask(of(c), path, true, true, tag);
}

/* The library notices at once. */
static bool fake_reconnect(struct live_core *c)
{
	struct ensemble *z = of(c);

	z->reconnects++;
	z->connected = z->deaf = false;
	z->n_requests = 0;
	return true;
}

static void note(struct watched *d, const char *text)
{
	size_t n = strlen(d->log);

	snprintf(d->log + n, sizeof(d->log) - n, "%s;", text);
}

static void fake_changed(
	struct live_core *c, struct live_watch *w, const char *data, size_t len, size_t n)
{
	struct watched *d = of_watch(w);

	d->now[0] = 0;
	if (w->kind == WATCH_DATA) {
		assert_int_equal(strlen(data), len);
		snprintf(d->now, sizeof(d->now), "%s", data);
	}
	for (size_t i = 0; i < n; i++, data += strlen(data) + 1)
		snprintf(d->now + strlen(d->now), sizeof(d->now) - strlen(d->now), "%s%s",
			i ? " " : "", data);
	note(d, d->now);
}

static void fake_deleted(struct live_core *c, struct live_watch *w)
{
	strcpy(of_watch(w)->now, "-");
	note(of_watch(w), "-");
}

static void fake_moved(struct live_core *c, struct live_watch *w, const char *path)
{
	snprintf(of_watch(w)->path, sizeof(of_watch(w)->path), "%s", path);
}

static void fake_connection(struct live_core *c, struct live_watch *w, bool connected)
{
	assert_true(of_watch(w)->connected != connected);
	of_watch(w)->connected = connected;
}

static void fake_failed(struct live_core *c, struct live_watch *w, const struct err *why)
{
	of_watch(w)->failure = *why;
}

static const struct live_ops fake_ops = {
	fake_open,
	fake_get,
	fake_children,
	fake_reconnect,
	fake_changed,
	fake_deleted,
	fake_moved,
	fake_connection,
	fake_failed,
};

/* The names below @path, last first: an order that nobody wants. */
static size_t children_of(struct ensemble *z, const char *path, char *out, size_t *ret_len)
{
	size_t n = 0, len = 0;
	char parent[64];

	for (size_t i = NODES_MAX; i-- > 0;) {
		if (!z->nodes[i].used || strcmp(z->nodes[i].path, "/") == 0)
			continue;
		parent_of(z->nodes[i].path, parent);
		if (strcmp(parent, path) != 0)
			continue;
		len += (size_t)sprintf(out + len, "%s", strrchr(z->nodes[i].path, '/') + 1) + 1;
		n++;
	}
	*ret_len = len;
	return n;
}

static bool connect_client(struct ensemble *z)
{
	struct session_id id;

	if (!z->open || z->connected || !z->reachable)
		return false;
	if (z->wanted && z->wanted != z->session) {
		z->open = false;
		live_core_expired(&z->core, z->now);
		return true;
	}
	if (!z->wanted)
		z->wanted = z->session = ++z->last_session;
	id = (struct session_id){ .id = z->session };
	z->connected = true;
	z->deaf = z->stays_deaf;
	live_core_connected(&z->core, &id, z->now);
	return true;
}

/* Carry out the oldest request. */
static bool answer(struct ensemble *z)
{
	struct request q = z->requests[0];
	struct node *node = find(z, q.path);
	char names[1024];
	size_t n = 0, len = 0;
	struct slice data = slice_of(NULL, 0);
	int rc = z->refuses ? ERR_IO : node ? OK : ERR_NOENT;

	if (!z->connected || !z->n_requests || z->deaf)
		return false;
	memmove(z->requests, z->requests + 1, --z->n_requests * sizeof(q));
	if (rc == OK && q.watch) {
		assert_true(z->n_flags < FLAGS_MAX);
		snprintf(z->flags[z->n_flags].path, 64, "%s", q.path);
		z->flags[z->n_flags++].children = q.children;
	}
	if (rc == OK && q.children) {
		n = children_of(z, q.path, names, &len);
		data = slice_of(names, len);
	} else if (rc == OK) {
		data = slice_str(node->data);
	}
	live_core_reply(&z->core, q.tag, rc, data, n, z->now);
	return true;
}

/* The connection breaks; the library answers what was asked for. */
static void cut(struct ensemble *z)
{
	if (!z->connected)
		return;
	while (z->n_requests) {
		struct request q = z->requests[--z->n_requests];

		live_core_reply(&z->core, q.tag, ERR_CLOSED, slice_of(NULL, 0), 0, z->now);
	}
	z->connected = false;
	live_core_disconnected(&z->core, z->now);
}

static void expire(struct ensemble *z)
{
	cut(z);
	z->session = 0;
	z->n_flags = 0;
}

/* Everything that can happen now, and then @seconds of time. */
static void run(struct ensemble *z, unsigned seconds)
{
	uint64_t end = z->now + (uint64_t)seconds * SECOND;

	do {
		while (connect_client(z) || answer(z))
			;
		z->now += SECOND / 4;
		if (live_core_deadline(&z->core) <= z->now)
			live_core_tick(&z->core, z->now);
	} while (z->now < end);
}

static struct watched *add(struct ensemble *z, size_t i, const char *path, enum watch_kind kind)
{
	struct watched *d = &z->watches[i];

	memset(d, 0, sizeof(*d));
	d->w.path = path;
	d->w.kind = kind;
	d->added = true;
	live_core_add(&z->core, &d->w, z->now);
	return d;
}

static void drop(struct ensemble *z, size_t i)
{
	if (z->watches[i].added)
		live_core_remove(&z->core, &z->watches[i].w);
	z->watches[i].added = false;
}

static int setup(void **state)
{
	struct ensemble *z = calloc(1, sizeof(*z));

	z->reachable = true;
	z->core = (struct live_core){ .ops = &fake_ops, .connection = "zk", .timeout_us = TIMEOUT };
	set_node(z, "/", "");
	set_node(z, "/demo", "{}");
	set_node(z, "/demo/h:2", "{\"pid\":2}");
	set_node(z, "/demo/h:1", "{\"pid\":1}");
	live_core_start(&z->core, z->now);
	*state = z;
	return 0;
}

static int teardown(void **state)
{
	struct ensemble *z = *state;

	for (size_t i = 0; i < WATCHES; i++)
		drop(z, i);
	free(z);
	return 0;
}

static void tells_children(void **state)
{
	struct ensemble *z = *state;
	struct watched *d = add(z, 0, "/demo", WATCH_CHILDREN);

	run(z, 1);
	set_node(z, "/demo/h:3", "");
	run(z, 1);
	remove_node(z, "/demo/h:1");
	run(z, 1);
	remove_node(z, "/demo/h:2");
	remove_node(z, "/demo/h:3");
	run(z, 1);
	assert_string_equal(d->log, "h:1 h:2;h:1 h:2 h:3;h:2 h:3;;");
	assert_string_equal(d->path, "/demo");
	assert_true(d->connected);
}

static void tells_data(void **state)
{
	struct ensemble *z = *state;
	struct watched *d = add(z, 0, "/demo", WATCH_DATA);

	run(z, 1);
	set_node(z, "/demo", "");
	run(z, 1);
	set_node(z, "/demo", "x");
	run(z, 100);
	assert_string_equal(d->log, "{};;x;");
	assert_int_equal(
		z->reads, 4); /* one finds it; and nothing is asked while nothing happens */
}

static void same_content_is_not_told(void **state)
{
	struct ensemble *z = *state;
	struct watched *d = add(z, 0, "/demo", WATCH_DATA);

	run(z, 1);
	set_node(z, "/demo", "{}");
	run(z, 1);
	set_node(z, "/demo", "x");
	run(z, 1);
	assert_string_equal(d->log, "{};x;");
}

static void one_session_for_all(void **state)
{
	struct ensemble *z = *state;
	struct watched *names = add(z, 0, "/demo", WATCH_CHILDREN);
	struct watched *data = add(z, 1, "/demo", WATCH_DATA);
	struct watched *other = add(z, 2, "/demo/h:1", WATCH_DATA);

	run(z, 1);
	set_node(z, "/demo", "x");
	set_node(z, "/demo/h:1", "y");
	run(z, 1);
	assert_string_equal(names->log, "h:1 h:2;");
	assert_string_equal(data->log, "{};x;");
	assert_string_equal(other->log, "{\"pid\":1};y;");
	assert_int_equal(z->opens, 1);
	assert_int_equal(z->last_session, 1);
}

static void path_is_missing(void **state)
{
	struct ensemble *z = *state;
	struct watched *d = add(z, 0, "/demo/x", WATCH_CHILDREN);

	run(z, 5);
	assert_int_equal(d->failure.code, ERR_NOENT);
	assert_string_equal(
		d->failure.text, "ZooKeeper at 'zk': the path '/demo/x' does not exist");
	set_node(z, "/demo/x", ""); /* it has failed: nothing more is done */
	run(z, 5);
	assert_string_equal(d->log, "");
}

static void path_cannot_be_read(void **state)
{
	struct ensemble *z = *state;
	struct watched *d;

	z->refuses = true;
	d = add(z, 0, "/demo", WATCH_CHILDREN);
	run(z, 1);
	assert_int_equal(d->failure.code, ERR_IO);
	assert_string_equal(d->failure.text, "ZooKeeper at 'zk' refused to read '/demo'");
}

/* Later it is no failure: what was known stands. */
static void cannot_be_read_for_a_while(void **state)
{
	struct ensemble *z = *state;
	struct watched *d = add(z, 0, "/demo", WATCH_CHILDREN);

	run(z, 1);
	z->refuses = true;
	remove_node(z, "/demo/h:1");
	run(z, 10);
	assert_string_equal(d->log, "h:1 h:2;");
	z->refuses = false;
	run(z, 2);
	assert_string_equal(d->log, "h:1 h:2;h:2;");
}

static void node_is_deleted_and_comes_back(void **state)
{
	struct ensemble *z = *state;
	struct watched *d = add(z, 0, "/demo/h:1", WATCH_DATA);

	run(z, 1);
	remove_node(z, "/demo/h:1");
	run(z, 10);
	assert_string_equal(d->log, "{\"pid\":1};-;"); /* once */
	set_node(z, "/demo/h:1", "{\"pid\":1}");
	run(z, 2);
	assert_string_equal(d->log, "{\"pid\":1};-;{\"pid\":1};");
	set_node(z, "/demo/h:1", "x");
	run(z, 1);
	assert_string_equal(d->now, "x");
}

/* Before anybody has looked: as if it had only changed. */
static void node_is_replaced(void **state)
{
	struct ensemble *z = *state;
	struct watched *d = add(z, 0, "/demo/h:1", WATCH_DATA);

	run(z, 1);
	remove_node(z, "/demo/h:1");
	set_node(z, "/demo/h:1", "x");
	run(z, 1);
	set_node(z, "/demo/h:1", "y");
	run(z, 1);
	assert_string_equal(d->log, "{\"pid\":1};x;y;");
}

static void links_are_followed(void **state)
{
	struct ensemble *z = *state;
	struct watched *d;

	set_node(z, "/demo", "{\"to ->\":\"h:1\"}");
	d = add(z, 0, "/demo/to", WATCH_DATA);
	run(z, 1);
	assert_string_equal(d->path, "/demo/h:1");
	set_node(z, "/demo/h:1", "x");
	run(z, 1);
	assert_string_equal(d->log, "{\"pid\":1};x;");
}

/* zc.zk: the node is moved, and a link put where it was. */
static void link_takes_the_place_of_a_node(void **state)
{
	struct ensemble *z = *state;
	struct watched *d = add(z, 0, "/demo/h:1", WATCH_DATA);

	run(z, 1);
	set_node(z, "/moved", "x");
	set_node(z, "/demo", "{\"h:1 ->\":\"/moved\"}");
	remove_node(z, "/demo/h:1");
	run(z, 1);
	assert_string_equal(d->log, "{\"pid\":1};x;");
	assert_string_equal(d->path, "/moved");
}

/* The watch fires while the node is read again: whatever the read gives, it is read once more. */
static void fires_while_it_is_set_again(void **state)
{
	struct ensemble *z = *state;
	struct watched *d = add(z, 0, "/demo", WATCH_DATA);
	struct request q;

	run(z, 1);
	set_node(z, "/demo", "x");
	assert_int_equal(z->n_requests, 1);
	q = z->requests[0];
	live_core_watch(&z->core, "/demo", z->now); /* another watch's, on the same node */
	z->n_requests = 0;
	snprintf(z->nodes[1].data, sizeof(z->nodes[1].data), "y");
	live_core_reply(&z->core, q.tag, OK, slice_str("x"), 0, z->now); /* old by now */
	run(z, 1);
	assert_string_equal(d->log, "{};x;y;");
}

static void an_outage_changes_nothing(void **state)
{
	struct ensemble *z = *state;
	struct watched *d = add(z, 0, "/demo", WATCH_CHILDREN);

	run(z, 1);
	z->reachable = false;
	cut(z);
	assert_false(d->connected);
	run(z, 1);
	z->reachable = true;
	run(z, 1);
	assert_true(d->connected);
	assert_string_equal(d->log, "h:1 h:2;");
	assert_int_equal(z->last_session, 1); /* T71 */
}

static void changes_of_an_outage_are_told(void **state)
{
	struct ensemble *z = *state;
	struct watched *d = add(z, 0, "/demo", WATCH_CHILDREN);

	run(z, 1);
	z->reachable = false;
	cut(z);
	remove_node(z, "/demo/h:1");
	run(z, 60);
	assert_string_equal(d->log, "h:1 h:2;");
	z->reachable = true;
	run(z, 10);
	assert_string_equal(d->log, "h:1 h:2;h:2;");
}

static void expired_session(void **state)
{
	struct ensemble *z = *state;
	struct watched *d = add(z, 0, "/demo", WATCH_CHILDREN);

	run(z, 1);
	expire(z);
	remove_node(z, "/demo/h:1");
	run(z, 1);
	remove_node(z, "/demo/h:2");
	run(z, 1);
	assert_string_equal(d->log, "h:1 h:2;h:2;;");
	assert_int_equal(z->last_session, 2);
}

/* T36: the library came back with another session, and nobody said "expired". */
static void another_session(void **state)
{
	struct ensemble *z = *state;
	struct watched *d = add(z, 0, "/demo", WATCH_CHILDREN);
	struct session_id other = { .id = 99 };

	run(z, 1);
	expire(z);
	remove_node(z, "/demo/h:1");
	z->wanted = z->session = other.id;
	z->connected = true;
	live_core_connected(&z->core, &other, z->now);
	run(z, 1);
	assert_string_equal(d->log, "h:1 h:2;h:2;");
	remove_node(z, "/demo/h:2");
	run(z, 1);
	assert_string_equal(d->now, "");
	assert_int_equal(z->core.session.id, 99);
}

/* T35, T70: servers that lost their data refuse the library for ever; a new handle gets an answer. */
static void wiped_ensemble(void **state)
{
	struct ensemble *z = *state;
	struct watched *d = add(z, 0, "/demo", WATCH_CHILDREN);

	run(z, 1);
	z->reachable = false;
	expire(z);
	remove_node(z, "/demo");
	run(z, 30);
	assert_in_range(z->opens, 3, 6);
	assert_string_equal(d->log, "h:1 h:2;");
	z->reachable = true;
	run(z, 10);
	assert_string_equal(d->log, "h:1 h:2;-;");
	set_node(z, "/demo", "");
	run(z, 2);
	assert_string_equal(d->log, "h:1 h:2;-;h:1 h:2;");
}

static void no_reply_at_all(void **state)
{
	struct ensemble *z = *state;
	struct watched *d = add(z, 0, "/demo", WATCH_CHILDREN);

	connect_client(z);
	assert_int_equal(z->n_requests, 1);
	z->now += 2 * TIMEOUT;
	assert_true(live_core_deadline(&z->core) <= z->now);
	live_core_tick(&z->core, z->now);
	assert_int_equal(z->opens, 2);
	run(z, 1);
	assert_string_equal(d->log, "h:1 h:2;");
}

static void hurry_finds_a_dead_connection(void **state)
{
	struct ensemble *z = *state;
	struct watched *d = add(z, 0, "/demo", WATCH_CHILDREN);

	run(z, 1);
	z->deaf = true;
	remove_node(z, "/demo/h:1");
	run(z, 1);
	assert_string_equal(d->log, "h:1 h:2;");
	live_core_hurry(&z->core, z->now);
	run(z, 1);
	assert_string_equal(d->log, "h:1 h:2;h:2;");
	assert_int_equal(z->reconnects, 1);
	assert_int_equal(z->opens, 1); /* and the session is the same */
}

/* Who answers slowly is asked with more patience each time. */
static void hurry_has_patience(void **state)
{
	struct ensemble *z = *state;

	add(z, 0, "/demo", WATCH_CHILDREN);
	run(z, 1);
	z->deaf = z->stays_deaf = true;
	for (int i = 0; i < 40; i++) {
		live_core_hurry(&z->core, z->now);
		run(z, 1);
	}
	assert_in_range(z->reconnects, 5, 12);
	assert_int_equal(z->opens, 1);
	z->stays_deaf = false;
	run(z, 10);
	assert_int_equal(z->core.in_vain, 0);
}

static void hurry_with_a_living_connection(void **state)
{
	struct ensemble *z = *state;
	struct watched *d = add(z, 0, "/demo", WATCH_CHILDREN);
	int reads;

	run(z, 1);
	reads = z->reads;
	live_core_hurry(&z->core, z->now);
	run(z, 10);
	assert_int_equal(z->reads, reads + 1);
	assert_int_equal(z->reconnects, 0);
	set_node(z, "/demo/h:3", "");
	run(z, 1);
	assert_string_equal(d->log, "h:1 h:2;h:1 h:2 h:3;");
}

static void hurry_without_a_connection(void **state)
{
	struct ensemble *z = *state;

	run(z, 1);
	z->reachable = false;
	cut(z);
	live_core_hurry(&z->core, z->now);
	run(z, 1);
	assert_int_equal(z->opens, 2);
}

/* A reply to a request of an earlier connection that comes after the new one was sent. */
static void late_reply_is_not_heard(void **state)
{
	struct ensemble *z = *state;
	struct watched *d = add(z, 0, "/demo", WATCH_DATA);
	struct session_id id;
	struct request q;

	run(z, 1);
	set_node(z, "/demo", "x");
	q = z->requests[0];
	z->n_requests = 0;
	live_core_disconnected(&z->core, z->now);
	id = z->core.session;
	live_core_connected(&z->core, &id, z->now);
	live_core_reply(&z->core, q.tag, OK, slice_str("old"), 0, z->now);
	run(z, 1);
	assert_string_equal(d->log, "{};x;");
}

static void added_without_connection(void **state)
{
	struct ensemble *z = *state;
	struct watched *d;

	z->reachable = false;
	d = add(z, 0, "/demo", WATCH_CHILDREN);
	run(z, 20);
	assert_int_equal(d->failure.code, OK); /* who waits has a time limit */
	assert_string_equal(d->log, "");
	z->reachable = true;
	run(z, 8);
	assert_string_equal(d->log, "h:1 h:2;");
}

static void removed_while_a_request_is_under_way(void **state)
{
	struct ensemble *z = *state;
	struct watched *d = add(z, 0, "/demo", WATCH_CHILDREN);
	struct watched *other = add(z, 1, "/demo", WATCH_CHILDREN);

	connect_client(z);
	drop(z, 0);
	run(z, 2);
	assert_string_equal(d->log, "");
	assert_string_equal(other->log, "h:1 h:2;");
	drop(z, 1);
	remove_node(z, "/demo/h:1");
	cut(z);
	run(z, 2);
	assert_string_equal(other->log, "h:1 h:2;");
}

static void nothing_after_the_stop(void **state)
{
	struct ensemble *z = *state;
	struct watched *d = add(z, 0, "/demo", WATCH_CHILDREN);
	struct request q;

	connect_client(z);
	q = z->requests[0];
	live_core_stop(&z->core);
	live_core_reply(&z->core, q.tag, OK, slice_str("{}"), 0, z->now);
	live_core_watch(&z->core, "/demo", z->now);
	live_core_expired(&z->core, z->now);
	live_core_tick(&z->core, z->now + 100 * TIMEOUT);
	assert_int_equal(live_core_deadline(&z->core), UINT64_MAX);
	assert_string_equal(d->log, "");
	assert_int_equal(z->opens, 1);
}

static int allocations;

static int fail_one(void)
{
	return --allocations == 0;
}

/* Each allocation fails once: nothing is told that is not there, and in the end it is known all the same. */
static void no_memory(void **state)
{
	struct ensemble *z = *state;

	for (int n = 1; n < 12; n++) {
		struct watched *d = add(z, 0, "/demo", WATCH_CHILDREN);

		allocations = n;
		mem_fault_hook = fail_one;
		run(z, 1);
		set_node(z, "/demo/h:3", "");
		run(z, 2);
		remove_node(z, "/demo/h:3");
		run(z, 3);
		mem_fault_hook = NULL;
		if (d->failure.code) {
			assert_int_equal(d->failure.code, ERR_NOMEM);
			assert_string_equal(d->log, "");
		} else {
			assert_string_equal(d->now, "h:1 h:2");
			assert_non_null(strstr(d->log, "h:1 h:2 h:3;"));
		}
		drop(z, 0);
	}
	assert_true(allocations > 0); /* the last one had no failure */
}

static unsigned random_below(uint64_t *seed, unsigned n)
{
	*seed = *seed * 6364136223846793005u + 1442695040888963407u;
	return (unsigned)(*seed >> 33) % n;
}

static const char *const storm_paths[] = { "/demo", "/demo/a", "/demo/b", "/demo/a/x", "/moved" };
static const char *const storm_data[] = { "", "1", "{\"a ->\":\"/moved\"}", "{\"b ->\":\"a\"}" };

static void random_node(struct ensemble *z, uint64_t *seed)
{
	const char *path = storm_paths[random_below(seed, ARRAY_LEN(storm_paths))];

	if (find(z, path) && random_below(seed, 2))
		remove_node(z, path);
	else
		set_node(z, path, storm_data[random_below(seed, ARRAY_LEN(storm_data))]);
}

static void random_event(struct ensemble *z, uint64_t *seed)
{
	size_t i = random_below(seed, WATCHES);

	switch (random_below(seed, 10)) {
	case 0:
		cut(z);
		break;
	case 1:
		z->reachable = random_below(seed, 3) > 0;
		break;
	case 2:
		expire(z);
		break;
	case 3:
		drop(z, i);
		add(z, i, storm_paths[random_below(seed, ARRAY_LEN(storm_paths))],
			random_below(seed, 2) ? WATCH_DATA : WATCH_CHILDREN);
		break;
	case 4:
		run(z, random_below(seed, 3));
		break;
	case 5:
		connect_client(z);
		answer(z);
		break;
	case 6:
		z->deaf = z->connected;
		break;
	case 7:
		live_core_hurry(&z->core, z->now);
		break;
	default:
		random_node(z, seed);
	}
}

static void text_at(struct ensemble *z, const struct live_watch *w, char out[256])
{
	struct watched *again = &z->watches[WATCHES - 1];

	drop(z, WATCHES - 1);
	add(z, WATCHES - 1, w->path, w->kind);
	run(z, 2);
	snprintf(out, 256, "%s", again->failure.code ? "-" : again->now);
}

/* When all is quiet, what a watch was told last is what somebody who looks now is told. */
static void one_storm(struct ensemble *z, uint64_t seed)
{
	uint64_t state = seed;
	char text[256];

	for (int i = 0; i < 200; i++)
		random_event(z, &state);
	z->reachable = true;
	live_core_hurry(&z->core, z->now); /* a deaf connection is noticed by who wants something */
	run(z, 40);
	for (size_t i = 0; i < WATCHES - 1; i++) {
		struct watched *d = &z->watches[i];

		if (!d->added || d->failure.code)
			continue;
		text_at(z, &d->w, text);
		/* a node that came to be in the way of a link is not looked for */
		if (strcmp(d->now, text) != 0 && strcmp(d->w.walk.path, d->w.path) == 0)
			fail_msg("seed %llu: %s was told '%s', there is '%s': %s",
				(unsigned long long)seed, d->w.path, d->now, text, d->log);
	}
}

static void storms(void **state)
{
	const char *only = getenv("SEED");
	void *z;

	for (uint64_t seed = 1; seed <= 3000; seed++) {
		if (only && strtoull(only, NULL, 10) != seed)
			continue;
		setup(&z);
		one_storm(z, seed);
		teardown(&z);
	}
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(tells_children),
		TEST(tells_data),
		TEST(same_content_is_not_told),
		TEST(one_session_for_all),
		TEST(path_is_missing),
		TEST(path_cannot_be_read),
		TEST(cannot_be_read_for_a_while),
		TEST(node_is_deleted_and_comes_back),
		TEST(node_is_replaced),
		TEST(links_are_followed),
		TEST(link_takes_the_place_of_a_node),
		TEST(fires_while_it_is_set_again),
		TEST(an_outage_changes_nothing),
		TEST(changes_of_an_outage_are_told),
		TEST(expired_session),
		TEST(another_session),
		TEST(wiped_ensemble),
		TEST(no_reply_at_all),
		TEST(hurry_finds_a_dead_connection),
		TEST(hurry_has_patience),
		TEST(hurry_with_a_living_connection),
		TEST(hurry_without_a_connection),
		TEST(late_reply_is_not_heard),
		TEST(added_without_connection),
		TEST(removed_while_a_request_is_under_way),
		TEST(nothing_after_the_stop),
		TEST(no_memory),
		cmocka_unit_test(storms),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
