#include "base/lock_file.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/os.h"
#include "base/slice.h"

static int refused(const char *path, int fd, struct err *e)
{
	char holder[32] = "";
	size_t got = 0;

	if (errno != EWOULDBLOCK)
		return err_sys(e, errno, "cannot lock '%s'", path);
	if (os_pread(fd, holder, sizeof(holder) - 1, 0, &got, NULL) != OK)
		got = 0;
	holder[got] = 0;
	holder[strcspn(holder, "\n")] = 0;
	return err_set(e, ERR_BUSY, "'%s' is locked by another process (%s)", path,
		holder[0] ? holder + strspn(holder, " ") : "which wrote no id");
}

/* Is the file behind @fd still the one at @path? */
static bool is_at(int fd, const char *path)
{
	struct stat ours, theirs;

	return fstat(fd, &ours) == 0 && stat(path, &theirs) == 0 && ours.st_dev == theirs.st_dev &&
	       ours.st_ino == theirs.st_ino;
}

static int write_pid(int fd, struct err *e)
{
	char text[32];
	int len = snprintf(text, sizeof(text), " %ld\n", (long)getpid());
	int rc = os_pwrite(fd, text, (size_t)len, 0, e);

	return rc == OK ? os_ftruncate(fd, (uint64_t)len, e) : rc;
}

int lock_file_take(const char *path, int *ret_fd, struct err *e)
{
	int fd = -1;
	int rc;

	for (;;) {
		rc = os_open(path, O_RDWR | O_CREAT, &fd, e);
		if (rc != OK)
			return rc;
		if (flock(fd, LOCK_EX | LOCK_NB) != 0) {
			rc = refused(path, fd, e);
			break;
		}
		if (is_at(fd, path)) {
			rc = write_pid(fd, e);
			break;
		}
		os_close(fd);
	}
	if (rc != OK) {
		os_close(fd);
		return rc;
	}
	*ret_fd = fd;
	return OK;
}

void lock_file_release(int fd)
{
	if (fd >= 0)
		flock(fd, LOCK_UN);
	os_close(fd);
}
