#include "database/changes.h"

#include <string.h>

#include "base/mem.h"

struct change {
	uint64_t tid;
	size_t n;
	uint64_t oids[];
};

void changes_init(struct changes *c, size_t weight_max)
{
	*c = (struct changes){ .weight_max = weight_max, .epoch = 1 };
	pthread_mutex_init(&c->lock, NULL);
}

static struct change *at(const struct changes *c, size_t i)
{
	return c->ring[(c->start + i) & (c->room - 1)];
}

static void drop_first(struct changes *c)
{
	struct change *x = at(c, 0);

	c->weight -= x->n + 1;
	c->start++;
	c->first++;
	c->n--;
	mem_free(x);
}

static void drop_all(struct changes *c)
{
	while (c->n)
		drop_first(c);
}

void changes_free(struct changes *c, bool forked)
{
	drop_all(c);
	mem_free(c->ring);
	if (!forked)
		pthread_mutex_destroy(&c->lock);
}

static bool grow(struct changes *c)
{
	size_t room = c->room ? c->room * 2 : 64;
	struct change **ring = mem_alloc(room * sizeof(struct change *));

	if (!ring)
		return false;
	for (size_t i = 0; i < c->n; i++)
		ring[i] = at(c, i);
	mem_free(c->ring);
	c->ring = ring;
	c->room = room;
	c->start = 0;
	return true;
}

/* @x is taken. */
static void append(struct changes *c, struct change *x)
{
	if (!x || (c->n == c->room && !grow(c))) { /* C1: nobody knows what it was */
		mem_free(x);
		drop_all(c);
		c->first++;
		return;
	}
	c->ring[(c->start + c->n++) & (c->room - 1)] = x;
	c->weight += x->n + 1;
	while (c->weight > c->weight_max)
		drop_first(c);
}

void changes_add(struct changes *c, uint64_t tid, const uint64_t *oids, size_t n)
{
	struct change *x = NULL;

	if (n < c->weight_max)
		x = mem_alloc(sizeof(*x) + n * sizeof(x->oids[0]));
	if (x) {
		x->tid = tid;
		x->n = n;
		if (n)
			memcpy(x->oids, oids, n * sizeof(x->oids[0]));
	}
	pthread_mutex_lock(&c->lock);
	append(c, x);
	pthread_mutex_unlock(&c->lock);
}

void changes_all(struct changes *c, uint64_t last_tid)
{
	pthread_mutex_lock(&c->lock);
	c->epoch++;
	drop_all(c);
	/* who begins at last_tid from now on still misses what comes next */
	if (last_tid + 1 > c->floor)
		c->floor = last_tid + 1;
	pthread_mutex_unlock(&c->lock);
}

static bool is_known(const struct changes *c, const struct changes_cursor *cursor, uint64_t tid)
{
	if (cursor->epoch != c->epoch || cursor->next < c->first || tid < cursor->seen)
		return false;
	return tid == cursor->seen || cursor->seen >= c->floor;
}

bool changes_advance(struct changes *c, struct changes_cursor *cursor, uint64_t tid,
	void (*changed)(void *arg, uint64_t oid, uint64_t tid), void *arg)
{
	uint64_t next;
	bool known;

	pthread_mutex_lock(&c->lock);
	known = is_known(c, cursor, tid);
	next = c->first + c->n;
	for (size_t i = known ? (size_t)(cursor->next - c->first) : 0; i < c->n; i++) {
		const struct change *x = at(c, i);

		if (x->tid > tid && c->first + i < next)
			next = c->first +
			       i; /* it stays before the cursor, and what is behind it, too */
		for (size_t k = 0; known && x->tid <= tid && k < x->n; k++)
			changed(arg, x->oids[k], x->tid);
	}
	cursor->seen = tid;
	cursor->next = next;
	cursor->epoch = c->epoch;
	pthread_mutex_unlock(&c->lock);
	return known;
}
