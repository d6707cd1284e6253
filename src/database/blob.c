/* Objects with a file. What a transaction would commit is a file of ours until it is stored. */
#include "client/blobs.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <string.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/mem.h"
#include "codec/tid.h"
#include "database/connection.h"

bool persistent_is_blob(const struct persistent *p)
{
	return p->record.class && strcmp(p->record.class, OBJECT_BLOB) == 0;
}

void persistent_drop_blob(struct persistent *p)
{
	if (p->blob_path &&
		database_check_fork(p->conn->db, NULL) == OK) /* else it is the parent's */
		unlink(p->blob_path);
	mem_free(p->blob_path);
	p->blob_path = NULL;
}

/* The full path: the working directory may be another one when it is committed. */
static char *full_path(const char *path)
{
	char here[PATH_MAX];
	struct buf full = BUF_INIT(PATH_MAX);

	if (path[0] == '/')
		return mem_strdup(path);
	if (getcwd(here, sizeof(here)))
		buf_printf(&full, "%s/%s", here, path);
	buf_put_u8(&full, 0);
	if (buf_ok(&full) && full.len > 1)
		return (char *)full.data;
	buf_free(&full);
	return NULL;
}

static int take(struct persistent *p, const char *path, struct err *e)
{
	char *copy = full_path(path);

	if (!copy)
		return err_set(e, ERR_NOMEM, "no memory for a path");
	if (p->blob_path && strcmp(p->blob_path, copy) != 0)
		persistent_drop_blob(p);
	mem_free(p->blob_path);
	p->blob_path = copy;
	return OK;
}

static int check(const struct connection *conn, const char *path, struct err *e)
{
	if (!conn->db->options.blobs)
		return err_set(e, ERR_UNSUPPORTED, "no blobs: the client has no blob_dir");
	if (access(path, R_OK) != 0)
		return err_sys(e, errno, "'%s'", path);
	return OK;
}

int connection_add_blob(
	struct connection *conn, const char *path, struct persistent **ret, struct err *e)
{
	struct persistent *p = NULL;
	int rc = check(conn, path, e);

	if (rc == OK)
		rc = connection_add(conn, OBJECT_BLOB, value_none(), &p, e);
	if (rc)
		return rc;
	rc = take(p, path, e);
	if (rc == OK)
		*ret = p;
	else
		persistent_unref(p); /* it is a blob without a file, which the commit refuses */
	return rc;
}

int persistent_set_blob(struct persistent *p, const char *path, struct err *e)
{
	const struct value *state;
	int rc = persistent_state(p, &state, e);

	if (rc == OK && p->conn->historical)
		rc = err_set(e, ERR_READONLY, "a connection to the past is for reading only");
	if (rc == OK)
		rc = check(p->conn, path, e);
	if (rc == OK && !persistent_is_blob(p))
		rc = err_set(e, ERR_INVAL, "object 0x%llx is a %s: a blob was expected",
			(unsigned long long)p->oid, persistent_class(p));
	if (rc == OK)
		rc = take(p, path, e);
	if (rc == OK && p->status == PERSISTENT_CLEAN)
		persistent_mark_changed(p, PERSISTENT_CHANGED);
	return rc;
}

int persistent_open_blob(struct persistent *p, int *ret_fd, struct err *e)
{
	struct blobs *blobs = p->conn->db->options.blobs;
	const struct value *state;
	int rc = persistent_state(p, &state, e);
	int fd;

	if (rc)
		return rc;
	if (!blobs)
		return err_set(e, ERR_UNSUPPORTED, "no blobs: the client has no blob_dir");
	if (!p->blob_path)
		return blobs_open_file(blobs, p->oid, p->serial, ret_fd, NULL, 0, e);
	fd = open(p->blob_path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return err_sys(e, errno, "'%s'", p->blob_path);
	*ret_fd = fd;
	return OK;
}

int persistent_store_blob(struct persistent *p, struct client_txn *t, struct blobs_txn *stored,
	struct slice record, struct err *e)
{
	int rc;

	if (!p->blob_path)
		return err_set(e, ERR_STATE, "object 0x%llx is a blob without a file",
			(unsigned long long)p->oid);
	rc = blobs_store(
		p->conn->db->options.blobs, stored, t, p->oid, p->serial, record, p->blob_path, e);
	if (rc == OK) { /* it is the folder's */
		mem_free(p->blob_path);
		p->blob_path = NULL;
	}
	return rc;
}
