/* Names, and dialing in a way of the owner's: what the pool does for connections. On the I/O thread; the results,
 * too. The I/O thread never waits for it. */
#ifndef CLIENT_LOOKUP_H
#define CLIENT_LOOKUP_H

#include <netdb.h>

#include "client/state.h"

struct lookup;

/** Where @a can be connected to, when its host is an IP address; freeaddrinfo(). NULL: it
 * is a name, and has to be looked up, or there is no memory. */
struct addrinfo *lookup_numeric(const struct address *a);
/** Where @a can be connected to. @found belongs to the callee: freeaddrinfo(). Else @error is set. */
MUST_CHECK int lookup_host(struct io_thread *io, const struct address *a,
	void (*done)(void *arg, struct addrinfo *found, const char *error), void *arg,
	struct lookup **ret, struct err *e);
/** Have the owner's dialer connect to @a. */
MUST_CHECK int lookup_dial(struct client *c, const struct address *a,
	void (*done)(void *arg, int fd, const struct address *peer, const char *error), void *arg,
	struct lookup **ret, struct err *e);
/** The name that other clients know @peer by, as ClientStorage asks for it: @text is "('host', 8100)", or a path. */
MUST_CHECK int lookup_name(struct io_thread *io, const struct address *peer,
	void (*done)(void *arg, const char *text), void *arg, struct lookup **ret, struct err *e);
/** done() is not called any more. */
void lookup_abandon(struct lookup *l);

/** The address of the other side of a socket. */
void lookup_peer(int fd, struct address *ret);

#endif
