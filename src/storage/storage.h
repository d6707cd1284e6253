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

enum load_kind {
	LOAD_BEFORE, /* newest revision with a tid < tid */
	LOAD_SERIAL, /* the revision of exactly tid */
	LOAD_TID,    /* serial of the current revision; no data */
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
	int rc;    /* 0, ERR_NOKEY (POSKeyError), or a failure with a text */
	bool none; /* LOAD_BEFORE: the object did not exist yet at tid: the answer is None (T19) */
	struct slice data; /* borrowed until done() returns */
	uint64_t serial;
	uint64_t end_tid; /* of the revision that follows, TID_NONE when this one is current */
	struct err err;
	void *owned; /* the storage's own: freed by it after done() */
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
	struct storage *storage; /* the storage's own, while under way */
};

struct conflict {
	size_t rec; /* index in txn->recs */
	uint8_t op; /* TXN_STORE: ConflictError; TXN_CHECK: ReadConflictError */
	uint64_t oid;
	uint64_t committed_serial; /* TID_NONE and missing: no such object */
	uint64_t old_serial;
	bool missing; /* a checked object that does not exist: POSKeyError */
};

struct vote_req {
	struct job job;
	struct exec *exec;
	void (*done)(struct vote_req *r);
	struct txn *txn;
	bool collect; /* client-conflict-resolution: find all conflicts, not the first only */
	/* out */
	int rc; /* 0, ERR_CONFLICT (see conflicts), ERR_NOSPC, ERR_QUOTA, ERR_READONLY, ERR_LIMIT ... */
	struct conflict *conflicts; /* mem_alloc()ed; the caller frees */
	size_t n_conflicts;
	struct err err;
	struct storage *storage; /* the storage's own, while under way */
};

struct storage_info {
	uint64_t length; /* objects */
	uint64_t size;   /* bytes */
	bool supports_undo;
	bool supports_record_iternext;
	/** Pairs module, name, module, name ..., NULL: get_info's interfaces, in ZODB's order (T57) */
	const char *const *interfaces;
};

struct storage_ops {
	void (*load)(struct storage *s, struct load_req *r);
	void (*history)(struct storage *s, struct history_req *r);

	/** Check the serials, reserve space. The caller has made sure (server/commit_queue) that no other
	 * transaction that writes an oid of this one is voting, voted or finishing. After rc 0 either
	 * finish() or abort() must follow; after any other rc nothing is held. */
	void (*vote)(struct storage *s, struct vote_req *r);
	/** Give a vote's reservation back. */
	void (*abort)(struct storage *s, struct txn *t);
	/** Queue a voted transaction: gets a tid, becomes durable, is published; then txn->done(). */
	void (*finish)(struct storage *s, struct txn *t);

	/** The first of @n consecutive oids never handed out before (R10). */
	uint64_t (*new_oids)(struct storage *s, uint32_t n);
	void (*info)(struct storage *s, struct storage_info *ret);
	/** Wait for what is queued, stop the writer, save the index, release. Loops are stopped before. */
	void (*close)(struct storage *s);
};

struct storage {
	const struct storage_ops *ops;
	const char *name; /* getName(): for a FileStorage the path as configured */
	bool read_only;
	struct pubchain pubs; /* last transaction: pubchain_last_tid() */
};

#endif
