#include "client/blobs_core.h"

#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/lock_file.h"
#include "base/mem.h"
#include "base/os.h"
#include "client/state.h"

enum {
	LOCK_POLL_MS = 10,
	LOCK_POLLS = 60000, /* as ZEO: ten minutes */
	NAME_ROOM = 160,    /* of what is below the folder */
};

static const char layout_name[] = "zeocache";

uint64_t blobs_now_ms(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000 + (uint64_t)t.tv_nsec / 1000000;
}

void blobs_log(struct blobs *b, int level, const char *logger, const char *fmt, ...)
{
	char text[1024];
	va_list ap;

	if (!b->events.log)
		return;
	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	b->events.log(b->events.arg, level, logger, text);
}

/* --- names --- */

const char *blobs_temporary_directory(const struct blobs *b)
{
	return b->tmp;
}

static int printed(int n, size_t room, struct err *e)
{
	return n < 0 || (size_t)n >= room
		       ? err_set(e, ERR_LIMIT, "the name of a blob file is too long")
		       : OK;
}

int blobs_path(
	const struct blobs *b, uint64_t oid, uint64_t serial, char *out, size_t room, struct err *e)
{
	if (b->shared)
		return blob_dir_file_path(b->dir, oid, serial, out, room, e);
	return printed(
		snprintf(out, room, "%s/%u/%llu.%016llx.blob", b->path,
			(unsigned)(oid % BLOBS_FOLDERS), (unsigned long long)(oid / BLOBS_FOLDERS),
			(unsigned long long)serial),
		room, e);
}

static int make_folder(const char *path, struct err *e)
{
	int rc = access(path, F_OK) == 0 ? OK : os_mkdir(path, e);

	return rc == ERR_EXISTS ? OK : rc;
}

int blobs_make_folder(struct blobs *b, uint64_t oid, char *out, size_t room, struct err *e)
{
	int rc;

	if (b->shared) {
		rc = blob_dir_oid_path(b->dir, oid, out, room, e);
		return rc == OK ? blob_dir_make_oid_dir(b->dir, oid, e) : rc;
	}
	rc = printed(
		snprintf(out, room, "%s/%u", b->path, (unsigned)(oid % BLOBS_FOLDERS)), room, e);
	return rc == OK ? make_folder(out, e) : rc;
}

/* --- locks --- */

static bool is_held(const struct blobs *b, const char *folder)
{
	for (const struct held *h = b->held; h; h = h->next)
		if (strcmp(h->folder, folder) == 0)
			return true;
	return false;
}

static void let_go(struct blobs *b, struct held *h)
{
	struct held **p = &b->held;

	pthread_mutex_lock(&b->lock);
	while (*p != h)
		p = &(*p)->next;
	*p = h->next;
	pthread_cond_broadcast(&b->changed);
	pthread_mutex_unlock(&b->lock);
}

/* Another process says nothing when it lets go: it is asked for now and then, as ZEO does it. */
static int take_file(const char *folder, int *ret_fd, struct err *e)
{
	char name[PATH_MAX];
	struct timespec pause = { 0, LOCK_POLL_MS * 1000000L };
	int rc = printed(snprintf(name, sizeof(name), "%s/.lock", folder), sizeof(name), e);

	if (rc != OK)
		return rc;
	for (unsigned n = 0; n < LOCK_POLLS; n++) {
		rc = lock_file_take(name, ret_fd, e);
		if (rc != ERR_BUSY)
			break;
		nanosleep(&pause, NULL);
	}
	return rc;
}

int blobs_lock_folder(struct blobs *b, const char *folder, struct folder_lock *ret, struct err *e)
{
	int rc;

	pthread_mutex_lock(&b->lock);
	while (is_held(b, folder))
		pthread_cond_wait(&b->changed, &b->lock);
	ret->held = (struct held){ .folder = folder, .next = b->held };
	b->held = &ret->held;
	pthread_mutex_unlock(&b->lock);
	rc = take_file(folder, &ret->fd, e);
	if (rc != OK)
		let_go(b, &ret->held);
	return rc;
}

void blobs_unlock_folder(struct blobs *b, struct folder_lock *l)
{
	lock_file_release(l->fd);
	let_go(b, &l->held);
}

/* --- opening --- */

static int make_folders(const char *path, struct err *e)
{
	char part[PATH_MAX];
	int rc = OK;

	for (const char *at = path + 1; rc == OK; at++) {
		at += strcspn(at, "/");
		snprintf(part, sizeof(part), "%.*s", (int)(at - path), path);
		rc = make_folder(part, e);
		if (*at == 0)
			break;
	}
	return rc;
}

static int set_names(struct blobs *b, const char *path, struct err *e)
{
	char cwd[PATH_MAX] = "";
	char all[PATH_MAX + PATH_MAX];
	size_t n;

	if (*path != '/' && !getcwd(cwd, sizeof(cwd)))
		return err_sys(e, errno, "cannot find the working directory");
	n = (size_t)snprintf(all, sizeof(all), "%s%s%s", cwd, *path == '/' ? "" : "/", path);
	if (n + NAME_ROOM > PATH_MAX)
		return err_set(e, ERR_LIMIT, "the name is too long");
	while (n > 1 && all[n - 1] == '/')
		all[--n] = 0;
	b->path = mem_strdup(all);
	snprintf(all + n, sizeof(all) - n, "/tmp");
	b->tmp = mem_strdup(all);
	return b->path && b->tmp ? OK : err_set(e, ERR_NOMEM, "no memory for a folder of blobs");
}

static int check_marker(int fd, const char *folder, struct err *e)
{
	char text[64] = "";
	size_t n;
	int rc = os_pread(fd, text, sizeof(text) - 1, 0, &n, e);

	text[strcspn(text, " \t\r\n")] = 0;
	if (rc == OK && strcmp(text, layout_name) != 0)
		rc = err_set(e, ERR_FORMAT,
			"Directory layout `%s` selected for blob directory %s/, but marker found "
			"for layout `%s`",
			layout_name, folder, text);
	return rc;
}

static int mark(const struct blobs *b, struct err *e)
{
	char marker[PATH_MAX];
	int fd = -1;
	int rc;

	snprintf(marker, sizeof(marker), "%s/.layout", b->path);
	rc = os_open(marker, O_RDWR | O_CREAT | O_EXCL, &fd, e);
	if (rc == OK) {
		rc = os_pwrite(fd, layout_name, strlen(layout_name), 0, e);
	} else if (rc == ERR_EXISTS) {
		rc = os_open(marker, O_RDONLY, &fd, e);
		if (rc == OK)
			rc = check_marker(fd, b->path, e);
	}
	os_close(fd);
	return rc;
}

static int open_folder(struct blobs *b, struct err *e)
{
	struct blob_dir_options o = { .path = b->path, .read_only = true };
	int rc = make_folders(b->path, e);

	if (rc != OK)
		return rc;
	if (b->shared)
		return blob_dir_open(&o, &b->dir, e);
	rc = make_folder(b->tmp, e);
	return rc == OK ? mark(b, e) : rc;
}

int blobs_open(struct client *c, const struct blobs_options *o, struct blobs **ret, struct err *e)
{
	struct blobs *b;
	int rc;

	if (o->check_percent >= 100)
		return err_set(e, ERR_INVAL, "a check of the blob cache's size at %u percent",
			o->check_percent);
	b = mem_zalloc(1, sizeof(*b));
	if (!b)
		return err_set(e, ERR_NOMEM, "no memory for a folder of blobs");
	pthread_mutex_init(&b->lock, NULL);
	pthread_cond_init(&b->changed, NULL);
	b->client = c;
	b->events = c->options.events;
	b->clock = o->clock ? o->clock : &clock_system;
	b->owner = getpid();
	b->shared = o->shared;
	b->limited = o->limited && !o->shared;
	b->cache_bytes = o->cache_bytes;
	b->check_bytes = o->cache_bytes / 100 * o->check_percent +
			 o->cache_bytes % 100 * o->check_percent / 100;
	rc = set_names(b, o->path, e);
	if (rc == OK)
		rc = open_folder(b, e);
	if (rc == OK && b->limited)
		rc = blobs_start_cleaner(b, e);
	if (rc != OK) {
		err_wrap(e, "blob folder '%s'", o->path);
		blobs_close(b);
		return rc;
	}
	client_set_push(c, blobs_receive, b);
	*ret = b;
	return OK;
}

void blobs_close(struct blobs *b)
{
	if (!b)
		return;
	blobs_stop_cleaner(b);
	blob_dir_close(b->dir);
	blobs_end_unwanted(b);
	if (b->owner == getpid()) { /* else threads of the parent's wait on these */
		pthread_mutex_destroy(&b->lock);
		pthread_cond_destroy(&b->changed);
	}
	mem_free(b->path);
	mem_free(b->tmp);
	mem_free(b);
}

/* --- loading --- */

static void note_shown(struct blobs *b, uint64_t oid, uint64_t serial)
{
	unsigned n;

	pthread_mutex_lock(&b->lock);
	n = b->next_shown++ % BLOBS_SHOWN;
	b->shown[n].oid = oid;
	b->shown[n].serial = serial;
	b->shown[n].at_ms = blobs_now_ms();
	pthread_mutex_unlock(&b->lock);
}

/* It is used: the cleaner takes others first. False: it is not there. */
static bool touch(const char *path)
{
	const struct timespec times[2] = { { .tv_nsec = UTIME_NOW }, { .tv_nsec = UTIME_OMIT } };

	/* who may not do that has a file all the same */
	return utimensat(AT_FDCWD, path, times, 0) == 0 || access(path, F_OK) == 0;
}

static int no_file(const char *path, struct err *e)
{
	return err_set(e, ERR_NOKEY, "No blob file at %s", path);
}

/* Have the file there, and open it in the same moment when @ret_fd is not NULL. */
static int fetch(struct blobs *b, uint64_t oid, uint64_t serial, const char *path, int *ret_fd,
	struct err *e)
{
	char folder[PATH_MAX];
	struct folder_lock l;
	int rc = client_check_fork(b->client, e);

	if (rc == OK)
		rc = blobs_make_folder(b, oid, folder, sizeof(folder), e);
	if (rc == OK)
		rc = blobs_lock_folder(b, folder, &l, e);
	if (rc != OK)
		return rc;
	if (!touch(path)) /* else another one was faster */
		rc = blobs_download(b, oid, serial, path, e);
	if (rc == OK && ret_fd)
		rc = os_open(path, O_RDONLY, ret_fd, e);
	blobs_unlock_folder(b, &l);
	return rc;
}

int blobs_load(
	struct blobs *b, uint64_t oid, uint64_t serial, char *out, size_t room, struct err *e)
{
	int rc = client_check_fork(b->client, e);

	if (rc == OK)
		rc = blobs_path(b, oid, serial, out, room, e);
	if (rc != OK)
		return rc;
	if (b->shared)
		return access(out, F_OK) == 0 ? OK : no_file(out, e);
	rc = client_check_fork(b->client, e);
	if (rc != OK)
		return rc;
	note_shown(b, oid, serial); /* before it is looked for: B2 */
	if (touch(out))
		return OK;
	rc = fetch(b, oid, serial, out, NULL, e);
	if (rc == OK)
		note_shown(b, oid, serial);
	return rc;
}

int blobs_open_file(struct blobs *b, uint64_t oid, uint64_t serial, int *ret_fd, char *out,
	size_t room, struct err *e)
{
	char path[PATH_MAX];
	int rc = client_check_fork(b->client, e);

	if (rc == OK)
		rc = blobs_path(b, oid, serial, path, sizeof(path), e);
	if (rc == OK && out)
		rc = printed(snprintf(out, room, "%s", path), room, e);
	if (rc != OK)
		return rc;
	if (!b->shared)
		(void)touch(path);
	rc = os_open(path, O_RDONLY, ret_fd, e);
	if (rc != ERR_NOENT)
		return rc;
	return b->shared ? no_file(path, e) : fetch(b, oid, serial, path, ret_fd, e);
}
