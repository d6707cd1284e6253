/* The ZooKeeper library opens its descriptors without close-on-exec: a program that this process
 * starts would inherit the connection. These mark them, by what they are. */
#ifndef ZOOKEEPER_DESCRIPTORS_H
#define ZOOKEEPER_DESCRIPTORS_H

#include <stdbool.h>
#include <sys/socket.h>

/** Set close-on-exec on the pipes and sockets that have a number of at least 3 and lack it, and are
 * @peer's connections or (NULL) pipes. A pipe of somebody else's that gets marked loses nothing: whoever
 * wants a child to have it dup2()s it. Returns the last one that was marked, or -1. */
int descriptors_protect(const struct sockaddr *peer, socklen_t peer_len);

/** End what goes through @fd, if it is a connection to @peer. Its owner sees the end, and closes it. */
bool descriptors_shut(int fd, const struct sockaddr *peer, socklen_t peer_len);

#endif
