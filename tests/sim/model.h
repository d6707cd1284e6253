/* What must be true of everything that was published, kept by the simulation. */
#ifndef SIM_MODEL_H
#define SIM_MODEL_H

#include <stdbool.h>
#include <stdint.h>

#include "storage/storage.h"

enum { MODEL_OIDS = 8, MODEL_RECS = 4 };

/** A transaction that a client has sent to tpc_finish, or may have. */
struct attempt {
	uint32_t n;
	uint64_t oids[MODEL_RECS];
	uint64_t base[MODEL_RECS]; /* serial the change was made from */
	bool check_only[MODEL_RECS];
	uint64_t tid; /* when published */
};

struct model_txn {
	uint64_t tid;
	uint32_t attempt;
};

struct model {
	struct attempt *attempts;
	uint32_t n_attempts, attempts_room;
	struct model_txn *txns; /* published, in order */
	uint32_t n_txns, txns_room;
};

/** Its number goes into the data of every record it writes. */
uint32_t model_new_attempt(struct model *m);

/** A publication is there: its records are those of one attempt, made from the revisions that were
 * current. Aborts with a text when not. */
void model_published(
	struct model *m, struct storage *s, uint64_t tid, const uint64_t *oids, uint32_t n_oids);

/** The newest transaction that wrote @oid and is not newer than @tid, and the one after it. 0: none. */
void model_revision(
	const struct model *m, uint64_t oid, uint64_t tid, uint64_t *ret_serial, uint64_t *ret_end);

/** The data of a record: written by attempt @a. */
size_t model_data(uint32_t attempt, uint64_t oid, uint8_t out[600]);
/** Which attempt wrote this. */
uint32_t model_attempt_of(struct slice data);

/** The transaction of that tid, or NULL. */
const struct model_txn *model_find(const struct model *m, uint64_t tid);

/** After a crash: the storage has every published transaction, and what else it has is whole. */
void model_check_reopened(struct model *m, struct storage *s);

void model_free(struct model *m);

#define SIM_CHECK(cond, ...) ((cond) ? (void)0 : sim_fail(__FILE__, __LINE__, #cond, __VA_ARGS__))
NORETURN void sim_fail(const char *file, int line, const char *cond, const char *fmt, ...)
	PRINTF(4, 5);

#endif
