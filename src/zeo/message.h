/* Messages: the 4-tuple (id, flag, name, args) in a frame; docs/protocol.md#messages.
 * A reply has the request's id, flag 0, or 2 for an exception, and the name ".reply". */
#ifndef ZEO_MESSAGE_H
#define ZEO_MESSAGE_H

#include <stdbool.h>
#include <stdint.h>

#include "base/arena.h"
#include "base/buf.h"
#include "base/compiler.h"
#include "base/err.h"
#include "base/slice.h"
#include "codec/enc.h"
#include "codec/val.h"

enum message_flag {
	MESSAGE_REPLY = 0,
	MESSAGE_ASYNC = 1,
	MESSAGE_ERROR = 2,
};

/** A request's id, kept encoded so that a reply can echo it later, whatever it was (T63). */
struct reply_id {
	uint8_t len;
	uint8_t bytes[63];
};

struct message {
	const struct val *id; /* the values live in the arena */
	bool async;           /* no reply is wanted */
	bool keep_alive;      /* id -1: nothing else counts */
	struct slice name;
	const struct val *args; /* n_args of them; of a server's ".reply" the result */
	uint32_t n_args;
};

/**
 * Decode the content of a frame.
 * @arena  receives the values, which also borrow from @content
 * Returns 0, ERR_FORMAT, ERR_LIMIT or ERR_NOMEM; the text says where and what was expected.
 */
MUST_CHECK int message_decode(struct slice content, enum encoding encoding, struct arena *arena,
	struct message *ret, struct err *e);

/** The same of what a server sends: globals and calls, of exceptions say, are kept as values (PICKLE_KEEP_GLOBALS), and
 * there may be very many values. */
MUST_CHECK int message_decode_server(struct slice content, enum encoding encoding,
	struct arena *arena, struct message *ret, struct err *e);

/** Encode @id for the reply. Returns 0, or ERR_LIMIT when it is larger than a client's ids are. */
MUST_CHECK int reply_id_set(
	struct reply_id *r, const struct val *id, enum encoding encoding, struct err *e);

/** A message being written at the end of a buffer. */
struct message_writer {
	struct enc enc; /* write the one value of the result (or of the arguments) here */
	size_t mark;
};

/** Start a reply: one value goes to w->enc, then message_end(). @flag MESSAGE_REPLY or
 * MESSAGE_ERROR. */
void message_reply(struct message_writer *w, struct buf *out, enum encoding encoding,
	const struct reply_id *id, enum message_flag flag);
/** Start a call without a reply (invalidateTransaction, info): the tuple of its arguments goes to
 * w->enc. */
void message_call(
	struct message_writer *w, struct buf *out, enum encoding encoding, const char *name);
/** Start a request with a number for an id: the tuple of its arguments goes to w->enc. */
void message_request(struct message_writer *w, struct buf *out, enum encoding encoding, int64_t id,
	const char *name);
void message_end(struct message_writer *w);

/** A heartbeat, frame and all: (-1, 0, '.reply', None). */
void message_heartbeat(struct buf *out, enum encoding encoding);

/** What comes before the result in a reply. */
struct reply_head {
	uint64_t id;
	enum message_flag flag;
	struct slice value; /* the result, encoded; without pickle's PROTO and STOP */
};

/** Look at the first bytes of a frame: is it a reply to a request with a number for an id, written as ZEO's servers
 * write it? Nothing behind them is checked. False: message_decode() tells. */
bool reply_head_parse(struct slice content, enum encoding encoding, struct reply_head *ret);

/** The value of a reply to loadBefore. */
struct reply_record {
	struct slice data; /* borrowed */
	uint64_t serial;
	uint64_t end_tid; /* TID_NONE: current */
};

/** True for (bytes, tid, tid or None) as ZEO's servers write it. False: message_decode() tells. */
bool reply_record_parse(struct slice value, enum encoding encoding, struct reply_record *ret);

#endif
