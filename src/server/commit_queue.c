#include "server/commit_queue.h"

#include <stdlib.h>
#include <sys/random.h>

#include "base/check.h"
#include "base/mem.h"

enum { ROWS_FIRST = 256 };

int commit_queue_init(struct commit_queue *q, struct err *e)
{
	*q = (struct commit_queue){ .n_rows = ROWS_FIRST };
	/* so that no client can know which oids share a row; without randomness it is only slower */
	if (getrandom(&q->seed, sizeof(q->seed), GRND_NONBLOCK) != sizeof(q->seed))
		q->seed = (uintptr_t)q;
	q->rows = mem_zalloc(q->n_rows, sizeof(q->rows[0]));
	if (!q->rows)
		return err_set(e, ERR_NOMEM, "no memory for the commit queue");
	pthread_mutex_init(&q->lock, NULL);
	return OK;
}

void commit_queue_close(struct commit_queue *q)
{
	if (!q->rows)
		return;
	CHECK(!q->first);
	pthread_mutex_destroy(&q->lock);
	mem_free(q->rows);
	q->rows = NULL;
}

int commit_queue_prepare(struct cq_entry *en, size_t n, struct err *e)
{
	CHECK(!en->entered && !en->locks);
	en->n_locks = 0;
	en->locks = mem_zalloc(n ? n : 1, sizeof(en->locks[0]));
	if (!en->locks)
		return err_set(e, ERR_NOMEM, "no memory to lock %zu objects", n);
	return OK;
}

void commit_queue_add(struct cq_entry *en, uint64_t oid, bool exclusive)
{
	en->locks[en->n_locks++] = (struct cq_lock){ .oid = oid, .exclusive = exclusive };
}

static int by_oid(const void *a, const void *b)
{
	uint64_t x = ((const struct cq_lock *)a)->oid;
	uint64_t y = ((const struct cq_lock *)b)->oid;

	return x < y ? -1 : x > y;
}

/* New objects come in their order: most transactions of many are sorted. */
static void sort(struct cq_lock *locks, size_t n)
{
	size_t i = 1;

	while (i < n && locks[i - 1].oid <= locks[i].oid)
		i++;
	if (i < n)
		qsort(locks, n, sizeof(locks[0]), by_oid);
}

/* One lock an object; written wins over checked. */
static void merge_duplicates(struct cq_entry *en)
{
	size_t used = 0;

	sort(en->locks, en->n_locks);
	for (size_t i = 0; i < en->n_locks; i++) {
		if (used && en->locks[used - 1].oid == en->locks[i].oid)
			en->locks[used - 1].exclusive |= en->locks[i].exclusive;
		else
			en->locks[used++] = en->locks[i];
	}
	en->n_locks = used;
}

static struct cq_lock **row_of(
	const struct commit_queue *q, struct cq_lock **rows, size_t n_rows, uint64_t oid)
{
	uint64_t x = (oid ^ q->seed) * UINT64_C(0x9e3779b97f4a7c15);

	x = (x ^ x >> 32 ^ q->seed) * UINT64_C(0xbf58476d1ce4e5b9);
	return &rows[(x >> 32) & (n_rows - 1)];
}

/* Where the first lock of @oid's FIFO hangs, or where it would. */
static struct cq_lock **find(struct commit_queue *q, uint64_t oid)
{
	struct cq_lock **p = row_of(q, q->rows, q->n_rows, oid);

	while (*p && (*p)->oid != oid)
		p = &(*p)->chain;
	return p;
}

/* Without memory the table stays as it is: slower, not wrong. */
static bool grow(struct commit_queue *q)
{
	size_t n = q->n_rows * 4;
	struct cq_lock **rows = mem_zalloc(n, sizeof(rows[0]));

	if (!rows)
		return false;
	for (size_t i = 0; i < q->n_rows; i++) {
		struct cq_lock *l = q->rows[i];

		while (l) {
			struct cq_lock *next = l->chain;
			struct cq_lock **row = row_of(q, rows, n, l->oid);

			l->chain = *row;
			*row = l;
			l = next;
		}
	}
	mem_free(q->rows);
	q->rows = rows;
	q->n_rows = n;
	return true;
}

static void lock_enter(struct commit_queue *q, struct cq_lock *l)
{
	struct cq_lock **p = find(q, l->oid);
	struct cq_lock *first = *p;

	l->next = NULL;
	if (!first) {
		l->tail = l;
		l->chain = NULL;
		l->granted = true;
		*p = l;
		q->n_fifos++;
		return;
	}
	/* Shared behind shared that is granted: all before it are shared, too. */
	l->granted = !l->exclusive && !first->tail->exclusive && first->tail->granted;
	first->tail->next = l;
	first->tail = l;
}

static void check_granted(struct commit_queue *q, struct cq_entry *en)
{
	if (en->n_waiting == 0 && !en->granted) {
		en->granted = true;
		q->n_granted++;
		en->granted_cb(en);
	}
}

static void grant(struct commit_queue *q, struct cq_lock *l)
{
	if (l->granted)
		return;
	l->granted = true;
	l->entry->n_waiting--;
	check_granted(q, l->entry);
}

static void lock_leave(struct commit_queue *q, struct cq_lock *l)
{
	struct cq_lock **p = find(q, l->oid);
	struct cq_lock *first = *p;
	struct cq_lock *prev = NULL;
	struct cq_lock *at;

	if (first == l) {
		first = l->next;
		if (first) {
			first->tail = l->tail;
			first->chain = l->chain;
			*p = first;
		} else {
			*p = l->chain;
			q->n_fifos--;
			return;
		}
	} else {
		for (prev = first; prev->next != l; prev = prev->next)
			CHECK(prev->next);
		prev->next = l->next;
		if (first->tail == l)
			first->tail = prev;
	}
	grant(q, first);
	if (!first->exclusive)
		for (at = first->next; at && !at->exclusive; at = at->next)
			grant(q, at);
}

/* Is an entry for the whole storage among those before? */
static bool is_barred(struct commit_queue *q, const struct cq_entry *en)
{
	const struct cq_entry *at;

	if (en->whole)
		return q->first != en;
	for (at = en->prev; at; at = at->prev)
		if (at->whole)
			return true;
	return false;
}

static void unbar(struct commit_queue *q, struct cq_entry *en)
{
	if (!en->barred)
		return;
	en->barred = false;
	en->n_waiting--;
	check_granted(q, en);
}

/* After one left: the first may be for the whole storage and have waited for it; or it was for the
 * whole storage itself and barred those up to the next such. */
static void unbar_all(struct commit_queue *q)
{
	struct cq_entry *at;

	if (q->first && q->first->whole) {
		unbar(q, q->first);
		return;
	}
	for (at = q->first; at && !at->whole; at = at->next)
		unbar(q, at);
}

static void list_append(struct commit_queue *q, struct cq_entry *en)
{
	en->prev = q->last;
	en->next = NULL;
	if (q->last)
		q->last->next = en;
	else
		q->first = en;
	q->last = en;
	q->n_entries++;
}

static void list_remove(struct commit_queue *q, struct cq_entry *en)
{
	if (en->prev)
		en->prev->next = en->next;
	else
		q->first = en->next;
	if (en->next)
		en->next->prev = en->prev;
	else
		q->last = en->prev;
	q->n_entries--;
}

bool commit_queue_enter(struct commit_queue *q, struct cq_entry *en)
{
	bool granted;

	CHECK(!en->entered);
	merge_duplicates(en);
	pthread_mutex_lock(&q->lock);
	while (q->n_fifos + en->n_locks > q->n_rows * 2 && grow(q))
		;
	list_append(q, en);
	en->entered = true;
	en->granted = false;
	en->locked_us = 0;
	en->barred = is_barred(q, en);
	en->n_waiting = en->barred;
	for (size_t i = 0; i < en->n_locks; i++) {
		en->locks[i].entry = en;
		lock_enter(q, &en->locks[i]);
		en->n_waiting += !en->locks[i].granted;
	}
	granted = en->n_waiting == 0;
	en->granted = granted;
	q->n_granted += granted;
	pthread_mutex_unlock(&q->lock);
	return granted;
}

bool commit_queue_leave(struct commit_queue *q, struct cq_entry *en)
{
	bool granted;

	CHECK(en->entered);
	pthread_mutex_lock(&q->lock);
	granted = en->granted;
	q->n_granted -= granted;
	list_remove(q, en);
	for (size_t i = 0; i < en->n_locks; i++)
		lock_leave(q, &en->locks[i]);
	unbar_all(q);
	en->entered = false;
	pthread_mutex_unlock(&q->lock);
	mem_free(en->locks);
	en->locks = NULL;
	en->n_locks = 0;
	return granted;
}

void commit_queue_stamp(struct commit_queue *q, struct cq_entry *en, uint64_t wall_us)
{
	pthread_mutex_lock(&q->lock);
	en->locked_us = wall_us;
	pthread_mutex_unlock(&q->lock);
}

uint64_t commit_queue_locked_since(struct commit_queue *q)
{
	const struct cq_entry *at;
	uint64_t since = 0;

	pthread_mutex_lock(&q->lock);
	for (at = q->first; at; at = at->next)
		if (at->locked_us && (since == 0 || at->locked_us < since))
			since = at->locked_us;
	pthread_mutex_unlock(&q->lock);
	return since;
}

size_t commit_queue_waiting(struct commit_queue *q)
{
	size_t n;

	pthread_mutex_lock(&q->lock);
	n = q->n_entries - q->n_granted;
	pthread_mutex_unlock(&q->lock);
	return n;
}
