/* A session is one connection of a client: a state machine over bytes in and bytes out.
 *
 *   HANDSHAKE -> CONNECTED -> REGISTERED -> CLOSED
 *       |            |                        ^
 *       +------------+------------------------+
 *
 * Bytes come with session_input(); what it has to say lies in `out`, and the shell is told by
 * the hub's list of dirty sessions. R9 bounds what it can make us hold, R11 what its errors cost.
 *
 * Threads: the hub's. */
#ifndef SERVER_SESSION_H
#define SERVER_SESSION_H

#include <stdbool.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/compiler.h"
#include "codec/enc.h"
#include "server/outq.h"
#include "zeo/message.h"

struct commit;
struct hub;
struct hub_storage;
struct iterators;
struct upload;

enum session_state {
	SESSION_HANDSHAKE, /* nothing said yet */
	SESSION_CONNECTED, /* may only register */
	SESSION_REGISTERED,
	SESSION_CLOSED, /* waiting for what is under way, then freed */
};

/* R9, docs/operations.md#limits */
enum {
	SESSION_FRAME_EARLY = 64 << 10, /* largest message before register, in bytes */
	SESSION_FRAME_MAX = 256 << 20,  /* largest message */
	SESSION_OUT_HIGH = 1 << 20,     /* not read from while more than this waits to be sent */
	SESSION_STREAM_LOW = 256 << 10, /* streams are asked for more while less than this waits */
	SESSION_OUT_MAX = 64 << 20,     /* closed when invalidations pass this */
	SESSION_LOADS_MAX = 32,         /* requests under way in the pool */
	SESSION_HANDSHAKE_S = 60,       /* to register */
	SESSION_STALL_S = 300,          /* with something to send and nothing leaving */
};

/** What a session needs from its connection. */
struct session_io {
	/** Close the connection, after what is queued if @flush. session_closed() must follow, later. */
	void (*close)(struct session_io *io, bool flush);
};

/**
 * Something long (a blob, say) that a session is sent in pieces, as the client takes them (R9).
 *
 * more() is called on the hub's thread
 * - after something has left and while less than SESSION_STREAM_LOW waits to be sent; with several
 *   streams in turn. It queues a piece (session_out(), session_out_file()), or starts what will get
 *   it. It may be asked again before that is there: then it does nothing.
 * - once when the connection is gone: the session is not alive then, the stream is already off the
 *   list, and there is nothing to do but to clean up.
 * Nobody calls it for the first piece, nor for one that arrives when nothing waits to be sent any
 * more: who adds the stream queues the first, who was asked queues the piece when it arrives.
 * more() may remove, free and add streams, this one included, and may close the session.
 */
struct stream {
	void (*more)(struct stream *st);
	struct stream *next; /* the session's own */
};

struct session {
	struct hub *hub;
	struct session_io *io;
	uint64_t id; /* never 0, never used again */
	enum session_state state;
	enum encoding encoding;
	bool read_only;
	bool securing;          /* the connection's TLS handshake is not done (set by the shell) */
	bool closing;           /* io->close() was called */
	bool dirty;             /* on the hub's list */
	bool parsing;           /* handling `in` or new bytes: not to be entered again */
	uint32_t n_loads;       /* requests under way in a pool */
	uint32_t refs;          /* 1 for the connection, 1 for each request under way */
	bool held;              /* not read from: a blob that was sent is being written */
	bool spilling;          /* not read from: what it has stored is being moved to a file */
	struct hub_storage *hs; /* SESSION_REGISTERED */
	struct commit *commit;  /* between tpc_begin and tpc_finish or tpc_abort */
	struct upload *upload;  /* upload.c's; NULL: no blob was ever sent */
	struct buf in;          /* bytes of a message that is not whole yet */
	struct outq out;
	struct stream *streams;
	struct iterators *iterators; /* NULL: there were none yet */
	uint64_t since_us;           /* monotonic: connected */
	uint64_t
		drained_us; /* monotonic: while something waits, the last time that some of it left, or that it was queued to empty */
	uint64_t requests;
	char peer[80];                               /* the connection's address, for logs */
	char label[160];                             /* set_client_label()'s text and the address */
	struct session *prev, *next;                 /* hub->sessions */
	struct session *storage_prev, *storage_next; /* hs->sessions */
	struct session *dirty_next;
};

/** A new connection: queues the handshake. NULL without memory. */
struct session *session_new(struct hub *h, struct session_io *io, const char *peer);

/** Bytes have arrived. May call io->close(). */
void session_input(struct session *s, const uint8_t *data, size_t n);

/** Should the connection be read from? When not, ask again after something was sent or finished;
 * session_resume() handles what has already been read then. */
bool session_wants_input(const struct session *s);
void session_resume(struct session *s);

/** Bytes that are not there yet of a message whose beginning is; 0: none is known of. */
size_t session_missing(const struct session *s);

/** A request goes to a storage, and is back and answered: it keeps the session, and too many of them
 * keep the connection from being read. */
void session_load_started(struct session *s);
void session_load_ended(struct session *s);

/** @n bytes of s->out have left. */
void session_sent(struct session *s, size_t n);

/** The connection is gone; @why for the log, or NULL. The session is freed when nothing of it
 * is under way any more. */
void session_closed(struct session *s, const char *why);

/** Close because of what the client did; logs @why (R11). */
void session_fail(struct session *s, const char *fmt, ...) PRINTF(2, 3);
/** Close without a word. */
void session_close(struct session *s, bool flush);

void session_ref(struct session *s);
void session_unref(struct session *s);

/** A buffer to write messages into, or NULL: then the session is being closed. */
struct buf *session_out(struct session *s, size_t *ret_mark);
/** What was written since session_out() is complete. */
void session_out_done(struct session *s, struct buf *b, size_t mark);
/** Queue a frame that others get, too. */
void session_share(struct session *s, struct shared_frame *f);
/** Queue the @len bytes of @f at @off, as outq_file(): the head of the message is complete with
 * session_out_done(), and its tail, if any, is written in the same way right after this. */
void session_out_file(struct session *s, struct shared_file *f, uint64_t off, size_t len);

/** Ask @st for more as the queue drains, until it is removed; see struct stream. The session must be
 * alive. @st is the caller's. */
void session_stream_add(struct session *s, struct stream *st);
/** Ask no more. One that is not on the list is fine. */
void session_stream_remove(struct session *s, struct stream *st);

/** Time has passed; returns when to look again (monotonic, us). */
uint64_t session_tick(struct session *s, uint64_t now_us);

static inline bool session_alive(const struct session *s)
{
	return s->state != SESSION_CLOSED && !s->closing;
}

#endif
