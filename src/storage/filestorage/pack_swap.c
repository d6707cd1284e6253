#include "storage/filestorage/pack_swap.h"

#include <limits.h>
#include <stdio.h>

#include "base/log.h"
#include "base/mem.h"
#include "base/os.h"
#include "storage/blob/blob_removals.h"

enum { RESERVE_AHEAD = 4 << 20 }; /* bytes: what is voted while the files change places */

static char *name_of(const char *path, const char *suffix)
{
	char name[PATH_MAX];

	if (snprintf(name, sizeof(name), "%s%s", path, suffix) >= (int)sizeof(name))
		return NULL;
	return mem_strdup(name);
}

int pack_paths_init(struct pack_paths *n, const char *path, struct err *e)
{
	n->pack = name_of(path, ".pack");
	n->old = name_of(path, ".old");
	n->index = name_of(path, ".index");
	n->pack_index = name_of(path, ".pack.index");
	n->index_tmp = name_of(path, ".pack.index.index_tmp");
	if (n->pack && n->old && n->index && n->pack_index && n->index_tmp)
		return OK;
	pack_paths_free(n);
	return err_set(e, ERR_NOMEM, "no memory for the names of a pack's files");
}

void pack_paths_free(struct pack_paths *n)
{
	mem_free(n->pack);
	mem_free(n->old);
	mem_free(n->index);
	mem_free(n->pack_index);
	mem_free(n->index_tmp);
	*n = (struct pack_paths){ 0 };
}

/* What the voted transactions have been promised has to be there in the new file, too (R6). */
static int reserve(struct filestorage *fs, struct pack *p, uint64_t *got, struct err *e)
{
	uint64_t end = pack_out_pos(p);
	uint64_t want;
	int rc;

	pthread_mutex_lock(&fs->space_lock);
	want = fs->reserved;
	pthread_mutex_unlock(&fs->space_lock);
	if (want <= *got)
		return OK;
	rc = p->to->ops->reserve(p->to, end, want + RESERVE_AHEAD, e);
	if (rc == ERR_NOSPC) {
		rc = p->to->ops->reserve(p->to, end, want, e);
		*got = want;
	} else {
		*got = want + RESERVE_AHEAD;
	}
	return rc;
}

static int remove_name(const char *path, struct err *e)
{
	int rc = os_unlink(path, e);

	return rc == ERR_NOENT ? OK : rc;
}

/* Up to here it can fail. */
static int prepare(struct filestorage *fs, struct pack *p, const struct pack_paths *n,
	struct blob_removals *blobs, uint64_t *ret_reserved, struct err *e)
{
	int rc;

	if (log_writer_broken(fs->writer))
		return err_set(
			e, ERR_READONLY, "the storage is read-only after a failure of its disk");
	rc = pack_tail(p, data_file_end(p->from), e);
	if (rc == OK)
		rc = reserve(fs, p, ret_reserved, e);
	if (rc == OK)
		rc = p->to->ops->fdatasync(p->to, e);
	if (rc == OK && blobs)
		rc = blob_removals_sync(blobs, e);
	if (rc == OK)
		rc = remove_name(n->index, e);
	if (rc == OK && fs->options.pack_keep_old) {
		rc = os_link(fs->path, n->old, e);
		if (rc == ERR_UNSUPPORTED)
			err_wrap(e, "this file system cannot keep '%s', pack-keep-old asks for it",
				n->old);
	}
	return rc;
}

static void take_over(struct filestorage *fs, struct data_file *d, uint64_t reserved)
{
	bool enough;

	log_writer_switch(fs->writer, d);
	pthread_mutex_lock(&fs->space_lock);
	enough = fs->reserved <= reserved;
	data_file_replace(&fs->data, d);
	fs->space_epoch++;
	fs->reserved_until = enough ? data_file_end(d) + reserved : 0;
	pthread_mutex_unlock(&fs->space_lock);
}

/* Votes came while the names changed, for more than what was reserved ahead. */
static void reserve_late(struct filestorage *fs, struct disk_file *f, uint64_t end)
{
	struct err e = ERR_INIT;
	uint64_t want;

	pthread_mutex_lock(&fs->space_lock);
	want = fs->reserved_until ? 0 : fs->reserved;
	pthread_mutex_unlock(&fs->space_lock);
	if (want && f->ops->reserve(f, end, want, &e) != OK)
		fs_log(fs, LOG_WARNING, "no space is reserved after a pack: %s", e.text);
}

int pack_swap(struct filestorage *fs, struct pack *p, const struct pack_paths *n,
	struct blob_removals *blobs, struct err *e)
{
	struct publication *pub = publication_new(0);
	struct data_file *d = data_file_new(p->to, p->new_index);
	uint64_t reserved = 0;
	struct err late = ERR_INIT;
	int rc = OK;

	if (!pub || !d)
		rc = err_set(e, ERR_NOMEM, "no memory for the packed file");
	if (rc == OK)
		rc = prepare(fs, p, n, blobs, &reserved, e);
	if (rc == OK)
		rc = os_rename(n->pack, fs->path, e);
	if (rc != OK) {
		if (d)
			d->index = NULL;
		data_file_forget(d);
		publication_free(pub);
		if (fs->options.pack_keep_old)
			(void)!os_unlink(n->old, NULL); /* a second name of what stays */
		return rc;
	}
	/* From here on there is no way back. If the new name may not last, neither may what is committed to
	 * the new file: after a power cut the old one could be there again (R6). */
	if (os_sync_dir_of(fs->path, &late) != OK) {
		err_wrap(&late, "the packed file is in place, but may not be after a power cut");
		log_writer_give_up(fs->writer, &late);
	}
	atomic_store(&d->end, pack_out_pos(p));
	*pub = (struct publication){
		.tid = pubchain_last_tid(&fs->pubs),
		.size_bytes = data_file_end(d),
		.length = index_count(p->new_index),
		.kind = PUBLICATION_INFO,
	};
	p->to = NULL;
	p->new_index = NULL;
	take_over(fs, d, reserved);
	reserve_late(fs, d->disk, pub->size_bytes);
	pubchain_publish(&fs->pubs, pub);
	return OK;
}
