#include "zookeeper/event.h"

#include <errno.h>
#include <string.h>
#include <time.h>

#include "base/mem.h"

void inbox_init(struct inbox *in)
{
	pthread_condattr_t attr;

	pthread_condattr_init(&attr);
	pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
	pthread_cond_init(&in->filled, &attr);
	pthread_condattr_destroy(&attr);
	pthread_mutex_init(&in->lock, NULL);
	in->head = NULL;
	in->tail = &in->head;
	in->woken = false;
}

void inbox_free(struct inbox *in)
{
	while (in->head) {
		struct zk_event *ev = in->head;

		in->head = ev->next;
		mem_free(ev);
	}
	pthread_cond_destroy(&in->filled);
	pthread_mutex_destroy(&in->lock);
}

struct zk_event *zk_event_new(enum zk_event_kind kind, const void *data, size_t n)
{
	struct zk_event *ev = mem_zalloc(1, sizeof(*ev) + n + 1);

	if (!ev)
		return NULL;
	ev->kind = kind;
	ev->data_len = n;
	if (data)
		memcpy(ev->data, data, n);
	return ev;
}

void inbox_post(struct inbox *in, struct zk_event *ev)
{
	if (!ev)
		return;
	pthread_mutex_lock(&in->lock);
	ev->next = NULL;
	*in->tail = ev;
	in->tail = &ev->next;
	pthread_cond_signal(&in->filled);
	pthread_mutex_unlock(&in->lock);
}

void inbox_wake(struct inbox *in)
{
	pthread_mutex_lock(&in->lock);
	in->woken = true;
	pthread_cond_signal(&in->filled);
	pthread_mutex_unlock(&in->lock);
}

struct zk_event *inbox_take(struct inbox *in, uint64_t deadline_us)
{
	struct timespec until = { (time_t)(deadline_us / 1000000),
		(long)(deadline_us % 1000000) * 1000 };
	struct zk_event *ev;

	pthread_mutex_lock(&in->lock);
	while (!in->head && !in->woken)
		if (pthread_cond_timedwait(&in->filled, &in->lock, &until) == ETIMEDOUT)
			break;
	ev = in->head;
	in->woken = false;
	if (ev) {
		in->head = ev->next;
		if (!in->head)
			in->tail = &in->head;
	}
	pthread_mutex_unlock(&in->lock);
	return ev;
}
