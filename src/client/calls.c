#include "client/calls.h"

#include <string.h>

#include "base/mem.h"
#include "client/conn.h"

enum { ROOMS_MIN = 64 };

static uint32_t room_of_load(const struct pending *p, uint64_t oid, uint64_t tid)
{
	uint64_t h = (oid ^ tid * 31) * UINT64_C(0x9e3779b97f4a7c15);

	return (uint32_t)(h >> 32) & (p->n_rooms - 1);
}

static void put_call(struct pending *p, struct call *k)
{
	struct call **room = &p->calls[k->id & (p->n_rooms - 1)];

	k->next = *room;
	*room = k;
}

static void put_load(struct pending *p, struct load *l)
{
	struct load **room = &p->loads[room_of_load(p, l->oid, l->tid)];

	l->next_load = *room;
	*room = l;
}

static void move_all(struct pending *from, struct pending *to)
{
	for (uint32_t i = 0; i < from->n_rooms; i++) {
		for (struct call *k = from->calls[i], *next; k; k = next) {
			next = k->next;
			put_call(to, k);
		}
		for (struct load *l = from->loads[i], *next; l; l = next) {
			next = l->next_load;
			put_load(to, l);
		}
	}
}

static bool grow(struct pending *p)
{
	struct pending new = *p;

	new.n_rooms = p->n_rooms ? p->n_rooms * 4 : ROOMS_MIN;
	new.calls = mem_zalloc(new.n_rooms, sizeof(*new.calls));
	new.loads = mem_zalloc(new.n_rooms, sizeof(struct load *));
	if (!new.calls || !new.loads) {
		mem_free(new.calls);
		mem_free(new.loads);
		return p->n_rooms != 0; /* long chains do, too */
	}
	move_all(p, &new);
	pending_free(p);
	*p = new;
	return true;
}

int pending_add(struct pending *p, struct call *k, struct err *e)
{
	if (p->n >= p->n_rooms && !grow(p))
		return err_set(e, ERR_NOMEM, "no memory for a call");
	p->searched = 0;
	k->id = ++p->last_id;
	put_call(p, k);
	p->n++;
	return OK;
}

static struct call *unlink_call(struct pending *p, struct call **at)
{
	struct call *k = *at;

	*at = k->next;
	k->next = NULL;
	p->n--;
	return k;
}

struct call *pending_take(struct pending *p, uint64_t id)
{
	struct call **at;

	if (!p->n)
		return NULL;
	for (at = &p->calls[id & (p->n_rooms - 1)]; *at; at = &(*at)->next)
		if ((*at)->id == id)
			return unlink_call(p, at);
	return NULL;
}

struct call *pending_take_any(struct pending *p)
{
	for (; p->n && p->searched < p->n_rooms; p->searched++)
		if (p->calls[p->searched])
			return unlink_call(p, &p->calls[p->searched]);
	return NULL;
}

void pending_add_load(struct pending *p, struct load *l)
{
	put_load(p, l);
}

struct load *pending_find_load(const struct pending *p, uint64_t oid, uint64_t tid)
{
	struct load *l = p->n ? p->loads[room_of_load(p, oid, tid)] : NULL;

	while (l && (l->oid != oid || l->tid != tid))
		l = l->next_load;
	return l;
}

void pending_remove_load(struct pending *p, struct load *l)
{
	struct load **at = &p->loads[room_of_load(p, l->oid, l->tid)];

	while (*at != l)
		at = &(*at)->next_load;
	*at = l->next_load;
}

void pending_free(struct pending *p)
{
	mem_free(p->calls);
	mem_free(p->loads);
	*p = (struct pending){ .last_id = p->last_id };
}

int call_result(const struct call *k, struct err *e)
{
	if (k->rc != OK && e)
		*e = k->err;
	return k->rc;
}

static void wake(struct waiter *w)
{
	*w->back = w->next;
	if (w->next)
		w->next->back = w->back;
	w->back = NULL;
	pthread_cond_signal(&w->cond);
}

void call_finish(struct call *k)
{
	struct client *c = k->client;

	if (k->is_load) {
		load_finish(k->arg);
		return;
	}
	if (k->done) {
		pthread_mutex_unlock(&c->lock);
		k->done(k);
		pthread_mutex_lock(&c->lock);
		return;
	}
	k->finished = true;
	if (k->waiter)
		wake(k->waiter);
}
