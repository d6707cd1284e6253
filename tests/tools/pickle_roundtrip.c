/* Decode values and encode them again, for the comparison with Python's codecs.
 *
 * stdin:  frames of 4 bytes length (big-endian), format of the input, format wanted, input
 * stdout: for each, 4 bytes length, '+' and the value or '-' and the error's text
 * Formats: 'Z' pickle, 'K' pickle with globals kept, 'M' msgpack, 'C' (out) class name. */
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/arena.h"
#include "base/bigendian.h"
#include "base/buf.h"
#include "base/mem.h"
#include "codec/enc.h"
#include "codec/msgpack.h"
#include "codec/pickle.h"

static int decode(struct slice in, uint8_t format, struct arena *a, struct val *ret, struct err *e)
{
	if (format == 'M')
		return msgpack_decode(in, &pickle_limits_message, a, ret, e);
	return pickle_decode(in, format == 'K' ? PICKLE_KEEP_GLOBALS : 0, &pickle_limits_message, a,
		ret, NULL, e);
}

static void convert(struct slice in, const uint8_t formats[2], struct buf *out)
{
	struct arena arena = ARENA_INIT(64 << 20);
	struct err e = ERR_INIT;
	char name[256];
	struct enc en;
	struct val v;

	buf_put_u8(out, '+');
	if (formats[1] == 'C') {
		pickle_class_name(in, name, sizeof(name));
		buf_put_str(out, name);
	} else if (decode(in, formats[0], &arena, &v, &e) == OK) {
		enc_begin(&en, out, formats[1] == 'M' ? ENC_MSGPACK : ENC_PICKLE);
		enc_val(&en, &v);
		enc_finish(&en);
	} else {
		buf_reset(out);
		buf_put_u8(out, '-');
		buf_put_str(out, e.text);
	}
	if (!buf_ok(out)) {
		buf_reset(out);
		buf_put_str(out, "-cannot be written");
	}
	arena_free(&arena);
}

static void answer(const struct buf *out)
{
	uint8_t head[4];

	put_be32(head, (uint32_t)out->len);
	fwrite(head, 1, sizeof(head), stdout);
	fwrite(out->data, 1, out->len, stdout);
	fflush(stdout);
}

int main(void)
{
	struct buf out = BUF_INIT(0);
	uint8_t head[6];

	while (fread(head, 1, sizeof(head), stdin) == sizeof(head)) {
		size_t n = get_be32(head);
		uint8_t *in = mem_alloc(n);

		if (!in || fread(in, 1, n, stdin) != n) {
			mem_free(in);
			break;
		}
		buf_reset(&out);
		convert(slice_of(in, n), head + 4, &out);
		answer(&out);
		mem_free(in);
	}
	buf_free(&out);
	return 0;
}
