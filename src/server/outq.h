/* What waits to be sent on a connection: bytes of its own, frames shared with other
 * connections (an invalidation is encoded once for all of them), and pieces of files, which
 * are not read before they are sent. */
#ifndef SERVER_OUTQ_H
#define SERVER_OUTQ_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
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

/** An open file that messages under way are read from. */
struct shared_file {
	atomic_uint refs;
	int fd;
};

/** One with a single reference; takes @fd, also without memory: then it is closed and NULL returned. */
struct shared_file *shared_file_new(int fd);
struct shared_file *shared_file_ref(struct shared_file *f);
/** The last one closes the file. NULL is fine. Threads: any. */
void shared_file_unref(struct shared_file *f);

struct outq_chunk;

/** Chunks that were sent, kept for the next messages of any queue of an event loop: so a quiet connection holds none, and
 * a busy one seldom allocates. Starts as zeros. */
struct outq_spares {
	struct outq_chunk *first;
	unsigned n;
};

/** Free them. */
void outq_spares_free(struct outq_spares *s);

struct outq {
	struct outq_chunk *head;
	struct outq_chunk *tail;
	struct outq_spares *spares; /* borrowed; NULL: none are kept */
	size_t head_sent;           /* bytes of head that have left */
	size_t bytes;               /* waiting in all, as of the last outq_appended() */
	size_t shared_bytes;        /* of them, in shared frames */
	unsigned n_files;           /* pieces of files that wait */
	bool failed;                /* no memory: the connection must be closed */
};

void outq_free(struct outq *q);

/** The buffer to write the next messages into. NULL sets q->failed. */
struct buf *outq_buf(struct outq *q);
/** Count what was written into outq_buf() since @len_before, its length then. */
void outq_appended(struct outq *q, struct buf *b, size_t len_before);
/** Append a shared frame (takes a reference of its own). */
void outq_share(struct outq *q, struct shared_frame *f);
/** Append the @len bytes of @f at @off (takes a reference of its own). They are the middle of a message
 * whose head was counted by outq_appended() before and whose tail, if any, follows. */
void outq_file(struct outq *q, struct shared_file *f, uint64_t off, size_t len);

/** Fill @iov with what to send next, up to the first piece of a file; returns how many were used: 0
 * when the queue is empty or a piece of a file comes next. */
int outq_iov(const struct outq *q, struct iovec *iov, int n);
/** Is a piece of a file to be sent next? Then what is left of it; @ret_fd stays the queue's. */
bool outq_file_next(const struct outq *q, int *ret_fd, uint64_t *ret_off, size_t *ret_len);
/** @n bytes have left. */
void outq_sent(struct outq *q, size_t n);

static inline bool outq_empty(const struct outq *q)
{
	return q->bytes == 0;
}

#endif
