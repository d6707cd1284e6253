/* The log as the configuration's <eventlog> says. */
#ifndef BIN_LOGGING_H
#define BIN_LOGGING_H

#include "base/err.h"
#include "config/server_config.h"

struct logging {
	struct logfile **files;
	size_t n;
	bool to_nothing; /* an <eventlog> without handlers */
};

/** Without an <eventlog> lines go to stderr, as runzeo's do. */
int logging_open(const struct config_eventlog *c, struct logging *ret, struct err *e);
void logging_close(struct logging *l);

#endif
