/* The session that owns a server's nodes, kept in a file, so that the next start can end it. */
#ifndef ZOOKEEPER_SESSION_FILE_H
#define ZOOKEEPER_SESSION_FILE_H

#include "base/compiler.h"
#include "base/err.h"
#include "zookeeper/event.h"

/** Replace the file at @path; only its owner may read it. Returns 0, ERR_NOSPC or ERR_IO. */
MUST_CHECK int session_file_save(const char *path, const struct session_id *id, struct err *e);

/** Returns 0, ERR_NOENT (no file), ERR_FORMAT (not one of ours) or ERR_IO. */
MUST_CHECK int session_file_load(const char *path, struct session_id *ret, struct err *e);

#endif
