/* A server's event loops with a FileStorage and real clients: whose thread writes to the disk, and that a disk which hangs
 * keeps nobody from loading. */
#include "storage_util.h"

#include <pthread.h>
#include <semaphore.h>
#include <time.h>

#include "base/os.h"
#include "client/client.h"
#include "client/commit.h"
#include "server/service.h"
#include "storage/filestorage/filestorage.h"

enum { WAIT_S = 20 };

struct world {
	struct storage *storage;
	struct server server;
	struct listener listener;
	struct service *service;
	struct client *committer, *loader;
	uint64_t serial; /* of the object that is committed */
};

static struct world world;
static atomic_bool by_loop; /* the last sync, by a loop's thread */
static atomic_bool hangs;
static sem_t hung, goes_on;

static int on_call(const char *call)
{
	char name[16] = "";

	if (strcmp(call, "fdatasync") != 0)
		return 0;
	pthread_getname_np(pthread_self(), name, sizeof(name));
	atomic_store(&by_loop, strncmp(name, "worker", 6) == 0);
	if (atomic_load(&by_loop) && atomic_exchange(&hangs, false)) {
		sem_post(&hung);
		while (sem_wait(&goes_on) != 0)
			;
	}
	return 0;
}

static void must(int rc, const struct err *e)
{
	if (rc != OK)
		fail_msg("%s", e->text);
}

static struct client *open_client(void)
{
	const struct client_options o = { .wait_timeout_ms = WAIT_S * 1000 };
	struct client *c = NULL;
	struct err e = ERR_INIT;

	must(client_open(&o, &world.listener.bound, 1, &c, &e), &e);
	must(client_wait(c, 0, &e), &e);
	return c;
}

static int setup(void **state)
{
	static const char *const ids[] = { "1" };
	struct filestorage_options fo = { .clock = &clock_system };
	struct server_options so = { .transaction_timeout_text = "" };
	struct address a = { .host = "127.0.0.1" };
	struct err e = ERR_INIT;

	if (test_dir_setup(state) != 0)
		return -1;
	memset(&world, 0, sizeof(world));
	fo.path = ((struct test_dir *)*state)->data;
	atomic_store(&hangs, false);
	sem_init(&hung, 0, 0);
	sem_init(&goes_on, 0, 0);
	os_fault_hook = on_call;
	must(filestorage_open(&fo, &world.storage, &e), &e);
	must(server_init(&world.server, &so, &clock_system, ids, &world.storage, 1, &e), &e);
	must(listener_open(&a, &world.listener, &e), &e);
	must(service_start(&world.server, &world.listener, NULL, 2, &world.service, &e), &e);
	world.committer = open_client();
	world.loader = open_client();
	return 0;
}

static int teardown(void **state)
{
	sem_post(&goes_on); /* a test may have failed */
	client_close(world.committer);
	client_close(world.loader);
	service_stop(world.service, 0);
	listener_close(&world.listener);
	world.storage->ops->close(world.storage);
	server_fini(&world.server);
	os_fault_hook = NULL;
	sem_destroy(&hung);
	sem_destroy(&goes_on);
	return test_dir_teardown(state);
}

/* Off the main thread, too: what went wrong, or OK. */
static int commit(struct err *e)
{
	const struct client_conflict *conflicts;
	struct client *c = world.committer;
	struct client_txn *t;
	size_t n;
	int rc = client_txn_begin(c, slice_str(""), slice_str(""), NULL, TID_NONE, ' ', &t, e);

	if (rc == OK)
		rc = client_txn_store(t, 1, world.serial, slice_str("text"), e);
	if (rc == OK)
		rc = client_txn_vote(t, &conflicts, &n, NULL, e);
	return rc == OK ? client_txn_finish(t, NULL, NULL, &world.serial, NULL, e) : rc;
}

/* Not necessarily the first one: somebody may just come. */
static void test_written_by_the_loop(void **state)
{
	time_t end = time(NULL) + WAIT_S;
	struct err e = ERR_INIT;

	(void)state;
	do {
		assert_true(time(NULL) < end);
		must(commit(&e), &e);
	} while (!atomic_load(&by_loop));
}

static atomic_bool stop;
static struct err failure; /* of commit_many() */

static void *commit_many(void *arg)
{
	(void)arg;
	while (!atomic_load(&stop) && commit(&failure) == OK)
		;
	return NULL;
}

static void test_hangs(void **state)
{
	struct client_record r;
	struct err e = ERR_INIT;
	struct timespec until;
	pthread_t t;
	bool did_hang;
	int rc;

	(void)state;
	must(commit(&e), &e);
	atomic_store(&stop, false);
	atomic_store(&hangs, true);
	assert_int_equal(pthread_create(&t, NULL, commit_many, NULL), 0);
	clock_gettime(CLOCK_REALTIME, &until);
	until.tv_sec += WAIT_S;
	did_hang = sem_timedwait(&hung, &until) == 0;
	atomic_store(&stop, true);
	rc = client_load_before(world.loader, 1, TID_MAX, &r, &e);
	sem_post(&goes_on);
	pthread_join(t, NULL);
	assert_true(did_hang);
	must(rc, &e);
	assert_true(slice_is(r.data, "text"));
	client_record_end(&r);
	must(failure.code, &failure);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_written_by_the_loop, setup, teardown),
		cmocka_unit_test_setup_teardown(test_hangs, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
