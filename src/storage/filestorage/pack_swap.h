/* The end of a pack: the packed file takes the place of the data file. */
#ifndef FILESTORAGE_PACK_SWAP_H
#define FILESTORAGE_PACK_SWAP_H

#include "base/compiler.h"
#include "base/err.h"
#include "storage/filestorage/fs.h"
#include "storage/filestorage/pack.h"

struct blob_removals;

/** Names of the files; all are as long as they may be. */
struct pack_paths {
	char *pack;       /* PATH.pack */
	char *old;        /* PATH.old */
	char *index;      /* PATH.index */
	char *pack_index; /* PATH.pack.index: of the packed file, until it is in place */
	char *index_tmp;  /* PATH.pack.index.index_tmp: while that is written */
};

MUST_CHECK int pack_paths_init(struct pack_paths *n, const char *path, struct err *e);
void pack_paths_free(struct pack_paths *n);

/**
 * Copy what has been committed meanwhile, and put the new file in place: from here on commits go there, and
 * loads that begin. On success p->to and p->new_index are the storage's; on failure nothing has changed, but that
 * there may be no saved index any more.
 * Threads: the log writer's, between two batches; nothing is pinned, nor will be.
 */
MUST_CHECK int pack_swap(struct filestorage *fs, struct pack *p, const struct pack_paths *n,
	struct blob_removals *blobs, struct err *e);

#endif
