/* Addresses as configuration files write them: ZConfig's socket-address datatypes. */
#ifndef BASE_ADDRESS_H
#define BASE_ADDRESS_H

#include <stddef.h>
#include <stdint.h>

#include "base/compiler.h"
#include "base/err.h"

enum address_family {
	ADDRESS_INET, /* TCP over IPv4, IPv6 or whatever the host name resolves to */
	ADDRESS_UNIX,
};

struct address {
	enum address_family family;
	char host[256]; /* name or number without brackets; "" = all interfaces */
	uint16_t port;  /* 0 = chosen by the system */
	char path[108]; /* ADDRESS_UNIX; relative ones start at the working directory */
};

/**
 * Parse PORT, HOST, HOST:PORT, :PORT, [IPV6]:PORT, ":" or a PATH (it has a '/').
 * White space around the colon is allowed (T61); a host without port and port 0 both
 * mean a port chosen by the system (T72).
 * @default_host  what an omitted host becomes: "" for binding, "127.0.0.1" for connecting
 * Returns 0 or ERR_INVAL with a text that says what was found and what was expected.
 */
MUST_CHECK int address_parse(
	const char *text, const char *default_host, struct address *ret, struct err *e);

/** "host:port", "[v6]:port" or the path. Returns @out. */
const char *address_format(const struct address *a, char *out, size_t room);

#endif
