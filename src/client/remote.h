/* A server's exception as one of our errors. docs/protocol.md#errors */
#ifndef CLIENT_REMOTE_H
#define CLIENT_REMOTE_H

#include "base/err.h"
#include "codec/val.h"

/** Set @e from the pair (class name, arguments). Returns its code: ERR_REMOTE for what has no code of its own,
 * ERR_FORMAT when it is no such pair. */
int remote_error(const struct val *pair, struct err *e);
/** The class name of the pair, cut to @room; "" when there is none. */
void remote_class(const struct val *pair, char *out, size_t room);
/** The oid of a conflict; OID_NONE. */
uint64_t remote_oid(const struct val *pair);

#endif
