#include "zookeeper/registration.h"

#include <errno.h>
#include <jansson.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/os.h"
#include "zookeeper/registration_core.h"
#include "zookeeper/session.h"
#include "zookeeper/session_file.h"

/* How long a name service that does not answer holds start() up. */
enum { DECIDE_MAX_MS = 15000 };

struct registration {
	struct registration_core core; /* the thread's; c->ops' functions get back to us from it */
	struct registration_options o;
	char *connection, *path, *monitor, *session_file, *data; /* copies for o */
	struct zk_acl *acl;                                      /* as well, in one piece */
	struct inbox in;
	struct session *session;
	uint32_t generation;
	pid_t pid;
	pthread_t thread;

	pthread_mutex_t lock;   /* over what follows */
	pthread_cond_t changed; /* CLOCK_MONOTONIC */
	bool stop, stopped;
	bool decided;       /* start() may return */
	struct err failure; /* code OK: go on */
	struct registration_status status;
};

static struct registration *of_core(struct registration_core *c)
{
	return CONTAINER_OF(c, struct registration, core);
}

static uint64_t now(void)
{
	return clock_mono_us(&clock_system);
}

static void shell_log(struct registration_core *c, int level, const char *text)
{
	struct registration *r = of_core(c);

	if (r->o.log)
		r->o.log(r->o.log_context, level, text);
}

static bool shell_close(struct registration_core *c)
{
	struct registration *r = of_core(c);
	bool ended = zk_session_close(r->session);

	r->session = NULL;
	r->generation++; /* what is still in the inbox is not heard any more */
	return ended;
}

static int shell_open(struct registration_core *c, const struct session_id *attach, struct err *e)
{
	struct registration *r = of_core(c);

	shell_close(c);
	return zk_session_open(r->connection, r->o.session_timeout_ms, attach, &r->in,
		r->generation, &r->session, e);
}

static void shell_get(struct registration_core *c, const char *path)
{
	zk_session_get(of_core(c)->session, path, true, 0);
}

static void shell_create(struct registration_core *c, const char *path, const char *data)
{
	struct registration *r = of_core(c);
	static const struct zk_acl read_only = { ZK_PERM_READ, "world", "anyone" };

	zk_session_create(r->session, path, slice_str(data), r->acl ? r->acl : &read_only,
		r->acl ? r->o.n_acl : 1, ZK_EPHEMERAL, 0);
}

static void shell_keep(struct registration_core *c, const struct session_id *id)
{
	struct registration *r = of_core(c);
	struct err e = ERR_INIT;
	int rc;

	if (!r->session_file)
		return;
	rc = id ? session_file_save(r->session_file, id, &e) : os_unlink(r->session_file, &e);
	if (rc && rc != ERR_NOENT)
		shell_log(c, LOG_WARNING, e.text);
}

static const struct registry_ops shell_ops = {
	.open = shell_open,
	.close = shell_close,
	.get = shell_get,
	.create = shell_create,
	.keep = shell_keep,
	.log = shell_log,
};

static void start_core(struct registration *r)
{
	struct session_id earlier;
	struct err e = ERR_INIT;
	int rc = r->session_file ? session_file_load(r->session_file, &earlier, &e) : ERR_NOENT;

	if (rc && rc != ERR_NOENT)
		shell_log(&r->core, LOG_WARNING, e.text);
	core_start(&r->core, rc == OK ? &earlier : NULL, now());
}

static void dispatch(struct registration *r, const struct zk_event *ev)
{
	if (ev->generation != r->generation)
		return;
	switch (ev->kind) {
	case ZK_CONNECTED:
		core_connected(&r->core, &ev->session, now());
		break;
	case ZK_DISCONNECTED:
		core_disconnected(&r->core, now());
		break;
	case ZK_EXPIRED:
		core_expired(&r->core, now());
		break;
	case ZK_REPLY:
		core_reply(
			&r->core, ev->rc, ev->stat.owner, slice_of(ev->data, ev->data_len), now());
		break;
	case ZK_WATCH:
		core_watch(&r->core, ev->data, now());
		break;
	}
}

static void set_no_zookeeper(struct registration *r)
{
	if (r->o.must_connect)
		err_set(&r->failure, ERR_TIMEOUT,
			"Can't connect to ZooKeeper at '%s' (without it nobody could find a server "
			"whose port is chosen by the system)",
			r->connection);
}

/* What start() waits for. */
static void decide(struct registration *r)
{
	struct registration_core *c = &r->core;

	if (c->state == CORE_CONNECTED && c->failure.code)
		r->failure = c->failure;
	else if (c->told_away)
		set_no_zookeeper(r);
	else if (!core_is_settled(c))
		return;
	r->decided = true;
	c->serving = !r->failure.code;
}

/* Show others what the core thinks. Returns whether we are to stop. */
static bool publish(struct registration *r)
{
	const struct registration_core *c = &r->core;
	struct registration_status *s = &r->status;
	bool stop;

	pthread_mutex_lock(&r->lock);
	s->state = c->state == CORE_CONNECTED ? "connected" : "connecting";
	snprintf(s->path, sizeof(s->path), "%s", c->resolved ? c->walk.path : r->path);
	for (size_t i = 0; i < c->names.n; i++)
		s->registered[i] = c->state == CORE_CONNECTED && c->name_states[i] == NAME_OURS;
	if (!r->decided)
		decide(r);
	stop = r->stop;
	pthread_cond_broadcast(&r->changed);
	pthread_mutex_unlock(&r->lock);
	return stop;
}

static void *run(void *arg)
{
	struct registration *r = arg;

	start_core(r);
	while (!publish(r)) {
		struct zk_event *ev = inbox_take(&r->in, core_deadline(&r->core));

		if (ev)
			dispatch(r, ev);
		mem_free(ev);
		core_tick(&r->core, now());
	}
	core_stop(&r->core);
	pthread_mutex_lock(&r->lock);
	memset(r->status.registered, 0, sizeof(r->status.registered));
	r->status.state = "stopped";
	r->stopped = true;
	pthread_cond_broadcast(&r->changed);
	pthread_mutex_unlock(&r->lock);
	return NULL;
}

static void init_sync(struct registration *r)
{
	pthread_condattr_t attr;

	pthread_condattr_init(&attr);
	pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
	pthread_cond_init(&r->changed, &attr);
	pthread_condattr_destroy(&attr);
	pthread_mutex_init(&r->lock, NULL);
	inbox_init(&r->in);
}

static void free_all(struct registration *r)
{
	core_end(&r->core);
	inbox_free(&r->in);
	pthread_cond_destroy(&r->changed);
	pthread_mutex_destroy(&r->lock);
	mem_free(r->connection);
	mem_free(r->path);
	mem_free(r->monitor);
	mem_free(r->session_file);
	mem_free(r->acl);
	free(r->data); /* jansson's */
	mem_free(r);
}

/* {"pid":1} or {"monitor":"host:port","pid":1}: never empty (T37) */
static char *node_data(const struct registration_options *o)
{
	json_t *properties = o->data ? NULL
				     : json_pack("{s:s*, s:I}", "monitor", o->monitor, "pid",
					       (json_int_t)o->pid);
	char *text =
		o->data ? strdup(o->data) : json_dumps(properties, JSON_COMPACT | JSON_SORT_KEYS);

	json_decref(properties);
	return text;
}

static bool copy_acl(struct registration *r, const struct registration_options *o)
{
	size_t room = o->n_acl * sizeof(*o->acl);
	char *text;

	for (size_t i = 0; i < o->n_acl; i++)
		room += strlen(o->acl[i].scheme) + strlen(o->acl[i].id) + 2;
	r->acl = mem_alloc(room);
	if (!r->acl)
		return false;
	text = (char *)(r->acl + o->n_acl);
	for (size_t i = 0; i < o->n_acl; i++) {
		r->acl[i] = o->acl[i];
		r->acl[i].scheme = text;
		text = stpcpy(text, o->acl[i].scheme) + 1;
		r->acl[i].id = text;
		text = stpcpy(text, o->acl[i].id) + 1;
	}
	return true;
}

static int copy_options(struct registration *r, const struct registration_options *o)
{
	r->o = *o;
	r->connection = mem_strdup(o->connection);
	r->path = mem_strdup(o->path);
	r->monitor = o->monitor ? mem_strdup(o->monitor) : NULL;
	r->session_file = o->session_file ? mem_strdup(o->session_file) : NULL;
	r->data = node_data(o);
	if (!r->connection || !r->path || !r->data || (o->n_acl && !copy_acl(r, o)) ||
		(o->monitor && !r->monitor) || (o->session_file && !r->session_file))
		return ERR_NOMEM;
	r->core = (struct registration_core){
		.ops = &shell_ops,
		.connection = r->connection,
		.path = r->path,
		.data = r->data,
		.timeout_us = (uint64_t)o->session_timeout_ms * 1000,
		.names = o->names,
	};
	r->status.names = o->names;
	snprintf(r->status.asked_path, sizeof(r->status.asked_path), "%s", o->path);
	r->status.pid = o->pid;
	snprintf(r->status.monitor, sizeof(r->status.monitor), "%s", o->monitor ? o->monitor : "");
	return OK;
}

static int start_thread(struct registration *r, struct err *e)
{
	sigset_t all, old;
	int errnum;

	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &old);
	errnum = pthread_create(&r->thread, NULL, run, r);
	pthread_sigmask(SIG_SETMASK, &old, NULL);
	return errnum ? err_sys(e, errnum, "cannot start the registration's thread") : OK;
}

static struct timespec timespec_in(uint32_t ms)
{
	uint64_t us = now() + (uint64_t)ms * 1000;

	return (struct timespec){ (time_t)(us / 1000000), (long)(us % 1000000) * 1000 };
}

static void wait_decided(struct registration *r, struct err *ret_failure)
{
	struct timespec until = timespec_in(DECIDE_MAX_MS);

	pthread_mutex_lock(&r->lock);
	while (!r->decided)
		if (pthread_cond_timedwait(&r->changed, &r->lock, &until) == ETIMEDOUT)
			break;
	if (!r->decided)
		set_no_zookeeper(r);
	*ret_failure = r->failure;
	pthread_mutex_unlock(&r->lock);
}

static int check(const struct registration_options *o, struct err *e)
{
	char text[2048];
	struct link_walk w;
	int rc = zk_session_check_connection(o->connection, text, sizeof(text), e);

	return rc ? rc : link_walk_start(&w, o->path, e);
}

int registration_start(
	const struct registration_options *o, struct registration **ret, struct err *e)
{
	struct registration *r;
	struct err failure;
	int rc = check(o, e);

	if (rc)
		return rc;
	r = mem_zalloc(1, sizeof(*r));
	if (!r)
		return err_set(e, ERR_NOMEM, "no memory for a registration");
	init_sync(r);
	r->pid = getpid();
	rc = copy_options(r, o);
	if (rc)
		err_set(e, rc, "no memory for a registration");
	else
		rc = start_thread(r, e);
	if (rc) {
		free_all(r);
		return rc;
	}
	wait_decided(r, &failure);
	if (failure.code) {
		registration_stop(r, 5000);
		return err_set(e, failure.code, "%s", failure.text);
	}
	*ret = r;
	return OK;
}

void registration_status(struct registration *r, struct registration_status *ret)
{
	pthread_mutex_lock(&r->lock);
	*ret = r->status;
	pthread_mutex_unlock(&r->lock);
}

static bool wait_stopped(struct registration *r, uint32_t timeout_ms)
{
	struct timespec until = timespec_in(timeout_ms);
	bool stopped;

	pthread_mutex_lock(&r->lock);
	r->stop = true;
	pthread_mutex_unlock(&r->lock);
	inbox_wake(&r->in);
	pthread_mutex_lock(&r->lock);
	while (!r->stopped)
		if (pthread_cond_timedwait(&r->changed, &r->lock, &until) == ETIMEDOUT)
			break;
	stopped = r->stopped;
	pthread_mutex_unlock(&r->lock);
	return stopped;
}

int registration_stop(struct registration *r, uint32_t timeout_ms)
{
	if (!r || r->pid != getpid())
		return OK;
	if (!wait_stopped(r, timeout_ms)) {
		pthread_detach(r->thread);
		return ERR_TIMEOUT;
	}
	pthread_join(r->thread, NULL);
	free_all(r);
	return OK;
}
