/* Keeps a cache of blobs near its size: what was not used for the longest time goes. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/lock_file.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/os.h"
#include "client/blobs_core.h"

#define CLEANER_LOGGER "ZEO.ClientStorage.check_blob_cache"

enum {
	OTHER_CLEANER_MS = 1000,
	PAUSE_MS = BLOBS_SHOWN_MS / 4,
	LEFT_OVER_S = 24 * 3600, /* a transaction that commits is younger */
	BUSY_PAUSES = 4,         /* for files whose folders are locked, while none can be removed */
};

struct file {
	struct timespec used;
	uint64_t size;
	uint64_t oid, serial;
};

struct pass {
	struct blobs *blobs; /* NULL: a command's */
	const char *path;
	uint64_t target;
	struct file *files;
	size_t n, room;
	uint64_t size;
	bool removed_some;
	bool waits; /* for files that were given out */
	bool busy;  /* folders were locked */
};

/* --- what a process that was killed has left --- */

static bool ends_with(const char *name, const char *end)
{
	size_t n = strlen(name), m = strlen(end);

	return n > m && strcmp(name + n - m, end) == 0;
}

/* A download is under way only while its folder is locked. */
static void remove_part(const char *folder_path, int folder_fd, const char *name)
{
	char lock[PATH_MAX];
	int fd = -1;

	if (snprintf(lock, sizeof(lock), "%s/.lock", folder_path) >= (int)sizeof(lock) ||
		lock_file_take(lock, &fd, NULL) != OK)
		return;
	(void)unlinkat(folder_fd, name, 0);
	lock_file_release(fd);
}

/* What is to be committed nobody locks. It came here (its name or its content changed last) when that began. */
static void remove_if_old(const struct pass *p, int folder_fd, const char *name)
{
	const struct clock *clock = p->blobs ? p->blobs->clock : &clock_system;
	time_t now = (time_t)(clock_wall_us(clock) / 1000000);
	struct stat st;

	if (fstatat(folder_fd, name, &st, AT_SYMLINK_NOFOLLOW) == 0 && S_ISREG(st.st_mode) &&
		now - st.st_ctim.tv_sec >= LEFT_OVER_S)
		(void)unlinkat(folder_fd, name, 0);
}

static void remove_left_over(
	const struct pass *p, const char *folder_path, int folder_fd, const char *name)
{
	if (ends_with(name, ".blob.dl"))
		remove_part(folder_path, folder_fd, name);
	else if (strncmp(name, "0x", 2) == 0 &&
		 (ends_with(name, ".tmp-") || ends_with(name, ".tmp")))
		remove_if_old(p, folder_fd, name);
}

/* --- looking --- */

/* REST/QUOTIENT.TID.blob */
static bool parse(const char *folder, const char *name, struct file *ret)
{
	char again[64];
	unsigned long long rest, quotient, serial;
	int end = 0;

	if (sscanf(folder, "%llu", &rest) != 1 ||
		sscanf(name, "%llu.%16llx.blob%n", &quotient, &serial, &end) != 2 || end == 0)
		return false;
	snprintf(again, sizeof(again), "%llu.%016llx.blob", quotient, serial);
	ret->oid = quotient * BLOBS_FOLDERS + rest;
	ret->serial = serial;
	return strcmp(again, name) == 0;
}

static int file_path(const struct pass *p, const struct file *f, char *out, size_t room)
{
	return snprintf(out, room, "%s/%u/%llu.%016llx.blob", p->path,
		(unsigned)(f->oid % BLOBS_FOLDERS), (unsigned long long)(f->oid / BLOBS_FOLDERS),
		(unsigned long long)f->serial);
}

static int note_file(struct pass *p, struct file f, int folder_fd, const char *name, struct err *e)
{
	struct stat st;

	if (fstatat(folder_fd, name, &st, AT_SYMLINK_NOFOLLOW) != 0 || !S_ISREG(st.st_mode))
		return OK;
	if (p->n == p->room) {
		size_t room = p->room ? 2 * p->room : 64;
		struct file *more = mem_realloc(p->files, room * sizeof(*more));

		if (!more)
			return err_set(e, ERR_NOMEM, "no memory for a list of blobs");
		p->files = more;
		p->room = room;
	}
	f.used = st.st_atim;
	f.size = (uint64_t)st.st_size;
	p->size += f.size;
	p->files[p->n++] = f;
	return OK;
}

static int look_in(struct pass *p, const char *folder, struct err *e)
{
	char path[PATH_MAX];
	const struct dirent *en;
	struct file f;
	DIR *dir;
	int rc = OK;

	if (snprintf(path, sizeof(path), "%s/%s", p->path, folder) >= (int)sizeof(path))
		return OK;
	dir = opendir(path);
	if (!dir)
		return OK; /* no folder */
	while (rc == OK && (en = readdir(dir)))
		if (parse(folder, en->d_name, &f))
			rc = note_file(p, f, dirfd(dir), en->d_name, e);
		else
			remove_left_over(p, path, dirfd(dir), en->d_name);
	closedir(dir);
	return rc;
}

static int look(struct pass *p, struct err *e)
{
	DIR *dir = opendir(p->path);
	const struct dirent *en;
	int rc = OK;

	p->n = 0;
	p->size = 0;
	if (!dir)
		return err_sys(e, errno, "cannot read the folder '%s'", p->path);
	while (rc == OK && (en = readdir(dir)))
		if (en->d_name[strspn(en->d_name, "0123456789")] == 0)
			rc = look_in(p, en->d_name, e);
	closedir(dir);
	return rc;
}

static int by_use(const void *a, const void *b)
{
	const struct file *x = a, *y = b;

	if (x->used.tv_sec != y->used.tv_sec)
		return x->used.tv_sec < y->used.tv_sec ? -1 : 1;
	return x->used.tv_nsec < y->used.tv_nsec ? -1 : x->used.tv_nsec > y->used.tv_nsec;
}

/* --- removing --- */

/* B2: somebody was given its path and has not had the time to open it. Under the lock. */
static bool is_shown(const struct blobs *b, const struct file *f)
{
	uint64_t now = blobs_now_ms();

	if (b->closing)
		return false; /* nobody asks any more, and nobody would clean afterwards */
	for (unsigned i = 0; i < BLOBS_SHOWN; i++)
		if (b->shown[i].at_ms && b->shown[i].oid == f->oid &&
			b->shown[i].serial == f->serial && now - b->shown[i].at_ms < BLOBS_SHOWN_MS)
			return true;
	return false;
}

static bool remove_unless_shown(struct pass *p, const struct file *f, const char *path)
{
	struct blobs *b = p->blobs;
	bool removed = false;

	if (!b)
		return os_unlink(path, NULL) == OK;
	pthread_mutex_lock(&b->lock);
	if (is_shown(b, f))
		p->waits = true;
	else
		removed = os_unlink(path, NULL) == OK;
	pthread_mutex_unlock(&b->lock);
	return removed;
}

static void remove_file(struct pass *p, const struct file *f)
{
	char path[PATH_MAX], lock[PATH_MAX];
	int fd = -1;
	int rc;

	if (file_path(p, f, path, sizeof(path)) >= (int)sizeof(path) ||
		snprintf(lock, sizeof(lock), "%s/%u/.lock", p->path,
			(unsigned)(f->oid % BLOBS_FOLDERS)) >= (int)sizeof(lock))
		return;
	rc = lock_file_take(lock, &fd, NULL);
	p->busy |= rc == ERR_BUSY;
	if (rc != OK)
		return;
	if (remove_unless_shown(p, f, path)) {
		p->size -= f->size;
		p->removed_some = true;
	}
	lock_file_release(fd);
}

static void remove_oldest(struct pass *p)
{
	p->removed_some = p->waits = p->busy = false;
	if (p->n)
		qsort(p->files, p->n, sizeof(*p->files), by_use);
	for (size_t i = 0; i < p->n && p->size > p->target; i++)
		remove_file(p, &p->files[i]);
}

/* Until a time has passed, or it is the end. False: it is. */
static bool pause_ms(struct blobs *b, uint64_t ms)
{
	struct timespec until;
	bool goes_on;

	clock_gettime(CLOCK_REALTIME, &until);
	until.tv_nsec += (long)(ms % 1000) * 1000000;
	until.tv_sec += (time_t)(ms / 1000) + until.tv_nsec / 1000000000;
	until.tv_nsec %= 1000000000;
	if (!b) {
		clock_nanosleep(CLOCK_REALTIME, TIMER_ABSTIME, &until, NULL);
		return true;
	}
	pthread_mutex_lock(&b->lock);
	while (!b->closing && pthread_cond_timedwait(&b->changed, &b->lock, &until) == 0)
		;
	goes_on = !b->closing;
	pthread_mutex_unlock(&b->lock);
	return goes_on;
}

/* Has another one wanted to clean meanwhile? */
static bool take_attempt(const struct pass *p)
{
	char path[PATH_MAX];

	return snprintf(path, sizeof(path), "%s/check_size.attempt", p->path) < (int)sizeof(path) &&
	       os_unlink(path, NULL) == OK;
}

/* False: what is left is in use elsewhere. The next check goes on, unlike ZEO's, which tries for ever. */
static bool goes_on(struct pass *p, unsigned *pauses)
{
	if (p->removed_some)
		*pauses = 0;
	if (p->waits) /* not while the client is being closed */
		(void)pause_ms(p->blobs, PAUSE_MS);
	else if (p->busy)
		return (*pauses)++ < BUSY_PAUSES && pause_ms(p->blobs, PAUSE_MS);
	return p->waits || p->removed_some;
}

static int clean_locked(struct pass *p, struct err *e)
{
	unsigned pauses = 0;

	for (;;) {
		int rc = look(p, e);

		if (rc != OK || p->size <= p->target)
			return rc;
		remove_oldest(p);
		if (p->size > p->target && !goes_on(p, &pauses))
			return OK;
	}
}

static void leave_to_the_other(const struct pass *p)
{
	char path[PATH_MAX];
	int fd = -1;

	if (snprintf(path, sizeof(path), "%s/check_size.attempt", p->path) < (int)sizeof(path) &&
		os_open(path, O_WRONLY | O_CREAT, &fd, NULL) == OK)
		os_close(fd);
}

/* ERR_BUSY: another one cleans, and will see that it has to do so once more. */
static int take_turn(const struct pass *p, int *ret_fd, struct err *e)
{
	char lock[PATH_MAX];
	int rc;

	if (snprintf(lock, sizeof(lock), "%s/check_size.lock", p->path) >= (int)sizeof(lock))
		return err_set(e, ERR_LIMIT, "the name of a blob folder is too long");
	rc = lock_file_take(lock, ret_fd, e);
	if (rc == ERR_BUSY && pause_ms(p->blobs, OTHER_CLEANER_MS))
		rc = lock_file_take(lock, ret_fd, e);
	if (rc != ERR_BUSY)
		return rc;
	leave_to_the_other(p);
	return lock_file_take(lock, ret_fd, e); /* it may have looked for that just before */
}

static int clean(struct pass *p, struct err *e)
{
	int rc;

	do {
		int fd = -1;

		rc = take_turn(p, &fd, e);
		if (rc == OK)
			rc = clean_locked(p, e);
		lock_file_release(fd);
	} while (rc == OK && take_attempt(p));
	mem_free(p->files);
	return rc == ERR_BUSY ? OK : rc;
}

int blobs_check_size(const char *path, uint64_t target, struct err *e)
{
	struct pass p = { .path = path, .target = target };
	char marker[PATH_MAX], text[64] = "";
	int fd = -1;
	size_t n;
	int rc;

	if (snprintf(marker, sizeof(marker), "%s/.layout", path) >= (int)sizeof(marker))
		return err_set(e, ERR_LIMIT, "the name of a blob folder is too long");
	rc = os_open(marker, O_RDONLY, &fd, e);
	if (rc == OK)
		rc = os_pread(fd, text, sizeof(text) - 1, 0, &n, e);
	os_close(fd);
	if (rc != OK)
		return rc;
	text[strcspn(text, " \t\r\n")] = 0;
	if (strcmp(text, "zeocache") != 0)
		return err_set(e, ERR_FORMAT, "Invalid blob directory layout %s", text);
	return clean(&p, e);
}

/* --- the thread --- */

static void *run(void *arg)
{
	struct blobs *b = arg;
	uint64_t free_bytes = b->check_bytes < b->cache_bytes ? b->check_bytes : b->cache_bytes;

	pthread_mutex_lock(&b->lock);
	while (!b->closing || b->check_wanted) {
		struct pass p = {
			.blobs = b, .path = b->path, .target = b->cache_bytes - free_bytes
		};
		struct err e = ERR_INIT;

		if (!b->check_wanted) {
			pthread_cond_wait(&b->changed, &b->lock);
			continue;
		}
		b->check_wanted = false;
		pthread_mutex_unlock(&b->lock);
		if (clean(&p, &e) != OK)
			blobs_log(b, LOG_WARNING, CLEANER_LOGGER,
				"the blob cache was not cleaned: %s", e.text);
		pthread_mutex_lock(&b->lock);
	}
	pthread_mutex_unlock(&b->lock);
	return NULL;
}

void blobs_grown(struct blobs *b, uint64_t bytes)
{
	pthread_mutex_lock(&b->lock);
	b->loaded += bytes;
	if (b->has_cleaner && b->loaded >= b->check_bytes) {
		b->loaded = 0;
		b->check_wanted = true;
		pthread_cond_broadcast(&b->changed);
	}
	pthread_mutex_unlock(&b->lock);
}

int blobs_start_cleaner(struct blobs *b, struct err *e)
{
	sigset_t all, old;
	int errnum;

	b->check_wanted = true;
	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &old);
	errnum = pthread_create(&b->cleaner, NULL, run, b);
	pthread_sigmask(SIG_SETMASK, &old, NULL);
	if (errnum)
		return err_sys(e, errnum, "cannot start a thread");
	b->has_cleaner = true;
	return OK;
}

void blobs_stop_cleaner(struct blobs *b)
{
	if (b->owner != getpid())
		return; /* a child has no such thread, and perhaps a lock that nobody unlocks */
	pthread_mutex_lock(&b->lock);
	b->closing = true;
	pthread_cond_broadcast(&b->changed);
	pthread_mutex_unlock(&b->lock);
	if (b->has_cleaner)
		pthread_join(b->cleaner, NULL);
}
