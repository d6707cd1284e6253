/* The classes of the BTrees package, by name. */
#ifndef RESOLVER_BTREES_CLASS_H
#define RESOLVER_BTREES_CLASS_H

#include <stdbool.h>

#include "base/slice.h"

enum btrees_kind { BTREES_BUCKET, BTREES_SET, BTREES_TREE, BTREES_TREE_SET, BTREES_LENGTH };

/** What the letters of a family say of keys and values. */
enum btrees_type {
	BTREES_OBJECT, /* O */
	BTREES_INT32,  /* I */
	BTREES_UINT32, /* U */
	BTREES_INT64,  /* L */
	BTREES_UINT64, /* Q */
	BTREES_FLOAT,  /* F */
	BTREES_BYTES2, /* f */
	BTREES_BYTES6, /* s */
};

struct btrees_class {
	enum btrees_kind kind;
	enum btrees_type key;
	enum btrees_type value;
	bool python; /* a class whose name ends in Py: it merges a little differently */
};

/** @global is "module\nname". False when it is no class of BTrees that resolves conflicts. */
bool btrees_class_parse(struct slice global, struct btrees_class *ret);

/** Whether two names mean one class; the C classes have an older name (BTrees._OOBTree). */
bool btrees_same_class(struct slice a, struct slice b);

#endif
