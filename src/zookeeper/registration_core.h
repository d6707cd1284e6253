/* What decides about a registration: a state machine that takes events and the time, and
 * reaches ZooKeeper through a table of functions.
 *
 * I1  A node of another session is never removed or replaced: only watched (T32).
 * I2  A node is ours only when its owner is the session we are connected with (T36).
 * I3  At most one request is under way.
 * I4  The session that may still own our nodes is kept until its end is certain: an earlier life's
 *     is attached to and closed; one that lost its connection is attached to by a new handle,
 *     which a server that lost its data does not refuse (T70).
 */
#ifndef ZOOKEEPER_REGISTRATION_CORE_H
#define ZOOKEEPER_REGISTRATION_CORE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/compiler.h"
#include "base/err.h"
#include "base/slice.h"
#include "zookeeper/event.h"
#include "zookeeper/links.h"
#include "zookeeper/names.h"

struct registration_core;

struct registry_ops {
	/** Give up the handle, if there is one, and begin to connect: with a new session when
	 * @attach is NULL. Events of the handle that was given up do not arrive any more.
	 * After a failure the core tries again. */
	int (*open)(struct registration_core *c, const struct session_id *attach, struct err *e);
	/** End the session and give up its handle. Returns whether it is certain to have ended. */
	bool (*close)(struct registration_core *c);
	/** Read a node and watch it; core_reply() follows. */
	void (*get)(struct registration_core *c, const char *path);
	/** Create an ephemeral node; core_reply() follows. */
	void (*create)(struct registration_core *c, const char *path, const char *data);
	/** This session owns our nodes now: remember it for the next start; NULL: none does. */
	void (*keep)(struct registration_core *c, const struct session_id *id);
	void (*log)(struct registration_core *c, int level, const char *text);
};

enum name_state {
	NAME_TODO,    /* to be created */
	NAME_CHECK,   /* to be read: is it there, and whose is it? */
	NAME_OURS,    /* registered, watched */
	NAME_FOREIGN, /* another session's, watched */
};

enum core_request { ASK_NOTHING, ASK_PATH, ASK_CREATE, ASK_NODE };

struct registration_core {
	/* given by the shell before core_start() */
	const struct registry_ops *ops;
	const char *connection; /* for texts */
	const char *path;       /* as configured */
	const char *data;       /* JSON for the nodes */
	uint64_t timeout_us;    /* of the session */
	struct node_names names;

	/* IDLE -> CLEARING (an earlier life's session) -> CONNECTING <-> CONNECTED -> STOPPED */
	enum { CORE_IDLE, CORE_CLEARING, CORE_CONNECTING, CORE_CONNECTED, CORE_STOPPED } state;
	struct session_id session; /* ours, or while CLEARING the earlier one; id 0 = none */
	struct link_walk walk;
	bool walking;  /* walk is under way */
	bool resolved; /* walk.path is the node to register below */
	enum name_state name_states[NAMES_MAX];
	bool created[NAMES_MAX];       /* were ours once: coming back is "restoring" */
	int64_t told_owner[NAMES_MAX]; /* whose foreign node was logged */
	enum core_request asked;       /* I3 */
	size_t asked_name;             /* of ASK_CREATE, ASK_NODE */
	unsigned reopens;              /* handles in vain since the last connection */
	uint64_t give_up_us;           /* no connection or reply until then: use a new handle */
	uint64_t pause_us;             /* nothing is asked before */
	bool told_away, told_failed;   /* one line per outage */
	bool serving;                  /* set by the shell: failures are to be logged from now on */
	struct err failure;            /* why nothing is registered now; code OK = no reason */
};

/** @earlier  the session of an earlier life, from its keep(); or NULL */
void core_start(struct registration_core *c, const struct session_id *earlier, uint64_t now_us);
void core_connected(struct registration_core *c, const struct session_id *id, uint64_t now_us);
void core_disconnected(struct registration_core *c, uint64_t now_us);
void core_expired(struct registration_core *c, uint64_t now_us);
/** @rc  OK, ERR_NOENT, ERR_EXISTS, ERR_CLOSED (it may or may not have been done), ERR_IO */
void core_reply(
	struct registration_core *c, int rc, int64_t owner, struct slice data, uint64_t now_us);
void core_watch(struct registration_core *c, const char *path, uint64_t now_us);
void core_tick(struct registration_core *c, uint64_t now_us);
/** When core_tick() is wanted; UINT64_MAX = never. */
uint64_t core_deadline(const struct registration_core *c);
/** Deregister. Only core_end() may follow. */
void core_stop(struct registration_core *c);
void core_end(struct registration_core *c);

/** All names are ours or another's, and we are connected. */
bool core_is_settled(const struct registration_core *c);
size_t core_count(const struct registration_core *c, enum name_state state);

#endif
