#include "storage/blob/blob_removals.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "base/mem.h"
#include "base/os.h"
#include "storage/blob/blob_dir_core.h"

enum {
	LINE_ROOM = 32 + 2,
	WRITE_BYTES = 64 << 10,
};

struct blob_removals {
	struct blob_dir *d;
	int fd;
	uint64_t off;
	struct buf out; /* not written yet */
};

static void list_path(const struct blob_dir *d, char out[PATH_MAX])
{
	snprintf(out, PATH_MAX, "%s/.removed", d->path);
}

static void old_path(const struct blob_dir *d, char out[PATH_MAX])
{
	snprintf(out, PATH_MAX, "%s.old", d->path);
}

int blob_removals_open(struct blob_dir *d, struct blob_removals **ret, struct err *e)
{
	struct blob_removals *r = mem_zalloc(1, sizeof(*r));
	char path[PATH_MAX];
	int rc;

	if (!r)
		return err_set(e, ERR_NOMEM, "no memory for a list of blobs");
	r->d = d;
	r->fd = -1;
	old_path(d, path);
	rc = blob_dir_remove_tree(path, e);
	list_path(d, path);
	if (rc == OK)
		rc = os_open(path, O_RDWR | O_CREAT | O_TRUNC, &r->fd, e);
	if (rc != OK) {
		mem_free(r);
		return rc;
	}
	*ret = r;
	return OK;
}

static int flush(struct blob_removals *r, struct err *e)
{
	int rc = buf_ok(&r->out) ? OK : err_set(e, ERR_NOMEM, "no memory for a list of blobs");

	if (rc == OK)
		rc = os_pwrite(r->fd, r->out.data, r->out.len, r->off, e);
	r->off += r->out.len;
	buf_reset(&r->out);
	return rc;
}

int blob_removals_add(struct blob_removals *r, uint64_t oid, uint64_t tid, struct err *e)
{
	if (!blob_dir_has_file(r->d, oid, tid))
		return OK;
	buf_printf(&r->out, "%016llx%016llx\n", (unsigned long long)oid, (unsigned long long)tid);
	return r->out.len >= WRITE_BYTES || !buf_ok(&r->out) ? flush(r, e) : OK;
}

int blob_removals_sync(struct blob_removals *r, struct err *e)
{
	char path[PATH_MAX];
	int rc = flush(r, e);

	list_path(r->d, path);
	if (rc == OK)
		rc = os_fsync(r->fd, e);
	return rc == OK ? os_sync_dir_of(path, e) : rc;
}

static void release(struct blob_removals *r)
{
	os_close(r->fd);
	buf_free(&r->out);
	mem_free(r);
}

void blob_removals_drop(struct blob_removals *r)
{
	char path[PATH_MAX];
	struct err e = ERR_INIT;
	int rc;

	if (!r)
		return;
	list_path(r->d, path);
	rc = os_unlink(path, &e);
	(void)rc; /* the next start finds that all its revisions are there */
	release(r);
}

/* --- applying --- */

struct apply {
	struct blob_dir *d;
	blob_has_fn *has;
	void *ctx;
	bool keep_old;
	char old[PATH_MAX];
};

/* The same place below FOLDER.old, its folders made. */
static int place_in_old(struct apply *a, const char *path, char out[PATH_MAX], struct err *e)
{
	size_t top = strlen(a->old);
	int rc = OK;

	if (snprintf(out, PATH_MAX, "%s%s", a->old, path + strlen(a->d->path)) >= PATH_MAX)
		return err_set(e, ERR_LIMIT, "the path '%s' is too long", a->old);
	for (char *slash = strchr(out + top + 1, '/'); slash && (rc == OK || rc == ERR_EXISTS);
		slash = strchr(slash + 1, '/')) {
		*slash = 0;
		rc = os_mkdir(out, e);
		*slash = '/';
	}
	return rc == ERR_EXISTS ? OK : rc;
}

static int remove_revision(void *ctx, uint64_t oid, uint64_t tid, struct err *e)
{
	struct apply *a = ctx;
	char path[PATH_MAX];
	char to[PATH_MAX];
	int rc = OK;

	if (a->has(a->ctx, oid, tid))
		return OK;
	if (a->keep_old && blob_dir_has_file(a->d, oid, tid)) {
		rc = blob_dir_file_path(a->d, oid, tid, path, sizeof(path), e);
		if (rc == OK)
			rc = place_in_old(a, path, to, e);
		if (rc == OK)
			rc = blob_link_or_copy(path, to, e);
	}
	return rc == OK ? blob_dir_remove_file(a->d, oid, tid, e) : rc;
}

/* 16 digits: an object with all its revisions, as ZODB writes it; 32: one revision. */
static int apply_line(struct apply *a, const char *line, struct err *e)
{
	size_t n = strspn(line, "0123456789abcdef");
	char half[17] = "";
	uint64_t oid;

	if (line[n] != 0 || (n != 16 && n != 32))
		return err_set(e, ERR_FORMAT, "Bad record in '%s/.removed'", a->d->path);
	memcpy(half, line, 16);
	oid = strtoull(half, NULL, 16);
	if (n == 16)
		return blob_dir_walk_oid(a->d, oid, remove_revision, a, e);
	return remove_revision(a, oid, strtoull(line + 16, NULL, 16), e);
}

static int apply_list(struct apply *a, const char *path, struct err *e)
{
	FILE *f = fopen(path, "re");
	char line[LINE_ROOM];
	int rc = OK;

	if (!f)
		return err_sys(e, errno, "cannot open '%s'", path);
	while (rc == OK && fgets(line, sizeof(line), f)) {
		line[strcspn(line, "\r\n")] = 0;
		if (*line)
			rc = apply_line(a, line, e);
	}
	if (rc == OK && ferror(f))
		rc = err_sys(e, EIO, "cannot read '%s'", path);
	fclose(f);
	return rc;
}

static int keep_link(void *ctx, uint64_t oid, uint64_t tid, struct err *e)
{
	struct apply *a = ctx;
	char path[PATH_MAX];
	char to[PATH_MAX];
	int rc = blob_dir_file_path(a->d, oid, tid, path, sizeof(path), e);

	if (rc == OK)
		rc = place_in_old(a, path, to, e);
	if (rc == OK)
		rc = blob_link_or_copy(path, to, e);
	return rc == ERR_NOENT || rc == ERR_EXISTS ? OK : rc;
}

static int make_old(struct apply *a, struct err *e)
{
	char from[PATH_MAX];
	char to[PATH_MAX];
	int rc = os_mkdir(a->old, e);

	snprintf(from, sizeof(from), "%s/.layout", a->d->path);
	if (rc == OK)
		rc = place_in_old(a, from, to, e);
	return rc == OK ? blob_link_or_copy(from, to, e) : rc;
}

int blob_removals_apply(
	struct blob_removals *r, blob_has_fn *has, void *ctx, bool keep_old, struct err *e)
{
	struct apply a = { .d = r->d, .has = has, .ctx = ctx, .keep_old = keep_old };
	char path[PATH_MAX];
	int rc = flush(r, e);

	list_path(r->d, path);
	old_path(r->d, a.old);
	if (rc == OK && keep_old)
		rc = make_old(&a, e);
	if (rc == OK)
		rc = apply_list(&a, path, e);
	if (rc == OK && keep_old)
		rc = blob_dir_walk(a.d, keep_link, &a, e);
	if (rc == OK)
		rc = os_unlink(path, e);
	release(r);
	return rc;
}

int blob_removals_resume(struct blob_dir *d, blob_has_fn *has, void *ctx, struct err *e)
{
	struct apply a = { .d = d, .has = has, .ctx = ctx };
	char path[PATH_MAX];
	int rc;

	if (d->tmp_fd < 0)
		return OK;
	list_path(d, path);
	rc = apply_list(&a, path, e);
	if (rc == ERR_NOENT)
		return OK;
	return rc == OK ? os_unlink(path, e) : rc;
}
