/* Reading msgpack messages (the M5 encoding): arrays become VAL_TUPLE (as
 * unpackb(use_list=False) does), str VAL_STR (checked UTF-8), bin VAL_BYTES, map VAL_DICT;
 * extension types are an error. Tokens are read by libmpack. */
#ifndef CODEC_MSGPACK_H
#define CODEC_MSGPACK_H

#include "base/arena.h"
#include "base/compiler.h"
#include "base/err.h"
#include "base/slice.h"
#include "codec/pickle.h"
#include "codec/val.h"

/** As pickle_decode(): the input must hold exactly one value. */
MUST_CHECK int msgpack_decode(struct slice in, const struct pickle_limits *limits,
	struct arena *arena, struct val *ret, struct err *e);

#endif
