/* A client of a server whose part the test plays, and what it has told. */
#ifndef TESTS_CLIENT_FIXTURE_H
#define TESTS_CLIENT_FIXTURE_H

#include "script_server.h"

#include <pthread.h>
#include <stdarg.h>

#include "client/commit.h"

enum { TID = 1000 };

/* --- what the client tells --- */

struct seen {
	pthread_mutex_t lock;
	pthread_cond_t more;
	char text[4096]; /* a word an event */
	size_t len;
};

static struct fixture {
	struct script s;
	struct client *c;
	struct seen seen;
	struct client_options o;
} f;

static inline void note(const char *fmt, ...) PRINTF(1, 2);
static inline void note(const char *fmt, ...)
{
	struct seen *seen = &f.seen;
	va_list ap;

	pthread_mutex_lock(&seen->lock);
	va_start(ap, fmt);
	seen->len +=
		(size_t)vsnprintf(seen->text + seen->len, sizeof(seen->text) - seen->len, fmt, ap);
	va_end(ap);
	pthread_cond_broadcast(&seen->more);
	pthread_mutex_unlock(&seen->lock);
}

/* All events from the start, or from the last forget(), are these. */
static inline void expect_seen(const char *text)
{
	struct timespec until;
	int rc = 0;
	bool same;

	clock_gettime(CLOCK_REALTIME, &until);
	until.tv_sec += 20;
	pthread_mutex_lock(&f.seen.lock);
	while (f.seen.len < strlen(text) && rc == 0)
		rc = pthread_cond_timedwait(&f.seen.more, &f.seen.lock, &until);
	same = strcmp(f.seen.text, text) == 0;
	pthread_mutex_unlock(&f.seen.lock);
	if (!same)
		fail_msg("seen '%s', expected '%s'", f.seen.text, text);
}

static inline void forget(void)
{
	pthread_mutex_lock(&f.seen.lock);
	f.seen.len = 0;
	f.seen.text[0] = 0;
	pthread_mutex_unlock(&f.seen.lock);
}

static inline void on_invalidate(void *arg, uint64_t tid, const uint64_t *oids, size_t n)
{
	(void)arg;
	for (size_t i = 0; i < n; i++)
		note("inv:%d:%d@%d ", (int)tid, (int)oids[i], (int)client_last_tid(f.c));
}

static inline void on_invalidate_all(void *arg)
{
	(void)arg;
	note("all ");
}

static inline void on_connected(void *arg)
{
	(void)arg;
	note("connected ");
}

static inline void on_disconnected(void *arg)
{
	(void)arg;
	note("disconnected ");
}

static inline int setup(void **state)
{
	(void)state;
	f = (struct fixture){ .s = { .fd = -1 } };
	pthread_mutex_init(&f.seen.lock, NULL);
	pthread_cond_init(&f.seen.more, NULL);
	script_listen(&f.s);
	f.o.min_poll_ms = 20;
	f.o.events = (struct client_events){
		.invalidate = on_invalidate,
		.invalidate_all = on_invalidate_all,
		.connected = on_connected,
		.disconnected = on_disconnected,
	};
	return 0;
}

static inline int teardown(void **state)
{
	(void)state;
	client_close(f.c);
	script_close(&f.s);
	pthread_cond_destroy(&f.seen.more);
	pthread_mutex_destroy(&f.seen.lock);
	return 0;
}

static inline void open_client(void)
{
	struct err e = ERR_INIT;

	if (client_open(&f.o, &f.s.listener.bound, 1, &f.c, &e) != OK)
		fail_msg("%s", e.text);
}

static inline void wait_for_client(void)
{
	struct err e = ERR_INIT;

	if (client_wait(f.c, SCRIPT_TIMEOUT_MS, &e) != OK)
		fail_msg("%s", e.text);
}

static inline void connect_client(enum encoding encoding)
{
	open_client();
	script_serve(&f.s, encoding, TID);
	wait_for_client();
	forget();
}

/* --- calls by other threads --- */

struct caller {
	pthread_t thread;
	uint64_t oid, tid;
	const char *method;
	struct client_txn *txn;
	int rc;
	struct err err;
	struct client_record record;
	struct call call;
};

static inline void *run_load(void *arg)
{
	struct caller *t = arg;

	t->rc = client_load_before(f.c, t->oid, t->tid, &t->record, &t->err);
	return NULL;
}

static inline void *run_call(void *arg)
{
	struct caller *t = arg;

	t->rc = client_call(f.c, &t->call, t->method, NULL, 0, 0, &t->err);
	return NULL;
}

static inline void start(struct caller *t, void *(*run)(void *))
{
	assert_int_equal(pthread_create(&t->thread, NULL, run, t), 0);
}

static inline void start_load(struct caller *t, uint64_t oid)
{
	*t = (struct caller){ .oid = oid, .tid = TID_MAX };
	start(t, run_load);
}

static inline void start_call(struct caller *t, const char *method)
{
	*t = (struct caller){ .method = method };
	start(t, run_call);
}

static inline void finish(struct caller *t, int rc)
{
	pthread_join(t->thread, NULL);
	if (t->rc != rc)
		fail_msg("%s: %s, expected %s", err_name(t->rc), t->err.text, err_name(rc));
}

static inline void finish_load(struct caller *t, const char *data, uint64_t serial)
{
	finish(t, OK);
	assert_true(slice_is(t->record.data, data));
	assert_int_equal(t->record.serial, serial);
	client_record_end(&t->record);
}

static inline void *fixed_room(void *arg, size_t len)
{
	return len <= 100 ? arg : NULL;
}

/* The serial of what the cache has as current; 0: nothing */
static inline uint64_t cached(uint64_t oid)
{
	char room[100];
	uint64_t serial, end_tid;

	if (client_cached(f.c, oid, TID_MAX, fixed_room, room, &serial, &end_tid) != OK)
		return 0;
	return serial;
}

static inline uint64_t expect_load(uint64_t oid)
{
	const struct message *m = script_expect(&f.s, "loadBefore");

	assert_int_equal(m->n_args, 2);
	assert_int_equal(get_be64(m->args[0].s.data), oid);
	return script_id(&f.s);
}

#define TEST(t) cmocka_unit_test_setup_teardown(t, setup, teardown)

#endif
