/* A hub is what one event loop has of the server: its sessions, how far it has taken the
 * publications of each storage, and what other threads have posted to it. All of it, the
 * sessions included, belongs to who runs that loop; only hub_post() may be called from others.
 *
 * I1  `applied` of a storage moves in hub_catch_up() only, and only after the invalidations of
 *     the publication are in the sessions' queues (R1).
 * I2  Every reply is computed as of `applied` when it is queued (R1).
 * I3  The finish reply is queued where the invalidation of that transaction would stand (R3). */
#ifndef SERVER_HUB_H
#define SERVER_HUB_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/arena.h"
#include "base/clock.h"
#include "base/compiler.h"
#include "base/err.h"
#include "base/exec.h"
#include "server/look_ahead.h"
#include "server/outq.h"
#include "storage/publication.h"

struct commit;
struct hub;
struct load_op;
struct server;
struct server_storage;
struct session;

/** What the hub needs from its event loop. */
struct hub_io {
	/** See to it that hub_turn() is called soon. Threads: any. */
	void (*wake)(struct hub_io *io);
};

/** Work that another thread leaves for the hub's. */
struct hub_msg {
	void (*run)(struct hub *h, struct hub_msg *m);
	struct hub_msg *next; /* the hub's own */
};

struct hub_storage {
	struct pub_cursor cursor;
	struct hub *hub;
	struct server_storage *ss;
	uint64_t applied;         /* I1 */
	struct session *sessions; /* registered with it */
	uint32_t uncounted_loads; /* since stats.loads, which all loops share, was added to */
};

struct hub {
	struct server *server;
	struct exec *exec;
	const struct clock *clock;
	struct hub_io *io;
	struct hub_storage *storages; /* one for each of the server's */

	struct session *sessions; /* all that are connected */
	size_t n_open;            /* sessions not yet freed */
	struct session *dirty;    /* those with something new to send */
	struct commit *finishing; /* waiting for their publication */
	struct commit *locked;    /* voting or voted: watched by the transaction timeout */
	struct arena arena;       /* of the request being handled */
	struct load_op *free_loads;
	struct look_ahead ahead;
	struct outq_spares spares; /* of the sessions' queues */
	unsigned n_requests;       /* handled, since who runs the loop set it to 0 */
	uint64_t wake_us;          /* monotonic; hub_tick() is wanted by then; UINT64_MAX: never */

	pthread_mutex_t inbox_lock; /* guards inbox; docs/threads.md */
	struct hub_msg *inbox;
	struct hub_msg **inbox_end;
	atomic_uint n_posting; /* threads within hub_post() */
};

MUST_CHECK int hub_init(
	struct hub *h, struct server *s, struct exec *exec, struct hub_io *io, struct err *e);
/** All sessions are gone. */
void hub_fini(struct hub *h);

/** Threads: any; after it a poster that nothing else keeps the hub for may not touch it. @m is the hub's until run() is called. */
void hub_post(struct hub *h, struct hub_msg *m);

/** Take what was published and posted. To be called after wake(), and before input is handled. */
void hub_turn(struct hub *h);

/** @s is told of the storage's publications from `applied` on, which is the newest tid when it is the first one. */
void hub_add_session(struct hub_storage *hs, struct session *s);
void hub_remove_session(struct hub_storage *hs, struct session *s);

/** Queue the invalidations of everything published; moves `applied`. */
void hub_catch_up(struct hub *h);

/** Nothing is connected and nothing under way. */
bool hub_is_idle(struct hub *h);

/** Time has passed: transaction timeouts, silent and stalled connections. Sets wake_us anew. */
void hub_tick(struct hub *h);

/** hub_tick() is wanted at @when_us, monotonic, at the latest. */
void hub_wake_at(struct hub *h, uint64_t when_us);

/** What a publication's frames are freed with. Threads: any. */
void hub_free_frame(void *frame);
/** Make a publication's frame ahead, for clients of that encoding. Threads: any. */
void hub_make_frame_pickle(struct publication *p);
void hub_make_frame_msgpack(struct publication *p);

/** The next session with something new to send, or NULL; it is taken off the list. */
struct session *hub_next_dirty(struct hub *h);

#endif
