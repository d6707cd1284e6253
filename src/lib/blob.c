/* Blobs for programs. */
#include <limits.h>

#include "base/mem.h"
#include "lib/api.h"
#include <zkzeo/blob.h>

static int need_folder(const struct zkzeo_client *c, struct err *e)
{
	return c->blobs ? OK : err_set(e, ERR_UNSUPPORTED, "no blobs: the client has no blob_dir");
}

const char *zkzeo_client_blob_tmp(const struct zkzeo_client *c)
{
	return c->blobs ? blobs_temporary_directory(c->blobs) : NULL;
}

int zkzeo_client_blob_path(
	struct zkzeo_client *c, uint64_t oid, uint64_t serial, char **ret, struct zkzeo_error *e)
{
	char path[PATH_MAX];
	char *copy;
	int rc = need_folder(c, err_of(e));

	if (rc == OK)
		rc = blobs_load(c->blobs, oid, serial, path, sizeof(path), err_of(e));
	if (rc)
		return rc;
	copy = mem_strdup(path);
	if (!copy)
		return err_set(err_of(e), ERR_NOMEM, "no memory for a path");
	*ret = copy;
	return OK;
}

int zkzeo_client_open_blob(
	struct zkzeo_client *c, uint64_t oid, uint64_t serial, int *ret_fd, struct zkzeo_error *e)
{
	int rc = need_folder(c, err_of(e));

	return rc ? rc : blobs_open_file(c->blobs, oid, serial, ret_fd, NULL, 0, err_of(e));
}

int zkzeo_connection_new_blob(struct zkzeo_connection *conn, const char *path,
	struct zkzeo_object **ret, struct zkzeo_error *e)
{
	return connection_add_blob(
		(struct connection *)conn, path, (struct persistent **)ret, err_of(e));
}

int zkzeo_object_set_blob(struct zkzeo_object *o, const char *path, struct zkzeo_error *e)
{
	return persistent_set_blob((struct persistent *)o, path, err_of(e));
}

int zkzeo_object_open_blob(struct zkzeo_object *o, int *ret_fd, struct zkzeo_error *e)
{
	return persistent_open_blob((struct persistent *)o, ret_fd, err_of(e));
}
