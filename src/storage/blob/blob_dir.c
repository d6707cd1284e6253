#include "storage/blob/blob_dir.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <limits.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/log.h"
#include "base/mem.h"
#include "base/os.h"
#include "storage/blob/blob_dir_core.h"

static const char suffix[] = ".blob";

/* --- names --- */

/* ZODB's oid_repr and tid_repr: hexadecimal, an even number of digits. */
static void put_repr(uint64_t v, char out[REPR_ROOM])
{
	int digits = 2;

	while (digits < 16 && v >> (4 * digits))
		digits += 2;
	snprintf(out, REPR_ROOM, "0x%0*llx", digits, (unsigned long long)v);
}

static bool parse_repr(const char *s, size_t n, uint64_t *ret)
{
	char text[REPR_ROOM];
	char again[REPR_ROOM];
	uint64_t v;

	if (n < 4 || n >= sizeof(text))
		return false;
	memcpy(text, s, n);
	text[n] = 0;
	v = strtoull(text, NULL, 16);
	put_repr(v, again);
	if (strcmp(text, again) != 0)
		return false;
	*ret = v;
	return true;
}

static int too_long(const struct blob_dir *d, struct err *e)
{
	return err_set(e, ERR_LIMIT, "the path of the blob folder '%s' is too long", d->path);
}

int blob_dir_oid_path(const struct blob_dir *d, uint64_t oid, char *out, size_t room, struct err *e)
{
	char name[8 * 5];
	size_t at = 0;

	if (d->lawn)
		put_repr(oid, name);
	for (int shift = 56; !d->lawn && shift >= 0; shift -= 8)
		at += (size_t)snprintf(name + at, sizeof(name) - at, "%s0x%02x", at ? "/" : "",
			(unsigned)(oid >> shift & 0xff));
	return snprintf(out, room, "%s/%s", d->path, name) < (int)room ? OK : too_long(d, e);
}

int blob_dir_file_path(
	const struct blob_dir *d, uint64_t oid, uint64_t tid, char *out, size_t room, struct err *e)
{
	char name[REPR_ROOM];
	size_t n;
	int rc = blob_dir_oid_path(d, oid, out, room, e);

	if (rc != OK)
		return rc;
	put_repr(tid, name);
	n = strlen(out);
	return snprintf(out + n, room - n, "/%s%s", name, suffix) < (int)(room - n)
		       ? OK
		       : too_long(d, e);
}

bool blob_dir_parse_oid(const struct blob_dir *d, const char *path, uint64_t *ret_oid)
{
	uint64_t oid = 0;

	if (d->lawn)
		return parse_repr(path, strlen(path), ret_oid);
	for (int i = 0; i < 8; i++) {
		uint64_t byte;

		if (!parse_repr(path, strcspn(path, "/"), &byte) || byte > 0xff)
			return false;
		oid = oid << 8 | byte;
		path += 4;
		if (*path != (i < 7 ? '/' : 0))
			return false;
		path++;
	}
	*ret_oid = oid;
	return true;
}

bool blob_dir_parse_file(const char *name, uint64_t *ret_tid)
{
	size_t n = strlen(name);
	size_t tail = strlen(suffix);

	return n > tail && strcmp(name + n - tail, suffix) == 0 &&
	       parse_repr(name, n - tail, ret_tid);
}

const char *blob_dir_path(const struct blob_dir *d)
{
	return d->path;
}

static int tmp_name(struct blob_dir *d, char *out, size_t room, struct err *e, const char *what)
{
	unsigned n = atomic_fetch_add(&d->last_name, 1) + 1;

	return snprintf(out, room, "%s/tmp/%s%d-%u", d->path, what, (int)getpid(), n) < (int)room
		       ? OK
		       : too_long(d, e);
}

int blob_dir_new_name(struct blob_dir *d, char *out, size_t room, struct err *e)
{
	return tmp_name(d, out, room, e, UPLOAD_PREFIX);
}

int blob_dir_voted_name(struct blob_dir *d, uint64_t oid, char *out, size_t room, struct err *e)
{
	char what[64];

	snprintf(what, sizeof(what), VOTED_PREFIX "%016llx-", (unsigned long long)oid);
	return tmp_name(d, out, room, e, what);
}

bool blob_dir_is_voted_name(const struct blob_dir *d, const char *path)
{
	size_t n = strlen(d->path);

	return strncmp(path, d->path, n) == 0 &&
	       strncmp(path + n, "/tmp/" VOTED_PREFIX, strlen("/tmp/" VOTED_PREFIX)) == 0;
}

static bool ends_with_tmp(const char *s, size_t n)
{
	return n >= 4 && memcmp(s + n - 4, ".tmp", 4) == 0;
}

int blob_dir_shared_path(const struct blob_dir *d, uint64_t oid, struct slice name, char *out,
	size_t room, struct err *e)
{
	const char *s = (const char *)name.data;
	size_t n;
	int rc;

	if (name.len < 4 || name.len > NAME_MAX || memchr(s, '/', name.len) ||
		memchr(s, 0, name.len) ||
		!(ends_with_tmp(s, name.len) || ends_with_tmp(s, name.len - 1)))
		return err_set(e, ERR_INVAL, "'%.*s' is not the name of a temporary blob file",
			name.len > 100 ? 100 : (int)name.len, s ? s : "");
	rc = blob_dir_oid_path(d, oid, out, room, e);
	if (rc != OK)
		return rc;
	n = strlen(out);
	return snprintf(out + n, room - n, "/%.*s", (int)name.len, s) < (int)(room - n)
		       ? OK
		       : too_long(d, e);
}

/* --- opening --- */

static void say(const struct blob_dir_options *o, int level, const char *fmt, ...) PRINTF(3, 4);

static void say(const struct blob_dir_options *o, int level, const char *fmt, ...)
{
	char text[PATH_MAX + 256];
	va_list ap;

	if (!o->log)
		return;
	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	o->log(o->log_ctx, level, text);
}

static int remove_one(const char *path, const struct stat *st, int type, struct FTW *f)
{
	(void)st;
	(void)type;
	(void)f;
	return remove(path);
}

int blob_dir_remove_tree(const char *path, struct err *e)
{
	if (nftw(path, remove_one, 16, FTW_DEPTH | FTW_PHYS) != 0 && errno != ENOENT)
		return err_sys(e, errno, "cannot remove the folder '%s'", path);
	return OK;
}

static int make_dirs(const char *path, struct err *e)
{
	char part[PATH_MAX];
	int rc = OK;

	for (const char *at = path + 1; rc == OK || rc == ERR_EXISTS; at++) {
		at += strcspn(at, "/");
		snprintf(part, sizeof(part), "%.*s", (int)(at - path), path);
		rc = os_mkdir(part, e);
		if (*at == 0)
			break;
	}
	return rc == ERR_EXISTS ? OK : rc;
}

static int set_path(struct blob_dir *d, const char *path, struct err *e)
{
	char cwd[PATH_MAX] = "";
	char all[PATH_MAX];
	size_t n;

	if (*path != '/' && !getcwd(cwd, sizeof(cwd)))
		return err_sys(e, errno, "cannot find the working directory");
	n = (size_t)snprintf(all, sizeof(all), "%s%s%s", cwd, *path == '/' ? "" : "/", path);
	if (n + 160 > sizeof(all)) /* the names below it, too */
		return err_set(e, ERR_LIMIT, "the name is too long");
	while (n > 1 && all[n - 1] == '/')
		all[--n] = 0;
	d->path = mem_strdup(all);
	return d->path ? OK : err_set(e, ERR_NOMEM, "no memory for a folder of blobs");
}

static int read_marker(struct blob_dir *d, const char *marker, struct err *e)
{
	char text[64] = "";
	size_t n = 0;
	int fd = -1;
	int rc = os_open(marker, O_RDONLY, &fd, e);

	if (rc == OK)
		rc = os_pread(fd, text, sizeof(text) - 1, 0, &n, e);
	os_close(fd);
	if (rc != OK)
		return rc;
	text[strcspn(text, " \t\r\n")] = 0;
	d->lawn = strcmp(text, "lawn") == 0;
	if (!d->lawn && strcmp(text, "bushy") != 0)
		return err_set(e, ERR_FORMAT,
			"its layout is '%s' ('%s'): 'bushy' or 'lawn' was expected", text, marker);
	return OK;
}

static int write_marker(const struct blob_dir *d, const char *marker, struct err *e)
{
	const char *text = d->lawn ? "lawn" : "bushy";
	int fd = -1;
	int rc = os_open(marker, O_WRONLY | O_CREAT | O_TRUNC, &fd, e);

	if (rc == OK)
		rc = os_pwrite(fd, text, strlen(text), 0, e);
	if (rc == OK)
		rc = os_fsync(fd, e);
	os_close(fd);
	return rc == OK ? os_sync_dir_of(marker, e) : rc;
}

/* Without a marker: files that are there were put there before there were markers. */
static int look_for_files(struct blob_dir *d, struct err *e)
{
	DIR *dir = opendir(d->path);
	const struct dirent *en;

	if (!dir)
		return err_sys(e, errno, "cannot read the folder");
	d->lawn = false;
	while ((en = readdir(dir)))
		if (en->d_name[0] != '.')
			d->lawn = true;
	closedir(dir);
	return OK;
}

static int choose_layout(
	struct blob_dir *d, const struct blob_dir_options *o, const char *marker, struct err *e)
{
	int rc;

	if (access(marker, F_OK) == 0)
		return read_marker(d, marker, e);
	rc = look_for_files(d, e);
	if (rc == OK && d->lawn)
		say(o, LOG_WARNING,
			"Blob directory `%s` is used but has no layout marker set. Selected "
			"`lawn` layout. ",
			d->path);
	return rc;
}

/* Readable, and writable where that is needed: as root everything is. */
static int check_access(const char *path, bool writable, struct err *e)
{
	DIR *dir = opendir(path);

	if (!dir)
		return err_sys(e, errno, "cannot read the folder '%s'", path);
	closedir(dir);
	if (access(path, R_OK | X_OK | (writable ? W_OK : 0)) != 0)
		return err_sys(
			e, errno, "cannot %s the folder '%s'", writable ? "write to" : "use", path);
	return OK;
}

/* Where the file system knows no locks, the data file's has to do. */
static int take_lock(struct blob_dir *d, const char *tmp, struct err *e)
{
	int rc = os_open(tmp, O_RDONLY | O_DIRECTORY, &d->tmp_fd, e);

	if (rc == OK && flock(d->tmp_fd, LOCK_EX | LOCK_NB) != 0 && errno == EWOULDBLOCK)
		return err_set(e, ERR_BUSY, "another storage uses it");
	return rc;
}

static int open_for_writing(struct blob_dir *d, const struct blob_dir_options *o, struct err *e)
{
	char marker[PATH_MAX];
	char tmp[PATH_MAX];
	int rc = OK;

	snprintf(marker, sizeof(marker), "%s/.layout", d->path);
	snprintf(tmp, sizeof(tmp), "%s/tmp", d->path);
	if (o->create)
		rc = blob_dir_remove_tree(d->path, e);
	if (rc == OK && access(d->path, F_OK) != 0) {
		rc = make_dirs(d->path, e);
		if (rc == OK)
			say(o, LOG_INFO,
				"Blob directory '%s' does not exist. Created new directory.",
				d->path);
	}
	if (rc == OK)
		rc = check_access(d->path, true, e);
	if (rc == OK)
		rc = choose_layout(d, o, marker, e);
	if (rc == OK)
		rc = make_dirs(tmp, e);
	if (rc == OK)
		rc = check_access(tmp, true, e);
	if (rc == OK)
		rc = take_lock(d, tmp, e);
	if (rc == OK && access(marker, F_OK) != 0)
		rc = write_marker(d, marker, e);
	return rc;
}

static int open_for_reading(struct blob_dir *d, const struct blob_dir_options *o, struct err *e)
{
	char marker[PATH_MAX];
	int rc = check_access(d->path, false, e);

	snprintf(marker, sizeof(marker), "%s/.layout", d->path);
	return rc == OK ? choose_layout(d, o, marker, e) : rc;
}

int blob_dir_open(const struct blob_dir_options *o, struct blob_dir **ret, struct err *e)
{
	struct blob_dir *d = mem_zalloc(1, sizeof(*d));
	int rc;

	if (!d)
		return err_set(e, ERR_NOMEM, "no memory for a folder of blobs");
	d->tmp_fd = -1;
	rc = set_path(d, o->path, e);
	if (rc == OK)
		rc = o->read_only ? open_for_reading(d, o, e) : open_for_writing(d, o, e);
	if (rc != OK) {
		err_wrap(e, "blob folder '%s'", o->path);
		blob_dir_close(d);
		return rc;
	}
	if (d->lawn)
		say(o, LOG_WARNING,
			"The `lawn` blob directory layout is deprecated due to scalability issues "
			"on some file systems, please consider migrating to the `bushy` layout.");
	*ret = d;
	return OK;
}

void blob_dir_close(struct blob_dir *d)
{
	if (!d)
		return;
	os_close(d->tmp_fd);
	mem_free(d->path);
	mem_free(d);
}
