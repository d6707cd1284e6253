#include "net/crew.h"

#include <errno.h>

enum {
	AVERAGE_OF = 16, /* turns */
};

void crew_init(struct crew *c)
{
	*c = (struct crew){ .closed = false };
	c->end = &c->seats;
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
	g->place = CREW_OWN;
	sem_post(&g->own);
}

static void on_guest_timer(uv_timer_t *t);

static void run_hosted(struct crew_seat *g)
{
	int wait_ms;
	int alive;

	do {
		g->watches_changed = false;
		alive = uv_run(&g->loop->uv, UV_RUN_NOWAIT);
	} while (alive && g->watches_changed);
	if (!alive) { /* its thread sees the same, and ends */
		pthread_mutex_lock(&g->crew->lock);
		let_go(g);
		pthread_mutex_unlock(&g->crew->lock);
		return;
	}
	wait_ms = uv_backend_timeout(&g->loop->uv);
	if (wait_ms < 0)
		uv_timer_stop(&g->timer);
	else
		uv_timer_start(&g->timer, on_guest_timer, (uint64_t)wait_ms, 0);
}

static void on_guest_timer(uv_timer_t *t)
{
	run_hosted(t->data);
}

static void on_guest(uv_poll_t *p, int status, int events)
{
	(void)status, (void)events;
	run_hosted(p->data);
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
	uv_poll_start(&g->poll, UV_READABLE, on_guest);
	g->watches_changed = true;
	run_hosted(g);
}

static void host_turn(struct crew *c, unsigned work)
{
	const unsigned most = 2 * CREW_TURN_MAX; /* a single turn decides nothing */
	struct crew_seat *g = guests(c);

	work += c->turn_work;
	c->turn_work = 0;
	if (work == 0 || !g)
		return;
	c->average += (work < most ? work : most) - c->average / AVERAGE_OF;
	atomic_store_explicit(
		&c->busy, c->average > AVERAGE_OF * CREW_TURN_MAX / 2, memory_order_relaxed);
	if (c->average <= AVERAGE_OF * CREW_TURN_MAX)
		return;
	pthread_mutex_lock(&c->lock);
	while (g && g->place != CREW_HOSTED)
		g = g->next;
	if (g)
		let_go(g);
	pthread_mutex_unlock(&c->lock);
	c->average /= 2; /* to be seen anew without it */
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

/* A guest's thread. */
static void run_guest(struct loop *l)
{
	struct crew_seat *g = l->run_ctx;
	int alive;

	do {
		if (go_back(g))
			wait_for_turn(g);
		uv_update_time(&l->uv);
		g->since_ms = uv_now(&l->uv);
		g->work = 0;
		alive = uv_run(&l->uv, UV_RUN_DEFAULT);
	} while (alive);
}

static void own_turn(struct crew_seat *g, unsigned work)
{
	uint64_t now = uv_now(&g->loop->uv);

	g->work += work;
	if (now - g->since_ms < CREW_REST_MS)
		return;
	if (g->work < (now - g->since_ms) * CREW_REST_PER_MS &&
		!atomic_load_explicit(&g->crew->busy, memory_order_relaxed))
		uv_stop(&g->loop->uv);
	g->since_ms = now;
	g->work = 0;
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
		s->poll.data = s;
		s->timer.data = s;
		s->back.done = on_back;
		sem_init(&s->own, 0, 0);
		l->run = run_guest;
		l->run_ctx = s;
	}
	*c->end = s;
	c->end = &s->next;
	return OK;
}

void crew_turn(struct crew_seat *s, unsigned work)
{
	if (!s->crew)
		return;
	if (is_host(s))
		host_turn(s->crew, work);
	else if (s->place == CREW_HOSTED) /* changed by who runs it only */
		s->crew->turn_work += work;
	else
		own_turn(s, work);
}

void crew_watches_changed(struct crew_seat *s)
{
	s->watches_changed = true;
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
	}
	pthread_mutex_unlock(&c->lock);
}
