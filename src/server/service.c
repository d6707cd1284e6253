#include "server/service.h"

#include <errno.h>
#include <pthread.h>
#include <semaphore.h>
#include <time.h>

#include "base/mem.h"
#include "net/minder.h"
#include "server/acceptor.h"
#include "server/worker.h"

struct service {
	struct crew crew;     /* of the workers */
	struct minder minder; /* of the first one's loop, and those that it runs */
	struct acceptor acceptor;
	struct worker *workers;
	unsigned n_workers; /* initialised */
};

static void free_service(struct service *v)
{
	minder_stop(&v->minder);
	for (unsigned i = 0; i < v->n_workers; i++)
		worker_fini(&v->workers[i]);
	crew_fini(&v->crew);
	mem_free(v->workers);
	mem_free(v);
}

static void drain_all(struct service *v)
{
	for (unsigned i = 0; i < v->n_workers; i++)
		if (v->workers[i].loop.started)
			worker_drain(&v->workers[i]);
}

static void join_all(struct service *v)
{
	for (unsigned i = 0; i < v->n_workers; i++)
		loop_join(&v->workers[i].loop);
}

int service_start(struct server *s, const struct listener *listener, struct tls_context *tls,
	unsigned n_workers, struct service **ret, struct err *e)
{
	struct service *v = mem_zalloc(1, sizeof(*v));
	int rc = OK;

	if (v)
		v->workers = mem_zalloc(n_workers, sizeof(v->workers[0]));
	if (!v || !v->workers) {
		mem_free(v);
		return err_set(e, ERR_NOMEM, "no memory for %u event loops", n_workers);
	}
	crew_init(&v->crew);
	for (unsigned i = 0; i < n_workers && rc == OK; i++) {
		rc = worker_init(&v->workers[i], s, tls, &v->crew, e);
		v->n_workers += rc == OK;
	}
	if (rc == OK)
		rc = minder_start(&v->minder, &v->workers[0].loop, e);
	for (unsigned i = 0; i < n_workers && rc == OK; i++)
		rc = worker_start(&v->workers[i], i, e);
	if (rc == OK)
		rc = acceptor_start(&v->acceptor, listener, v->workers, n_workers, e);
	if (rc != OK) {
		drain_all(v);
		join_all(v);
		free_service(v);
		return rc;
	}
	*ret = v;
	return OK;
}

/* Wait until @deadline for a worker's thread; false: it still runs. */
static bool join_until(struct worker *w, const struct timespec *deadline)
{
	if (w->loop.started && pthread_timedjoin_np(w->loop.thread, NULL, deadline) != 0)
		return false;
	return true;
}

unsigned service_stop(struct service *v, unsigned grace_ms)
{
	struct timespec deadline;
	unsigned cut = 0;

	acceptor_stop(&v->acceptor);
	server_stop_packs(v->workers[0].hub.server);
	drain_all(v);
	clock_gettime(CLOCK_REALTIME, &deadline);
	deadline.tv_sec += grace_ms / 1000;
	deadline.tv_nsec += (long)(grace_ms % 1000) * 1000000;
	if (deadline.tv_nsec >= 1000000000) {
		deadline.tv_sec++;
		deadline.tv_nsec -= 1000000000;
	}
	for (unsigned i = 0; i < v->n_workers; i++) {
		struct worker *w = &v->workers[i];

		if (join_until(w, &deadline))
			continue;
		cut += atomic_load(&w->n_conns);
		worker_cut(w);
		loop_join(&w->loop);
	}
	free_service(v);
	return cut;
}

struct visit_msg {
	struct hub_msg msg;
	void (*visit)(void *ctx, const struct session *s);
	void *ctx;
	sem_t done;
};

static void run_visit(struct hub *h, struct hub_msg *m)
{
	struct visit_msg *v = CONTAINER_OF(m, struct visit_msg, msg);

	for (const struct session *s = h->sessions; s; s = s->next)
		v->visit(v->ctx, s);
	sem_post(&v->done);
}

void service_visit(struct service *v, void (*visit)(void *ctx, const struct session *s), void *ctx)
{
	for (unsigned i = 0; i < v->n_workers; i++) {
		struct visit_msg m = { .msg.run = run_visit, .visit = visit, .ctx = ctx };

		sem_init(&m.done, 0, 0);
		hub_post(&v->workers[i].hub, &m.msg);
		while (sem_wait(&m.done) != 0 && errno == EINTR)
			;
		sem_destroy(&m.done);
	}
}
