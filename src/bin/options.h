/* The command line of zkrunzeo: runzeo's, and --check. */
#ifndef BIN_OPTIONS_H
#define BIN_OPTIONS_H

#include <stdbool.h>
#include <stddef.h>

#include "base/err.h"
#include "config/server_config.h"

enum { OPTIONS_FILES_MAX = 256 };

enum options_action {
	OPTIONS_SERVE,
	OPTIONS_CHECK, /* read the configuration, say whether it is right */
	OPTIONS_TEST,  /* open everything, then stop (runzeo's --test) */
	OPTIONS_EXIT,  /* help or version was printed */
};

struct options {
	enum options_action action;
	const char *config; /* -C; NULL: none */
	struct config_overrides overrides;
	const char *filenames[OPTIONS_FILES_MAX];
};

/** Returns 0 or ERR_INVAL; the strings stay argv's. Prints for --help and --version. */
int options_parse(int argc, char **argv, struct options *ret, struct err *e);

#endif
