/* What ZooKeeper's threads tell the thread that owns a session. */
#ifndef ZOOKEEPER_EVENT_H
#define ZOOKEEPER_EVENT_H

#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/compiler.h"
#include "base/err.h"

/** A session's name and the secret that lets its holder attach to it. Never logged. */
struct session_id {
	int64_t id; /* 0 = none */
	unsigned char password[16];
};

enum zk_event_kind {
	ZK_CONNECTED,    /* session: which one; it may be another one than before (T36) */
	ZK_DISCONNECTED, /* the library goes on trying */
	ZK_EXPIRED,      /* final for this handle */
	ZK_REPLY,        /* tag, rc, and what was asked for */
	ZK_WATCH,        /* data: the path that changed */
};

/** What ZooKeeper says of a node beside its data. */
struct zk_stat {
	int64_t czxid, mzxid, ctime, mtime;
	int32_t version, cversion, aversion;
	int64_t owner; /* session of an ephemeral node, else 0 */
	int32_t data_len, n_children;
	int64_t pzxid;
};

struct zk_event {
	struct zk_event *next;
	enum zk_event_kind kind;
	uint32_t generation; /* of the handle it came from */
	uint64_t tag;        /* ZK_REPLY */
	int rc;              /* ZK_REPLY: OK, ERR_NOENT, ERR_EXISTS, ERR_STATE (it has children),
	                        ERR_CONFLICT (another version), ERR_READONLY (no permission),
	                        ERR_CLOSED (unknown whether it was done), ERR_IO; data has the
	                        library's text */
	struct zk_stat stat; /* of a node that was read or set */
	struct session_id session;
	size_t n_children; /* so many names, each with its NUL, are in data */
	size_t data_len;
	char data[]; /* a NUL follows data_len bytes */
};

/** Events on their way from any thread to one. */
struct inbox {
	pthread_mutex_t lock;
	pthread_cond_t filled; /* CLOCK_MONOTONIC */
	struct zk_event *head, **tail;
	bool woken;
};

void inbox_init(struct inbox *in);
/** Frees what was not taken. No thread may post any more. */
void inbox_free(struct inbox *in);

/** An event of @kind with room for @n bytes of data, copied from @data when not NULL; or NULL. */
MUST_CHECK struct zk_event *zk_event_new(enum zk_event_kind kind, const void *data, size_t n);
/** Hand @ev over; NULL (no memory) is dropped: who waits has a time limit. Threads: any. */
void inbox_post(struct inbox *in, struct zk_event *ev);
/** Make inbox_take() return NULL once. Threads: any. */
void inbox_wake(struct inbox *in);
/** The next event, or NULL when woken or at @deadline_us of the monotonic clock. The caller frees it with
 * mem_free(). Threads: the owner. */
struct zk_event *inbox_take(struct inbox *in, uint64_t deadline_us);

#endif
