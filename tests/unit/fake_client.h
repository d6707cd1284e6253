/* A client without a server: src/client's calls, as far as src/database needs them, on revisions in memory. What is
 * committed is told to the database at once, or kept until it is let through. */
#ifndef TESTS_FAKE_CLIENT_H
#define TESTS_FAKE_CLIENT_H

#include "client/client.h"
#include "client/commit.h"

struct database;

struct fake_revision {
	uint64_t oid, tid;
	uint8_t *data;
	size_t len;
};

struct client {
	struct database *db;
	struct fake_revision revisions[20000];
	size_t n_revisions;
	uint64_t committed_tid; /* of the storage */
	uint64_t last_tid;      /* that the client knows of */
	uint64_t next_oid;
	size_t n_told;   /* revisions the client was told of */
	bool holds_back; /* what others commit is not told before fake_tell() */
	unsigned n_loads, n_pings, n_commits, n_checks, n_blobs_stored;
	int fail_vote, fail_finish; /* codes */
	uint64_t resolves;          /* the oid whose conflict the server resolves; 0: none */
};

/** Commit as somebody else: one object. */
void fake_commit(struct client *c, uint64_t oid, struct slice data);
/** Let through what was held back. */
void fake_tell(struct client *c);
/** Another connection: nothing is said of what was held back but that anything may have changed. */
void fake_reconnect(struct client *c, bool show);
void fake_free(struct client *c);

#endif
