/* A tree of nodes written as text, in the form that zc.zk imports and exports:
 *
 *   # a comment
 *   /name : type
 *     property = 'a value'
 *     link -> /path/to/node
 *     property => /path/to/node name
 *     /child
 */
#ifndef ZOOKEEPER_TREE_TEXT_H
#define ZOOKEEPER_TREE_TEXT_H

#include <jansson.h>

#include "base/compiler.h"
#include "base/err.h"
#include "base/slice.h"

/**
 * Read a text. *ret is a node without a name: {"properties": {NAME: VALUE, ...}, "children": {NAME: node, ...}}, where a link's
 * name ends with " ->", a property link's with " =>", and a type is the property "type".
 * Returns 0; ERR_FORMAT or ERR_LIMIT with the line's number; ERR_NOMEM.
 */
MUST_CHECK int tree_parse(struct slice text, json_t **ret, struct err *e);

/** What a node with @properties holds: JSON; or, where there is nothing but a "string_value", that text.
 * Returned with json's allocation, for free(); NULL without memory. */
char *tree_encode(const json_t *properties);

#endif
