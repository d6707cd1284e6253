#include "zookeeper/reader.h"

#include <signal.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/mem.h"
#include "zookeeper/session.h"

struct reader {
	struct inbox in;
	struct session *session;
	const char *connection; /* for texts */
	uint64_t timeout_us;
	uint64_t tag;
};

static uint64_t deadline(const struct reader *r)
{
	return clock_mono_us(&clock_system) + r->timeout_us;
}

static int wait_connected(struct reader *r, struct err *e)
{
	uint64_t until = deadline(r);
	struct zk_event *ev;

	while ((ev = inbox_take(&r->in, until))) {
		enum zk_event_kind kind = ev->kind;

		mem_free(ev);
		if (kind == ZK_CONNECTED)
			return OK;
	}
	return err_set(e, ERR_TIMEOUT, "Can't connect to ZooKeeper at '%s'", r->connection);
}

/* The library's threads inherit the mask: signals are the program's business (T75). */
static int open_session(struct reader *r, uint32_t timeout_ms, struct err *e)
{
	sigset_t all, old;
	int rc;

	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &old);
	rc = zk_session_open(r->connection, timeout_ms, NULL, &r->in, 0, &r->session, e);
	pthread_sigmask(SIG_SETMASK, &old, NULL);
	if (rc == ERR_IO)
		err_wrap(e, "Can't connect to ZooKeeper at '%s'", r->connection);
	return rc;
}

int reader_open(const char *connection, uint32_t timeout_ms, struct reader **ret, struct err *e)
{
	struct reader *r = mem_zalloc(1, sizeof(*r));
	int rc;

	if (!r)
		return err_set(e, ERR_NOMEM, "no memory for a ZooKeeper session");
	inbox_init(&r->in);
	r->connection = connection;
	r->timeout_us = (uint64_t)timeout_ms * 1000;
	rc = open_session(r, timeout_ms, e);
	if (rc == OK)
		rc = wait_connected(r, e);
	if (rc) {
		reader_close(r);
		return rc;
	}
	*ret = r;
	return OK;
}

void reader_close(struct reader *r)
{
	if (!r)
		return;
	zk_session_close(r->session);
	inbox_free(&r->in);
	mem_free(r);
}

/* The reply to the request that was just sent. */
static int take_reply(struct reader *r, const char *path, struct zk_event **ret, struct err *e)
{
	uint64_t until = deadline(r);
	struct zk_event *ev;
	int rc;

	while ((ev = inbox_take(&r->in, until))) {
		if (ev->kind == ZK_REPLY && ev->tag == r->tag)
			break;
		mem_free(ev);
	}
	if (!ev)
		return err_set(e, ERR_TIMEOUT, "%s: no answer from ZooKeeper at '%s'", path,
			r->connection);
	rc = ev->rc;
	if (rc == OK) {
		*ret = ev;
		return OK;
	}
	mem_free(ev);
	if (rc == ERR_NOENT)
		return err_set(e, rc, "the path '%s' does not exist", path);
	return err_set(e, rc, "%s: cannot be read from ZooKeeper at '%s': %s", path, r->connection,
		err_name(rc));
}

int reader_get(struct reader *r, const char *path, struct zk_event **ret, struct err *e)
{
	zk_session_get(r->session, path, false, ++r->tag);
	return take_reply(r, path, ret, e);
}

static int compare(const void *a, const void *b)
{
	return strcmp(*(const char *const *)a, *(const char *const *)b);
}

int reader_children(struct reader *r, const char *path, struct zk_event **ret,
	const char ***ret_names, struct err *e)
{
	struct zk_event *ev = NULL;
	const char **names;
	const char *p;
	int rc;

	zk_session_children(r->session, path, false, ++r->tag);
	rc = take_reply(r, path, &ev, e);
	if (rc)
		return rc;
	names = mem_zalloc(ev->n_children + 1, sizeof(*names));
	if (!names) {
		mem_free(ev);
		return err_set(e, ERR_NOMEM, "%s: no memory for the names of its children", path);
	}
	p = ev->data;
	for (size_t i = 0; i < ev->n_children; i++, p += strlen(p) + 1)
		names[i] = p;
	qsort(names, ev->n_children, sizeof(*names), compare);
	*ret = ev;
	*ret_names = names;
	return OK;
}

int reader_resolve(struct reader *r, const char *path, char ret_path[ZK_PATH_MAX], struct err *e)
{
	struct link_walk w;
	int rc = link_walk_start(&w, path, e);

	if (rc)
		return rc;
	do {
		struct zk_event *ev = NULL;

		rc = reader_get(r, w.next, &ev, e);
		if (rc == OK || rc == ERR_NOENT)
			rc = link_walk_reply(&w, rc,
				ev ? slice_of(ev->data, ev->data_len) : slice_of(NULL, 0), e);
		mem_free(ev);
	} while (rc == ERR_AGAIN);
	if (rc == OK)
		strcpy(ret_path, w.path);
	link_walk_end(&w);
	return rc;
}
