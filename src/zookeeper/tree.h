/* A tree of nodes as text, in the form that zc.zk prints and imports. */
#ifndef ZOOKEEPER_TREE_H
#define ZOOKEEPER_TREE_H

#include <jansson.h>
#include <stdbool.h>

#include "base/buf.h"
#include "base/compiler.h"
#include "base/err.h"
#include "zookeeper/reader.h"

/** Write the node at @path (no link is followed) and everything below it, ephemeral nodes too.
 * The root itself and its "zookeeper" have no line. Nodes that go meanwhile are passed over.
 * Returns 0, ERR_NOENT (no such path) or reader_get()'s and buf's failures. */
MUST_CHECK int tree_print(struct reader *r, const char *path, struct buf *out, struct err *e);

/** The same for an export: without ephemeral nodes and what is below them, unless @ephemeral; @name, when not NULL, takes the
 * place of the first node's. The root itself has a line then. */
MUST_CHECK int tree_export(struct reader *r, const char *path, bool ephemeral, const char *name,
	struct buf *out, struct err *e);

/** One node's lines: name and type, properties, links. @data is the node's. */
void tree_print_node(struct buf *out, const char *name, unsigned indent, struct slice data);

/** A value as Python 2 shows it: u'text', 42, 1.5, True, None, [..], {..}. */
void tree_print_value(struct buf *out, const json_t *value);

#endif
