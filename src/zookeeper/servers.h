/* The servers that are registered at a path. */
#ifndef ZOOKEEPER_SERVERS_H
#define ZOOKEEPER_SERVERS_H

#include <jansson.h>

#include "base/compiler.h"
#include "base/err.h"
#include "zookeeper/reader.h"

/** An array of {"address": name, "path": path, property: value, ...}, sorted by address; the
 * caller drops the reference. Returns 0, ERR_NOENT (no such path) or reader_get()'s failures. */
MUST_CHECK int servers_read(struct reader *r, const char *path, json_t **ret, struct err *e);

#endif
