/* The registration's decisions against a small ZooKeeper of our own: nodes, sessions, and
 * whatever can go wrong between it and its clients. */
#include "cmocka_all.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "zookeeper/registration_core.h"
#include "zookeeper/session_file.h"

enum { NODES_MAX = 16, SESSIONS_MAX = 2000, CLIENTS = 2, SECOND = 1000000 };
enum { TIMEOUT = 10 * SECOND };

struct node {
	char path[64];
	int64_t owner;
	bool used;
};

struct client {
	struct registration_core core;
	struct ensemble *ensemble;
	bool open, connected;
	int64_t session; /* of the handle; 0 = a new one is wanted */
	enum { NOTHING, GET, CREATE } request;
	char path[128];
	bool watched[NODES_MAX];
	int64_t kept; /* what a next life would attach to */
	int opens, creates;
	char log[8192];
};

struct ensemble {
	struct node nodes[NODES_MAX];
	bool alive[SESSIONS_MAX];
	int64_t last_session;
	bool reachable;
	uint64_t now;
	struct client clients[CLIENTS];
};

static struct client *of(struct registration_core *c)
{
	return CONTAINER_OF(c, struct client, core);
}

static struct node *find(struct ensemble *z, const char *path)
{
	for (size_t i = 0; i < NODES_MAX; i++)
		if (z->nodes[i].used && strcmp(z->nodes[i].path, path) == 0)
			return &z->nodes[i];
	return NULL;
}

static void fire(struct ensemble *z, const struct node *node)
{
	size_t i = (size_t)(node - z->nodes);

	for (size_t k = 0; k < CLIENTS; k++) {
		struct client *c = &z->clients[k];

		if (c->connected && c->watched[i]) {
			c->watched[i] = false;
			core_watch(&c->core, node->path, z->now);
		}
	}
}

static void add_node(struct ensemble *z, const char *path, int64_t owner)
{
	for (size_t i = 0; i < NODES_MAX; i++) {
		if (z->nodes[i].used)
			continue;
		z->nodes[i] = (struct node){ .owner = owner, .used = true };
		snprintf(z->nodes[i].path, sizeof(z->nodes[i].path), "%.60s", path);
		return;
	}
	fail_msg("too many nodes");
}

static void remove_node(struct ensemble *z, const char *path)
{
	struct node *node = find(z, path);

	assert_non_null(node);
	node->used = false;
	fire(z, node);
}

static void end_session(struct ensemble *z, int64_t id)
{
	z->alive[id] = false;
	for (size_t i = 0; i < NODES_MAX; i++)
		if (z->nodes[i].used && z->nodes[i].owner == id) {
			z->nodes[i].used = false;
			fire(z, &z->nodes[i]);
		}
}

static int fake_open(struct registration_core *core, const struct session_id *attach, struct err *e)
{
	struct client *c = of(core);

	c->open = true;
	c->connected = false;
	c->request = NOTHING;
	c->session = attach ? attach->id : 0;
	c->opens++;
	memset(c->watched, 0, sizeof(c->watched));
	return OK;
}

static bool fake_close(struct registration_core *core)
{
	struct client *c = of(core);

	bool ended = c->connected;

	if (ended)
		end_session(c->ensemble, c->session);
	c->open = c->connected = false;
	c->request = NOTHING;
	return ended;
}

static void ask(struct registration_core *core, int request, const char *path)
{
	struct client *c = of(core);

	assert_true(c->connected);
	assert_int_equal(c->request, NOTHING); /* I3 */
	c->request = request;
	snprintf(c->path, sizeof(c->path), "%s", path);
}

static void fake_get(struct registration_core *core, const char *path)
{
	ask(core, GET, path);
}

static void fake_create(struct registration_core *core, const char *path, const char *data)
{
	assert_string_equal(data, "{\"pid\":1}");
	of(core)->creates++;
	ask(core, CREATE, path);
}

static void fake_keep(struct registration_core *core, const struct session_id *id)
{
	of(core)->kept = id ? id->id : 0;
}

static void fake_log(struct registration_core *core, int level, const char *text)
{
	struct client *c = of(core);
	size_t n = strlen(c->log);

	snprintf(c->log + n, sizeof(c->log) - n, "%s\n", text);
}

static const struct registry_ops fake_ops = {
	fake_open,
	fake_close,
	fake_get,
	fake_create,
	fake_keep,
	fake_log,
};

static bool connect_client(struct client *c)
{
	struct ensemble *z = c->ensemble;
	struct session_id id = { .id = c->session };

	if (!c->open || c->connected || !z->reachable)
		return false;
	if (c->session && !z->alive[c->session]) {
		c->open = false;
		core_expired(&c->core, z->now);
		return true;
	}
	if (!c->session) {
		id.id = c->session = ++z->last_session;
		assert_true(id.id < SESSIONS_MAX);
		z->alive[id.id] = true;
	}
	c->connected = true;
	core_connected(&c->core, &id, z->now);
	return true;
}

static int do_create(struct client *c)
{
	char parent[128];
	char *slash;

	snprintf(parent, sizeof(parent), "%s", c->path);
	slash = strrchr(parent, '/');
	*slash = 0;
	if (slash != parent && !find(c->ensemble, parent))
		return ERR_NOENT;
	if (find(c->ensemble, c->path))
		return ERR_EXISTS;
	add_node(c->ensemble, c->path, c->session);
	return OK;
}

/* Carry out the request; its reply may get lost on the way. */
static bool answer(struct client *c, bool lose_reply)
{
	struct node *node;
	int64_t owner = 0;
	int rc;

	if (!c->connected || c->request == NOTHING)
		return false;
	if (c->request == CREATE) {
		rc = do_create(c);
	} else {
		node = find(c->ensemble, c->path);
		rc = node || strcmp(c->path, "/") == 0 ? OK : ERR_NOENT;
		owner = node ? node->owner : 0;
		if (node && !lose_reply)
			c->watched[node - c->ensemble->nodes] = true;
	}
	c->request = NOTHING;
	core_reply(
		&c->core, lose_reply ? ERR_CLOSED : rc, owner, slice_str("{}"), c->ensemble->now);
	return true;
}

/* The connection breaks: what was asked for may have been done or not. */
static void cut(struct client *c, bool done)
{
	if (!c->connected)
		return;
	if (c->request != NOTHING && done)
		answer(c, true);
	else if (c->request != NOTHING) {
		c->request = NOTHING;
		core_reply(&c->core, ERR_CLOSED, 0, slice_of(NULL, 0), c->ensemble->now);
	}
	/* what it asked for meanwhile is lost, too */
	if (c->request != NOTHING) {
		c->request = NOTHING;
		core_reply(&c->core, ERR_CLOSED, 0, slice_of(NULL, 0), c->ensemble->now);
	}
	c->connected = false;
	core_disconnected(&c->core, c->ensemble->now);
}

/* Everything that can happen now, and then @seconds of time. */
static void run(struct ensemble *z, unsigned seconds)
{
	uint64_t end = z->now + (uint64_t)seconds * SECOND;

	do {
		bool more = true;

		while (more) {
			more = false;
			for (size_t i = 0; i < CLIENTS; i++)
				more |= connect_client(&z->clients[i]) ||
					answer(&z->clients[i], false);
		}
		z->now += SECOND / 4;
		for (size_t i = 0; i < CLIENTS; i++)
			if (core_deadline(&z->clients[i].core) <= z->now)
				core_tick(&z->clients[i].core, z->now);
	} while (z->now < end);
}

static void init_client(struct ensemble *z, size_t i)
{
	struct client *c = &z->clients[i];
	int64_t kept = c->kept;

	memset(c, 0, sizeof(*c));
	c->kept = kept;
	c->ensemble = z;
	c->core = (struct registration_core){ .ops = &fake_ops,
		.connection = "zk",
		.path = "/demo",
		.data = "{\"pid\":1}",
		.timeout_us = TIMEOUT };
	strcpy(c->core.names.text[0], "h:1");
	c->core.names.n = 1;
}

static int setup(void **state)
{
	struct ensemble *z = calloc(1, sizeof(*z));

	z->reachable = true;
	add_node(z, "/demo", 0);
	for (size_t i = 0; i < CLIENTS; i++)
		init_client(z, i);
	*state = z;
	return 0;
}

static int teardown(void **state)
{
	struct ensemble *z = *state;

	for (size_t i = 0; i < CLIENTS; i++)
		core_end(&z->clients[i].core);
	free(z);
	return 0;
}

static struct client *start(struct ensemble *z, size_t i)
{
	struct client *c = &z->clients[i];
	struct session_id earlier = { .id = c->kept };

	core_start(&c->core, c->kept ? &earlier : NULL, z->now);
	run(z, 1);
	return c;
}

static void assert_registered(struct client *c)
{
	struct node *node = find(c->ensemble, "/demo/h:1");

	assert_true(core_is_settled(&c->core));
	assert_int_equal(core_count(&c->core, NAME_OURS), c->core.names.n);
	assert_non_null(node);
	assert_int_equal(node->owner, c->session);
	assert_int_equal(c->kept, c->session);
}

static void assert_log(const struct client *c, const char *text)
{
	if (strcmp(c->log, text) != 0)
		fail_msg("log is:\n%sexpected:\n%s", c->log, text);
}

static void registers(void **state)
{
	struct ensemble *z = *state;
	struct client *c = start(z, 0);

	assert_registered(c);
	assert_log(c, "Registered zk: /demo/h:1\n");
	run(z, 100);
	assert_int_equal(c->opens, 1);
	assert_int_equal(c->creates, 1);
}

static void registers_each_name(void **state)
{
	struct ensemble *z = *state;

	strcpy(z->clients[0].core.names.text[1], "h:2");
	z->clients[0].core.names.n = 2;
	assert_registered(start(z, 0));
	assert_non_null(find(z, "/demo/h:2"));
}

static void stop_removes_the_node(void **state)
{
	struct ensemble *z = *state;
	struct client *c = start(z, 0);

	core_stop(&c->core);
	assert_null(find(z, "/demo/h:1"));
	assert_int_equal(c->kept, 0);
	assert_int_equal(core_deadline(&c->core), UINT64_MAX);
}

static void stop_without_connection_keeps_the_session(void **state)
{
	struct ensemble *z = *state;
	struct client *c = start(z, 0);

	z->reachable = false;
	cut(c, false);
	core_stop(&c->core);
	assert_non_null(find(z, "/demo/h:1"));
	assert_true(c->kept != 0);
}

/* T32: killed and started again within the session's life. */
static void replaces_the_node_of_its_earlier_life(void **state)
{
	struct ensemble *z = *state;
	int64_t earlier = start(z, 0)->session;
	struct client *c;

	core_end(&z->clients[0].core);
	init_client(z, 0);
	c = start(z, 0);
	assert_registered(c);
	assert_true(c->session != earlier);
	assert_false(z->alive[earlier]);
	assert_log(c, "Registered zk: /demo/h:1\n");
}

static void earlier_session_is_gone(void **state)
{
	struct ensemble *z = *state;

	z->clients[0].kept = 77;
	assert_registered(start(z, 0));
	assert_log(&z->clients[0], "Registered zk: /demo/h:1\n");
}

/* T32, I1: two hosts that advertise one address. */
static void leaves_a_foreign_node_alone(void **state)
{
	struct ensemble *z = *state;
	struct client *first = start(z, 0);
	struct client *second = start(z, 1);

	run(z, 60);
	assert_registered(first);
	assert_true(core_is_settled(&second->core));
	assert_int_equal(core_count(&second->core, NAME_FOREIGN), 1);
	assert_log(second, "/demo/h:1 is registered by another ZooKeeper session (0x1): waiting "
			   "until it goes\n");
	cut(second, false); /* says nothing new about it */
	run(z, 1);
	core_stop(&first->core);
	run(z, 1);
	assert_registered(second);
	assert_int_equal(second->creates, 2);
	assert_log(second, "/demo/h:1 is registered by another ZooKeeper session (0x1): waiting "
			   "until it goes\n"
			   "lost the connection to ZooKeeper at 'zk'\n"
			   "connected to ZooKeeper at 'zk'\n"
			   "Registered zk: /demo/h:1\n");
}

static void node_without_a_session_is_foreign(void **state)
{
	struct ensemble *z = *state;

	add_node(z, "/demo/h:1", 0);
	assert_int_equal(core_count(&start(z, 0)->core, NAME_FOREIGN), 1);
	remove_node(z, "/demo/h:1");
	run(z, 1);
	assert_registered(&z->clients[0]);
}

static void registers_again_after_expiry(void **state)
{
	struct ensemble *z = *state;
	struct client *c = start(z, 0);

	z->reachable = false;
	cut(c, false);
	end_session(z, c->session);
	run(z, 20);
	z->reachable = true;
	run(z, 5);
	assert_registered(c);
	assert_log(c, "Registered zk: /demo/h:1\n"
		      "lost the connection to ZooKeeper at 'zk'\n"
		      "the ZooKeeper session expired\n"
		      "connected to ZooKeeper at 'zk'\n"
		      "restoring ephemeral /demo/h:1\n");
}

/* T36: the library came back with another session, and nobody said "expired". */
static void notices_a_new_session(void **state)
{
	struct ensemble *z = *state;
	struct client *c = start(z, 0);
	struct session_id other = { .id = ++z->last_session };

	z->alive[other.id] = true;
	cut(c, false);
	end_session(z, c->session);
	c->session = other.id;
	c->connected = true;
	core_connected(&c->core, &other, z->now);
	run(z, 1);
	assert_registered(c);
}

static void short_cut_changes_nothing(void **state)
{
	struct ensemble *z = *state;
	struct client *c = start(z, 0);

	cut(c, false);
	run(z, 1);
	assert_registered(c);
	assert_int_equal(c->creates, 1);
}

/* T70: servers that lost their data refuse the library for ever; a new handle gets an answer. */
static void new_handle_after_a_while(void **state)
{
	struct ensemble *z = *state;
	struct client *c = start(z, 0);
	int64_t session = c->session;

	z->reachable = false;
	cut(c, false);
	run(z, 4);
	assert_int_equal(c->opens, 2);
	run(z, 26);
	assert_in_range(c->opens, 3, 5);
	assert_int_equal(c->session, session); /* I4: it may be alive */
	z->reachable = true;
	run(z, 5);
	assert_registered(c);
	assert_int_equal(c->session, session);
	assert_int_equal(c->creates, 1);
}

static void wiped_ensemble(void **state)
{
	struct ensemble *z = *state;
	struct client *c = start(z, 0);

	c->core.serving = true;
	end_session(z, c->session);
	remove_node(z, "/demo");
	z->reachable = false;
	cut(c, false);
	run(z, 5);
	z->reachable = true;
	run(z, 10);
	assert_false(core_is_settled(&c->core));
	assert_non_null(strstr(c->log, "cannot register in ZooKeeper: ZooKeeper at 'zk': the path "
				       "'/demo' does not exist\n"));
	assert_null(strstr(strstr(c->log, "cannot register") + 1, "cannot register"));
	add_node(z, "/demo", 0);
	run(z, 3);
	assert_registered(c);
}

/* Away at the start, and when it comes it has not got the path: said, because nobody waits. */
static void path_is_missing_later(void **state)
{
	struct ensemble *z = *state;
	struct client *c;

	z->reachable = false;
	remove_node(z, "/demo");
	c = start(z, 0);
	run(z, 10);
	c->core.serving = true;
	z->reachable = true;
	run(z, 10);
	assert_log(c, "Can't connect to ZooKeeper at 'zk'\n"
		      "connected to ZooKeeper at 'zk'\n"
		      "cannot register in ZooKeeper: ZooKeeper at 'zk': the path '/demo' does not "
		      "exist\n");
}

static void missing_path_is_a_failure(void **state)
{
	struct ensemble *z = *state;
	struct client *c;

	remove_node(z, "/demo");
	c = start(z, 0);
	assert_int_equal(c->core.failure.code, ERR_NOENT);
	assert_log(c, ""); /* who started it says why */
}

/* The reply was lost, the node is there: it is ours, and not created twice. */
static void lost_reply_to_create(void **state)
{
	struct ensemble *z = *state;
	struct client *c = &z->clients[0];

	core_start(&c->core, NULL, z->now);
	connect_client(c);
	answer(c, false); /* the path */
	assert_int_equal(c->request, CREATE);
	cut(c, true);
	run(z, 1);
	assert_registered(c);
	assert_int_equal(c->creates, 1);
}

static void no_reply_at_all(void **state)
{
	struct ensemble *z = *state;
	struct client *c = &z->clients[0];

	core_start(&c->core, NULL, z->now);
	connect_client(c);
	z->now += 2 * TIMEOUT;
	core_tick(&c->core, z->now);
	assert_int_equal(c->opens, 2);
	run(z, 1);
	assert_registered(c);
}

static void somebody_removes_the_node(void **state)
{
	struct ensemble *z = *state;
	struct client *c = start(z, 0);

	remove_node(z, "/demo/h:1");
	run(z, 1);
	assert_registered(c);
}

static void away_at_start(void **state)
{
	struct ensemble *z = *state;
	struct client *c;

	z->reachable = false;
	c = start(z, 0);
	run(z, 30);
	assert_true(c->core.told_away);
	assert_log(c, "Can't connect to ZooKeeper at 'zk'\n");
	z->reachable = true;
	run(z, 5);
	assert_registered(c);
}

static unsigned random_below(uint64_t *seed, unsigned n)
{
	*seed = *seed * 6364136223846793005u + 1442695040888963407u;
	return (unsigned)(*seed >> 33) % n;
}

static void random_event(struct ensemble *z, uint64_t *seed)
{
	struct client *c = &z->clients[random_below(seed, CLIENTS)];

	switch (random_below(seed, 8)) {
	case 0:
		cut(c, random_below(seed, 2));
		break;
	case 1:
		z->reachable = !z->reachable;
		for (size_t i = 0; !z->reachable && i < CLIENTS; i++)
			cut(&z->clients[i], random_below(seed, 2));
		break;
	case 2: /* the server forgets a session; its client hears of it when it connects again */
		cut(c, random_below(seed, 2));
		if (c->session)
			end_session(z, c->session);
		break;
	case 3: { /* killed, and started again */
		struct session_id earlier = { .id = c->kept };

		core_end(&c->core);
		init_client(z, (size_t)(c - z->clients));
		core_start(&c->core, c->kept ? &earlier : NULL, z->now);
		break;
	}
	case 4:
		connect_client(c);
		break;
	default:
		if (!connect_client(c))
			answer(c, false);
	}
}

/* Two servers with one name through a storm of failures. Whatever happened: when it is over, one
 * of them is registered, the other one waits, and follows when the first one stops. */
static void one_storm(struct ensemble *z, uint64_t seed)
{
	uint64_t start_seed = seed;
	struct client *ours, *other;

	for (size_t i = 0; i < CLIENTS; i++)
		core_start(&z->clients[i].core, NULL, z->now);
	for (int i = 0; i < 300; i++) {
		random_event(z, &seed);
		if (random_below(&seed, 4) == 0)
			run(z, random_below(&seed, 3));
	}
	z->reachable = true;
	run(z, 60);
	/* sessions of killed lives that nobody attached to run out */
	for (int64_t id = 1; id <= z->last_session; id++)
		if (id != z->clients[0].session && id != z->clients[1].session)
			end_session(z, id);
	run(z, 5);
	ours = core_count(&z->clients[0].core, NAME_OURS) ? &z->clients[0] : &z->clients[1];
	other = ours == z->clients ? &z->clients[1] : &z->clients[0];
	if (!core_is_settled(&ours->core) || !core_is_settled(&other->core) ||
		core_count(&ours->core, NAME_OURS) + core_count(&other->core, NAME_OURS) != 1)
		fail_msg("seed %llu: not one of two is registered", (unsigned long long)start_seed);
	assert_registered(ours);
	core_stop(&ours->core);
	run(z, 1);
	assert_registered(other);
}

static void storms(void **state)
{
	const char *only = getenv("SEED");

	for (uint64_t seed = 1; seed <= 200; seed++) {
		void *z;

		if (only && strtoull(only, NULL, 10) != seed)
			continue;
		setup(&z);
		one_storm(z, seed);
		teardown(&z);
	}
}

static void session_files(void **state)
{
	char path[] = "/tmp/zkzeo-session-XXXXXX";
	struct session_id id = { .id = 0x1000013fb250007 }, back;
	struct err e = ERR_INIT;
	int fd = mkstemp(path);

	assert_true(fd >= 0);
	assert_int_equal(session_file_load(path, &back, &e), ERR_FORMAT); /* empty */
	for (size_t i = 0; i < sizeof(id.password); i++)
		id.password[i] = (unsigned char)(17 * i);
	if (session_file_save(path, &id, &e) || session_file_load(path, &back, &e))
		fail_msg("%s", e.text);
	assert_int_equal(back.id, id.id);
	assert_memory_equal(back.password, id.password, sizeof(id.password));
	assert_int_equal(truncate(path, 65), 0);
	assert_int_equal(session_file_load(path, &back, &e), ERR_FORMAT);
	close(fd);
	unlink(path);
	assert_int_equal(session_file_load(path, &back, &e), ERR_NOENT);
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(registers),
		TEST(registers_each_name),
		TEST(stop_removes_the_node),
		TEST(stop_without_connection_keeps_the_session),
		TEST(replaces_the_node_of_its_earlier_life),
		TEST(earlier_session_is_gone),
		TEST(leaves_a_foreign_node_alone),
		TEST(node_without_a_session_is_foreign),
		TEST(registers_again_after_expiry),
		TEST(notices_a_new_session),
		TEST(short_cut_changes_nothing),
		TEST(new_handle_after_a_while),
		TEST(wiped_ensemble),
		TEST(path_is_missing_later),
		TEST(missing_path_is_a_failure),
		TEST(lost_reply_to_create),
		TEST(no_reply_at_all),
		TEST(somebody_removes_the_node),
		TEST(away_at_start),
		cmocka_unit_test(storms),
		cmocka_unit_test(session_files),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
