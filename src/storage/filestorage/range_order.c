#include "storage/filestorage/range_order.h"

#include <stdlib.h>
#include <string.h>

#include "base/err.h"
#include "base/mem.h"

enum { RECENT_MAX = 2048 }; /* merged above: an insertion moves 16 KiB at most */

void range_order_init(struct range_order *o)
{
	*o = (struct range_order){ 0 };
	pthread_mutex_init(&o->build_lock, NULL);
	pthread_mutex_init(&o->lock, NULL);
}

static void clear(struct range_list *l)
{
	mem_free(l->ranges);
	*l = (struct range_list){ 0 };
}

void range_order_fini(struct range_order *o)
{
	clear(&o->all);
	clear(&o->recent);
	pthread_mutex_destroy(&o->lock);
	pthread_mutex_destroy(&o->build_lock);
}

static int make_room(struct range_list *l, size_t n)
{
	size_t room = l->room ? l->room : 256;
	uint64_t *ranges;

	while (room < n)
		room *= 2;
	if (room == l->room)
		return OK;
	ranges = mem_realloc(l->ranges, room * sizeof(*ranges));
	if (!ranges)
		return ERR_NOMEM;
	l->ranges = ranges;
	l->room = room;
	return OK;
}

int range_list_add(struct range_list *l, uint64_t range)
{
	if (make_room(l, l->n + 1) != OK)
		return ERR_NOMEM;
	l->ranges[l->n++] = range;
	return OK;
}

/* Index of the first that is not smaller. */
static size_t lower_bound(const struct range_list *l, uint64_t range)
{
	size_t low = 0;
	size_t high = l->n;

	while (low < high) {
		size_t mid = low + (high - low) / 2;

		if (l->ranges[mid] < range)
			low = mid + 1;
		else
			high = mid;
	}
	return low;
}

static bool has(const struct range_list *l, size_t at, uint64_t range)
{
	return at < l->n && l->ranges[at] == range;
}

/* Put @from, sorted, into @to, from the end backwards: in place. */
static int merge(struct range_list *to, struct range_list *from)
{
	size_t at = to->n + from->n;
	size_t a = to->n;
	size_t b = from->n;

	if (make_room(to, at) != OK)
		return ERR_NOMEM;
	to->n = at;
	while (b > 0) {
		bool take_a = a > 0 && to->ranges[a - 1] > from->ranges[b - 1];

		to->ranges[--at] = take_a ? to->ranges[--a] : from->ranges[--b];
	}
	from->n = 0;
	return OK;
}

static int insert(struct range_order *o, uint64_t range)
{
	struct range_list *l = &o->recent;
	size_t at = lower_bound(l, range);

	if (has(l, at, range) || has(&o->all, lower_bound(&o->all, range), range))
		return OK;
	if (make_room(l, l->n + 1) != OK)
		return ERR_NOMEM;
	memmove(l->ranges + at + 1, l->ranges + at, (l->n - at) * sizeof(range));
	l->ranges[at] = range;
	l->n++;
	return l->n > RECENT_MAX ? merge(&o->all, l) : OK;
}

/* With the lock held: to be built again. */
static void forget(struct range_order *o)
{
	o->active = o->built = false;
	clear(&o->all);
	clear(&o->recent);
}

void range_order_note(struct range_order *o, uint64_t range)
{
	pthread_mutex_lock(&o->lock);
	if (o->active && insert(o, range) != OK)
		forget(o);
	pthread_mutex_unlock(&o->lock);
}

int range_order_next(struct range_order *o, uint64_t range, uint64_t *ret)
{
	int rc = OK;
	size_t a, b;

	pthread_mutex_lock(&o->lock);
	a = lower_bound(&o->all, range);
	b = lower_bound(&o->recent, range);
	if (!o->built)
		rc = ERR_AGAIN;
	else if (a < o->all.n && (b == o->recent.n || o->all.ranges[a] < o->recent.ranges[b]))
		*ret = o->all.ranges[a];
	else if (b < o->recent.n)
		*ret = o->recent.ranges[b];
	else
		rc = ERR_NOENT;
	pthread_mutex_unlock(&o->lock);
	return rc;
}

bool range_order_start(struct range_order *o)
{
	bool built;

	pthread_mutex_lock(&o->build_lock);
	pthread_mutex_lock(&o->lock);
	built = o->built;
	o->active = true;
	pthread_mutex_unlock(&o->lock);
	if (built)
		pthread_mutex_unlock(&o->build_lock);
	return !built;
}

static int by_value(const void *a, const void *b)
{
	uint64_t x = *(const uint64_t *)a;
	uint64_t y = *(const uint64_t *)b;

	return x < y ? -1 : x > y;
}

static void sort_unique(struct range_list *l)
{
	size_t used = 0;

	if (l->n)
		qsort(l->ranges, l->n, sizeof(l->ranges[0]), by_value);
	for (size_t i = 0; i < l->n; i++)
		if (used == 0 || l->ranges[used - 1] != l->ranges[i])
			l->ranges[used++] = l->ranges[i];
	l->n = used;
}

int range_order_end(struct range_order *o, struct range_list *found, int rc)
{
	sort_unique(found); /* without the lock */
	pthread_mutex_lock(&o->lock);
	if (rc == OK && !o->active)
		rc = ERR_NOMEM; /* a new range was lost meanwhile */
	if (rc == OK)
		rc = merge(found, &o->all);
	if (rc == OK) {
		clear(&o->all);
		o->all = *found;
		*found = (struct range_list){ 0 };
		o->built = true;
	} else {
		forget(o);
	}
	pthread_mutex_unlock(&o->lock);
	pthread_mutex_unlock(&o->build_lock);
	clear(found);
	return rc;
}

size_t range_order_bytes(struct range_order *o)
{
	size_t n;

	pthread_mutex_lock(&o->lock);
	n = (o->all.room + o->recent.room) * sizeof(uint64_t);
	pthread_mutex_unlock(&o->lock);
	return n;
}
