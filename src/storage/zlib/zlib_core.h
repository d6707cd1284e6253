/* What the files of the compressed storages share. */
#ifndef ZLIB_ZLIB_CORE_H
#define ZLIB_ZLIB_CORE_H

#include "base/buf.h"
#include "base/compiler.h"
#include "base/err.h"
#include "base/slice.h"
#include "storage/storage.h"
#include "storage/zlib/zlib_storage.h"

enum {
	ZLIB_INLINE = 64 << 10, /* bytes: larger records are inflated on the pool */
	ZLIB_NAMES_MAX = 2 * 12,
};

struct zlib_storage {
	struct storage storage;
	struct storage_ops ops; /* without those that the inner one does not offer */
	struct storage *inner;
	const char *interfaces[ZLIB_NAMES_MAX + 3];
};

static inline struct zlib_storage *zlib_of(struct storage *s)
{
	return CONTAINER_OF(s, struct zlib_storage, storage);
}

/** As zrecord_inflate(), but ERR_CORRUPT for one that is damaged. */
MUST_CHECK int zlib_inflate_record(struct slice record, struct buf *ret, struct err *e);

void zlib_load(struct storage *s, struct load_req *r);
void zlib_vote(struct storage *s, struct vote_req *v);

MUST_CHECK int zlib_iter_open(
	struct storage *s, uint64_t start, uint64_t stop, struct storage_iter **ret, struct err *e);
MUST_CHECK int zlib_iter_records(
	struct storage_iter *txns, struct storage_iter **ret, struct err *e);
void zlib_iter_next(struct iter_req *r);
void zlib_iter_close(struct storage *s, struct storage_iter *it);

#endif
