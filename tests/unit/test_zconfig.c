/* The ZConfig language, substitution and datatypes. */
#include "cmocka_all.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/buf.h"
#include "config/datatype.h"
#include "config/substitute.h"
#include "config/zconfig.h"

static struct arena mem = ARENA_INIT(0);

static struct zconfig_node *parse(const char *text)
{
	struct zconfig_node *root = NULL;
	struct err e = ERR_INIT;

	if (zconfig_parse("t.conf", slice_str(text), &mem, &root, &e))
		fail_msg("%s", e.text);
	return root;
}

static void expect_error(const char *text, const char *expected)
{
	struct zconfig_node *root = NULL;
	struct err e = ERR_INIT;

	assert_int_equal(zconfig_parse("t.conf", slice_str(text), &mem, &root, &e), ERR_INVAL);
	assert_string_equal(e.text, expected);
	assert_null(root);
}

/* The whole tree on one line: key=value, type(name){...}, %package. */
static void write_tree(struct buf *out, const struct zconfig_node *n)
{
	for (; n; n = n->next) {
		buf_put_str(out, n->kind == ZCONFIG_IMPORT ? "%" : "");
		buf_put_str(out, n->name);
		if (n->kind == ZCONFIG_KEY)
			buf_printf(out, "=%s", n->value);
		if (n->kind == ZCONFIG_SECTION) {
			buf_printf(out, "(%s){", n->value ? n->value : "");
			write_tree(out, n->children);
			buf_put_str(out, "}");
		}
		buf_put_str(out, n->next ? " " : "");
	}
}

static void expect_tree(const char *text, const char *expected)
{
	struct buf out = BUF_INIT(0);

	write_tree(&out, parse(text)->children);
	buf_put_u8(&out, 0);
	assert_string_equal((const char *)out.data, expected);
	buf_free(&out);
}

static void test_keys(void **state)
{
	expect_tree("", "");
	expect_tree("\n  \n# comment\n", "");
	expect_tree("key value", "key=value");
	expect_tree(
		"  Key-Name \t some  Words # no comment \r\n", "key-name=some  Words # no comment");
	expect_tree("key\nkey2\n", "key= key2=");
	expect_tree("a 1\na 2\n", "a=1 a=2");
	expect_tree("key(x)", "key=(x)");
	expect_tree("key <x>", "key=<x>");
}

static void test_sections(void **state)
{
	expect_tree("<A>\n</a>", "a(){}");
	expect_tree("<a/>\nk v", "a(){} k=v");
	expect_tree("<a />", "a(){}");
	expect_tree("<a B/>", "a(b){}");
}

static void test_nesting(void **state)
{
	expect_tree("<a one>\n k v\n <b>\n  x y\n </b>\n</a >\nz 1", "a(one){k=v b(){x=y}} z=1");
	expect_tree("<a>\n<b/>\n<b 2/>\n</a>", "a(){b(){} b(2){}}");
}

static void test_places(void **state)
{
	const struct zconfig_node *root = parse("# x\n<a>\n\n k v\n</a>\n");

	assert_int_equal(root->children->line, 2);
	assert_int_equal(root->children->children->line, 4);
	assert_string_equal(root->children->children->file, "t.conf");
	assert_int_equal(root->line, 5);
}

static void test_section_errors(void **state)
{
	expect_error("<a", "t.conf:1: '<a' was found: a '>' was expected at its end");
	expect_error("<", "t.conf:1: '<' was found: a '>' was expected at its end");
	expect_error("<>", "t.conf:1: <> was found: <TYPE> or <TYPE NAME> was expected");
	expect_error("< a>", "t.conf:1: < a> was found: <TYPE> or <TYPE NAME> was expected");
	expect_error("<a b c>", "t.conf:1: <a b c> was found: <TYPE> or <TYPE NAME> was expected");
	expect_error("<a (b)>", "t.conf:1: <a (b)> was found: <TYPE> or <TYPE NAME> was expected");
	expect_error("</a>", "t.conf:1: </a> was found, but no section is open here");
	expect_error("\n<a>\n</b>", "t.conf:3: </b> was found: </a> was expected, for line 2");
	expect_error("<a>\n\n", "t.conf:2: the file ends in <a> of line 1: </a> was expected");
	expect_error("(x", "t.conf:1: '(x' was found: a key and its value were expected");
}

static void test_too_deep(void **state)
{
	struct buf text = BUF_INIT(0);
	int i;

	for (i = 0; i <= ZCONFIG_DEPTH_MAX; i++)
		buf_put_str(&text, "<a>\n");
	buf_put_u8(&text, 0);
	expect_error((const char *)text.data, "t.conf:33: sections are nested more than 32 deep");
	buf_free(&text);
}

static void test_zero_byte(void **state)
{
	struct zconfig_node *root = NULL;
	struct err e = ERR_INIT;

	assert_int_equal(
		zconfig_parse("t.conf", slice_of("a b\0c\n", 6), &mem, &root, &e), ERR_INVAL);
	assert_string_equal(e.text, "t.conf:1: a byte of value 0 was found: text was expected");
}

static void test_define(void **state)
{
	expect_tree("%define X one two\nk $x", "k=one two");
	expect_tree("%define x\nk <${X}>", "k=<>");
	expect_tree("%define x 1\n%define x 1\nk $x$x", "k=11");
	expect_tree("%define x a\n%define y $x-b\nk ${y}c $$x", "k=a-bc $x");
	expect_tree("%define x $$y\nk $x", "k=$y");
	expect_tree("<a>\n%define x 1\n</a>\nk $x", "a(){} k=1");
	expect_error("%define x 1\n%define X 2", "t.conf:2: 'x' is defined as '1' already");
	expect_error("%define 1x 2",
		"t.conf:1: '1x' was found after %define: a name of letters, digits and '_' was "
		"expected");
}

static void test_substitution_errors(void **state)
{
	expect_error("k $x",
		"t.conf:1: 'x' has no value: a name that %define has given a value was expected");
	expect_error("k a$", "t.conf:1: '$' was found: $NAME, ${NAME}, $(NAME) or $$ was expected");
	expect_error(
		"k $-1", "t.conf:1: '$-1' was found: $NAME, ${NAME}, $(NAME) or $$ was expected");
	expect_error("k ${x", "t.conf:1: '${x' is not followed by '}'");
	expect_error("k $(HOME", "t.conf:1: '$(HOME' is not followed by ')'");
	expect_error(
		"k ${}", "t.conf:1: '${}' was found: $NAME, ${NAME}, $(NAME) or $$ was expected");
}

static void test_environment(void **state)
{
	setenv("ZKZEO_TEST_Env", "from $there", 1);
	unsetenv("ZKZEO_TEST_ENV");
	expect_tree("k $(ZKZEO_TEST_Env)!", "k=from $there!");
	expect_error("k $(ZKZEO_TEST_ENV)",
		"t.conf:1: 'ZKZEO_TEST_ENV' has no value: a variable of the environment was "
		"expected");
	expect_error("k $ZKZEO_TEST_Env",
		"t.conf:1: 'ZKZEO_TEST_Env' has no value: a name that %define has given a value "
		"was expected");
}

/* A value that doubles with every line does not fill the memory. */
static void test_substitution_is_bounded(void **state)
{
	struct buf text = BUF_INIT(0);
	struct zconfig_node *root = NULL;
	struct err e = ERR_INIT;
	int i;

	buf_put_str(&text, "%define x0 aaaaaaaaaaaaaaaa\n");
	for (i = 1; i < 40; i++)
		buf_printf(&text, "%%define x%d $x%d$x%d\n", i, i - 1, i - 1);
	assert_int_equal(zconfig_parse("t.conf", buf_slice(&text), &mem, &root, &e), ERR_INVAL);
	assert_string_equal(
		e.text, "t.conf:14: the value is longer than 65536 bytes after substitution");
	buf_free(&text);
}

static void test_directives(void **state)
{
	expect_tree("%import zc.zlibstorage", "%zc.zlibstorage");
	expect_tree("%define p zc\n%import $p.zkzeo", "%zc.zkzeo");
	expect_error(
		"%foo x", "t.conf:1: '%foo' was found: %define, %import or %include was expected");
	expect_error("%define", "t.conf:1: %define was found without an argument");
	expect_error("%Define x y",
		"t.conf:1: '%Define' was found: %define, %import or %include was expected");
	expect_error("%include http://localhost/x",
		"t.conf:1: 'http://localhost/x' was found after %include: a file was expected");
}

static void write_file(const char *path, const char *text)
{
	FILE *f = fopen(path, "w");

	assert_non_null(f);
	fputs(text, f);
	fclose(f);
}

static int enter_folder(void **state)
{
	static char folder[] = "/tmp/zconfig-XXXXXX";

	assert_non_null(mkdtemp(folder));
	assert_int_equal(chdir(folder), 0);
	assert_int_equal(mkdir("sub", 0777), 0);
	*state = folder;
	return 0;
}

static int leave_folder(void **state)
{
	const char *names[] = { "a.conf", "sub/b.conf", "sub/c.conf", "loop.conf" };
	size_t i;

	for (i = 0; i < ARRAY_LEN(names); i++)
		unlink(names[i]);
	rmdir("sub");
	arena_free(&mem);
	return chdir("/") || rmdir(*state);
}

static void test_include(void **state)
{
	struct zconfig_node *root = NULL;
	struct err e = ERR_INIT;
	struct buf out = BUF_INIT(0);

	write_file("a.conf", "%define x 1\n<s>\n  %include sub/b.conf\n</s>\nk $y\n");
	write_file("sub/b.conf", "b $x\n%include c.conf\n");
	write_file("sub/c.conf", "%define y 2\nc file\n");
	assert_int_equal(zconfig_read("./a.conf", &mem, &root, &e), OK);
	write_tree(&out, root->children);
	buf_put_u8(&out, 0);
	assert_string_equal((const char *)out.data, "s(){b=1 c=file} k=2");
	assert_string_equal(root->children->children->next->file, "./sub/c.conf");
	assert_int_equal(root->children->children->next->line, 2);
	buf_free(&out);
}

static void test_include_errors(void **state)
{
	struct zconfig_node *root = NULL;
	struct err e = ERR_INIT;

	unlink("sub/b.conf");
	write_file("a.conf", "\n%include sub/b.conf\n");
	assert_int_equal(zconfig_read("a.conf", &mem, &root, &e), ERR_NOENT);
	assert_string_equal(
		e.text, "a.conf:2: cannot open 'sub/b.conf': No such file or directory");
	write_file("sub/b.conf", "%include ../a.conf\n");
	assert_int_equal(zconfig_read("a.conf", &mem, &root, &e), ERR_INVAL);
	assert_string_equal(
		e.text, "sub/b.conf:1: %include of 'sub/../a.conf', which is being read");
	write_file("sub/b.conf", "</s>\n");
	write_file("a.conf", "<s>\n%include sub/b.conf\n</s>\n");
	assert_int_equal(zconfig_read("a.conf", &mem, &root, &e), ERR_INVAL);
	assert_string_equal(e.text, "sub/b.conf:1: </s> was found, but no section is open here");
	write_file("sub/b.conf", "<t>\n");
	assert_int_equal(zconfig_read("a.conf", &mem, &root, &e), ERR_INVAL);
	assert_string_equal(
		e.text, "sub/b.conf:1: the file ends in <t> of line 1: </t> was expected");
}

static void test_read(void **state)
{
	struct zconfig_node *root = NULL;
	struct err e = ERR_INIT;
	char url[256] = "file://";
	char cwd[200];

	assert_int_equal(zconfig_read("missing.conf", &mem, &root, &e), ERR_NOENT);
	assert_int_equal(zconfig_read("sub", &mem, &root, &e), ERR_IO);
	write_file("a.conf", "k v");
	assert_non_null(getcwd(cwd, sizeof(cwd)));
	strcat(strcat(url, cwd), "/a.conf");
	assert_int_equal(zconfig_read(url, &mem, &root, &e), OK);
	assert_string_equal(root->children->value, "v");
}

static void test_boolean(void **state)
{
	struct err e = ERR_INIT;
	bool v = false;

	assert_int_equal(datatype_boolean("On", &v, &e), OK);
	assert_true(v);
	assert_int_equal(datatype_boolean("FALSE", &v, &e), OK);
	assert_false(v);
	assert_int_equal(datatype_boolean("1", &v, &e), ERR_INVAL);
	assert_string_equal(e.text, "'1' was found: true, yes, on, false, no or off was expected");
}

static void expect_integer(const char *text, int64_t expected)
{
	struct err e = ERR_INIT;
	int64_t v = -1;

	assert_int_equal(datatype_integer(text, -100, INT64_MAX, &v, &e), OK);
	assert_int_equal(v, expected);
}

static void test_integer(void **state)
{
	const char *wrong[] = { "", "x", "1x", "1_", "_1", "1__0", "0x10", "1.0", "-101", "- 1",
		"9223372036854775808" };
	struct err e = ERR_INIT;
	int64_t v;
	size_t i;

	expect_integer("0", 0);
	expect_integer("+12", 12);
	expect_integer("-100", -100);
	expect_integer("1_000", 1000);
	expect_integer("9223372036854775807", INT64_MAX);
	for (i = 0; i < ARRAY_LEN(wrong); i++)
		assert_int_equal(datatype_integer(wrong[i], -100, INT64_MAX, &v, &e), ERR_INVAL);
	assert_int_equal(datatype_integer("7", 0, 5, &v, &e), ERR_INVAL);
	assert_string_equal(e.text, "'7' was found: a whole number from 0 to 5 was expected");
}

static void test_bytes_and_intervals(void **state)
{
	struct err e = ERR_INIT;
	uint64_t v = 0;

	assert_int_equal(datatype_bytes("5", &v, &e), OK);
	assert_int_equal(v, 5);
	assert_int_equal(datatype_bytes("10MB", &v, &e), OK);
	assert_int_equal(v, 10u << 20);
	assert_int_equal(datatype_bytes("3 gb", &v, &e), OK);
	assert_int_equal(v, 3ull << 30);
	assert_int_equal(datatype_bytes("kb", &v, &e), ERR_INVAL);
	assert_int_equal(datatype_bytes("1TB", &v, &e), ERR_INVAL);
	assert_int_equal(datatype_bytes("-1", &v, &e), ERR_INVAL);
	assert_int_equal(datatype_bytes("99999999999999GB", &v, &e), ERR_INVAL);
	assert_int_equal(datatype_interval("2m", &v, &e), OK);
	assert_int_equal(v, 120);
	assert_int_equal(datatype_interval("1D", &v, &e), OK);
	assert_int_equal(v, 86400);
	assert_int_equal(datatype_interval("5w", &v, &e), ERR_INVAL);
}

static void test_float(void **state)
{
	const char *wrong[] = { "", "x", "1,5", "0x1p3", "nan", "inf", "1e999", "1 2" };
	struct err e = ERR_INIT;
	double v = 0;
	size_t i;

	assert_int_equal(datatype_float("-1.5e2", &v, &e), OK);
	assert_true(v == -150);
	for (i = 0; i < ARRAY_LEN(wrong); i++)
		assert_int_equal(datatype_float(wrong[i], &v, &e), ERR_INVAL);
	assert_string_equal(e.text, "'1 2' was found: a number was expected");
}

static void test_level(void **state)
{
	struct err e = ERR_INIT;
	int v = -1;

	assert_int_equal(datatype_level("Warn", &v, &e), OK);
	assert_int_equal(v, 30);
	assert_int_equal(datatype_level("notset", &v, &e), OK);
	assert_int_equal(v, 0);
	assert_int_equal(datatype_level("17", &v, &e), OK);
	assert_int_equal(v, 17);
	assert_int_equal(datatype_level("51", &v, &e), ERR_INVAL);
	assert_int_equal(datatype_level("loud", &v, &e), ERR_INVAL);
}

static void test_dotted_name(void **state)
{
	struct err e = ERR_INIT;

	assert_int_equal(datatype_dotted_name("a.b_2.C", &e), OK);
	assert_int_equal(datatype_dotted_name("a.", &e), ERR_INVAL);
	assert_int_equal(datatype_dotted_name(".a", &e), ERR_INVAL);
	assert_int_equal(datatype_dotted_name("a.2", &e), ERR_INVAL);
	assert_int_equal(datatype_dotted_name("", &e), ERR_INVAL);
}

static void test_paths(void **state)
{
	struct err e = ERR_INIT;
	const char *v = NULL;

	setenv("HOME", "/tmp/", 1);
	assert_int_equal(datatype_path("~/x", &mem, &v, &e), OK);
	assert_string_equal(v, "/tmp/x");
	assert_int_equal(datatype_path("~root/x", &mem, &v, &e), OK);
	assert_string_equal(v, "/root/x");
	assert_int_equal(datatype_path("~no-such-user/x", &mem, &v, &e), OK);
	assert_string_equal(v, "~no-such-user/x");
	assert_int_equal(datatype_dirpath("Data.fs", &mem, &v, &e), OK);
	assert_int_equal(datatype_dirpath("sub/Data.fs", &mem, &v, &e), OK);
	assert_int_equal(datatype_dirpath("/Data.fs", &mem, &v, &e), OK);
	assert_int_equal(datatype_dirpath("none/Data.fs", &mem, &v, &e), ERR_INVAL);
	assert_string_equal(e.text,
		"'none/Data.fs' was found: a path in a folder that exists was expected, and "
		"'none/' is none");
	assert_int_equal(datatype_existing_path("sub", &mem, &v, &e), OK);
	assert_int_equal(datatype_existing_path("none", &mem, &v, &e), ERR_INVAL);
}

static void test_log_format(void **state)
{
	struct err e = ERR_INIT;
	const char *v = NULL;

	assert_int_equal(datatype_log_format("a\\n%(message)s\\t\\x", &mem, &v, &e), OK);
	assert_string_equal(v, "a\n%(message)s\t\\x");
	assert_int_equal(datatype_log_format("", &mem, &v, &e), OK);
	assert_string_equal(v, "%(message)s");
	assert_int_equal(datatype_log_format("%(nothing)s", &mem, &v, &e), ERR_INVAL);
}

static void test_command(void **state)
{
	struct err e = ERR_INIT;
	const char *name = NULL;
	const char *program = NULL;

	assert_int_equal(datatype_command("disk /bin/df -h", &mem, &name, &program, &e), OK);
	assert_string_equal(name, "disk");
	assert_string_equal(program, "/bin/df -h");
	assert_int_equal(datatype_command("disk", &mem, &name, &program, &e), ERR_INVAL);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_keys),
		cmocka_unit_test(test_sections),
		cmocka_unit_test(test_nesting),
		cmocka_unit_test(test_places),
		cmocka_unit_test(test_section_errors),
		cmocka_unit_test(test_too_deep),
		cmocka_unit_test(test_zero_byte),
		cmocka_unit_test(test_define),
		cmocka_unit_test(test_substitution_errors),
		cmocka_unit_test(test_environment),
		cmocka_unit_test(test_substitution_is_bounded),
		cmocka_unit_test(test_directives),
		cmocka_unit_test(test_include),
		cmocka_unit_test(test_include_errors),
		cmocka_unit_test(test_read),
		cmocka_unit_test(test_boolean),
		cmocka_unit_test(test_integer),
		cmocka_unit_test(test_bytes_and_intervals),
		cmocka_unit_test(test_float),
		cmocka_unit_test(test_level),
		cmocka_unit_test(test_dotted_name),
		cmocka_unit_test(test_paths),
		cmocka_unit_test(test_log_format),
		cmocka_unit_test(test_command),
	};

	return cmocka_run_group_tests(tests, enter_folder, leave_folder);
}
