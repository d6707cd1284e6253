/* Reads of a file without a system call: it is mapped, and pages that were in the page cache a moment
 * ago are copied from there. A page that was not seen for some seconds may have been evicted: the kernel is asked about
 * it and its neighbours, or it is read the usual way, which does not wait for the disk, and is known again.
 *
 * A page that goes in just these seconds makes a reader wait for the disk, once. A page that cannot be
 * read at all (the disk fails, the file was truncated by somebody) is found by its signal, and left to the
 * usual way, which gives the error. */
#ifndef BASE_FILE_MAP_H
#define BASE_FILE_MAP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct file_map;

/** NULL without memory: then reads go the usual way. @fd is borrowed. */
struct file_map *file_map_new(int fd);
/** NULL is fine. */
void file_map_free(struct file_map *m);

/** Copy @n bytes at @off, all of them within the file, if their pages are known to be in memory. Threads: any. */
bool file_map_read(struct file_map *m, void *p, size_t n, uint64_t off);

/** Let the processor fetch @n bytes at each of these offsets; nothing where they are not mapped. Threads: any. */
void file_map_prefetch(const struct file_map *m, size_t n, const uint64_t *offs, size_t n_offs);

/** Ask the kernel which of the pages around @off are in memory: then file_map_read() knows. False: it cannot be asked.
 * Threads: any. */
bool file_map_ask(struct file_map *m, uint64_t off);

/** These bytes were in memory just now. Threads: any. */
void file_map_seen(struct file_map *m, uint64_t off, size_t n);

#endif
