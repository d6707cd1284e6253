/* Data records as zc.zlibstorage keeps them: ".z" and a zlib stream, where that is shorter than
 * the record itself. */
#ifndef CODEC_ZRECORD_H
#define CODEC_ZRECORD_H

#include <stdbool.h>

#include "base/buf.h"
#include "base/compiler.h"
#include "base/err.h"
#include "base/slice.h"

/** The largest record that is unfolded into a buffer without a cap of its own, in bytes. */
#define ZRECORD_MAX (UINT64_C(256) << 20)

/** Is it a compressed record? No pickle starts so. */
static inline bool zrecord_is(struct slice record)
{
	return record.len >= 2 && record.data[0] == '.' && record.data[1] == 'z';
}

/**
 * Append the record that the compressed one stands for. What follows the stream is passed over, as
 * Python's zlib.decompress() does.
 * @record  zrecord_is()
 * @ret     its max, when it has one, bounds what is made of a small record; partly filled on failure
 * Returns 0; ERR_FORMAT: no zlib stream, or a damaged or cut one; ERR_LIMIT: larger than @ret may
 * be; ERR_NOMEM. Threads: any.
 */
MUST_CHECK int zrecord_inflate(struct slice record, struct buf *ret, struct err *e);

/**
 * Append the record as zc.zlibstorage would store it, to the byte: compressed when it is longer than 20
 * bytes, not compressed yet, and shorter that way; else as it is.
 * Returns 0, ERR_NOMEM or ERR_LIMIT. Threads: any.
 */
MUST_CHECK int zrecord_deflate(struct slice record, struct buf *ret, struct err *e);

#endif
