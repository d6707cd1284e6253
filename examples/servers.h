/* What the examples have in common: the servers are named on the command line, as
 *     PROGRAM ZOOKEEPER /PATH     those registered at a path in ZooKeeper
 *     PROGRAM ADDRESS             HOST:PORT, or the path of a Unix socket */
#ifndef EXAMPLES_SERVERS_H
#define EXAMPLES_SERVERS_H

#include <stdio.h>
#include <stdlib.h>

#include <zkzeo/zkzeo.h>

/** Fill in the servers; returns how many arguments were used. */
static inline int servers_of(int argc, char **argv, struct zkzeo_options *o)
{
	if (argc > 2 && argv[2][0] == '/') {
		o->zookeeper = argv[1];
		o->path = argv[2];
		return 3;
	}
	if (argc > 1) {
		o->addresses = (const char *const *)&argv[1];
		o->n_addresses = 1;
		return 2;
	}
	fprintf(stderr, "usage: %s ZOOKEEPER /PATH | ADDRESS ...\n", argv[0]);
	exit(2);
}

static inline int failed(const char *what, const struct zkzeo_error *e)
{
	fprintf(stderr, "%s: %s (%s)\n", what, e->text, zkzeo_code_name(e->code));
	return 1;
}

#endif
