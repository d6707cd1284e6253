/* Writing values as pickle (protocol 3, no memo: what ZEO's Pickler with fast=1 writes) or
 * msgpack (use_bin_type). Errors are sticky in the buffer: write all, check buf_ok() once.
 *
 *     enc_begin(&en, out, ENC_PICKLE);
 *     enc_tuple(&en, 2); enc_int(&en, 1); enc_str(&en, slice_str("x")); enc_end(&en);
 *     enc_finish(&en);
 */
#ifndef CODEC_ENC_H
#define CODEC_ENC_H

#include <stdbool.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/slice.h"
#include "codec/val.h"

enum encoding {
	ENC_PICKLE,  /* 'Z' */
	ENC_MSGPACK, /* 'M' */
};

enum { ENC_DEPTH_MAX = 64 };

struct enc {
	struct buf *out; /* appended to */
	enum encoding encoding;
	uint8_t depth;
	struct {
		uint8_t type; /* enum val_type of the open container */
		uint32_t n;
	} open[ENC_DEPTH_MAX];
};

/** Start a value; ENC_PICKLE writes the protocol header. */
void enc_begin(struct enc *en, struct buf *out, enum encoding encoding);
/** Complete it; ENC_PICKLE writes STOP. */
void enc_finish(struct enc *en);

void enc_none(struct enc *en);
void enc_bool(struct enc *en, bool v);
void enc_int(struct enc *en, int64_t v);
void enc_float(struct enc *en, double v);
void enc_bytes(struct enc *en, struct slice s);
/** What stands before the bytes of enc_bytes(): @len of them follow, put there in some other way. */
void enc_bytes_head(struct enc *en, uint32_t len);
void enc_str(struct enc *en, struct slice utf8);
/** 8 bytes, big-endian: an oid or a tid. */
void enc_id(struct enc *en, uint64_t id);

/** Values that are encoded already, without pickle's PROTO and STOP. */
void enc_raw(struct enc *en, struct slice encoded);

/** Open a container of exactly @n items (a dict: @n pairs, keys and values in turn); each is
 * closed by enc_end(). In msgpack tuples and lists are both arrays. */
void enc_tuple(struct enc *en, uint32_t n);
void enc_list(struct enc *en, uint32_t n);
void enc_dict(struct enc *en, uint32_t n);
void enc_end(struct enc *en);

/** Any decoded value, containers included. VAL_SET and what is behind it can be written as
 * pickle only; in msgpack they set the buffer's failure. */
void enc_val(struct enc *en, const struct val *v);

#endif
