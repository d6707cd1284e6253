#include "net/minder.h"

#include <errno.h>
#include <poll.h>
#include <sys/epoll.h>
#include <sys/timerfd.h>
#include <unistd.h>

#include "base/check.h"

enum {
	NO_TIMER_NS = 1,
	TURNS_BEFORE = 8, /* an errand: a loop that always wants another one is not waited for */
};

/* Watch the loop for one event, or not. */
static void watch_loop(struct minder *m, bool on)
{
	struct epoll_event ev = { .events = on ? EPOLLIN | EPOLLONESHOT : 0, .data.ptr = m };
	int rc = epoll_ctl(m->epoll, EPOLL_CTL_MOD, uv_backend_fd(&m->loop->uv), &ev);

	CHECK(rc == 0);
}

static void set_timer(struct minder *m, long ns)
{
	struct itimerspec when = { .it_value.tv_nsec = ns };

	timerfd_settime(m->timer, 0, &when, NULL);
}

/* Whoever is AWAY has one that runs: one who finds it running has gone before it is stopped, and is seen then. */
static void start_timer(struct minder *m)
{
	if (!atomic_exchange(&m->timer_runs, true))
		set_timer(m, MINDER_LOOK_MS * 1000000L);
}

static bool changes(struct minder *m, enum minder_place from, enum minder_place to)
{
	int was = from;

	return atomic_compare_exchange_strong(&m->place, &was, to);
}

/* --- who runs the loop --- */

static bool take(struct errand_taker *t, struct errand *er)
{
	struct minder *m = CONTAINER_OF(t, struct minder, taker);

	if (m->errand || atomic_load(&m->place) != MINDER_HOME ||
		uv_now(&m->loop->uv) < m->rest_until_ms)
		return false;
	m->errand = er;
	uv_stop(&m->loop->uv); /* after this turn */
	return true;
}

static struct errand *next_errand(struct minder *m)
{
	struct errand *er = m->errand;

	m->errand = NULL;
	return er;
}

static void run_errand(struct minder *m, struct errand *er)
{
	errand_set_taker(NULL);
	er->run(er);
	errand_set_taker(&m->taker);
}

/* False: the loop is another thread's now. What the errand has to tell the loop is told when that is decided. */
static bool go(struct minder *m)
{
	struct errand *er = next_errand(m); /* while the loop is this thread's */
	bool is_mine;

	loop_hold_wakes();
	atomic_fetch_add(&m->n_errands, 1);
	atomic_store(&m->place, MINDER_AWAY);
	watch_loop(m, true);
	start_timer(m);
	run_errand(m, er);
	watch_loop(m, false);
	is_mine = changes(m, MINDER_AWAY, MINDER_HOME);
	loop_release_wakes();
	if (is_mine && ++m->n_well >= MINDER_GONE_WELL)
		m->rest_ms = 0;
	return is_mine;
}

/* Has libuv something to do at once? It also tells the kernel at a turn's beginning only what it waits for: until then
 * nobody would see that something has happened. */
static bool wants_turn(const struct minder *m)
{
	return uv_backend_timeout(&m->loop->uv) == 0;
}

/* Until the loop ends, or another thread has taken it over. */
static void run_loop(struct minder *m)
{
	bool is_mine = true;

	errand_set_taker(&m->taker);
	while (is_mine) {
		bool alive = uv_run(&m->loop->uv, UV_RUN_DEFAULT);

		for (int i = 0; alive && m->errand && i < TURNS_BEFORE && wants_turn(m); i++)
			alive = uv_run(&m->loop->uv, UV_RUN_NOWAIT);
		if (m->errand && alive)
			is_mine = go(m);
		else if (m->errand)
			run_errand(m, next_errand(m));
		if (!alive) {
			atomic_store(&m->place, MINDER_ENDED);
			set_timer(m, NO_TIMER_NS); /* wakes who watches */
			is_mine = false;
		}
	}
	errand_set_taker(NULL);
}

/* --- who watches --- */

/* The time is over. True: who is away was already, on the same errand, when it was over before. */
static bool is_long(struct minder *m, unsigned *seen)
{
	unsigned before = *seen;
	uint64_t n;

	if (read(m->timer, &n, sizeof(n)) < 0)
		return false;
	atomic_store(&m->timer_runs, false);
	if (atomic_load(&m->place) != MINDER_AWAY)
		return false;
	*seen = atomic_load(&m->n_errands);
	start_timer(m);
	return *seen == before;
}

/* The errand at hand was of no use. */
static void rest(struct minder *m)
{
	unsigned ms = m->rest_ms ? 2 * m->rest_ms : MINDER_REST_MS;

	m->rest_ms = ms < MINDER_REST_MAX_MS ? ms : MINDER_REST_MAX_MS;
	m->n_well = 0;
	uv_update_time(&m->loop->uv);
	m->rest_until_ms = uv_now(&m->loop->uv) + m->rest_ms;
}

/* Of this errand: what woke this thread may have been seen to meanwhile. */
static bool has_event(const struct minder *m)
{
	struct pollfd p = { .fd = uv_backend_fd(&m->loop->uv), .events = POLLIN };

	return poll(&p, 1, 0) > 0;
}

/* Until the loop is this thread's, or has ended: then false. */
static bool watch(struct minder *m)
{
	unsigned seen = atomic_load(&m->n_errands) - 1;

	changes(m, MINDER_TAKEN, MINDER_HOME); /* who runs it may go */
	while (atomic_load(&m->place) != MINDER_ENDED) {
		struct epoll_event ev;
		int n = epoll_wait(m->epoll, &ev, 1, -1);

		if (n <= 0 || !(ev.data.ptr ? has_event(m) : is_long(m, &seen)))
			continue;
		if (changes(m, MINDER_AWAY, MINDER_TAKEN)) {
			watch_loop(m, false);
			rest(m);
			return true;
		}
	}
	return false;
}

/* --- */

static void *run_second(void *arg)
{
	struct minder *m = arg;

	while (watch(m))
		run_loop(m);
	return NULL;
}

static void run_first(struct loop *l)
{
	struct minder *m = l->run_ctx;

	do
		run_loop(m);
	while (watch(m));
}

static int open_epoll(struct minder *m, struct err *e)
{
	struct epoll_event loop = { .events = 0, .data.ptr = m };
	struct epoll_event timer = { .events = EPOLLIN, .data.ptr = NULL };

	m->epoll = epoll_create1(EPOLL_CLOEXEC);
	m->timer = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK);
	if (m->epoll < 0 || m->timer < 0 ||
		epoll_ctl(m->epoll, EPOLL_CTL_ADD, uv_backend_fd(&m->loop->uv), &loop) < 0 ||
		epoll_ctl(m->epoll, EPOLL_CTL_ADD, m->timer, &timer) < 0)
		return err_sys(e, errno, "an event loop cannot be watched by another thread");
	return OK;
}

static void close_all(struct minder *m)
{
	if (m->epoll >= 0)
		close(m->epoll);
	if (m->timer >= 0)
		close(m->timer);
}

int minder_start(struct minder *m, struct loop *l, struct err *e)
{
	int rc;

	*m = (struct minder){ .loop = l, .epoll = -1, .timer = -1, .taker.take = take };
	rc = open_epoll(m, e);
	if (rc == OK) {
		int failure = pthread_create(&m->thread, NULL, run_second, m);

		if (failure)
			rc = err_sys(e, failure, "cannot start a thread for an event loop");
	}
	if (rc != OK) {
		close_all(m);
		return rc;
	}
	pthread_setname_np(m->thread, "worker 0 too");
	l->run = run_first;
	l->run_ctx = m;
	m->started = true;
	return OK;
}

void minder_stop(struct minder *m)
{
	if (!m->started)
		return;
	atomic_store(&m->place, MINDER_ENDED);
	set_timer(m, NO_TIMER_NS);
	pthread_join(m->thread, NULL);
	close_all(m);
}
