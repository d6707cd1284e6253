/* A client's folder of blobs, as ZEO's ClientStorage has it; both can use one folder at the same time.
 *
 * Not shared: a cache of what the server has, by the layout 'zeocache':
 *   FOLDER/.layout                          "zeocache"
 *   FOLDER/tmp/                             for who wants a place on the same disk
 *   FOLDER/REST/QUOTIENT.TID.blob           of the oid divided by 997; the tid in hexadecimal
 *   FOLDER/REST/.lock                       zc.lockfile's, held while a file there comes or goes
 *   FOLDER/check_size.lock, .attempt        one cleaner at a time; another one has wanted to clean
 * Shared: the folder of the server's storage (bushy or lawn, as its .layout says). Nothing is downloaded there.
 *
 * B1  A file under a revision's name is whole, and is not written to any more.
 * B2  A cleaner does not remove a file between its download, or blobs_load(), and a moment in which the caller can open it
 *     (T29); what blobs_open_file() has opened can be read although it was removed.
 *
 * Threads: any. All of it may block: not in callbacks of the client. */
#ifndef CLIENT_BLOBS_H
#define CLIENT_BLOBS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/compiler.h"
#include "base/err.h"
#include "base/slice.h"
#include "client/client.h"
#include "client/commit.h"

struct blobs;
struct clock;

struct blobs_options {
	const char *path;
	bool shared;  /* it is the server's own folder */
	bool limited; /* keep it near cache_bytes (not where it is shared) */
	uint64_t cache_bytes;
	unsigned
		check_percent; /* of cache_bytes come between two checks, and are free after one; 0 to 99, as ZEO's
	                           blob_cache_size_check; its default is 10 */
	const struct clock *clock; /* NULL: the system's */
};

/**
 * Open, or make, the folder. @c is told of what the server sends (client_set_push()): before anything is called.
 * Returns 0; ERR_FORMAT: a folder of another layout; ERR_INVAL, ERR_IO, ERR_NOMEM.
 */
MUST_CHECK int blobs_open(
	struct client *c, const struct blobs_options *o, struct blobs **ret, struct err *e);
/** After client_shut(), from which on the server's messages go nowhere. Waits for a cleaner under way. In a child process only memory is
 * given back. NULL is fine. */
void blobs_close(struct blobs *b);

/** A folder on the same disk for files to come: FOLDER/tmp. */
const char *blobs_temporary_directory(const struct blobs *b);
/** The file of a revision, whether there is one or not. Returns 0 or ERR_LIMIT (room: PATH_MAX). */
MUST_CHECK int blobs_path(const struct blobs *b, uint64_t oid, uint64_t serial, char *out,
	size_t room, struct err *e);

/**
 * The file of a revision, downloaded where it is not there.
 * @out  room for PATH_MAX
 * Returns 0; ERR_NOKEY: there is no such blob (POSKeyError); ERR_REMOTE, ERR_CLOSED as client_call(); ERR_BUSY: another process
 * has locked its folder for ten minutes; ERR_IO, ERR_NOSPC.
 */
MUST_CHECK int blobs_load(
	struct blobs *b, uint64_t oid, uint64_t serial, char *out, size_t room, struct err *e);
/** The same, opened for reading, also where a cleaner removes it meanwhile. @out may be NULL. */
MUST_CHECK int blobs_open_file(struct blobs *b, uint64_t oid, uint64_t serial, int *ret_fd,
	char *out, size_t room, struct err *e);

/** The blobs of a transaction: zero at first, one for each; the caller's. */
struct blobs_txn {
	struct blobs_stored *first;
};

/**
 * Store an object with a blob. The file at @path is the folder's from now on, also after a failure behind the first step:
 * renamed, or copied and removed. What is sent is sent before return, with others' calls in between; not in a
 * shared folder.
 * Returns 0; ERR_CLOSED: the transaction is lost; ERR_IO, ERR_NOSPC, ERR_NOENT, ERR_NOMEM.
 */
MUST_CHECK int blobs_store(struct blobs *b, struct blobs_txn *t, struct client_txn *txn,
	uint64_t oid, uint64_t serial, struct slice data, const char *path, struct err *e);
/** After client_txn_finish() has given @tid: the files become the cache's. What fails is downloaded again when it is asked
 * for. */
void blobs_finished(struct blobs *b, struct blobs_txn *t, uint64_t tid);
/** After client_txn_abort(), and after a client_txn_finish() that failed: the files are removed (T13). In a child
 * process only memory is given back. */
void blobs_aborted(struct blobs *b, struct blobs_txn *t);

/**
 * Remove the files of a 'zeocache' folder that were not used for the longest time, until @target bytes are left: what
 * the cleaner does, for a command; and what processes that were killed have left. Files whose folder is locked stay. Waits a second for another cleaner, and leaves it to
 * that one then.
 * Returns 0; ERR_FORMAT: another layout; ERR_IO, ERR_NOMEM.
 */
MUST_CHECK int blobs_check_size(const char *path, uint64_t target, struct err *e);

#endif
