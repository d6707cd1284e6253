/* Framed messages on a socket, as the benchmark's programs need them. Written for speed and
 * for known peers, not for safety: what is wrong ends the program with a text. */
#ifndef BENCH_WIRE_H
#define BENCH_WIRE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

_Noreturn void die(const char *format, ...) __attribute__((format(printf, 1, 2)));

uint64_t now_ns(void);

/** Bytes [start, end) of p are in use. */
struct bytes {
	uint8_t *p;
	size_t start;
	size_t end;
	size_t room;
};

/** Make room for @n more bytes; returns where they go. The caller adds to end. */
uint8_t *bytes_reserve(struct bytes *b, size_t n);
void bytes_append(struct bytes *b, const void *p, size_t n);
void bytes_free(struct bytes *b);

struct stream {
	int fd;
	bool closed; /* the peer has closed, or is gone */
	struct bytes in;
	struct bytes out;
};

/** @address  HOST:PORT with a numeric host, or a path with a "/". Non-blocking sockets. */
int wire_connect(const char *address);
int wire_listen(const char *address);
int wire_accept(int listener);

/** Read what is there, once. */
void stream_read(struct stream *s);
/** Write what can be written; true when everything was. */
bool stream_flush(struct stream *s);
/** The next whole message, or false. It is valid until the next stream_read(). */
bool stream_next(struct stream *s, const uint8_t **ret_p, size_t *ret_n);
/** Append a message's length, to be set right by stream_end(); returns the mark for it. */
size_t stream_begin(struct stream *s);
void stream_end(struct stream *s, size_t mark);
void stream_free(struct stream *s);

#endif
