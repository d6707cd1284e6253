/* Show what is in the root of a database, and what the objects there are. */
#include <inttypes.h>

#include "servers.h"

static void show(struct zkzeo_connection *conn, const struct zkzeo_value *key,
	const struct zkzeo_value *value)
{
	char *key_text = zkzeo_value_show(key, 60);
	struct zkzeo_object *object;
	struct zkzeo_error e;

	if (zkzeo_value_kind(value) == ZKZEO_REFERENCE &&
		zkzeo_connection_follow(conn, value, &object, &e) == ZKZEO_OK) {
		const struct zkzeo_value *state;

		if (zkzeo_object_state(object, &state, &e) == ZKZEO_OK) {
			char *text = zkzeo_value_show(state, 200);

			printf("%s: %s %s\n", key_text, zkzeo_object_class(object), text);
			zkzeo_free(text);
		}
		zkzeo_object_release(object);
	} else {
		char *text = zkzeo_value_show(value, 200);

		printf("%s: %s\n", key_text, text);
		zkzeo_free(text);
	}
	zkzeo_free(key_text);
}

int main(int argc, char **argv)
{
	struct zkzeo_options o = zkzeo_options_default();
	struct zkzeo_db *db;
	struct zkzeo_connection *conn;
	struct zkzeo_object *root;
	const struct zkzeo_value *data;
	struct zkzeo_value *key, *value;
	struct zkzeo_error e;
	size_t pos = 0;

	servers_of(argc, argv, &o);
	if (zkzeo_db_open(&o, NULL, &db, &e) != ZKZEO_OK)
		return failed("open", &e);
	if (zkzeo_connection_open(db, &conn, &e) != ZKZEO_OK)
		return failed("connect", &e);
	if (zkzeo_connection_root(conn, &root, &e) != ZKZEO_OK)
		return failed("root", &e);
	if (zkzeo_object_data(root, &data, &e) != ZKZEO_OK)
		return failed("root", &e);
	printf("%zu objects as of transaction 0x%016" PRIx64 "\n", zkzeo_value_len(data),
		zkzeo_connection_snapshot(conn));
	while (zkzeo_dict_next(data, &pos, &key, &value))
		show(conn, key, value);
	zkzeo_object_release(root);
	zkzeo_connection_close(conn);
	zkzeo_db_close(db);
	return 0;
}
