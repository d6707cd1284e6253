/* A blob that a client sends in chunks (storeBlobStart, storeBlobChunk, storeBlobEnd). The chunks are
 * written by the pool, in order, to a temporary file in the folder of blobs.
 *
 *   IDLE -> OPEN (storeBlobStart) -> IDLE, a blob of the session's transaction (storeBlobEnd)
 *                                 -> IDLE, removed (tpc_abort, disconnect)
 *
 * While more waits to be written than UPLOAD_WAITING_MAX, and from storeBlobEnd until all is written, nothing
 * is read from the connection (R9). What goes wrong is told at vote: no reply is wanted to the chunks.
 *
 * Threads: the hub's. */
#ifndef SERVER_UPLOAD_H
#define SERVER_UPLOAD_H

#include <stdbool.h>
#include <stdint.h>

#include "base/compiler.h"
#include "base/err.h"
#include "base/slice.h"
#include "storage/txn.h"

struct exec;
struct session;

/* R9, docs/operations.md#limits */
enum {
	UPLOAD_WRITE_BYTES = 256 << 10, /* written in one piece, about */
	UPLOAD_WAITING_MAX = 1 << 20,   /* waiting to be written */
	UPLOAD_BLOBS_MAX = 1 << 16,     /* in one transaction */
};
#define UPLOAD_BYTES_MAX (UINT64_C(256) << 30) /* in one transaction */

/** A transaction begins: what went wrong in the one before counts no more. */
void upload_begin_txn(struct session *s);

/** The storage has a folder of blobs. Returns 0; ERR_STATE: another one is open; ERR_NOMEM. */
MUST_CHECK int upload_start(struct session *s, struct err *e);
/** Returns 0; ERR_STATE: none is open. @data is copied. */
MUST_CHECK int upload_chunk(struct session *s, struct slice data, struct err *e);
/** It is complete: the blob of @rec in the session's transaction. Returns 0; ERR_STATE: none is open. */
MUST_CHECK int upload_end(
	struct session *s, const struct txn_rec *rec, struct slice data, struct err *e);
/** One that a client of the same machine has put at @path; errors are kept for the vote. */
void upload_shared(
	struct session *s, const struct txn_rec *rec, struct slice data, const char *path);

/** Did something of the session's transaction go wrong? Then the code, with the text in @e. */
int upload_error(const struct session *s, struct err *e);

/** tpc_abort: one that is open is removed. */
void upload_abort(struct session *s);
/** The connection is gone. */
void upload_closed(struct session *s);

/** As txn_free(); files are removed, and much memory is freed, by the pool. NULL is fine. */
void upload_free_txn(struct exec *x, struct txn *t);

#endif
