/* The ZConfig language: sections, keys and the directives %define, %include and %import,
 * read into a tree. What the names mean is config/schema.h's business. */
#ifndef CONFIG_ZCONFIG_H
#define CONFIG_ZCONFIG_H

#include "base/arena.h"
#include "base/compiler.h"
#include "base/err.h"
#include "base/slice.h"

enum {
	ZCONFIG_DEPTH_MAX = 32,              /* of sections in sections, and of files in files */
	ZCONFIG_FILE_MAX = 16 * 1024 * 1024, /* bytes */
};

enum zconfig_kind {
	ZCONFIG_KEY,
	ZCONFIG_SECTION,
	ZCONFIG_IMPORT,
};

struct zconfig_node {
	struct zconfig_node *next; /* in the order of the file */
	enum zconfig_kind kind;
	/** The key or the section's type, in lower case; the package of an import. "" for the
	 * whole file. */
	const char *name;
	/** The key's value after substitution, "" when there is none; the section's name in
	 * lower case, NULL when it has none. */
	const char *value;
	const char *file;
	int line; /* where it starts; of the whole file: its last line */
	struct zconfig_node *parent;
	struct zconfig_node *children;
	struct zconfig_node *last_child;
};

/**
 * Read a file and what it includes.
 * @path  also with "file://" in front
 * @mem   everything in *ret lives there
 * Returns 0, ERR_INVAL (texts start with FILE:LINE), ERR_NOENT, ERR_IO, ERR_LIMIT or
 * ERR_NOMEM.
 */
MUST_CHECK int zconfig_read(
	const char *path, struct arena *mem, struct zconfig_node **ret, struct err *e);

/** The same for text that is at hand; @name stands for the file. */
MUST_CHECK int zconfig_parse(const char *name, struct slice text, struct arena *mem,
	struct zconfig_node **ret, struct err *e);

/** Set @code and "FILE:LINE: text"; returns @code. */
int zconfig_error(const struct zconfig_node *at, int code, struct err *e, const char *fmt, ...)
	PRINTF(4, 5);

/** A copy of the first @len bytes of @s, or NULL. */
char *zconfig_copy(struct arena *mem, const char *s, size_t len);

#endif
