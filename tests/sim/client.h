/* A client of the simulation: loads, commits, and checks all it is told against the model. */
#ifndef SIM_CLIENT_H
#define SIM_CLIENT_H

#include <stdbool.h>
#include <stdint.h>

#include "base/buf.h"
#include "model.h"
#include "server/hub.h"
#include "server/session.h"

enum { CLIENT_LOADS = 4 };

enum client_commit {
	COMMIT_NONE,
	COMMIT_VOTE_SENT,
	COMMIT_HELD, /* voted */
	COMMIT_FINISH_SENT,
};

struct client_load {
	int64_t id; /* 0: not under way */
	uint64_t oid;
	uint64_t before;
};

struct client {
	struct session_io io;
	struct session *session; /* NULL: not connected */
	struct hub *hub;
	struct model *model;
	uint64_t *random;
	enum encoding encoding;
	bool close_asked; /* by the server */
	bool handshake_done;
	bool registered;
	int64_t last_id;
	int64_t register_id, commit_id;
	uint64_t last_tid; /* what the stream of messages has told */
	struct client_load loads[CLIENT_LOADS];
	enum client_commit commit;
	uint32_t attempt;
	uint64_t held_us; /* when it learned that it holds its objects */
	struct buf to_server;
	struct buf from_server;
	struct arena arena;
	/* for the summary */
	unsigned n_commits, n_conflicts, n_loads, n_refused;
};

/** Connect to a hub. */
void client_connect(struct client *c, struct hub *h);
/** The connection is gone, from either side. */
void client_disconnect(struct client *c);
/** Decide on something to do. */
void client_act(struct client *c);
/** Some of the bytes that are on their way arrive at the server, and at the client. */
void client_send_some(struct client *c);
void client_receive_some(struct client *c);
void client_free(struct client *c);

/** Does it hold @oid as voted and written? */
bool client_holds(const struct client *c, uint64_t oid);
/** Called when a vote was granted: the simulation compares with all others. */
extern void (*client_on_voted)(struct client *c);
/** May a tpc_finish have been refused? Only a disk that has failed is a reason. */
extern bool (*client_may_be_refused)(void);

#endif
