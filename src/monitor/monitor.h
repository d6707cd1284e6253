/* The monitor server: a small command server for people, scripts and health checks. It speaks
 * zc.monitor's protocol: a line with a command, the answer, the end. docs/monitor.md */
#ifndef MONITOR_MONITOR_H
#define MONITOR_MONITOR_H

#include <stddef.h>

#include "base/address.h"
#include "base/compiler.h"
#include "base/err.h"
#include "monitor/commands.h"

struct monitor;

/**
 * Listen, and answer on a thread of its own (with all signals blocked). Only the commands
 * help, interactive and quit are there: monitor_add() adds the rest.
 * Returns 0; ERR_BUSY with the text for the warning when the address is in use (a server goes
 * on without its monitor then, T73); or why it cannot be: ERR_IO, ERR_INVAL, ERR_NOMEM.
 */
MUST_CHECK int monitor_start(const struct address *address, struct monitor **ret, struct err *e);

/** Add a command, or replace the one of its name: also while it serves. What @c points to must live
 * until monitor_stop(). Returns 0, ERR_LIMIT or ERR_EXISTS. Threads: any. */
MUST_CHECK int monitor_add(struct monitor *m, const struct monitor_command *c, struct err *e);

/** Where it listens, with the port the system chose. Threads: any. */
const struct address *monitor_address(const struct monitor *m);

/** Close everything, kill programs that run. After it no function of a command is called any more.
 * NULL is fine. */
void monitor_stop(struct monitor *m);

#endif
