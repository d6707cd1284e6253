/* A server's entry in ZooKeeper: registration_core.h with a thread and a session behind it. */
#ifndef ZOOKEEPER_REGISTRATION_H
#define ZOOKEEPER_REGISTRATION_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/compiler.h"
#include "base/err.h"
#include "zookeeper/links.h"
#include "zookeeper/names.h"
#include "zookeeper/session.h"

struct registration;

struct registration_options {
	const char *connection; /* HOST[:PORT],...[/CHROOT] */
	const char *path;       /* must exist; links in it are followed */
	uint32_t session_timeout_ms;
	struct node_names names;  /* names_find() */
	int64_t pid;              /* the nodes' properties ... */
	const char *monitor;      /* ... NULL = none */
	const char *data;         /* the nodes' data instead of these properties, NULL = those */
	const struct zk_acl *acl; /* n_acl of them; none: the world may read */
	size_t n_acl;
	/** The session is kept here (mode 0600), so that the next start can end it and with it
	 * exactly our own left-over nodes. Have the lock on the data before you register: two
	 * processes with one file would end each other's session. NULL = nowhere. */
	const char *session_file;
	/** Without ZooKeeper nobody could find us (the port was chosen by the system): fail then,
	 * instead of trying on in the background. */
	bool must_connect;
	/** One line of log (base/log.h's levels). Called on the registration's thread. */
	void (*log)(void *context, int level, const char *text);
	void *log_context;
};

struct registration_status {
	const char *state;            /* "connecting", "connected", "stopped" */
	char asked_path[ZK_PATH_MAX]; /* as configured */
	char path[ZK_PATH_MAX];       /* its links followed, once that is known */
	struct node_names names;
	bool registered[NAMES_MAX]; /* the node is there and ours */
	int64_t pid;
	char monitor[280]; /* "" = none */
};

/**
 * Register, and from now on keep the nodes there.
 * @o  borrowed until return (copied)
 * Waits until the nodes are there, or until it is clear that they cannot be now (some seconds
 * without ZooKeeper, names taken by other sessions): then it goes on trying in the background.
 * Returns 0, or nothing runs: ERR_INVAL, ERR_NOMEM, ERR_NOENT (the path does not exist),
 * ERR_TIMEOUT (no ZooKeeper, with must_connect), ERR_IO.
 * Threads: any; its own threads have all signals blocked (T75).
 */
MUST_CHECK int registration_start(
	const struct registration_options *o, struct registration **ret, struct err *e);

/** How it is now. Threads: any. */
void registration_status(struct registration *r, struct registration_status *ret);

/**
 * Remove the nodes and end the session, within @timeout_ms. When that is not enough (a name service
 * that does not answer), ERR_TIMEOUT: a thread is left behind and its memory with it. NULL is fine.
 * In a process that was forked after registration_start() nothing is done (T31).
 */
int registration_stop(struct registration *r, uint32_t timeout_ms);

#endif
