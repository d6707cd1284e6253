#include "database/changes.h"

#include <string.h>

#include "base/mem.h"

struct change {
	struct change *next;
	uint64_t tid;
	size_t n;
	uint64_t oids[];
};

void changes_init(struct changes *c, size_t n_oids_max)
{
	*c = (struct changes){ .n_oids_max = n_oids_max, .epoch = 1 };
	pthread_mutex_init(&c->lock, NULL);
	c->end = &c->first;
}

static void drop_first(struct changes *c)
{
	struct change *x = c->first;

	c->first = x->next;
	if (!c->first)
		c->end = &c->first;
	c->n_oids -= x->n;
	if (x->tid > c->floor)
		c->floor = x->tid;
	mem_free(x);
}

void changes_free(struct changes *c)
{
	while (c->first)
		drop_first(c);
	pthread_mutex_destroy(&c->lock);
}

static void forget(struct changes *c, uint64_t floor)
{
	while (c->first)
		drop_first(c);
	if (floor > c->floor)
		c->floor = floor;
}

void changes_add(struct changes *c, uint64_t tid, const uint64_t *oids, size_t n)
{
	struct change *x = NULL;

	if (n <= c->n_oids_max)
		x = mem_alloc(sizeof(*x) + n * sizeof(x->oids[0]));
	pthread_mutex_lock(&c->lock);
	if (x) {
		x->next = NULL;
		x->tid = tid;
		x->n = n;
		if (n)
			memcpy(x->oids, oids, n * sizeof(x->oids[0]));
		*c->end = x;
		c->end = &x->next;
		c->n_oids += n;
	} else { /* C1: who is not beyond it knows nothing */
		forget(c, tid);
	}
	while (c->n_oids > c->n_oids_max)
		drop_first(c);
	pthread_mutex_unlock(&c->lock);
}

void changes_all(struct changes *c, uint64_t last_tid)
{
	pthread_mutex_lock(&c->lock);
	c->epoch++;
	/* who begins at last_tid from now on still misses what comes next */
	forget(c, last_tid + 1);
	pthread_mutex_unlock(&c->lock);
}

bool changes_advance(struct changes *c, struct changes_cursor *cursor, uint64_t tid,
	void (*changed)(void *arg, uint64_t oid, uint64_t tid), void *arg)
{
	bool known;

	pthread_mutex_lock(&c->lock);
	known = cursor->epoch == c->epoch && tid >= cursor->seen &&
		(tid == cursor->seen || cursor->seen >= c->floor);
	for (struct change *x = c->first; known && x; x = x->next)
		for (size_t i = 0; x->tid > cursor->seen && x->tid <= tid && i < x->n; i++)
			changed(arg, x->oids[i], x->tid);
	cursor->seen = tid;
	cursor->epoch = c->epoch;
	pthread_mutex_unlock(&c->lock);
	return known;
}
