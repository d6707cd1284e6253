/* Loops that share a thread: who runs them when, and that nothing gets lost when that changes. */
#include "cmocka_all.h"

#include <semaphore.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "base/compiler.h"
#include "net/crew.h"

enum {
	TRIES = 200,
	LONG = 4 * CREW_TURN_MAX,
	WAIT_S = 20,
};

/* A loop with a client, and a timer. */
struct side {
	struct loop loop;
	struct crew_seat seat;
	uv_check_t check;
	uv_poll_t client, second;
	uv_timer_t timer;
	uv_idle_t endless;
	int fds[2], second_fds[2];
	atomic_uint work; /* of each of its turns */
	atomic_bool idle; /* after it */
	bool starts_second, changes_second, second_on;
	struct job end, start_endless, start_timer, stop_timer;
	_Atomic(pthread_t) ran_on;
	sem_t answered, stopped;
};

static struct crew crew;
static struct side host, guest;

static void answer(struct side *s)
{
	atomic_store(&s->ran_on, pthread_self());
	sem_post(&s->answered);
}

static void wait_for(sem_t *what)
{
	struct timespec until;

	clock_gettime(CLOCK_REALTIME, &until);
	until.tv_sec += WAIT_S;
	assert_int_equal(sem_timedwait(what, &until), 0);
}

static void on_second(uv_poll_t *p, int status, int events)
{
	struct side *s = p->data;
	char c;

	(void)status, (void)events;
	if (read(s->second_fds[0], &c, 1) == 1)
		answer(s);
}

static void on_client(uv_poll_t *p, int status, int events)
{
	struct side *s = p->data;
	char c;

	(void)status, (void)events;
	if (read(s->fds[0], &c, 1) != 1)
		return;
	if (s->starts_second)
		uv_poll_start(&s->second, UV_READABLE, on_second);
	if (s->changes_second) {
		s->second_on = !s->second_on;
		if (s->second_on)
			uv_poll_start(&s->second, UV_READABLE, on_second);
		else
			uv_poll_stop(&s->second);
	}
	answer(s);
}

static void on_timer(uv_timer_t *t)
{
	answer(t->data);
}

static void on_endless(uv_idle_t *i)
{
	(void)i;
}

static void on_check(uv_check_t *c)
{
	struct side *s = c->data;

	crew_turn(&s->seat, atomic_load(&s->work), atomic_load(&s->idle));
}

static void on_wake(struct loop *l)
{
	(void)l;
}

static void close_handles(struct side *s)
{
	crew_leave(&s->seat);
	uv_close((uv_handle_t *)&s->check, NULL);
	uv_close((uv_handle_t *)&s->client, NULL);
	uv_close((uv_handle_t *)&s->second, NULL);
	uv_close((uv_handle_t *)&s->timer, NULL);
	uv_close((uv_handle_t *)&s->endless, NULL);
}

static void run_end(struct job *j)
{
	struct side *s = CONTAINER_OF(j, struct side, end);

	close_handles(s);
	loop_finish(&s->loop);
}

static void run_endless(struct job *j)
{
	struct side *s = CONTAINER_OF(j, struct side, start_endless);

	uv_idle_start(&s->endless, on_endless);
}

static void run_start_timer(struct job *j)
{
	struct side *s = CONTAINER_OF(j, struct side, start_timer);

	uv_timer_start(&s->timer, on_timer, CREW_LOOK_MS, CREW_LOOK_MS);
}

static void run_stop_timer(struct job *j)
{
	struct side *s = CONTAINER_OF(j, struct side, stop_timer);

	uv_timer_stop(&s->timer);
	while (sem_trywait(&s->answered) == 0)
		;
	sem_post(&s->stopped);
}

static void open_side(struct side *s)
{
	struct err e = ERR_INIT;

	memset(s, 0, sizeof(*s));
	assert_int_equal(loop_init(&s->loop, on_wake, &e), OK);
	assert_int_equal(crew_join(&crew, &s->seat, &s->loop, &e), OK);
	assert_int_equal(pipe(s->fds), 0);
	assert_int_equal(pipe(s->second_fds), 0);
	sem_init(&s->answered, 0, 0);
	sem_init(&s->stopped, 0, 0);
	uv_check_init(&s->loop.uv, &s->check);
	uv_check_start(&s->check, on_check);
	uv_poll_init(&s->loop.uv, &s->client, s->fds[0]);
	uv_poll_init(&s->loop.uv, &s->second, s->second_fds[0]);
	uv_poll_start(&s->client, UV_READABLE, on_client);
	uv_timer_init(&s->loop.uv, &s->timer);
	uv_idle_init(&s->loop.uv, &s->endless);
	s->check.data = s->client.data = s->second.data = s->timer.data = s;
	s->end.done = run_end;
	s->start_endless.done = run_endless;
	s->start_timer.done = run_start_timer;
	s->stop_timer.done = run_stop_timer;
}

static int setup(void **state)
{
	(void)state;
	crew_init(&crew);
	crew.cpus = 2; /* none to spare for a second busy loop */
	open_side(&host);
	open_side(&guest);
	return 0;
}

static void close_side(struct side *s)
{
	loop_fini(&s->loop);
	for (int i = 0; i < 2; i++) {
		close(s->fds[i]);
		close(s->second_fds[i]);
	}
	sem_destroy(&s->answered);
	sem_destroy(&s->stopped);
}

static int teardown(void **state)
{
	(void)state;
	close_side(&host);
	close_side(&guest);
	crew_fini(&crew);
	return 0;
}

static void start(void)
{
	struct err e = ERR_INIT;

	assert_int_equal(loop_start(&host.loop, "host", &e), OK);
	assert_int_equal(loop_start(&guest.loop, "guest", &e), OK);
}

static void end(struct side *s)
{
	s->loop.exec.post(&s->loop.exec, &s->end);
	loop_join(&s->loop);
}

static void poke(struct side *s, int fd)
{
	assert_int_equal(write(fd, "x", 1), 1);
	wait_for(&s->answered);
}

static bool is_hosted(void)
{
	poke(&guest, guest.fds[1]);
	return pthread_equal(guest.ran_on, host.loop.thread);
}

static void until_hosted(bool hosted)
{
	time_t end = time(NULL) + WAIT_S;

	while (is_hosted() != hosted)
		assert_true(time(NULL) < end);
}

/* With a turn now and then, and no other work. */
static void until_back(void)
{
	time_t end = time(NULL) + WAIT_S;

	guest.loop.exec.post(&guest.loop.exec, &guest.start_timer);
	do {
		assert_true(time(NULL) < end);
		wait_for(&guest.answered);
	} while (!pthread_equal(guest.ran_on, host.loop.thread));
	guest.loop.exec.post(&guest.loop.exec, &guest.stop_timer);
	wait_for(&guest.stopped);
}

static void test_shares(void **state)
{
	(void)state;
	start();
	until_hosted(true);
	for (int i = 0; i < TRIES; i++)
		assert_true(is_hosted());
	poke(&host, host.fds[1]);
	assert_true(pthread_equal(host.ran_on, host.loop.thread));
	end(&guest);
	end(&host);
}

static void test_goes_and_comes(void **state)
{
	(void)state;
	start();
	until_hosted(true);
	for (int round = 0; round < 3; round++) {
		atomic_store(&host.work, LONG);
		atomic_store(&guest.work, LONG);
		until_hosted(false);
		assert_true(pthread_equal(guest.ran_on, guest.loop.thread));
		atomic_store(&host.work, 0);
		atomic_store(&guest.work, 0);
		until_back();
	}
	end(&guest);
	end(&host);
}

/* Who has nobody to serve comes back at once, however busy the host was. */
static void test_idle(void **state)
{
	(void)state;
	start();
	until_hosted(true);
	atomic_store(&host.work, LONG);
	atomic_store(&guest.work, LONG);
	until_hosted(false);
	atomic_store(&guest.idle, true);
	poke(&guest, guest.fds[1]);
	until_hosted(true);
	end(&guest);
	end(&host);
}

/* Work of the host alone keeps nobody waiting. */
static void test_alone(void **state)
{
	(void)state;
	start();
	until_hosted(true);
	atomic_store(&host.work, LONG);
	for (int i = 0; i < TRIES; i++)
		poke(&host, host.fds[1]);
	assert_true(is_hosted());
	end(&guest);
	end(&host);
}

/* Nor does that of a guest alone, who may have several turns in one of the host's. */
static void test_guest_alone(void **state)
{
	(void)state;
	guest.changes_second = true;
	start();
	until_hosted(true);
	atomic_store(&guest.work, LONG);
	for (int i = 0; i < TRIES; i++)
		assert_true(is_hosted());
	end(&guest);
	end(&host);
}

/* What a callback begins to wait for is seen, though its turn is over. */
static void test_new_watch(void **state)
{
	(void)state;
	guest.starts_second = true;
	start();
	until_hosted(true);
	poke(&guest, guest.second_fds[1]);
	assert_true(pthread_equal(guest.ran_on, host.loop.thread));
	end(&guest);
	end(&host);
}

static void test_timer(void **state)
{
	(void)state;
	uv_timer_start(&guest.timer, on_timer, 5, 5);
	start();
	do
		wait_for(&guest.answered);
	while (!pthread_equal(guest.ran_on, host.loop.thread));
	for (int i = 0; i < 20; i++) {
		wait_for(&guest.answered);
		assert_true(pthread_equal(guest.ran_on, host.loop.thread));
	}
	end(&host);
	for (int i = 0; i < 5; i++)
		wait_for(&guest.answered);
	end(&guest);
}

/* A guest that always has something to do is not all that the host does. */
static void test_endless_guest(void **state)
{
	(void)state;
	start();
	until_hosted(true);
	guest.loop.exec.post(&guest.loop.exec, &guest.start_endless);
	for (int i = 0; i < TRIES; i++) {
		poke(&host, host.fds[1]);
		assert_true(is_hosted());
	}
	end(&guest);
	end(&host);
}

static void test_host_ends_first(void **state)
{
	(void)state;
	start();
	until_hosted(true);
	end(&host);
	assert_false(is_hosted());
	end(&guest);
}

/* While the guest may be on its way back. */
static void test_ends_at_once(void **state)
{
	(void)state;
	start();
	end(&host);
	poke(&guest, guest.fds[1]);
	assert_true(pthread_equal(guest.ran_on, guest.loop.thread));
	end(&guest);
}

static void test_processors_to_spare(void **state)
{
	(void)state;
	crew.cpus = 64;
	atomic_store(&guest.work, 1);
	start();
	until_hosted(true);
	host.loop.exec.post(&host.loop.exec, &host.start_endless); /* a busy thread */
	until_hosted(false);
	end(&guest);
	end(&host);
}

/* Turns are long, but the threads together use less than a processor. */
static void go_and_want_back(unsigned cpus)
{
	crew.cpus = cpus;
	start();
	until_hosted(true);
	atomic_store(&host.work, LONG);
	atomic_store(&guest.work, LONG);
	do {
		until_hosted(false);
		atomic_store(&crew.busy_until_ms, UINT64_MAX); /* not for having nothing to do */
	} while (is_hosted());                                 /* which it was on its way for */
	atomic_store(&host.work, 0);
	atomic_store(&guest.work, 0);
}

static void test_one_is_enough(void **state)
{
	(void)state;
	go_and_want_back(2);
	until_back();
	end(&guest);
	end(&host);
	assert_int_equal(crew.rest_ms, CREW_REST_MS);
}

/* Where there are processors, one thread would do as well, and two serve sooner. */
static void test_processors_for_all(void **state)
{
	(void)state;
	go_and_want_back(3);
	guest.loop.exec.post(&guest.loop.exec, &guest.start_timer);
	for (int i = 0; i < 4 * CREW_ENOUGH; i++) {
		wait_for(&guest.answered);
		assert_true(pthread_equal(guest.ran_on, guest.loop.thread));
	}
	end(&guest);
	end(&host);
	assert_int_equal(crew.rest_ms, 0);
}

static void test_rests(void **state)
{
	(void)state;
	crew.rest_until_ms = UINT64_MAX;
	start();
	until_hosted(true);
	atomic_store(&host.work, LONG);
	atomic_store(&guest.work, LONG);
	for (int i = 0; i < TRIES; i++) {
		assert_true(is_hosted());
		poke(&host, host.fds[1]);
	}
	end(&guest);
	end(&host);
}

static void come_back(unsigned n_looks)
{
	guest.seat.place = CREW_RETURNING;
	guest.seat.n_enough = CREW_ENOUGH;
	guest.seat.n_looks = n_looks;
	guest.seat.back.done(&guest.seat.back);
}

static void test_how_long_it_rests(void **state)
{
	(void)state;
	uv_update_time(&host.loop.uv);
	for (unsigned ms = CREW_REST_MS; ms <= CREW_REST_MAX_MS; ms *= 2) {
		come_back(CREW_ENOUGH);
		assert_int_equal(crew.rest_ms, ms);
		assert_int_equal(crew.rest_until_ms, uv_now(&host.loop.uv) + ms);
		come_back(CREW_ENOUGH); /* another one */
		assert_int_equal(crew.rest_ms, ms);
		crew.rest_until_ms = uv_now(&host.loop.uv); /* it is over */
	}
	come_back(CREW_ENOUGH);
	assert_int_equal(crew.rest_ms, CREW_REST_MAX_MS);
	crew.rest_until_ms = uv_now(&host.loop.uv);
	come_back(CREW_WELL);
	assert_int_equal(crew.rest_ms, CREW_REST_MS);
	crew.rest_until_ms = uv_now(&host.loop.uv);
	come_back(CREW_ENOUGH);
	assert_int_equal(crew.rest_ms, 2 * CREW_REST_MS);
	crew.rest_until_ms = uv_now(&host.loop.uv) - CREW_FORGET_MS - 1;
	come_back(CREW_ENOUGH);
	assert_int_equal(crew.rest_ms, CREW_REST_MS);
	close_handles(&host);
	close_handles(&guest);
}

static void test_a_rest_ends(void **state)
{
	(void)state;
	uv_update_time(&host.loop.uv);
	crew.rest_until_ms = uv_now(&host.loop.uv) + CREW_REST_MS;
	start();
	atomic_store(&host.work, LONG);
	atomic_store(&guest.work, LONG);
	until_hosted(true);
	until_hosted(false);
	end(&guest);
	end(&host);
}

/* The CPU time of one thread says nothing about another's, on which the host was when it looked before. */
static void test_other_thread(void **state)
{
	(void)state;
	crew.cpu_us = UINT64_MAX / 8;
	uv_update_time(&host.loop.uv);
	crew_turn(&host.seat, 0, false);
	close_handles(&host);
	close_handles(&guest);
	assert_true(crew.looked_ms > 0);
	assert_int_equal(atomic_load(&crew.busy_until_ms), 0);
}

static void test_never_started(void **state)
{
	(void)state;
	close_handles(&host);
	close_handles(&guest);
}

#define SIDES(t) cmocka_unit_test_setup_teardown(t, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		SIDES(test_shares),
		SIDES(test_goes_and_comes),
		SIDES(test_idle),
		SIDES(test_alone),
		SIDES(test_guest_alone),
		SIDES(test_new_watch),
		SIDES(test_timer),
		SIDES(test_endless_guest),
		SIDES(test_host_ends_first),
		SIDES(test_ends_at_once),
		SIDES(test_processors_to_spare),
		SIDES(test_one_is_enough),
		SIDES(test_processors_for_all),
		SIDES(test_rests),
		SIDES(test_how_long_it_rests),
		SIDES(test_a_rest_ends),
		SIDES(test_other_thread),
		SIDES(test_never_started),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
