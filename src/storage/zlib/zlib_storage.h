/* zc.zlibstorage's storages: around another one, whose records are compressed.
 *
 * Who packs and who resolves conflicts sees through compressed records by itself, whatever the storage: no
 * pickle begins as they do. */
#ifndef STORAGE_ZLIB_STORAGE_H
#define STORAGE_ZLIB_STORAGE_H

#include <stdbool.h>

#include "base/compiler.h"
#include "base/err.h"
#include "storage/storage.h"

struct zlib_storage_options {
	bool inflate; /* <zlibstorage>: clients see records as they were; else as they are stored */
	bool deflate; /* new records are compressed */
};

/** @inner becomes the wrapper's, which closes it; on failure it stays the caller's. */
MUST_CHECK int zlib_storage_open(struct storage *inner, const struct zlib_storage_options *o,
	struct storage **ret, struct err *e);

#endif
