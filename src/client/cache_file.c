/* The file of a cache as a whole: its head, how it is made, opened and closed. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>

#include "base/guarded.h"
#include "base/mem.h"
#include "base/os.h"
#include "client/cache_file_core.h"

uint64_t cache_file_size(const struct cache_file *f)
{
	return f->size;
}

bool cache_file_failed(const struct cache_file *f)
{
	return atomic_load_explicit(&f->failed, memory_order_relaxed);
}

/* The boot of this system as a number that is not 0; 1 where it has no id: then a file in use is never believed. */
static uint64_t this_boot(void)
{
	char text[40] = "";
	size_t n = 0;
	int fd;

	if (os_open("/proc/sys/kernel/random/boot_id", O_RDONLY, &fd, NULL) != OK)
		return 1;
	if (os_pread(fd, text, sizeof(text) - 1, 0, &n, NULL) != OK)
		n = 0;
	os_close(fd);
	if (n < 36)
		return 1;
	return ((uint64_t)crc_of(text, 18) << 32 | crc_of(text + 18, 18)) | 2;
}

static uint64_t head_check(const uint64_t *words)
{
	return crc_of(words, HEAD_CHECK * sizeof(*words));
}

static int sync_file(struct cache_file *f, struct err *e)
{
	return f->fd < 0 ? OK : os_fdatasync(f->fd, e);
}

static int write_head(struct cache_file *f, struct err *e)
{
	uint64_t words[HEAD_LAST + 4] = { MAGIC, VERSION, f->size };

	words[HEAD_CHECK] = head_check(words);
	words[HEAD_IN_USE] = this_boot();
	words[HEAD_TAIL] = words[HEAD_HEAD] = f->ring;
	words[HEAD_LAST + 1] = words[HEAD_LAST + 3] = check_of(0, 0);
	if (!cache_words_write(f, f->map, words, sizeof(words)))
		return err_set(e, ERR_IO, "cannot write its first page");
	set_head(f, f->ring);
	atomic_store(&f->tail, f->ring);
	f->last_tid = 0;
	return sync_file(f, e);
}

uint64_t cache_file_size_for(uint64_t size)
{
	return size < CACHE_SIZE_MIN ? CACHE_SIZE_MIN : size & ~UINT64_C(7);
}

uint64_t cache_file_used(const struct cache_file *f)
{
	uint64_t tail = tail_of(f); /* first: it is never ahead */

	return head_of(f) - tail;
}

static void set_size(struct cache_file *f, uint64_t size)
{
	f->size = cache_file_size_for(size);
	f->ring = f->size - CACHE_HEAD_BYTES;
}

static int map(struct cache_file *f, struct err *e)
{
	int flags = f->fd < 0 ? MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE : MAP_SHARED;
	void *p = mmap(NULL, f->size, PROT_READ | PROT_WRITE, flags, f->fd, 0);

	if (p == MAP_FAILED)
		return err_sys(e, errno, "cannot map %llu bytes", (unsigned long long)f->size);
	f->map = p;
	(void)madvise(p, f->size, MADV_DONTDUMP);
	if (f->fd < 0) /* few page faults, while it fills and when it is read */
		(void)madvise(p, f->size, MADV_HUGEPAGE);
	return OK;
}

static void unmap(struct cache_file *f)
{
	if (f->map)
		munmap(f->map, f->size);
	f->map = NULL;
}

static struct cache_file *file_new(int fd)
{
	struct cache_file *f = mem_zalloc(1, sizeof(*f));

	guarded_init();
	if (f)
		f->fd = fd;
	return f;
}

int cache_file_anonymous(uint64_t size, struct cache_file **ret, struct err *e)
{
	struct cache_file *f = file_new(-1);
	int rc;

	if (!f)
		return err_set(e, ERR_NOMEM, "no memory for a cache");
	set_size(f, size);
	rc = map(f, e);
	if (rc == OK)
		rc = write_head(f, e);
	if (rc != OK) {
		cache_file_close(f, false);
		return rc;
	}
	*ret = f;
	return OK;
}

/* The file becomes an empty cache of the size that is set. */
static int make(struct cache_file *f, struct err *e)
{
	int rc;

	unmap(f);
	rc = os_ftruncate(f->fd, 0, e);
	if (rc == OK)
		rc = os_ftruncate(f->fd, f->size, e);
	if (rc == OK)
		rc = os_reserve(f->fd, 0, f->size, e);
	if (rc == OK)
		rc = map(f, e);
	if (rc == OK)
		rc = write_head(f, e);
	if (rc != OK)
		(void)!os_ftruncate(f->fd, 0, NULL); /* what it got of a full disk */
	return rc;
}

int cache_file_format(struct cache_file *f, struct err *e)
{
	return f->fd < 0 ? write_head(f, e) : make(f, e);
}

/* Is what the head says possible? */
static bool positions_are_sane(const struct cache_file *f, uint64_t tail, uint64_t head)
{
	return tail >= f->ring && head >= tail && head - tail <= f->ring && tail % 8 == 0 &&
	       head % 8 == 0 && head < UINT64_MAX / 2;
}

static void take_last_tid(struct cache_file *f, const uint64_t *words)
{
	for (unsigned i = 0; i < 2; i++) {
		uint64_t tid = words[HEAD_LAST + 2 * i];

		if (words[HEAD_LAST + 2 * i + 1] == check_of(tid, 0) && tid > f->last_tid) {
			f->last_tid = tid;
			f->last_turn = 1 - i;
		}
	}
}

/* Why the file's content cannot be used; NULL: it can. */
static const char *refusal(struct cache_file *f, const uint64_t *words, uint64_t file_size)
{
	uint64_t in_use = words[HEAD_IN_USE];

	if (words[HEAD_VERSION] != VERSION || words[HEAD_CHECK] != head_check(words))
		return "it is of another version, or damaged at its head";
	if (words[HEAD_SIZE] > file_size || words[HEAD_SIZE] < CACHE_SIZE_MIN ||
		words[HEAD_SIZE] % 8)
		return "it is shorter than it says";
	set_size(f, words[HEAD_SIZE]);
	if (in_use != 0 && (in_use == 1 || in_use != this_boot()))
		return "the system stopped while it was in use";
	if (!positions_are_sane(f, words[HEAD_TAIL], words[HEAD_HEAD]))
		return "it is damaged at its head";
	/* also after a kill: pages that could not be written meanwhile are an error here */
	if (in_use != 0 && os_fdatasync(f->fd, NULL) != OK)
		return "the disk failed while it was in use";
	atomic_store(&f->tail, words[HEAD_TAIL]);
	set_head(f, words[HEAD_HEAD]);
	take_last_tid(f, words);
	return NULL;
}

/* It goes on with what it has, and is marked before anything in it changes (F3). */
static int keep(struct cache_file *f, struct err *e)
{
	uint64_t boot = this_boot();
	int rc = os_reserve(f->fd, 0, f->size, e);

	if (rc == OK)
		rc = map(f, e);
	if (rc != OK)
		return rc;
	if (!cache_word_write(f, &f->map[HEAD_IN_USE], boot))
		return err_set(e, ERR_IO, "cannot write its first page");
	return sync_file(f, e);
}

/* Another program's file is not ours to delete. */
static int put_aside(const char *path, struct cache_file *f, char *note, struct err *e)
{
	char *bad = mem_alloc(strlen(path) + 5);
	int rc;

	if (!bad)
		return err_set(e, ERR_NOMEM, "no memory for a name");
	sprintf(bad, "%s.bad", path);
	rc = os_rename(path, bad, e);
	mem_free(bad);
	if (rc != OK)
		return rc;
	snprintf(note, 256, "cache file '%.120s' is no cache of this program: moved to .bad", path);
	os_close(f->fd);
	f->fd = -1;
	return os_open(path, O_RDWR | O_CREAT | O_EXCL, &f->fd, e);
}

static int take_over(const char *path, uint64_t size, struct cache_file *f,
	enum cache_found *ret_found, char *note, struct err *e)
{
	uint64_t words[HEAD_LAST + 4] = { 0 };
	uint64_t file_size;
	const char *why;
	size_t n;
	int rc = os_size(f->fd, &file_size, e);

	if (rc == OK)
		rc = os_pread(f->fd, words, sizeof(words), 0, &n, e);
	if (rc != OK)
		return rc;
	*ret_found = file_size ? CACHE_EMPTIED : CACHE_FRESH;
	if (file_size && words[HEAD_MAGIC] != MAGIC && words[HEAD_MAGIC] != 0) {
		rc = put_aside(path, f, note, e);
	} else if (words[HEAD_MAGIC] != 0) { /* else we were stopped while it was made */
		why = refusal(f, words, file_size);
		if (!why) {
			*ret_found = CACHE_KEPT;
			return keep(f, e);
		}
		snprintf(note, 256, "cache file '%.120s' begins anew: %s", path, why);
	}
	if (rc != OK)
		return rc;
	set_size(f, size);
	f->last_tid = 0;
	return make(f, e);
}

int cache_file_open(const char *path, uint64_t size, struct cache_file **ret,
	enum cache_found *ret_found, char *note, struct err *e)
{
	struct cache_file *f = file_new(-1);
	enum cache_found found = CACHE_FRESH;
	int rc;

	if (!f)
		return err_set(e, ERR_NOMEM, "no memory for a cache");
	rc = os_open(path, O_RDWR | O_CREAT, &f->fd, e);
	if (rc == OK)
		rc = take_over(path, size, f, &found, note, e);
	if (rc != OK) {
		cache_file_close(f, false);
		return err_wrap(e, "cache file '%s'", path);
	}
	*ret_found = found;
	*ret = f;
	return OK;
}

void cache_file_close(struct cache_file *f, bool owner)
{
	if (!f)
		return;
	/* In this order: believed only when all of it is on the disk. */
	if (owner && f->fd >= 0 && !cache_file_failed(f) && os_fdatasync(f->fd, NULL) == OK &&
		cache_word_write(f, &f->map[HEAD_IN_USE], 0))
		(void)!os_fdatasync(f->fd, NULL);
	unmap(f);
	os_close(f->fd);
	mem_free(f);
}

uint64_t cache_file_last_tid(const struct cache_file *f)
{
	return f->last_tid;
}

static bool write_last(struct cache_file *f, unsigned turn, uint64_t tid)
{
	word *w = &f->map[HEAD_LAST + 2 * turn];

	return cache_word_write(f, w, tid) && cache_word_write(f, w + 1, check_of(tid, 0));
}

void cache_file_set_last_tid(struct cache_file *f, uint64_t tid)
{
	f->last_tid = tid;
	if (tid == 0 && !write_last(f, 1 - f->last_turn, 0))
		return; /* no larger one may be left */
	if (write_last(f, f->last_turn, tid))
		f->last_turn = 1 - f->last_turn;
}
