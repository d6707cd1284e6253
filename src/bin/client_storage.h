/* Storages of other servers, as a configuration names them. */
#ifndef BIN_CLIENT_STORAGE_H
#define BIN_CLIENT_STORAGE_H

#include "base/err.h"
#include "config/server_config.h"
#include "storage/storage.h"

/**
 * Open one of kind CONFIG_ZEOCLIENT or CONFIG_ZKZEOCLIENT. Waits for its server, as its `wait` says, but not longer
 * than until a signal comes that ends the process (ERR_CLOSED).
 * @c  must outlive it
 */
MUST_CHECK int client_storage_open(const struct server_config *c, const struct config_storage *cs,
	struct storage **ret, struct err *e);

#endif
