/* The files of a folder of blobs. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/copy_file.h"
#include "base/mem.h"
#include "base/os.h"
#include "storage/blob/blob_dir_core.h"

/* The folder and its parents below the blob folder; each new one is durable in its parent. */
int blob_dir_make_oid_dir(struct blob_dir *d, uint64_t oid, struct err *e)
{
	char path[PATH_MAX];
	size_t at = strlen(d->path);
	int rc = blob_dir_oid_path(d, oid, path, sizeof(path), e);

	if (rc != OK || access(path, F_OK) == 0)
		return rc;
	for (bool last = false; rc == OK && !last;) {
		at += 1 + strcspn(path + at + 1, "/");
		last = path[at] == 0;
		path[at] = 0;
		rc = os_mkdir(path, e);
		if (rc == OK)
			rc = os_sync_dir_of(path, e);
		else if (rc == ERR_EXISTS)
			rc = OK;
		if (!last)
			path[at] = '/';
	}
	return rc;
}

int blob_dir_open_file(struct blob_dir *d, uint64_t oid, uint64_t tid, int *ret_fd,
	uint64_t *ret_size, struct err *e)
{
	char path[PATH_MAX];
	int fd = -1;
	int rc = blob_dir_file_path(d, oid, tid, path, sizeof(path), e);

	if (rc == OK)
		rc = os_open(path, O_RDONLY, &fd, e);
	if (rc == ERR_NOENT)
		return err_set(e, ERR_NOKEY, "No blob file at %s", path);
	if (rc == OK)
		rc = os_size(fd, ret_size, e);
	if (rc != OK) {
		os_close(fd);
		return rc;
	}
	*ret_fd = fd;
	return OK;
}

bool blob_dir_has_file(struct blob_dir *d, uint64_t oid, uint64_t tid)
{
	char path[PATH_MAX];

	return blob_dir_file_path(d, oid, tid, path, sizeof(path), NULL) == OK &&
	       access(path, F_OK) == 0;
}

int blob_dir_remove_file(struct blob_dir *d, uint64_t oid, uint64_t tid, struct err *e)
{
	char path[PATH_MAX];
	int rc = blob_dir_file_path(d, oid, tid, path, sizeof(path), e);

	if (rc == OK)
		rc = os_unlink(path, e);
	if (rc == ERR_NOENT)
		return OK;
	if (rc == OK)
		blob_dir_prune(d, oid);
	return rc;
}

/* rmdir() takes empty ones only: who is adding a file makes the folder again (blob_txn.c). */
void blob_dir_prune(struct blob_dir *d, uint64_t oid)
{
	char path[PATH_MAX];
	size_t top = strlen(d->path);

	if (blob_dir_oid_path(d, oid, path, sizeof(path), NULL) != OK)
		return;
	while (strlen(path) > top && rmdir(path) == 0)
		*strrchr(path, '/') = 0;
}

int blob_link_or_copy(const char *from, const char *to, struct err *e)
{
	int rc = os_link(from, to, e);

	return rc == ERR_UNSUPPORTED ? copy_file(from, to, e) : rc;
}

int blob_dir_copy(
	struct blob_dir *d, uint64_t oid, uint64_t tid, char *out, size_t room, struct err *e)
{
	char from[PATH_MAX];
	int rc = blob_dir_file_path(d, oid, tid, from, sizeof(from), e);

	if (rc == OK)
		rc = blob_dir_new_name(d, out, room, e);
	if (rc == OK)
		rc = blob_link_or_copy(from, out, e);
	return rc == ERR_NOENT ? err_set(e, ERR_NOKEY, "No blob file at %s", from) : rc;
}

/* --- walking --- */

struct walk {
	struct blob_dir *d;
	int (*take)(void *ctx, uint64_t oid, uint64_t tid, struct err *e);
	void *ctx;
	char path[PATH_MAX];
	uint64_t oid;
};

static int list(const char *path, char ***ret, size_t *ret_n, struct err *e)
{
	DIR *dir = opendir(path);
	const struct dirent *en;
	char **names = NULL;
	size_t n = 0;
	int rc = OK;

	if (!dir)
		return err_sys(e, errno, "cannot read the folder '%s'", path);
	while (rc == OK && (en = readdir(dir))) {
		char **more = mem_realloc(names, (n + 1) * sizeof(*names));

		if (more)
			names = more;
		if (more)
			names[n] = mem_strdup(en->d_name);
		if (!more || !names[n])
			rc = err_set(e, ERR_NOMEM, "no memory for the folder '%s'", path);
		else
			n++;
	}
	closedir(dir);
	*ret = names;
	*ret_n = n;
	return rc;
}

static void free_list(char **names, size_t n)
{
	for (size_t i = 0; i < n; i++)
		mem_free(names[i]);
	mem_free(names);
}

static int walk(struct walk *w, int depth, struct err *e)
{
	size_t len = strlen(w->path);
	char **names = NULL;
	size_t n = 0;
	uint64_t tid;
	int rc = list(w->path, &names, &n, e);

	if (rc == ERR_NOENT && depth)
		rc = OK; /* pruned meanwhile */
	for (size_t i = 0; rc == OK && i < n; i++) {
		if (depth == 0 && blob_dir_parse_file(names[i], &tid)) {
			rc = w->take(w->ctx, w->oid, tid, e);
		} else if (depth && strncmp(names[i], "0x", 2) == 0 &&
			   snprintf(w->path + len, sizeof(w->path) - len, "/%s", names[i]) <
				   (int)(sizeof(w->path) - len)) {
			if (depth > 1 ||
				blob_dir_parse_oid(w->d, w->path + strlen(w->d->path) + 1, &w->oid))
				rc = walk(w, depth - 1, e);
		}
		w->path[len] = 0;
	}
	free_list(names, n);
	return rc;
}

int blob_dir_walk(struct blob_dir *d,
	int (*take)(void *ctx, uint64_t oid, uint64_t tid, struct err *e), void *ctx, struct err *e)
{
	struct walk w = { .d = d, .take = take, .ctx = ctx };

	snprintf(w.path, sizeof(w.path), "%s", d->path);
	return walk(&w, d->lawn ? 1 : 8, e);
}

int blob_dir_walk_oid(struct blob_dir *d, uint64_t oid,
	int (*take)(void *ctx, uint64_t oid, uint64_t tid, struct err *e), void *ctx, struct err *e)
{
	struct walk w = { .d = d, .take = take, .ctx = ctx, .oid = oid };
	int rc = blob_dir_oid_path(d, oid, w.path, sizeof(w.path), e);

	if (rc == OK)
		rc = walk(&w, 0, e);
	return rc == ERR_NOENT ? OK : rc;
}

/* --- what an earlier life left --- */

struct stray {
	struct blob_dir *d;
	blob_has_fn *has;
	void *ctx;
	struct stat st; /* of the name in tmp */
};

/* The same file under a revision's name, and the storage does not have that revision. */
static int remove_stray(void *ctx, uint64_t oid, uint64_t tid, struct err *e)
{
	struct stray *s = ctx;
	char path[PATH_MAX];
	struct stat st;
	int rc = blob_dir_file_path(s->d, oid, tid, path, sizeof(path), e);

	if (rc != OK || stat(path, &st) != 0 || st.st_ino != s->st.st_ino ||
		st.st_dev != s->st.st_dev || s->has(s->ctx, oid, tid))
		return rc;
	rc = os_unlink(path, e);
	return rc == OK ? os_sync_dir_of(path, e) : rc;
}

static int recover_one(struct stray *s, const char *path, const char *name, struct err *e)
{
	uint64_t oid;
	int rc = OK;

	if (strncmp(name, VOTED_PREFIX, strlen(VOTED_PREFIX)) == 0 && stat(path, &s->st) == 0 &&
		s->st.st_nlink > 1) {
		oid = strtoull(name + strlen(VOTED_PREFIX), NULL, 16);
		rc = blob_dir_walk_oid(s->d, oid, remove_stray, s, e);
		if (rc == OK)
			blob_dir_prune(s->d, oid);
	} else if (strncmp(name, VOTED_PREFIX, strlen(VOTED_PREFIX)) != 0 &&
		   strncmp(name, UPLOAD_PREFIX, strlen(UPLOAD_PREFIX)) != 0) {
		return OK;
	}
	return rc == OK ? os_unlink(path, e) : rc;
}

int blob_dir_recover(struct blob_dir *d, blob_has_fn *has, void *ctx, struct err *e)
{
	struct stray s = { .d = d, .has = has, .ctx = ctx };
	char path[PATH_MAX];
	char **names = NULL;
	size_t n = 0;
	int rc;

	if (d->tmp_fd < 0)
		return OK;
	snprintf(path, sizeof(path), "%s/tmp", d->path);
	rc = list(path, &names, &n, e);
	for (size_t i = 0; rc == OK && i < n; i++)
		if (snprintf(path, sizeof(path), "%s/tmp/%s", d->path, names[i]) < PATH_MAX)
			rc = recover_one(&s, path, names[i], e);
	free_list(names, n);
	return rc;
}
