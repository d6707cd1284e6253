#include "cmocka_all.h"

#include <math.h>
#include <string.h>

#include "zookeeper/links.h"
#include "zookeeper/tree.h"

static void check_node(const char *data, size_t n, const char *expected)
{
	struct buf out = BUF_INIT(0);

	tree_print_node(&out, "x", 2, slice_of(data, n));
	buf_put_u8(&out, 0);
	assert_string_equal((const char *)out.data, expected);
	buf_free(&out);
}

#define CHECK_NODE(data, expected) check_node(data, sizeof(data) - 1, expected)

static void nodes(void **state)
{
	CHECK_NODE("", "  /x\n");
	CHECK_NODE(" \n", "  /x\n");
	CHECK_NODE("{}", "  /x\n");
	CHECK_NODE("{\"z\":1,\"a\":2}", "  /x\n    a = 2\n    z = 1\n");
	CHECK_NODE("{\"a ->\":\"/b\",\"z\":1}", "  /x\n    z = 1\n    a -> /b\n");
	CHECK_NODE("{\"a =>\":\"/b c\"}", "  /x\n    a => = u'/b c'\n");
	CHECK_NODE("{\"type\":\"zeo\",\"pid\":7}", "  /x : zeo\n    pid = 7\n");
	CHECK_NODE("{\"type\":\"\"}", "  /x\n");
	CHECK_NODE("{\"type\":3}", "  /x\n    type = 3\n");
}

static void other_data(void **state)
{
	CHECK_NODE("plain\n", "  /x\n    string_value = 'plain\\n'\n");
	CHECK_NODE("{bad", "  /x\n    string_value = '{bad'\n");
	CHECK_NODE("{\"a\":}", "  /x\n    string_value = '{\"a\":}'\n");
	CHECK_NODE("[1]", "  /x\n    string_value = '[1]'\n");
	CHECK_NODE("\0\xff\x7f", "  /x\n    string_value = '\\x00\\xff\\x7f'\n");
}

static void check_value(const char *json, const char *expected)
{
	json_t *value = json_loads(json, JSON_DECODE_ANY | JSON_ALLOW_NUL, NULL);
	struct buf out = BUF_INIT(0);

	assert_non_null(value);
	tree_print_value(&out, value);
	buf_put_u8(&out, 0);
	assert_string_equal((const char *)out.data, expected);
	buf_free(&out);
	json_decref(value);
}

/* What repr(json.loads(...)) of Python 2.7 gives, but for the order of a dictionary. */
static void values(void **state)
{
	check_value("\"a'b\"", "u\"a'b\"");
	check_value("\"a'\\\"b\"", "u'a\\'\"b'");
	check_value("\"\\u00e9\\u20ac\\ud83d\\ude00\\\\\\t\\u0000\"",
		"u'\\xe9\\u20ac\\U0001f600\\\\\\t\\x00'");
	check_value("[true,false,null,[],{}]", "[True, False, None, [], {}]");
	check_value("{\"b\":1,\"a\":\"x\"}", "{u'a': u'x', u'b': 1}");
	check_value("[0.0,-0.0,1.0,0.1,-2.5,100.0]", "[0.0, -0.0, 1.0, 0.1, -2.5, 100.0]");
	check_value("[1e15,1e16,123456789.125,1e-4,1e-5,1.5e300]",
		"[1000000000000000.0, 1e+16, 123456789.125, 0.0001, 1e-05, 1.5e+300]");
	check_value("9223372036854775807", "9223372036854775807");
}

/* Nodes for walks: path and data. */
static const char *const tree[][2] = {
	{ "/", "{\"top ->\":\"/a/b\"}" },
	{ "/a", "{\"l ->\":\"/a/b\",\"rel ->\":\"../a/b\",\"up ->\":\"./l\",\"x ->\":\"/a/y\"}" },
	{ "/a/b", "{\"y ->\":\"/a/x\",\"far ->\":\"/nowhere/at/all\"}" },
	{ "/a/b/c", "text" },
};

static int walk(const char *path, char ret[ZK_PATH_MAX], struct err *e)
{
	struct link_walk w;
	int rc = link_walk_start(&w, path, e);

	while (rc == OK || rc == ERR_AGAIN) {
		size_t i = 0;

		while (i < ARRAY_LEN(tree) && strcmp(tree[i][0], w.next) != 0)
			i++;
		rc = i < ARRAY_LEN(tree) ? link_walk_reply(&w, OK, slice_str(tree[i][1]), e)
					 : link_walk_reply(&w, ERR_NOENT, slice_of(NULL, 0), e);
		if (rc == OK)
			break;
	}
	if (rc == OK)
		strcpy(ret, w.path);
	link_walk_end(&w);
	return rc;
}

static void links(void **state)
{
	static const char *const cases[][2] = {
		{ "/a/b", "/a/b" },
		{ "/", "/" },
		{ "//a/./b/../b/", "/a/b" },
		{ "/top", "/a/b" },
		{ "/top/c", "/a/b/c" },
		{ "/a/l/c", "/a/b/c" },
		{ "/a/rel/c", "/a/b/c" },
		{ "/a/up/c", "/a/b/c" },
	};
	char path[ZK_PATH_MAX];
	struct err e = ERR_INIT;

	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		if (walk(cases[i][0], path, &e))
			fail_msg("%s: %s", cases[i][0], e.text);
		assert_string_equal(path, cases[i][1]);
	}
}

static void links_to_nowhere(void **state)
{
	char path[ZK_PATH_MAX];
	char longer[2 * ZK_PATH_MAX];
	struct err e = ERR_INIT;

	assert_int_equal(walk("/q", path, &e), ERR_NOENT);
	assert_string_equal(e.text, "the path '/q' does not exist");
	assert_int_equal(walk("/top/far", path, &e), ERR_NOENT);
	assert_string_equal(e.text, "the path '/top/far' does not exist: there is no '/nowhere'");
	assert_int_equal(walk("/a/b/c/d", path, &e), ERR_NOENT); /* its data is no JSON */
	assert_int_equal(walk("relative", path, &e), ERR_INVAL);
	memset(longer, '/', sizeof(longer));
	longer[sizeof(longer) - 1] = 0;
	assert_int_equal(walk(longer, path, &e), ERR_LIMIT);
}

static void loop_of_links(void **state)
{
	struct link_walk w;
	struct err e = ERR_INIT;
	int rc = link_walk_start(&w, "/x", &e);

	while (rc == OK || rc == ERR_AGAIN)
		rc = strcmp(w.next, "/") == 0
			     ? link_walk_reply(
				       &w, OK, slice_str("{\"x ->\":\"/y\",\"y ->\":\"/x\"}"), &e)
			     : link_walk_reply(&w, ERR_NOENT, slice_of(NULL, 0), &e);
	assert_int_equal(rc, ERR_STATE);
	assert_string_equal(e.text, "the path '/x' leads through a loop of links");
	link_walk_end(&w);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(nodes),
		cmocka_unit_test(other_data),
		cmocka_unit_test(values),
		cmocka_unit_test(links),
		cmocka_unit_test(links_to_nowhere),
		cmocka_unit_test(loop_of_links),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
