/* What the files of the fan-out share.
 *
 *   AWAY -> PROBING -> UP        (F5)
 *     ^        |        |
 *     +--------+--------+        the connection is lost
 *     +- REFUSED <- PROBING      the server is ourselves, or behind what was shown: left, and tried again
 *
 * "L": under fanout.lock. */
#ifndef FANOUT_CORE_H
#define FANOUT_CORE_H

#include <pthread.h>
#include <stdatomic.h>

#include "base/arena.h"
#include "client/blobs.h"
#include "client/commit.h"
#include "fanout/fanout.h"

struct blob_dir;
struct fan_blobs;
struct fan_txn;
struct op;

enum {
	FAN_STOP_MS = 5000, /* what is under way may take so long when the server is stopped */
};

#define FAN_TID_MAX (UINT64_MAX >> 1) /* as ZODB.utils.maxtid */

enum fan_state {
	FAN_AWAY,
	FAN_PROBING,
	FAN_UP,
	FAN_REFUSED,
};

/** What the server's get_info() says. */
enum fan_feature {
	FAN_RESTORE = 1, /* interfaces, in the order in which ClientStorage has them */
	FAN_ITERATION = 2,
	FAN_UNDO = 4,
	FAN_RECORD_ITERATION = 8,
	FAN_BLOBS = 16,
	FAN_EXTERNAL_GC = 32,
	FAN_INTERFACES = 63,
	FAN_SUPPORTS_UNDO = 64,
	FAN_SUPPORTS_ITERNEXT = 128,
};

/** A transaction on the server. */
struct upstream {
	struct upstream *next;
	struct client_txn *txn;
	struct blobs_txn blobs;
};

struct fanout {
	struct storage storage;
	struct client *client;
	struct finder *finder;
	struct tls_context *tls; /* NULL: none */
	const struct clock *clock;
	struct pubchain pubs;
	char *name;
	struct fan_blobs *blobs; /* NULL: none */
	uint32_t wait_ms;
	void (*log)(void *ctx, int level, const char *logger, const char *text);
	void *log_ctx;
	atomic_uint_fast64_t probe; /* the oid that must not come here; OID_NONE */
	atomic_bool probe_came;
	struct call probe_call; /* the keeper's, but while it is under way */
	atomic_bool in_finish;  /* a transaction of ours */
	atomic_uint features;   /* of enum fan_feature */
	atomic_uint_fast64_t length, size;
	_Atomic(const char **) interfaces[FAN_INTERFACES + 1]; /* lists made so far */

	pthread_mutex_t publish_lock; /* one publishes at a time */
	uint64_t
		real_last; /* the last tid that was told of; the chain may be ahead by some (T45) */
	bool gap;          /* the next publication is one (F3); under publish_lock */

	pthread_mutex_t lock;
	pthread_cond_t changed; /* L; state, what the thread has to do, stopping */
	enum fan_state state;
	uint64_t up_generation;    /* client_generation() when it became UP */
	char refused[400];         /* why */
	bool probing;              /* a probe is under way */
	bool probe_answered;       /* it has come to its end */
	uint64_t probe_generation; /* client_generation() when it was sent */
	uint64_t probe_at_us;      /* no other one before */
	bool leave;                /* the server is to be left */
	bool stopping;             /* nothing waits any more */
	uint64_t stop_us;          /* what is under way then is cut; UINT64_MAX: never */
	bool ending;               /* the threads are to end */
	struct op *parked;         /* wait for a connection */
	struct fan_txn *finishing, **finishing_end;
	struct upstream *aborting, **aborting_end;

	pthread_t keeper;    /* probes, and watches time limits */
	pthread_t committer; /* finishes and aborts, which wait for the server */
	unsigned n_threads;
};

/** Oids of probes: positive numbers for every storage there is, and far from those that storages give out. */
#define FAN_PROBE_OIDS (UINT64_C(0x3f5a) << 48)
static inline bool fan_is_probe(uint64_t oid)
{
	return (oid & UINT64_C(0xffff) << 48) == FAN_PROBE_OIDS;
}

static inline struct fanout *fanout_of(struct storage *s)
{
	return CONTAINER_OF(s, struct fanout, storage);
}

void fan_log(struct fanout *f, int level, const char *fmt, ...) PRINTF(3, 4);

/* ---- op.c: a request to the server ---- */

/** What another server, or we in its place, raise. */
struct raised {
	struct arena arena;
	struct val pair; /* (class name, arguments) */
	struct val items[2];
	struct val text;
	char room[512];
	bool is_set;
};

/** (@class_name, (@e's text,)) */
void raised_text(struct raised *r, const char *class_name, const struct err *e);
/** What a frame holds, if it is an exception. */
void raised_frame(struct raised *r, struct slice content, enum encoding encoding);
void raised_end(struct raised *r);
static inline const struct val *raised_val(const struct raised *r)
{
	return r->is_set ? &r->pair : NULL;
}

/**
 * A request and its answer. Everything runs on the exec's loop, but for what the client calls, which only posts.
 *
 *   start() sends; answered() has rc, err and the answer in call.
 *
 * Where `again`: when the connection is lost under it, start() is called again, until the time is over (F6).
 */
struct op {
	struct fanout *f;
	struct exec *exec;
	struct job job;
	struct call call;
	/** Returns 0: op_called() or op_posted() follows; or an error. */
	int (*start)(struct op *op, struct err *e);
	void (*answered)(struct op *op);
	bool again;
	bool early; /* a server's probe passes also while ours is under way */
	int rc;
	struct err err;
	struct raised raised;
	uint64_t deadline_us;
	uint64_t generation;     /* of the connection it was sent on */
	struct op *next, **back; /* L: parked */
	bool is_parked;
	void *req; /* whose */
};

/** @op is zeroed but for what is named here. start() is called, now or when there is a connection, or answered() with an
 * error. */
void op_start(struct op *op, struct fanout *f, struct exec *exec);
/** For start(): a call that goes to no other server than the one that was found to be good (F5). */
void op_bind(const struct op *op, struct call *k);
/** For start(): a call with the given arguments. */
MUST_CHECK int op_call(
	struct op *op, const char *method, const struct val *args, uint32_t n_args, struct err *e);
/** The same for the next step of a request that goes on: forgets the answer. */
void op_again(struct op *op);
/** For start(): the client calls it, on the thread that reads. */
void op_done(struct call *k);
/** For a start() that has given op->job to the pool, as the job's done(): the answer is there, rc and err are set. */
void op_worked(struct job *j);
/** Decode the answer. On a failure rc and err are set. */
bool op_decode(struct op *op);
/** The answer is none. */
void op_bad_answer(struct op *op, const char *expected);
/** Frees what it holds, and it. */
void op_free(struct op *op);
/** L: what waits may go on, or fails. */
void op_resume_all(struct fanout *f);
/** L: fail what has waited for too long; returns when to ask next (UINT64_MAX: never). */
uint64_t op_expire(struct fanout *f, uint64_t now_us);

/* Values to send and to read. */
struct fan_id {
	uint8_t bytes[8];
};
struct val id_val(uint64_t id, struct fan_id *room);
struct val int_val(int64_t i);
bool val_is_id(const struct val *v);
uint64_t val_id(const struct val *v);
/** TID_NONE for None. */
uint64_t val_id_or_none(const struct val *v);
/** The text of a str or bytes; empty for anything else. */
struct slice val_text(const struct val *v);

/* ---- link.c: the connection ---- */

void link_events(struct fanout *f, struct client_events *ret);
/** Start the threads. */
MUST_CHECK int link_start(struct fanout *f, struct err *e);
/** Wait until it is UP. Returns 0, ERR_TIMEOUT, ERR_REMOTE (refused), ERR_CLOSED. @stop as fanout_options' */
MUST_CHECK int link_wait(
	struct fanout *f, uint32_t timeout_ms, bool (*stop)(void *arg), void *arg, struct err *e);
/** The server is being stopped: nothing waits any more. */
void link_stopping(struct fanout *f);
/** The threads end. */
void link_end(struct fanout *f);
/** Publish what an own transaction has changed. Takes ownership. */
void link_publish(struct fanout *f, struct publication *p);
/** Read client_info() anew. */
void info_update(struct fanout *f);
void fan_info(struct storage *s, struct storage_info *ret);
void info_free(struct fanout *f);

/* ---- the storage's functions ---- */

void fan_load(struct storage *s, struct load_req *r);

void fan_vote(struct storage *s, struct vote_req *v);
void fan_abort(struct storage *s, struct txn *t);
void fan_finish(struct storage *s, struct txn *t);
/** On the committer's thread: the first of f->finishing, or of f->aborting. L; given up meanwhile. False: there is none. */
bool fan_commit_next(struct fanout *f);

/* ---- blobs.c ---- */

/** The client is there, and has no addresses yet. */
MUST_CHECK int fan_blobs_open(struct fanout *f, const struct fanout_options *o, struct err *e);
void fan_blobs_close(struct fanout *f);
/** Is there a blob of its object? Then what it says is said with that. */
bool fan_blobs_has(const struct txn *t, const struct txn_rec *rec);
/** Say the transaction's blobs: the server stores them after everything else. On the pool. */
MUST_CHECK int fan_blobs_say(struct fanout *f, struct blobs_txn *bt, struct client_txn *up,
	const struct txn *t, struct err *e);
void fan_blobs_finished(struct fanout *f, struct blobs_txn *bt, uint64_t tid);
void fan_blobs_aborted(struct fanout *f, struct blobs_txn *bt);
void fan_open_blob(struct storage *s, struct blob_req *r);

void fan_history(struct storage *s, struct history_req *r);
void fan_undo_log(struct storage *s, struct undo_log_req *r);
void fan_changes(struct storage *s, struct changes_req *r);
void fan_pack(struct storage *s, struct pack_req *r);
void fan_sync(struct storage *s, struct sync_req *r);
void fan_ask_oids(struct storage *s, struct oids_req *r);

int fan_iter_open(
	struct storage *s, uint64_t start, uint64_t stop, struct storage_iter **ret, struct err *e);
int fan_iter_records(struct storage_iter *txns, struct storage_iter **ret, struct err *e);
void fan_iter_next(struct iter_req *r);
void fan_iter_close(struct storage *s, struct storage_iter *it);

#endif
