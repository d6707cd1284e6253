#include "net/listen.h"

#include <errno.h>
#include <netdb.h>
#include <netinet/in.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/os.h"

enum { BACKLOG = 1024 };

static int fail(struct err *e, int errnum, const struct address *a, const char *what)
{
	char text[300];

	address_format(a, text, sizeof(text));
	if (errnum == EADDRINUSE)
		return err_set(e, ERR_BUSY, "the address '%s' is already in use", text);
	return err_sys(e, errnum, "cannot %s '%s'", what, text);
}

static int new_socket(int family, int *ret_fd)
{
	int fd = socket(family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);

	if (fd < 0)
		return errno;
	*ret_fd = fd;
	return 0;
}

/* --- Unix sockets --- */

static void unix_addr(const struct address *a, struct sockaddr_un *un)
{
	memset(un, 0, sizeof(*un));
	un->sun_family = AF_UNIX;
	memcpy(un->sun_path, a->path, strnlen(a->path, sizeof(un->sun_path) - 1));
}

/* Does somebody answer there? */
static bool is_answered(const struct sockaddr_un *un)
{
	int fd = -1;
	bool yes;

	if (new_socket(AF_UNIX, &fd) != 0)
		return true; /* rather refuse than take over */
	yes = connect(fd, (const struct sockaddr *)un, sizeof(*un)) == 0 || errno == EAGAIN;
	os_close(fd);
	return yes;
}

static int open_unix(const struct address *a, struct listener *l, struct err *e)
{
	struct sockaddr_un un;
	struct stat st;
	int fd = -1;
	int errnum;

	unix_addr(a, &un);
	errnum = new_socket(AF_UNIX, &fd);
	if (errnum)
		return fail(e, errnum, a, "make a socket for");
	if (bind(fd, (struct sockaddr *)&un, sizeof(un)) != 0) {
		errnum = errno;
		if (errnum == EADDRINUSE && stat(a->path, &st) == 0 && S_ISSOCK(st.st_mode) &&
			!is_answered(&un)) {
			unlink(a->path); /* left over by a server that was killed */
			errnum = bind(fd, (struct sockaddr *)&un, sizeof(un)) ? errno : 0;
		}
	}
	if (!errnum && listen(fd, BACKLOG) != 0)
		errnum = errno;
	if (errnum) {
		os_close(fd);
		return fail(e, errnum, a, "listen on");
	}
	l->fds[l->n_fds++] = fd;
	l->bound = *a;
	if (stat(a->path, &st) == 0) {
		l->dev = st.st_dev;
		l->ino = st.st_ino;
	}
	return OK;
}

/* --- TCP --- */

static int bind_inet(const struct addrinfo *ai, uint16_t port, bool dual, int *ret_fd)
{
	struct sockaddr_storage ss;
	int one = 1;
	int v6only = !dual;
	int fd = -1;
	int errnum = new_socket(ai->ai_family, &fd);

	if (errnum)
		return errnum;
	memcpy(&ss, ai->ai_addr, ai->ai_addrlen);
	if (ai->ai_family == AF_INET6)
		((struct sockaddr_in6 *)&ss)->sin6_port = htons(port);
	else
		((struct sockaddr_in *)&ss)->sin_port = htons(port);
	setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
	if (ai->ai_family == AF_INET6)
		setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &v6only, sizeof(v6only));
	if (bind(fd, (struct sockaddr *)&ss, ai->ai_addrlen) != 0 || listen(fd, BACKLOG) != 0) {
		errnum = errno;
		os_close(fd);
		return errnum;
	}
	*ret_fd = fd;
	return 0;
}

static uint16_t port_of(int fd)
{
	struct sockaddr_storage ss;
	socklen_t n = sizeof(ss);

	if (getsockname(fd, (struct sockaddr *)&ss, &n) != 0)
		return 0;
	return ntohs(ss.ss_family == AF_INET6 ? ((struct sockaddr_in6 *)&ss)->sin6_port
					      : ((struct sockaddr_in *)&ss)->sin_port);
}

static bool seen_before(const struct addrinfo *list, const struct addrinfo *ai)
{
	for (; list != ai; list = list->ai_next)
		if (list->ai_addrlen == ai->ai_addrlen &&
			memcmp(list->ai_addr, ai->ai_addr, ai->ai_addrlen) == 0)
			return true;
	return false;
}

/* All addresses of a name, on one port: the first one's when the system chooses it. */
static int open_addresses(
	const struct address *a, const struct addrinfo *list, struct listener *l, struct err *e)
{
	uint16_t port = a->port;
	int errnum = EADDRNOTAVAIL;

	for (const struct addrinfo *ai = list; ai && l->n_fds < LISTEN_MAX; ai = ai->ai_next) {
		int fd = -1;

		if (seen_before(list, ai))
			continue;
		errnum = bind_inet(ai, port, a->host[0] == 0, &fd);
		if (errnum == EADDRNOTAVAIL || errnum == EAFNOSUPPORT)
			continue; /* a family that this machine knows by name only */
		if (errnum)
			return fail(e, errnum, a, "listen on");
		l->fds[l->n_fds++] = fd;
		port = port_of(fd);
		if (a->host[0] == 0)
			break; /* one socket for all interfaces */
	}
	if (l->n_fds == 0)
		return fail(e, errnum, a, "listen on");
	l->bound = *a;
	l->bound.port = port;
	return OK;
}

static int by_family(const struct address *a, int family, struct listener *l, struct err *e)
{
	struct addrinfo hints = {
		.ai_family = family,
		.ai_socktype = SOCK_STREAM,
		.ai_flags = AI_PASSIVE | AI_NUMERICSERV,
	};
	struct addrinfo *list = NULL;
	int rc = getaddrinfo(a->host[0] ? a->host : NULL, "0", &hints, &list);

	if (rc != 0)
		return err_set(e, ERR_INVAL, "the host '%s' of the address is not known: %s",
			a->host, gai_strerror(rc));
	rc = open_addresses(a, list, l, e);
	freeaddrinfo(list);
	return rc;
}

static int open_inet(const struct address *a, struct listener *l, struct err *e)
{
	int rc;

	if (a->host[0])
		return by_family(a, AF_UNSPEC, l, e);
	rc = by_family(a, AF_INET6, l, e); /* with IPv4 in the same socket */
	if (rc != OK && rc != ERR_BUSY)
		rc = by_family(a, AF_INET, l, e);
	return rc;
}

int listener_open(const struct address *a, struct listener *ret, struct err *e)
{
	struct listener l = { .n_fds = 0 };
	int rc = a->family == ADDRESS_UNIX ? open_unix(a, &l, e) : open_inet(a, &l, e);

	if (rc == OK)
		*ret = l;
	else
		for (int i = 0; i < l.n_fds; i++)
			os_close(l.fds[i]);
	return rc;
}

void listener_close(struct listener *l)
{
	struct stat st;

	for (int i = 0; i < l->n_fds; i++)
		os_close(l->fds[i]);
	if (l->n_fds && l->bound.family == ADDRESS_UNIX && stat(l->bound.path, &st) == 0 &&
		st.st_dev == l->dev && st.st_ino == l->ino)
		unlink(l->bound.path);
	l->n_fds = 0;
}
