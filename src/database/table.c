/* A connection's objects by oid, and which of them may go. */
#include "base/mem.h"
#include "database/connection.h"

enum { SLOTS_MIN = 64 };

static size_t slot_of(const struct object_table *t, uint64_t oid)
{
	return (size_t)((oid * UINT64_C(0x9e3779b97f4a7c15)) >> 20) & (t->n_slots - 1);
}

struct persistent *table_find(const struct object_table *t, uint64_t oid)
{
	struct persistent *p = t->n_slots ? t->slots[slot_of(t, oid)] : NULL;

	while (p && p->oid != oid)
		p = p->next_in_slot;
	return p;
}

static int grow(struct object_table *t, struct err *e)
{
	struct object_table old = *t;
	size_t n = old.n_slots ? old.n_slots * 2 : SLOTS_MIN;
	struct persistent **slots = mem_zalloc(n, sizeof(struct persistent *));

	if (!slots)
		return err_set(e, ERR_NOMEM, "no memory for a table of %zu objects", n);
	t->slots = slots;
	t->n_slots = n;
	for (size_t i = 0; i < old.n_slots; i++) {
		while (old.slots[i]) {
			struct persistent *p = old.slots[i];
			struct persistent **at = &t->slots[slot_of(t, p->oid)];

			old.slots[i] = p->next_in_slot;
			p->next_in_slot = *at;
			*at = p;
		}
	}
	mem_free(old.slots);
	return OK;
}

int table_put(struct object_table *t, struct persistent *p, struct err *e)
{
	struct persistent **at;

	if (t->n >= t->n_slots && grow(t, e) != OK)
		return ERR_NOMEM;
	at = &t->slots[slot_of(t, p->oid)];
	p->next_in_slot = *at;
	*at = p;
	t->n++;
	return OK;
}

void table_remove(struct object_table *t, struct persistent *p)
{
	struct persistent **at = t->n_slots ? &t->slots[slot_of(t, p->oid)] : NULL;

	table_busy(t, p);
	while (at && *at && *at != p)
		at = &(*at)->next_in_slot;
	if (!at || !*at)
		return;
	*at = p->next_in_slot;
	t->n--;
}

void table_busy(struct object_table *t, struct persistent *p)
{
	if (!p->is_idle)
		return;
	p->is_idle = false;
	if (p->older)
		p->older->newer = p->newer;
	else
		t->oldest = p->newer;
	if (p->newer)
		p->newer->older = p->older;
	else
		t->newest = p->older;
	t->n_idle--;
	t->idle_bytes -= p->bytes;
}

void table_idle(struct object_table *t, struct persistent *p)
{
	if (p->is_idle || p->refs || p->status != PERSISTENT_CLEAN || p->checked)
		return;
	p->is_idle = true;
	p->newer = NULL;
	p->older = t->newest;
	if (t->newest)
		t->newest->newer = p;
	else
		t->oldest = p;
	t->newest = p;
	t->n_idle++;
	t->idle_bytes += p->bytes;
}

void table_trim(struct object_table *t)
{
	while (t->oldest && (t->n_idle > t->n_idle_max || t->idle_bytes > t->idle_bytes_max))
		persistent_free(t->oldest);
}
