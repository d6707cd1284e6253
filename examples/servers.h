/* What the examples have in common: the servers are their first argument,
 *     ZOOKEEPER/PATH     those registered at a path: zk1:2181,zk2:2181/databases/main
 *     ADDRESS            HOST:PORT, or the path of a Unix socket */
#ifndef EXAMPLES_SERVERS_H
#define EXAMPLES_SERVERS_H

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <zkzeo/zkzeo.h>

/** Fill in the servers. */
static inline void servers_of(int argc, char **argv, struct zkzeo_options *o)
{
	static char zookeeper[1000];
	char *slash;

	if (argc < 2) {
		fprintf(stderr, "usage: %s ZOOKEEPER/PATH | ADDRESS ...\n", argv[0]);
		exit(2);
	}
	slash = strchr(argv[1], '/');
	if (slash && slash > argv[1]) {
		snprintf(zookeeper, sizeof(zookeeper), "%.*s", (int)(slash - argv[1]), argv[1]);
		o->zookeeper = zookeeper;
		o->path = slash;
	} else {
		o->addresses = (const char *const *)&argv[1];
		o->n_addresses = 1;
	}
}

static inline int failed(const char *what, const struct zkzeo_error *e)
{
	fprintf(stderr, "%s: %s (%s)\n", what, e->text, zkzeo_code_name(e->code));
	return 1;
}

#endif
