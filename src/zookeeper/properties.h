/* A node's data as zc.zk reads it: a JSON object of properties. */
#ifndef ZOOKEEPER_PROPERTIES_H
#define ZOOKEEPER_PROPERTIES_H

#include <jansson.h>

#include "base/slice.h"

/** A new reference to the properties in @data: none when it holds only white space; NULL when
 * it is not a JSON object (then it is one property, "string_value", of these bytes: T74). */
json_t *properties_decode(struct slice data);

/** Where the link "@name ->" (@n bytes of name) of @properties leads, or NULL. */
const char *properties_link(const json_t *properties, const char *name, size_t n);

#endif
