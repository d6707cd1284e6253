#include "resolver/helper_pool.h"

#include <errno.h>
#include <pthread.h>
#include <time.h>

#include "base/clock.h"
#include "base/mem.h"
#include "resolver/helper.h"

enum {
	/* A thread that waits for a process is one less for others. */
	QUEUE_WAIT_US = 1000000,
	FIRST_START_MS = 30000, /* loading Python and ZODB from a cold disk */
	PAUSE_US = 100000,      /* after the second failure in a row; doubled from there */
	PAUSE_US_MAX = 10000000,
};

struct slot {
	struct helper helper; /* belongs to the thread that set busy */
	bool busy;
};

struct helper_pool {
	char *python;
	char **path;
	size_t path_n;
	uint32_t timeout_ms;
	size_t slots_n;
	pthread_mutex_t lock; /* guards what follows; nothing is taken inside */
	pthread_cond_t freed; /* CLOCK_MONOTONIC */
	uint32_t failures;    /* in a row */
	uint64_t start_at_us; /* no process is started before */
	struct slot slots[];
};

static int copy_options(struct helper_pool *p, const struct helper_pool_options *o)
{
	p->timeout_ms = o->timeout_ms;
	p->slots_n = o->processes;
	p->python = mem_strdup(o->python);
	p->path = mem_zalloc(o->path_n + 1, sizeof(*p->path));
	if (!p->python || !p->path)
		return ERR_NOMEM;
	for (; p->path_n < o->path_n; p->path_n++) {
		p->path[p->path_n] = mem_strdup(o->path[p->path_n]);
		if (!p->path[p->path_n])
			return ERR_NOMEM;
	}
	return OK;
}

static void init_lock(struct helper_pool *p)
{
	pthread_condattr_t attr;

	pthread_mutex_init(&p->lock, NULL);
	pthread_condattr_init(&attr);
	pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
	pthread_cond_init(&p->freed, &attr);
	pthread_condattr_destroy(&attr);
}

static int start(struct helper_pool *p, struct helper *h, uint64_t deadline_us, struct err *e)
{
	return helper_start(p->python, (const char *const *)p->path, p->path_n, deadline_us, h, e);
}

int helper_pool_open(const struct helper_pool_options *o, struct helper_pool **ret, struct err *e)
{
	struct helper_pool *p = mem_zalloc(1, sizeof(*p) + o->processes * sizeof(p->slots[0]));
	int rc;

	if (!p)
		return err_set(e, ERR_NOMEM, "no memory");
	init_lock(p);
	rc = copy_options(p, o);
	for (size_t i = 0; i < p->slots_n; i++)
		p->slots[i].helper.fd = -1;
	if (rc)
		err_set(e, rc, "no memory");
	else
		rc = start(p, &p->slots[0].helper,
			clock_mono_us(&clock_system) + FIRST_START_MS * UINT64_C(1000), e);
	if (rc)
		helper_pool_close(p);
	else
		*ret = p;
	return rc;
}

void helper_pool_close(struct helper_pool *p)
{
	if (!p)
		return;
	for (size_t i = 0; i < p->slots_n; i++)
		helper_kill(&p->slots[i].helper);
	for (size_t i = 0; i < p->path_n; i++)
		mem_free(p->path[i]);
	mem_free(p->path);
	mem_free(p->python);
	pthread_cond_destroy(&p->freed);
	pthread_mutex_destroy(&p->lock);
	mem_free(p);
}

/* A free slot, rather one whose process runs. */
static struct slot *free_slot(struct helper_pool *p)
{
	struct slot *found = NULL;

	for (size_t i = 0; i < p->slots_n; i++) {
		struct slot *s = &p->slots[i];

		if (!s->busy && (!found || (!found->helper.pid && s->helper.pid)))
			found = s;
	}
	return found;
}

static struct timespec timespec_of(uint64_t us)
{
	return (struct timespec){ .tv_sec = (time_t)(us / 1000000),
		.tv_nsec = (long)(us % 1000000 * 1000) };
}

static int take_slot(struct helper_pool *p, uint64_t now_us, struct slot **ret, struct err *e)
{
	uint64_t wait_us = p->timeout_ms * UINT64_C(1000);
	struct timespec until;
	struct slot *s;
	int rc = OK;

	until = timespec_of(now_us + (wait_us < QUEUE_WAIT_US ? wait_us : QUEUE_WAIT_US));
	pthread_mutex_lock(&p->lock);
	while (!(s = free_slot(p)) && rc != ETIMEDOUT)
		rc = pthread_cond_timedwait(&p->freed, &p->lock, &until);
	if (!s)
		rc = err_set(e, ERR_CONFLICT, "all resolver processes are busy");
	else if (!s->helper.pid && clock_mono_us(&clock_system) < p->start_at_us)
		rc = err_set(e, ERR_CONFLICT,
			"the resolver process failed %u times in a row: it is not started again "
			"yet",
			p->failures);
	else
		rc = OK;
	if (rc == OK) {
		s->busy = true;
		*ret = s;
	}
	pthread_mutex_unlock(&p->lock);
	return rc;
}

static uint64_t pause_us(uint32_t failures)
{
	uint64_t us = PAUSE_US;

	if (failures < 2)
		return 0;
	for (uint32_t i = 2; i < failures && us < PAUSE_US_MAX; i++)
		us *= 2;
	return us < PAUSE_US_MAX ? us : PAUSE_US_MAX;
}

static void give_slot(struct helper_pool *p, struct slot *s)
{
	pthread_mutex_lock(&p->lock);
	s->busy = false;
	if (s->helper.pid) {
		p->failures = 0;
	} else {
		p->failures++;
		p->start_at_us = clock_mono_us(&clock_system) + pause_us(p->failures);
	}
	pthread_cond_signal(&p->freed);
	pthread_mutex_unlock(&p->lock);
}

int helper_pool_resolve(
	struct helper_pool *p, const struct resolve_req *q, struct buf *ret, struct err *e)
{
	uint64_t now = clock_mono_us(&clock_system);
	uint64_t deadline = now + p->timeout_ms * UINT64_C(1000);
	struct slot *s = NULL;
	int rc = take_slot(p, now, &s, e);

	if (rc)
		return rc;
	if (!s->helper.pid)
		rc = start(p, &s->helper, deadline, e);
	if (rc == OK)
		rc = helper_ask(&s->helper, q, deadline, ret, e);
	if (rc && rc != ERR_CONFLICT)
		helper_kill(&s->helper);
	give_slot(p, s);
	if (rc == ERR_TIMEOUT)
		return err_set(e, ERR_CONFLICT,
			"the resolver process did not answer within %u ms and was killed",
			p->timeout_ms);
	if (rc && rc != ERR_NOMEM && e)
		e->code = ERR_CONFLICT;
	return rc == OK || rc == ERR_NOMEM ? rc : ERR_CONFLICT;
}
