/* Any bytes as a tree's text: what is found right can be written as nodes' data and printed, a value that is printed is read as the
 * same value, and what is wrong has a text that names its line. */
#include <jansson.h>
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "base/check.h"
#include "fuzz.h"
#include "zookeeper/literal.h"
#include "zookeeper/tree.h"
#include "zookeeper/tree_text.h"

static void check_value(const json_t *value)
{
	struct buf out = BUF_INIT(0);
	struct err e = ERR_INIT;
	json_t *again = NULL;

	tree_print_value(&out, value);
	CHECK(buf_ok(&out));
	CHECK(literal_parse(buf_slice(&out), &again, &e) == OK);
	CHECK(json_equal(value, again));
	json_decref(again);
	buf_free(&out);
}

static void check_node(const char *name, json_t *node)
{
	json_t *properties = json_object_get(node, "properties");
	json_t *children = json_object_get(node, "children");
	struct buf out = BUF_INIT(0);
	const char *key;
	json_t *value;
	char *data = tree_encode(properties);

	CHECK(data != NULL);
	tree_print_node(&out, name, 2, slice_str(data));
	CHECK(buf_ok(&out));
	json_object_foreach(properties, key, value) check_value(value);
	json_object_foreach(children, key, value) check_node(key, value);
	buf_free(&out);
	free(data);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
	struct err e = ERR_INIT;
	json_t *tree = NULL;
	int rc = tree_parse(slice_of(data, n), &tree, &e);

	CHECK(rc == e.code);
	if (rc == OK)
		check_node("", tree);
	else
		CHECK(strncmp(e.text, "line ", 5) == 0);
	json_decref(tree);
	return 0;
}
