#include "zookeeper/session.h"

#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define THREADED
#include <zookeeper/zookeeper.h>

#include "base/clock.h"
#include "base/mem.h"
#include "zookeeper/descriptors.h"

enum {
	CONNECTION_MAX = 2048,
	/* closing, the library waits 1.5 s for the server's answer, and does not say whether it came */
	CLOSE_ANSWER_US = 1000000,
};

struct session {
	zhandle_t *zh;
	struct inbox *in;
	uint32_t generation;
	pid_t pid; /* the process that opened it (T31) */
	atomic_int
		fd; /* of its connection, -1 = not known; the library may have closed it meanwhile */
};

struct request {
	struct session *session;
	uint64_t tag;
};

static int code_of(int zoo_rc)
{
	switch (zoo_rc) {
	case ZOK:
		return OK;
	case ZNONODE:
		return ERR_NOENT;
	case ZNODEEXISTS:
		return ERR_EXISTS;
	case ZNOTEMPTY:
		return ERR_STATE;
	case ZBADVERSION:
		return ERR_CONFLICT;
	case ZNOAUTH:
		return ERR_READONLY;
	case ZSYSTEMERROR:
	case ZMARSHALLINGERROR:
	case ZAPIERROR:
	case ZINVALIDACL:
	case ZBADARGUMENTS:
	case ZNOCHILDRENFOREPHEMERALS:
	case ZUNIMPLEMENTED:
		return ERR_IO;
	default:
		return ERR_CLOSED;
	}
}

static void post(struct session *s, struct zk_event *ev)
{
	if (ev)
		ev->generation = s->generation;
	inbox_post(s->in, ev);
}

static bool connected_host(zhandle_t *zh, struct sockaddr_storage *peer, socklen_t *n)
{
	*n = sizeof(*peer);
	memset(peer, 0, sizeof(*peer));
	return zookeeper_get_connected_host(zh, (struct sockaddr *)peer, n);
}

static void protect_connection(struct session *s, zhandle_t *zh)
{
	struct sockaddr_storage peer;
	socklen_t n;

	if (connected_host(zh, &peer, &n))
		atomic_store(&s->fd, descriptors_protect((struct sockaddr *)&peer, n));
}

bool zk_session_reconnect(struct session *s)
{
	struct sockaddr_storage peer;
	socklen_t n;

	return s && s->pid == getpid() && connected_host(s->zh, &peer, &n) &&
	       descriptors_shut(atomic_load(&s->fd), (struct sockaddr *)&peer, n);
}

static void post_state(struct session *s, zhandle_t *zh, int state)
{
	struct zk_event *ev;

	if (state == ZOO_CONNECTED_STATE) {
		protect_connection(s, zh);
		ev = zk_event_new(ZK_CONNECTED, NULL, 0);
		if (ev) {
			const clientid_t *id = zoo_client_id(zh);

			ev->session.id = id->client_id;
			memcpy(ev->session.password, id->passwd, sizeof(id->passwd));
		}
	} else if (state == ZOO_EXPIRED_SESSION_STATE || state == ZOO_AUTH_FAILED_STATE) {
		ev = zk_event_new(ZK_EXPIRED, NULL, 0);
	} else {
		ev = zk_event_new(ZK_DISCONNECTED, NULL, 0);
	}
	post(s, ev);
}

static void watcher(zhandle_t *zh, int type, int state, const char *path, void *context)
{
	struct session *s = context;

	if (type == ZOO_SESSION_EVENT)
		post_state(s, zh, state);
	else
		post(s, zk_event_new(ZK_WATCH, path, strlen(path)));
}

static void reply(const struct request *q, int zoo_rc, struct zk_event *ev)
{
	const char *text = zoo_rc == ZOK ? "" : zerror(zoo_rc);

	if (!ev)
		ev = zk_event_new(ZK_REPLY, text, strlen(text));
	if (ev) {
		ev->tag = q->tag;
		ev->rc = code_of(zoo_rc);
	}
	post(q->session, ev);
	mem_free((void *)q);
}

static struct zk_stat stat_of(const struct Stat *s)
{
	return (struct zk_stat){
		.czxid = s->czxid,
		.mzxid = s->mzxid,
		.ctime = s->ctime,
		.mtime = s->mtime,
		.version = s->version,
		.cversion = s->cversion,
		.aversion = s->aversion,
		.owner = s->ephemeralOwner,
		.data_len = s->dataLength,
		.n_children = s->numChildren,
		.pzxid = s->pzxid,
	};
}

static void on_data(
	int rc, const char *value, int value_len, const struct Stat *stat, const void *context)
{
	struct zk_event *ev = NULL;

	if (rc == ZOK) {
		/* a node without data has the length -1 */
		size_t n = value && value_len > 0 ? (size_t)value_len : 0;

		ev = zk_event_new(ZK_REPLY, value, n);
		if (ev)
			ev->stat = stat_of(stat);
	}
	reply(context, rc, ev);
}

static void on_string(int rc, const char *value, const void *context)
{
	reply(context, rc, rc == ZOK ? zk_event_new(ZK_REPLY, value, strlen(value)) : NULL);
}

static void on_stat(int rc, const struct Stat *stat, const void *context)
{
	struct zk_event *ev = rc == ZOK ? zk_event_new(ZK_REPLY, NULL, 0) : NULL;

	if (ev)
		ev->stat = stat_of(stat);
	reply(context, rc, ev);
}

static void on_nothing(int rc, const void *context)
{
	reply(context, rc, NULL);
}

static void on_acl(int rc, struct ACL_vector *acl, struct Stat *stat, const void *context)
{
	struct zk_event *ev = NULL;
	size_t n = 0;

	for (int i = 0; rc == ZOK && i < acl->count; i++)
		n += strlen(acl->data[i].id.scheme) + strlen(acl->data[i].id.id) + 16;
	if (rc == ZOK)
		ev = zk_event_new(ZK_REPLY, NULL, n);
	if (ev) {
		char *p = ev->data;

		for (int i = 0; i < acl->count; i++)
			p += sprintf(p, "%d %s %s", acl->data[i].perms, acl->data[i].id.scheme,
				     acl->data[i].id.id) +
			     1;
		ev->n_children = (size_t)acl->count;
		ev->data_len = (size_t)(p - ev->data);
		ev->stat = stat_of(stat);
	}
	reply(context, rc, ev);
}

static void on_strings(int rc, const struct String_vector *names, const void *context)
{
	struct zk_event *ev = NULL;
	size_t n = 0;

	if (rc == ZOK) {
		for (int i = 0; i < names->count; i++)
			n += strlen(names->data[i]) + 1;
		ev = zk_event_new(ZK_REPLY, NULL, n);
	}
	if (ev) {
		char *p = ev->data;

		for (int i = 0; i < names->count; i++)
			p = stpcpy(p, names->data[i]) + 1;
		ev->n_children = (size_t)names->count;
	}
	reply(context, rc, ev);
}

/* Events say all that the library's own log would; that one names hosts and paths at will. */
static void drop_log(const char *text)
{
	(void)text;
}

/* One "host", "host:port", "[v6]" or "[v6]:port" -> "host:port" as the library splits it:
 * at the last colon. */
static int add_host(char **out, const char *end, const char *host, size_t n, struct err *e)
{
	const char *close = n && host[0] == '[' ? memchr(host, ']', n) : NULL;
	const char *rest = close ? close + 1 : memrchr(host, ':', n);
	const char *name = close ? host + 1 : host;
	size_t name_len = (size_t)((close ? close : rest ? rest : host + n) - name);
	long port = 2181;
	char *stop = NULL;

	if (rest && rest < host + n) {
		port = rest[0] == ':' ? strtol(rest + 1, &stop, 10) : 0;
		if (stop != host + n || stop == rest + 1)
			port = 0;
	}
	if (name_len == 0 || port < 1 || port > 65535)
		return err_set(e, ERR_INVAL,
			"'%.*s' is no ZooKeeper address: expected HOST or HOST:PORT", (int)n, host);
	n = (size_t)snprintf(*out, (size_t)(end - *out), "%.*s:%ld,", (int)name_len, name, port);
	if (n >= (size_t)(end - *out))
		return err_set(e, ERR_LIMIT, "the ZooKeeper connection string is too long");
	*out += n;
	return OK;
}

int zk_session_check_connection(const char *connection, char *out, size_t room, struct err *e)
{
	const char *slash = strchr(connection, '/');
	const char *stop = slash ? slash : connection + strlen(connection);
	char *end = out + room;
	size_t n;
	int rc;

	for (const char *p = connection;; p++) {
		const char *comma = memchr(p, ',', (size_t)(stop - p));
		const char *next = comma ? comma : stop;

		while (p < next && *p == ' ')
			p++;
		rc = add_host(&out, end, p, (size_t)(next - p), e);
		if (rc)
			return rc;
		if (next == stop)
			break;
		p = next;
	}
	*--out = 0; /* the last comma */
	n = slash ? strlen(slash) : 0;
	while (n && slash[n - 1] == '/')
		n--;
	if (n >= (size_t)(end - out))
		return err_set(e, ERR_LIMIT, "the ZooKeeper connection string is too long");
	if (n)
		memcpy(out, slash, n);
	out[n] = 0;
	return OK;
}

int zk_session_open(const char *connection, uint32_t timeout_ms, const struct session_id *attach,
	struct inbox *in, uint32_t generation, struct session **ret, struct err *e)
{
	char text[CONNECTION_MAX];
	clientid_t id = { 0 };
	struct session *s;
	int rc = zk_session_check_connection(connection, text, sizeof(text), e);

	if (rc)
		return rc;
	s = mem_zalloc(1, sizeof(*s));
	if (!s)
		return err_set(e, ERR_NOMEM, "no memory for a ZooKeeper session");
	s->in = in;
	s->generation = generation;
	s->pid = getpid();
	atomic_init(&s->fd, -1);
	if (attach) {
		id.client_id = attach->id;
		memcpy(id.passwd, attach->password, sizeof(id.passwd));
	}
	zoo_set_debug_level(ZOO_LOG_LEVEL_ERROR);
	s->zh = zookeeper_init2(
		text, watcher, (int)timeout_ms, attach ? &id : NULL, s, 0, drop_log);
	if (!s->zh) {
		mem_free(s);
		return err_set(e, ERR_IO, "no host of it is known");
	}
	(void)descriptors_protect(NULL, 0);
	*ret = s;
	return OK;
}

bool zk_session_close(struct session *s)
{
	uint64_t start_us = clock_mono_us(&clock_system);
	bool ended;

	/* In a child the library's threads are not there, and its bytes on the socket would be
	 * the parent's: nothing may be called, so nothing is freed (T31). */
	if (!s || s->pid != getpid())
		return false;
	ended = zoo_state(s->zh) == ZOO_CONNECTED_STATE;
	if (zookeeper_close(s->zh) != ZOK)
		ended = false;
	mem_free(s);
	return ended && clock_mono_us(&clock_system) - start_us < CLOSE_ANSWER_US;
}

static struct request *request_new(struct session *s, uint64_t tag)
{
	struct request *q = s->pid == getpid() ? mem_alloc(sizeof(*q)) : NULL;
	struct zk_event *ev;

	if (q) {
		*q = (struct request){ s, tag };
		return q;
	}
	ev = zk_event_new(ZK_REPLY, NULL, 0);
	if (ev) {
		ev->tag = tag;
		ev->rc = ERR_CLOSED;
	}
	post(s, ev);
	return NULL;
}

void zk_session_get(struct session *s, const char *path, bool watch, uint64_t tag)
{
	struct request *q = request_new(s, tag);
	int rc = q ? zoo_aget(s->zh, path, watch, on_data, q) : ZOK;

	if (rc != ZOK)
		reply(q, rc, NULL);
}

void zk_session_children(struct session *s, const char *path, bool watch, uint64_t tag)
{
	struct request *q = request_new(s, tag);
	int rc = q ? zoo_aget_children(s->zh, path, watch, on_strings, q) : ZOK;

	if (rc != ZOK)
		reply(q, rc, NULL);
}

/* @out has room for ZK_ACL_MAX. */
static struct ACL_vector acl_vector(const struct zk_acl *acl, size_t n, struct ACL *out)
{
	if (n > ZK_ACL_MAX)
		n = ZK_ACL_MAX;
	for (size_t i = 0; i < n; i++)
		out[i] = (struct ACL){ acl[i].perms, { (char *)acl[i].scheme, (char *)acl[i].id } };
	return (struct ACL_vector){ (int32_t)n, out };
}

void zk_session_create(struct session *s, const char *path, struct slice data,
	const struct zk_acl *acl, size_t n_acl, int flags, uint64_t tag)
{
	struct request *q = request_new(s, tag);
	struct ACL items[ZK_ACL_MAX];
	struct ACL_vector list = acl_vector(acl, n_acl, items);
	int zoo_flags = (flags & ZK_EPHEMERAL ? ZOO_EPHEMERAL : 0) |
			(flags & ZK_SEQUENCE ? ZOO_SEQUENCE : 0);
	int rc = q ? zoo_acreate(s->zh, path, data.len ? (const char *)data.data : "",
			     (int)data.len, &list, zoo_flags, on_string, q)
		   : ZOK;

	if (rc != ZOK)
		reply(q, rc, NULL);
}

void zk_session_set(
	struct session *s, const char *path, struct slice data, int32_t version, uint64_t tag)
{
	struct request *q = request_new(s, tag);
	int rc = q ? zoo_aset(s->zh, path, data.len ? (const char *)data.data : "", (int)data.len,
			     version, on_stat, q)
		   : ZOK;

	if (rc != ZOK)
		reply(q, rc, NULL);
}

void zk_session_delete(struct session *s, const char *path, int32_t version, uint64_t tag)
{
	struct request *q = request_new(s, tag);
	int rc = q ? zoo_adelete(s->zh, path, version, on_nothing, q) : ZOK;

	if (rc != ZOK)
		reply(q, rc, NULL);
}

void zk_session_get_acl(struct session *s, const char *path, uint64_t tag)
{
	struct request *q = request_new(s, tag);
	int rc = q ? zoo_aget_acl(s->zh, path, on_acl, q) : ZOK;

	if (rc != ZOK)
		reply(q, rc, NULL);
}

void zk_session_set_acl(struct session *s, const char *path, const struct zk_acl *acl, size_t n_acl,
	int32_t version, uint64_t tag)
{
	struct request *q = request_new(s, tag);
	struct ACL items[ZK_ACL_MAX];
	struct ACL_vector list = acl_vector(acl, n_acl, items);
	int rc = q ? zoo_aset_acl(s->zh, path, version, &list, on_nothing, q) : ZOK;

	if (rc != ZOK)
		reply(q, rc, NULL);
}
