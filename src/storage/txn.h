/* A transaction on its way: what tpc_begin, storea, checkCurrentSerialInTransaction ...
 * said, buffered until the vote. Data lies in memory up to a limit, then in an unlinked
 * temporary file.
 *
 *   BUFFERING -> VOTING -> VOTED -> FINISHING -> (done() called, freed by its owner)
 *       ^           |        |
 *       +-----------+--------+---> aborted (freed by its owner)
 *     (a vote that answers with conflicts goes back to BUFFERING: stores that follow replace)
 *
 * Threads: the owner's loop until storage_finish(), then the storage's writer thread until done(). */
#ifndef STORAGE_TXN_H
#define STORAGE_TXN_H

#include <stdbool.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/compiler.h"
#include "base/err.h"
#include "base/slice.h"

enum txn_op {
	TXN_STORE, /* serial: of the revision the change was made from; 0 for a new object */
	TXN_CHECK, /* serial: must still be current; nothing is written */
	TXN_RESTORE, /* serial: tid of this revision; prev_txn: hint where the same data is; data may be None */
	TXN_DELETE, /* serial: must be current; writes a record without data */
	TXN_UNDO, /* serial: tid of the transaction to undo; oid is not used. Vote makes TXN_BACKs and
			TXN_STOREs of it */
	TXN_BACK, /* made by a storage's vote: its data is that of an older record, see back_off */
};

enum txn_state {
	TXN_BUFFERING,
	TXN_VOTING,
	TXN_VOTED,
	TXN_FINISHING,
};

struct txn_rec {
	uint64_t oid;
	uint64_t serial;
	uint64_t prev_txn;
	uint64_t data_off; /* into the transaction's data */
	uint64_t data_len;
	uint64_t
		back_off; /* of the storage, by vote: the data record that has its data, 0: none (the
			      object is not there any more). Valid while txn.pinned */
	uint32_t blob;    /* 1 + index in txn->blobs, 0: none */
	uint32_t made_of; /* of vote's own: 1 + index of the record it was made of, 0: asked for */
	uint8_t op;       /* enum txn_op */
	bool has_data;    /* false: None */
	bool dropped;     /* replaced by a later record of its oid after a conflict */
};

/** A blob that becomes that of its record's revision. */
struct txn_blob {
	char *path; /* of the complete temporary file, unlinked by txn_free(); NULL: moved, or given away */
	uint64_t oid;
};

struct val;

struct txn {
	enum txn_state state;
	/* Metadata as FileStorage writes it: user and description UTF-8, ext a pickle or empty. */
	struct buf user;
	struct buf desc;
	struct buf ext;
	uint64_t given_tid; /* tpc_begin(tid=...), or TID_NONE */
	uint8_t status;     /* ' ' or what tpc_begin(status=...) said */

	struct txn_rec *recs;
	size_t n_recs;
	size_t recs_room;

	/* data: bytes [0, data_spilled) in the file, the rest in memory */
	struct buf data;
	uint64_t data_spilled;
	int spill_fd; /* -1: none */

	struct txn_blob *blobs;
	uint32_t n_blobs;

	uint64_t
		after_tid; /* its tid is to be newer than that, TID_NONE: than the storage's last */

	/* filled in by the storage */
	size_t n_asked;          /* records before vote added its own; 0: none were added */
	bool pinned;             /* has offsets into the data file: a pack waits for it */
	uint64_t tid;            /* assigned when it is written */
	uint64_t reserved_bytes; /* by vote, of the disk */

	/**
	 * When not NULL: called once when the tid is known, before it is durable, on the storage's thread: a
	 * failure fails the transaction. Moves blobs to their places. settled() follows with how it ended,
	 * before done(). Set by whoever votes (a storage, or one around it).
	 */
	int (*prepare)(struct txn *t, struct err *e);
	void (*settled)(struct txn *t, int rc);
	void *prepare_ctx;

	/* What the storage keeps with it until it is freed, and what frees that. */
	void *kept;
	void (*free_kept)(void *kept);
	/* After a failure of vote or finish: what another server has raised, as load_req.raised; part of what is kept. */
	const struct val *raised;

	/* Called once by the storage after storage_finish(): @rc 0 when durable and published, else
	 * nothing of it is visible and nothing will be; @e has the reason. On the storage's thread:
	 * must not block. The transaction is the owner's again. */
	void (*done)(struct txn *t, int rc, const struct err *e);
	void *owner;
	uint64_t origin;  /* the session that gets the reply; copied into the publication */
	struct txn *next; /* for whoever has it in a list: the storage's queue */
	/* Voted, in the list of those that the log writer expects: its own. */
	bool expected;
	uint64_t voted_us;
	struct txn *newer, *older;
};

/** How much of one transaction's data is kept in memory before it goes to a file, in bytes. */
enum { TXN_MEMORY_MAX = 4 << 20 };
/** What one transaction may have: records, and bytes of data. */
enum { TXN_RECS_MAX = 4 << 20 };
#define TXN_BYTES_MAX (UINT64_C(16) << 30)

/** A new one in state BUFFERING, or NULL (no memory). */
struct txn *txn_new(void);
/** Frees everything; NULL is fine. */
void txn_free(struct txn *t);

/** Does it keep more in memory than TXN_MEMORY_MAX? While it is BUFFERING nothing but txn_spill() changes that: adding
 * never waits for a disk. What vote adds goes to the file by itself, as it is on a thread that may block. */
static inline bool txn_wants_spill(const struct txn *t)
{
	return t->data.len > TXN_MEMORY_MAX;
}
/** Move the data in memory to the temporary file. Blocks; nobody else may look at the transaction meanwhile. Returns 0,
 * ERR_IO or ERR_NOSPC: then the transaction can only be aborted. */
MUST_CHECK int txn_spill(struct txn *t, struct err *e);

/**
 * Append a record.
 * @data   copied; data.data NULL and !has_data for None, CHECK, DELETE, UNDO
 * Returns 0, ERR_LIMIT or ERR_NOMEM; after a failure the transaction can only be aborted.
 */
MUST_CHECK int txn_add(struct txn *t, const struct txn_rec *rec, struct slice data, struct err *e);

/**
 * The same for a TXN_STORE with a blob.
 * @path  of a complete temporary file in the blob folder; becomes the transaction's, also on failure
 */
MUST_CHECK int txn_add_blob(struct txn *t, const struct txn_rec *rec, struct slice data,
	const char *path, struct err *e);

/** Vote has other data for the record (a resolved conflict, an undo). @data is copied. Any state but FINISHING. Errors
 * also of the temporary file. */
MUST_CHECK int txn_set_data(struct txn *t, size_t rec, struct slice data, struct err *e);

/** A record of vote's own, behind those that were asked for (n_asked is set at the first); rec->made_of
 * must be set. State VOTING. */
MUST_CHECK int txn_add_voted(
	struct txn *t, const struct txn_rec *rec, struct slice data, struct err *e);
/** Put vote's own records where they are written: each behind the one it was made of. To be called once, when the
 * vote has succeeded; indices of records do not hold any more. */
MUST_CHECK int txn_place_voted(struct txn *t, struct err *e);
/** Drop vote's own records, placed or not: the vote failed or is repeated. */
void txn_drop_voted(struct txn *t);

/** Is anything written for the record? (Not for a check, nor what was dropped.) */
static inline bool txn_rec_is_written(const struct txn_rec *rec)
{
	return !rec->dropped && rec->op != TXN_CHECK && rec->op != TXN_UNDO;
}

/**
 * The data of a record.
 * @scratch  used when the data lies in the file; the slice is borrowed from it or from @t
 * May block on the temporary file when txn_spilled(t).
 */
MUST_CHECK int txn_data(const struct txn *t, const struct txn_rec *rec, struct buf *scratch,
	struct slice *ret, struct err *e);

/** Bytes of a transaction's temporary file: what is read record after record is read in large pieces. */
struct txn_window {
	struct buf bytes; /* free it with buf_free() */
	uint64_t off;     /* of its first byte; one transaction's: empty it for the next one */
};

/** As txn_data(), for records that are read in their order. */
MUST_CHECK int txn_data_in_order(const struct txn *t, const struct txn_rec *rec,
	struct txn_window *w, struct slice *ret, struct err *e);

static inline bool txn_spilled(const struct txn *t)
{
	return t->data_spilled > 0;
}

/** Give the buffered data back; the metadata and the records' oids stay. */
void txn_drop_data(struct txn *t);

#endif
