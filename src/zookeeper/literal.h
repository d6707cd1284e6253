/* Values as Python writes them: what a tree's text has behind "name =". */
#ifndef ZOOKEEPER_LITERAL_H
#define ZOOKEEPER_LITERAL_H

#include <jansson.h>

#include "base/compiler.h"
#include "base/err.h"
#include "base/slice.h"

/**
 * Read a literal of Python 2 or 3: numbers, strings (with any prefix, side by side), True, False, None, lists, tuples (which
 * become lists) and dictionaries with strings as keys. A comment may follow. Nothing is executed: no operators, no names.
 * Returns 0; ERR_FORMAT with a text that says where and what was expected; ERR_LIMIT (an integer beyond 64 bits, nested
 * too deep); ERR_NOMEM.
 */
MUST_CHECK int literal_parse(struct slice text, json_t **ret, struct err *e);

#endif
