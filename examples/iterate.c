/* List all transactions, and what each of them changed. */
#include <inttypes.h>

#include "servers.h"

static int show_changes(struct zkzeo_iterator *it, struct zkzeo_error *e)
{
	struct zkzeo_change change;
	int rc;

	while ((rc = zkzeo_iterator_change(it, &change, e)) == ZKZEO_OK) {
		char *class_name = NULL;
		struct zkzeo_value *state = NULL;

		if (change.data && zkzeo_record_parse(change.data, change.len, &class_name, &state,
					   NULL) == ZKZEO_OK)
			printf("    0x%" PRIx64 " %s, %zu bytes\n", change.oid, class_name,
				change.len);
		else
			printf("    0x%" PRIx64 " %s\n", change.oid, change.data ? "?" : "removed");
		zkzeo_free(class_name);
		zkzeo_value_free(state);
	}
	return rc;
}

int main(int argc, char **argv)
{
	struct zkzeo_options o = zkzeo_options_default();
	struct zkzeo_client *client;
	struct zkzeo_iterator *it;
	struct zkzeo_transaction t;
	struct zkzeo_error e;
	int rc;

	servers_of(argc, argv, &o);
	o.read_only = true;
	if (zkzeo_client_open(&o, &client, &e) != ZKZEO_OK)
		return failed("open", &e);
	if (zkzeo_client_iterate(client, ZKZEO_NO_TID, ZKZEO_NO_TID, &it, &e) != ZKZEO_OK)
		return failed("iterate", &e);
	while ((rc = zkzeo_iterator_next(it, &t, &e)) == ZKZEO_OK) {
		printf("0x%016" PRIx64 " %.*s: %.*s\n", t.tid, (int)t.user_len, t.user,
			(int)t.description_len, t.description);
		if (show_changes(it, &e) != ZKZEO_NOENT)
			return failed("changes", &e);
	}
	if (rc != ZKZEO_NOENT)
		return failed("transactions", &e);
	zkzeo_iterator_close(it);
	zkzeo_client_close(client);
	return 0;
}
