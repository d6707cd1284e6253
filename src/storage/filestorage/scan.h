/* Reading of a data file in order through a window. */
#ifndef FILESTORAGE_SCAN_H
#define FILESTORAGE_SCAN_H

#include <stddef.h>
#include <stdint.h>

#include "base/compiler.h"
#include "base/disk.h"
#include "base/err.h"

struct scan {
	struct disk_file *file;
	uint64_t size; /* nothing behind it is read */
	uint8_t *window;
	size_t room;    /* of the window */
	uint64_t start; /* of the window in the file */
	size_t len;
};

/** @size: of the file, or where its whole transactions end. Returns 0 or ERR_NOMEM. */
MUST_CHECK int scan_open(struct scan *s, struct disk_file *file, uint64_t size, struct err *e);
/** The same for one who walks back over the last transactions and looks at headers only: little is read that is
 * not used. */
MUST_CHECK int scan_open_back(struct scan *s, struct disk_file *file, uint64_t size, struct err *e);
void scan_close(struct scan *s);

/**
 * @n bytes (at most a quarter of the window: 256 KiB, 16 KiB of scan_open_back()) at @off, forward or back; borrowed until the next call.
 * Returns 0; ERR_FORMAT when the file ends before; ERR_IO.
 */
MUST_CHECK int scan_get(struct scan *s, uint64_t off, size_t n, const uint8_t **ret, struct err *e);

#endif
