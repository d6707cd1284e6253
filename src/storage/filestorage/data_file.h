/* A data file and its index, as one: a pack replaces both at once. Readers take no lock: a
 * thread borrows the current one for a moment, or keeps a reference for longer.
 *
 * I1  `end` only grows, and what lies before it does not change (but for filestorage.h's I1).
 * I2  What a thread has borrowed, and what a reference is held of, is not freed: readers in
 *     flight finish on the file that a pack replaced (R8). */
#ifndef FILESTORAGE_DATA_FILE_H
#define FILESTORAGE_DATA_FILE_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/compiler.h"
#include "base/disk.h"
#include "storage/filestorage/index.h"

struct data_file {
	struct disk_file *disk;
	struct index *index;
	_Atomic(uint64_t) end; /* of whole, durable, published transactions */
	atomic_uint refs;
};

/** With one reference; takes neither before it succeeds. NULL without memory. @index may be NULL: set later. */
struct data_file *data_file_new(struct disk_file *disk, struct index *index);
struct data_file *data_file_ref(struct data_file *d);
/** The last one closes the file and frees the index. NULL is fine. Threads: any. */
void data_file_unref(struct data_file *d);
/** Free the only reference without closing the file: it is the caller's. NULL is fine. */
void data_file_forget(struct data_file *d);

/**
 * The one that is current, valid until data_file_return(). For a moment's work that does not block and
 * calls nobody back; a thread borrows one at a time. Threads: any.
 */
struct data_file *data_file_borrow(_Atomic(struct data_file *) *current);
void data_file_return(void);

/** The one that is current, with a reference of the caller's. Threads: any. */
struct data_file *data_file_get(_Atomic(struct data_file *) *current);

/** Make @d current (its reference passes) and drop the one before once no thread has it borrowed: waits for
 * that, a matter of microseconds. Threads: one at a time. */
void data_file_replace(_Atomic(struct data_file *) *current, struct data_file *d);

static inline uint64_t data_file_end(const struct data_file *d)
{
	return atomic_load_explicit(&d->end, memory_order_acquire);
}

#endif
