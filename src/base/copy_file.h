/* Copies of files. */
#ifndef BASE_COPY_FILE_H
#define BASE_COPY_FILE_H

#include "base/compiler.h"
#include "base/err.h"

/** A new file @to with what @from has; there is none after a failure. Not synced.
 * Returns 0, ERR_NOENT, ERR_EXISTS, ERR_NOSPC, ERR_IO, ERR_NOMEM. */
MUST_CHECK int copy_file(const char *from, const char *to, struct err *e);

#endif
