/* System calls on files. Everything that touches a disk goes through here, so
 * that a test can fail the n-th call (tests/fault). Interrupted calls are repeated,
 * short ones completed. Descriptors are always close-on-exec. */
#ifndef BASE_OS_H
#define BASE_OS_H

#include <stdint.h>
#include <sys/types.h>

#include "base/compiler.h"
#include "base/err.h"

/** Open @path with open(2)'s @flags (O_CLOEXEC is added), mode 0666 less the umask. */
MUST_CHECK int os_open(const char *path, int flags, int *ret_fd, struct err *e);
/** A new file in the folder @dir that has no name, also where the file system has no O_TMPFILE. */
MUST_CHECK int os_open_unnamed(const char *dir, int *ret_fd, struct err *e);
/** Close; -1 is fine. */
void os_close(int fd);
/** Read exactly @n bytes at @off. *ret_n is short only at the end of the file. */
MUST_CHECK int os_pread(int fd, void *p, size_t n, uint64_t off, size_t *ret_n, struct err *e);
/** As os_pread(), but ERR_AGAIN when that would have to wait for the disk
 * (preadv2 with RWF_NOWAIT). May give a short count: what was there at once. ERR_UNSUPPORTED where the
 * file system knows no RWF_NOWAIT. */
MUST_CHECK int os_pread_nowait(
	int fd, void *p, size_t n, uint64_t off, size_t *ret_n, struct err *e);
/** Write all of @n bytes at @off. ERR_NOSPC when the disk or quota is full. */
MUST_CHECK int os_pwrite(int fd, const void *p, size_t n, uint64_t off, struct err *e);
/** As os_pwrite(), durable on return (pwritev2 with RWF_DSYNC). */
MUST_CHECK int os_pwrite_dsync(int fd, const void *p, size_t n, uint64_t off, struct err *e);
/** Let these bytes begin their way to the disk, so that os_fdatasync() has less to wait for: that tells what came of it. */
void os_begin_sync(int fd, uint64_t off, uint64_t n);
/** A failure is final: never sync again and believe it (R6). */
MUST_CHECK int os_fdatasync(int fd, struct err *e);
MUST_CHECK int os_fsync(int fd, struct err *e);
MUST_CHECK int os_ftruncate(int fd, uint64_t size, struct err *e);
/** Reserve disk blocks for [off, off + n) without changing the file's size. Where the file
 * system cannot, it does nothing and returns OK. */
MUST_CHECK int os_reserve(int fd, uint64_t off, uint64_t n, struct err *e);
MUST_CHECK int os_size(int fd, uint64_t *ret_size, struct err *e);
MUST_CHECK int os_rename(const char *from, const char *to, struct err *e);
/** ERR_NOENT when there was none. */
MUST_CHECK int os_unlink(const char *path, struct err *e);
/** A folder, mode 0777 less the umask. ERR_EXISTS when there is something of that name. */
MUST_CHECK int os_mkdir(const char *path, struct err *e);
/** A second name for a file. ERR_UNSUPPORTED where the file system has none, or no more for this file. */
MUST_CHECK int os_link(const char *from, const char *to, struct err *e);
MUST_CHECK int os_fchmod(int fd, mode_t mode, struct err *e);
/** To be called now and then by a thread that has much to do, while it holds no lock: it gives way to those that wait for
 * its processor, as event loops do whose clients wait for an answer. */
void os_give_way(void);

/** Processors that this process may use. */
unsigned os_cpus(void);
/** What this thread has used of them so far, in us, and what all threads of the process have. */
uint64_t os_thread_cpu_us(void);
uint64_t os_process_cpu_us(void);
/** Sync the folder that holds @path, so that a rename or a new file there is durable. */
MUST_CHECK int os_sync_dir_of(const char *path, struct err *e);

/** Fault injection (tests only): when set, asked before each call with its name
 * ("pwrite", "fdatasync" ...); a value other than 0 is the errno the call fails with. After EINTR it is
 * asked again where the call is repeated. */
extern int (*os_fault_hook)(const char *call);

#endif
