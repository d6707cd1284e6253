/* A file that holds data, through a table of functions: the real one is
 * disk_open(), the simulation has one that loses what was not synced. */
#ifndef BASE_DISK_H
#define BASE_DISK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/compiler.h"
#include "base/err.h"

struct disk_file;

/** Meanings as the os_* calls of base/os.h. Reads may be called from any thread, the rest
 * from one thread at a time. */
struct disk_ops {
	int (*pread)(struct disk_file *f, void *p, size_t n, uint64_t off, bool may_block,
		size_t *ret_n, struct err *e);
	/** As pread of all @n bytes, if that takes no system call and no waiting; else false. May be NULL. */
	bool (*copy)(struct disk_file *f, void *p, size_t n, uint64_t off);
	/** Let the processor fetch @n bytes at each of @n_offs places for copy(), as far as it can. NULL where copy is. */
	void (*prefetch)(struct disk_file *f, size_t n, const uint64_t *offs, size_t n_offs);
	int (*pwrite)(struct disk_file *f, const void *p, size_t n, uint64_t off, struct err *e);
	int (*pwrite_dsync)(
		struct disk_file *f, const void *p, size_t n, uint64_t off, struct err *e);
	int (*fdatasync)(struct disk_file *f, struct err *e);
	int (*ftruncate)(struct disk_file *f, uint64_t size, struct err *e);
	int (*reserve)(struct disk_file *f, uint64_t off, uint64_t n, struct err *e);
	int (*size)(struct disk_file *f, uint64_t *ret_size, struct err *e);
	void (*close)(struct disk_file *f); /* frees it, too */
};

struct disk_file {
	const struct disk_ops *ops;
};

/** Open a real file with open(2)'s @flags. Closed by (*ret)->ops->close(). */
MUST_CHECK int disk_open(const char *path, int flags, struct disk_file **ret, struct err *e);

#endif
