/* What decides about a session that is always there and the nodes watched on it: a state machine that
 * takes events and the time, and reaches ZooKeeper through a table of functions.
 *
 * W1  At most one request of a watch is under way; replies to older ones are not heard.
 * W2  What was told is what a read gave that set a watch: a later change is always noticed.
 * W3  Whatever a connect means (the same session, another one (T36), servers without their data), every
 *     watch is read again.
 * W4  What is known stands until a read says otherwise: an outage changes nothing (T38).
 * W5  The same content is not told twice.
 */
#ifndef ZOOKEEPER_LIVE_CORE_H
#define ZOOKEEPER_LIVE_CORE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/compiler.h"
#include "base/err.h"
#include "base/slice.h"
#include "zookeeper/event.h"
#include "zookeeper/links.h"
#include "zookeeper/watch.h"

struct live_core;

struct live_watch {
	/* given by the shell before live_core_add() */
	const char *path; /* as asked; its links are followed */
	enum watch_kind kind;

	/* the core's */
	struct live_watch *next;
	/* FIND (which node is it?) -> READ <-> SET; READ -> FIND when the node is not there */
	enum { WATCH_FIND, WATCH_READ, WATCH_SET } state;
	struct link_walk walk; /* walk.path is the node, when not FIND */
	bool walking;
	uint64_t tag;      /* of the request under way, 0 = none (W1) */
	uint64_t asked_us; /* when it was sent */
	uint64_t pause_us; /* nothing is asked before */
	bool again;        /* it changed while it was read */
	bool opened;       /* changed() was called: no failure is final any more */
	bool gone;         /* deleted() was called, changed() not since */
	bool failed;       /* failed() was called: nothing more is done */
	bool told_connected;
	char told_path[ZK_PATH_MAX]; /* where it was when that was told */
	char *content;               /* what was told; NULL = nothing yet */
	size_t content_len, content_n;
};

struct live_ops {
	/** Give up the handle, if there is one, and begin to connect; with a new session when @attach is NULL.
	 * Events of the handle that was given up do not arrive any more. After a failure the core tries again. */
	int (*open)(struct live_core *c, const struct session_id *attach, struct err *e);
	/** Read a node's data, or its children's names; live_core_reply() follows. */
	void (*get)(struct live_core *c, const char *path, bool watch, uint64_t tag);
	void (*children)(struct live_core *c, const char *path, uint64_t tag); /* watched */
	/** Break the connection, so that the handle makes another one for its session. Returns whether it could. */
	bool (*reconnect)(struct live_core *c);
	/** As struct watch_events has them. */
	void (*changed)(
		struct live_core *c, struct live_watch *w, const char *data, size_t len, size_t n);
	void (*deleted)(struct live_core *c, struct live_watch *w);
	void (*moved)(struct live_core *c, struct live_watch *w, const char *path);
	void (*connection)(struct live_core *c, struct live_watch *w, bool connected);
	/** A watch that was not opened yet cannot be. */
	void (*failed)(struct live_core *c, struct live_watch *w, const struct err *why);
};

struct live_core {
	/* given by the shell before live_core_start() */
	const struct live_ops *ops;
	const char *connection; /* for texts */
	uint64_t timeout_us;    /* of the session */

	/* IDLE -> CONNECTING <-> CONNECTED -> STOPPED */
	enum { LIVE_IDLE, LIVE_CONNECTING, LIVE_CONNECTED, LIVE_STOPPED } state;
	struct session_id session; /* id 0 = none */
	struct live_watch *watches;
	uint64_t last_tag;
	unsigned reopens;    /* handles in vain since the last connection */
	uint64_t give_up_us; /* no connection until then: use a new handle (T70) */
	uint64_t hurry_us;   /* what is asked before that has to be answered soon */
	unsigned in_vain;    /* so often, one after the other, it was not */
	struct err failure;  /* why there is no connection, when that is known */
};

void live_core_start(struct live_core *c, uint64_t now_us);
void live_core_connected(struct live_core *c, const struct session_id *id, uint64_t now_us);
void live_core_disconnected(struct live_core *c, uint64_t now_us);
void live_core_expired(struct live_core *c, uint64_t now_us);
/** @rc  OK, ERR_NOENT, ERR_CLOSED, ERR_IO. @data: the node's; or @n names, each with its NUL, in any order. */
void live_core_reply(
	struct live_core *c, uint64_t tag, int rc, struct slice data, size_t n, uint64_t now_us);
void live_core_watch(struct live_core *c, const char *path, uint64_t now_us);
/** Somebody waits for news: read everything again, and have little patience for a while. A connection may look alive
 * while nothing comes through it, and else that is noticed only after two thirds of the session's time. */
void live_core_hurry(struct live_core *c, uint64_t now_us);
void live_core_tick(struct live_core *c, uint64_t now_us);
/** When live_core_tick() is wanted; UINT64_MAX = never. */
uint64_t live_core_deadline(const struct live_core *c);
/** Nothing is done after it. */
void live_core_stop(struct live_core *c);

/** @w stays the shell's, where it is, until live_core_remove(). */
void live_core_add(struct live_core *c, struct live_watch *w, uint64_t now_us);
/** No function is called for it any more; what it holds is freed. */
void live_core_remove(struct live_core *c, struct live_watch *w);

/** For how long a handle without a connection is kept. */
uint64_t live_core_patience_us(uint64_t timeout_us, unsigned reopens);

#endif
