/* A set of oids for a walk over all objects: two bits each, "reached" and "scanned", in pieces of 64
 * oids: less than a byte for each object where oids are dense, some dozen bytes where they are scattered. */
#ifndef FILESTORAGE_OID_SET_H
#define FILESTORAGE_OID_SET_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/compiler.h"
#include "base/err.h"

struct oid_piece {
	uint64_t key; /* oid / 64 + 1; 0: free */
	uint64_t reached;
	uint64_t scanned;
};

/** Zeros are an empty one. */
struct oid_set {
	struct oid_piece *pieces;
	size_t n;
	size_t room;
};

void oid_set_free(struct oid_set *s);
/** Returns 0 or ERR_NOMEM; *ret_new tells whether it was not there. */
MUST_CHECK int oid_set_add(struct oid_set *s, uint64_t oid, bool *ret_new, struct err *e);
bool oid_set_has(const struct oid_set *s, uint64_t oid);
/** It is in the set. */
void oid_set_scanned(struct oid_set *s, uint64_t oid);
/**
 * An oid that is reached and not scanned, in no order. @at is 0 at first, and the caller's to keep between calls; it
 * starts again when oid_set_room() has changed. False: none is left from there on.
 */
bool oid_set_unscanned(const struct oid_set *s, size_t *at, uint64_t *ret_oid);
/** Changes when the pieces get new places. */
static inline size_t oid_set_room(const struct oid_set *s)
{
	return s->room;
}

#endif
