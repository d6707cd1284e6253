/* A transaction's extension: a dictionary that came in a message, as ZODB pickles it. */
#ifndef SERVER_EXTENSION_H
#define SERVER_EXTENSION_H

#include "base/buf.h"
#include "codec/val.h"

/**
 * Append the pickle of a dictionary, byte for byte as ZODB's TransactionMetaData makes it after it was read from a
 * message: protocol 3 with a memo. Without memory, or when nested too deeply, the buffer fails.
 */
void extension_pickle(const struct val *dict, struct buf *out);

#endif
