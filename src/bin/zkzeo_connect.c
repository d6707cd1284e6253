#include "bin/zkzeo_connect.h"

#include <string.h>

enum { TIMEOUT_MS = 10000 };

/* The reader keeps the connection string for its texts: it lives as long as the program. */
static char connection[2048];

int zkzeo_connect(const char *where, struct reader **ret, char ret_path[ZK_PATH_MAX], struct err *e)
{
	const char *path = strchr(where, '/');
	size_t n = path ? (size_t)(path - where) : strlen(where);
	struct reader *r = NULL;
	int rc;

	if (n >= sizeof(connection))
		return err_set(e, ERR_LIMIT, "the ZooKeeper connection string is too long");
	memcpy(connection, where, n);
	connection[n] = 0;
	rc = reader_open(connection, TIMEOUT_MS, &r, e);
	if (rc)
		return rc;
	rc = reader_resolve(r, path ? path : "/", ret_path, e);
	if (rc) {
		reader_close(r);
		return rc;
	}
	*ret = r;
	return OK;
}
