/* Reading pickles: meanings, limits, hostile input (T43, T44, T63). */
#include "cmocka_all.h"

#include <stdio.h>

#include "base/compiler.h"
#include "base/mem.h"
#include "codec/enc.h"
#include "codec/pickle.h"

static struct arena arena = ARENA_INIT(4 << 20);

static struct val decode_flags(const char *bytes, size_t n, unsigned flags)
{
	struct val v = { .type = VAL_NONE };
	struct err e = ERR_INIT;

	arena_reset(&arena);
	if (pickle_decode(
		    slice_of(bytes, n), flags, &pickle_limits_message, &arena, &v, NULL, &e) != OK)
		fail_msg("%s", e.text);
	return v;
}

#define DECODE(text) decode_flags((text), sizeof(text) - 1, 0)
#define KEEP(text)   decode_flags((text), sizeof(text) - 1, PICKLE_KEEP_GLOBALS)

/* The input in memory of its own, so that a sanitizer sees a read behind it. */
static int decode_limits(
	const char *bytes, size_t n, const struct pickle_limits *limits, struct err *e)
{
	uint8_t *copy = mem_alloc(n);
	struct val v;
	int rc;

	assert_non_null(copy);
	if (n)
		memcpy(copy, bytes, n);
	arena_reset(&arena);
	rc = pickle_decode(slice_of(copy, n), 0, limits, &arena, &v, NULL, e);
	mem_free(copy);
	return rc;
}

static void refuse(const char *bytes, size_t n, int code, const char *part)
{
	struct err e = ERR_INIT;

	assert_int_equal(decode_limits(bytes, n, &pickle_limits_message, &e), code);
	assert_int_equal(e.code, code);
	if (!strstr(e.text, part))
		fail_msg("'%s' does not say '%s'", e.text, part);
}

#define REFUSE(text, code, part) refuse((text), sizeof(text) - 1, (code), (part))

/* (1, 0, 'loadBefore', (oid, tid)) as ZEO's client pickles it */
static const char load_before[] =
	"\x80\x03(K\x01K\x00X\x0a\0\0\0loadBeforeC\x08\0\0\0\0\0\0\0\1C\x08\0\0\0\0\0\0\0\2\x86t.";

static void test_message(void **state)
{
	struct val v = DECODE(load_before);

	assert_int_equal(v.type, VAL_TUPLE);
	assert_int_equal(v.n, 4);
	assert_int_equal(v.items[0].i, 1);
	assert_true(slice_is(v.items[2].s, "loadBefore"));
	assert_int_equal(v.items[3].n, 2);
	assert_int_equal(v.items[3].items[1].type, VAL_BYTES);
	assert_int_equal(v.items[3].items[1].s.len, 8);
}

/* Any value may be an id, and comes back as it was. */
static void test_ids(void **state)
{
	static const char nested[] = "\x80\x03"
				     "C\x01"
				     "aX\x01\0\0\0b\x8a\x05\0\0\0\0\x01\x87.";
	struct buf out = BUF_INIT(0);
	struct val v = DECODE(nested);
	struct enc en;

	enc_begin(&en, &out, ENC_PICKLE);
	enc_val(&en, &v);
	enc_finish(&en);
	assert_int_equal(out.len, sizeof(nested) - 1);
	assert_memory_equal(out.data, nested, out.len);
	buf_free(&out);
}

static void test_no_memory_but_the_arena(void **state)
{
	arena_reset(&arena);
	DECODE(load_before);
	assert_true(arena.used < 1000);
}

static void test_protocols(void **state)
{
	assert_int_equal(DECODE("I01\n.").type, VAL_BOOL);
	assert_int_equal(DECODE("I-5\n.").i, -5);
	assert_int_equal(DECODE("L9223372036854775807L\n.").i, INT64_MAX);
	assert_int_equal(DECODE("L-9223372036854775808L\n.").i, INT64_MIN);
	assert_int_equal(DECODE("L9223372036854775808L\n.").type, VAL_BIGINT);
	assert_int_equal(DECODE("L9223372036854775808L\n.").s.len, 9);
	assert_true(DECODE("F-1.5\n.").f == -1.5);
	assert_true(slice_is(DECODE("S'a\\x42\\n'\n.").s, "aB\n"));
	assert_true(slice_is(DECODE("V\\u20ac\xe4\n.").s, "€ä"));
	assert_int_equal(DECODE("U\x01\xff.").type, VAL_BYTES);
	assert_int_equal(DECODE("U\x01z.").type, VAL_STR);
	assert_int_equal(DECODE("\x80\x04\x95\3\0\0\0\0\0\0\0]\x94.").type, VAL_LIST);
	assert_int_equal(DECODE("\x80\x04\x8f(K\1\x90.").n, 1);
	assert_int_equal(DECODE("\x80\x05\x96\1\0\0\0\0\0\0\0x.").type, VAL_BYTES);
	assert_int_equal(DECODE("\x8a\x00.").i, 0);
	assert_int_equal(DECODE("\x8a\x0a\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff.").i, -1);
}

static void test_plain_meanings(void **state)
{
	struct val v;

	assert_true(slice_is(DECODE("czodbpickle\nbinary\nC\x01z\x85\x81.").s, "z"));
	assert_int_equal(DECODE("c__builtin__\nbytes\n)R.").type, VAL_BYTES);
	assert_int_equal(DECODE("c__builtin__\nset\n](K\1K\2e\x85R.").n, 2);
	assert_int_equal(DECODE("cbuiltins\nfrozenset\n](K\1K\2e\x85R.").type, VAL_SET);
	v = DECODE("cbuiltins\ndict\n((X\3\0\0\0fooK\1tt\x85R.");
	assert_true(v.type == VAL_DICT && v.n == 2);
	assert_int_equal(val_get(&v, "foo")->i, 1);
	v = DECODE("c__builtin__\ndict\n](K\1K\2\x86K\3K\4\x86"
		   "e\x85R(K\5K\6u.");
	assert_true(v.type == VAL_DICT && v.n == 6);
	REFUSE("cbuiltins\ndict\n(K\1tR.", ERR_FORMAT, "arguments that a call does not take");
	REFUSE("cbuiltins\ndict\n((K\1ttR.", ERR_FORMAT, "arguments that a call does not take");
	assert_true(slice_is(DECODE("c_codecs\nencode\nV\xe4\nVlatin1\n\x86R.").s, "\xe4"));
}

static void test_prefix(void **state)
{
	static const char reconstructed[] =
		"ccopy_reg\n_reconstructor\n(cZopeUndo.Prefix\nPrefix\nc__builtin__\nobject\nNtR"
		"(dVvalue\nV/a\nsb.";
	static const char new_object[] =
		"\x80\x03"
		"cZopeUndo.Prefix\nPrefix\n)\x81}X\5\0\0\0valueX\2\0\0\0/asb.";

	for (int i = 0; i < 2; i++) {
		struct val v = i ? DECODE(reconstructed) : DECODE(new_object);

		assert_int_equal(v.type, VAL_REDUCE);
		assert_int_equal(v.n, 3);
		assert_true(slice_is(v.items[0].s, "ZopeUndo.Prefix\nPrefix"));
		assert_true(slice_is(val_get(&v.items[2], "value")->s, "/a"));
	}
}

/* A value that stands twice in another one is written once and remembered. */
static void test_memo(void **state)
{
	struct val v = DECODE("]q\x00(]q\x01K\x05"
			      "ah\x01"
			      "e.");

	assert_int_equal(v.n, 2);
	assert_int_equal(v.items[1].n, 1);
	assert_true(val_equal(&v.items[0], &v.items[1]));
}

/* T43: nothing but the table */
static void test_globals_refused(void **state)
{
	REFUSE("\x80\x03"
	       "cos\nsystem\nX\x04\0\0\0true\x85R.",
		ERR_FORMAT, "'os.system' is not allowed in a message, at byte 2 (opcode 0x63)");
	REFUSE("c__builtin__\neval\n.", ERR_FORMAT, "__builtin__.eval");
	REFUSE("(ios\nsystem\n.", ERR_FORMAT, "os.system");
	REFUSE("\x8c\2os\x8c\6system\x93.", ERR_FORMAT, "os.system");
	REFUSE("cbuiltins\nset\n.", ERR_FORMAT, "global");
	REFUSE("cbuiltins\nobject\n)R.", ERR_FORMAT, "not allowed");
	REFUSE("NNR.", ERR_FORMAT, "at byte 2 (opcode 0x52)");
	REFUSE("\x82\x01.", ERR_FORMAT, "extension");
	REFUSE("K\1Q.", ERR_FORMAT, "persistent");
}

/* The text goes to a log. */
static void test_global_shown(void **state)
{
	char text[400] = "c";
	struct err e = ERR_INIT;

	REFUSE("ca\x1b[2J\nb\r.c\n.", ERR_FORMAT, "'a?[2J.b?.c'");
	memset(text + 1, 'm', 99);
	strcpy(text + 100, "\nx\n.");
	assert_int_equal(decode_limits(text, strlen(text), &pickle_limits_message, &e), ERR_FORMAT);
	memset(text + 1, 'm', 398);
	text[300] = text[350] = '\n';
	assert_int_equal(decode_limits(text, 399, &pickle_limits_message, &e), ERR_FORMAT);
	assert_true(strlen(e.text) < 250);
}

static void test_globals_kept(void **state)
{
	struct val v = KEEP("ca.b\nC\n)\x81}X\1\0\0\0kK\7sb.");

	assert_int_equal(v.type, VAL_REDUCE);
	assert_true(slice_is(v.items[0].s, "a.b\nC"));
	assert_int_equal(val_get(&v.items[2], "k")->i, 7);
	assert_true(slice_is(KEEP("\x80\x04\x8c\1m\x8c\1N\x93.").s, "m\nN"));
}

static int decode_exact(const char *bytes, size_t n, struct val *ret_state, size_t *ret_class_len)
{
	struct val class;

	arena_reset(&arena);
	return pickle_decode_record(slice_of(bytes, n), PICKLE_KEEP_GLOBALS | PICKLE_EXACT,
		&pickle_limits_message, &arena, &class, ret_state, ret_class_len, NULL);
}

/* The state's reference takes its class from the memo of the first pickle. */
static void test_record(void **state)
{
	static const char record[] = "\x80\x03"
				     "ca.b\nC\nq\x00.\x80\3C\x08\0\0\0\0\0\0\0\1h\x00\x86Q.";
	struct val v = { .type = VAL_NONE };
	size_t class_len = 0;

	assert_int_equal(decode_exact(record, sizeof(record) - 1, &v, &class_len), OK);
	assert_int_equal(class_len, 12);
	assert_int_equal(v.type, VAL_PERSID);
	assert_true(slice_is(v.items[0].items[1].s, "a.b\nC"));
	for (size_t n = 0; n < sizeof(record) - 1; n++)
		assert_int_equal(decode_exact(record, n, &v, &class_len), ERR_FORMAT);
}

static void test_persistent_reference_is_written_again(void **state)
{
	static const char record[] = "N.\x80\x03]X\1\0\0\0waQ.";
	struct buf out = BUF_INIT(0);
	struct val v = { .type = VAL_NONE };
	struct enc en;
	size_t class_len;

	assert_int_equal(decode_exact(record, sizeof(record) - 1, &v, &class_len), OK);
	enc_begin(&en, &out, ENC_PICKLE);
	enc_val(&en, &v);
	enc_finish(&en);
	assert_true(buf_ok(&out));
	assert_int_equal(out.len, 13);
	assert_memory_equal(out.data, "\x80\x03](X\1\0\0\0weQ.", 13);
	buf_free(&out);
}

#define EXACT(state) decode_exact("N." state, sizeof("N." state) - 1, &v, &class_len)

static void test_what_exact_refuses(void **state)
{
	struct val v;
	size_t class_len;

	assert_int_equal(EXACT("c__builtin__\nset\n](K\1e\x85R."), ERR_UNSUPPORTED);
	assert_int_equal(EXACT("cbuiltins\nbytearray\nC\1a\x85R."), ERR_UNSUPPORTED);
	assert_int_equal(EXACT("ca\nb\n)\x81."), ERR_UNSUPPORTED);
	assert_int_equal(EXACT("NNR."), ERR_FORMAT);
	assert_int_equal(EXACT("N)R."), ERR_UNSUPPORTED);
	assert_int_equal(EXACT("\x8f."), ERR_UNSUPPORTED);
	assert_int_equal(EXACT("(\x91."), ERR_UNSUPPORTED);
	assert_int_equal(EXACT("\x96\0\0\0\0\0\0\0\0."), ERR_UNSUPPORTED);
	assert_int_equal(EXACT("]q\1h\1\x86."), ERR_UNSUPPORTED);
	assert_int_equal(EXACT("}2\x86."), ERR_UNSUPPORTED);
	assert_int_equal(EXACT("]\x85q\1h\1\x86."), ERR_UNSUPPORTED);
	assert_int_equal(EXACT("U\1\xe4."), ERR_FORMAT);
	assert_int_equal(EXACT("c_codecs\nencode\nV\xe4\nVutf8\n\x86R."), ERR_UNSUPPORTED);
	assert_int_equal(EXACT("K\1\x85q\1h\1\x86."), OK);
	assert_int_equal(EXACT("]Qq\1h\1\x86."), OK);
	assert_int_equal(EXACT("c_codecs\nencode\nV\xe4\nVlatin1\n\x86R."), OK);
	assert_true(slice_is(v.s, "\xe4"));
}

static void test_truncated(void **state)
{
	static const char all[] =
		"\x80\x04((I1\nL2L\nF3\nS'4'\nVs\nU\1aT\1\0\0\0bX\1\0\0\0c"
		"\x8c\1d\x8d\1\0\0\0\0\0\0\0eC\1fB\1\0\0\0g\x8e\1\0\0\0\0\0\0\0h\x8a\1\1\x8b\1\0"
		"\0\0\2J\1\0\0\0M\1\0K\1G\0\0\0\0\0\0\0\0q\1r\2\0\0\0p3\nh\1j\2\0\0\0g3\nl(K\1K\2d"
		"\x8f(K\1\x90\x94t(K\1\x91\x86.";

	assert_int_equal(DECODE(all).n, 2);
	for (size_t n = 0; n < sizeof(all) - 1; n++)
		refuse(all, n, ERR_FORMAT, "at byte");
}

static void test_huge_lengths(void **state)
{
	REFUSE("B\xff\xff\xff\xff", ERR_FORMAT, "expected");
	REFUSE("T\xff\xff\xff\xff", ERR_FORMAT, "expected");
	REFUSE("\x8b\xff\xff\xff\xff", ERR_FORMAT, "expected");
	REFUSE("\x8e\xff\xff\xff\xff\xff\xff\xff\xff", ERR_FORMAT, "expected");
	REFUSE("\x8d\xff\xff\xff\xff\xff\xff\xff\xff", ERR_FORMAT, "expected");
	REFUSE("\x95\x03\0\0\0\0\0\0\0N.", ERR_FORMAT, "a frame of 3 bytes, 2 are left");
	REFUSE("\x95\xff\xff\xff\xff\xff\xff\xff\xffN.", ERR_FORMAT, "frame");
	REFUSE("Nr\xff\xff\xff\xff.", ERR_LIMIT, "memo");
	REFUSE("Np99999999999999999999\n.", ERR_LIMIT, "memo");
	assert_true(arena.used < 1000);
}

static void nested(char *out, size_t depth)
{
	memset(out, ']', depth);
	memset(out + depth, 'a', depth - 1);
	out[2 * depth - 1] = '.';
}

static void test_depth(void **state)
{
	struct err e = ERR_INIT;
	char deep[2000];

	nested(deep, pickle_limits_message.depth);
	assert_int_equal(
		decode_limits(deep, 2 * pickle_limits_message.depth, &pickle_limits_message, &e),
		OK);
	nested(deep, pickle_limits_message.depth + 1);
	refuse(deep, 2 * pickle_limits_message.depth + 2, ERR_LIMIT, "nested deeper");
	nested(deep, 1000);
	refuse(deep, 2000, ERR_LIMIT, "nested deeper");
}

/* Marks and duplicates nest nothing, and must not cost more than their bytes either. */
static void test_many_marks(void **state)
{
	size_t n = 100000;
	char *marks = mem_alloc(n);

	assert_non_null(marks);
	memset(marks, '(', n);
	refuse(marks, n, ERR_FORMAT, "expected");
	mem_free(marks);
}

/* Doublings: forty of them stand for a million million values in 83 bytes. */
static void test_memo_bomb(void **state)
{
	for (int doublings = 13; doublings <= 40; doublings++) {
		char bomb[256] = "N\x85";
		size_t n = 2;

		for (int i = 0; i < doublings; i++) {
			bomb[n++] = '2';
			bomb[n++] = (char)0x86;
		}
		bomb[n++] = '.';
		refuse(bomb, n, ERR_LIMIT, "more than");
	}
}

/* One long string, named a thousand times. */
static void test_memo_string_bomb(void **state)
{
	static char bomb[102100] = "B\xa0\x86\x01\x00";
	size_t n = 5 + 100000;

	strcpy(bomb + n, "q\x01(");
	n += 3;
	for (int i = 0; i < 1000; i++) {
		bomb[n++] = 'h';
		bomb[n++] = 1;
	}
	strcpy(bomb + n, "t\x86.");
	refuse(bomb, n + 3, ERR_LIMIT, "more than");
}

static void test_limits(void **state)
{
	struct pickle_limits limits = { .depth = 2, .memo = 2, .items = 4 };
	struct err e = ERR_INIT;

	assert_int_equal(decode_limits("K\1K\1K\1\x87.", 8, &limits, &e), OK);
	assert_int_equal(decode_limits("(K\1K\1K\1K\1t.", 11, &limits, &e), ERR_LIMIT);
	assert_int_equal(decode_limits("Nq\x01.", 4, &limits, &e), OK);
	assert_int_equal(decode_limits("Nq\x02.", 4, &limits, &e), ERR_LIMIT);
}

/* A value that holds itself could be walked for ever. */
static void test_cycles(void **state)
{
	REFUSE("]q\x00h\x00"
	       "a.",
		ERR_FORMAT, "itself");
	REFUSE("\x8fq\x00(h\x00\x90.", ERR_FORMAT, "itself");
	REFUSE("}q\x00K\1h\x00s.", ERR_FORMAT, "itself");
}

/* What a pickle stands for, written out. */
static size_t written_length(const char *bytes, size_t n)
{
	struct buf b = BUF_INIT(0);
	struct err e = ERR_INIT;
	struct val v;
	struct enc en;
	size_t len;

	arena_reset(&arena);
	assert_int_equal(
		pickle_decode(slice_of(bytes, n), 0, &pickle_limits_message, &arena, &v, NULL, &e),
		OK);
	enc_begin(&en, &b, ENC_PICKLE);
	enc_val(&en, &v);
	enc_finish(&en);
	len = b.len;
	buf_free(&b);
	return len;
}

/* A set made of a list or tuple has items of its own: what shares them could be made to hold itself
 * without having been seen to, and one message ended the server. */
static void test_shared_items(void **state)
{
	static const char list[] = "\x80\x02]q\x00Na"
				   "cbuiltins\nset\nh\x00\x85Rq\x01h\x00Na0h\x01(h\x00\x90"
				   "00.";
	static const char tuple[] = "\x80\x02K\x01\x85q\x00"
				    "0cbuiltins\nset\nh\x00\x85Rq\x01"
				    "cbuiltins\nset\nh\x00\x85Rq\x02h\x01(K\x02\x90"
				    "0h\x02(h\x01\x90"
				    "00.";
	assert_true(written_length(list, sizeof(list) - 1) < 100);
	assert_true(written_length(tuple, sizeof(tuple) - 1) < 100);
}

static void test_malformed(void **state)
{
	static const char *const bad[] = { ".", "(.", "h\x01.", "K\1K\2a.", "]K\1s.", "}](]K\1u.",
		"}(K\1u.", "}]K\1s.", "\x8f(]\x90.", "Nb.", "NR.", "N)R.", "(o.", "0.", "1.", "2.",
		"t.", "e.", "(e.", "(u.", "a.", "s.", "\x85.", "(N\x86.", "N(\x85.", "(N\x93.",
		"NN\x93.", "Ix\n.", "I\n.", "L\n.", "Fx\n.", "F\n.", "Sx\n.", "S'\n.", "S'\\'\n.",
		"S'\\xg'\n.", "V\\u12\n.", "V\\Uffffffff\n.", "gx\n.", "p-1\n.", "\x80\x06N.",
		"\xff", "N.N", "czodbpickle\nbinary\nN\x85R.",
		"c_codecs\nencode\nV\\u20ac\nVlatin1\n\x86R.",
		"c_codecs\nencode\nVx\nVrot13\n\x86R.", "\x97.", "c\xff\nx\n." };

	for (size_t i = 0; i < ARRAY_LEN(bad); i++)
		refuse(bad[i], strlen(bad[i]), ERR_FORMAT, "at byte");
	REFUSE("", ERR_FORMAT, "at byte 0");
	REFUSE("X\3\0\0\0\xed\xa0\x80.", ERR_FORMAT, "UTF-8");
}

static void test_length(void **state)
{
	struct err e = ERR_INIT;
	struct val v;
	size_t len = 0;

	arena_reset(&arena);
	assert_int_equal(pickle_decode(slice_str("K\x05.rest"), 0, &pickle_limits_message, &arena,
				 &v, &len, &e),
		OK);
	assert_int_equal(len, 3);
	assert_int_equal(v.i, 5);
}

/* The n-th allocation fails. */
static unsigned allocations_left;

static int fail_allocation(void)
{
	return allocations_left == 0 || allocations_left-- == 0;
}

/* A list that takes several chunks of the arena. */
static size_t put_long_list(char *out, size_t n)
{
	size_t len = 0;

	out[len++] = ']';
	out[len++] = '(';
	for (size_t i = 0; i < n; i++) {
		out[len++] = 'K';
		out[len++] = 1;
	}
	out[len++] = 'e';
	out[len++] = '.';
	return len;
}

static void test_no_memory(void **state)
{
	char list[2100];
	size_t len = put_long_list(list, 1000);
	struct err e = ERR_INIT;
	unsigned failed = 0;
	struct val v = { .type = VAL_NONE };
	int rc;

	mem_fault_hook = fail_allocation;
	do {
		arena_free(&arena);
		allocations_left = failed;
		rc = pickle_decode(
			slice_of(list, len), 0, &pickle_limits_message, &arena, &v, NULL, &e);
		assert_true(rc == OK || (e.code == rc && v.type == VAL_NONE));
	} while (rc != OK && ++failed < 1000);
	mem_fault_hook = NULL;
	assert_int_equal(rc, OK);
	assert_int_equal(v.n, 1000);
	assert_true(failed > 5);
}

static void expect_class(struct slice record, const char *name)
{
	char out[64];

	pickle_class_name(record, out, sizeof(out));
	assert_string_equal(out, name);
}

static void test_class_name(void **state)
{
	char out[8];

	expect_class(slice_str("\x80\x03"
			       "ca.b\nC\nq\1."),
		"a.b.C");
	expect_class(slice_str("(ca.b\nC\nNt."), "a.b.C");
	expect_class(slice_str("ca.b\nC\nbroken"), "a.b.C");
	expect_class(slice_str("((U\3a.bU\1CtNt."), "a.b.C");
	expect_class(slice_str("\x80\x04\x8c\3a.b\x8c\1C\x93."), "a.b.C");
	expect_class(slice_str(""), ".");
	expect_class(slice_str("c"), ".");
	expect_class(slice_str("ca\nb"), ".");
	expect_class(slice_str("c\xff\nb\n."), ".");
	expect_class(slice_str("N."), ".");
	pickle_class_name(slice_str("cmodule\nName\n."), out, sizeof(out));
	assert_string_equal(out, "module.");
	pickle_class_name(slice_str("cabcde\n€\n."), out, sizeof(out));
	assert_string_equal(out, "abcde.");
}

static void test_equal(void **state)
{
	struct val a = DECODE("(K\1\x88X\1\0\0\0xC\1x](K\2eNt.");
	struct val one = { .type = VAL_INT, .i = 1 };
	struct val real = { .type = VAL_FLOAT, .f = 1.0 };

	assert_true(val_equal(&a, &a));
	assert_true(val_equal(&a.items[0], &a.items[1]));
	assert_true(val_equal(&a.items[1], &one));
	assert_false(val_equal(&real, &one));
	assert_false(val_equal(&a.items[2], &a.items[3]));
	assert_false(val_equal(&a, &a.items[4]));
}

/* Of equal keys the last one counts. */
static void test_get(void **state)
{
	struct val v = DECODE("}(C\1aK\1X\1\0\0\0aK\2X\1\0\0\0bK\3u.");

	assert_int_equal(val_get(&v, "a")->i, 2);
	assert_int_equal(val_get(&v, "b")->i, 3);
	assert_null(val_get(&v, "c"));
	assert_null(val_get(&v.items[1], "a"));
}

static int clean_up(void **state)
{
	arena_free(&arena);
	return 0;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_message),
		cmocka_unit_test(test_ids),
		cmocka_unit_test(test_no_memory_but_the_arena),
		cmocka_unit_test(test_protocols),
		cmocka_unit_test(test_plain_meanings),
		cmocka_unit_test(test_prefix),
		cmocka_unit_test(test_memo),
		cmocka_unit_test(test_globals_refused),
		cmocka_unit_test(test_global_shown),
		cmocka_unit_test(test_globals_kept),
		cmocka_unit_test(test_record),
		cmocka_unit_test(test_persistent_reference_is_written_again),
		cmocka_unit_test(test_what_exact_refuses),
		cmocka_unit_test(test_truncated),
		cmocka_unit_test(test_huge_lengths),
		cmocka_unit_test(test_depth),
		cmocka_unit_test(test_many_marks),
		cmocka_unit_test(test_memo_bomb),
		cmocka_unit_test(test_memo_string_bomb),
		cmocka_unit_test(test_limits),
		cmocka_unit_test(test_cycles),
		cmocka_unit_test(test_shared_items),
		cmocka_unit_test(test_malformed),
		cmocka_unit_test(test_length),
		cmocka_unit_test(test_no_memory),
		cmocka_unit_test(test_class_name),
		cmocka_unit_test(test_equal),
		cmocka_unit_test(test_get),
	};

	return cmocka_run_group_tests(tests, NULL, clean_up);
}
