/* The lock beside a file, the one Python's zc.lockfile takes: flock(2) on NAME.lock, which holds the
 * process id for a person to read and is never removed. */
#ifndef BASE_LOCK_FILE_H
#define BASE_LOCK_FILE_H

#include "base/compiler.h"
#include "base/err.h"

/**
 * Take the lock; the file at @path is the one that is locked, also when somebody removed or replaced
 * it meanwhile (T22).
 * Returns 0; ERR_BUSY: another process has it (the text names its id); ERR_IO ...
 */
MUST_CHECK int lock_file_take(const char *path, int *ret_fd, struct err *e);

/** -1 is fine. */
void lock_file_release(int fd);

#endif
