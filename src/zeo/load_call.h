/* The one call that a server spends its time with, loadBefore, found in the bytes that ZEO's clients write for
 * it: without building values. What is written in any other way is for message_decode(). */
#ifndef ZEO_LOAD_CALL_H
#define ZEO_LOAD_CALL_H

#include <stdbool.h>
#include <stdint.h>

#include "base/slice.h"
#include "codec/enc.h"
#include "zeo/message.h"

struct load_call {
	struct slice id; /* as encoded, borrowed; shorter than a reply_id's room */
	uint64_t oid;
	uint64_t tid;
};

/** Is @content, of a frame, (id, False, "loadBefore", (oid, tid)) with an id that is a number from 0 on or a pair of
 * two ids, byte by byte as a client writes it? False says nothing about what else it may be. */
bool load_call_take(struct slice content, enum encoding encoding, struct load_call *ret);

/** The id of such a call, for its reply. */
void load_call_reply_id(const struct load_call *c, struct reply_id *ret);

#endif
