/* Reads under way: load requests are kept by the hub and used again, so that a load allocates
 * nothing. */
#ifndef SERVER_LOAD_OP_H
#define SERVER_LOAD_OP_H

#include "server/reply.h"
#include "storage/storage.h"

struct hub;

struct load_op {
	struct load_req load;
	struct request request;
	struct load_op *next;
};

/** Send a load to the session's storage and answer the request when it is there. */
void load_op_start(const struct request *r, enum load_kind kind, uint64_t oid, uint64_t tid);

/** Of hub_fini(). */
void load_op_free_all(struct hub *h);

#endif
