#include "storage/filestorage/filestorage.h"

#include <fcntl.h>
#include <limits.h>
#include <stdarg.h>
#include <stdio.h>
#include <sys/stat.h>
#include <time.h>

#include "base/check.h"
#include "base/lock_file.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/os.h"
#include "storage/blob/blob_storage.h"
#include "storage/filestorage/fs.h"

/* T57: what ZODB's FileStorage provides, in the order of its resolution. */
/* clang-format off */
static const char *const interfaces[] = {
	"ZODB.interfaces", "IStorageRestoreable",
	"ZODB.interfaces", "IStorageIteration",
	"ZODB.interfaces", "IStorageUndoable",
	"ZODB.interfaces", "IStorageCurrentRecordIteration",
	"ZODB.interfaces", "IExternalGC",
	"ZODB.interfaces", "IStorage",
	"zope.interface", "Interface",
	NULL,
};

static const char *const interfaces_with_blobs[] = {
	"ZODB.interfaces", "IBlobStorageRestoreable",
	"ZODB.interfaces", "IBlobStorage",
	"ZODB.interfaces", "IStorageRestoreable",
	"ZODB.interfaces", "IStorageIteration",
	"ZODB.interfaces", "IStorageUndoable",
	"ZODB.interfaces", "IStorageCurrentRecordIteration",
	"ZODB.interfaces", "IExternalGC",
	"ZODB.interfaces", "IStorage",
	"zope.interface", "Interface",
	NULL,
};
/* clang-format on */

void fs_log(struct filestorage *fs, int level, const char *fmt, ...)
{
	char text[1024];
	va_list ap;

	if (!fs->options.log)
		return;
	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	fs->options.log(fs->options.log_ctx, level, text);
}

void fs_wake_writer(struct filestorage *fs)
{
	if (fs->has_thread)
		sem_post(&fs->wake);
}

/* Nobody is at the log writer's work, and this thread may do it. */
static bool may_step_here(struct filestorage *fs)
{
	if (!fs->has_thread || pthread_mutex_trylock(&fs->stepping) != 0)
		return false;
	pthread_mutex_unlock(&fs->stepping);
	return errand_leave(&fs->errand);
}

static void fs_finish(struct storage *s, struct txn *t)
{
	struct filestorage *fs = fs_of(s);

	CHECK(fs->writer);
	if (log_writer_push(fs->writer, t) && !may_step_here(fs))
		fs_wake_writer(fs);
}

void fs_call_writer(struct filestorage *fs, struct writer_job *j)
{
	if (log_writer_call(fs->writer, j))
		fs_wake_writer(fs);
}

static uint64_t fs_new_oids(struct storage *s, uint32_t n)
{
	return atomic_fetch_add(&fs_of(s)->next_oid, n);
}

static bool fs_has_oid(struct storage *s, uint64_t oid)
{
	bool has = index_get(data_file_borrow(&fs_of(s)->data)->index, oid) != 0;

	data_file_return();
	return has;
}

static void fs_info(struct storage *s, struct storage_info *ret)
{
	struct filestorage *fs = fs_of(s);

	struct data_file *d = data_file_borrow(&fs->data);

	*ret = (struct storage_info){
		.length = index_count(d->index),
		.size = data_file_end(d),
		.supports_record_iternext = true,
		.supports_undo = true,
		.interfaces = s->blobs ? interfaces_with_blobs : interfaces,
	};
	data_file_return();
}

/* --- the shell --- */

/* One batch, by a thread that has nothing else to do: append and sync, then its status byte. What is to be waited for is the
 * log writer's. */
static void step_here(struct errand *er)
{
	struct filestorage *fs = CONTAINER_OF(er, struct filestorage, errand);
	bool more = true;

	if (pthread_mutex_trylock(&fs->stepping) == 0) {
		for (int i = 0; more && i < 2 && log_writer_wait_us(fs->writer) == 0; i++)
			more = log_writer_step(fs->writer);
		pthread_mutex_unlock(&fs->stepping);
	}
	if (more)
		fs_wake_writer(fs);
}

/* For what is better written together with what is there. Ends early when that changes. */
static void wait_for_others(struct filestorage *fs)
{
	bool in_time = true;
	struct timespec t;
	uint64_t us;

	while (in_time && (us = log_writer_wait_us(fs->writer)) > 0) {
		clock_gettime(CLOCK_MONOTONIC, &t);
		t.tv_nsec += (long)us * 1000;
		t.tv_sec += t.tv_nsec / 1000000000;
		t.tv_nsec %= 1000000000;
		in_time = sem_clockwait(&fs->wake, CLOCK_MONOTONIC, &t) == 0;
	}
}

static void *run_writer(void *arg)
{
	struct filestorage *fs = arg;
	bool more, stop;

	do {
		while (!atomic_load(&fs->stop) &&
			sem_wait(&fs->wake) != 0) /* EINTR: a debugger, say */
			;
		stop = atomic_load(&fs->stop); /* what was pushed before is written */
		pthread_mutex_lock(&fs->stepping);
		do {
			wait_for_others(fs);
			more = log_writer_step(fs->writer);
		} while (more);
		pthread_mutex_unlock(&fs->stepping);
	} while (!stop);
	return NULL;
}

static void stop_writer(struct filestorage *fs)
{
	if (!fs->has_thread) {
		while (log_writer_step(fs->writer))
			;
		return;
	}
	atomic_store(&fs->stop, true);
	sem_post(&fs->wake);
	pthread_join(fs->thread, NULL);
}

/* Everything but the file. */
static void release(struct filestorage *fs)
{
	if (!fs)
		return;
	log_writer_free(fs->writer);
	if (atomic_load(&fs->pubs.newest))
		pubchain_close(&fs->pubs);
	blob_dir_close(fs->base.blobs);
	lock_file_release(fs->lock_fd);
	pthread_mutex_destroy(&fs->space_lock);
	pthread_mutex_destroy(&fs->pin_lock);
	pthread_cond_destroy(&fs->unpinned);
	pthread_mutex_destroy(&fs->stepping);
	sem_destroy(&fs->wake);
	packing_fini(&fs->packing);
	mem_free(fs->path);
	mem_free((char *)fs->base.name);
	mem_free(fs);
}

/* Blocks reserved behind the end go back to the disk. */
static void give_space_back(struct filestorage *fs)
{
	struct data_file *d = atomic_load(&fs->data);
	struct err e = ERR_INIT;

	if (fs->reserved_until > data_file_end(d) &&
		d->disk->ops->ftruncate(d->disk, data_file_end(d), &e) != OK)
		fs_log(fs, LOG_WARNING, "cannot give reserved space back: %s", e.text);
}

static void fs_close(struct storage *s)
{
	struct filestorage *fs = fs_of(s);

	fs_pack_join(fs);
	if (fs->writer) {
		stop_writer(fs);
		if (!log_writer_broken(fs->writer))
			give_space_back(fs);
		if (fs->path)
			fs_save_index(fs);
	}
	data_file_unref(atomic_load(&fs->data)); /* before the lock goes */
	release(fs);
}

static const struct storage_ops ops = {
	.load = fs_load,
	.prefetch = fs_prefetch,
	.history = fs_history,
	.vote = fs_vote,
	.abort = fs_abort,
	.finish = fs_finish,
	.undo_log = fs_undo_log,
	.iter_open = fs_iter_open,
	.iter_records = fs_iter_records,
	.iter_next = fs_iter_next,
	.iter_close = fs_iter_close,
	.changes = fs_changes,
	.open_blob = blob_storage_open_blob,
	.pack = fs_pack,
	.pack_progress = fs_pack_progress,
	.pack_stop = fs_pack_stop,
	.new_oids = fs_new_oids,
	.has_oid = fs_has_oid,
	.info = fs_info,
	.close = fs_close,
};

static struct filestorage *fs_new(const struct filestorage_options *o)
{
	struct filestorage *fs = mem_zalloc(1, sizeof(*fs));

	if (!fs)
		return NULL;
	fs->lock_fd = -1;
	fs->options = *o;
	pthread_mutex_init(&fs->space_lock, NULL);
	pthread_mutex_init(&fs->pin_lock, NULL);
	pthread_cond_init(&fs->unpinned, NULL);
	pthread_mutex_init(&fs->stepping, NULL);
	fs->errand.run = step_here;
	sem_init(&fs->wake, 0, 0);
	packing_init(&fs->packing);
	fs->base.ops = &ops;
	fs->base.read_only = o->read_only;
	fs->base.pubs = &fs->pubs;
	fs->base.name = mem_strdup(o->path ? o->path : "core");
	fs->path = o->path ? mem_strdup(o->path) : NULL;
	if (fs->base.name && (fs->path || !o->path))
		return fs;
	release(fs);
	return NULL;
}

int filestorage_core_open(struct disk_file *file, const struct filestorage_options *o,
	struct storage **ret, struct err *e)
{
	struct filestorage *fs = fs_new(o);
	int rc;

	if (!fs)
		return err_set(e, ERR_NOMEM, "no memory for a storage");
	atomic_store(&fs->data, data_file_new(file, NULL));
	if (atomic_load(&fs->data))
		rc = fs_recover(fs, e);
	else
		rc = err_set(e, ERR_NOMEM, "no memory for a storage");
	if (rc != OK) {
		filestorage_core_drop(&fs->base);
		return rc;
	}
	*ret = &fs->base;
	return OK;
}

bool filestorage_step(struct storage *s)
{
	return log_writer_step(fs_of(s)->writer);
}

void filestorage_core_drop(struct storage *s)
{
	data_file_forget(atomic_load(&fs_of(s)->data));
	release(fs_of(s));
}

/* T67: a crash in the middle of a pack's renames must not become a new, empty file. */
static int check_no_remains(const char *path, struct err *e)
{
	static const char *const suffixes[] = { ".pack", ".old" };
	char name[PATH_MAX];
	struct stat st;

	for (size_t i = 0; i < ARRAY_LEN(suffixes); i++) {
		snprintf(name, sizeof(name), "%s%s", path, suffixes[i]);
		if (stat(name, &st) == 0)
			return err_set(e, ERR_CORRUPT,
				"there is no '%s', but a '%s', which a pack left behind: move the "
				"one "
				"that is whole (.pack if it is there, else .old) to '%s'",
				path, name, path);
	}
	return OK;
}

static int open_file(const struct filestorage_options *o, struct disk_file **ret, struct err *e)
{
	int rc;

	if (o->read_only)
		return disk_open(o->path, O_RDONLY, ret, e);
	if (o->create) {
		rc = os_unlink(o->path, e);
		if (rc != OK && rc != ERR_NOENT)
			return rc;
	} else {
		rc = disk_open(o->path, O_RDWR, ret, e);
		if (rc == ERR_NOENT)
			rc = check_no_remains(o->path, e);
		else
			return rc;
		if (rc != OK)
			return rc;
	}
	rc = disk_open(o->path, O_RDWR | O_CREAT | O_EXCL, ret, e);
	if (rc != OK)
		return rc;
	return os_sync_dir_of(o->path, e); /* after a failure *ret is the caller's, too */
}

static int take_lock(const struct filestorage_options *o, int *ret_fd, struct err *e)
{
	char name[PATH_MAX];

	if (o->read_only)
		return OK;
	if (snprintf(name, sizeof(name), "%s.lock", o->path) >= (int)sizeof(name))
		return err_set(e, ERR_INVAL, "the name '%s' is too long", o->path);
	return lock_file_take(name, ret_fd, e);
}

static int start_thread(struct filestorage *fs, struct err *e)
{
	int errnum;

	if (!fs->writer)
		return OK;
	errnum = pthread_create(&fs->thread, NULL, run_writer, fs);
	if (errnum)
		return err_sys(e, errnum, "cannot start the log writer");
	pthread_setname_np(fs->thread, "log writer");
	fs->has_thread = true;
	return OK;
}

int filestorage_open(const struct filestorage_options *o, struct storage **ret, struct err *e)
{
	struct disk_file *file = NULL;
	struct storage *s = NULL;
	int lock_fd = -1;
	int rc = take_lock(o, &lock_fd, e);

	if (rc == OK)
		rc = open_file(o, &file, e);
	if (rc != OK)
		goto out;
	rc = filestorage_core_open(file, o, &s, e);
	if (rc == OK)
		rc = fs_blobs_open(fs_of(s), e);
	if (rc == OK && !o->read_only)
		fs_pack_clean(fs_of(s));
	if (rc == OK)
		rc = start_thread(fs_of(s), e);
	if (rc != OK)
		goto out;
	fs_of(s)->lock_fd = lock_fd;
	*ret = s;
	return OK;
out:
	if (rc != ERR_BUSY)
		err_wrap(e, "FileStorage '%s'", o->path);
	if (s)
		filestorage_core_drop(s);
	if (file)
		file->ops->close(file);
	lock_file_release(lock_fd);
	return rc;
}
