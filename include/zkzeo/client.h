/* libzkzeo: a client of ZEO servers.
 *
 * A client sees one storage through whichever of its servers is there: those registered at a path in ZooKeeper, or those
 * of a list of addresses. It connects in the background, follows the servers, and keeps a cache.
 *
 *     struct zkzeo_options o = zkzeo_options_default();
 *     o.zookeeper = "zk1:2181,zk2:2181";
 *     o.path = "/databases/main";
 *     rc = zkzeo_client_open(&o, &client, &error);
 *
 * Threads: any number may use a client; a transaction and an iterator one at a time. Callbacks run on a thread of the library's, or on
 * one that is in a call, in the order of what the server sent, and must not call functions that ask a server.
 * Fork: in a child process every call fails with ZKZEO_CLOSED; zkzeo_client_close() is fine there and touches nothing of the
 * parent's. Open another client in the child.
 * Units: times in milliseconds, sizes in bytes, oids and tids as the numbers that their 8 bytes are, big-endian. */
#ifndef ZKZEO_CLIENT_H
#define ZKZEO_CLIENT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "zkzeo/error.h"
#include "zkzeo/value.h"

#ifdef __cplusplus
extern "C" {
#endif

struct zkzeo_client;

#define ZKZEO_ROOT_OID UINT64_C(0)
/** As the tid of something: there is none, or it is current. */
#define ZKZEO_NO_TID UINT64_C(0)
/** There is no such object. */
#define ZKZEO_NO_OID UINT64_MAX

/** A conflict: three states of an object, as data records. */
struct zkzeo_conflict {
	uint64_t oid;
	uint64_t committed_serial;
	uint64_t old_serial; /* of the state the change was made from */
	const void *old_data, *committed_data, *new_data;
	size_t old_len, committed_len, new_len;
};

/** What the client tells. All may be NULL. */
struct zkzeo_events {
	void *arg;
	/** Objects were changed by others in transaction @tid. */
	void (*invalidate)(void *arg, uint64_t tid, const uint64_t *oids, size_t n);
	/** Anything may have changed. */
	void (*invalidate_all)(void *arg);
	void (*connected)(void *arg);
	void (*disconnected)(void *arg);
	/** The cache was too old to be brought up to date, and was dropped. */
	void (*stale_cache)(void *arg);
	/** A line for a log. @level as in Python: 10 debug, 20 info, 30 warning, 40 error. @logger "ZEO.ClientStorage",
	 * "zc.zkzeo". */
	void (*log)(void *arg, int level, const char *logger, const char *text);
	/**
	 * Merge a conflict that the library itself cannot: it can those of BTrees' classes. Asked during a vote, on the thread that
	 * votes. Set *ret to memory of malloc() with the merged record and return 0; or return ZKZEO_CONFLICT.
	 */
	int (*resolve)(
		void *arg, const struct zkzeo_conflict *conflict, void **ret, size_t *ret_len);
};

/** Options: what ZEO's ClientStorage has. Zero is the default, in brackets. Texts are borrowed until the client is open.
 *
 * A structure, and not a setter for each: the compiler checks names and types, and nothing has to be freed. It grows at its end,
 * and says with its first field which one the program was compiled with. */
struct zkzeo_options {
	size_t size; /* zkzeo_options_default() sets it */

	/* the servers: those at a path in ZooKeeper, or a list */
	const char *zookeeper; /* HOST:PORT,... [$ZC_ZK_CONNECTION_STRING, or 127.0.0.1:2181] */
	const char *path;
	const char *const *addresses; /* "HOST:PORT", "[IPV6]:PORT", or the path of a Unix socket */
	size_t n_addresses;

	const char *storage;      /* the name of the storage ["1"] */
	const char *name;         /* for texts [the servers] */
	const char *client_label; /* for the server's log [none] */

	const char *cache;   /* the path of a cache file [an anonymous cache] */
	const char *client;  /* or: VAR/CLIENT-STORAGE.zec */
	const char *var;     /* [the working directory] */
	uint64_t cache_size; /* [20 MiB] */

	bool no_wait;                    /* do not wait for a connection in zkzeo_client_open() */
	uint32_t wait_timeout_ms;        /* how long a connection is waited for [30,000] */
	uint32_t min_disconnect_poll_ms; /* between attempts to connect [1,000] */
	uint32_t max_disconnect_poll_ms; /* [as min] */

	bool read_only;
	bool read_only_fallback; /* a writable server is preferred, a read-only one taken meanwhile */

	const char *blob_dir;           /* [no blobs] */
	bool shared_blob_dir;           /* it is the server's own, on a shared file system */
	uint64_t blob_cache_size;       /* [no limit] */
	unsigned blob_cache_size_check; /* percent of blob_cache_size [10] */

	bool ssl;                    /* TLS */
	const char *ssl_certificate; /* PEM files [none] */
	const char *ssl_key;         /* [in the certificate's file] */
	const char *ssl_key_password;
	const char *ssl_authorities;     /* a file or folder [those the system trusts] */
	const char *ssl_server_hostname; /* the name in the server's certificate [the host] */
	bool ssl_any_hostname;           /* the name is not checked */

	bool server_sync; /* a database's begin asks the server what there is */

	/* accepted and ignored, as ZEO does */
	const char *username, *password, *realm;

	struct zkzeo_events events;
};

static inline struct zkzeo_options zkzeo_options_default(void)
{
	struct zkzeo_options o;

	memset(&o, 0, sizeof(o));
	o.size = sizeof(o);
	return o;
}

/**
 * Open a client. Without no_wait it is connected when this returns.
 * Returns 0; ZKZEO_INVAL: an option; ZKZEO_TIMEOUT: ZooKeeper or no server can be reached; ZKZEO_NOENT: the path is not
 * in ZooKeeper; ZKZEO_BUSY: another process has the cache file; ZKZEO_IO, ZKZEO_NOMEM.
 */
ZKZEO_MUST_CHECK int zkzeo_client_open(
	const struct zkzeo_options *options, struct zkzeo_client **ret, struct zkzeo_error *e);
/** Databases, transactions and iterators of it are closed before. Calls under way in other threads end with ZKZEO_CLOSED. NULL
 * is fine. */
ZKZEO_API void zkzeo_client_close(struct zkzeo_client *c);

/** Wait for a connection. @timeout_ms 0: options.wait_timeout_ms. */
ZKZEO_MUST_CHECK int zkzeo_client_wait(
	struct zkzeo_client *c, uint32_t timeout_ms, struct zkzeo_error *e);
/** Other servers than those of the options; not with a path in ZooKeeper. */
ZKZEO_MUST_CHECK int zkzeo_client_set_addresses(
	struct zkzeo_client *c, const char *const *addresses, size_t n, struct zkzeo_error *e);
ZKZEO_API bool zkzeo_client_is_connected(const struct zkzeo_client *c);
/** As asked for, or as the server is. */
ZKZEO_API bool zkzeo_client_is_read_only(const struct zkzeo_client *c);
/** The last transaction that it knows of. */
ZKZEO_API uint64_t zkzeo_client_last_tid(const struct zkzeo_client *c);
ZKZEO_API const char *zkzeo_client_name(const struct zkzeo_client *c);
/** ClientStorage.sortKey(): who commits to several databases votes in the order of these. Freed with zkzeo_free(). */
ZKZEO_MUST_CHECK int zkzeo_client_sort_key(
	const struct zkzeo_client *c, char **ret, struct zkzeo_error *e);
/** What the server says of its storage (name, size, length, supportsUndo ...): a dict, which the caller frees. */
ZKZEO_MUST_CHECK int zkzeo_client_info(
	struct zkzeo_client *c, struct zkzeo_value **ret, struct zkzeo_error *e);
/** Wait until all that was committed before is known. */
ZKZEO_MUST_CHECK int zkzeo_client_sync(struct zkzeo_client *c, struct zkzeo_error *e);

/* ---- reading ---- */

/** One revision of an object. */
struct zkzeo_record {
	const void *data; /* lives until zkzeo_record_end() */
	size_t len;
	uint64_t serial;
	uint64_t end_tid; /* the next revision's; ZKZEO_NO_TID: it is current */
	void *memory;     /* the library's */
};
ZKZEO_API void zkzeo_record_end(struct zkzeo_record *r);

/** The current revision. ZKZEO_NOKEY: no such object. */
ZKZEO_MUST_CHECK int zkzeo_client_load(
	struct zkzeo_client *c, uint64_t oid, struct zkzeo_record *ret, struct zkzeo_error *e);
/** The one that was current before @tid. ZKZEO_NOENT: there was none. */
ZKZEO_MUST_CHECK int zkzeo_client_load_before(struct zkzeo_client *c, uint64_t oid, uint64_t tid,
	struct zkzeo_record *ret, struct zkzeo_error *e);
/** The one of transaction @serial; end_tid is not known and ZKZEO_NO_TID. */
ZKZEO_MUST_CHECK int zkzeo_client_load_serial(struct zkzeo_client *c, uint64_t oid, uint64_t serial,
	struct zkzeo_record *ret, struct zkzeo_error *e);
/** The current revision of the first object whose oid is @oid or larger, for a walk over all objects (IStorageCurrentRecordIteration).
 * @ret_next  the next object's; ZKZEO_NO_OID: this is the last one
 * ZKZEO_NOENT: there is none any more; ZKZEO_REMOTE, ZKZEO_UNSUPPORTED: the storage does not offer it. */
ZKZEO_MUST_CHECK int zkzeo_client_load_next(struct zkzeo_client *c, uint64_t oid, uint64_t *ret_oid,
	struct zkzeo_record *ret, uint64_t *ret_next, struct zkzeo_error *e);
/** Ask for objects that will be loaded; returns at once. */
ZKZEO_MUST_CHECK int zkzeo_client_prefetch(struct zkzeo_client *c, const uint64_t *oids, size_t n,
	uint64_t before_tid, struct zkzeo_error *e);
/** An oid that was never used. */
ZKZEO_MUST_CHECK int zkzeo_client_new_oid(
	struct zkzeo_client *c, uint64_t *ret, struct zkzeo_error *e);

/** The last @n revisions of an object, newest first: a list of dicts, as IStorage.history() has them. Freed by the caller. */
ZKZEO_MUST_CHECK int zkzeo_client_history(struct zkzeo_client *c, uint64_t oid, size_t n,
	struct zkzeo_value **ret, struct zkzeo_error *e);
/** Transactions that can be undone, newest first, from the @first to before the @last: a list of dicts, as
 * IStorageUndo.undoLog() has them. Freed by the caller. */
ZKZEO_MUST_CHECK int zkzeo_client_undo_log(struct zkzeo_client *c, int64_t first, int64_t last,
	struct zkzeo_value **ret, struct zkzeo_error *e);
/** The same of those transactions only that have all keys of @filter, a dict, with equal values: "user_name" and "description", which are
 * bytes, or what stands in their extensions. IStorageUndo.undoInfo(). */
ZKZEO_MUST_CHECK int zkzeo_client_undo_info(struct zkzeo_client *c, int64_t first, int64_t last,
	const struct zkzeo_value *filter, struct zkzeo_value **ret, struct zkzeo_error *e);
/** Remove revisions that were not current at @time (seconds since 1970), and objects that nothing refers to. Returns when
 * it is done, which can take hours. */
ZKZEO_MUST_CHECK int zkzeo_client_pack(struct zkzeo_client *c, double time, struct zkzeo_error *e);

/** A transaction of an iteration. Texts live until the next call with the iterator. */
struct zkzeo_transaction {
	uint64_t tid;
	char status;
	const char *user, *description;
	size_t user_len, description_len;
	const struct zkzeo_value *extension;
};

/** One object's part of a transaction. */
struct zkzeo_change {
	uint64_t oid;
	uint64_t tid;
	const void *data; /* NULL: the object's creation was undone */
	size_t len;
	uint64_t
		data_tid; /* the transaction it has its data from, after an undo; ZKZEO_NO_TID: this one */
};

struct zkzeo_iterator;

/** The transactions from @first to @last, both included; ZKZEO_NO_TID: from the first, to the last. An iteration ends with
 * the connection it began on: ZKZEO_CLOSED from then on. */
ZKZEO_MUST_CHECK int zkzeo_client_iterate(struct zkzeo_client *c, uint64_t first, uint64_t last,
	struct zkzeo_iterator **ret, struct zkzeo_error *e);
/** The next transaction. ZKZEO_NOENT: no more. */
ZKZEO_MUST_CHECK int zkzeo_iterator_next(
	struct zkzeo_iterator *it, struct zkzeo_transaction *ret, struct zkzeo_error *e);
/** The next object of it. ZKZEO_NOENT: no more. What @ret has lives until the next call. */
ZKZEO_MUST_CHECK int zkzeo_iterator_change(
	struct zkzeo_iterator *it, struct zkzeo_change *ret, struct zkzeo_error *e);
/** NULL is fine. */
ZKZEO_API void zkzeo_iterator_close(struct zkzeo_iterator *it);

/* ---- writing: two-phase commit ---- */

struct zkzeo_txn;

/** What a transaction says of itself. NULL: nothing. */
struct zkzeo_note {
	const char *user;
	const char *description;
	const struct zkzeo_value *extension; /* a dict; borrowed until the transaction has begun */
};

/** Begin; another transaction of this client that is under way is waited for. @note NULL is fine. */
ZKZEO_MUST_CHECK int zkzeo_txn_begin(struct zkzeo_client *c, const struct zkzeo_note *note,
	struct zkzeo_txn **ret, struct zkzeo_error *e);
/** The same with a tid and status given, for who copies transactions. */
ZKZEO_MUST_CHECK int zkzeo_txn_begin_as(struct zkzeo_client *c, const struct zkzeo_note *note,
	uint64_t tid, char status, struct zkzeo_txn **ret, struct zkzeo_error *e);
/** @serial  of the revision the change was made from; ZKZEO_NO_TID: a new object. @data is copied. */
ZKZEO_MUST_CHECK int zkzeo_txn_store(struct zkzeo_txn *t, uint64_t oid, uint64_t serial,
	const void *data, size_t len, struct zkzeo_error *e);
/** The transaction fails when @serial is not the object's current revision. */
ZKZEO_MUST_CHECK int zkzeo_txn_check(
	struct zkzeo_txn *t, uint64_t oid, uint64_t serial, struct zkzeo_error *e);
ZKZEO_MUST_CHECK int zkzeo_txn_delete(
	struct zkzeo_txn *t, uint64_t oid, uint64_t serial, struct zkzeo_error *e);
/** Store without a check, as of transaction @serial. @data NULL: the creation was undone. @data_tid: the transaction the
 * same data stands in, or ZKZEO_NO_TID. */
ZKZEO_MUST_CHECK int zkzeo_txn_restore(struct zkzeo_txn *t, uint64_t oid, uint64_t serial,
	const void *data, size_t len, uint64_t data_tid, struct zkzeo_error *e);
/** Undo what transaction @tid did. */
ZKZEO_MUST_CHECK int zkzeo_txn_undo(struct zkzeo_txn *t, uint64_t tid, struct zkzeo_error *e);
/** Ask the server whether it can be done; conflicts are resolved where that is possible. ZKZEO_CONFLICT, ZKZEO_NOKEY,
 * ZKZEO_UNDO ...: it cannot; the transaction is to be aborted. */
ZKZEO_MUST_CHECK int zkzeo_txn_vote(struct zkzeo_txn *t, struct zkzeo_error *e);
/** After the vote: the oids whose state is not what was stored, because it was merged or undone. They live as long as @t. */
ZKZEO_API void zkzeo_txn_resolved(const struct zkzeo_txn *t, const uint64_t **ret, size_t *ret_n);
/** Make it durable; votes when that was not done. @t is freed, also by a failure: after ZKZEO_CLOSED nobody knows whether it was
 * committed. @ret_tid NULL is fine. */
ZKZEO_MUST_CHECK int zkzeo_txn_finish(
	struct zkzeo_txn *t, uint64_t *ret_tid, struct zkzeo_error *e);
/** Forget and free it. NULL is fine. */
ZKZEO_API void zkzeo_txn_abort(struct zkzeo_txn *t);

#ifdef __cplusplus
}
#endif

#endif
