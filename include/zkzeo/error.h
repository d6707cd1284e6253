/* libzkzeo: errors.
 *
 * Functions that can fail return 0, or one of these codes with a text in the error that was given to them (NULL is fine). Results
 * come last and are set only on success. */
#ifndef ZKZEO_ERROR_H
#define ZKZEO_ERROR_H

#if defined(__GNUC__)
#define ZKZEO_API        __attribute__((visibility("default")))
#define ZKZEO_MUST_CHECK __attribute__((visibility("default"), warn_unused_result))
#else
#define ZKZEO_API
#define ZKZEO_MUST_CHECK
#endif

#ifdef __cplusplus
extern "C" {
#endif

enum zkzeo_code {
	ZKZEO_OK = 0,
	ZKZEO_NOMEM = -1,        /* no memory */
	ZKZEO_IO = -2,           /* the system refused */
	ZKZEO_NOSPC = -3,        /* no room on a disk */
	ZKZEO_INVAL = -4,        /* an argument or option that is not valid */
	ZKZEO_FORMAT = -5,       /* bytes that are not in the expected format */
	ZKZEO_CORRUPT = -6,      /* a damaged file */
	ZKZEO_NOENT = -7,        /* not there: a file, a path, a revision */
	ZKZEO_EXISTS = -8,       /* there already */
	ZKZEO_AGAIN = -9,        /* it would have to wait */
	ZKZEO_LIMIT = -10,       /* larger, deeper or more than is allowed */
	ZKZEO_NOKEY = -11,       /* no such object (POSKeyError) */
	ZKZEO_CONFLICT = -12,    /* changed by somebody else meanwhile (ConflictError): try again */
	ZKZEO_READONLY = -13,    /* read-only (ReadOnlyError) */
	ZKZEO_UNSUPPORTED = -14, /* known, and not offered here */
	ZKZEO_BUSY = -15,        /* in use by another process or operation */
	ZKZEO_CLOSED = -16,  /* no connection to a server (ClientDisconnected), or it was closed */
	ZKZEO_TIMEOUT = -17, /* a time limit ran out */
	ZKZEO_QUOTA = -18,   /* the storage's quota */
	ZKZEO_STATE = -19,   /* not now: a transaction is in another state */
	ZKZEO_UNDO = -20,    /* cannot be undone (UndoError) */
	ZKZEO_REMOTE = -21,  /* the server's exception, of another class */
};

struct zkzeo_error {
	int code;       /* enum zkzeo_code */
	char text[508]; /* for a person: what, where, what was expected */
};

/** A short name of the code: "conflict". Never NULL. */
ZKZEO_API const char *zkzeo_code_name(int code);
/** The version of the library: "0.1.0". */
ZKZEO_API const char *zkzeo_version(void);

#ifdef __cplusplus
}
#endif

#endif
