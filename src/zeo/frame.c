#include "zeo/frame.h"

#include "base/bigendian.h"
#include "base/check.h"

enum frame_result frame_take(
	struct slice in, uint32_t max, struct slice *ret_content, size_t *ret_need)
{
	uint32_t n;

	*ret_need = 0;
	if (in.len < FRAME_HEADER_LEN)
		return FRAME_PARTIAL;
	n = get_be32(in.data);
	*ret_need = FRAME_HEADER_LEN + (size_t)n;
	if (n > max)
		return FRAME_TOO_BIG;
	if (in.len < *ret_need)
		return FRAME_PARTIAL;
	*ret_content = slice_of(in.data + FRAME_HEADER_LEN, n);
	return FRAME_WHOLE;
}

size_t frame_begin(struct buf *b)
{
	size_t mark = b->len;

	buf_put_be32(b, 0);
	return mark;
}

void frame_end(struct buf *b, size_t mark)
{
	if (!buf_ok(b))
		return;
	CHECK(b->len >= mark + FRAME_HEADER_LEN);
	put_be32(b->data + mark, (uint32_t)(b->len - mark - FRAME_HEADER_LEN));
}
