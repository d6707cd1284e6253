/* Merging states of BTrees' classes: results, reasons, and what is left to others. The comparison
 * with BTrees itself is tests/interop/test_resolver.py. */
#include "cmocka_all.h"

#include "base/compiler.h"
#include "base/mem.h"
#include "resolver/btrees.h"
#include "resolver/btrees_class.h"

static struct err last;
static int fail_from = -1; /* the allocation that fails while a conflict is resolved */
static int allocations;

static int fail_one(void)
{
	return allocations++ == fail_from;
}

static struct slice record(const char *class, const char *state, size_t n, struct buf *out)
{
	buf_put_str(out, "\x80\3c");
	buf_put_str(out, class);
	buf_put(out, "\nq\0.\x80\3", 6);
	buf_put(out, state, n);
	buf_put_str(out, ".");
	return buf_slice(out);
}

struct states {
	const char *class;
	const char *text[3];
	size_t len[3];
};

static int resolve(const struct states *s, struct buf *ret)
{
	struct buf b[3] = { BUF_INIT(0), BUF_INIT(0), BUF_INIT(0) };
	struct resolve_req q = { .oid = 1, .committed_serial = 2, .old_serial = 1 };
	int rc;

	q.old = record(s->class, s->text[0], s->len[0], &b[0]);
	q.committed = record(s->class, s->text[1], s->len[1], &b[1]);
	q.changed = record(s->class, s->text[2], s->len[2], &b[2]);
	last = (struct err)ERR_INIT;
	allocations = 0;
	mem_fault_hook = fail_one;
	rc = btrees_resolve(&q, ret, &last);
	mem_fault_hook = NULL;
	for (int i = 0; i < 3; i++)
		buf_free(&b[i]);
	return rc;
}

#define STATES(class, a, b, c)                                                                     \
	&(struct states)                                                                           \
	{                                                                                          \
		(class), { (a), (b), (c) },                                                        \
		{                                                                                  \
			sizeof(a) - 1, sizeof(b) - 1, sizeof(c) - 1                                \
		}                                                                                  \
	}

static void merges_to(const struct states *s, const char *state, size_t n)
{
	struct buf got = BUF_INIT(0);
	struct buf want = BUF_INIT(0);

	record(s->class, state, n, &want);
	if (resolve(s, &got) != OK)
		fail_msg("%s", last.text);
	assert_int_equal(got.len, want.len);
	assert_memory_equal(got.data, want.data, want.len);
	buf_free(&got);
	buf_free(&want);
}

#define MERGES(class, a, b, c, result) merges_to(STATES(class, a, b, c), result, sizeof(result) - 1)

static void refuses(const struct states *s, int code, const char *text)
{
	struct buf out = BUF_INIT(0);

	assert_int_equal(resolve(s, &out), code);
	if (!strstr(last.text, text))
		fail_msg("'%s' does not say '%s'", last.text, text);
	buf_free(&out);
}

#define REFUSES(class, a, b, c, text)  refuses(STATES(class, a, b, c), ERR_CONFLICT, text)
#define NOT_MINE(class, a, b, c, text) refuses(STATES(class, a, b, c), ERR_UNSUPPORTED, text)
#define II                             "BTrees.IIBTree\nIIBucket"
#define SET                            "BTrees.IIBTree\nIISet"
#define REF(last)                      "C\x08\0\0\0\0\0\0\0" last "Q"
#define NAMED(last, class)             "C\x08\0\0\0\0\0\0\0" last "c" class "\n\x86Q"

static void test_both_insert(void **state)
{
	MERGES(II, "K\1K\1\x86\x85", "(K\1K\1K\2K\2t\x85", "(K\1K\1K\3K\3t\x85",
		"(K\1K\1K\2K\2K\3K\3t\x85");
	MERGES(SET, "K\5\x85\x85", "K\1K\5\x86\x85", "K\5K\7\x86\x85", "K\1K\5K\7\x87\x85");
}

static void test_one_changes_a_value(void **state)
{
	MERGES(II, "K\1K\1\x86\x85", "K\1K\2\x86\x85", "K\1K\1\x86\x85", "K\1K\2\x86\x85");
	MERGES(II, "K\1K\1\x86\x85", "K\1K\1\x86\x85", "K\1K\2\x86\x85", "K\1K\2\x86\x85");
	MERGES(II, "K\1K\1\x86\x85", "K\1K\1\x86\x85", "K\1\x88\x86\x85", "K\1K\1\x86\x85");
}

static void test_nothing_was_there(void **state)
{
	MERGES("BTrees.LOBTree\nLOBTree", "N", "K\1N\x86\x85\x85\x85", "K\2N\x86\x85\x85\x85",
		"(K\1NK\2Nt\x85\x85\x85");
	MERGES("BTrees.LOBTree\nLOTreeSet", "N", "K\1\x85\x85\x85\x85", "K\2\x85\x85\x85\x85",
		"K\1K\2\x86\x85\x85\x85");
}

static void test_reasons(void **state)
{
	REFUSES(II, "K\1K\1\x86\x85", "K\1K\2\x86\x85", "K\1K\3\x86\x85", "at 1/1/1: both changed");
	REFUSES(SET, "K\1K\2\x86\x85", "K\1\x85\x85", "K\1\x85\x85", "at 2/-1/-1");
	REFUSES(SET, "K\1K\2\x86\x85", "K\1\x85\x85", "K\1\x85\x85", "(reason 9)");
	REFUSES(SET, "K\1\x85\x85", "K\1K\2\x86\x85", "K\1K\2\x86\x85", "at -1/2/2");
	REFUSES(SET, "K\1\x85\x85", "K\1K\2\x86\x85", "K\1K\2\x86\x85", "(reason 6)");
	REFUSES(SET, "K\1K\2\x86\x85", "K\2\x85\x85", "K\1K\2\x86\x85", "at 1/1/1");
	REFUSES(SET, "K\1K\2\x86\x85", "K\2\x85\x85", "K\1K\2\x86\x85", "(reason 13)");
	REFUSES(SET, "K\1\x85\x85", ")\x85", "K\1\x85\x85", "(reason 12)");
	REFUSES("BTrees.IIBTree\nIIBTree", "NN\x86", "NN\x86", "NN\x86", "(reason 11)");
}

/* The bucket that follows must be one in all three; its class may have its older name. */
static void test_next(void **state)
{
	MERGES(SET, "K\1\x85" REF("\1") "\x86", "K\1K\2\x86" REF("\1") "\x86",
		"K\1\x85" REF("\1") "\x86", "K\1K\2\x86" REF("\1") "\x86");
	MERGES(SET, "K\1\x85" NAMED("\1", "BTrees._IIBTree\nIISet") "\x86",
		"K\1K\2\x86" NAMED("\1", "BTrees.IIBTree\nIISet") "\x86",
		"K\1\205C\x08\0\0\0\0\0\0\0\1h\0\x86Q\x86",
		"K\1K\2\x86"
		"C\x08\0\0\0\0\0\0\0\1"
		"cBTrees._IIBTree\nIISet\nq\1\x86Q\x86");
	REFUSES(SET, "K\1\x85" REF("\1") "\x86", "K\1\x85" REF("\2") "\x86",
		"K\1\x85" REF("\1") "\x86", "(reason 0)");
	REFUSES(SET, "K\1\x85\x85", "K\1\x85" REF("\2") "\x86", "K\1\x85\x85", "(reason 0)");
	/* the class of the record is remembered */
	MERGES(SET, "K\1\x85" NAMED("\1", SET) "\x86", "K\1\x85" NAMED("\1", SET) "\x86",
		"K\1K\2\x86" NAMED("\1", SET) "\x86",
		"K\1K\2\x86"
		"C\x08\0\0\0\0\0\0\0\1h\0\x86Q\x86");
	NOT_MINE(SET, "K\1\x85" NAMED("\1", "a\nb") "\x86", "K\1\x85" NAMED("\1", "a\nc") "\x86",
		"K\1\x85" NAMED("\1", "a\nb") "\x86", "class");
}

static void test_references_as_values(void **state)
{
	static const char class[] = "BTrees.IOBTree\nIOBucket";

	MERGES(class, "K\1" REF("\1") "\x86\x85", "K\1" REF("\1") "\x86\x85",
		"(K\1" REF("\1") "K\2" REF("\2") "t\x85", "(K\1" REF("\1") "K\2" REF("\2") "t\x85");
	/* the spelling does not count */
	MERGES(class, "K\1" REF("\1") "\x86\x85", "K\1" NAMED("\1", "a\nb") "\x86\x85",
		"K\1" REF("\1") "\x86\x85", "K\1" REF("\1") "\x86\x85");
	REFUSES(class, "K\1" REF("\1") "\x86\x85", "K\1" REF("\2") "\x86\x85",
		"K\1" REF("\1") "\x86\x85", "cannot be compared");
	REFUSES(class, "K\1" REF("\1") "\x86\x85", "K\1K\2\x86\x85", "K\1" REF("\1") "\x86\x85",
		"cannot be compared");
}

static void test_ranges(void **state)
{
	REFUSES(II, "J\0\0\0\x80K\0\x86\x85", "J\0\0\0\x80K\0\x86\x85",
		"\x8a\5\0\0\0\x80\0K\0\x86\x85", "range");
	REFUSES("BTrees.QQBTree\nQQSet", "J\xff\xff\xff\xff\x85\x85", "K\1\x85\x85", "K\1\x85\x85",
		"range");
	MERGES("BTrees.QQBTree\nQQSet", "\x8a\x09\0\0\0\0\0\0\0\x80\0\x85\x85",
		"\x8a\x09\0\0\0\0\0\0\0\x80\0\x85\x85", "K\1\x8a\x09\0\0\0\0\0\0\0\x80\0\x86\x85",
		"K\1\x8a\x09\0\0\0\0\0\0\0\x80\0\x86\x85");
	REFUSES("BTrees.fsBTree\nfsSet", "C\2ab\x85\x85", "C\2ab\x85\x85", "C\3abc\x85\x85",
		"length");
}

static void test_length(void **state)
{
	static const char class[] = "BTrees.Length\nLength";

	MERGES(class, "K\5", "K\7", "K\4", "K\6");
	MERGES(class, "K\5", "G?\xe0\0\0\0\0\0\0", "K\5", "G?\xe0\0\0\0\0\0\0");
	NOT_MINE(class, "K\0", "\x8a\x08\xff\xff\xff\xff\xff\xff\xff\x7f", "K\1", "64 bits");
	NOT_MINE(class, "K\0", "N", "K\1", "number");
}

static void test_others(void **state)
{
	NOT_MINE("a.b\nC", "N", "N", "N", "not a class of BTrees");
	NOT_MINE("BTrees.OOBTree\nOOTreeIterator", "N", "N", "N", "not a class of BTrees");
	NOT_MINE("BTrees.XXBTree\nXXBTree", "N", "N", "N", "not a class of BTrees");
	NOT_MINE("BTrees._OOBTree\nOOBTreePy", "N", "N", "N", "not a class of BTrees");
	NOT_MINE("BTrees.OOBTree\nOOSet", "ca\nb\n)R\x85\x85", "K\1\x85\x85", "K\1\x85\x85",
		"class");
	NOT_MINE(SET, "K\1\x85\x85", "t", "K\1\x85\x85", "mark");
	NOT_MINE(SET, "K\1\x85\x85", "K\1\x85K\1Q\x86", "K\1\x85\x85", "reference");
}

static bool parse(const char *name, struct btrees_class *ret)
{
	return btrees_class_parse(slice_str(name), ret);
}

static void test_names(void **state)
{
	struct btrees_class c;

	assert_true(parse("BTrees._OQBTree\nOQTreeSet", &c));
	assert_int_equal(c.kind, BTREES_TREE_SET);
	assert_int_equal(c.key, BTREES_OBJECT);
	assert_int_equal(c.value, BTREES_UINT64);
	assert_false(c.python);
	assert_true(parse("BTrees.LFBTree\nLFBucketPy", &c));
	assert_true(c.python);
	assert_true(parse("BTrees.OOBTree\nBTree", &c));
	assert_false(parse("BTrees.OOBTree\nOIBTree", &c));
	assert_false(parse("BTrees.OOBTree", &c));
	assert_false(parse("BTrees.Length\nLength2", &c));
}

static void test_no_memory(void **state)
{
	int rc = ERR_NOMEM;

	for (fail_from = 0; rc != OK; fail_from++) {
		struct buf out = BUF_INIT(0);

		assert_true(fail_from < 100);
		rc = resolve(STATES(SET, "K\1\x85\x85", "K\1K\2\x86\x85", "K\1K\3\x86\x85"), &out);
		buf_free(&out);
	}
	assert_true(fail_from > 1);
	fail_from = -1;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_both_insert),
		cmocka_unit_test(test_one_changes_a_value),
		cmocka_unit_test(test_nothing_was_there),
		cmocka_unit_test(test_reasons),
		cmocka_unit_test(test_next),
		cmocka_unit_test(test_references_as_values),
		cmocka_unit_test(test_ranges),
		cmocka_unit_test(test_length),
		cmocka_unit_test(test_others),
		cmocka_unit_test(test_names),
		cmocka_unit_test(test_no_memory),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
