#include "zookeeper/live.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/mem.h"
#include "zookeeper/live_core.h"
#include "zookeeper/session.h"

enum { STOP_MAX_MS = 5000, CONNECTION_MAX = 2048 };

struct watch {
	struct live_watch core; /* the thread's */
	struct watch_events events;
	struct live *live; /* counted */
	char *path;

	/* under live->lock */
	/* ADDED -> OPEN | FAILED; then the core has it. -> DETACHED when the session ended */
	enum { W_ADDED, W_OPEN, W_FAILED, W_DETACHED } step;
	bool closed; /* no event any more */
	struct watch *next_adding, *next_removing;
	struct err failure;
};

/* What a thread waits for. */
struct asking {
	struct asking *next;
	const struct live_ask *q;
	uint64_t tag; /* when it is sent */
	struct zk_event *reply;
	int rc; /* without a reply */
	bool done;
};

struct live {
	struct live_core core; /* the thread's; its functions get back to us from it */
	char *connection;
	uint32_t timeout_ms;
	struct inbox in;
	struct session *session;
	uint32_t generation;
	pid_t pid;
	pthread_t thread;

	pthread_mutex_t lock;   /* over what follows */
	pthread_cond_t changed; /* CLOCK_MONOTONIC */
	unsigned refs;          /* the opener's, the thread's, each watch's */
	bool stop, stopped;
	bool hurry;
	bool connected;
	int64_t session_id; /* when it is connected */
	struct err failure; /* why there is no connection, when that is known */
	struct watch *adding, *removing;
	struct asking *waiting, *sent;
	struct watch *calling; /* whose events are being told */
};

static struct live *of_core(struct live_core *c)
{
	return CONTAINER_OF(c, struct live, core);
}

static struct watch *of_watch(struct live_watch *w)
{
	return CONTAINER_OF(w, struct watch, core);
}

static uint64_t now(void)
{
	return clock_mono_us(&clock_system);
}

static struct timespec timespec_in(uint32_t ms)
{
	uint64_t us = now() + (uint64_t)ms * 1000;

	return (struct timespec){ (time_t)(us / 1000000), (long)(us % 1000000) * 1000 };
}

/* ---- memory ---- */

static void free_live(struct live *l)
{
	inbox_free(&l->in);
	pthread_cond_destroy(&l->changed);
	pthread_mutex_destroy(&l->lock);
	mem_free(l->connection);
	mem_free(l);
}

/* Give a reference back, with the lock held; it is not any more. */
static void put_locked(struct live *l)
{
	bool last = --l->refs == 0;

	pthread_mutex_unlock(&l->lock);
	if (last)
		free_live(l);
}

static void put(struct live *l)
{
	pthread_mutex_lock(&l->lock);
	put_locked(l);
}

void live_ref(struct live *l)
{
	if (l->pid != getpid())
		return;
	pthread_mutex_lock(&l->lock);
	l->refs++;
	pthread_mutex_unlock(&l->lock);
}

void live_unref(struct live *l)
{
	if (l->pid == getpid()) /* a lock of a parent's may be anybody's (T31) */
		put(l);
}

static void free_watch(struct watch *w)
{
	mem_free(w->path);
	mem_free(w);
}

/* ---- what others ask ---- */

static bool only_reads(const struct live_ask *q)
{
	return q->what == LIVE_GET || q->what == LIVE_CHILDREN || q->what == LIVE_GET_ACL;
}

static void append(struct asking **list, struct asking *a)
{
	while (*list)
		list = &(*list)->next;
	a->next = NULL;
	*list = a;
}

static bool unlink_asking(struct asking **list, const struct asking *a)
{
	while (*list && *list != a)
		list = &(*list)->next;
	if (!*list)
		return false;
	*list = a->next;
	return true;
}

static void send(struct live *l, const struct live_ask *q, uint64_t tag)
{
	static const struct zk_acl open_to_all = { ZK_PERM_ALL, "world", "anyone" };
	const struct zk_acl *acl = q->n_acl ? q->acl : &open_to_all;
	size_t n_acl = q->n_acl ? q->n_acl : 1;

	switch (q->what) {
	case LIVE_GET:
		zk_session_get(l->session, q->path, false, tag);
		break;
	case LIVE_CHILDREN:
		zk_session_children(l->session, q->path, false, tag);
		break;
	case LIVE_CREATE:
		zk_session_create(l->session, q->path, q->data, acl, n_acl, q->flags, tag);
		break;
	case LIVE_SET:
		zk_session_set(l->session, q->path, q->data, q->version, tag);
		break;
	case LIVE_DELETE:
		zk_session_delete(l->session, q->path, q->version, tag);
		break;
	case LIVE_GET_ACL:
		zk_session_get_acl(l->session, q->path, tag);
		break;
	case LIVE_SET_ACL:
		zk_session_set_acl(l->session, q->path, acl, n_acl, q->version, tag);
		break;
	}
}

/* With the lock held, connected. */
static void send_waiting(struct live *l)
{
	while (l->waiting) {
		struct asking *a = l->waiting;

		l->waiting = a->next;
		a->tag = ++l->core.last_tag;
		append(&l->sent, a);
		send(l, a->q, a->tag);
	}
}

static void finish_locked(struct live *l, struct asking *a, int rc)
{
	a->rc = rc;
	a->done = true;
	pthread_cond_broadcast(&l->changed);
}

/* Its answer is lost: what changed something is in doubt. With the lock held. */
static void lost_locked(struct live *l, struct asking *a)
{
	if (only_reads(a->q) && !l->stop)
		append(&l->waiting, a);
	else
		finish_locked(l, a, ERR_CLOSED);
}

/* Returns whether @ev was for somebody who takes it. */
static bool take_reply(struct live *l, struct zk_event *ev)
{
	struct asking *a;
	bool taken = false;

	pthread_mutex_lock(&l->lock);
	for (a = l->sent; a && a->tag != ev->tag; a = a->next)
		;
	if (a) {
		unlink_asking(&l->sent, a);
		if (ev->rc == ERR_CLOSED) {
			lost_locked(l, a);
		} else {
			a->reply = ev;
			finish_locked(l, a, ev->rc);
			taken = true;
		}
	}
	pthread_mutex_unlock(&l->lock);
	return taken;
}

/* The handle is given up: nothing more comes. */
static void lose_sent(struct live *l)
{
	pthread_mutex_lock(&l->lock);
	while (l->sent) {
		struct asking *a = l->sent;

		l->sent = a->next;
		lost_locked(l, a);
	}
	pthread_mutex_unlock(&l->lock);
}

/* ---- what the core calls ---- */

static int shell_open(struct live_core *c, const struct session_id *attach, struct err *e)
{
	struct live *l = of_core(c);

	lose_sent(l);
	zk_session_close(l->session);
	l->session = NULL;
	l->generation++; /* what is still in the inbox is not heard any more */
	return zk_session_open(
		l->connection, l->timeout_ms, attach, &l->in, l->generation, &l->session, e);
}

static void shell_get(struct live_core *c, const char *path, bool watch, uint64_t tag)
{
	zk_session_get(of_core(c)->session, path, watch, tag);
}

static void shell_children(struct live_core *c, const char *path, uint64_t tag)
{
	zk_session_children(of_core(c)->session, path, true, tag);
}

static bool shell_reconnect(struct live_core *c)
{
	return zk_session_reconnect(of_core(c)->session);
}

/* Events are told without the lock; who closes the watch waits for the end of the call. */
static bool begin_call(struct live *l, struct watch *w)
{
	bool open;

	pthread_mutex_lock(&l->lock);
	open = !w->closed && !l->stop;
	if (open)
		l->calling = w;
	pthread_mutex_unlock(&l->lock);
	return open;
}

static void end_call(struct live *l)
{
	pthread_mutex_lock(&l->lock);
	l->calling = NULL;
	pthread_cond_broadcast(&l->changed);
	pthread_mutex_unlock(&l->lock);
}

static void set_step(struct live *l, struct watch *w, int step)
{
	pthread_mutex_lock(&l->lock);
	if (w->step == W_ADDED)
		w->step = step;
	pthread_cond_broadcast(&l->changed);
	pthread_mutex_unlock(&l->lock);
}

static void shell_changed(
	struct live_core *c, struct live_watch *lw, const char *data, size_t len, size_t n)
{
	struct live *l = of_core(c);
	struct watch *w = of_watch(lw);

	if (!begin_call(l, w))
		return;
	w->events.changed(w->events.arg, data, len, n);
	end_call(l);
	set_step(l, w, W_OPEN);
}

static void shell_deleted(struct live_core *c, struct live_watch *lw)
{
	struct live *l = of_core(c);
	struct watch *w = of_watch(lw);

	if (!w->events.deleted || !begin_call(l, w))
		return;
	w->events.deleted(w->events.arg);
	end_call(l);
}

static void shell_connection(struct live_core *c, struct live_watch *lw, bool connected)
{
	struct live *l = of_core(c);
	struct watch *w = of_watch(lw);

	if (!w->events.connection || !begin_call(l, w))
		return;
	w->events.connection(w->events.arg, connected);
	end_call(l);
}

static void shell_failed(struct live_core *c, struct live_watch *lw, const struct err *why)
{
	struct watch *w = of_watch(lw);

	w->failure = *why;
	set_step(of_core(c), w, W_FAILED);
}

static void shell_moved(struct live_core *c, struct live_watch *lw, const char *path)
{
	struct live *l = of_core(c);
	struct watch *w = of_watch(lw);

	if (!w->events.moved || !begin_call(l, w))
		return;
	w->events.moved(w->events.arg, path);
	end_call(l);
}

static const struct live_ops shell_ops = {
	.open = shell_open,
	.get = shell_get,
	.children = shell_children,
	.reconnect = shell_reconnect,
	.changed = shell_changed,
	.deleted = shell_deleted,
	.moved = shell_moved,
	.connection = shell_connection,
	.failed = shell_failed,
};

/* ---- the thread ---- */

static void dispatch(struct live *l, const struct zk_event *ev)
{
	struct live_core *c = &l->core;

	switch (ev->kind) {
	case ZK_CONNECTED:
		live_core_connected(c, &ev->session, now());
		break;
	case ZK_DISCONNECTED:
		live_core_disconnected(c, now());
		break;
	case ZK_EXPIRED:
		live_core_expired(c, now());
		break;
	case ZK_REPLY:
		live_core_reply(c, ev->tag, ev->rc, slice_of(ev->data, ev->data_len),
			ev->n_children, now());
		break;
	case ZK_WATCH:
		live_core_watch(c, ev->data, now());
		break;
	}
}

static void remove_watch(struct live *l, struct watch *w)
{
	live_core_remove(&l->core, &w->core);
	free_watch(w);
	put(l);
}

/* Carry out what others want, show them how it is. Returns whether we are to stop. */
static bool take_orders(struct live *l)
{
	struct watch *adding, *removing, *next;
	bool stop, hurry;

	pthread_mutex_lock(&l->lock);
	adding = l->adding;
	removing = l->removing;
	l->adding = l->removing = NULL;
	l->connected = l->core.state == LIVE_CONNECTED;
	l->session_id = l->connected ? l->core.session.id : 0;
	l->failure = l->core.failure;
	if (l->connected)
		send_waiting(l);
	stop = l->stop;
	hurry = l->hurry;
	l->hurry = false;
	pthread_cond_broadcast(&l->changed);
	pthread_mutex_unlock(&l->lock);
	if (hurry)
		live_core_hurry(&l->core, now());
	for (; adding; adding = next) {
		next = adding->next_adding;
		live_core_add(&l->core, &adding->core, now());
	}
	for (; removing; removing = next) {
		next = removing->next_removing;
		remove_watch(l, removing);
	}
	return stop;
}

/* What is still open waits for its live_watch_close(). */
static void detach_watches(struct live *l)
{
	while (l->core.watches) {
		struct watch *w = of_watch(l->core.watches);

		live_core_remove(&l->core, &w->core);
		pthread_mutex_lock(&l->lock);
		w->step = W_DETACHED;
		pthread_mutex_unlock(&l->lock);
	}
}

static void end_session(struct live *l)
{
	struct watch *w, *next;

	live_core_stop(&l->core);
	lose_sent(l);
	zk_session_close(l->session);
	detach_watches(l);
	pthread_mutex_lock(&l->lock);
	for (struct asking *a = l->waiting; a; a = a->next)
		finish_locked(l, a, ERR_CLOSED);
	l->waiting = NULL;
	for (w = l->adding; w; w = w->next_adding)
		w->step = W_DETACHED;
	w = l->removing;
	l->adding = l->removing = NULL;
	l->stopped = true;
	pthread_cond_broadcast(&l->changed);
	pthread_mutex_unlock(&l->lock);
	for (; w; w = next) {
		next = w->next_removing;
		remove_watch(l, w);
	}
}

static void *run(void *arg)
{
	struct live *l = arg;

	live_core_start(&l->core, now());
	while (!take_orders(l)) {
		struct zk_event *ev = inbox_take(&l->in, live_core_deadline(&l->core));

		bool ours = ev && ev->generation == l->generation;

		if (ours && ev->kind == ZK_REPLY && take_reply(l, ev))
			ev = NULL;
		else if (ours)
			dispatch(l, ev);
		mem_free(ev);
		live_core_tick(&l->core, now());
	}
	end_session(l);
	put(l);
	return NULL;
}

/* ---- the owner's side ---- */

static void init_sync(struct live *l)
{
	pthread_condattr_t attr;

	pthread_condattr_init(&attr);
	pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
	pthread_cond_init(&l->changed, &attr);
	pthread_condattr_destroy(&attr);
	pthread_mutex_init(&l->lock, NULL);
	inbox_init(&l->in);
}

static int start_thread(struct live *l, struct err *e)
{
	sigset_t all, old;
	int errnum;

	l->refs++;
	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &old);
	errnum = pthread_create(&l->thread, NULL, run, l);
	pthread_sigmask(SIG_SETMASK, &old, NULL);
	if (!errnum)
		return OK;
	l->refs--;
	return err_sys(e, errnum, "cannot start the thread of a ZooKeeper session");
}

int live_open(const char *connection, uint32_t session_timeout_ms, struct live **ret, struct err *e)
{
	char text[CONNECTION_MAX];
	struct live *l;
	int rc = zk_session_check_connection(connection, text, sizeof(text), e);

	if (rc)
		return rc;
	l = mem_zalloc(1, sizeof(*l));
	if (!l)
		return err_set(e, ERR_NOMEM, "no memory for a ZooKeeper session");
	init_sync(l);
	l->refs = 1;
	l->pid = getpid();
	l->timeout_ms = session_timeout_ms;
	l->connection = mem_strdup(connection);
	l->core = (struct live_core){ .ops = &shell_ops,
		.connection = l->connection,
		.timeout_us = (uint64_t)session_timeout_ms * 1000 };
	rc = l->connection ? start_thread(l, e)
			   : err_set(e, ERR_NOMEM, "no memory for a ZooKeeper session");
	if (rc) {
		free_live(l);
		return rc;
	}
	*ret = l;
	return OK;
}

void live_close(struct live *l)
{
	struct timespec until = timespec_in(STOP_MAX_MS);

	if (!l || l->pid != getpid())
		return;
	pthread_mutex_lock(&l->lock);
	l->stop = true;
	inbox_wake(&l->in);
	pthread_detach(l->thread);
	while (!l->stopped && !pthread_equal(pthread_self(), l->thread))
		if (pthread_cond_timedwait(&l->changed, &l->lock, &until) == ETIMEDOUT)
			break;
	put_locked(l);
}

/* With the lock held. */
static int no_connection(const struct live *l, struct err *e)
{
	const char *why = l->failure.code ? l->failure.text : "";

	if (l->stop)
		return err_set(e, ERR_CLOSED, "the ZooKeeper session was closed");
	return err_set(e, ERR_TIMEOUT, "Can't connect to ZooKeeper at '%s'%s%s", l->connection,
		*why ? ": " : "", why);
}

/* There is no use in waiting longer for a connection. With the lock held. */
static bool is_hopeless(const struct live *l)
{
	return l->stop || (l->failure.code && !l->connected);
}

static int check_caller(const struct live *l, struct err *e)
{
	if (l->pid == getpid() && pthread_equal(pthread_self(), l->thread))
		return err_set(e, ERR_STATE,
			"an event of a ZooKeeper session cannot wait for that session");
	if (l->pid == getpid())
		return OK;
	return err_set(e, ERR_CLOSED,
		"the ZooKeeper session belongs to the process that opened it (%d), not to its "
		"child",
		(int)l->pid);
}

int live_connect(struct live *l, uint32_t timeout_ms, struct err *e)
{
	struct timespec until = timespec_in(timeout_ms);
	int rc = check_caller(l, e);

	if (rc)
		return rc;
	pthread_mutex_lock(&l->lock);
	while (!l->connected && !is_hopeless(l))
		if (pthread_cond_timedwait(&l->changed, &l->lock, &until) == ETIMEDOUT)
			break;
	rc = l->connected && !l->stop ? OK : no_connection(l, e);
	pthread_mutex_unlock(&l->lock);
	return rc;
}

int64_t live_session_id(struct live *l)
{
	int64_t id;

	if (l->pid != getpid())
		return 0;
	pthread_mutex_lock(&l->lock);
	id = l->session_id;
	pthread_mutex_unlock(&l->lock);
	return id;
}

/* Wait until @a is done, with the lock held. */
static int wait_done(struct live *l, struct asking *a, uint32_t timeout_ms, struct err *e)
{
	struct timespec until = timespec_in(timeout_ms);

	while (!a->done && !is_hopeless(l))
		if (pthread_cond_timedwait(&l->changed, &l->lock, &until) == ETIMEDOUT)
			break;
	if (a->done)
		return OK;
	unlink_asking(&l->waiting, a);
	unlink_asking(&l->sent, a);
	if (l->connected && !l->stop)
		return err_set(e, ERR_TIMEOUT, "%s: no answer from ZooKeeper at '%s'", a->q->path,
			l->connection);
	return no_connection(l, e);
}

static int explain(const struct live *l, const struct asking *a, struct err *e)
{
	static const char *const doing[] = { "read", "read", "created", "set", "deleted", "read",
		"given other permissions" };
	const char *path = a->q->path;

	if (a->rc == ERR_NOENT && a->q->what != LIVE_CREATE)
		return err_set(e, a->rc, "the path '%s' does not exist", path);
	if (a->rc == ERR_EXISTS)
		return err_set(e, a->rc, "the path '%s' exists", path);
	if (a->rc == ERR_CLOSED)
		return err_set(e, a->rc,
			"%s: the connection to ZooKeeper at '%s' was lost: it may have been %s, or "
			"not",
			path, l->connection, doing[a->q->what]);
	return err_set(e, a->rc, "%s: cannot be %s at ZooKeeper '%s': %s", path, doing[a->q->what],
		l->connection, a->reply ? a->reply->data : err_name(a->rc));
}

int live_ask(struct live *l, const struct live_ask *q, uint32_t timeout_ms, struct zk_event **ret,
	struct err *e)
{
	struct asking a = { .q = q };
	int rc = check_caller(l, e);

	if (rc)
		return rc;
	pthread_mutex_lock(&l->lock);
	append(&l->waiting, &a);
	inbox_wake(&l->in);
	rc = wait_done(l, &a, timeout_ms, e);
	pthread_mutex_unlock(&l->lock);
	if (rc == OK && a.rc)
		rc = explain(l, &a, e);
	if (rc == OK && ret)
		*ret = a.reply;
	else
		mem_free(a.reply);
	return rc;
}

struct live *live_of(const struct watch *w)
{
	return w->live;
}

void watch_hurry(struct watch *w)
{
	struct live *l = w->live;

	if (l->pid != getpid())
		return;
	pthread_mutex_lock(&l->lock);
	l->hurry = true;
	inbox_wake(&l->in);
	pthread_mutex_unlock(&l->lock);
}

static int new_watch(struct live *l, const char *path, enum watch_kind kind,
	const struct watch_events *events, struct watch **ret, struct err *e)
{
	struct watch *w = mem_zalloc(1, sizeof(*w));
	int rc;

	if (!w)
		return err_set(e, ERR_NOMEM, "no memory for a watch");
	rc = link_walk_start(&w->core.walk, path, e); /* is it a path? */
	if (rc) {
		free_watch(w);
		return rc;
	}
	w->path = mem_strdup(path);
	if (!w->path) {
		free_watch(w);
		return err_set(e, ERR_NOMEM, "no memory for a watch");
	}
	w->events = *events;
	w->live = l;
	w->core.path = w->path;
	w->core.kind = kind;
	*ret = w;
	return OK;
}

/* Wait until @w was told what there is, or cannot be. With the lock held. */
static int wait_opened(struct live *l, const struct watch *w, uint32_t timeout_ms, struct err *e)
{
	struct timespec until = timespec_in(timeout_ms);

	while (w->step == W_ADDED && !is_hopeless(l))
		if (pthread_cond_timedwait(&l->changed, &l->lock, &until) == ETIMEDOUT)
			break;
	if (w->step == W_OPEN)
		return OK;
	if (w->step == W_FAILED)
		return err_set(e, w->failure.code, "%s", w->failure.text);
	if (l->connected && !l->stop)
		return err_set(e, ERR_TIMEOUT, "%s: no answer from ZooKeeper at '%s'", w->path,
			l->connection);
	return no_connection(l, e);
}

int live_watch_open(struct live *l, const char *path, enum watch_kind kind, uint32_t timeout_ms,
	const struct watch_events *events, struct watch **ret, struct err *e)
{
	struct watch *w = NULL;
	int rc = check_caller(l, e);

	if (rc)
		return rc;
	rc = new_watch(l, path, kind, events, &w, e);
	if (rc)
		return rc;
	pthread_mutex_lock(&l->lock);
	l->refs++;
	if (l->stop) {
		w->step = W_DETACHED;
	} else {
		w->next_adding = l->adding;
		l->adding = w;
		inbox_wake(&l->in);
	}
	rc = wait_opened(l, w, timeout_ms, e);
	pthread_mutex_unlock(&l->lock);
	if (rc) {
		live_watch_close(w);
		return rc;
	}
	*ret = w;
	return OK;
}

void live_watch_close(struct watch *w)
{
	struct live *l = w ? w->live : NULL;

	if (!w)
		return;
	if (l->pid != getpid()) { /* what the thread may have been changing is left alone (T31) */
		free_watch(w);
		return;
	}
	pthread_mutex_lock(&l->lock);
	w->closed = true;
	while (l->calling == w && !pthread_equal(pthread_self(), l->thread))
		pthread_cond_wait(&l->changed, &l->lock);
	if (w->step == W_DETACHED) {
		free_watch(w);
		put_locked(l);
		return;
	}
	w->next_removing = l->removing;
	l->removing = w;
	inbox_wake(&l->in);
	pthread_mutex_unlock(&l->lock);
}
