/* What the server sees of a storage.
 *
 * Every request is a structure that the caller owns until its done() is called: either before
 * the call returns, or later on the loop of req->exec. Nothing here assumes a local file or
 * an immediate answer. Requests that read carry the tid they are to be answered as of (`applied`,
 * rule R1): newer revisions do not exist for them.
 *
 * Threads: every call may come from any loop at any time, unless it says otherwise. */
#ifndef STORAGE_STORAGE_H
#define STORAGE_STORAGE_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/arena.h"
#include "base/err.h"
#include "base/exec.h"
#include "base/slice.h"
#include "codec/tid.h"
#include "storage/publication.h"
#include "storage/txn.h"

struct storage;

struct val;
struct blob_dir;
struct resolver;
struct storage_iter;

enum load_kind {
	LOAD_BEFORE, /* newest revision with a tid < tid */
	LOAD_SERIAL, /* the revision of exactly tid */
	LOAD_TID,    /* serial of the current revision; no data */
	LOAD_NEXT, /* record_iternext: the current revision of the object with the smallest oid that is
			not smaller than oid. None: there is no such object; ERR_NOKEY: it has no data
			any more */
};

struct load_req {
	struct job job; /* the storage's own while under way */
	struct exec *exec;
	void (*done)(struct load_req *r);
	/* in */
	enum load_kind kind;
	uint64_t oid;
	uint64_t tid;
	uint64_t applied;
	/* out */
	int rc; /* 0, ERR_NOKEY (POSKeyError), or a failure with a text */
	bool none; /* LOAD_BEFORE: the object did not exist yet at tid: the answer is None (T19); end_tid is
			of its first revision */
	struct slice data; /* borrowed until done() returns */
	uint64_t serial;
	uint64_t end_tid;   /* of the revision that follows, TID_NONE when this one is current */
	uint64_t found_oid; /* LOAD_NEXT: whose revision it is, also of ERR_NOKEY */
	uint64_t next_oid;  /* LOAD_NEXT: of the next object; OID_NONE when it was the last */
	struct err err;
	/** With an rc: what another server has raised, (dotted class name, dictionary or arguments), to be told to the
	 * client as it is. Borrowed until done() returns. NULL: err has all there is. */
	const struct val *raised;
	void *owned; /* the storage's own: freed by it after done() */
};

/** What is known of a transaction. */
struct txn_info {
	uint64_t tid;
	uint64_t size_bytes; /* of its record in the file, 0 where there is none */
	uint8_t status;      /* ' ', or 'p': packed */
	struct slice user;
	struct slice desc;
	struct slice ext; /* a pickle, or empty */
};

/** One revision in a history. */
struct history_item {
	uint64_t tid;
	uint64_t size; /* of the data; 0 when there is none */
	struct slice user;
	struct slice desc;
	struct slice ext; /* a pickle, or empty */
};

struct history_req {
	struct job job;
	struct exec *exec;
	void (*done)(struct history_req *r);
	uint64_t oid;
	uint64_t applied;
	uint32_t size;       /* at most so many, newest first */
	struct arena *arena; /* the items live there; used by the storage until done() */
	int rc;              /* 0 or ERR_NOKEY ... */
	struct history_item *items;
	uint32_t n_items;
	struct err err;
	const struct val *raised; /* as load_req's */
	struct storage *storage;  /* the storage's own, while under way */
};

struct conflict {
	size_t rec; /* index in txn->recs */
	uint8_t op; /* TXN_STORE: ConflictError; TXN_CHECK: ReadConflictError */
	uint64_t oid;
	uint64_t committed_serial; /* TID_NONE and missing: no such object */
	uint64_t old_serial;
	bool missing; /* a checked object that does not exist: POSKeyError */
};

struct undo_failure {
	uint64_t oid;
	const char *reason; /* lives as long as the program */
};

struct vote_req {
	struct job job;
	struct exec *exec;
	void (*done)(struct vote_req *r);
	struct txn *txn;
	bool collect; /* client-conflict-resolution: find all conflicts, not the first only */
	struct resolver *resolver; /* NULL: conflicts are not resolved here */
	/* out */
	/** 0, ERR_CONFLICT (see conflicts), ERR_UNDO (see undo_failures, or only a text), ERR_NOSPC, ERR_QUOTA, ERR_READONLY,
	 * ERR_LIMIT ... With txn->raised that is what is told. */
	int rc;
	struct conflict *conflicts; /* mem_alloc()ed; the caller frees */
	size_t n_conflicts;
	/* After rc 0: oids the client has to forget, as they were undone or resolved here; mem_alloc()ed, the
	 * caller frees. */
	uint64_t *changed_oids;
	size_t n_changed_oids;
	size_t n_resolved; /* of them, conflicts that were resolved */
	/* MultipleUndoErrors' list; mem_alloc()ed, the caller frees. Empty: a plain UndoError of err.text. */
	struct undo_failure *undo_failures;
	size_t n_undo_failures;
	struct err err;
	struct storage *storage; /* the storage's own, while under way */
};

/** undoLog, undoInfo: transactions that can be undone, newest first. */
struct undo_log_req {
	struct job job;
	struct exec *exec;
	void (*done)(struct undo_log_req *r);
	uint64_t applied;
	/** For each one, on a pool thread; slices live for the call. False: enough. */
	bool (*take)(struct undo_log_req *r, const struct txn_info *t);
	int rc; /* 0, ERR_UNDO while a pack runs, ERR_IO ... */
	struct err err;
	const struct val *raised; /* as load_req's */
	struct storage *storage;  /* the storage's own, while under way */
};

/** The next item of an iterator. Only one at a time of an iterator. */
struct iter_req {
	struct job job;
	struct exec *exec;
	void (*done)(struct iter_req *r);
	struct storage_iter *it;
	uint64_t applied; /* transactions behind it do not exist */
	/* out; slices are borrowed until done() returns */
	int rc; /* 0, ERR_CORRUPT ... */
	bool end; /* there is no next one (ask later: transactions that came meanwhile are there, T26) */
	struct txn_info txn; /* of an iterator of transactions */
	/* of an iterator of records */
	uint64_t oid;
	uint64_t tid;
	uint64_t data_txn; /* of the transaction whose record has the data, TID_NONE: this one */
	bool has_data;     /* false: None, the object is not there any more */
	struct slice data;
	struct err err;
	const struct val *raised; /* as load_req's */
};

/** The oids changed by transactions behind @tid up to @applied; for a client that was away for long. */
struct changes_req {
	struct job job;
	struct exec *exec;
	void (*done)(struct changes_req *r);
	uint64_t tid;
	uint64_t applied;
	int rc;         /* 0; ERR_NOENT: the storage does not reach back so far (packed) */
	uint64_t *oids; /* sorted, each once; mem_alloc()ed, the caller frees */
	size_t n_oids;
	struct err err;
	struct storage *storage; /* the storage's own, while under way */
};

struct pack_req {
	struct job job;
	struct exec *exec;
	void (*done)(
		struct pack_req *r); /* on any thread: must not block, and starts no other pack */
	double time_s; /* seconds since 1970: revisions that are not current then go */
	int rc; /* 0 (also when there was nothing to pack); ERR_BUSY: a pack is running; ERR_NOKEY:
			* a reference to an object that is not there (see oid), ERR_NOSPC ... */
	uint64_t oid;
	struct err err;
	const struct val *raised; /* as load_req's, but part of what is kept */
	bool on_own_thread; /* done() is called on a thread for packs, which may block after all; else on the exec's loop */
	/* What the storage keeps with it until the caller calls this; NULL: nothing. */
	void *kept;
	void (*free_kept)(void *kept);
	struct storage *storage; /* the storage's own, while under way */
};

/** How far a pack is; for people. */
struct pack_progress {
	bool running;
	const char *phase;   /* "finding", "copying", "finishing" */
	uint64_t started_us; /* wall clock */
	uint64_t done_bytes; /* of the phase */
	uint64_t all_bytes;
};

/** A blob of a revision, to be read. */
struct blob_req {
	struct job job;
	struct exec *exec;
	void (*done)(struct blob_req *r);
	uint64_t oid;
	uint64_t serial;
	/* out */
	int rc; /* 0, ERR_NOKEY: no blob of that revision */
	int fd; /* the caller's, to be closed */
	uint64_t size_bytes;
	struct err err;
	const struct val *raised; /* as load_req's */
	struct storage *storage;  /* the storage's own, while under way */
};

enum { STORAGE_OIDS_MAX = 1000 };

/** Oids never handed out before, of a storage that has to ask for them. */
struct oids_req {
	struct job job;
	struct exec *exec;
	void (*done)(struct oids_req *r);
	uint32_t n; /* 1 to STORAGE_OIDS_MAX */
	/* out */
	int rc;
	uint64_t oids[STORAGE_OIDS_MAX]; /* n of them */
	struct err err;
	const struct val *raised; /* as load_req's */
	void *owned;              /* the storage's own */
};

/** To know of all that was committed until now. */
struct sync_req {
	struct job job;
	struct exec *exec;
	void (*done)(struct sync_req *r);
	/* out */
	int rc;
	struct err err;
	const struct val *raised; /* as load_req's */
};

struct storage_info {
	uint64_t length; /* objects */
	uint64_t size;   /* bytes */
	bool supports_undo;
	bool supports_record_iternext;
	/** Pairs module, name, module, name ..., NULL: get_info's interfaces, in ZODB's order (T57) */
	const char *const *interfaces;
};

enum { STORAGE_PREFETCH_MAX = 32 };

struct storage_ops {
	void (*load)(struct storage *s, struct load_req *r);
	/** This thread will load these objects in a moment, in this order: let the processor fetch what it has to look
	 * at. Only a hint; costs less than it saves where several are loaded one after the other. @n: at most
	 * STORAGE_PREFETCH_MAX. May be NULL. */
	void (*prefetch)(struct storage *s, const uint64_t *oids, size_t n);
	void (*history)(struct storage *s, struct history_req *r);

	/** Check the serials, reserve space. The caller has made sure (server/commit_queue) that no other
	 * transaction that writes an oid of this one is voting, voted or finishing. After rc 0 either
	 * finish() or abort() must follow; after any other rc nothing is held. */
	void (*vote)(struct storage *s, struct vote_req *r);
	/** Give a vote's reservation back. */
	void (*abort)(struct storage *s, struct txn *t);
	/** Queue a voted transaction: gets a tid, becomes durable, is published; then txn->done(). */
	void (*finish)(struct storage *s, struct txn *t);

	/* The rest may be NULL where a storage does not offer it: Unsupported. */

	void (*undo_log)(struct storage *s, struct undo_log_req *r);

	/** Transactions with @start <= tid <= @stop (0 and TID_MAX: open ends), in the order of the file. No I/O.
	 * Iterators are independent of each other; they see the file as it was when they began, also when it is
	 * packed, and what is committed meanwhile. Returns 0 or ERR_NOMEM. */
	int (*iter_open)(struct storage *s, uint64_t start, uint64_t stop,
		struct storage_iter **ret, struct err *e);
	/** The records of the transaction that @txns gave last; ERR_STATE when it gave none. */
	int (*iter_records)(struct storage_iter *txns, struct storage_iter **ret, struct err *e);
	void (*iter_next)(struct iter_req *r);
	/** Nothing of it is under way; may be called from done(). NULL is fine. */
	void (*iter_close)(struct storage *s, struct storage_iter *it);

	void (*changes)(struct storage *s, struct changes_req *r);

	/** Loads and commits go on meanwhile; at the end a PUBLICATION_INFO tells the sizes. */
	void (*pack)(struct storage *s, struct pack_req *r);
	void (*pack_progress)(struct storage *s, struct pack_progress *ret);
	/** A pack that runs is to end soon (ERR_CLOSED), and no other one begins: the server is being stopped. May be
	 * NULL where a pack takes no time. */
	void (*pack_stop)(struct storage *s);

	void (*open_blob)(struct storage *s, struct blob_req *r);

	/** The first of @n consecutive oids never handed out before (R10). */
	uint64_t (*new_oids)(struct storage *s, uint32_t n);
	/** When not NULL: to be called in its place. */
	void (*ask_oids)(struct storage *s, struct oids_req *r);
	/** Done when all that was committed before the call, by whomever, is published. NULL: it always is. */
	void (*sync)(struct storage *s, struct sync_req *r);
	/** Is there an object of that oid, or a trace of one? No I/O. */
	bool (*has_oid)(struct storage *s, uint64_t oid);
	void (*info)(struct storage *s, struct storage_info *ret);
	/** Wait for what is queued, stop the writer, save the index, release. Loops are stopped before. */
	void (*close)(struct storage *s);
};

struct storage {
	const struct storage_ops *ops;
	const char *name;        /* getName(): for a FileStorage the path as configured */
	_Atomic(bool) read_only; /* another server's may change */
	bool one_at_a_time;      /* no vote before the transaction before is finished or aborted */
	bool lists_changes;      /* changes() is to be asked for any tid, not only a recent one */
	struct pubchain *pubs;   /* last transaction: pubchain_last_tid() */
	struct blob_dir *blobs;  /* where uploads are collected; NULL: no blobs */
};

#endif
