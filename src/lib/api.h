/* Between what the headers in include/zkzeo/ declare and the layers below: the public names of structures are these ones. */
#ifndef LIB_API_H
#define LIB_API_H

#include <pthread.h>
#include <stddef.h>
#include <sys/types.h>

#include "base/err.h"
#include "client/blobs.h"
#include "client/client.h"
#include "client/finder.h"
#include "database/database.h"
#include "net/tls.h"
#include "object/object.h"
#include "object/value.h"
#include "storage/resolver.h"
#include <zkzeo/client.h>
#include <zkzeo/db.h>
#include <zkzeo/error.h>
#include <zkzeo/value.h>

/* One error domain: theirs is ours. */
_Static_assert(sizeof(struct zkzeo_error) == sizeof(struct err), "zkzeo_error is err");
_Static_assert(offsetof(struct zkzeo_error, text) == offsetof(struct err, text), "text");
_Static_assert((int)ZKZEO_REMOTE == (int)ERR_REMOTE && (int)ZKZEO_CONFLICT == (int)ERR_CONFLICT &&
		       (int)ZKZEO_CLOSED == (int)ERR_CLOSED,
	"codes");

static inline struct err *err_of(struct zkzeo_error *e)
{
	return (struct err *)e;
}

static inline struct value *value_of(struct zkzeo_value *v)
{
	return (struct value *)v;
}

static inline const struct value *const_value_of(const struct zkzeo_value *v)
{
	return (const struct value *)v;
}

static inline struct zkzeo_value *api_value(struct value *v)
{
	return (struct zkzeo_value *)v;
}

/* What the library cannot merge is asked for in the program. */
struct api_resolver {
	struct resolver base;
	struct resolver *native;
	const struct zkzeo_events *events;
};

struct zkzeo_client {
	struct client *client;
	struct blobs *blobs;   /* NULL: none */
	struct finder *finder; /* NULL: the addresses are given */
	struct tls_context *tls;
	struct api_resolver resolver;
	struct zkzeo_events events;
	char *name;
	bool server_sync;
	pid_t pid;            /* whose it is: a child leaves the lock alone (T31) */
	pthread_mutex_t lock; /* dbs */
	struct zkzeo_db *dbs;
};

struct zkzeo_db {
	struct database *database;
	struct zkzeo_client *client;
	bool owns_client;
	struct zkzeo_db *next; /* of the same client */
};

/** What the client's callbacks are: they pass on to databases and program. @c lives as long as the client. */
void api_events(struct zkzeo_client *c, struct client_events *ret);
/** Transaction @tid changed @oids: to all databases of the client. */
void api_invalidate(struct zkzeo_client *c, uint64_t tid, const uint64_t *oids, size_t n);
MUST_CHECK int api_resolver_open(
	struct api_resolver *r, const struct zkzeo_events *events, struct err *e);
void api_resolver_close(struct api_resolver *r);

/** An oid or tid as the wire has it. */
struct val api_id(uint8_t bytes[8], uint64_t id);
/** Memory of a buffer, for zkzeo_free(); the buffer is empty then. ERR_NOMEM when it has failed. */
MUST_CHECK int api_take(struct buf *b, uint8_t **ret, size_t *ret_len, struct err *e);
/** Ask, and decode the answer; call_end(). */
MUST_CHECK int api_call(struct zkzeo_client *c, struct call *k, const char *method,
	const struct val *args, uint32_t n_args, struct err *e);
/** "module.name" as records have it; freed with mem_free(). ERR_INVAL, ERR_NOMEM. */
MUST_CHECK int api_class(const char *dotted, char **ret, struct err *e);
/** As the layers below have it. NULL is fine. */
struct commit_note api_note(const struct zkzeo_note *note);

#endif
