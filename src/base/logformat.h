/* The %-style formats of Python's logging: %(asctime)s %(levelname)-8s %(message)s ... */
#ifndef BASE_LOGFORMAT_H
#define BASE_LOGFORMAT_H

#include "base/buf.h"
#include "base/compiler.h"
#include "base/err.h"
#include "base/log.h"

/** Returns 0, or ERR_INVAL: an unknown field, or a conversion that does not fit it. */
MUST_CHECK int logformat_check(const char *format, struct err *e);

/**
 * Append a record without a newline at its end.
 * @format      one that logformat_check() has passed
 * @dateformat  of %(asctime)s, for strftime(); "" is Python's own with milliseconds
 * Threads: any, the thread that logs; its id and name are fields.
 */
void logformat_write(
	const char *format, const char *dateformat, const struct log_record *r, struct buf *out);

#endif
