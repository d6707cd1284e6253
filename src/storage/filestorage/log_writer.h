/* The log writer: takes finished transactions, assigns tids, appends, makes durable in
 * two steps, stores the index entries, publishes. One batch a step; a state machine over disk and
 * clock, run by a thread (filestorage.c) or by a simulation.
 *
 *   IDLE -> APPENDED (first status 'c', synced) -> MARKED (status byte written) -> IDLE
 *   any -> BROKEN (a failed sync or truncation: read-only until restart, R6)
 *
 * Under load the status byte of batch k rides in the sync of batch k+1, and k is published after
 * that: one sync a batch.
 *
 * When the sync fails that k's status byte rides in, k fails, too: its 'c' is put back, the only thing
 * that is written after a failure, so that a restart does not show what was reported as failed. */
#ifndef FILESTORAGE_LOG_WRITER_H
#define FILESTORAGE_LOG_WRITER_H

#include <stdbool.h>
#include <stdint.h>

#include "base/clock.h"
#include "base/compiler.h"
#include "base/disk.h"
#include "storage/filestorage/data_file.h"
#include "storage/publication.h"
#include "storage/txn.h"

struct log_writer;

struct log_writer_env {
	struct data_file *data; /* borrowed */
	struct pubchain *pubs;
	const struct clock *clock;
	void (*log)(void *ctx, int level, const char *text); /* may be NULL */
	void *log_ctx;
	/** Called before each txn's done(): what its vote reserved is free again; after a failure @rc the
	 * file may have been cut, and what was reserved behind its end is gone. May be NULL. */
	void (*settle)(void *ctx, struct txn *t, int rc);
	void *settle_ctx;
};

/** Appends at the end of env->data; @last_tid of the file. NULL without memory. */
struct log_writer *log_writer_new(const struct log_writer_env *env, uint64_t last_tid);
/** NULL is fine. Transactions still in it are forgotten, their done() is not called: as after a power cut. */
void log_writer_free(struct log_writer *w);

/** A transaction has voted: that it is finished is expected soon. log_writer_push() ends that, or log_writer_unexpect(); until
 * then it is not freed. Threads: any. */
void log_writer_expect(struct log_writer *w, struct txn *t);
/** It is not going to be finished. Threads: any. Returns true when the caller has to wake the thread that steps, which waits. */
bool log_writer_unexpect(struct log_writer *w, struct txn *t);

/** Queue a voted transaction (state FINISHING). Threads: any. Returns true when the queue was empty, or who steps waits as
 * log_writer_wait_us() said: the caller wakes the thread that steps. */
bool log_writer_push(struct log_writer *w, struct txn *t);

/** What has to happen between two batches, on the writer's thread: the end of a pack. */
struct writer_job {
	/** May block. Everything published is durable, nothing is half-way. */
	void (*run)(struct writer_job *j);
	struct writer_job *next; /* the writer's own */
};

/** Queue a job; it runs also when the writer is broken. Threads: any. Returns true when the caller has to
 * wake the thread that steps. */
bool log_writer_call(struct log_writer *w, struct writer_job *j);

/** From here on append to @d (borrowed), at its end: it holds the same transactions as the one before. Only
 * from within a job. */
void log_writer_switch(struct log_writer *w, struct data_file *d);

/** Nothing is written from here on (R6): what is written could be lost, for @e. Only from within a job. */
void log_writer_give_up(struct log_writer *w, const struct err *e);

/** Bytes of a record behind its header: of the data, or of a back-pointer. */
static inline uint64_t log_writer_body_bytes(const struct txn_rec *rec)
{
	return rec->has_data && rec->back_off == 0 ? rec->data_len : 8;
}

/**
 * Take all that is waiting (up to a bound in bytes), append it, sync, and so on; publishes and calls
 * done() of what became durable. Blocks on the disk. Threads: the writer's.
 * Returns true when there is more to do at once (more is waiting, or a batch still needs its
 * status byte made durable); false: wait for log_writer_push().
 */
bool log_writer_step(struct log_writer *w);

/**
 * Is it better to wait than to step? A transaction that would have a sync of its own, for its records or for its status byte, waits
 * for one that has voted just now and can share it: up to the time a sync takes, counted from that vote, as that is what it saves.
 * Returns for how many microseconds to wait to be woken, then to ask again; 0: step, as when that time is over. Threads:
 * the writer's.
 */
uint64_t log_writer_wait_us(struct log_writer *w);

/** True after a failed sync or truncation. Threads: any. */
bool log_writer_broken(const struct log_writer *w);

#endif
