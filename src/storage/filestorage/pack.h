/* A pack: what is not current at pack time, and what cannot be reached then, goes.
 *
 *   pack_find()  which revisions are kept: the index as of pack time, and the objects reachable from the
 *                root then, and from what later transactions undid
 *   pack_copy()  those into PATH.pack; pack_tail() the transactions behind pack time, as often as more come
 *   fs_pack.c    the thread, and the end: the new file in place of the old one, between two batches of the
 *                log writer
 *
 * The packed file is the one ZODB's pack would write, byte for byte, but where that one fails or loses
 * objects (pack_find.c says where).
 *
 * I1  Nothing of the storage is changed before the new file is whole and synced.
 * I2  What is read lies before the end of the durable transactions, and does not change meanwhile.
 *
 * Threads: the pack's; at the end the log writer's. */
#ifndef FILESTORAGE_PACK_H
#define FILESTORAGE_PACK_H

#include <stdbool.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/compiler.h"
#include "base/err.h"
#include "codec/references.h"
#include "storage/filestorage/data_file.h"
#include "storage/filestorage/format.h"
#include "storage/filestorage/offset_map.h"
#include "storage/filestorage/oid_set.h"
#include "storage/filestorage/scan.h"

/** In pack.index: the newest revision before pack time says that the object is not there any more. */
#define PACK_GONE (UINT64_C(1) << 63)

struct pack {
	/* in */
	struct data_file *from; /* borrowed */
	uint64_t end;           /* of it, when the pack began */
	uint64_t stop_tid;      /* pack time: the last transaction that is packed */
	bool gc;
	/** So many bytes were read or written; not 0: stop with that. May wait. */
	int (*tick)(struct pack *p, uint64_t bytes, struct err *e);
	/** A record of an object's blob is not kept; may be NULL. */
	int (*blob_dropped)(struct pack *p, uint64_t oid, uint64_t tid, struct err *e);

	/* of pack_find() */
	struct index *index;    /* of all before pack_pos */
	uint64_t n_objects;     /* in it, without those that are gone */
	uint64_t pack_pos;      /* the first transaction that is not packed */
	bool redundant;         /* it has been packed to that time, or later, before */
	struct oid_set reached; /* with gc: their revisions in index are kept */
	struct oid_set undone;  /* only revisions in kept are */
	struct offset_map
		kept; /* older revisions that later transactions point back to -> their new offset */
	struct references *references;
	uint64_t missing_oid; /* ERR_NOKEY: referred to, and not there */

	/* of pack_copy() and pack_tail() */
	struct disk_file *to;
	struct index *new_index;
	uint64_t in_pos;          /* so far it is copied */
	uint64_t new_pack_pos;    /* pack_pos in the new file */
	uint64_t written;         /* bytes of the new file that have been written */
	struct buf out;           /* and those behind */
	struct offset_map copies; /* of an object twice in a transaction: the second -> the first */
	uint64_t *oids;           /* of the transaction at hand */
	uint64_t *offs;
	size_t n_recs;
	size_t recs_room;
	struct buf data; /* of a record read out of order */
};

/** Frees what it made; from and to stay. */
void pack_fini(struct pack *p);

/**
 * Returns 0; ERR_NOKEY (missing_oid); ERR_CORRUPT; ERR_FORMAT: a record that cannot be read; what tick() said; ERR_IO,
 * ERR_NOMEM.
 */
MUST_CHECK int pack_find(struct pack *p, struct err *e);

/** Is the revision of @h at @off, before pack_pos, kept? */
bool pack_keeps(const struct pack *p, const struct fs_rec_header *h, uint64_t off);

/** Everything up to pack time into p->to, which is empty. */
MUST_CHECK int pack_copy(struct pack *p, struct err *e);
/** The transactions from in_pos to @end. */
MUST_CHECK int pack_tail(struct pack *p, uint64_t end, struct err *e);
/** Write what is still in memory. */
MUST_CHECK int pack_flush(struct pack *p, struct err *e);
/** Length of the new file. */
static inline uint64_t pack_out_pos(const struct pack *p)
{
	return p->written + p->out.len;
}

/* --- between the two --- */

/** A transaction header that makes sense. @end of what may be read. */
MUST_CHECK int pack_read_txn(
	struct pack *p, struct scan *s, uint64_t off, struct fs_txn_header *ret, struct err *e);
/** A record header that makes sense, and its back-pointer (0 with data). */
MUST_CHECK int pack_read_rec(struct pack *p, struct scan *s, uint64_t off, uint64_t txn_off,
	uint64_t txn_end, struct fs_rec_header *ret, uint64_t *ret_back, struct err *e);
/** The second length of the transaction at @off. */
MUST_CHECK int pack_check_end(
	struct scan *s, uint64_t off, const struct fs_txn_header *h, struct err *e);
/** The data that the back-pointer @back leads to, into p->data; *ret_none: it is not there any more. */
MUST_CHECK int pack_read_back(struct pack *p, uint64_t back, bool *ret_none, struct err *e);

#endif
