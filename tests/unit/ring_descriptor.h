/* The descriptor of the io_uring of this process that was made last. */
#ifndef TESTS_RING_DESCRIPTOR_H
#define TESTS_RING_DESCRIPTOR_H

#include <stdio.h>
#include <string.h>
#include <unistd.h>

/* As descriptors grow; or -1. (A newer libuv has some of its own, from before.) */
static inline int ring_descriptor(void)
{
	char name[40];
	int found = -1;

	for (int fd = 3; fd < 1024; fd++) {
		char to[40] = "";

		snprintf(name, sizeof(name), "/proc/self/fd/%d", fd);
		if (readlink(name, to, sizeof(to) - 1) > 0 && strstr(to, "[io_uring]"))
			found = fd;
	}
	return found;
}

#endif
