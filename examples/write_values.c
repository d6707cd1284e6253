/* Put values of all kinds into root['example'], for Python to read. */
#include "servers.h"

/* {'int': 42, ...}: what fails on the way is seen where it is put, so one check at the end is enough. */
static struct zkzeo_value *all_kinds(struct zkzeo_error *e)
{
	struct zkzeo_value *d = zkzeo_dict();
	struct zkzeo_value *pair = zkzeo_tuple();
	struct zkzeo_value *list = zkzeo_list();
	int rc = zkzeo_list_append(pair, zkzeo_str("left"), e);

	if (!rc)
		rc = zkzeo_list_append(pair, zkzeo_bytes("\0\1right", 7), e);
	if (!rc)
		rc = zkzeo_list_append(list, zkzeo_int(-1), e);
	if (!rc)
		rc = zkzeo_dict_set_str(d, "none", zkzeo_none(), e);
	if (!rc)
		rc = zkzeo_dict_set_str(d, "yes", zkzeo_bool(true), e);
	if (!rc)
		rc = zkzeo_dict_set_str(d, "int", zkzeo_int(42), e);
	if (!rc)
		rc = zkzeo_dict_set_str(
			d, "large", zkzeo_int_of_text("-123456789012345678901234567890"), e);
	if (!rc)
		rc = zkzeo_dict_set_str(d, "float", zkzeo_float(1.5), e);
	if (!rc)
		rc = zkzeo_dict_set_str(d, "text",
			zkzeo_str("Gr\xc3\xbc\xc3\x9f"
				  "e \xf0\x9f\x98\x80"),
			e);
	if (!rc)
		rc = zkzeo_list_append(list, pair, e);
	else
		zkzeo_value_free(pair);
	if (!rc)
		rc = zkzeo_dict_set_str(d, "list", list, e);
	else
		zkzeo_value_free(list);
	if (rc) {
		zkzeo_value_free(d);
		return NULL;
	}
	return d;
}

static int write_all(struct zkzeo_connection *conn, void *arg, struct zkzeo_error *e)
{
	struct zkzeo_object *root = NULL, *mapping = NULL, *inner = NULL;
	struct zkzeo_value *data;
	int rc = zkzeo_connection_root(conn, &root, e);

	(void)arg;
	if (!rc)
		rc = zkzeo_connection_new_mapping(conn, all_kinds(e), &mapping, e);
	if (!rc)
		rc = zkzeo_connection_new_list(conn, zkzeo_list(), &inner, e);
	if (!rc)
		rc = zkzeo_object_change_data(inner, &data, e);
	if (!rc) /* objects may refer to each other */
		rc = zkzeo_list_append(data, zkzeo_object_reference(mapping), e);
	if (!rc)
		rc = zkzeo_object_change_data(mapping, &data, e);
	if (!rc)
		rc = zkzeo_dict_set_str(data, "persistent list", zkzeo_object_reference(inner), e);
	if (!rc)
		rc = zkzeo_object_change_data(root, &data, e);
	if (!rc)
		rc = zkzeo_dict_set_str(data, "example", zkzeo_object_reference(mapping), e);
	zkzeo_object_release(inner);
	zkzeo_object_release(mapping);
	zkzeo_object_release(root);
	return rc;
}

int main(int argc, char **argv)
{
	struct zkzeo_options o = zkzeo_options_default();
	struct zkzeo_note note = { "example", "values of all kinds", NULL };
	struct zkzeo_db *db;
	struct zkzeo_error e;
	uint64_t tid;

	servers_of(argc, argv, &o);
	if (zkzeo_db_open(&o, NULL, &db, &e) != ZKZEO_OK)
		return failed("open", &e);
	if (zkzeo_db_run(db, write_all, NULL, 3, &note, &tid, &e) != ZKZEO_OK)
		return failed("commit", &e);
	printf("committed in 0x%016llx\n", (unsigned long long)tid);
	zkzeo_db_close(db);
	return 0;
}
