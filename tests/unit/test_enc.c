/* What the encoder writes, byte by byte. tests/interop/test_codec.py has Python read it. */
#include "cmocka_all.h"

#include "base/compiler.h"
#include "codec/enc.h"

struct fixture {
	struct buf out;
	struct enc en;
};

static void begin(struct fixture *f, enum encoding encoding)
{
	f->out = (struct buf)BUF_INIT(0);
	enc_begin(&f->en, &f->out, encoding);
}

static void expect(struct fixture *f, const char *bytes, size_t n)
{
	enc_finish(&f->en);
	assert_true(buf_ok(&f->out));
	assert_int_equal(f->out.len, n);
	assert_memory_equal(f->out.data, bytes, n);
	buf_free(&f->out);
}

#define EXPECT(f, text) expect((f), (text), sizeof(text) - 1)

static void expect_int(int64_t v, const char *pickled, size_t n, const char *packed, size_t m)
{
	struct fixture f;

	begin(&f, ENC_PICKLE);
	enc_int(&f.en, v);
	expect(&f, pickled, n);
	begin(&f, ENC_MSGPACK);
	enc_int(&f.en, v);
	expect(&f, packed, m);
}

#define INT(v, p, m) expect_int((v), (p), sizeof(p) - 1, (m), sizeof(m) - 1)

static void test_ints(void **state)
{
	INT(0, "\x80\x03K\x00.", "\x00");
	INT(127, "\x80\x03K\x7f.", "\x7f");
	INT(128, "\x80\x03K\x80.", "\xcc\x80");
	INT(255, "\x80\x03K\xff.", "\xcc\xff");
	INT(256, "\x80\x03M\x00\x01.", "\xcd\x01\x00");
	INT(65536, "\x80\x03J\x00\x00\x01\x00.", "\xce\x00\x01\x00\x00");
	INT(-1, "\x80\x03J\xff\xff\xff\xff.", "\xff");
	INT(-32, "\x80\x03J\xe0\xff\xff\xff.", "\xe0");
	INT(-33, "\x80\x03J\xdf\xff\xff\xff.", "\xd0\xdf");
	INT(-129, "\x80\x03J\x7f\xff\xff\xff.", "\xd1\xff\x7f");
	INT(INT64_C(1) << 31, "\x80\x03\x8a\x05\x00\x00\x00\x80\x00.", "\xce\x80\x00\x00\x00");
	INT(INT64_MIN, "\x80\x03\x8a\x08\x00\x00\x00\x00\x00\x00\x00\x80.",
		"\xd3\x80\x00\x00\x00\x00\x00\x00\x00");
}

/* The reply to a loadBefore, as ZEO's server writes it. */
static void put_reply(struct enc *en)
{
	enc_tuple(en, 4);
	enc_int(en, 7);
	enc_bool(en, false);
	enc_str(en, slice_str(".reply"));
	enc_tuple(en, 3);
	enc_bytes(en, slice_str("data"));
	enc_id(en, 1);
	enc_none(en);
	enc_end(en);
	enc_end(en);
}

static void test_reply(void **state)
{
	struct fixture f;

	begin(&f, ENC_PICKLE);
	put_reply(&f.en);
	EXPECT(&f, "\x80\x03(K\x07\x89X\x06\0\0\0.replyC\x04"
		   "dataC\x08\0\0\0\0\0\0\0\1N\x87t.");
	begin(&f, ENC_MSGPACK);
	put_reply(&f.en);
	EXPECT(&f, "\x94\x07\xc2\xa6.reply\x93\xc4\x04"
		   "data\xc4\x08\0\0\0\0\0\0\0\1\xc0");
}

static void put_containers(struct enc *en)
{
	enc_tuple(en, 3);
	enc_tuple(en, 0);
	enc_end(en);
	enc_list(en, 0);
	enc_end(en);
	enc_dict(en, 1);
	enc_str(en, slice_str("k"));
	enc_list(en, 1);
	enc_float(en, 1.5);
	enc_end(en);
	enc_end(en);
	enc_end(en);
}

static void test_containers(void **state)
{
	struct fixture f;

	begin(&f, ENC_PICKLE);
	put_containers(&f.en);
	EXPECT(&f, "\x80\x03)]}(X\x01\0\0\0k](G\x3f\xf8\0\0\0\0\0\0eu\x87.");
	begin(&f, ENC_MSGPACK);
	put_containers(&f.en);
	EXPECT(&f, "\x93\x90\x90\x81\xa1k\x91\xcb\x3f\xf8\0\0\0\0\0\0");
}

static void test_too_deep(void **state)
{
	struct fixture f;

	begin(&f, ENC_PICKLE);
	for (int i = 0; i <= ENC_DEPTH_MAX; i++)
		enc_tuple(&f.en, 1);
	assert_false(buf_ok(&f.out));
	buf_free(&f.out);
}

static void test_not_closed(void **state)
{
	struct fixture f;

	begin(&f, ENC_PICKLE);
	enc_tuple(&f.en, 1);
	enc_none(&f.en);
	enc_finish(&f.en);
	assert_false(buf_ok(&f.out));
	buf_free(&f.out);
}

static void test_closed_twice(void **state)
{
	struct fixture f;

	begin(&f, ENC_MSGPACK);
	enc_end(&f.en);
	assert_false(buf_ok(&f.out));
	buf_free(&f.out);
}

static void test_only_pickled(void **state)
{
	static const enum val_type types[] = { VAL_GLOBAL, VAL_SET };
	struct fixture f;

	for (size_t i = 0; i < ARRAY_LEN(types); i++) {
		struct val v = { .type = types[i] };

		begin(&f, ENC_MSGPACK);
		enc_val(&f.en, &v);
		assert_false(buf_ok(&f.out));
		buf_free(&f.out);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_ints),
		cmocka_unit_test(test_reply),
		cmocka_unit_test(test_containers),
		cmocka_unit_test(test_too_deep),
		cmocka_unit_test(test_not_closed),
		cmocka_unit_test(test_closed_twice),
		cmocka_unit_test(test_only_pickled),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
