/* loadBefore as clients write it is found without decoding, and means what decoding says. */
#include "cmocka_all.h"

#include <string.h>

#include "base/bigendian.h"
#include "zeo/load_call.h"

static const uint64_t oid = 0x1234;
static const uint64_t tid = 0x03f0000000000042;

static struct arena arena = ARENA_INIT(1 << 20);
static struct buf call = BUF_INIT(0);

static void write_call(enum encoding encoding, const struct val *id)
{
	struct enc en;

	buf_reset(&call);
	enc_begin(&en, &call, encoding);
	enc_tuple(&en, 4);
	enc_val(&en, id);
	enc_bool(&en, false);
	enc_str(&en, slice_str("loadBefore"));
	enc_tuple(&en, 2);
	enc_id(&en, oid);
	enc_id(&en, tid);
	enc_end(&en);
	enc_end(&en);
	enc_finish(&en);
	assert_true(buf_ok(&call));
}

/* The reply's id, decoded, is the call's. */
static void check_reply_id(enum encoding encoding, const struct load_call *c, const struct val *id)
{
	struct buf b = BUF_INIT(0);
	struct err e = ERR_INIT;
	struct message_writer w;
	struct reply_id rid;
	struct message m;

	load_call_reply_id(c, &rid);
	message_reply(&w, &b, encoding, &rid, MESSAGE_REPLY);
	enc_tuple(&w.enc, 0);
	enc_end(&w.enc);
	message_end(&w);
	assert_int_equal(
		message_decode(slice_of(b.data + 4, b.len - 4), encoding, &arena, &m, &e), OK);
	assert_true(val_equal(m.id, id));
	assert_true(slice_is(m.name, ".reply"));
	assert_false(m.async);
	assert_int_equal(m.n_args, 0);
	buf_free(&b);
}

/* What is taken is what message_decode() makes of it, whatever the bytes are. */
static bool agrees(enum encoding encoding, struct slice content)
{
	struct err e = ERR_INIT;
	struct load_call c;
	struct message m;

	if (!load_call_take(content, encoding, &c))
		return false;
	assert_int_equal(message_decode(content, encoding, &arena, &m, &e), OK);
	assert_false(m.async || m.keep_alive);
	assert_true(slice_is(m.name, "loadBefore"));
	assert_int_equal(m.n_args, 2);
	assert_int_equal(m.args[0].type, VAL_BYTES);
	assert_int_equal(m.args[0].s.len, 8);
	assert_true(get_be64(m.args[0].s.data) == c.oid);
	assert_int_equal(m.args[1].s.len, 8);
	assert_true(get_be64(m.args[1].s.data) == c.tid);
	assert_in_range(c.id.len, 1, sizeof(((struct reply_id *)0)->bytes));
	check_reply_id(encoding, &c, m.id);
	arena_reset(&arena);
	return true;
}

static const struct val pair[2] = {
	{ .type = VAL_BYTES, .s = { (const uint8_t *)"12345678", 8 } },
	{ .type = VAL_BYTES, .s = { (const uint8_t *)"\xff\xff\xff\xff\xff\xff\xff\xff", 8 } },
};

/* Ids of ZEO's client: numbers, and the pair of oid and tid (T63). */
static const struct val ids[] = {
	{ .type = VAL_INT, .i = 0 },
	{ .type = VAL_INT, .i = 127 },
	{ .type = VAL_INT, .i = 128 },
	{ .type = VAL_INT, .i = 255 },
	{ .type = VAL_INT, .i = 256 },
	{ .type = VAL_INT, .i = 65536 },
	{ .type = VAL_INT, .i = INT32_MAX },
	{ .type = VAL_TUPLE, .n = 2, .items = (struct val *)pair },
};

static const enum encoding encodings[] = { ENC_PICKLE, ENC_MSGPACK };

static void test_calls_of_clients(void **state)
{
	for (size_t k = 0; k < 2; k++) {
		for (size_t i = 0; i < sizeof(ids) / sizeof(ids[0]); i++) {
			write_call(encodings[k], &ids[i]);
			assert_true(agrees(encodings[k], buf_slice(&call)));
		}
	}
}

/* As ZEO 6.2's client writes them. */
static void test_calls_of_the_released_client(void **state)
{
	static const char pickled[] =
		"\x80\x03(C\x08\0\0\0\0\0\0\0\1C\x08\x7f\xff\xff\xff\xff\xff\xff\xff\x86\x89"
		"X\x0a\0\0\0loadBeforeC\x08\0\0\0\0\0\0\0\1"
		"C\x08\x7f\xff\xff\xff\xff\xff\xff\xff\x86t.";
	static const char packed[] =
		"\x94\x92\xc4\x08\0\0\0\0\0\0\0\1\xc4\x08\x7f\xff\xff\xff\xff\xff\xff\xff\xc2"
		"\xaaloadBefore\x92\xc4\x08\0\0\0\0\0\0\0\1"
		"\xc4\x08\x7f\xff\xff\xff\xff\xff\xff\xff";

	assert_true(agrees(ENC_PICKLE, slice_of(pickled, sizeof(pickled) - 1)));
	assert_true(agrees(ENC_MSGPACK, slice_of(packed, sizeof(packed) - 1)));
}

/* Any byte changed, left out, or too many. */
static void test_other_bytes(void **state)
{
	for (size_t k = 0; k < 2; k++) {
		for (size_t i = 0; i < sizeof(ids) / sizeof(ids[0]); i++) {
			write_call(encodings[k], &ids[i]);
			for (size_t n = 0; n < call.len; n++) {
				uint8_t was = call.data[n];

				assert_false(load_call_take(slice_of(call.data, n), encodings[k],
					&(struct load_call){ 0 }));
				for (unsigned b = 0; b < 256; b++) {
					call.data[n] = (uint8_t)b;
					agrees(encodings[k], buf_slice(&call));
				}
				call.data[n] = was;
			}
			buf_put_u8(&call, 0);
			assert_false(agrees(encodings[k], buf_slice(&call)));
		}
	}
}

/* -1 is the id of a message that keeps the connection alive. */
static void test_negative_ids(void **state)
{
	for (size_t k = 0; k < 2; k++) {
		for (int64_t i = -1; i >= INT32_MIN; i = i * 2 - 1) {
			write_call(encodings[k], &(struct val){ .type = VAL_INT, .i = i });
			assert_false(agrees(encodings[k], buf_slice(&call)));
		}
	}
}

static int free_all(void **state)
{
	arena_free(&arena);
	buf_free(&call);
	return 0;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_calls_of_clients),
		cmocka_unit_test(test_calls_of_the_released_client),
		cmocka_unit_test(test_other_bytes),
		cmocka_unit_test(test_negative_ids),
	};

	return cmocka_run_group_tests(tests, NULL, free_all);
}
