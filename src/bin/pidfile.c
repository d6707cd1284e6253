#include "bin/pidfile.h"

#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/os.h"

const char *pidfile_default(char *room)
{
	const char *home = getenv("INSTANCE_HOME");

	if (!home || !*home)
		return NULL;
	snprintf(room, PATH_MAX, "%s/var/ZEO.pid", home);
	return room;
}

static int our_text(char out[32])
{
	return snprintf(out, 32, "%ld\n", (long)getpid());
}

int pidfile_write(const char *path, struct err *e)
{
	char text[32];
	int n = our_text(text);
	int fd = -1;
	int rc;

	unlink(path); /* not into whatever it may link to */
	rc = os_open(path, O_WRONLY | O_CREAT | O_EXCL, &fd, e);
	if (rc == OK)
		rc = os_pwrite(fd, text, (size_t)n, 0, e);
	os_close(fd);
	if (rc != OK)
		err_wrap(e, "PID file '%s' cannot be written", path);
	return rc;
}

void pidfile_remove(const char *path)
{
	struct err e = ERR_INIT;
	char there[32] = "";
	char ours[32];
	size_t n = 0;
	int fd = -1;

	our_text(ours);
	if (os_open(path, O_RDONLY, &fd, &e) == OK &&
		os_pread(fd, there, sizeof(there) - 1, 0, &n, &e) == OK && strcmp(there, ours) == 0)
		unlink(path);
	os_close(fd);
}
