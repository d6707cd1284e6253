/* The server: its storages, options and hubs. Built before the loops start and unchanged until
 * they have stopped; what changes meanwhile are counters and the commit queues.
 *
 * Threads: any, unless a function says otherwise. */
#ifndef SERVER_SERVER_H
#define SERVER_SERVER_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/clock.h"
#include "base/compiler.h"
#include "base/err.h"
#include "codec/enc.h"
#include "server/commit_queue.h"
#include "storage/storage.h"

#define SERVER_LOGGER "ZEO.StorageServer"

struct hub;
struct resolver;

/** What server_status tells of a storage, in its terms. */
struct storage_stats {
	atomic_uint_fast64_t connections;
	atomic_uint_fast64_t loads;
	atomic_uint_fast64_t stores;
	atomic_uint_fast64_t commits;
	atomic_uint_fast64_t aborts;
	atomic_uint_fast64_t active_txns;
	atomic_uint_fast64_t conflicts;
	atomic_uint_fast64_t conflicts_resolved;
};

struct server_storage {
	const char *id; /* the name clients register with */
	struct storage *storage;
	struct commit_queue queue;
	struct storage_stats stats;
};

struct server_options {
	bool read_only;
	bool msgpack;
	bool client_conflict_resolution;
	uint64_t invalidation_age_us;    /* 0: clients are served from the kept publications only */
	struct resolver *resolver;       /* of conflicts at vote; NULL: none */
	uint64_t transaction_timeout_us; /* 0: none */
	const char *transaction_timeout_text; /* as the log shows it, "30" */
};

struct server {
	struct server_options options;
	const struct clock *clock;
	struct server_storage *storages;
	size_t n_storages;
	uint64_t started_us; /* wall clock */
};

/** @ids and @storages, n of each, are borrowed and must outlive the server. */
MUST_CHECK int server_init(struct server *s, const struct server_options *o,
	const struct clock *clock, const char *const *ids, struct storage *const *storages,
	size_t n, struct err *e);
void server_fini(struct server *s);

/** Packs under way are to end soon, and no other one begins: the server is being stopped. */
void server_stop_packs(struct server *s);

/** The storage of that name, or NULL. */
struct server_storage *server_find(struct server *s, struct slice id);

/** server_status's dictionary (T60). @last_tid as of the hub that answers. */
void server_status_write(
	struct server *s, struct server_storage *ss, uint64_t last_tid, struct enc *en);

/** The JSON reply to "ruok". Threads: @h's. */
void server_ruok(struct server *s, struct hub *h, struct buf *out);

#endif
