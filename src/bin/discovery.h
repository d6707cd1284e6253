/* How others find the server: its entry in ZooKeeper and its monitor. */
#ifndef BIN_DISCOVERY_H
#define BIN_DISCOVERY_H

#include "base/err.h"
#include "config/server_config.h"
#include "net/listen.h"
#include "server/server.h"
#include "server/service.h"

struct discovery;

/**
 * Start the monitor and register, where the configuration says so. A monitor that cannot listen is a
 * warning; a registration that cannot be is an error.
 * All arguments are borrowed until discovery_stop().
 */
int discovery_start(const struct server_config *c, const struct listener *listener,
	struct server *server, struct service *service, struct discovery **ret, struct err *e);

/** Stop the monitor and deregister, so that no client comes any more. NULL is fine. */
void discovery_stop(struct discovery *d);

#endif
