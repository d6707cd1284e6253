#include "client/lookup.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>

#include "base/mem.h"
#include "base/os.h"
#include "client/conn.h"

struct lookup {
	struct job job;
	struct io_thread *io;
	struct client *client; /* only of a dial, which borrows from the owner */
	struct address address;
	bool abandoned;
	void *arg;
	void (*on_found)(void *arg, struct addrinfo *found, const char *error);
	void (*on_dialed)(void *arg, int fd, const struct address *peer, const char *error);
	void (*on_name)(void *arg, const char *text);
	/* what came of it */
	int rc;
	struct err err;
	struct addrinfo *found;
	int fd;
	struct address peer;
	char text[320];
};

static struct lookup *lookup_of(struct job *j)
{
	return CONTAINER_OF(j, struct lookup, job);
}

static int start(struct io_thread *io, const struct address *a, void *arg,
	void (*work)(struct job *), void (*done)(struct job *), struct lookup **ret, struct err *e)
{
	struct lookup *l = mem_zalloc(1, sizeof(*l));

	if (!l)
		return err_set(e, ERR_NOMEM, "no memory to look up a name");
	l->io = io;
	l->address = *a;
	l->arg = arg;
	l->fd = -1;
	l->job.work = work;
	l->job.done = done;
	*ret = l;
	return OK;
}

static void submit(struct lookup *l)
{
	io_thread_job_begins(l->io);
	io_thread_submit(l->io, &l->job);
}

static void end(struct lookup *l)
{
	struct client *c = l->client;

	io_thread_job_ends(l->io);
	mem_free(l);
	if (c)
		client_handle_gone(c);
}

void lookup_abandon(struct lookup *l)
{
	l->abandoned = true;
}

/* --- a host --- */

static int resolve(const struct address *a, int flags, struct addrinfo **ret)
{
	struct addrinfo hints = {
		.ai_flags = flags,
		.ai_family = AF_UNSPEC,
		.ai_socktype = SOCK_STREAM,
	};
	const char *host = a->host[0] ? a->host : "127.0.0.1";
	char port[8];

	snprintf(port, sizeof(port), "%u", a->port);
	return getaddrinfo(host, port, &hints, ret);
}

struct addrinfo *lookup_numeric(const struct address *a)
{
	struct addrinfo *found = NULL;

	return resolve(a, AI_NUMERICHOST | AI_NUMERICSERV, &found) == 0 ? found : NULL;
}

static void find(struct job *j)
{
	struct lookup *l = lookup_of(j);

	l->rc = resolve(&l->address, 0, &l->found);
	if (l->rc != 0)
		err_set(&l->err, ERR_NOENT, "%s", gai_strerror(l->rc));
}

static void after_find(struct job *j)
{
	struct lookup *l = lookup_of(j);

	if (!l->abandoned)
		l->on_found(l->arg, l->found, l->rc ? l->err.text : NULL);
	else if (l->found)
		freeaddrinfo(l->found);
	end(l);
}

int lookup_host(struct io_thread *io, const struct address *a,
	void (*done)(void *arg, struct addrinfo *found, const char *error), void *arg,
	struct lookup **ret, struct err *e)
{
	int rc = start(io, a, arg, find, after_find, ret, e);

	if (rc != OK)
		return rc;
	(*ret)->on_found = done;
	submit(*ret);
	return OK;
}

/* --- the owner's dialer --- */

static void dial(struct job *j)
{
	struct lookup *l = lookup_of(j);
	const struct client_dialer *d = &l->client->options.dialer;

	l->peer = l->address;
	l->rc = d->dial(d->arg, &l->address, CLIENT_ATTEMPT_MS, &l->fd, &l->peer, &l->err);
}

static void after_dial(struct job *j)
{
	struct lookup *l = lookup_of(j);

	if (!l->abandoned)
		l->on_dialed(l->arg, l->fd, &l->peer, l->rc ? l->err.text : NULL);
	else if (l->rc == OK)
		os_close(l->fd);
	end(l);
}

int lookup_dial(struct client *c, const struct address *a,
	void (*done)(void *arg, int fd, const struct address *peer, const char *error), void *arg,
	struct lookup **ret, struct err *e)
{
	int rc = start(c->io, a, arg, dial, after_dial, ret, e);

	if (rc != OK)
		return rc;
	(*ret)->on_dialed = done;
	(*ret)->client = c;
	c->handles++;
	submit(*ret);
	return OK;
}

/* --- a name for sortKey --- */

static bool numeric(const char *host, struct in6_addr *ret, socklen_t *ret_len, int *ret_family)
{
	*ret_family = strchr(host, ':') ? AF_INET6 : AF_INET;
	*ret_len = *ret_family == AF_INET6 ? sizeof(struct in6_addr) : sizeof(struct in_addr);
	return inet_pton(*ret_family, host, ret) == 1;
}

static void name(struct job *j)
{
	struct lookup *l = lookup_of(j);
	const char *host = l->address.host;
	struct hostent found, *h = NULL;
	struct in6_addr in;
	char room[8192];
	socklen_t len;
	int family, error;

	if (l->address.family == ADDRESS_UNIX) {
		snprintf(l->text, sizeof(l->text), "%s", l->address.path);
		return;
	}
	if (numeric(host, &in, &len, &family) &&
		gethostbyaddr_r(&in, len, family, &found, room, sizeof(room), &h, &error) == 0 && h)
		host = h->h_name;
	snprintf(l->text, sizeof(l->text), "('%s', %u)", host, l->address.port);
}

static void after_name(struct job *j)
{
	struct lookup *l = lookup_of(j);

	if (!l->abandoned)
		l->on_name(l->arg, l->text);
	end(l);
}

int lookup_name(struct io_thread *io, const struct address *peer,
	void (*done)(void *arg, const char *text), void *arg, struct lookup **ret, struct err *e)
{
	int rc = start(io, peer, arg, name, after_name, ret, e);

	if (rc != OK)
		return rc;
	(*ret)->on_name = done;
	submit(*ret);
	return OK;
}

/* --- the other side of a socket --- */

void lookup_peer(int fd, struct address *ret)
{
	struct sockaddr_storage ss = { 0 };
	socklen_t len = sizeof(ss);

	*ret = (struct address){ 0 };
	if (getpeername(fd, (struct sockaddr *)&ss, &len) != 0)
		return;
	if (ss.ss_family == AF_UNIX) {
		ret->family = ADDRESS_UNIX;
		memcpy(ret->path, ((struct sockaddr_un *)&ss)->sun_path, sizeof(ret->path));
	} else if (ss.ss_family == AF_INET6) {
		inet_ntop(AF_INET6, &((struct sockaddr_in6 *)&ss)->sin6_addr, ret->host,
			sizeof(ret->host));
		ret->port = ntohs(((struct sockaddr_in6 *)&ss)->sin6_port);
	} else {
		inet_ntop(AF_INET, &((struct sockaddr_in *)&ss)->sin_addr, ret->host,
			sizeof(ret->host));
		ret->port = ntohs(((struct sockaddr_in *)&ss)->sin_port);
	}
}
