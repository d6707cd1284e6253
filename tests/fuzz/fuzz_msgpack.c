/* Any bytes as msgpack: what can be read can be written, and is read again the same. */
#include "base/buf.h"
#include "base/check.h"
#include "codec/enc.h"
#include "codec/msgpack.h"
#include "fuzz.h"

static void encode(const struct val *v, struct buf *out)
{
	struct enc en;

	enc_begin(&en, out, ENC_MSGPACK);
	enc_val(&en, v);
	enc_finish(&en);
	CHECK(buf_ok(out));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
	struct arena arena = ARENA_INIT(16 << 20);
	struct buf first = BUF_INIT(0);
	struct buf second = BUF_INIT(0);
	struct err e = ERR_INIT;
	struct val v;

	if (msgpack_decode(slice_of(data, n), &pickle_limits_message, &arena, &v, &e) != OK) {
		CHECK(e.code != OK && e.text[0]);
		goto out;
	}
	encode(&v, &first);
	CHECK(msgpack_decode(buf_slice(&first), &pickle_limits_message, &arena, &v, &e) == OK ||
		e.code == ERR_LIMIT);
	encode(&v, &second);
	CHECK(slice_eq(buf_slice(&first), buf_slice(&second)));
out:
	buf_free(&first);
	buf_free(&second);
	arena_free(&arena);
	return 0;
}
