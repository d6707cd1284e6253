/* A borrowed run of bytes: never freed, valid as long as its owner says. */
#ifndef BASE_SLICE_H
#define BASE_SLICE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

struct slice {
	const uint8_t *data; /* may be NULL when len is 0 */
	size_t len;
};

/** The bytes of a string literal, which may hold zeros, for constants. */
#define SLICE_INIT(text)                                                                           \
	{                                                                                          \
		(const uint8_t *)("" text), sizeof("" text) - 1                                    \
	}

static inline struct slice slice_of(const void *data, size_t len)
{
	return (struct slice){ data, len };
}

static inline struct slice slice_str(const char *s)
{
	return (struct slice){ (const uint8_t *)s, strlen(s) };
}

static inline bool slice_eq(struct slice a, struct slice b)
{
	return a.len == b.len && (a.len == 0 || memcmp(a.data, b.data, a.len) == 0);
}

static inline bool slice_is(struct slice a, const char *s)
{
	return slice_eq(a, slice_str(s));
}

#endif
