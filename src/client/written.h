/* What a transaction has written, kept until its finish for the cache: in memory, then in an unlinked file. */
#ifndef CLIENT_WRITTEN_H
#define CLIENT_WRITTEN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/compiler.h"
#include "base/err.h"
#include "base/slice.h"

struct written_rec {
	uint64_t oid;
	uint64_t off;
	size_t len;
	bool has_data; /* that may go into the cache */
};

struct written {
	struct written_rec *recs;
	size_t n, room;
	struct buf memory; /* the end of the data */
	uint64_t spilled;  /* bytes in the file before it */
	int fd;            /* -1: none */
};

/** @room  memory of an earlier one; taken */
void written_init(struct written *w, struct buf *room);
/** Returns memory for the next one. */
MUST_CHECK struct buf written_fini(struct written *w);

/** @data is copied; without data only the oid is kept. Returns 0, ERR_NOMEM, or the disk's refusal. */
MUST_CHECK int written_add(
	struct written *w, uint64_t oid, struct slice data, bool has_data, struct err *e);
/** Bytes of all that has data. */
uint64_t written_bytes(const struct written *w);
/** The state of @oid that will be current is not what was stored. */
void written_forget_data(struct written *w, uint64_t oid);
/** The data of a record: borrowed from @room or @w. False: it cannot be read. */
bool written_data(
	const struct written *w, const struct written_rec *r, struct buf *room, struct slice *ret);

#endif
