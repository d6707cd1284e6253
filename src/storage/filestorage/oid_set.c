#include "storage/filestorage/oid_set.h"

#include "base/mem.h"

enum { ROOM_FIRST = 1024 };

void oid_set_free(struct oid_set *s)
{
	mem_free(s->pieces);
	*s = (struct oid_set){ 0 };
}

static uint64_t bit_of(uint64_t oid)
{
	return UINT64_C(1) << (oid & 63);
}

/* The piece of @key, or the free one where it would be. There is a free one. */
static struct oid_piece *place(struct oid_piece *pieces, size_t room, uint64_t key)
{
	size_t at = (size_t)((key * UINT64_C(0x9e3779b97f4a7c15)) >> 20) & (room - 1);

	while (pieces[at].key && pieces[at].key != key)
		at = (at + 1) & (room - 1);
	return &pieces[at];
}

static int grow(struct oid_set *s, struct err *e)
{
	size_t room = s->room ? s->room * 2 : ROOM_FIRST;
	struct oid_piece *pieces = mem_zalloc(room, sizeof(*pieces));

	if (!pieces)
		return err_set(e, ERR_NOMEM, "no memory to mark the objects");
	for (size_t i = 0; i < s->room; i++)
		if (s->pieces[i].key)
			*place(pieces, room, s->pieces[i].key) = s->pieces[i];
	mem_free(s->pieces);
	s->pieces = pieces;
	s->room = room;
	return OK;
}

int oid_set_add(struct oid_set *s, uint64_t oid, bool *ret_new, struct err *e)
{
	uint64_t key = oid / 64 + 1;
	struct oid_piece *p;

	if (s->n >= s->room / 4 * 3) {
		int rc = grow(s, e);

		if (rc != OK)
			return rc;
	}
	p = place(s->pieces, s->room, key);
	s->n += !p->key;
	p->key = key;
	*ret_new = !(p->reached & bit_of(oid));
	p->reached |= bit_of(oid);
	return OK;
}

bool oid_set_has(const struct oid_set *s, uint64_t oid)
{
	return s->room && place(s->pieces, s->room, oid / 64 + 1)->reached & bit_of(oid);
}

void oid_set_scanned(struct oid_set *s, uint64_t oid)
{
	place(s->pieces, s->room, oid / 64 + 1)->scanned |= bit_of(oid);
}

bool oid_set_unscanned(const struct oid_set *s, size_t *at, uint64_t *ret_oid)
{
	for (; *at < s->room; ++*at) {
		const struct oid_piece *p = &s->pieces[*at];
		uint64_t left = p->reached & ~p->scanned;

		if (!left)
			continue;
		*ret_oid = (p->key - 1) * 64 + (uint64_t)__builtin_ctzll(left);
		return true;
	}
	return false;
}
