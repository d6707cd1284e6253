/* sendBlob: a blob goes to a client as receiveBlobStart, receiveBlobChunk ..., receiveBlobStop, without
 * answers, and then the reply. The chunks are made as the client takes them; their bytes go from the file to
 * the socket (session_out_file()). What is not in the page cache is read ahead by the pool.
 *
 * Several on one connection take turns; each counts as a request under way.
 *
 * Threads: the hub's. */
#ifndef SERVER_BLOB_STREAM_H
#define SERVER_BLOB_STREAM_H

#include <stdint.h>

#include "server/reply.h"

enum {
	BLOB_STREAM_CHUNK = 59000, /* bytes, as ZEO's server sends them */
	BLOB_STREAM_CHUNKS = 4,    /* queued at a time */
};

/** Answer @r with the blob of a revision. */
void blob_stream_start(const struct request *r, uint64_t oid, uint64_t serial);

#endif
