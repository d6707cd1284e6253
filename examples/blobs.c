/* Put a file into root['blob'], or write it to the output:
 *     blobs SERVERS FOLDER put FILE
 *     blobs SERVERS FOLDER get */
#include <errno.h>
#include <unistd.h>

#include "servers.h"

/* What is given to the database is taken: so a copy, beside the folder's blobs. */
static int copy_file(const char *from, const char *to)
{
	FILE *in = fopen(from, "rb");
	FILE *out = in ? fopen(to, "wb") : NULL;
	char data[65536];
	size_t n;
	int ok = out != NULL;

	while (ok && (n = fread(data, 1, sizeof(data), in)) > 0)
		ok = fwrite(data, 1, n, out) == n;
	if (out && fclose(out) != 0)
		ok = 0;
	if (in)
		fclose(in);
	return ok ? 0 : -1;
}

static int put(struct zkzeo_connection *conn, void *arg, struct zkzeo_error *e)
{
	const char **names = arg; /* the file, and where its copy goes */
	struct zkzeo_object *root, *blob = NULL;
	struct zkzeo_value *data;
	int rc = zkzeo_connection_root(conn, &root, e);

	if (rc)
		return rc;
	if (copy_file(names[0], names[1]) != 0) {
		snprintf(e->text, sizeof(e->text), "copying %s: %s", names[0], strerror(errno));
		rc = e->code = ZKZEO_IO;
	}
	if (!rc)
		rc = zkzeo_connection_new_blob(conn, names[1], &blob, e);
	if (!rc)
		rc = zkzeo_object_change_data(root, &data, e);
	if (!rc)
		rc = zkzeo_dict_set_str(data, "blob", zkzeo_object_reference(blob), e);
	zkzeo_object_release(blob);
	zkzeo_object_release(root);
	return rc;
}

static int get(struct zkzeo_connection *conn, void *arg, struct zkzeo_error *e)
{
	struct zkzeo_object *root, *blob = NULL;
	const struct zkzeo_value *data;
	char bytes[65536];
	ssize_t n;
	int fd = -1;
	int rc = zkzeo_connection_root(conn, &root, e);

	(void)arg;
	if (rc)
		return rc;
	rc = zkzeo_object_data(root, &data, e);
	if (!rc)
		rc = zkzeo_connection_follow(conn, zkzeo_dict_get_str(data, "blob"), &blob, e);
	if (!rc)
		rc = zkzeo_object_open_blob(blob, &fd, e);
	while (!rc && (n = read(fd, bytes, sizeof(bytes))) > 0)
		fwrite(bytes, 1, (size_t)n, stdout);
	if (fd >= 0)
		close(fd);
	zkzeo_object_release(blob);
	zkzeo_object_release(root);
	return rc;
}

int main(int argc, char **argv)
{
	struct zkzeo_options o = zkzeo_options_default();
	const char *names[2];
	char copy[4096];
	struct zkzeo_db *db;
	struct zkzeo_error e;
	int is_put, rc;

	if (argc < 4) {
		fprintf(stderr, "usage: blobs SERVERS FOLDER put FILE | get\n");
		return 2;
	}
	servers_of(argc, argv, &o);
	o.blob_dir = argv[2];
	is_put = strcmp(argv[3], "put") == 0 && argc > 4;
	if (zkzeo_db_open(&o, NULL, &db, &e) != ZKZEO_OK)
		return failed("open", &e);
	snprintf(copy, sizeof(copy), "%s/put-%ld", zkzeo_client_blob_tmp(zkzeo_db_client(db)),
		(long)getpid());
	names[0] = is_put ? argv[4] : NULL;
	names[1] = copy;
	rc = zkzeo_db_run(db, is_put ? put : get, names, 5, NULL, NULL, &e);
	if (rc)
		return failed(is_put ? "put" : "get", &e);
	zkzeo_db_close(db);
	return 0;
}
