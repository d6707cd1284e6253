/* Bytes for several sockets, handed to the system in one call, through an io_uring.
 *
 * Each send(2) wakes up who waits for its bytes. On a busy machine that one takes the processor from the sender at once, who
 * goes on with the next send when it sleeps again: two switches for each. One call for all of them wakes everybody up
 * before the sender can lose its processor.
 *
 * Nothing of it waits: what a socket does not take now is told as send(2) with MSG_DONTWAIT tells it, and when
 * send_ring_go() returns nothing is under way. Threads: one at a time. */
#ifndef NET_SEND_RING_H
#define NET_SEND_RING_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/socket.h>
#include <sys/types.h>
#include <sys/uio.h>

#include "base/compiler.h"

enum {
	SEND_RING_MAX = 64, /* sockets in one go */
	SEND_RING_IOV = 8,  /* pieces for each */
};

/** What is to be sent on a socket. */
struct ring_send {
	void *owner; /* the caller's */
	int fd;
	int n_iov; /* at least 1 */
	struct iovec iov[SEND_RING_IOV];
	ssize_t result; /* after send_ring_go(): bytes that have left, or a negative errno; -ECANCELED: not tried */
	struct msghdr msg; /* the ring's own */
};

struct send_ring;

/** NULL: this process gets no ring (an old kernel, one that forbids it, a container's filter, no memory, no
 * descriptor). Who has none sends one by one. */
struct send_ring *send_ring_new(void);
/** NULL is fine. */
void send_ring_free(struct send_ring *r);

/**
 * Send what each of @n sockets is to get, as far as it takes it now; @n is at most SEND_RING_MAX.
 * Those with the result -ECANCELED were not tried: send them in another way. Returns false when the ring is of no use any more:
 * free it.
 */
MUST_CHECK bool send_ring_go(struct send_ring *r, struct ring_send *sends, size_t n);

#endif
