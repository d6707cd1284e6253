#include "base/arena.h"

#include <stdalign.h>
#include <stdint.h>

#include "base/mem.h"

enum { CHUNK_BYTES = 4096 };

struct arena_chunk {
	struct arena_chunk *next;
	size_t room;
	size_t used;
	alignas(max_align_t) uint8_t data[];
};

static struct arena_chunk *chunk_new(struct arena *a, size_t n)
{
	size_t room = n > CHUNK_BYTES ? n : CHUNK_BYTES;
	struct arena_chunk *c = mem_alloc(sizeof(*c) + room);

	if (!c)
		return NULL;
	c->next = a->head;
	c->room = room;
	c->used = 0;
	a->head = c;
	return c;
}

void *arena_alloc(struct arena *a, size_t n)
{
	struct arena_chunk *c = a->head;
	const size_t align = alignof(max_align_t);
	void *p;

	if (n > SIZE_MAX / 2)
		return NULL;
	n = (n + align - 1) & ~(align - 1);
	if (a->max && (n > a->max || a->used > a->max - n))
		return NULL;
	if (!c || c->room - c->used < n)
		c = chunk_new(a, n);
	if (!c)
		return NULL;
	p = c->data + c->used;
	c->used += n;
	a->used += n;
	return p;
}

static void free_chunks(struct arena_chunk *c)
{
	while (c) {
		struct arena_chunk *next = c->next;

		mem_free(c);
		c = next;
	}
}

void arena_reset(struct arena *a)
{
	struct arena_chunk *c = a->head;

	a->used = 0;
	if (!c)
		return;
	free_chunks(c->next);
	c->next = NULL;
	c->used = 0;
	if (c->room > CHUNK_BYTES)
		arena_free(a);
}

void arena_free(struct arena *a)
{
	free_chunks(a->head);
	a->head = NULL;
	a->used = 0;
}
