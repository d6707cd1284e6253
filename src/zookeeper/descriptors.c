#include "zookeeper/descriptors.h"

#include <dirent.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

/* The descriptors that are looked at belong to other threads, which may close them meanwhile. That
 * is harmless: nothing is changed but what still is what we look for, and whose number another
 * connection to ZooKeeper has got meanwhile is made anew by its owner. Race
 * detectors cannot know it, so their wrappers of fstat() and getpeername() are passed by. */
static bool is_pipe(int fd)
{
	char path[32], target[16] = "";

	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	return readlink(path, target, sizeof(target) - 1) > 0 && strncmp(target, "pipe:", 5) == 0;
}

static bool is_connected_to(int fd, const struct sockaddr *peer, socklen_t peer_len)
{
	struct sockaddr_storage found;
	socklen_t n = sizeof(found);

	memset(&found, 0, sizeof(found));
	return syscall(SYS_getpeername, fd, &found, &n) == 0 && n == peer_len &&
	       memcmp(&found, peer, n) == 0;
}

static bool protect(int fd, const struct sockaddr *peer, socklen_t peer_len)
{
	int flags = fcntl(fd, F_GETFD);

	if (flags < 0 || (flags & FD_CLOEXEC))
		return false;
	if (peer ? !is_connected_to(fd, peer, peer_len) : !is_pipe(fd))
		return false;
	return fcntl(fd, F_SETFD, flags | FD_CLOEXEC) == 0;
}

int descriptors_protect(const struct sockaddr *peer, socklen_t peer_len)
{
	DIR *all = opendir("/proc/self/fd");
	struct dirent *d;
	int last = -1;

	while (all && (d = readdir(all))) {
		int fd = atoi(d->d_name);

		if (fd > 2 && protect(fd, peer, peer_len))
			last = fd;
	}
	if (all)
		closedir(all);
	return last;
}

bool descriptors_shut(int fd, const struct sockaddr *peer, socklen_t peer_len)
{
	return fd >= 0 && is_connected_to(fd, peer, peer_len) && shutdown(fd, SHUT_RDWR) == 0;
}
