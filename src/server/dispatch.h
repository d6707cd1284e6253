/* From a message to its handler: the table of methods, and the checks that stand before every
 * one of them (T44). */
#ifndef SERVER_DISPATCH_H
#define SERVER_DISPATCH_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/slice.h"
#include "codec/val.h"
#include "server/reply.h"

/** The arguments of a request, checked for their number by the table; valid until the handler returns. */
struct args {
	const struct val *v;
	uint32_t n;
};

enum method_flags {
	METHOD_BEFORE_REGISTER = 1, /* allowed as the first call, and only then */
	METHOD_WRITES = 2,          /* ReadOnlyError on a read-only connection */
};

struct method {
	const char *name;
	uint8_t min_args;
	uint8_t max_args;
	unsigned flags;
	void (*handle)(const struct request *r, const struct args *a);
	const char *doc; /* an anchor in docs/protocol.md */
};

/* Of methods[]: dispatch() takes it without a search; the others follow it. */
enum { LOAD_BEFORE_ROW = 0 };

/** Every method of the protocol; methods.c. */
extern const struct method methods[];
extern const size_t n_methods;

/** Handle one message of a session. */
void dispatch(struct session *s, struct slice content);

/* Arguments. Each returns false after it answered the request with a TypeError that names the
 * argument. @i must be less than a->n. */
bool arg_id(const struct request *r, const struct args *a, uint32_t i, uint64_t *ret);
bool arg_bytes(const struct request *r, const struct args *a, uint32_t i, struct slice *ret);
bool arg_str(const struct request *r, const struct args *a, uint32_t i, struct slice *ret);
bool arg_int(const struct request *r, const struct args *a, uint32_t i, int64_t *ret);
bool arg_bool(const struct request *r, const struct args *a, uint32_t i, bool *ret);
/** The revision a store starts from. None or a text is of no revision, as the zero that clients send with new
 * objects: ZODB's storages compare it with an object's current serial, if there is one. handlers_commit.c */
bool arg_serial(const struct request *r, const struct args *a, uint32_t i, uint64_t *ret);

/** May records be added to the transaction that the last argument names? Else the request has its error.
 * handlers_commit.c */
bool commit_accepts(const struct request *r, const struct args *a);

/* handlers_info.c */
void handle_register(const struct request *r, const struct args *a);
void handle_get_info(const struct request *r, const struct args *a);
void handle_last_transaction(const struct request *r, const struct args *a);
void handle_get_invalidations(const struct request *r, const struct args *a);
void handle_new_oids(const struct request *r, const struct args *a);
void handle_new_oid(const struct request *r, const struct args *a);
void handle_server_status(const struct request *r, const struct args *a);
void handle_set_client_label(const struct request *r, const struct args *a);
void handle_ping(const struct request *r, const struct args *a);
/* handlers_read.c */
void load_before(const struct request *r, uint64_t oid, uint64_t tid);
void handle_load_before(const struct request *r, const struct args *a);
void handle_load_serial(const struct request *r, const struct args *a);
void handle_get_tid(const struct request *r, const struct args *a);
void handle_history(const struct request *r, const struct args *a);
/* handlers_blob.c */
void handle_store_blob_start(const struct request *r, const struct args *a);
void handle_store_blob_chunk(const struct request *r, const struct args *a);
void handle_store_blob_end(const struct request *r, const struct args *a);
void handle_store_blob_shared(const struct request *r, const struct args *a);
void handle_send_blob(const struct request *r, const struct args *a);
/* handlers_iterate.c */
void handle_iterator_start(const struct request *r, const struct args *a);
void handle_iterator_next(const struct request *r, const struct args *a);
void handle_iterator_record_start(const struct request *r, const struct args *a);
void handle_iterator_record_next(const struct request *r, const struct args *a);
void handle_iterator_gc(const struct request *r, const struct args *a);
void handle_record_iternext(const struct request *r, const struct args *a);
/* handlers_pack.c */
void handle_pack(const struct request *r, const struct args *a);
/* handlers_commit.c */
void handle_tpc_begin(const struct request *r, const struct args *a);
void handle_storea(const struct request *r, const struct args *a);
void handle_undoa(const struct request *r, const struct args *a);
void handle_restorea(const struct request *r, const struct args *a);
void handle_delete_object(const struct request *r, const struct args *a);
void handle_check_current(const struct request *r, const struct args *a);
void handle_vote(const struct request *r, const struct args *a);
void handle_tpc_finish(const struct request *r, const struct args *a);
void handle_tpc_abort(const struct request *r, const struct args *a);
/* handlers_undo.c */
void handle_undo_log(const struct request *r, const struct args *a);

#endif
