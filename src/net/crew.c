#include "net/crew.h"

#include <errno.h>

#include "base/check.h"
#include "base/os.h"

enum {
	AVERAGE_OF = 16, /* turns */
};

void crew_init(struct crew *c)
{
	*c = (struct crew){ .closed = false };
	c->end = &c->seats;
	c->cpus = os_cpus();
	pthread_mutex_init(&c->lock, NULL);
}

static struct crew_seat *guests(struct crew *c)
{
	return c->seats ? c->seats->next : NULL;
}

void crew_fini(struct crew *c)
{
	for (struct crew_seat *g = guests(c); g; g = g->next)
		sem_destroy(&g->own);
	pthread_mutex_destroy(&c->lock);
}

static bool is_host(const struct crew_seat *s)
{
	return s == s->crew->seats;
}

/* --- hosted: on the host's thread --- */

/* With the crew's lock. */
static void let_go(struct crew_seat *g)
{
	uv_poll_stop(&g->poll);
	uv_timer_stop(&g->timer);
	uv_idle_stop(&g->again);
	g->place = CREW_OWN;
	sem_post(&g->own);
}

static void run_hosted(struct crew_seat *g);

static void on_guest(uv_poll_t *p, int status, int events)
{
	(void)events;
	CHECK(status >= 0); /* there is no error that a poll of an epoll could tell of */
	run_hosted(p->data);
}

static void on_guest_timer(uv_timer_t *t)
{
	run_hosted(t->data);
}

static void on_again(uv_idle_t *i)
{
	run_hosted(i->data);
}

/* One turn of the guest's. If it has to have another at once, as after each change of what it waits for, which libuv tells the
 * kernel of at a turn's start, it has that in the host's next one: the host's own clients are not to wait. */
static void run_hosted(struct crew_seat *g)
{
	int wait_ms;

	if (!uv_run(&g->loop->uv, UV_RUN_NOWAIT)) { /* its thread sees the same, and ends */
		pthread_mutex_lock(&g->crew->lock);
		let_go(g);
		pthread_mutex_unlock(&g->crew->lock);
		return;
	}
	wait_ms = uv_backend_timeout(&g->loop->uv);
	if (wait_ms == 0)
		uv_idle_start(&g->again, on_again);
	else
		uv_idle_stop(&g->again);
	if (wait_ms > 0)
		uv_timer_start(&g->timer, on_guest_timer, (uint64_t)wait_ms, 0);
	else
		uv_timer_stop(&g->timer);
}

/* It came back as one thread would have done; others that come back now belong to the same rest. */
static void rest(struct crew *c, const struct crew_seat *g)
{
	uint64_t now = uv_now(&c->seats->loop->uv);
	bool long_ago = now > c->rest_until_ms + CREW_FORGET_MS;
	unsigned ms = long_ago || g->n_looks >= CREW_WELL ? 0 : 2 * c->rest_ms;

	if (now < c->rest_until_ms)
		return;
	if (ms < CREW_REST_MS)
		ms = CREW_REST_MS;
	c->rest_ms = ms < CREW_REST_MAX_MS ? ms : CREW_REST_MAX_MS;
	c->rest_until_ms = now + c->rest_ms;
}

static void on_back(struct job *j)
{
	struct crew_seat *g = CONTAINER_OF(j, struct crew_seat, back);
	bool hosted;

	pthread_mutex_lock(&g->crew->lock);
	hosted = g->place == CREW_RETURNING; /* and not sent away again, as the host ends */
	if (hosted)
		g->place = CREW_HOSTED;
	pthread_mutex_unlock(&g->crew->lock);
	if (!hosted)
		return;
	if (g->n_enough >= CREW_ENOUGH)
		rest(g->crew, g);
	uv_poll_start(&g->poll, UV_READABLE, on_guest);
	run_hosted(g);
}

/* That one which had most to do lately. */
static void let_one_go(struct crew *c)
{
	struct crew_seat *most = NULL;

	pthread_mutex_lock(&c->lock);
	for (struct crew_seat *g = guests(c); g; g = g->next)
		if (g->place == CREW_HOSTED && g->lately > (most ? most->lately : 0))
			most = g;
	if (most)
		let_go(most);
	pthread_mutex_unlock(&c->lock);
}

static void set_busy(struct crew *c, uint64_t now)
{
	atomic_store_explicit(&c->busy_until_ms, now + 2 * CREW_LOOK_MS, memory_order_relaxed);
}

/* Long turns: each loop's clients wait for the others'. */
static bool is_long(struct crew *c, unsigned work, uint64_t now)
{
	const unsigned most = 2 * CREW_TURN_MAX; /* a single turn decides nothing */
	bool is_long;

	c->average += (work < most ? work : most) - c->average / AVERAGE_OF;
	if (c->average > AVERAGE_OF * CREW_TURN_MAX / 2)
		set_busy(c, now);
	is_long = c->average > AVERAGE_OF * CREW_TURN_MAX && now >= c->rest_until_ms;
	if (is_long)
		c->average = AVERAGE_OF * CREW_TURN_MAX /
			     2; /* to be seen anew without the one that goes */
	return is_long;
}

/* Of processors one and a half are free, as clients on this machine, or other programs, may need one. */
static bool has_spare(const struct crew *c, uint64_t used_us, uint64_t us)
{
	return used_us * 2 + 3 * us < 2 * us * c->cpus;
}

/* More than half of a processor is used by the host's thread, and others are free. */
static bool could_use_more(struct crew *c, uint64_t now)
{
	uint64_t us = (now - c->looked_ms) * 1000;
	uint64_t cpu, all, cpu_before, all_before;
	bool same_thread = pthread_equal(c->thread, pthread_self());

	if (now - c->looked_ms < CREW_LOOK_MS)
		return false;
	if (!c->n_shared)
		c->average = 0; /* what was long ago decides nothing */
	c->n_shared = 0;
	cpu_before = c->cpu_us;
	all_before = c->all_cpu_us;
	c->looked_ms = now;
	c->thread = pthread_self();
	c->cpu_us = cpu = os_thread_cpu_us();
	c->all_cpu_us = all = os_process_cpu_us();
	if (!same_thread)
		return false;
	if ((cpu - cpu_before) * 4 > us)
		set_busy(c, now);
	return (cpu - cpu_before) * 2 > us && has_spare(c, all - all_before, us);
}

static void host_turn(struct crew *c, unsigned work)
{
	uint64_t now = uv_now(&c->seats->loop->uv);
	unsigned n_loops = work > 0;

	for (struct crew_seat *g = guests(c); g; g = g->next) {
		n_loops += g->work > 0;
		work += g->work;
		g->lately += g->work;
		g->work = 0;
	}
	c->shared = n_loops > 1;
	c->n_shared += c->shared;
	if (guests(c) && ((c->shared && is_long(c, work, now)) || could_use_more(c, now)))
		let_one_go(c);
	for (struct crew_seat *g = guests(c); g && c->looked_ms == now; g = g->next)
		g->lately = 0;
}

/* --- on its own thread --- */

/* False: the host is no more. */
static bool go_back(struct crew_seat *g)
{
	struct crew *c = g->crew;
	bool may;

	pthread_mutex_lock(&c->lock);
	may = !c->closed;
	if (may) {
		g->place = CREW_RETURNING;
		c->seats->loop->exec.post(&c->seats->loop->exec, &g->back);
	}
	pthread_mutex_unlock(&c->lock);
	return may;
}

static void wait_for_turn(struct crew_seat *g)
{
	while (sem_wait(&g->own) != 0 && errno == EINTR)
		;
}

static void look(struct crew_seat *g)
{
	g->looked_ms = uv_now(&g->loop->uv);
	g->cpu_us = os_thread_cpu_us();
	g->all_cpu_us = os_process_cpu_us();
}

/* A guest's thread. */
static void run_guest(struct loop *l)
{
	struct crew_seat *g = l->run_ctx;

	do {
		if (go_back(g))
			wait_for_turn(g);
		uv_update_time(&l->uv);
		look(g);
		g->n_looks = g->n_enough = 0;
	} while (uv_run(&l->uv, UV_RUN_DEFAULT));
}

/* Several threads that together have not enough to do for one are slower than one: they sleep, wake each other for little at
 * a time, and take processors from the clients. With three processors there would be some to spare, and the host, if it is
 * busy, would send it away again. */
static bool one_is_enough(struct crew_seat *g, uint64_t all_us, uint64_t us)
{
	bool enough = all_us < us && !has_spare(g->crew, us, us);

	g->n_looks++;
	g->n_enough = enough ? g->n_enough + 1 : 0;
	return g->n_enough >= CREW_ENOUGH;
}

/* Next to nothing to do, and the host has time; or one thread would do. */
static bool wants_back(struct crew_seat *g)
{
	uint64_t now = uv_now(&g->loop->uv);
	uint64_t us = (now - g->looked_ms) * 1000;
	uint64_t cpu_before = g->cpu_us;
	uint64_t all_before = g->all_cpu_us;

	if (us < CREW_LOOK_MS * 1000)
		return false;
	look(g);
	if (one_is_enough(g, g->all_cpu_us - all_before, us))
		return true;
	return (g->cpu_us - cpu_before) * 8 < us &&
	       atomic_load_explicit(&g->crew->busy_until_ms, memory_order_relaxed) <= now;
}

/* --- */

int crew_join(struct crew *c, struct crew_seat *s, struct loop *l, struct err *e)
{
	*s = (struct crew_seat){ .crew = c, .loop = l, .place = CREW_OWN };
	if (c->seats) {
		uv_loop_t *host = &c->seats->loop->uv;
		int rc = uv_poll_init(host, &s->poll, uv_backend_fd(&l->uv));

		if (rc != 0) {
			s->crew = NULL;
			return err_set(e, ERR_IO, "an event loop cannot be watched by another: %s",
				uv_strerror(rc));
		}
		uv_timer_init(host, &s->timer);
		uv_idle_init(host, &s->again);
		s->poll.data = s;
		s->timer.data = s;
		s->again.data = s;
		s->back.done = on_back;
		sem_init(&s->own, 0, 0);
		l->run = run_guest;
		l->run_ctx = s;
	}
	*c->end = s;
	c->end = &s->next;
	return OK;
}

bool crew_turn(struct crew_seat *s, unsigned work, bool idle)
{
	struct crew *c = s->crew;

	if (!c)
		return false;
	if (is_host(s)) {
		host_turn(c, work);
	} else if (s->place == CREW_HOSTED) { /* changed by who runs it only */
		s->work += work;              /* it may have several turns in one of the host's */
	} else {
		if (idle || wants_back(s))
			uv_stop(&s->loop->uv);
		return false;
	}
	return c->shared;
}

void crew_leave(struct crew_seat *s)
{
	struct crew *c = s->crew;

	if (!c || !is_host(s))
		return;
	pthread_mutex_lock(&c->lock);
	c->closed = true;
	for (struct crew_seat *g = guests(c); g; g = g->next) {
		if (g->place != CREW_OWN)
			let_go(g);
		uv_close((uv_handle_t *)&g->poll, NULL);
		uv_close((uv_handle_t *)&g->timer, NULL);
		uv_close((uv_handle_t *)&g->again, NULL);
	}
	pthread_mutex_unlock(&c->lock);
}
