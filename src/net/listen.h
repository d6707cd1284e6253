/* Listening sockets. */
#ifndef NET_LISTEN_H
#define NET_LISTEN_H

#include <stddef.h>
#include <sys/types.h>

#include "base/address.h"
#include "base/compiler.h"
#include "base/err.h"

enum { LISTEN_MAX = 8 };

struct listener {
	int fds[LISTEN_MAX];  /* non-blocking, close-on-exec */
	int n_fds;            /* more than one when a name resolves to several addresses */
	struct address bound; /* with the port the system chose */
	dev_t dev;            /* of a Unix socket's file, to know it again */
	ino_t ino;
};

/**
 * Bind and listen. A host name may give several sockets (IPv4 and IPv6), all on one port; an empty
 * host listens on all interfaces (one dual-stack socket, or IPv4 only where the machine has no IPv6).
 * SO_REUSEADDR is set. A Unix socket nobody listens on is replaced; one that answers is ERR_BUSY.
 * Returns 0, ERR_BUSY (address in use), ERR_IO, ERR_INVAL (unknown host); the text names the address.
 */
MUST_CHECK int listener_open(const struct address *a, struct listener *ret, struct err *e);
/** Close the sockets; a Unix socket's file is removed when it is still ours. */
void listener_close(struct listener *l);

#endif
