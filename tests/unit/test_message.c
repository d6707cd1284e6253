/* Frames, messages and exceptions in both encodings. */
#include "cmocka_all.h"

#include <string.h>

#include "base/bigendian.h"
#include "codec/msgpack.h"
#include "codec/pickle.h"
#include "zeo/exception.h"
#include "zeo/frame.h"
#include "zeo/message.h"

static void test_frames(void **state)
{
	uint8_t bytes[] = { 0, 0, 0, 2, 'h', 'i', 0, 0 };
	struct slice content;
	size_t need;

	assert_int_equal(frame_take(slice_of(bytes, 3), 10, &content, &need), FRAME_PARTIAL);
	assert_int_equal(frame_take(slice_of(bytes, 5), 10, &content, &need), FRAME_PARTIAL);
	assert_int_equal(need, 6);
	assert_int_equal(frame_take(slice_of(bytes, 8), 10, &content, &need), FRAME_WHOLE);
	assert_true(slice_is(content, "hi"));
	assert_int_equal(frame_take(slice_of(bytes, 8), 1, &content, &need), FRAME_TOO_BIG);
}

/* A message (id, flag, name, (oid, 7)) in a frame. */
static void write_call(struct buf *b, enum encoding encoding, const struct val *id)
{
	size_t mark = frame_begin(b);
	struct enc en;

	enc_begin(&en, b, encoding);
	enc_tuple(&en, 4);
	enc_val(&en, id);
	enc_bool(&en, false);
	enc_str(&en, slice_str("loadBefore"));
	enc_tuple(&en, 2);
	enc_id(&en, 1);
	enc_int(&en, 7);
	enc_end(&en);
	enc_end(&en);
	enc_finish(&en);
	frame_end(b, mark);
}

static struct slice content_of(const struct buf *b)
{
	struct slice content = { NULL, 0 };
	size_t need;

	assert_true(buf_ok(b));
	assert_int_equal(frame_take(buf_slice(b), 1 << 20, &content, &need), FRAME_WHOLE);
	assert_int_equal(need, b->len);
	return content;
}

/* Whatever the id was, the reply has it (T63). */
static void round_trip(enum encoding encoding, const struct val *id)
{
	struct arena arena = ARENA_INIT(1 << 20);
	struct buf b = BUF_INIT(0);
	struct err e = ERR_INIT;
	struct message_writer w;
	struct reply_id rid;
	struct message m;

	write_call(&b, encoding, id);
	assert_int_equal(message_decode(content_of(&b), encoding, &arena, &m, &e), OK);
	assert_true(val_equal(m.id, id));
	assert_true(slice_is(m.name, "loadBefore"));
	assert_false(m.async);
	assert_int_equal(m.n_args, 2);
	assert_int_equal(m.args[1].i, 7);
	assert_int_equal(reply_id_set(&rid, m.id, encoding, &e), OK);

	buf_reset(&b);
	message_reply(&w, &b, encoding, &rid, MESSAGE_ERROR);
	exception_pos_key(&w.enc, 5);
	message_end(&w);
	assert_int_equal(message_decode(content_of(&b), encoding, &arena, &m, &e), OK);
	assert_true(val_equal(m.id, id));
	assert_true(slice_is(m.name, ".reply"));
	assert_int_equal(m.n_args, 2);
	assert_true(slice_is(m.args[0].s, "ZODB.POSException.POSKeyError"));
	assert_int_equal(get_be64(m.args[1].items[0].s.data), 5);
	buf_free(&b);
	arena_free(&arena);
}

static void test_ids(void **state)
{
	struct val pair[2] = {
		{ .type = VAL_BYTES, .s = { (const uint8_t *)"12345678", 8 } },
		{ .type = VAL_BYTES,
			.s = { (const uint8_t *)"\xff\xff\xff\xff\xff\xff\xff\xff", 8 } },
	};
	struct val ids[] = {
		{ .type = VAL_INT, .i = 0 },
		{ .type = VAL_INT, .i = -2 },
		{ .type = VAL_INT, .i = INT64_MAX },
		{ .type = VAL_STR, .s = { (const uint8_t *)"abc", 3 } },
		{ .type = VAL_TUPLE, .n = 2, .items = pair },
	};

	for (size_t i = 0; i < sizeof(ids) / sizeof(ids[0]); i++) {
		round_trip(ENC_PICKLE, &ids[i]);
		round_trip(ENC_MSGPACK, &ids[i]);
	}
}

static void test_long_id_is_refused(void **state)
{
	char text[100] = { 0 };
	struct val id = { .type = VAL_BYTES, .s = { (const uint8_t *)text, sizeof(text) } };
	struct err e = ERR_INIT;
	struct reply_id rid;

	assert_int_equal(reply_id_set(&rid, &id, ENC_PICKLE, &e), ERR_LIMIT);
	assert_int_equal(reply_id_set(&rid, &id, ENC_MSGPACK, &e), ERR_LIMIT);
}

static void refuse(const char *pickle, size_t n)
{
	struct arena arena = ARENA_INIT(1 << 20);
	struct err e = ERR_INIT;
	struct message m;

	assert_int_equal(
		message_decode(slice_of(pickle, n), ENC_PICKLE, &arena, &m, &e), ERR_FORMAT);
	assert_true(e.text[0] != 0);
	arena_free(&arena);
}

static void test_not_messages(void **state)
{
	refuse("", 0);
	refuse("K\x01.", 3);
	refuse("K\x01K\x02\x86.", 6);
	refuse("(K\x01NNNt.", 8);                             /* the flag is None */
	refuse("(K\x01K\0K\0K\0t.", 11);                      /* the name is a number */
	refuse("(K\x01K\0U\x01xK\0t.", 12);                   /* the arguments are a number */
	refuse("(K\x01K\0U\x01x(cos\nsystem\nS'x'\ntt.", 30); /* T43 */
}

static void test_keep_alive(void **state)
{
	struct arena arena = ARENA_INIT(1 << 20);
	struct err e = ERR_INIT;
	struct message m;

	/* (-1, 0, '.reply', None) as ZEO's clients send it */
	assert_int_equal(
		message_decode(slice_of("\x80\x03(J\xff\xff\xff\xffK\0X\x06\0\0\0.replyNt.", 24),
			ENC_PICKLE, &arena, &m, &e),
		OK);
	assert_true(m.keep_alive);
	arena_free(&arena);
}

static struct val decode_pickle(const struct buf *b, struct arena *arena)
{
	struct err e = ERR_INIT;
	struct val v;

	if (pickle_decode(buf_slice(b), PICKLE_KEEP_GLOBALS, &pickle_limits_message, arena, &v,
		    NULL, &e) != OK)
		fail_msg("%s", e.text);
	return v;
}

/* MultipleUndoErrors have exceptions in them: passed on in pickle they are the same, in msgpack what they are
 * there when they are made there. */
static void test_passed_on(void **state)
{
	struct buf came = BUF_INIT(0);
	struct buf again = BUF_INIT(0);
	struct buf there = BUF_INIT(0);
	struct arena arena = ARENA_INIT(1 << 20);
	struct err e = ERR_INIT;
	struct val plain;
	struct val raised;
	struct enc en;

	enc_begin(&en, &came, ENC_PICKLE);
	exception_undo_begin(&en, 1, 7, "no");
	exception_undo_failure(&en, 7, "no");
	exception_undo_end(&en);
	enc_finish(&en);
	raised = decode_pickle(&came, &arena);
	enc_begin(&en, &again, ENC_PICKLE);
	exception_val(&en, &raised);
	enc_finish(&en);
	assert_true(slice_eq(buf_slice(&came), buf_slice(&again)));
	enc_begin(&en, &there, ENC_MSGPACK);
	exception_val(&en, &raised);
	enc_finish(&en);
	assert_int_equal(
		msgpack_decode(buf_slice(&there), &pickle_limits_message, &arena, &plain, &e), OK);
	assert_true(slice_is(plain.items[0].s, "ZODB.POSException.MultipleUndoErrors"));
	plain = *val_get(&plain.items[1], "_oid");
	assert_int_equal(plain.type, VAL_TUPLE);
	assert_true(slice_is(plain.items[0].s, "ZODB.POSException.UndoError"));
	assert_true(slice_is(val_get(&plain.items[1], "_reason")->s, "no"));
	assert_int_equal(get_be64(val_get(&plain.items[1], "_oid")->s.data), 7);
	buf_free(&came);
	buf_free(&again);
	buf_free(&there);
	arena_free(&arena);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_frames),
		cmocka_unit_test(test_ids),
		cmocka_unit_test(test_long_id_is_refused),
		cmocka_unit_test(test_not_messages),
		cmocka_unit_test(test_keep_alive),
		cmocka_unit_test(test_passed_on),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
