/* What the subcommands that read ZooKeeper have in common. */
#ifndef BIN_ZKZEO_CONNECT_H
#define BIN_ZKZEO_CONNECT_H

#include "base/compiler.h"
#include "base/err.h"
#include "zookeeper/reader.h"

/** Connect to the ZooKeeper of CONNECTION[/PATH] and follow the links of PATH ("/" when omitted).
 * Returns 0 or reader_open()'s and reader_resolve()'s failures. */
MUST_CHECK int zkzeo_connect(
	const char *where, struct reader **ret, char ret_path[ZK_PATH_MAX], struct err *e);

#endif
