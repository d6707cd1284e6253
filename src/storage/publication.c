#include "storage/publication.h"

#include "base/check.h"
#include "base/err.h"
#include "base/mem.h"

enum {
	BEHIND_MAX = 100, /* publications that wait for a cursor that does not listen, about */
	MANY_OIDS = 512,  /* more of them take a loop too long to encode */
};

struct publication *publication_new(uint32_t n_oids)
{
	struct publication *p = mem_zalloc(1, sizeof(*p) + (size_t)n_oids * sizeof(p->oids[0]));

	if (p)
		p->n_oids = n_oids;
	return p;
}

void publication_free(struct publication *p)
{
	mem_free(p);
}

static void free_linked(struct pubchain *c, struct publication *p)
{
	for (int i = 0; i < 2; i++) {
		void *frame = atomic_load(&p->frame[i]);

		if (frame)
			c->free_frame(frame);
	}
	publication_free(p);
}

static struct publication *next_of(struct publication *p)
{
	return atomic_load_explicit(&p->next, memory_order_acquire);
}

int pubchain_init(struct pubchain *c, uint64_t last_tid, uint32_t keep)
{
	/* The place-holder stands for everything up to last_tid: cursors start at it, and a
	 * client that has seen last_tid needs nothing that came before. */
	struct publication *p = publication_new(0);

	if (!p)
		return ERR_NOMEM;
	p->tid = last_tid;
	pthread_mutex_init(&c->lock, NULL);
	c->cursors = NULL;
	c->oldest = p;
	atomic_store(&c->newest, p);
	c->keep = keep;
	c->n_kept = 1;
	c->free_frame = NULL;
	c->make_frame = NULL;
	return OK;
}

void pubchain_close(struct pubchain *c)
{
	struct publication *p = c->oldest;

	CHECK(!c->cursors);
	while (p) {
		struct publication *next = next_of(p);

		free_linked(c, p);
		p = next;
	}
	c->oldest = NULL;
	atomic_store(&c->newest, NULL);
	pthread_mutex_destroy(&c->lock);
}

void pubchain_seed(struct pubchain *c, struct publication *p)
{
	struct publication *oldest = c->oldest;
	bool placeholder = c->n_kept == 1 && oldest->n_oids == 0 && oldest->tid == p->tid;

	if (placeholder) {
		atomic_store(&c->newest, p);
		publication_free(oldest);
	} else {
		CHECK(p->tid < oldest->tid); /* I1 */
		atomic_store(&p->next, oldest);
		c->n_kept++;
	}
	c->oldest = p;
}

int pubchain_start_at(struct pubchain *c, uint64_t tid)
{
	struct publication *start;

	CHECK(!c->cursors);
	if (tid <= pubchain_last_tid(c))
		return OK;
	start = publication_new(0);
	if (!start)
		return ERR_NOMEM;
	start->tid = tid;
	while (c->oldest) {
		struct publication *p = c->oldest;

		c->oldest = next_of(p);
		free_linked(c, p);
	}
	c->oldest = start;
	atomic_store(&c->newest, start);
	c->n_kept = 1;
	return OK;
}

/* Is a cursor still at @p? Called with the lock held. A cursor behind @p is not possible:
 * what is older has been freed already. */
static bool in_use(struct pubchain *c, struct publication *p)
{
	struct pub_cursor *cur;

	for (cur = c->cursors; cur; cur = cur->next)
		if (atomic_load_explicit(&cur->at, memory_order_acquire) == p)
			return true;
	return false;
}

/* Keeps I3. Called with the lock held. */
static void free_old(struct pubchain *c)
{
	while (c->n_kept > c->keep && c->n_kept > 1 && !in_use(c, c->oldest)) {
		struct publication *p = c->oldest;

		c->oldest = next_of(p);
		c->n_kept--;
		free_linked(c, p);
	}
}

void pubchain_prepare(struct pubchain *c, struct publication *p)
{
	if (c->make_frame && p->n_oids > MANY_OIDS)
		c->make_frame(p);
}

void pubchain_append(struct pubchain *c, struct publication *p)
{
	struct publication *last = atomic_load(&c->newest);

	CHECK(p->kind == PUBLICATION_INFO ? p->tid == last->tid : p->tid > last->tid); /* I1 */
	pthread_mutex_lock(&c->lock);
	atomic_store_explicit(&last->next, p, memory_order_release); /* I2: entries came before */
	atomic_store(&c->newest, p);
	c->n_kept++;
	free_old(c);
	pthread_mutex_unlock(&c->lock);
}

void pubchain_wake(struct pubchain *c)
{
	bool far_behind;
	struct pub_cursor *cur;

	pthread_mutex_lock(&c->lock);
	far_behind = c->n_kept > c->keep + BEHIND_MAX;
	for (cur = c->cursors; cur; cur = cur->next)
		if ((cur->listens || far_behind) &&
			atomic_load_explicit(&cur->at, memory_order_relaxed) !=
				atomic_load_explicit(&c->newest, memory_order_relaxed))
			cur->wake(cur);
	pthread_mutex_unlock(&c->lock);
}

void pubchain_publish(struct pubchain *c, struct publication *p)
{
	pubchain_append(c, p);
	pubchain_wake(c);
}

uint64_t pubchain_last_tid(struct pubchain *c)
{
	uint64_t tid;

	pthread_mutex_lock(&c->lock); /* else it could be freed between the two loads */
	tid = atomic_load(&c->newest)->tid;
	pthread_mutex_unlock(&c->lock);
	return tid;
}

uint64_t pubchain_min_tid(struct pubchain *c)
{
	struct pub_cursor *cur;
	uint64_t min;

	pthread_mutex_lock(&c->lock); /* what a cursor is at is not freed meanwhile */
	min = atomic_load(&c->newest)->tid;
	for (cur = c->cursors; cur; cur = cur->next) {
		uint64_t tid = atomic_load_explicit(&cur->at, memory_order_acquire)->tid;

		if (cur->listens && tid < min)
			min = tid;
	}
	pthread_mutex_unlock(&c->lock);
	return min;
}

void pub_cursor_attach(struct pubchain *c, struct pub_cursor *cur)
{
	pthread_mutex_lock(&c->lock);
	atomic_store(&cur->at, atomic_load(&c->newest));
	cur->next = c->cursors;
	cur->listens = true;
	c->cursors = cur;
	pthread_mutex_unlock(&c->lock);
}

void pub_cursor_listen(struct pubchain *c, struct pub_cursor *cur, bool on)
{
	pthread_mutex_lock(&c->lock);
	cur->listens = on;
	pthread_mutex_unlock(&c->lock);
}

void pub_cursor_detach(struct pubchain *c, struct pub_cursor *cur)
{
	struct pub_cursor **p;

	pthread_mutex_lock(&c->lock);
	for (p = &c->cursors; *p != cur; p = &(*p)->next)
		CHECK(*p);
	*p = cur->next;
	free_old(c);
	pthread_mutex_unlock(&c->lock);
}

/* The oldest of those that are wanted; older ones wait for a cursor. Called with the lock held. */
static struct publication *oldest_wanted(struct pubchain *c)
{
	struct publication *p = c->oldest;

	for (uint32_t n = c->n_kept; n > c->keep && n > 1; n--)
		p = next_of(p);
	return p;
}

bool pubchain_since(struct pubchain *c, struct pub_cursor *cur, uint64_t tid,
	void (*add)(void *ctx, uint64_t oid), void *ctx, uint64_t *ret_tid)
{
	struct publication *at = atomic_load_explicit(&cur->at, memory_order_relaxed);
	struct publication *p;
	bool reaches;

	pthread_mutex_lock(&c->lock);
	reaches = oldest_wanted(c)->tid <= tid;
	for (p = c->oldest; reaches; p = next_of(p)) {
		if (p->tid > tid && p->kind == PUBLICATION_GAP)
			reaches = false;
		for (uint32_t i = 0; reaches && p->tid > tid && i < p->n_oids; i++)
			add(ctx, p->oids[i]);
		if (p == at)
			break;
	}
	pthread_mutex_unlock(&c->lock);
	if (reaches)
		*ret_tid = at->tid;
	return reaches;
}
