#include "storage/filestorage/offset_map.h"

#include "base/mem.h"

enum { ROOM_FIRST = 64 };

void offset_map_free(struct offset_map *m)
{
	mem_free(m->pairs);
	*m = (struct offset_map){ 0 };
}

static struct offset_pair *place(struct offset_pair *pairs, size_t room, uint64_t off)
{
	size_t at = (size_t)((off * UINT64_C(0x9e3779b97f4a7c15)) >> 20) & (room - 1);

	while (pairs[at].off && pairs[at].off != off)
		at = (at + 1) & (room - 1);
	return &pairs[at];
}

static int grow(struct offset_map *m, struct err *e)
{
	size_t room = m->room ? m->room * 2 : ROOM_FIRST;
	struct offset_pair *pairs = mem_zalloc(room, sizeof(*pairs));

	if (!pairs)
		return err_set(e, ERR_NOMEM, "no memory for the revisions of undo");
	for (size_t i = 0; i < m->room; i++)
		if (m->pairs[i].off)
			*place(pairs, room, m->pairs[i].off) = m->pairs[i];
	mem_free(m->pairs);
	m->pairs = pairs;
	m->room = room;
	return OK;
}

int offset_map_put(struct offset_map *m, uint64_t off, uint64_t value, struct err *e)
{
	struct offset_pair *p;

	if (m->n >= m->room / 4 * 3) {
		int rc = grow(m, e);

		if (rc != OK)
			return rc;
	}
	p = place(m->pairs, m->room, off);
	m->n += !p->off;
	*p = (struct offset_pair){ off, value };
	return OK;
}

struct offset_pair *offset_map_get(const struct offset_map *m, uint64_t off)
{
	struct offset_pair *p;

	if (!m->room || !off)
		return NULL;
	p = place(m->pairs, m->room, off);
	return p->off ? p : NULL;
}
