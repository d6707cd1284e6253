/* What the library says to programs that do it wrong, and to ones that were compiled with an older header. */
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include <zkzeo/zkzeo.h>

static struct zkzeo_error e;

#define EXPECT(condition)                                                                          \
	do {                                                                                       \
		if (!(condition)) {                                                                \
			printf("line %d: %s (%d %s)\n", __LINE__, #condition, e.code, e.text);     \
			return 1;                                                                  \
		}                                                                                  \
	} while (0)

static int options(void)
{
	struct zkzeo_options o = zkzeo_options_default();
	const char *addresses[] = { "127.0.0.1:1" };
	struct zkzeo_client *c;

	o.addresses = addresses;
	o.n_addresses = 1;
	o.read_only = o.read_only_fallback = true;
	EXPECT(zkzeo_client_open(&o, &c, &e) == ZKZEO_INVAL);
	/* an older program has no such fields: what stands there is not looked at */
	o.wait_timeout_ms = 200;
	o.size = offsetof(struct zkzeo_options, read_only);
	EXPECT(zkzeo_client_open(&o, &c, &e) == ZKZEO_TIMEOUT || strstr(e.text, "connect"));
	o.size = 0;
	EXPECT(zkzeo_client_open(&o, &c, &e) == ZKZEO_INVAL);
	EXPECT(strstr(e.text, "zkzeo_options_default"));
	return 0;
}

/* To the next float, and to the even one in the middle: 2**64 + 2**11 and what is beside it. */
static int floats(void)
{
	static const struct {
		const char *digits;
		double f;
	} cases[] = {
		{ "18446744073709553664", 18446744073709551616.0 },
		{ "18446744073709553665", 18446744073709555712.0 },
		{ "-18446744073709553664", -18446744073709551616.0 },
		{ "-18446744073709553665", -18446744073709555712.0 },
		{ "-9223372036854775809", -9223372036854775808.0 },
		{ "340282366920938463463374607431768211457",
			340282366920938463463374607431768211456.0 },
	};
	double f;

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct zkzeo_value *v = zkzeo_int_of_text(cases[i].digits);

		EXPECT(zkzeo_value_get_float(v, &f, &e) == 0 && f == cases[i].f);
		zkzeo_value_free(v);
	}
	return 0;
}

static int kinds(void)
{
	struct zkzeo_value *text = zkzeo_str("text");
	struct zkzeo_value *large = zkzeo_int_of_text("123456789012345678901234567890");
	double f;
	int64_t i;
	char *digits;

	EXPECT(zkzeo_value_get_int(text, &i, &e) == ZKZEO_INVAL);
	EXPECT(strcmp(e.text, "a value of type str: int was expected") == 0);
	EXPECT(zkzeo_value_get_int(NULL, &i, &e) == ZKZEO_NOENT);
	EXPECT(zkzeo_value_get_int(large, &i, &e) == ZKZEO_LIMIT);
	EXPECT(zkzeo_value_get_int_text(large, &digits, &e) == 0);
	EXPECT(strcmp(digits, "123456789012345678901234567890") == 0);
	EXPECT(zkzeo_value_get_float(large, &f, &e) == 0 && f == 123456789012345678901234567890.0);
	EXPECT(zkzeo_value_get_float(text, &f, &e) == ZKZEO_INVAL);
	EXPECT(floats() == 0);
	EXPECT(!zkzeo_int_of_text("12x") && !zkzeo_int_of_text("") && !zkzeo_str("\xc3"));
	EXPECT(!zkzeo_reference(1, "nodots") && !zkzeo_str(NULL));
	zkzeo_free(digits);
	zkzeo_value_free(large);
	zkzeo_value_free(text);
	return 0;
}

static int containers(void)
{
	struct zkzeo_value *list = zkzeo_list();
	struct zkzeo_value *dict = zkzeo_dict();
	struct zkzeo_value *item = zkzeo_int(1);
	struct zkzeo_value *taken;

	EXPECT(zkzeo_list_append(list, item, &e) == 0);
	EXPECT(zkzeo_dict_set_str(dict, "a", item, &e) == ZKZEO_INVAL);
	EXPECT(zkzeo_list_append(list, NULL, &e) == ZKZEO_NOMEM);
	EXPECT(zkzeo_list_append(NULL, zkzeo_int(2), &e) == ZKZEO_NOENT);
	EXPECT(zkzeo_dict_set(dict, zkzeo_list(), zkzeo_none(), &e) == ZKZEO_INVAL);
	EXPECT(zkzeo_dict_set_str(list, "a", zkzeo_none(), &e) == ZKZEO_INVAL);
	EXPECT(zkzeo_list_append(list, list, &e) == ZKZEO_INVAL);
	EXPECT(zkzeo_dict_set_str(dict, "list", list, &e) == 0);
	EXPECT(zkzeo_list_append(list, dict, &e) == ZKZEO_INVAL);
	EXPECT(zkzeo_list_insert(list, 0, zkzeo_int(0), &e) == 0);
	EXPECT(zkzeo_list_replace(list, 7, zkzeo_int(0), &e) == ZKZEO_NOENT);
	taken = zkzeo_list_take(list, 1);
	EXPECT(taken == item && zkzeo_value_len(list) == 1);
	EXPECT(zkzeo_dict_remove_str(dict, "list") && !zkzeo_dict_remove_str(dict, "list"));
	zkzeo_value_free(taken);
	zkzeo_value_free(dict);
	return 0;
}

/* Objects without a server: of a client that has not connected yet. */
static int states(void)
{
	struct zkzeo_options o = zkzeo_options_default();
	const char *addresses[] = { "127.0.0.1:1" };
	struct zkzeo_value *list = zkzeo_list(), *item = zkzeo_list();
	struct zkzeo_connection *conn;
	struct zkzeo_object *object;
	struct zkzeo_db *db;

	o.addresses = addresses;
	o.n_addresses = 1;
	o.no_wait = true;
	EXPECT(zkzeo_list_append(list, item, &e) == 0);
	EXPECT(zkzeo_db_open(&o, NULL, &db, &e) == 0);
	EXPECT(zkzeo_connection_open(db, &conn, &e) == 0);
	/* what a container has is not taken out of it */
	EXPECT(zkzeo_connection_new(conn, ZKZEO_PLIST, item, &object, &e) != 0);
	EXPECT(zkzeo_connection_new_list(conn, item, &object, &e) == ZKZEO_INVAL);
	EXPECT(zkzeo_list_item(list, 0) == item && zkzeo_value_len(item) == 0);
	zkzeo_connection_close(conn);
	zkzeo_db_close(db);
	zkzeo_value_free(list);
	return 0;
}

static int records(void)
{
	struct zkzeo_value *state = zkzeo_dict();
	struct zkzeo_value *again;
	char *class_name;
	uint8_t *data;
	size_t len;

	EXPECT(zkzeo_record_make("nodots", state, &data, &len, &e) == ZKZEO_INVAL);
	EXPECT(zkzeo_record_make("two\nlines.Class", state, &data, &len, &e) == ZKZEO_INVAL);
	EXPECT(zkzeo_record_make(".Class", state, &data, &len, &e) == ZKZEO_INVAL);
	EXPECT(zkzeo_record_make("module.", state, &data, &len, &e) == ZKZEO_INVAL);
	EXPECT(zkzeo_record_make(NULL, state, &data, &len, &e) == ZKZEO_INVAL);
	EXPECT(zkzeo_record_make(ZKZEO_PMAPPING, state, &data, &len, &e) == 0);
	EXPECT(zkzeo_record_parse(data, len, &class_name, &again, &e) == 0);
	EXPECT(strcmp(class_name, ZKZEO_PMAPPING) == 0 && zkzeo_value_equal(state, again));
	zkzeo_value_free(again);
	zkzeo_free(class_name);
	EXPECT(zkzeo_record_parse(data, 5, &class_name, &again, &e) == ZKZEO_FORMAT);
	zkzeo_free(data);
	zkzeo_value_free(state);
	return 0;
}

int main(void)
{
	if (options() || kinds() || containers() || states() || records())
		return 1;
	printf("all right\n");
	return 0;
}
