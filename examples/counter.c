/* Count root['counter'] up, N times: when somebody else was faster, the transaction is run again. */
#include "servers.h"

static int count(struct zkzeo_connection *conn, void *arg, struct zkzeo_error *e)
{
	int64_t *n = arg;
	struct zkzeo_object *root;
	struct zkzeo_value *data;
	int rc = zkzeo_connection_root(conn, &root, e);

	if (rc)
		return rc;
	*n = 0;
	rc = zkzeo_object_change_data(root, &data, e);
	if (!rc && zkzeo_dict_get_str(data, "counter"))
		rc = zkzeo_value_get_int(zkzeo_dict_get_str(data, "counter"), n, e);
	if (!rc)
		rc = zkzeo_dict_set_str(data, "counter", zkzeo_int(++*n), e);
	zkzeo_object_release(root);
	return rc;
}

int main(int argc, char **argv)
{
	struct zkzeo_options o = zkzeo_options_default();
	int times = argc > 2 ? atoi(argv[2]) : 1;
	struct zkzeo_db *db;
	struct zkzeo_error e;
	int64_t n = 0;

	servers_of(argc, argv, &o);
	if (zkzeo_db_open(&o, NULL, &db, &e) != ZKZEO_OK)
		return failed("open", &e);
	for (int i = 0; i < times; i++)
		if (zkzeo_db_run(db, count, &n, 1000, NULL, NULL, &e) != ZKZEO_OK)
			return failed("count", &e);
	printf("%lld\n", (long long)n);
	zkzeo_db_close(db);
	return 0;
}
