#include "wire.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

enum { READ_BYTES = 256 * 1024 };

void die(const char *format, ...)
{
	va_list args;

	va_start(args, format);
	vfprintf(stderr, format, args);
	va_end(args);
	fputc('\n', stderr);
	exit(1);
}

uint64_t now_ns(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

uint8_t *bytes_reserve(struct bytes *b, size_t n)
{
	if (b->start == b->end)
		b->start = b->end = 0;
	if (b->room - b->end >= n)
		return b->p + b->end;
	/* what was consumed makes the room first */
	if (b->start > 0) {
		memmove(b->p, b->p + b->start, b->end - b->start);
		b->end -= b->start;
		b->start = 0;
	}
	if (b->room - b->end < n) {
		b->room = (b->end + n) * 2;
		b->p = realloc(b->p, b->room);
		if (!b->p)
			die("out of memory");
	}
	return b->p + b->end;
}

void bytes_append(struct bytes *b, const void *p, size_t n)
{
	memcpy(bytes_reserve(b, n), p, n);
	b->end += n;
}

void bytes_free(struct bytes *b)
{
	free(b->p);
}

union any_address {
	struct sockaddr sa;
	struct sockaddr_in in;
	struct sockaddr_un un;
};

static socklen_t address_parse(const char *text, union any_address *a)
{
	char host[64];
	const char *colon = strrchr(text, ':');

	memset(a, 0, sizeof(*a));
	if (strchr(text, '/')) {
		a->un.sun_family = AF_UNIX;
		if (strlen(text) >= sizeof(a->un.sun_path))
			die("the path %s is too long", text);
		memcpy(a->un.sun_path, text, strlen(text) + 1);
		return sizeof(a->un);
	}
	if (!colon || (size_t)(colon - text) >= sizeof(host))
		die("%s is not HOST:PORT and not a path", text);
	memcpy(host, text, (size_t)(colon - text));
	host[colon - text] = 0;
	a->in.sin_family = AF_INET;
	a->in.sin_port = htons((uint16_t)atoi(colon + 1));
	if (inet_pton(AF_INET, host, &a->in.sin_addr) != 1)
		die("%s is not a numeric address", host);
	return sizeof(a->in);
}

static void no_delay(int fd)
{
	int on = 1;

	/* fails on Unix sockets, which have no delay */
	(void)setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
}

int wire_connect(const char *address)
{
	union any_address a;
	socklen_t n = address_parse(address, &a);
	int fd = socket(a.sa.sa_family, SOCK_STREAM | SOCK_CLOEXEC, 0);

	if (fd < 0 || connect(fd, &a.sa, n) != 0)
		die("connect to %s: %s", address, strerror(errno));
	no_delay(fd);
	return fd;
}

int wire_listen(const char *address)
{
	union any_address a;
	socklen_t n = address_parse(address, &a);
	int on = 1;
	int fd = socket(a.sa.sa_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

	if (fd < 0)
		die("socket: %s", strerror(errno));
	(void)setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
	if (a.sa.sa_family == AF_UNIX)
		(void)unlink(address);
	if (bind(fd, &a.sa, n) != 0 || listen(fd, SOMAXCONN) != 0)
		die("listen at %s: %s", address, strerror(errno));
	return fd;
}

int wire_accept(int listener)
{
	int fd = accept4(listener, NULL, NULL, SOCK_CLOEXEC);

	if (fd >= 0)
		no_delay(fd);
	return fd;
}

void stream_read(struct stream *s)
{
	uint8_t *p = bytes_reserve(&s->in, READ_BYTES);
	ssize_t n = recv(s->fd, p, READ_BYTES, MSG_DONTWAIT);

	if (n > 0)
		s->in.end += (size_t)n;
	else if (n == 0 || (errno != EAGAIN && errno != EINTR))
		s->closed = true;
}

bool stream_flush(struct stream *s)
{
	while (s->out.start < s->out.end && !s->closed) {
		ssize_t n = send(s->fd, s->out.p + s->out.start, s->out.end - s->out.start,
			MSG_DONTWAIT | MSG_NOSIGNAL);
		if (n >= 0)
			s->out.start += (size_t)n;
		else if (errno == EAGAIN)
			return false;
		else if (errno != EINTR)
			s->closed = true;
	}
	return true;
}

static uint32_t be32(const uint8_t *p)
{
	return (uint32_t)p[0] << 24 | (uint32_t)p[1] << 16 | (uint32_t)p[2] << 8 | p[3];
}

bool stream_next(struct stream *s, const uint8_t **ret_p, size_t *ret_n)
{
	struct bytes *in = &s->in;
	size_t have = in->end - in->start;
	size_t n;

	if (have < 4)
		return false;
	n = be32(in->p + in->start);
	if (have - 4 < n)
		return false;
	*ret_p = in->p + in->start + 4;
	*ret_n = n;
	in->start += 4 + n;
	return true;
}

size_t stream_begin(struct stream *s)
{
	size_t used;

	bytes_reserve(&s->out, 4);
	used = s->out.end - s->out.start;
	s->out.end += 4;
	/* counted from the start, which a later bytes_reserve() may move */
	return used;
}

void stream_end(struct stream *s, size_t mark)
{
	uint8_t *head = s->out.p + s->out.start + mark;
	uint32_t n = (uint32_t)(s->out.end - s->out.start - mark - 4);

	head[0] = (uint8_t)(n >> 24);
	head[1] = (uint8_t)(n >> 16);
	head[2] = (uint8_t)(n >> 8);
	head[3] = (uint8_t)n;
}

void stream_free(struct stream *s)
{
	close(s->fd);
	bytes_free(&s->in);
	bytes_free(&s->out);
}
