/* What waits to be sent on a connection: bytes of its own, and frames shared with other
 * connections (an invalidation is encoded once for all of them). */
#ifndef SERVER_OUTQ_H
#define SERVER_OUTQ_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <sys/uio.h>

#include "base/buf.h"
#include "base/compiler.h"

/** An encoded message that several connections send. */
struct shared_frame {
	atomic_uint refs;
	struct buf bytes;
};

/** One with a single reference and no bytes yet, or NULL. */
struct shared_frame *shared_frame_new(void);
struct shared_frame *shared_frame_ref(struct shared_frame *f);
/** NULL is fine. Threads: any. */
void shared_frame_unref(struct shared_frame *f);

struct outq_chunk;

struct outq {
	struct outq_chunk *head;
	struct outq_chunk *tail;
	struct outq_chunk *spare; /* kept for the next message: a quiet connection has none */
	size_t head_sent;         /* bytes of head that have left */
	size_t bytes;             /* waiting in all, as of the last outq_appended() */
	size_t shared_bytes;      /* of them, in shared frames */
	bool failed;              /* no memory: the connection must be closed */
};

void outq_free(struct outq *q);

/** The buffer to write the next messages into. NULL sets q->failed. */
struct buf *outq_buf(struct outq *q);
/** Count what was written into outq_buf() since @len_before, its length then. */
void outq_appended(struct outq *q, struct buf *b, size_t len_before);
/** Append a shared frame (takes a reference of its own). */
void outq_share(struct outq *q, struct shared_frame *f);

/** Fill @iov with what to send next; returns how many were used. */
int outq_iov(const struct outq *q, struct iovec *iov, int n);
/** @n bytes have left. */
void outq_sent(struct outq *q, size_t n);

static inline bool outq_empty(const struct outq *q)
{
	return q->bytes == 0;
}

#endif
