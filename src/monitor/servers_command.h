/* The monitor's command `servers [PATH]`: what this process registered in ZooKeeper. */
#ifndef MONITOR_SERVERS_COMMAND_H
#define MONITOR_SERVERS_COMMAND_H

#include "monitor/commands.h"
#include "zookeeper/registration.h"

/** The row; its context is @r. As zc.zk's: without PATH a list of {"address", "path", "pid", ...} as
 * JSON, with it the addresses alone (zkzeo-nagios and zc.zk.monitor read these). */
struct monitor_command servers_command(struct registration *r);

#endif
