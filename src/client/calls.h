/* Calls that wait for their answer, by number; and loads, by what they load, so that loads of the same are one. L. */
#ifndef CLIENT_CALLS_H
#define CLIENT_CALLS_H

#include "client/client.h"

/** The one request that some loads wait for. */
struct load {
	struct call call; /* of the request; is_load */
	struct conn *conn;
	struct load *next_load;
	uint64_t oid, tid;
	struct call *waiting; /* by call.next */
};

struct pending {
	struct call **calls; /* n_rooms chains, by id */
	struct load **loads; /* n_rooms chains, by oid and tid */
	uint32_t n_rooms;
	uint32_t n;
	uint64_t last_id;
	uint32_t searched; /* rooms that have no call, of pending_take_any() */
};

/** Give @k an id and remember it. Returns 0 or ERR_NOMEM. */
MUST_CHECK int pending_add(struct pending *p, struct call *k, struct err *e);
/** NULL: there is no such. */
struct call *pending_take(struct pending *p, uint64_t id);
/** Any one; NULL: there is none left. */
struct call *pending_take_any(struct pending *p);

/** @l's call was added. */
void pending_add_load(struct pending *p, struct load *l);
struct load *pending_find_load(const struct pending *p, uint64_t oid, uint64_t tid);
void pending_remove_load(struct pending *p, struct load *l);

/** @k waits for a load no longer. */
void load_leave(struct call *k);

/** Its answer was taken, or does not come: all who wait are told, and it is freed. L; given up while a done() runs. */
void load_finish(struct load *l);

/** Nothing is in it. */
void pending_free(struct pending *p);

/** What has become of it: k->rc, with its text. */
MUST_CHECK int call_result(const struct call *k, struct err *e);

/** An answer has come or will not come: tell whoever waits. L; given up while done() runs. */
void call_finish(struct call *k);

#endif
