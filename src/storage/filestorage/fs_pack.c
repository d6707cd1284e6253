#include "storage/filestorage/fs_pack.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <time.h>

#include "base/log.h"
#include "base/mem.h"
#include "base/os.h"
#include "storage/blob/blob_removals.h"
#include "storage/filestorage/fs.h"
#include "storage/filestorage/index_file.h"
#include "storage/filestorage/pack.h"
#include "storage/filestorage/pack_swap.h"

enum {
	TAIL_SHORT = 256 << 10, /* bytes: what commits may wait for */
	TAIL_ROUNDS = 50,       /* when more than that is always new, then so be it */
	APPLIED_WAIT_MS = 2000, /* for event loops to take the last publications (R8) */
	APPLIED_STEP_MS = 5,
	LOOK_US = 5000,         /* how often it looks for a processor */
	BIT_BYTES = 32 << 10,   /* of work, without one */
	REST_US = 400,          /* after it */
	LOG_STEPS = 10,         /* lines of progress */
	LOG_AFTER_US = 1000000, /* but for a pack that is done at once */
};

typedef unsigned long long ull;

enum { TRIES_MAX = 5 };

/* A pack under way. */
struct run {
	struct pack p;
	struct filestorage *fs;
	struct pack_req *req;
	struct pack_paths names;
	struct blob_removals *blobs;
	struct writer_job job;
	bool job_ran;    /* guarded by packing.lock */
	bool no_limit;   /* what is new meanwhile is copied faster than it comes */
	bool is_changed; /* the packed file is in place */
	int job_rc;
	struct err job_err;
	uint64_t start_us; /* monotonic */
	uint64_t size_before;
	uint64_t length_before;
	uint64_t limit_from_us; /* monotonic: bytes are counted since */
	uint64_t limit_bytes;
	unsigned cpus;
	bool crowded;
	uint64_t looked_us;  /* when that was found */
	uint64_t process_us; /* of the processors, that all threads had used by then */
	uint64_t own_us;     /* and this one */
	uint64_t bit_bytes;  /* of the bit of work at hand */
	unsigned logged;     /* lines of progress */
};

/* --- waiting --- */

void packing_init(struct packing *k)
{
	pthread_condattr_t attr;

	pthread_mutex_init(&k->lock, NULL);
	pthread_condattr_init(&attr);
	pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
	pthread_cond_init(&k->changed, &attr);
	pthread_condattr_destroy(&attr);
}

void packing_fini(struct packing *k)
{
	pthread_mutex_destroy(&k->lock);
	pthread_cond_destroy(&k->changed);
}

/* Wait for @us, or until the storage is being closed. */
static void wait_us(struct packing *k, uint64_t us)
{
	struct timespec until;

	clock_gettime(CLOCK_MONOTONIC, &until);
	until.tv_sec += (time_t)(us / 1000000);
	until.tv_nsec += (long)(us % 1000000) * 1000;
	if (until.tv_nsec >= 1000000000) {
		until.tv_nsec -= 1000000000;
		until.tv_sec++;
	}
	pthread_mutex_lock(&k->lock);
	while (!atomic_load(&k->stop) &&
		pthread_cond_timedwait(&k->changed, &k->lock, &until) != ETIMEDOUT)
		;
	pthread_mutex_unlock(&k->lock);
}

static int stopped(struct run *r, struct err *e)
{
	if (!atomic_load(&r->fs->packing.stop))
		return OK;
	return err_set(e, ERR_CLOSED, "the storage is being closed");
}

/* pack-bandwidth: bytes read and written. */
static void keep_limit(struct run *r, uint64_t bytes)
{
	uint64_t limit = r->fs->options.pack_bandwidth;
	uint64_t now, due;

	if (!limit || r->no_limit)
		return;
	r->limit_bytes += bytes;
	now = clock_mono_us(&clock_system);
	due = r->limit_from_us + (uint64_t)((double)r->limit_bytes / (double)limit * 1e6);
	if (due > now)
		wait_us(&r->fs->packing, due - now);
	if (now > due + 1000000) { /* time that was not used is not saved up */
		r->limit_from_us = now;
		r->limit_bytes = 0;
	}
}

bool pack_is_crowded(uint64_t us, uint64_t process_us, uint64_t own_us, unsigned cpus)
{
	uint64_t quarters = cpus > 1 ? 4 * cpus - 6 : 1;

	/* the clocks are read one after the other: what is left may be less than nothing */
	return process_us > own_us && (process_us - own_us) * 4 > us * quarters;
}

static void look(struct run *r, uint64_t now)
{
	uint64_t process = os_process_cpu_us();
	uint64_t own = os_thread_cpu_us();

	r->crowded = r->looked_us && pack_is_crowded(now - r->looked_us, process - r->process_us,
					     own - r->own_us, r->cpus);
	r->looked_us = now;
	r->process_us = process;
	r->own_us = own;
}

/* Where it is crowded the pack works a small part of the time, and a bit at a time. It would get its fair share otherwise,
 * some milliseconds of it at a time, and who waits for an answer waits for that. */
static void leave_room(struct run *r, uint64_t bytes)
{
	const struct timespec rest = { .tv_nsec = REST_US * 1000 };
	uint64_t now;

	r->bit_bytes += bytes;
	if (r->no_limit || r->bit_bytes < BIT_BYTES)
		return;
	r->bit_bytes = 0;
	now = clock_mono_us(&clock_system);
	if (now - r->looked_us >= LOOK_US)
		look(r, now);
	if (r->crowded)
		nanosleep(&rest, NULL);
}

/* --- progress --- */

static void set_phase(struct run *r, const char *phase, uint64_t all_bytes)
{
	struct packing *k = &r->fs->packing;

	atomic_store(&k->done_bytes, 0);
	atomic_store(&k->all_bytes, all_bytes);
	atomic_store(&k->phase, phase);
	r->logged = 0;
}

static void log_progress(struct run *r, const char *what, uint64_t done, uint64_t all)
{
	unsigned steps = all ? (unsigned)(done * LOG_STEPS / all) : 0;

	if (steps <= r->logged || steps >= LOG_STEPS)
		return;
	r->logged = steps;
	if (clock_mono_us(&clock_system) < r->start_us + LOG_AFTER_US)
		return;
	fs_log(r->fs, LOG_INFO, "packing %s: %s, %u%% of %llu bytes", r->fs->path, what,
		steps * 100 / LOG_STEPS, (ull)all);
}

static int tick(struct pack *p, uint64_t bytes, struct err *e)
{
	struct run *r = CONTAINER_OF(p, struct run, p);
	struct packing *k = &r->fs->packing;
	uint64_t all = atomic_load_explicit(&k->all_bytes, memory_order_relaxed);
	uint64_t done = p->in_pos;

	if (!done) {
		done = atomic_load_explicit(&k->done_bytes, memory_order_relaxed) + bytes;
		done = done < all ? done : all;
	}
	atomic_store_explicit(&k->done_bytes, done, memory_order_relaxed);
	if (p->in_pos)
		log_progress(r, "copying", done, all);
	keep_limit(r, bytes);
	leave_room(r, bytes);
	return stopped(r, e);
}

void fs_pack_progress(struct storage *s, struct pack_progress *ret)
{
	struct packing *k = &fs_of(s)->packing;

	*ret = (struct pack_progress){
		.running = atomic_load(&k->running),
		.phase = atomic_load(&k->phase),
		.started_us = atomic_load(&k->started_us),
		.done_bytes = atomic_load(&k->done_bytes),
		.all_bytes = atomic_load(&k->all_bytes),
	};
}

bool fs_is_packing(struct filestorage *fs)
{
	return atomic_load(&fs->packing.running);
}

/* --- the end --- */

static void run_swap(struct writer_job *j)
{
	struct run *r = CONTAINER_OF(j, struct run, job);
	struct packing *k = &r->fs->packing;

	r->job_rc = pack_swap(r->fs, &r->p, &r->names, r->blobs, &r->job_err);
	pthread_mutex_lock(&k->lock);
	r->job_ran = true;
	pthread_cond_broadcast(&k->changed);
	pthread_mutex_unlock(&k->lock);
}

/* On the log writer's thread, while nothing holds offsets of the file. */
static int swap(struct run *r, struct err *e)
{
	struct filestorage *fs = r->fs;
	struct packing *k = &fs->packing;

	pthread_mutex_lock(&fs->pin_lock);
	while (fs->pins && !atomic_load(&k->stop))
		pthread_cond_wait(&fs->unpinned, &fs->pin_lock);
	fs->switching = true;
	pthread_mutex_unlock(&fs->pin_lock);
	r->job_rc = stopped(r, &r->job_err);
	if (r->job_rc == OK) {
		r->job.run = run_swap;
		fs_call_writer(fs, &r->job);
		pthread_mutex_lock(&k->lock);
		while (!r->job_ran)
			pthread_cond_wait(&k->changed, &k->lock);
		pthread_mutex_unlock(&k->lock);
	}
	pthread_mutex_lock(&fs->pin_lock);
	fs->switching = false;
	pthread_cond_broadcast(&fs->unpinned);
	pthread_mutex_unlock(&fs->pin_lock);
	*e = r->job_err;
	return r->job_rc;
}

/* Until what is missing is short. */
static int catch_up(struct run *r, struct err *e)
{
	int rc = OK;

	for (int i = 0; rc == OK && i < TAIL_ROUNDS; i++) {
		rc = pack_tail(&r->p, data_file_end(r->p.from), e);
		r->no_limit = true;
		if (data_file_end(r->p.from) - r->p.in_pos <= TAIL_SHORT)
			break;
	}
	return rc;
}

/* The index is saved before the end, while nobody changes it: it covers the file up to there. */
static void save_index(struct run *r)
{
	struct err e = ERR_INIT;

	if (index_file_save(r->names.pack_index, r->p.new_index, pack_out_pos(&r->p), &e) != OK)
		fs_log(r->fs, LOG_WARNING, "%s", e.text); /* T24 */
}

static void place_index(struct run *r)
{
	struct err e = ERR_INIT;
	int rc = os_rename(r->names.pack_index, r->names.index, &e);

	if (rc != OK && rc != ERR_NOENT)
		fs_log(r->fs, LOG_WARNING, "%s", e.text);
}

static void remove_blobs(struct run *r)
{
	struct err e = ERR_INIT;

	if (!r->blobs)
		return;
	if (blob_removals_apply(
		    r->blobs, fs_has_revision, r->fs, r->fs->options.pack_keep_old, &e) != OK)
		fs_log(r->fs, LOG_WARNING, "blobs of packed revisions were not removed: %s",
			e.text);
	r->blobs = NULL;
}

static int finish(struct run *r, struct err *e)
{
	int rc;

	set_phase(r, "finishing", data_file_end(r->p.from));
	rc = catch_up(r, e);
	if (rc != OK)
		return rc;
	save_index(r);
	rc = catch_up(r, e);
	if (rc == OK)
		rc = r->p.to->ops->fdatasync(r->p.to, e);
	if (rc == OK)
		rc = catch_up(r, e);
	if (rc == OK)
		rc = swap(r, e);
	if (rc != OK)
		return rc;
	r->is_changed = true;
	place_index(r);
	remove_blobs(r);
	return OK;
}

/* --- the thread --- */

static int blob_dropped(struct pack *p, uint64_t oid, uint64_t tid, struct err *e)
{
	return blob_removals_add(CONTAINER_OF(p, struct run, p)->blobs, oid, tid, e);
}

/* R8: what an event loop may still read as current is so at pack time, or later. */
static void wait_for_applied(struct run *r)
{
	struct pubchain *c = &r->fs->pubs;
	uint64_t want = pubchain_last_tid(c);
	uint64_t min = pubchain_min_tid(c);

	if (want > r->p.stop_tid)
		want = r->p.stop_tid;
	for (int i = 0; i < APPLIED_WAIT_MS / APPLIED_STEP_MS && min < want; i++) {
		wait_us(&r->fs->packing, APPLIED_STEP_MS * 1000);
		min = pubchain_min_tid(c);
	}
	if (min < r->p.stop_tid)
		r->p.stop_tid = min;
}

static int begin(struct run *r, struct err *e)
{
	struct filestorage *fs = r->fs;
	int rc = pack_paths_init(&r->names, fs->path, e);

	r->limit_from_us = clock_mono_us(&clock_system);
	r->cpus = os_cpus();
	r->p.from = data_file_get(&fs->data);
	r->length_before = index_count(r->p.from->index);
	r->p.gc = fs->options.pack_gc;
	r->p.tick = tick;
	wait_for_applied(r);
	r->p.end = r->size_before = data_file_end(r->p.from);
	if (rc == OK) {
		rc = os_unlink(r->names.old, e);
		rc = rc == ERR_NOENT ? OK : rc;
	}
	if (rc == OK && fs->base.blobs) {
		rc = blob_removals_open(fs->base.blobs, &r->blobs, e);
		r->p.blob_dropped = blob_dropped;
	}
	return rc;
}

static int copy(struct run *r, struct err *e)
{
	int rc;

	set_phase(r, "copying", r->p.end);
	rc = disk_open(r->names.pack, O_RDWR | O_CREAT | O_TRUNC, &r->p.to, e);
	if (rc == OK)
		rc = pack_copy(&r->p, e);
	if (rc != OK)
		return rc;
	if (r->p.pack_pos == r->p.new_pack_pos)
		return OK; /* nothing is gained */
	return finish(r, e);
}

static int run_pack(struct run *r, struct err *e)
{
	int rc = begin(r, e);

	if (rc != OK)
		return rc;
	set_phase(r, "finding", r->p.end);
	rc = pack_find(&r->p, e);
	r->req->oid = r->p.missing_oid;
	if (rc == OK && r->p.redundant)
		fs_log(r->fs, LOG_INFO,
			"The database has already been packed to a later time or no changes have "
			"been made since the last pack");
	if (rc == OK && !r->p.redundant)
		rc = copy(r, e);
	return rc;
}

static void clean_up(struct run *r)
{
	if (r->p.to)
		r->p.to->ops->close(r->p.to);
	if (!r->is_changed && r->names.pack) {
		(void)!os_unlink(r->names.pack, NULL);
		(void)!os_unlink(r->names.pack_index, NULL);
	}
	blob_removals_drop(r->blobs);
	data_file_unref(r->p.from);
	pack_fini(&r->p);
	pack_paths_free(&r->names);
}

static void log_end(struct run *r, double seconds)
{
	struct data_file *d;

	if (r->req->rc != OK) {
		fs_log(r->fs, LOG_ERROR, "packing %s failed after %.1f s, nothing has changed: %s",
			r->fs->path, seconds, r->req->err.text);
		return;
	}
	d = data_file_get(&r->fs->data);
	fs_log(r->fs, LOG_INFO,
		"packing %s ended after %.1f s: %llu bytes were %llu, %llu objects were %llu",
		r->fs->path, seconds, (ull)data_file_end(d), (ull)r->size_before,
		(ull)index_count(d->index), (ull)r->length_before);
	data_file_unref(d);
}

/* An undo that was committed meanwhile may need what was not kept: a pack that begins then keeps it. */
static void run_pack_again(struct run *r)
{
	struct pack_req *req = r->req;
	int tries = 0;

	for (;;) {
		req->err = (struct err)ERR_INIT;
		req->rc = run_pack(r, &req->err);
		clean_up(r);
		if (req->rc != ERR_STATE || ++tries == TRIES_MAX)
			break;
		fs_log(r->fs, LOG_INFO, "packing %s begins anew: %s", r->fs->path, req->err.text);
		*r = (struct run){ .fs = r->fs, .req = req, .start_us = r->start_us };
		r->p.stop_tid = tid_of_seconds(req->time_s);
	}
	if (req->rc == ERR_STATE)
		req->rc = req->err.code = ERR_CORRUPT;
}

static void *pack_thread(void *arg)
{
	struct run *r = arg;
	struct pack_req *req = r->req;
	struct packing *k = &r->fs->packing;
	uint64_t start_us = clock_mono_us(&clock_system);

	r->start_us = start_us;
	fs_log(r->fs, LOG_INFO, "packing %s began", r->fs->path);
	run_pack_again(r);
	log_end(r, (double)(clock_mono_us(&clock_system) - start_us) / 1e6);
	mem_free(r);
	atomic_store(&k->phase, NULL);
	atomic_store(&k->running, false);
	req->on_own_thread = true;
	req->done(req);
	return NULL;
}

static int start(struct filestorage *fs, struct run *r, struct err *e)
{
	struct packing *k = &fs->packing;
	int errnum = 0;
	int rc = OK;

	pthread_mutex_lock(&k->lock);
	if (atomic_load(&k->running)) {
		rc = err_set(e, ERR_BUSY, "Already packing");
	} else {
		if (k->has_thread) /* it has nothing left to do but to call done() */
			pthread_join(k->thread, NULL);
		atomic_store(&k->started_us, clock_wall_us(fs->options.clock));
		atomic_store(&k->running, true);
		errnum = pthread_create(&k->thread, NULL, pack_thread, r);
		k->has_thread = errnum == 0;
	}
	if (errnum) {
		atomic_store(&k->running, false);
		rc = err_sys(e, errnum, "cannot start a pack");
	}
	pthread_mutex_unlock(&k->lock);
	return rc;
}

static int check(struct filestorage *fs, const struct pack_req *req, struct err *e)
{
	if (!fs->writer)
		return err_set(e, ERR_READONLY, "the storage was opened read-only");
	if (!fs->path || !fs->has_thread)
		return err_set(e, ERR_UNSUPPORTED, "this storage cannot be packed");
	if (tid_of_seconds(req->time_s) == TID_NONE)
		return err_set(e, ERR_INVAL, "Invalid pack time");
	if (atomic_load(&fs->packing.stop))
		return err_set(e, ERR_CLOSED, "the storage is being closed");
	return OK;
}

static bool is_empty(struct filestorage *fs)
{
	bool empty = index_count(data_file_borrow(&fs->data)->index) == 0;

	data_file_return();
	return empty;
}

void fs_pack(struct storage *s, struct pack_req *req)
{
	struct filestorage *fs = fs_of(s);
	struct err e = ERR_INIT;
	struct run *r = NULL;
	int rc = check(fs, req, &e);

	if (rc == OK && !is_empty(fs)) {
		r = mem_zalloc(1, sizeof(*r));
		if (r) {
			r->fs = fs;
			r->req = req;
			r->p.stop_tid = tid_of_seconds(req->time_s);
			rc = start(fs, r, &e);
		} else {
			rc = err_set(&e, ERR_NOMEM, "no memory for a pack");
		}
		if (rc == OK)
			return; /* the request is the thread's */
	}
	mem_free(r);
	req->rc = rc;
	req->err = e;
	req->done(req);
}

void fs_pack_stop(struct storage *s)
{
	struct filestorage *fs = fs_of(s);

	pthread_mutex_lock(&fs->packing.lock);
	atomic_store(&fs->packing.stop, true);
	pthread_cond_broadcast(&fs->packing.changed);
	pthread_mutex_unlock(&fs->packing.lock);
	pthread_mutex_lock(&fs->pin_lock);
	pthread_cond_broadcast(&fs->unpinned);
	pthread_mutex_unlock(&fs->pin_lock);
}

void fs_pack_join(struct filestorage *fs)
{
	fs_pack_stop(&fs->base);
	if (fs->packing.has_thread)
		pthread_join(fs->packing.thread, NULL);
	fs->packing.has_thread = false;
}

static bool is_same_file(const char *a, const char *b)
{
	struct stat sa, sb;

	return stat(a, &sa) == 0 && stat(b, &sb) == 0 && sa.st_dev == sb.st_dev &&
	       sa.st_ino == sb.st_ino;
}

void fs_pack_clean(struct filestorage *fs)
{
	struct pack_paths n = { 0 };
	struct err e = ERR_INIT;

	if (pack_paths_init(&n, fs->path, &e) == OK) {
		if (os_unlink(n.pack, NULL) == OK)
			fs_log(fs, LOG_WARNING,
				"removed '%s', which a pack left behind that did not end", n.pack);
		(void)!os_unlink(n.pack_index, NULL);
		(void)!os_unlink(n.index_tmp, NULL);
		if (is_same_file(n.old, fs->path)) /* killed before the packed file got its name */
			(void)!os_unlink(n.old, NULL);
	}
	pack_paths_free(&n);
}
