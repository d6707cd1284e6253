/* Any bytes as a pickle: what can be read can be written, and is read again the same. */
#include "base/buf.h"
#include "base/check.h"
#include "codec/enc.h"
#include "codec/msgpack.h"
#include "codec/pickle.h"
#include "fuzz.h"

static void encode(const struct val *v, enum encoding encoding, struct buf *out)
{
	struct enc en;

	enc_begin(&en, out, encoding);
	enc_val(&en, v);
	enc_finish(&en);
}

static void again(const struct buf *first)
{
	struct arena arena = ARENA_INIT(16 << 20);
	struct buf second = BUF_INIT(0);
	struct val v;

	/* a set is written as a call and so is deeper than it was */
	if (pickle_decode(buf_slice(first), PICKLE_KEEP_GLOBALS, &pickle_limits_message, &arena, &v,
		    NULL, NULL) == OK) {
		encode(&v, ENC_PICKLE, &second);
		CHECK(buf_ok(&second));
		CHECK(slice_eq(buf_slice(first), buf_slice(&second)));
	}
	buf_free(&second);
	arena_free(&arena);
}

static void decode(struct slice in, unsigned flags)
{
	struct arena arena = ARENA_INIT(16 << 20);
	struct buf out = BUF_INIT(64 << 20);
	struct err e = ERR_INIT;
	struct val v;

	if (pickle_decode(in, flags, &pickle_limits_message, &arena, &v, NULL, &e) != OK) {
		CHECK(e.code != OK && e.text[0]);
	} else {
		(void)val_equal(&v, &v); /* ends */
		encode(&v, ENC_PICKLE, &out);
		if (buf_ok(&out))
			again(&out);
		buf_reset(&out);
		encode(&v, ENC_MSGPACK, &out);
	}
	buf_free(&out);
	arena_free(&arena);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
	struct slice in = slice_of(data, n);
	char name[64];

	decode(in, 0);
	decode(in, PICKLE_KEEP_GLOBALS);
	pickle_class_name(in, name, sizeof(name));
	return 0;
}
