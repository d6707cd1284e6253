/* The names under which a server registers: the addresses at which others reach it. */
#ifndef ZOOKEEPER_NAMES_H
#define ZOOKEEPER_NAMES_H

#include <stddef.h>

#include "base/address.h"
#include "base/compiler.h"
#include "base/err.h"

struct ifaddrs;

enum { NAMES_MAX = 32 };

struct node_names {
	char text[NAMES_MAX][280]; /* "host:port" or "[v6]:port", sorted, each once */
	size_t n;
};

/**
 * Names for a server that is bound to @bound (with its real port).
 * @advertise  HOST (with the bound port), HOST:PORT (literal, T72), or NULL: the bound host, and
 *             for all interfaces each IPv4 address of this machine, loopback only when there is
 *             no other. 0.0.0.0 and [::] are never advertised (T39).
 * Returns 0 or ERR_INVAL: nothing others could connect to.
 */
MUST_CHECK int names_find(
	const struct address *bound, const char *advertise, struct node_names *ret, struct err *e);

/** The same with the interfaces given; names_find() asks the system. */
MUST_CHECK int names_of(const struct address *bound, const char *advertise,
	const struct ifaddrs *interfaces, struct node_names *ret, struct err *e);

#endif
