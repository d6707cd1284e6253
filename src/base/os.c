#include "base/os.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

int (*os_fault_hook)(const char *call);

static int fault(const char *call)
{
	return os_fault_hook ? os_fault_hook(call) : 0;
}

/* True when the call may go on; else errno is the injected failure. */
static int allowed(const char *call)
{
	int errnum = fault(call);

	if (errnum)
		errno = errnum;
	return errnum == 0;
}

int os_open(const char *path, int flags, int *ret_fd, struct err *e)
{
	int fd;

	do
		fd = allowed("open") ? open(path, flags | O_CLOEXEC, 0666) : -1;
	while (fd < 0 && errno == EINTR);
	if (fd < 0)
		return err_sys(e, errno, "cannot open '%s'", path);
	*ret_fd = fd;
	return OK;
}

int os_open_unnamed(const char *dir, int *ret_fd, struct err *e)
{
	char name[PATH_MAX];
	int fd;

	do
		fd = allowed("open") ? open(dir, O_TMPFILE | O_RDWR | O_EXCL | O_CLOEXEC, 0600)
				     : -1;
	while (fd < 0 && errno == EINTR);
	if (fd < 0 && (errno == EOPNOTSUPP || errno == EISDIR || errno == ENOSYS)) {
		snprintf(name, sizeof(name), "%s/zkzeo-XXXXXX", dir);
		fd = mkostemp(name, O_CLOEXEC);
		if (fd >= 0)
			unlink(name);
	}
	if (fd < 0)
		return err_sys(e, errno, "cannot make a temporary file in '%s'", dir);
	*ret_fd = fd;
	return OK;
}

void os_close(int fd)
{
	if (fd >= 0)
		close(fd);
}

int os_pread(int fd, void *p, size_t n, uint64_t off, size_t *ret_n, struct err *e)
{
	size_t got = 0;

	while (got < n) {
		ssize_t r = -1;

		if (allowed("pread"))
			r = pread(fd, (char *)p + got, n - got, (off_t)(off + got));
		if (r == 0)
			break;
		if (r > 0)
			got += (size_t)r;
		else if (errno != EINTR)
			return err_sys(e, errno, "cannot read %zu bytes at %llu", n,
				(unsigned long long)off);
	}
	*ret_n = got;
	return OK;
}

int os_pread_nowait(int fd, void *p, size_t n, uint64_t off, size_t *ret_n, struct err *e)
{
	struct iovec iov = { p, n };
	ssize_t r;

	do
		r = allowed("preadv2") ? preadv2(fd, &iov, 1, (off_t)off, RWF_NOWAIT) : -1;
	while (r < 0 && errno == EINTR);
	if (r >= 0) {
		*ret_n = (size_t)r;
		return OK;
	}
	if (errno == EOPNOTSUPP || errno == ENOSYS || errno == EINVAL)
		return err_set(e, ERR_UNSUPPORTED, "the file system cannot read without waiting");
	if (errno == EAGAIN)
		return ERR_AGAIN; /* the usual case of a cold page: no text */
	return err_sys(e, errno, "cannot read %zu bytes at %llu", n, (unsigned long long)off);
}

static int pwrite_all(
	const char *call, int fd, const void *p, size_t n, uint64_t off, int flags, struct err *e)
{
	size_t put = 0;

	while (put < n) {
		struct iovec iov = { (char *)p + put, n - put };
		ssize_t r = -1;

		if (allowed(call))
			r = pwritev2(fd, &iov, 1, (off_t)(off + put), flags);
		if (r > 0)
			put += (size_t)r;
		else if (r == 0 || errno != EINTR)
			return err_sys(e, r == 0 ? EIO : errno, "cannot write %zu bytes at %llu", n,
				(unsigned long long)off);
	}
	return OK;
}

int os_pwrite(int fd, const void *p, size_t n, uint64_t off, struct err *e)
{
	return pwrite_all("pwrite", fd, p, n, off, 0, e);
}

int os_pwrite_dsync(int fd, const void *p, size_t n, uint64_t off, struct err *e)
{
	return pwrite_all("pwrite_dsync", fd, p, n, off, RWF_DSYNC, e);
}

void os_begin_sync(int fd, uint64_t off, uint64_t n)
{
	(void)sync_file_range(fd, (off_t)off, (off_t)n, SYNC_FILE_RANGE_WRITE);
}

int os_fdatasync(int fd, struct err *e)
{
	int rc;

	do
		rc = allowed("fdatasync") ? fdatasync(fd) : -1;
	while (rc != 0 && errno == EINTR);
	if (rc != 0)
		return err_sys(e, errno, "cannot sync data to disk");
	return OK;
}

int os_fsync(int fd, struct err *e)
{
	int rc;

	do
		rc = allowed("fsync") ? fsync(fd) : -1;
	while (rc != 0 && errno == EINTR);
	if (rc != 0)
		return err_sys(e, errno, "cannot sync to disk");
	return OK;
}

int os_ftruncate(int fd, uint64_t size, struct err *e)
{
	int rc;

	do
		rc = allowed("ftruncate") ? ftruncate(fd, (off_t)size) : -1;
	while (rc != 0 && errno == EINTR);
	if (rc != 0)
		return err_sys(e, errno, "cannot truncate to %llu bytes", (unsigned long long)size);
	return OK;
}

int os_reserve(int fd, uint64_t off, uint64_t n, struct err *e)
{
	int r;

	do
		r = allowed("fallocate") ? fallocate(fd, FALLOC_FL_KEEP_SIZE, (off_t)off, (off_t)n)
					 : -1;
	while (r < 0 && errno == EINTR);
	if (r == 0 || errno == EOPNOTSUPP || errno == ENOSYS)
		return OK;
	return err_sys(e, errno, "cannot reserve %llu bytes", (unsigned long long)n);
}

int os_size(int fd, uint64_t *ret_size, struct err *e)
{
	struct stat st;

	if (!allowed("fstat") || fstat(fd, &st) != 0)
		return err_sys(e, errno, "cannot stat");
	*ret_size = (uint64_t)st.st_size;
	return OK;
}

int os_rename(const char *from, const char *to, struct err *e)
{
	if (!allowed("rename") || rename(from, to) != 0)
		return err_sys(e, errno, "cannot rename '%s' to '%s'", from, to);
	return OK;
}

int os_unlink(const char *path, struct err *e)
{
	if (!allowed("unlink") || unlink(path) != 0)
		return err_sys(e, errno, "cannot remove '%s'", path);
	return OK;
}

int os_mkdir(const char *path, struct err *e)
{
	if (!allowed("mkdir") || mkdir(path, 0777) != 0)
		return err_sys(e, errno, "cannot make the folder '%s'", path);
	return OK;
}

int os_link(const char *from, const char *to, struct err *e)
{
	if (allowed("link") && link(from, to) == 0)
		return OK;
	if (errno == EPERM || errno == EOPNOTSUPP || errno == ENOSYS || errno == EMLINK)
		return err_set(e, ERR_UNSUPPORTED, "cannot link '%s' to '%s': %s", from, to,
			strerror(errno));
	return err_sys(e, errno, "cannot link '%s' to '%s'", from, to);
}

int os_fchmod(int fd, mode_t mode, struct err *e)
{
	if (!allowed("fchmod") || fchmod(fd, mode) != 0)
		return err_sys(e, errno, "cannot change the mode to %04o", (unsigned)mode);
	return OK;
}

int os_sync_dir_of(const char *path, struct err *e)
{
	char dir[PATH_MAX];
	const char *slash = strrchr(path, '/');
	int n = slash ? (int)(slash - path) : 0;
	int fd = -1;
	int rc;

	snprintf(dir, sizeof(dir), "%.*s", slash ? (n ? n : 1) : 1, slash ? path : ".");
	rc = os_open(dir, O_RDONLY | O_DIRECTORY, &fd, e);
	if (rc == OK)
		rc = os_fsync(fd, e);
	os_close(fd);
	return rc;
}

void os_give_way(void)
{
	sched_yield();
}

unsigned os_cpus(void)
{
	cpu_set_t set;
	int n = sched_getaffinity(0, sizeof(set), &set) == 0 ? CPU_COUNT(&set) : 1;

	return n > 0 ? (unsigned)n : 1;
}

static uint64_t clock_us(clockid_t id)
{
	struct timespec t = { 0 };

	clock_gettime(id, &t);
	return (uint64_t)t.tv_sec * 1000000 + (uint64_t)t.tv_nsec / 1000;
}

uint64_t os_thread_cpu_us(void)
{
	return clock_us(CLOCK_THREAD_CPUTIME_ID);
}

uint64_t os_process_cpu_us(void)
{
	return clock_us(CLOCK_PROCESS_CPUTIME_ID);
}
