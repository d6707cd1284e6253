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
	TXN_UNDO,   /* serial: tid of the transaction to undo; oid is not used */
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
	uint8_t op;    /* enum txn_op */
	bool has_data; /* false: None */
	bool dropped;  /* replaced by a later record of its oid after a conflict */
};

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

	/* filled in by the storage */
	uint64_t tid;            /* assigned when it is written */
	uint64_t reserved_bytes; /* by vote, of the disk */

	/* Called once by the storage after storage_finish(): @rc 0 when durable and published, else
	 * nothing of it is visible and nothing will be; @e has the reason. On the storage's thread:
	 * must not block. The transaction is the owner's again. */
	void (*done)(struct txn *t, int rc, const struct err *e);
	void *owner;
	uint64_t origin;  /* the session that gets the reply; copied into the publication */
	struct txn *next; /* for whoever has it in a list: the storage's queue */
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

/**
 * Append a record.
 * @data   copied; data.data NULL and !has_data for None, CHECK, DELETE, UNDO
 * Returns 0, ERR_LIMIT, ERR_NOMEM, or ERR_IO/ERR_NOSPC from the temporary file; after a failure the
 * transaction can only be aborted.
 */
MUST_CHECK int txn_add(struct txn *t, const struct txn_rec *rec, struct slice data, struct err *e);

/**
 * The data of a record.
 * @scratch  used when the data lies in the file; the slice is borrowed from it or from @t
 * May block on the temporary file when txn_spilled(t).
 */
MUST_CHECK int txn_data(const struct txn *t, const struct txn_rec *rec, struct buf *scratch,
	struct slice *ret, struct err *e);

static inline bool txn_spilled(const struct txn *t)
{
	return t->data_spilled > 0;
}

/** Give the buffered data back; the metadata and the records' oids stay. */
void txn_drop_data(struct txn *t);

#endif
