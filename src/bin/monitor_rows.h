/* The monitor's commands about the server: status, storages, clients, transactions, version. */
#ifndef BIN_MONITOR_ROWS_H
#define BIN_MONITOR_ROWS_H

#include "base/err.h"
#include "monitor/monitor.h"
#include "server/server.h"
#include "server/service.h"

/** What the commands look at; must outlive the monitor. */
struct monitor_view {
	struct server *server;
	struct service *service;
};

int monitor_rows_add(struct monitor *m, struct monitor_view *view, struct err *e);

#endif
