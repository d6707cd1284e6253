/* TLS for the connections of a server and of a client, on sockets that never block. The only file that knows
 * OpenSSL is tls.c.
 *
 * T1  A client shows a certificate that one of the context's authorities vouches for; without it the
 *     handshake fails and nothing of what it sent is handed on.
 * T2  A read has room for a whole TLS record (TLS_RECORD_MAX), so nothing that was decrypted stays behind
 *     inside: that a connection can be read from is always seen on its socket. But its end, or an error, is
 *     not seen there any more when a read has found it: who read something before that, calls again.
 * T3  A write that had to wait is repeated with the same bytes, perhaps more of them, perhaps elsewhere
 *     in memory. */
#ifndef NET_TLS_H
#define NET_TLS_H

#include <stdbool.h>
#include <stddef.h>

#include "base/compiler.h"
#include "base/err.h"

enum { TLS_RECORD_MAX = 16 << 10 }; /* bytes of content */

/** What all connections share: our certificate, and whose clients are let in. Threads: one while it
 * is set up; any for tls_new(). */
struct tls_context;

/** TLS 1.2 and later, client certificates required. */
MUST_CHECK int tls_context_new(struct tls_context **ret, struct err *e);
/** For the connections of a client: TLS 1.2 and later, the server has to show a certificate.
 * @check_name  it has to be for the name that tls_new_client() gets */
MUST_CHECK int tls_context_new_client(bool check_name, struct tls_context **ret, struct err *e);
/** Connections keep what they need of it. NULL is fine. */
void tls_context_free(struct tls_context *c);

/** Our certificate, and those between it and its root, from a PEM file. */
MUST_CHECK int tls_use_certificate(struct tls_context *c, const char *path, struct err *e);
/** Its key, from a PEM file; after the certificate.
 * @pass_phrase  NULL: a key that is encrypted is an error (ERR_NOKEY) */
MUST_CHECK int tls_use_key(
	struct tls_context *c, const char *path, const char *pass_phrase, struct err *e);
/**
 * Whose certificates are let in: those in a PEM file or in a folder as `openssl rehash` makes it, and those
 * that one of them vouches for. With revocation lists in the file, they are obeyed.
 */
MUST_CHECK int tls_use_authorities(struct tls_context *c, const char *path, struct err *e);
/** The same with the authorities that the system trusts. */
MUST_CHECK int tls_use_system_authorities(struct tls_context *c, struct err *e);

/** One connection, the server's side. */
struct tls;

/** @fd is borrowed. */
MUST_CHECK int tls_new(struct tls_context *c, int fd, struct tls **ret, struct err *e);
/** The client's side; @c is a client's. @server_name: a name or a number; NULL: there is none, which fails where names
 * are checked. */
MUST_CHECK int tls_new_client(
	struct tls_context *c, int fd, const char *server_name, struct tls **ret, struct err *e);
void tls_free(struct tls *t);

/**
 * Take the handshake further. Returns OK when it is done, ERR_AGAIN when the socket has to be waited for,
 * or an error: ERR_CLOSED when the client left before it sent anything.
 */
MUST_CHECK int tls_handshake(struct tls *t, struct err *e);
/** The handshake is done. */
bool tls_is_ready(const struct tls *t);

/** @n >= TLS_RECORD_MAX (T2). *ret_n is 0 when the client has ended. ERR_AGAIN: nothing there. An end, or any other error, is
 * told again by each later call. */
MUST_CHECK int tls_read(struct tls *t, void *p, size_t n, size_t *ret_n, struct err *e);
/** Write some of @n > 0 bytes, TLS_RECORD_MAX at most. ERR_AGAIN: repeat it (T3). */
MUST_CHECK int tls_write(struct tls *t, const void *p, size_t n, size_t *ret_n, struct err *e);
/** What to wait for on the socket before the handshake is taken further, or when the owner wants to read
 * or to write: each of the two may depend on the other. In and out. */
void tls_waits(const struct tls *t, bool *reading, bool *writing);
/** Tell the client that nothing more comes, if that does not have to wait. */
void tls_close_notify(struct tls *t);

#endif
