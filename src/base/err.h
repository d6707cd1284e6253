/* The one error domain: a code and a text, owned by the caller. */
#ifndef BASE_ERR_H
#define BASE_ERR_H

#include "base/compiler.h"

enum err_code {
	OK = 0,
	ERR_NOMEM = -1,        /* an allocation failed */
	ERR_IO = -2,           /* the system refused; the text has its reason */
	ERR_NOSPC = -3,        /* disk or disk quota full */
	ERR_INVAL = -4,        /* an argument, option or message that is not valid */
	ERR_FORMAT = -5,       /* bytes that are not in the expected format */
	ERR_CORRUPT = -6,      /* a file that was right once is damaged */
	ERR_NOENT = -7,        /* no such file, node, section ... */
	ERR_EXISTS = -8,       /* is there already */
	ERR_AGAIN = -9,        /* would block: ask again from a thread that may wait */
	ERR_LIMIT = -10,       /* larger, deeper or more than is allowed */
	ERR_NOKEY = -11,       /* no such object or revision: POSKeyError */
	ERR_CONFLICT = -12,    /* ConflictError */
	ERR_READONLY = -13,    /* ReadOnlyError */
	ERR_UNSUPPORTED = -14, /* known, and not offered here */
	ERR_BUSY = -15,        /* in use by another process or operation */
	ERR_CLOSED = -16,      /* the other side, or we, closed */
	ERR_TIMEOUT = -17,     /* a time limit ran out */
	ERR_QUOTA = -18,       /* the storage's configured quota */
	ERR_STATE = -19,       /* not now: StorageTransactionError and the like */
	ERR_UNDO = -20,        /* UndoError: a transaction that cannot be undone */
	ERR_REMOTE = -21,      /* the server's exception, of a class that has no code here */
	ERR_INTERRUPTED = -22, /* whoever waited does not want to wait any longer */
};

struct err {
	int code;       /* enum err_code */
	char text[508]; /* for a person: what, where, what was expected */
};

#define ERR_INIT                                                                                   \
	{                                                                                          \
		OK, ""                                                                             \
	}

/** Set code and text; returns @code. @e may be NULL. */
int err_set(struct err *e, int code, const char *fmt, ...) PRINTF(3, 4);

/** Set from an errno value: the text gets ": " and strerror; ENOSPC and EDQUOT
 * become ERR_NOSPC, ENOENT ERR_NOENT, EEXIST ERR_EXISTS, ENOMEM ERR_NOMEM,
 * EAGAIN ERR_AGAIN, the rest ERR_IO. Returns the code. */
int err_sys(struct err *e, int errnum, const char *fmt, ...) PRINTF(3, 4);

/** Put "prefix: " before the text, on the way up. Returns the code. @e may be NULL. */
int err_wrap(struct err *e, const char *fmt, ...) PRINTF(2, 3);

/** A short name of the code ("no space"), for logs and tests. */
const char *err_name(int code);

#endif
