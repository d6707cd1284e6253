#include "base/buf.h"

#include <stdarg.h>
#include <stdio.h>

#include "base/bigendian.h"
#include "base/mem.h"

void buf_free(struct buf *b)
{
	mem_free(b->data);
	b->data = NULL;
	b->len = b->room = 0;
	b->failed = false;
}

void buf_reset(struct buf *b)
{
	b->len = 0;
	b->failed = false;
}

void buf_shrink(struct buf *b, size_t keep)
{
	if (b->room > keep)
		buf_free(b);
	buf_reset(b);
}

static bool grow(struct buf *b, size_t need)
{
	size_t room = b->room ? b->room : 64;
	uint8_t *data;

	while (room < need)
		room = room < (SIZE_MAX >> 1) ? room * 2 : need;
	data = mem_realloc(b->data, room);
	if (!data)
		return false;
	b->data = data;
	b->room = room;
	return true;
}

uint8_t *buf_grow(struct buf *b, size_t n)
{
	size_t need = b->len + n;

	if (b->failed)
		return NULL;
	if (need < n || (b->max && need > b->max) || (need > b->room && !grow(b, need))) {
		b->failed = true;
		return NULL;
	}
	return b->data + b->len;
}

void buf_put_str(struct buf *b, const char *s)
{
	buf_put(b, s, strlen(s));
}

void buf_put_be16(struct buf *b, uint16_t v)
{
	uint8_t p[2];

	put_be16(p, v);
	buf_put(b, p, sizeof(p));
}

void buf_put_be32(struct buf *b, uint32_t v)
{
	uint8_t p[4];

	put_be32(p, v);
	buf_put(b, p, sizeof(p));
}

void buf_put_be64(struct buf *b, uint64_t v)
{
	uint8_t p[8];

	put_be64(p, v);
	buf_put(b, p, sizeof(p));
}

void buf_printf(struct buf *b, const char *fmt, ...)
{
	va_list ap;
	va_list again;
	uint8_t *p;
	int n;

	va_start(ap, fmt);
	va_copy(again, ap);
	n = vsnprintf(NULL, 0, fmt, ap);
	va_end(ap);
	p = n < 0 ? NULL : buf_reserve(b, (size_t)n + 1);
	if (p) {
		vsnprintf((char *)p, (size_t)n + 1, fmt, again);
		b->len += (size_t)n;
	}
	va_end(again);
}
