/* Answers to requests: a value, or an exception as ZEO sends it. */
#ifndef SERVER_REPLY_H
#define SERVER_REPLY_H

#include <stdbool.h>
#include <stdint.h>

#include "base/compiler.h"
#include "base/err.h"
#include "server/session.h"
#include "zeo/message.h"

struct method;
struct val;

/** Who asked: enough to answer later. */
struct request {
	struct session *session;
	const struct method *method;
	bool async; /* no reply is wanted; an error closes the connection */
	struct reply_id id;
};

struct reply {
	struct session *session;
	struct buf *b;
	size_t mark;
	struct message_writer w;
};

/** Start a reply; one value goes to (*ret)->w.enc, then reply_send(). False: nothing is to be
 * written (the request is asynchronous, or the session is going). */
bool reply_begin(struct reply *ret, const struct request *r);
/** The same for an exception. For an asynchronous request the connection is closed. */
bool reply_begin_error(struct reply *ret, const struct request *r, const char *why);
void reply_send(struct reply *rep);

void reply_none(const struct request *r);
void reply_id(const struct request *r, uint64_t id);
/** An exception of class @class_name with one text. */
void reply_error_text(const struct request *r, const char *class_name, const char *fmt, ...)
	PRINTF(3, 4);
void reply_read_only(const struct request *r);
/** A failure of a storage: @oid is what a POSKeyError names. */
void reply_failure(const struct request *r, int rc, const struct err *e, uint64_t oid);
/** The same when another server may have raised it: then as it came. @raised  NULL: it has not */
void reply_failed(const struct request *r, int rc, const struct err *e, uint64_t oid,
	const struct val *raised);

#define EXC_VALUE_ERROR "builtins.ValueError"
#define EXC_TYPE_ERROR  "builtins.TypeError"
#define EXC_KEY_ERROR   "builtins.KeyError"
#define EXC_POS_KEY     "ZODB.POSException.POSKeyError"
#define EXC_STATE       "ZODB.POSException.StorageTransactionError"
#define EXC_UNSUPPORTED "ZODB.POSException.Unsupported"
#define EXC_STORAGE     "ZODB.POSException.StorageSystemError"

#endif
