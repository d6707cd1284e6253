/* Errands of a loop's thread: who runs what when, and that nothing that happens to the loop waits for them. */
#include "cmocka_all.h"

#include <poll.h>
#include <sched.h>
#include <semaphore.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/timerfd.h>
#include <time.h>
#include <unistd.h>

#include "base/compiler.h"
#include "net/minder.h"

enum {
	WAIT_S = 20,
	TIMES = 2000,
};

/* What a client can ask for, a byte each. */
enum {
	HELLO = 'h',
	GO = 'g',       /* leave an errand */
	GO_TWICE = 't', /* and another one in the same turn */
	GO_END = 'e',   /* leave one, and end */
};

static struct loop loop;
static struct minder minder;
static uv_poll_t client, second_client;
static uv_timer_t timer;
static uv_idle_t endless;
static int fds[2], second_fds[2];
static sem_t answered;
static bool taken, taken_twice;
static uint64_t asked_ms;
static pthread_t answered_on;

static struct errand errand, second;
static sem_t gone, may_return; /* of an errand */
static atomic_bool waits, tells;
static atomic_bool wanted_turn; /* when it went */
static void on_told(struct job *j);
static struct job told_job = { .done = on_told }; /* by the errand to the loop */
static sem_t told;
static pthread_t told_on;
static pthread_t gone_on;
static atomic_uint n_gone;

static void wait_for(sem_t *what)
{
	struct timespec until;

	clock_gettime(CLOCK_REALTIME, &until);
	until.tv_sec += WAIT_S;
	assert_int_equal(sem_timedwait(what, &until), 0);
}

static void run_errand(struct errand *er)
{
	(void)er;
	gone_on = pthread_self();
	atomic_fetch_add(&n_gone, 1);
	if (!atomic_load(&wanted_turn)) /* nobody else is at the loop yet */
		atomic_store(&wanted_turn, uv_backend_timeout(&loop.uv) == 0);
	if (atomic_load(&tells))
		loop.exec.post(&loop.exec, &told_job);
	sem_post(&gone);
	while (atomic_load(&waits) && sem_wait(&may_return) != 0)
		;
}

static void on_told(struct job *j)
{
	(void)j;
	told_on = pthread_self();
	sem_post(&told);
}

static void answer(void)
{
	answered_on = pthread_self();
	sem_post(&answered);
}

static void close_handles(void)
{
	uv_close((uv_handle_t *)&client, NULL);
	uv_close((uv_handle_t *)&second_client, NULL);
	uv_close((uv_handle_t *)&timer, NULL);
	uv_close((uv_handle_t *)&endless, NULL);
	loop_finish(&loop);
}

static void on_client(uv_poll_t *p, int status, int events)
{
	char c;

	(void)p, (void)status, (void)events;
	if (read(fds[0], &c, 1) != 1)
		return;
	asked_ms = uv_now(&loop.uv);
	if (c != HELLO)
		taken = errand_leave(&errand);
	if (c == GO_TWICE)
		taken_twice = errand_leave(&second);
	if (c == GO_END)
		close_handles();
	answer();
}

static void on_timer(uv_timer_t *t)
{
	(void)t;
	answer();
}

static void on_wake(struct loop *l)
{
	(void)l;
}

static int setup(void **state)
{
	struct err e = ERR_INIT;

	(void)state;
	memset(&minder, 0, sizeof(minder));
	atomic_store(&waits, false);
	atomic_store(&tells, false);
	atomic_store(&wanted_turn, false);
	atomic_store(&n_gone, 0);
	sem_init(&told, 0, 0);
	errand.run = second.run = run_errand;
	sem_init(&answered, 0, 0);
	sem_init(&gone, 0, 0);
	sem_init(&may_return, 0, 0);
	assert_int_equal(pipe(fds), 0);
	assert_int_equal(pipe(second_fds), 0);
	assert_int_equal(loop_init(&loop, on_wake, &e), OK);
	assert_int_equal(minder_start(&minder, &loop, &e), OK);
	uv_poll_init(&loop.uv, &client, fds[0]);
	uv_poll_start(&client, UV_READABLE, on_client);
	uv_poll_init(&loop.uv, &second_client, second_fds[0]);
	uv_timer_init(&loop.uv, &timer);
	uv_idle_init(&loop.uv, &endless);
	return 0;
}

static void run_end(struct job *j)
{
	(void)j;
	close_handles();
}

static void end(void)
{
	struct job j = { .done = run_end };

	loop.exec.post(&loop.exec, &j);
	loop_join(&loop);
}

static int teardown(void **state)
{
	(void)state;
	if (loop.started && atomic_load(&minder.place) != MINDER_ENDED) { /* a test has failed */
		sem_post(&may_return);
		end();
	}
	minder_stop(&minder);
	loop_fini(&loop);
	close(fds[0]);
	close(fds[1]);
	close(second_fds[0]);
	close(second_fds[1]);
	sem_destroy(&answered);
	sem_destroy(&told);
	sem_destroy(&gone);
	sem_destroy(&may_return);
	return 0;
}

static void start(void)
{
	struct err e = ERR_INIT;

	assert_int_equal(loop_start(&loop, "loop", &e), OK);
}

static void ask(char what)
{
	assert_int_equal(write(fds[1], &what, 1), 1);
	wait_for(&answered);
}

/* Until an errand is taken: it is not while the loop rests. */
static void go(void)
{
	time_t end = time(NULL) + WAIT_S;

	do {
		assert_true(time(NULL) < end);
		ask(GO);
	} while (!taken);
	wait_for(&gone);
}

static void until(enum minder_place place)
{
	time_t end = time(NULL) + WAIT_S;

	while (atomic_load(&minder.place) != (int)place) {
		assert_true(time(NULL) < end);
		sched_yield();
	}
}

/* An errand that nothing happens in. */
static void go_and_return(void)
{
	go();
	until(MINDER_HOME);
}

/* An errand that something happens in. Ends with the other thread running the loop. */
static void disturb(void)
{
	const struct itimerspec never = { .it_value.tv_sec = 0 };
	pthread_t was;

	atomic_store(&waits, true);
	go();
	timerfd_settime(minder.timer, 0, &never, NULL); /* which would do it as well, but late */
	was = answered_on;
	assert_true(pthread_equal(gone_on, was));
	ask(HELLO);
	assert_false(pthread_equal(answered_on, was));
	sem_post(&may_return);
}

/* Where it was left, and the loop is there again afterwards. */
static void test_goes_and_returns(void **state)
{
	(void)state;
	start();
	for (unsigned i = 0; i < TIMES; i++) {
		go_and_return();
		assert_true(pthread_equal(gone_on, loop.thread));
	}
	ask(HELLO);
	assert_true(pthread_equal(answered_on, loop.thread));
	assert_int_equal(atomic_load(&n_gone), TIMES);
	end();
}

/* What an errand has to tell its loop is no reason to take that over. */
static void test_tells(void **state)
{
	(void)state;
	start();
	atomic_store(&tells, true);
	for (unsigned i = 0; i < TIMES; i++) {
		go_and_return();
		wait_for(&told);
		assert_true(pthread_equal(told_on, loop.thread));
	}
	assert_int_equal(minder.rest_ms, 0);
	end();
}

/* But it is told, when somebody else has taken it over. */
static void test_tells_after_all(void **state)
{
	(void)state;
	start();
	atomic_store(&tells, true);
	disturb();
	wait_for(&told);
	assert_false(pthread_equal(told_on, loop.thread));
	end();
}

static void test_is_minded(void **state)
{
	(void)state;
	start();
	disturb();
	ask(HELLO); /* it stays with who has taken it over */
	assert_false(pthread_equal(answered_on, loop.thread));
	disturb();
	assert_true(pthread_equal(answered_on, loop.thread));
	end();
}

/* With one away, the other one is not to go, too: nobody would mind the loop. */
static void test_one_away(void **state)
{
	struct timespec rest = { .tv_nsec = 2 * MINDER_REST_MS * 1000000L };

	(void)state;
	start();
	atomic_store(&waits, true);
	go();
	ask(GO);
	assert_false(taken);
	nanosleep(&rest, NULL);
	ask(GO);
	assert_false(taken);
	sem_post(&may_return);
	atomic_store(&waits, false);
	go();
	end();
}

static void test_one_a_turn(void **state)
{
	(void)state;
	start();
	ask(GO_TWICE);
	assert_true(taken);
	assert_false(taken_twice);
	wait_for(&gone);
	end();
}

static void test_other_threads(void **state)
{
	(void)state;
	start();
	assert_false(errand_leave(&errand));
	end();
	assert_int_equal(atomic_load(&n_gone), 0);
}

/* Who was disturbed rests, longer each time, until many went well. */
static void test_rests(void **state)
{
	(void)state;
	start();
	disturb();
	assert_int_equal(minder.rest_ms, MINDER_REST_MS);
	ask(GO);
	assert_true(!taken || asked_ms >= minder.rest_until_ms);
	disturb();
	assert_int_equal(minder.rest_ms, 2 * MINDER_REST_MS);
	atomic_store(&waits, false);
	for (unsigned i = 0; i < MINDER_GONE_WELL; i++)
		go_and_return();
	ask(HELLO);
	assert_int_equal(minder.rest_ms, 0);
	end();
}

/* The watching thread is woken, and has seen that. */
static void wake_watch(int fd)
{
	struct epoll_event ev = { .events = EPOLLIN | EPOLLONESHOT, .data.ptr = &minder };
	struct pollfd p = { .fd = minder.epoll, .events = POLLIN };
	time_t end = time(NULL) + WAIT_S;

	assert_int_equal(epoll_ctl(minder.epoll, EPOLL_CTL_MOD, fd, &ev), 0);
	while (poll(&p, 1, 0) > 0) {
		assert_true(time(NULL) < end);
		sched_yield();
	}
}

/* Who was woken for what has been seen to already, in an errand of before, takes nothing over. */
static void test_stale_event(void **state)
{
	struct epoll_event none = { .events = 0 };
	int fd = eventfd(1, 0);

	(void)state;
	assert_int_equal(epoll_ctl(minder.epoll, EPOLL_CTL_ADD, fd, &none), 0);
	atomic_store(&minder.timer_runs,
		true); /* it is not started, as the time would be a reason, too */
	start();
	atomic_store(&waits, true);
	go();
	wake_watch(fd);
	wake_watch(fd); /* it watches again: the first one is seen to */
	assert_int_equal(atomic_load(&minder.place), MINDER_AWAY);
	sem_post(&may_return);
	until(MINDER_HOME);
	ask(HELLO);
	assert_true(pthread_equal(answered_on, loop.thread));
	end();
	close(fd);
}

static void on_second(uv_poll_t *p, int status, int events)
{
	char c;

	(void)p, (void)status, (void)events;
	if (read(second_fds[0], &c, 1) == 1)
		answer();
}

static void start_second(struct job *j)
{
	(void)j;
	uv_poll_start(&second_client, UV_READABLE, on_second);
	taken = errand_leave(&errand);
}

/* What the loop has begun to wait for in the very turn is seen. */
static void test_new_watch(void **state)
{
	static struct job j = { .done = start_second };

	(void)state;
	start();
	atomic_store(&waits, true);
	loop.exec.post(&loop.exec, &j);
	wait_for(&gone);
	assert_true(taken);
	assert_false(atomic_load(&wanted_turn));
	assert_int_equal(write(second_fds[1], "x", 1), 1);
	wait_for(&answered);
	sem_post(&may_return);
	end();
}

static void start_timer(struct job *j)
{
	(void)j;
	uv_timer_start(&timer, on_timer, MINDER_LOOK_MS, 0);
	taken = errand_leave(&errand);
}

/* The loop's timers go on, though nothing else happens. */
static void test_timer(void **state)
{
	static struct job j = { .done = start_timer };

	(void)state;
	start();
	atomic_store(&waits, true);
	loop.exec.post(&loop.exec, &j);
	wait_for(&gone);
	wait_for(&answered);
	assert_true(taken);
	assert_false(pthread_equal(answered_on, gone_on));
	sem_post(&may_return);
	end();
}

static void on_endless(uv_idle_t *i)
{
	(void)i;
}

static void start_endless(struct job *j)
{
	(void)j;
	uv_idle_start(&endless, on_endless);
	taken = errand_leave(&errand);
}

/* An errand is gone on though the loop always wants another turn. */
static void test_endless_loop(void **state)
{
	static struct job j = { .done = start_endless };

	(void)state;
	start();
	loop.exec.post(&loop.exec, &j);
	wait_for(&gone);
	assert_true(taken);
	end();
}

static void test_ends_while_away(void **state)
{
	struct job j = { .done = run_end };

	(void)state;
	start();
	atomic_store(&waits, true);
	go();
	loop.exec.post(&loop.exec, &j);
	until(MINDER_ENDED);
	sem_post(&may_return);
	loop_join(&loop);
}

static void test_ends_after_swap(void **state)
{
	(void)state;
	start();
	disturb();
	end();
}

/* What was left is done, also when it was left in the loop's last turn. */
static void test_last_turn(void **state)
{
	(void)state;
	start();
	ask(GO_END);
	assert_true(taken);
	loop_join(&loop);
	assert_int_equal(atomic_load(&n_gone), 1);
}

static void test_never_started(void **state)
{
	(void)state;
	uv_close((uv_handle_t *)&client, NULL);
	uv_close((uv_handle_t *)&second_client, NULL);
	uv_close((uv_handle_t *)&timer, NULL);
	uv_close((uv_handle_t *)&endless, NULL);
}

static void *chat(void *arg)
{
	struct job *jobs = arg;

	for (int i = 0; i < TIMES; i++)
		loop.exec.post(&loop.exec, &jobs[i]);
	return NULL;
}

static atomic_uint n_said;

static void said(struct job *j)
{
	(void)j;
	atomic_fetch_add(&n_said, 1);
}

/* Errands, and somebody who speaks to the loop at any time. */
static void test_both_at_once(void **state)
{
	static struct job jobs[TIMES];
	pthread_t t;

	(void)state;
	atomic_store(&n_said, 0);
	for (int i = 0; i < TIMES; i++)
		jobs[i].done = said;
	start();
	assert_int_equal(pthread_create(&t, NULL, chat, jobs), 0);
	for (int i = 0; i < TIMES; i++) {
		ask(GO);
		if (taken)
			wait_for(&gone);
	}
	pthread_join(t, NULL);
	end();
	assert_int_equal(atomic_load(&n_said), TIMES);
	assert_true(atomic_load(&n_gone) > 0);
}

#define T(t) cmocka_unit_test_setup_teardown(t, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(test_goes_and_returns),
		T(test_tells),
		T(test_tells_after_all),
		T(test_new_watch),
		T(test_is_minded),
		T(test_one_away),
		T(test_one_a_turn),
		T(test_other_threads),
		T(test_rests),
		T(test_stale_event),
		T(test_timer),
		T(test_endless_loop),
		T(test_ends_while_away),
		T(test_ends_after_swap),
		T(test_last_turn),
		T(test_never_started),
		T(test_both_at_once),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
