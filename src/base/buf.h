/* An owned, growing run of bytes with a cap. Errors are sticky: write many
 * values, then check buf_ok() once. */
#ifndef BASE_BUF_H
#define BASE_BUF_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "base/compiler.h"
#include "base/slice.h"

struct buf {
	uint8_t *data;
	size_t len;
	size_t room; /* bytes allocated */
	size_t max;  /* len never exceeds this; 0 = no cap */
	bool failed; /* an append found no memory or passed max; stays set until reset */
};

#define BUF_INIT(cap)                                                                              \
	{                                                                                          \
		NULL, 0, 0, (cap), false                                                           \
	}

/** Free the bytes; the buffer is empty and may be used again. */
void buf_free(struct buf *b);
/** Forget the content and the failure, keep the memory. */
void buf_reset(struct buf *b);
/** As buf_reset(), but give memory above @keep bytes back. */
void buf_shrink(struct buf *b, size_t keep);
/** What buf_reserve() does when there is no room; call that. */
uint8_t *buf_grow(struct buf *b, size_t n);
/** Make room for @n more bytes and return where they go; NULL sets the failure.
 * The caller writes and then calls buf_advance(). */
static inline uint8_t *buf_reserve(struct buf *b, size_t n)
{
	bool fits = !b->failed && n <= b->room - b->len && (!b->max || b->len + n <= b->max);

	return fits ? b->data + b->len : buf_grow(b, n);
}
/** Count @n reserved bytes as written. */
static inline void buf_advance(struct buf *b, size_t n)
{
	b->len += n;
}

/* Inline, as replies are written with them piece by piece. */
static inline void buf_put(struct buf *b, const void *data, size_t n)
{
	uint8_t *p = n ? buf_reserve(b, n) : NULL;

	if (p) {
		memcpy(p, data, n);
		b->len += n;
	}
}

static inline void buf_put_slice(struct buf *b, struct slice s)
{
	buf_put(b, s.data, s.len);
}

static inline void buf_put_u8(struct buf *b, uint8_t v)
{
	buf_put(b, &v, 1);
}

void buf_put_str(struct buf *b, const char *s);
void buf_put_be16(struct buf *b, uint16_t v);
void buf_put_be32(struct buf *b, uint32_t v);
void buf_put_be64(struct buf *b, uint64_t v);
void buf_printf(struct buf *b, const char *fmt, ...) PRINTF(2, 3);

static inline bool buf_ok(const struct buf *b)
{
	return !b->failed;
}

static inline struct slice buf_slice(const struct buf *b)
{
	return slice_of(b->data, b->len);
}

#endif
