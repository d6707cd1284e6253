/* Trees written as text, and values as Python writes them. */
#include "cmocka_all.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "zookeeper/literal.h"
#include "zookeeper/tree_text.h"

static void check_literal(const char *text, const char *json)
{
	json_t *value = NULL, *expected = json_loads(json, JSON_DECODE_ANY | JSON_ALLOW_NUL, NULL);
	struct err e = ERR_INIT;

	assert_non_null(expected);
	if (literal_parse(slice_str(text), &value, &e))
		fail_msg("%s: %s", text, e.text);
	if (!json_equal(value, expected)) {
		char *is = json_dumps(value, JSON_ENCODE_ANY);

		fail_msg("%s is read as %s", text, is);
	}
	json_decref(value);
	json_decref(expected);
}

static void literals(void **state)
{
	check_literal("1", "1");
	check_literal(" -12  # a comment", "-12");
	check_literal("+3", "3");
	check_literal("10L", "10");
	check_literal("0x1F", "31");
	check_literal("0o17", "15");
	check_literal("0b11", "3");
	check_literal("0644", "420");
	check_literal("1_000", "1000");
	check_literal("9223372036854775807", "9223372036854775807");
	check_literal("-9223372036854775808", "-9223372036854775808");
	check_literal("1.5", "1.5");
	check_literal("-2e-3", "-0.002");
	check_literal(".5", "0.5");
	check_literal("'a'", "\"a\"");
	check_literal("u\"it's\"", "\"it's\"");
	check_literal("b'x'", "\"x\"");
	check_literal("r'a\\n'", "\"a\\\\n\"");
	check_literal("ur'a'", "\"a\"");
	check_literal("''", "\"\"");
	check_literal("'a' \"b\" u'c'", "\"abc\"");
	check_literal("'\\n\\t\\\\\\'\\x41\\101\\q'", "\"\\n\\t\\\\'AA\\\\q\"");
	check_literal("u'Caf\\xe9'", "\"Caf\\u00e9\"");
	check_literal("u'\\u20ac\\U0001f600'", "\"\\u20ac\\ud83d\\ude00\"");
	check_literal("u'\\ud83d\\ude00'", "\"\\ud83d\\ude00\"");
	check_literal("'Caf\xc3\xa9'", "\"Caf\\u00e9\"");
	check_literal("'\\x00'", "\"\\u0000\"");
	check_literal("True", "true");
	check_literal("False", "false");
	check_literal("None", "null");
	check_literal("[1, 'a', None,]", "[1, \"a\", null]");
	check_literal("[]", "[]");
	check_literal("(1)", "1");
	check_literal("(1,)", "[1]");
	check_literal("(1, 2)", "[1, 2]");
	check_literal("()", "[]");
	check_literal("{'a': 1, u'b': {'c': []}}", "{\"a\": 1, \"b\": {\"c\": []}}");
	check_literal("{}", "{}");
}

static void check_bad(const char *text, int code)
{
	json_t *value = NULL;
	struct err e = ERR_INIT;

	if (literal_parse(slice_str(text), &value, &e) != code)
		fail_msg("%s: %s", text, e.text);
	assert_null(value);
	assert_true(e.text[0]);
}

static void bad_literals(void **state)
{
	static const char *const all[] = { "", "x", "1 2", "1+1", "'a", "\"a'", "'\\x4'",
		"'\\ud800'", "u'\\U00110000'", "[1", "[1 2]", "(1", "{1: 2}", "{'a'}", "{'a': }",
		"{'a': 1 'b': 2}", "Truex", "0x", "1.2.3", "--1", "1e", "'\xff'", "[,]", "-", "1LL",
		"__import__('os')", "open('x')" };
	char deep[400];

	for (size_t i = 0; i < ARRAY_LEN(all); i++)
		check_bad(all[i], ERR_FORMAT);
	check_bad("9223372036854775808", ERR_LIMIT);
	check_bad("-9223372036854775809", ERR_LIMIT);
	memset(deep, '[', sizeof(deep));
	deep[sizeof(deep) - 1] = 0;
	check_bad(deep, ERR_LIMIT);
}

/* Every beginning of a value is read or refused, and nothing beyond its end is looked at. */
static void cut_literals(void **state)
{
	static const char all[] =
		"{u'a\\u20ac': [1, -2.5e3, (None,), 'b' \"c\\x41\"], 'd': {}} # e";

	for (size_t n = 0; n < sizeof(all) - 1; n++) {
		char *copy = malloc(n + 1);
		json_t *value = NULL;
		struct err e = ERR_INIT;

		memcpy(copy, all, n);
		if (literal_parse(slice_of(copy, n), &value, &e) == OK)
			json_decref(value);
		free(copy);
	}
}

static void check_tree(const char *text, const char *json)
{
	json_t *tree = NULL, *expected = json_loads(json, 0, NULL);
	struct err e = ERR_INIT;
	char *is;

	assert_non_null(expected);
	if (tree_parse(slice_str(text), &tree, &e))
		fail_msg("%s", e.text);
	is = json_dumps(tree, JSON_SORT_KEYS);
	if (!json_equal(tree, expected))
		fail_msg("%s", is);
	free(is);
	json_decref(tree);
	json_decref(expected);
}

#define NODE(properties, children)                                                                 \
	"{\"properties\": {" properties "}, \"children\": {" children "}}"

static void trees(void **state)
{
	check_tree("", NODE("", ""));
	check_tree("/a\n/b", NODE("", "\"a\": " NODE("", "") ", \"b\": " NODE("", "")));
	check_tree("\n  # x\n/a : some type  \n  x = 1\n\n    # y\n  /b\n    z='q'\n  y->/c\n",
		NODE("", "\"a\": " NODE("\"type\": \"some type\", \"x\": 1, \"y ->\": \"/c\"",
				 "\"b\": " NODE("\"z\": \"q\"", ""))));
	check_tree("  /a\n     /b\n     /c\n  /d\n",
		NODE("", "\"a\": " NODE("", "\"b\": " NODE("", "") ", \"c\": " NODE(
						    "", "")) ", "
							     "\"d\": " NODE("", "")));
	check_tree("/1.2.3.4:5\n  pid = 1\n/[::1]:2\n",
		NODE("", "\"1.2.3.4:5\": " NODE("\"pid\": 1", "") ", \"[::1]:2\": " NODE("", "")));
	check_tree("/a: t\n/b :t\n", NODE("", "\"a\": " NODE("\"type\": \"t\"",
						      "") ", "
							  "\"b\": " NODE("\"type\": \"t\"", "")));
	check_tree("/a\n x => /b\n y => /b z\n w => = u'/b z'\n v -> ../c",
		NODE("", "\"a\": " NODE("\"x =>\": \"/b\", \"y =>\": \"/b z\", \"w =>\": \"/b z\", "
					"\"v ->\": \"../c\"",
				 "")));
	check_tree(
		"/a\n  url = 'x=y -> z'\n", NODE("", "\"a\": " NODE("\"url\": \"x=y -> z\"", "")));
}

static void check_bad_tree(const char *text, const char *expected)
{
	json_t *tree = NULL;
	struct err e = ERR_INIT;

	assert_int_equal(tree_parse(slice_str(text), &tree, &e), ERR_FORMAT);
	assert_string_equal(e.text, expected);
}

static void bad_trees(void **state)
{
	check_bad_tree("a = 1", "line 1: 'a = 1': a property stands below a node");
	check_bad_tree(
		"/a\n  x = 1\n    y = 2", "line 3: 'y = 2': a property has nothing below it");
	check_bad_tree("/a\n    /b\n  /c", "line 3: '/c': it is indented as no line above it is");
	check_bad_tree("  /a\n/b", "line 2: '/b': it is indented as no line above it is");
	check_bad_tree("/a\n/a", "line 2: '/a': a node of this name is there already");
	check_bad_tree("/a\n x=1\n x=2", "line 3: 'x=2': a property of this name is there already");
	check_bad_tree("/a\n x",
		"line 2: 'x': expected /NODE, NAME = VALUE, NAME -> PATH or NAME => PATH");
	check_bad_tree("/a\n x -> /b c",
		"line 2: 'x -> /b c': expected /NODE, NAME = VALUE, NAME -> PATH or NAME => PATH");
	check_bad_tree("/a\n x => /b c d",
		"line 2: 'x => /b c d': expected NAME => PATH or NAME => PATH PROPERTY");
	check_bad_tree("/a b", "line 1: '/a b': expected /NAME or /NAME : TYPE");
	check_bad_tree("/", "line 1: '/': expected /NAME or /NAME : TYPE");
	check_bad_tree("/a\n x = y",
		"line 2: the value of x: 'y': expected a number, a string, True, "
		"False, None, a list or a dictionary at character 1");
}

static void encoding(void **state)
{
	static const char *const pairs[][2] = {
		{ "{}", "{}" },
		{ "{\"b\": 1, \"a\": [true]}", "{\"a\":[true],\"b\":1}" },
		{ "{\"string_value\": \"some text\"}", "some text" },
		{ "{\"string_value\": 1}", "{\"string_value\":1}" },
		{ "{\"string_value\": \"x\", \"a\": 1}", "{\"a\":1,\"string_value\":\"x\"}" },
	};

	for (size_t i = 0; i < ARRAY_LEN(pairs); i++) {
		json_t *properties = json_loads(pairs[i][0], 0, NULL);
		char *text = tree_encode(properties);

		assert_string_equal(text, pairs[i][1]);
		free(text);
		json_decref(properties);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(literals),
		cmocka_unit_test(bad_literals),
		cmocka_unit_test(cut_literals),
		cmocka_unit_test(trees),
		cmocka_unit_test(bad_trees),
		cmocka_unit_test(encoding),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
