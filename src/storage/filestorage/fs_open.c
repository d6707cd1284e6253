/* Opening: index, recovery, the publications of the last transactions. */
#include <limits.h>
#include <stdio.h>

#include "base/log.h"
#include "base/mem.h"
#include "storage/filestorage/fs.h"
#include "storage/filestorage/index_file.h"
#include "storage/filestorage/recovery.h"
#include "storage/filestorage/scan.h"

typedef unsigned long long ull;

static bool index_path(const struct filestorage *fs, char *out, size_t room)
{
	return snprintf(out, room, "%s.index", fs->path) < (int)room;
}

/* The saved index, if there is one and it is of this file. */
static int restore_index(
	struct filestorage *fs, uint64_t *ret_pos, uint64_t *ret_tid, struct err *e)
{
	struct index *ix = NULL;
	char path[PATH_MAX];
	int rc;

	if (!index_path(fs, path, sizeof(path)))
		return err_set(e, ERR_INVAL, "the name '%s' is too long", fs->path);
	rc = index_file_load(path, &ix, ret_pos, e);
	if (rc == OK)
		rc = recovery_check_index(atomic_load(&fs->data)->disk, ix, *ret_pos, ret_tid, e);
	if (rc == OK) {
		atomic_load(&fs->data)->index = ix;
		ix = NULL;
	}
	index_free(ix);
	return rc;
}

void fs_save_index(struct filestorage *fs)
{
	struct data_file *d = atomic_load(&fs->data);
	struct err e = ERR_INIT;
	char path[PATH_MAX];

	if (!index_path(fs, path, sizeof(path)))
		return;
	if (index_file_save(path, d->index, data_file_end(d), &e) != OK)
		fs_log(fs, LOG_WARNING, "%s",
			e.text); /* T24: slow to start the next time, no more */
}

static int cut_tail(struct filestorage *fs, const struct recovery *r, struct err *e)
{
	struct disk_file *f = atomic_load(&fs->data)->disk;
	char name[PATH_MAX] = "";
	int rc;

	fs_log(fs, LOG_WARNING, "%s: %s; %llu bytes from there on are no whole transactions",
		fs->path ? fs->path : "data file", r->why, (ull)(r->size - r->end));
	if (fs->options.read_only)
		return OK;
	if (fs->path) {
		rc = recovery_cut_tail(f, fs->path, r, name, sizeof(name), e);
		if (rc == OK)
			fs_log(fs, LOG_WARNING, "they were moved to %s", name);
		return rc;
	}
	rc = f->ops->ftruncate(f, r->end, e);
	return rc == OK ? f->ops->fdatasync(f, e) : rc;
}

static int write_magic(struct filestorage *fs, struct err *e)
{
	struct disk_file *f = atomic_load(&fs->data)->disk;
	int rc;

	if (fs->options.read_only)
		return OK;
	rc = f->ops->pwrite(f, "FS30", FS_MAGIC_LEN, 0, e);
	return rc == OK ? f->ops->fdatasync(f, e) : rc;
}

/* --- publications of the last transactions (T55) --- */

static int seed_one(struct filestorage *fs, const struct fs_changed *l, uint64_t tid, uint64_t end,
	struct err *e)
{
	struct publication *p = publication_new((uint32_t)l->n);

	if (!p)
		return err_set(e, ERR_NOMEM, "no memory for the last invalidations");
	if (l->n)
		memcpy(p->oids, l->oids, l->n * sizeof(p->oids[0]));
	p->tid = tid;
	p->size_bytes = end;
	p->length = index_count(atomic_load(&fs->data)->index);
	pubchain_seed(&fs->pubs, p);
	return OK;
}

static int seed(struct filestorage *fs, uint64_t end, struct err *e)
{
	struct scan s = { 0 };
	struct fs_changed l = { 0 };
	uint64_t pos = end;
	uint64_t newer = TID_MAX;
	int rc = scan_open_back(&s, atomic_load(&fs->data)->disk, end, e);
	for (uint32_t n = 0; rc == OK && n < fs->options.recent_txns && pos > FS_FIRST_TXN; n++) {
		uint64_t txn_end = pos;
		struct fs_txn_header h = { 0 };

		rc = fs_scan_before(&s, &pos, &h, e);
		if (rc == OK && h.tid >= newer)
			break; /* ZODB lets tids go back with a warning; a queue cannot reach past that */
		newer = h.tid;
		l.n = 0;
		if (rc == OK)
			rc = fs_list_oids(&s, pos, &h, &l, e);
		fs_changed_unique(&l);
		if (rc == OK)
			rc = seed_one(fs, &l, h.tid, txn_end, e);
	}
	mem_free(l.oids);
	scan_close(&s);
	return rc;
}

/* --- */

static void warn_of_future(struct filestorage *fs, uint64_t last_tid)
{
	double ahead = tid_to_time(last_tid) - (double)clock_wall_us(fs->options.clock) / 1e6;

	if (last_tid != TID_NONE && ahead > 0)
		fs_log(fs, ahead > 30 * 60 ? LOG_CRITICAL : LOG_WARNING,
			"%s Database records %.0f seconds in the future", fs->base.name, ahead);
}

static int scan_file(struct filestorage *fs, struct recovery *ret, bool *ret_used, struct err *e)
{
	struct data_file *d = atomic_load(&fs->data);
	uint64_t pos = UINT64_MAX;
	uint64_t tid = TID_NONE;
	struct err why = ERR_INIT;
	int rc = fs->path ? restore_index(fs, &pos, &tid, &why) : ERR_NOENT;

	*ret_used = rc == OK;
	if (rc != OK) {
		if (rc != ERR_NOENT && pos >= RECOVERY_INDEX_POS_MIN)
			fs_log(fs, LOG_WARNING, "Ignoring index for %s: %s", fs->path, why.text);
		pos = FS_FIRST_TXN;
		tid = TID_NONE;
		d->index = index_new();
		if (!d->index)
			return err_set(e, ERR_NOMEM, "no memory for the index");
	}
	return recovery_scan(d->disk, d->index, pos, tid, ret, e);
}

static int start_writer(struct filestorage *fs, uint64_t last_tid, struct err *e)
{
	struct log_writer_env env = {
		.data = atomic_load(&fs->data),
		.pubs = &fs->pubs,
		.clock = fs->options.clock,
		.log = fs->options.log,
		.log_ctx = fs->options.log_ctx,
		.settle = fs_settle,
		.settle_ctx = fs,
	};

	if (fs->options.read_only)
		return OK;
	fs->writer = log_writer_new(&env, last_tid);
	return fs->writer ? OK : err_set(e, ERR_NOMEM, "no memory for the log writer");
}

/* After the largest oid but for those that are too large to be followed (R10). */
static int find_next_oid(struct filestorage *fs, uint64_t max_oid, struct err *e)
{
	struct index_iter *it;
	uint64_t last = max_oid;
	uint64_t oid, off;

	if (max_oid > FS_NEW_OID_MAX) {
		it = index_iter_open(atomic_load(&fs->data)->index);
		if (!it)
			return err_set(e, ERR_NOMEM, "no memory to walk the index");
		for (last = 0; index_iter_next(it, &oid, &off) && oid <= FS_NEW_OID_MAX;)
			last = oid;
		index_iter_close(it);
	}
	atomic_store(&fs->next_oid, last + 1);
	return OK;
}

int fs_recover(struct filestorage *fs, struct err *e)
{
	struct data_file *d = atomic_load(&fs->data);
	struct recovery r = { 0 };
	bool used_index = false;
	int rc = scan_file(fs, &r, &used_index, e);

	if (rc == OK && r.empty)
		rc = write_magic(fs, e);
	else if (rc == OK && r.size > r.end)
		rc = cut_tail(fs, &r, e);
	else if (rc == OK && !fs->options.read_only)
		rc = d->disk->ops->fdatasync(d->disk, e); /* a killed server's last status byte */
	if (rc != OK)
		return rc;
	atomic_store(&d->end, r.empty ? FS_FIRST_TXN : r.end);
	rc = find_next_oid(fs, r.max_oid, e);
	if (rc != OK)
		return rc;
	warn_of_future(fs, r.last_tid);
	rc = pubchain_init(&fs->pubs, r.last_tid, fs->options.recent_txns);
	if (rc != OK)
		return err_set(e, rc, "no memory for the invalidations");
	rc = seed(fs, data_file_end(d), e);
	if (rc == OK)
		rc = start_writer(fs, r.last_tid, e);
	if (rc == OK && !used_index && fs->path && !fs->options.read_only)
		fs_save_index(fs);
	return rc;
}
