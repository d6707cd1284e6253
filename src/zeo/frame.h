/* Frames: a 4-byte big-endian length, then that many bytes (ZEO's sized messages). */
#ifndef ZEO_FRAME_H
#define ZEO_FRAME_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/bigendian.h"
#include "base/buf.h"
#include "base/slice.h"

enum { FRAME_HEADER_LEN = 4 };

enum frame_result {
	FRAME_WHOLE,   /* one is there */
	FRAME_PARTIAL, /* more bytes are needed */
	FRAME_TOO_BIG, /* announces more than is allowed */
};

/**
 * Take the first frame of @in.
 * @max          largest content allowed, in bytes
 * @ret_content  FRAME_WHOLE: borrowed from @in
 * @ret_need     bytes of @in the whole frame takes, header included; 0 while unknown
 */
enum frame_result frame_take(
	struct slice in, uint32_t max, struct slice *ret_content, size_t *ret_need);

/** Is there anything behind the first frame of @in? */
static inline bool frame_is_followed(struct slice in)
{
	return in.len > FRAME_HEADER_LEN && in.len - FRAME_HEADER_LEN > get_be32(in.data);
}

/** Start a frame at the end of @b; returns a mark for frame_end(). */
size_t frame_begin(struct buf *b);
/** Fill in the length of what was appended since @mark. */
void frame_end(struct buf *b, size_t mark);

#endif
