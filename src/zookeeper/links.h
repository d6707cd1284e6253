/* Finding the node a path means: where a part of it is missing, a property "NAME ->" of the
 * node before it may lead on. A walk says which node to read next; the caller reads it in
 * whatever way it has. */
#ifndef ZOOKEEPER_LINKS_H
#define ZOOKEEPER_LINKS_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>

#include "base/compiler.h"
#include "base/err.h"
#include "base/slice.h"

enum { ZK_PATH_MAX = 1024 };

struct link_walk {
	char asked[ZK_PATH_MAX]; /* as the caller gave it, for texts */
	char path[ZK_PATH_MAX];  /* what it means so far; the answer when done */
	char next[ZK_PATH_MAX];  /* the node to read now: path, or a beginning of it */
	bool by_parts;           /* path itself is missing */
	json_t *properties;      /* of the longest beginning that exists */
	int links;               /* followed so far */
};

/** Returns 0, ERR_INVAL (not an absolute path) or ERR_LIMIT (too long). */
MUST_CHECK int link_walk_start(struct link_walk *w, const char *path, struct err *e);

/** Take what reading w->next gave: OK with its data, or ERR_NOENT.
 * Returns OK when w->path is there, ERR_AGAIN when w->next is to be read now, ERR_NOENT when it
 * leads nowhere, ERR_STATE for a loop of links, ERR_LIMIT. */
MUST_CHECK int link_walk_reply(struct link_walk *w, int rc, struct slice data, struct err *e);

/** NULL-safe parts are freed; the walk may be started again. */
void link_walk_end(struct link_walk *w);

#endif
