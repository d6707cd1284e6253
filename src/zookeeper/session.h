/* One handle of the ZooKeeper client library: the only file that knows that library.
 *
 * The library has its own threads; they only post events to the owner's inbox (T34). Every
 * request is answered by exactly one ZK_REPLY with its tag, also when it could not be sent. */
#ifndef ZOOKEEPER_SESSION_H
#define ZOOKEEPER_SESSION_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/compiler.h"
#include "base/err.h"
#include "base/slice.h"
#include "zookeeper/event.h"

struct session;

/**
 * Begin to connect; ZK_CONNECTED or ZK_EXPIRED (of @attach) follow, or nothing while no
 * server is there.
 * @connection  HOST[:PORT],...[/CHROOT]; borrowed until return
 * @attach      an earlier session to go on with, or NULL for a new one
 * @generation  goes into every event of this handle
 * Returns 0, ERR_INVAL (the text is no connection string) or ERR_IO (no host of it is known now).
 * May wait for the name service. Threads: the owner, as for all below; it must block signals,
 * since the library's threads inherit its mask (T75).
 */
MUST_CHECK int zk_session_open(const char *connection, uint32_t timeout_ms,
	const struct session_id *attach, struct inbox *in, uint32_t generation,
	struct session **ret, struct err *e);

/** Give the handle up; events of it that were not taken stay in the inbox. A session that is
 * connected is ended: its ephemeral nodes go. Returns whether the server has confirmed that (it is
 * waited for, some seconds at most). In a process that was forked after zk_session_open() nothing
 * is touched (T31). NULL is fine. */
bool zk_session_close(struct session *s);

/** Break its connection as the network would: the library makes another, and the session goes on. Returns whether
 * the connection was known. */
bool zk_session_reconnect(struct session *s);

/** Read a node; with @watch, one ZK_WATCH follows when it changes or goes. */
void zk_session_get(struct session *s, const char *path, bool watch, uint64_t tag);
/** Read the names of a node's children; with @watch, one ZK_WATCH follows when one comes or goes, or the node goes. */
void zk_session_children(struct session *s, const char *path, bool watch, uint64_t tag);
/** Who may do what with a node. */
struct zk_acl {
	int32_t perms; /* ZK_READ ... */
	const char *scheme, *id;
};

enum {
	ZK_PERM_READ = 1,
	ZK_PERM_WRITE = 2,
	ZK_PERM_CREATE = 4,
	ZK_PERM_DELETE = 8,
	ZK_PERM_ADMIN = 16,
	ZK_PERM_ALL = 31,

	/* @flags of zk_session_create() */
	ZK_EPHEMERAL = 1,
	ZK_SEQUENCE = 2,
};

/** Create a node; the reply's data is its path. @acl: @n_acl of them, 1 to ZK_ACL_MAX */
void zk_session_create(struct session *s, const char *path, struct slice data,
	const struct zk_acl *acl, size_t n_acl, int flags, uint64_t tag);
/** @version  the one it has to have, or -1, also below */
void zk_session_set(
	struct session *s, const char *path, struct slice data, int32_t version, uint64_t tag);
void zk_session_delete(struct session *s, const char *path, int32_t version, uint64_t tag);
/** The reply's data: n_children texts "PERMS SCHEME ID", each with its NUL. */
void zk_session_get_acl(struct session *s, const char *path, uint64_t tag);
/** @version  of the list (zk_stat.aversion), or -1 */
void zk_session_set_acl(struct session *s, const char *path, const struct zk_acl *acl, size_t n_acl,
	int32_t version, uint64_t tag);

enum { ZK_ACL_MAX = 32 };

/** Check a connection string and write it as the library wants it: ports everywhere, no brackets.
 * Returns 0, ERR_INVAL or ERR_LIMIT. */
MUST_CHECK int zk_session_check_connection(
	const char *connection, char *out, size_t room, struct err *e);

#endif
