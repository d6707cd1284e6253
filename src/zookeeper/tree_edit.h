/* Bringing nodes into the form that a text describes, and removing trees of them: as zc.zk's import_tree() and
 * delete_recursive() do it, with the same lines about what happens. */
#ifndef ZOOKEEPER_TREE_EDIT_H
#define ZOOKEEPER_TREE_EDIT_H

#include <jansson.h>
#include <stdbool.h>

#include "base/compiler.h"
#include "base/err.h"
#include "zookeeper/reader.h"

struct tree_edit {
	struct reader *reader;
	bool dry_run; /* only say what would be done */
	/** A line for who wants to see it. @level  0: to be printed; else of the log */
	void (*say)(void *arg, int level, const char *text);
	void *arg;

	/* of an import */
	/** Nodes below those of the text that the text has not got: kept with a line that says so, kept, or deleted. Those at the
	 * top, and those with ephemeral ones among them, are never. */
	enum { TREE_KEEP_AND_SAY, TREE_KEEP, TREE_TRIM } others;
	const struct zk_acl *
		acl; /* of the nodes of the text, n_acl of them; none: everybody may do everything */
	size_t n_acl;

	/* of a deletion */
	bool force;               /* ephemeral nodes, too */
	bool ignore_if_ephemeral; /* nothing is said when the path itself is ephemeral */
};

/** Create and change nodes below @path (which must exist; no link is followed), as @tree says: tree_parse().
 * After a failure the nodes before it are done. */
MUST_CHECK int tree_import(
	const struct tree_edit *t, const char *path, const json_t *tree, struct err *e);

/** Delete the node at @path and all below it, deepest first. Ephemeral ones stay, and what they are in. */
MUST_CHECK int tree_delete(const struct tree_edit *t, const char *path, struct err *e);

#endif
