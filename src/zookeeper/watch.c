#include "zookeeper/watch.h"

#include <pthread.h>
#include <string.h>
#include <unistd.h>

#include "base/mem.h"
#include "zookeeper/live.h"
#include "zookeeper/session.h"

enum { SESSION_TIMEOUT_MS = 10000, CONNECTION_MAX = 2048 };

/* One session for all watches of a connection string. */
struct shared {
	struct shared *next;
	struct live *live;
	unsigned watches;
	char connection[]; /* as the library wants it, so that spellings do not matter */
};

/* The process's: a session costs threads and a connection, and its users do not know each other. The lock is held for some
 * instructions only, also by who forks: a child begins with an empty list (T31). */
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_once_t once = PTHREAD_ONCE_INIT;
static struct shared *all;

static void before_fork(void)
{
	pthread_mutex_lock(&lock);
}

static void parent_after_fork(void)
{
	pthread_mutex_unlock(&lock);
}

static void child_after_fork(void)
{
	all = NULL;
	pthread_mutex_unlock(&lock);
}

static void register_fork(void)
{
	pthread_atfork(before_fork, parent_after_fork, child_after_fork);
}

static int new_shared(const char *connection, const char *text, struct shared **ret, struct err *e)
{
	struct shared *s = mem_alloc(sizeof(*s) + strlen(text) + 1);
	int rc;

	if (!s)
		return err_set(e, ERR_NOMEM, "no memory for a ZooKeeper session");
	rc = live_open(connection, SESSION_TIMEOUT_MS, &s->live, e);
	if (rc) {
		mem_free(s);
		return rc;
	}
	strcpy(s->connection, text);
	s->watches = 0;
	s->next = all;
	all = s;
	*ret = s;
	return OK;
}

static int acquire(const char *connection, struct live **ret, struct err *e)
{
	char text[CONNECTION_MAX];
	struct shared *s;
	int rc = zk_session_check_connection(connection, text, sizeof(text), e);

	if (rc)
		return rc;
	pthread_once(&once, register_fork);
	pthread_mutex_lock(&lock);
	for (s = all; s && strcmp(s->connection, text) != 0; s = s->next)
		;
	if (!s)
		rc = new_shared(connection, text, &s, e);
	if (rc == OK) {
		s->watches++;
		*ret = s->live;
	}
	pthread_mutex_unlock(&lock);
	return rc;
}

static void release(struct live *l)
{
	struct shared **p = &all;
	struct shared *last = NULL;

	pthread_mutex_lock(&lock);
	while (*p && (*p)->live != l)
		p = &(*p)->next;
	if (*p && --(*p)->watches == 0) {
		last = *p;
		*p = last->next;
	}
	pthread_mutex_unlock(&lock);
	if (last)
		live_close(last->live);
	mem_free(last);
}

int watch_open(const char *connection, const char *path, enum watch_kind kind, uint32_t timeout_ms,
	const struct watch_events *events, struct watch **ret, struct err *e)
{
	struct live *l = NULL;
	int rc = acquire(connection, &l, e);

	if (rc)
		return rc;
	rc = live_watch_open(l, path, kind, timeout_ms, events, ret, e);
	if (rc)
		release(l);
	return rc;
}

void watch_close(struct watch *w)
{
	struct live *l = w ? live_of(w) : NULL;

	live_watch_close(w);
	if (l)
		release(l); /* a parent's is not in a child's list */
}
