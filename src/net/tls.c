#include "net/tls.h"

#include <errno.h>
#define ERR_STATE OPENSSL_ERR_STATE /* a type of OpenSSL's, and one of our codes */
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <openssl/x509_vfy.h>
#include <openssl/x509v3.h>
#undef ERR_STATE
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>

#include "base/check.h"
#include "base/mem.h"

struct tls_context {
	SSL_CTX *ctx;
	bool check_name; /* a client's */
};

/* What a call waits for that could not do its work. */
enum wait {
	WAIT_READ,
	WAIT_WRITE,
};

struct tls {
	SSL *ssl;
	const char *peer; /* what the other side is, for texts */
	bool ready;
	bool broken;         /* OpenSSL allows nothing more */
	unsigned long cause; /* why, or 0 */
	int errnum;          /* why, when it was the socket, or 0 */
	enum wait handshake, read, write;
};

/* --- errors --- */

/* The first error of OpenSSL's queue is the cause; what follows tells where it was noticed. */
static const char *reason_of(unsigned long code, char *room, size_t n)
{
	const char *reason;

	if (ERR_SYSTEM_ERROR(code))
		return strerror(ERR_GET_REASON(code));
	reason = ERR_reason_error_string(code);
	if (reason)
		return reason;
	snprintf(room, n, "error %lx", code);
	return room;
}

static int openssl_error(struct err *e, int code, const char *what)
{
	unsigned long cause = ERR_get_error();
	char room[32];

	ERR_clear_error();
	if (!cause)
		return err_set(e, ERR_NOMEM, "%s: no memory", what);
	return err_set(e, code, "%s: %s", what, reason_of(cause, room, sizeof(room)));
}

static int file_error(struct err *e, const char *what, const char *path)
{
	openssl_error(e, ERR_INVAL, what);
	return err_wrap(e, "'%s'", path);
}

/* --- the context --- */

static void set_policy(SSL_CTX *ctx)
{
	/* Every connection shows its certificate: none is resumed. A client's end is no attack,
	 * messages have their lengths. */
	SSL_CTX_set_options(ctx, SSL_OP_NO_RENEGOTIATION | SSL_OP_NO_COMPRESSION |
					 SSL_OP_NO_TICKET | SSL_OP_CIPHER_SERVER_PREFERENCE |
					 SSL_OP_IGNORE_UNEXPECTED_EOF);
	SSL_CTX_set_num_tickets(ctx, 0);
	SSL_CTX_set_session_cache_mode(ctx, SSL_SESS_CACHE_OFF);
	SSL_CTX_set_mode(ctx, SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER |
				      SSL_MODE_RELEASE_BUFFERS);
	/* One call handles one record: a client cannot keep us busy with key updates. */
	SSL_CTX_clear_mode(ctx, SSL_MODE_AUTO_RETRY);
	SSL_CTX_set_verify(ctx, SSL_VERIFY_PEER | SSL_VERIFY_FAIL_IF_NO_PEER_CERT, NULL); /* T1 */
	X509_VERIFY_PARAM_set_flags(
		SSL_CTX_get0_param(ctx), X509_V_FLAG_X509_STRICT | X509_V_FLAG_PARTIAL_CHAIN);
}

static int context_new(const SSL_METHOD *method, struct tls_context **ret, struct err *e)
{
	struct tls_context *c = mem_zalloc(1, sizeof(*c));

	if (!c)
		return err_set(e, ERR_NOMEM, "no memory for TLS");
	ERR_clear_error();
	c->ctx = SSL_CTX_new(method);
	if (!c->ctx || !SSL_CTX_set_min_proto_version(c->ctx, TLS1_2_VERSION)) {
		tls_context_free(c);
		return openssl_error(e, ERR_INVAL, "TLS");
	}
	set_policy(c->ctx);
	*ret = c;
	return OK;
}

int tls_context_new(struct tls_context **ret, struct err *e)
{
	return context_new(TLS_server_method(), ret, e);
}

int tls_context_new_client(bool check_name, struct tls_context **ret, struct err *e)
{
	int rc = context_new(TLS_client_method(), ret, e);

	if (rc == OK)
		(*ret)->check_name = check_name;
	return rc;
}

void tls_context_free(struct tls_context *c)
{
	if (!c)
		return;
	SSL_CTX_free(c->ctx);
	mem_free(c);
}

int tls_use_certificate(struct tls_context *c, const char *path, struct err *e)
{
	ERR_clear_error();
	if (SSL_CTX_use_certificate_chain_file(c->ctx, path) != 1)
		return file_error(e, "cannot use it as a certificate", path);
	return OK;
}

struct pass_phrase {
	const char *text; /* NULL: there is none */
	bool asked;
};

/* OpenSSL would ask at the terminal. */
static int give_pass_phrase(char *room, int n, int writing, void *ctx)
{
	struct pass_phrase *p = ctx;
	size_t len;

	(void)writing;
	p->asked = true;
	len = p->text ? strlen(p->text) : 0;
	if (!p->text || len > (size_t)n)
		return -1;
	memcpy(room, p->text, len);
	return (int)len;
}

int tls_use_key(struct tls_context *c, const char *path, const char *pass_phrase, struct err *e)
{
	struct pass_phrase p = { .text = pass_phrase };
	int ok;

	ERR_clear_error();
	SSL_CTX_set_default_passwd_cb(c->ctx, give_pass_phrase);
	SSL_CTX_set_default_passwd_cb_userdata(c->ctx, &p);
	ok = SSL_CTX_use_PrivateKey_file(c->ctx, path, SSL_FILETYPE_PEM);
	SSL_CTX_set_default_passwd_cb(c->ctx, NULL);
	SSL_CTX_set_default_passwd_cb_userdata(c->ctx, NULL);
	if (ok == 1)
		return OK;
	if (p.asked && !p.text) {
		ERR_clear_error();
		return err_set(e, ERR_NOKEY, "'%s': the key is encrypted", path);
	}
	if (ERR_GET_LIB(ERR_peek_error()) == ERR_LIB_OSSL_DECODER && !p.asked) {
		ERR_clear_error();
		return err_set(e, ERR_INVAL, "'%s': no private key was found in it", path);
	}
	return file_error(e,
		p.asked ? "cannot decrypt the key with the pass phrase" : "cannot use it as a key",
		path);
}

static bool has_revocation_list(X509_STORE *store)
{
	STACK_OF(X509_OBJECT) *objects = X509_STORE_get0_objects(store);

	for (int i = 0; i < sk_X509_OBJECT_num(objects); i++)
		if (X509_OBJECT_get0_X509_CRL(sk_X509_OBJECT_value(objects, i)))
			return true;
	return false;
}

int tls_use_authorities(struct tls_context *c, const char *path, struct err *e)
{
	struct stat st;
	int ok;

	if (stat(path, &st) != 0)
		return err_sys(e, errno, "'%s'", path);
	ERR_clear_error();
	if (S_ISDIR(st.st_mode))
		ok = SSL_CTX_load_verify_dir(c->ctx, path);
	else
		ok = SSL_CTX_load_verify_file(c->ctx, path);
	if (ok != 1)
		return file_error(e, "no certificates to check those of clients with", path);
	if (has_revocation_list(SSL_CTX_get_cert_store(c->ctx)))
		X509_VERIFY_PARAM_set_flags(SSL_CTX_get0_param(c->ctx), X509_V_FLAG_CRL_CHECK);
	return OK;
}

int tls_use_system_authorities(struct tls_context *c, struct err *e)
{
	ERR_clear_error();
	if (SSL_CTX_set_default_verify_paths(c->ctx) != 1)
		return openssl_error(e, ERR_INVAL, "the system's certificate authorities");
	return OK;
}

/* --- the socket, without SIGPIPE: a library's user may not ignore it --- */

static int socket_of(BIO *b)
{
	return (int)(intptr_t)BIO_get_data(b);
}

static int socket_result(BIO *b, ssize_t n, int retry)
{
	BIO_clear_retry_flags(b);
	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		BIO_set_flags(b, retry | BIO_FLAGS_SHOULD_RETRY);
	return (int)n;
}

static int socket_read(BIO *b, char *p, int n)
{
	return socket_result(b, recv(socket_of(b), p, (size_t)n, 0), BIO_FLAGS_READ);
}

static int socket_write(BIO *b, const char *p, int n)
{
	return socket_result(b, send(socket_of(b), p, (size_t)n, MSG_NOSIGNAL), BIO_FLAGS_WRITE);
}

static long socket_ctrl(BIO *b, int cmd, long arg, void *p)
{
	(void)b;
	(void)arg;
	(void)p;
	return cmd == BIO_CTRL_FLUSH; /* nothing is kept here */
}

static BIO_METHOD *socket_method;
static pthread_once_t socket_once = PTHREAD_ONCE_INIT;

static void make_socket_method(void)
{
	BIO_METHOD *m = BIO_meth_new(BIO_get_new_index() | BIO_TYPE_SOURCE_SINK, "socket");

	if (m && BIO_meth_set_read(m, socket_read) && BIO_meth_set_write(m, socket_write) &&
		BIO_meth_set_ctrl(m, socket_ctrl))
		socket_method = m;
}

static bool set_socket(SSL *ssl, int fd)
{
	BIO *b;

	pthread_once(&socket_once, make_socket_method);
	b = socket_method ? BIO_new(socket_method) : NULL;
	if (!b)
		return false;
	BIO_set_data(b, (void *)(intptr_t)fd);
	BIO_set_init(b, 1);
	SSL_set_bio(ssl, b, b);
	return true;
}

/* --- a connection --- */

static int new_tls(struct tls_context *c, int fd, const char *peer, struct tls **ret, struct err *e)
{
	struct tls *t = mem_zalloc(1, sizeof(*t));

	if (!t)
		return err_set(e, ERR_NOMEM, "no memory for TLS");
	ERR_clear_error();
	t->ssl = SSL_new(c->ctx);
	if (!t->ssl || !set_socket(t->ssl, fd)) {
		tls_free(t);
		return openssl_error(e, ERR_NOMEM, "TLS");
	}
	t->peer = peer;
	t->write = WAIT_WRITE;
	*ret = t;
	return OK;
}

int tls_new(struct tls_context *c, int fd, struct tls **ret, struct err *e)
{
	int rc = new_tls(c, fd, "client", ret, e);

	if (rc == OK)
		SSL_set_accept_state((*ret)->ssl);
	return rc;
}

/* What the server is asked for, and what its certificate must be for. */
static bool set_name(struct tls *t, const char *name, bool check)
{
	X509_VERIFY_PARAM *param = SSL_get0_param(t->ssl);
	bool ok;

	if (X509_VERIFY_PARAM_set1_ip_asc(param, name)) { /* a number is not for SNI */
		if (!check)
			X509_VERIFY_PARAM_set1_ip(param, NULL, 0);
		return true;
	}
	ERR_clear_error();
	ok = SSL_set_tlsext_host_name(t->ssl, name) == 1;
	if (ok && check) {
		X509_VERIFY_PARAM_set_hostflags(param, X509_CHECK_FLAG_NO_PARTIAL_WILDCARDS);
		ok = X509_VERIFY_PARAM_set1_host(param, name, 0) == 1;
	}
	return ok;
}

int tls_new_client(
	struct tls_context *c, int fd, const char *server_name, struct tls **ret, struct err *e)
{
	struct tls *t = NULL;
	int rc;

	if (c->check_name && (!server_name || !*server_name))
		return err_set(e, ERR_INVAL,
			"TLS: no name to check the server's certificate for: one was expected, or "
			"that it is not to be checked");
	rc = new_tls(c, fd, "server", &t, e);
	if (rc != OK)
		return rc;
	SSL_set_connect_state(t->ssl);
	if (server_name && *server_name && !set_name(t, server_name, c->check_name)) {
		tls_free(t);
		return openssl_error(e, ERR_INVAL, "TLS: the server's name");
	}
	*ret = t;
	return OK;
}

void tls_free(struct tls *t)
{
	if (!t)
		return;
	SSL_free(t->ssl);
	mem_free(t);
}

bool tls_is_ready(const struct tls *t)
{
	return t->ready;
}

void tls_waits(const struct tls *t, bool *reading, bool *writing)
{
	bool in = t->ready ? *reading : t->handshake == WAIT_READ;
	bool out = t->ready ? *writing : t->handshake == WAIT_WRITE;

	*reading = (in && t->read == WAIT_READ) || (out && t->write == WAIT_READ);
	*writing = (in && t->read == WAIT_WRITE) || (out && t->write == WAIT_WRITE);
}

static int protocol_error(struct tls *t, struct err *e)
{
	unsigned long cause = t->cause;
	long verified = SSL_get_verify_result(t->ssl);
	int reason = ERR_GET_REASON(cause);
	char room[32];

	if (ERR_GET_LIB(cause) != ERR_LIB_SSL)
		return err_set(e, ERR_FORMAT, "TLS: %s", reason_of(cause, room, sizeof(room)));
	if (reason == SSL_R_CERTIFICATE_VERIFY_FAILED && verified != X509_V_OK)
		return err_set(e, ERR_FORMAT, "TLS: the %s's certificate is not accepted: %s",
			t->peer, X509_verify_cert_error_string(verified));
	if (reason == SSL_R_PEER_DID_NOT_RETURN_A_CERTIFICATE)
		return err_set(e, ERR_FORMAT, "TLS: the %s showed no certificate", t->peer);
	if (reason == SSL_R_WRONG_VERSION_NUMBER || reason == SSL_R_HTTP_REQUEST)
		return err_set(e, ERR_FORMAT, "TLS: the %s does not speak it (%s)", t->peer,
			reason_of(cause, room, sizeof(room)));
	return err_set(e, ERR_FORMAT, "TLS: %s", reason_of(cause, room, sizeof(room)));
}

static int socket_error(const struct tls *t, struct err *e)
{
	return err_set(e, ERR_IO, "TLS: %s", strerror(t->errnum));
}

/* Turn what OpenSSL returned into ours. */
static int result(struct tls *t, int ret, int errnum, enum wait *wait, struct err *e)
{
	if (t->cause)
		return protocol_error(t, e);
	if (t->errnum)
		return socket_error(t, e);
	switch (SSL_get_error(t->ssl, ret)) {
	case SSL_ERROR_WANT_WRITE:
		*wait = WAIT_WRITE;
		return ERR_AGAIN;
	case SSL_ERROR_WANT_READ:
		*wait = WAIT_READ;
		return ERR_AGAIN;
	case SSL_ERROR_ZERO_RETURN:
		return err_set(e, ERR_CLOSED, "TLS: the %s has left", t->peer);
	case SSL_ERROR_SYSCALL:
		t->broken = true;
		t->errnum = errnum;
		return errnum ? socket_error(t, e)
			      : err_set(e, ERR_CLOSED, "TLS: the %s has left", t->peer);
	default:
		t->broken = true;
		t->cause = ERR_get_error();
		return protocol_error(t, e);
	}
}

/* OpenSSL wants these empty before each call. */
static void clear_errors(void)
{
	ERR_clear_error();
	errno = 0;
}

int tls_handshake(struct tls *t, struct err *e)
{
	int ret;
	int rc;

	clear_errors();
	ret = SSL_do_handshake(t->ssl);
	if (ret == 1) {
		t->ready = true;
		return OK;
	}
	rc = result(t, ret, errno, &t->handshake, e);
	if (rc != ERR_AGAIN && BIO_number_read(SSL_get_rbio(t->ssl)) == 0)
		return err_set(e, ERR_CLOSED, "TLS: the %s left before it sent anything", t->peer);
	return rc == ERR_CLOSED ? err_set(e, ERR_FORMAT, "TLS: the %s left in the middle", t->peer)
				: rc;
}

int tls_read(struct tls *t, void *p, size_t n, size_t *ret_n, struct err *e)
{
	int ret;
	int rc;

	CHECK(t->ready && n >= TLS_RECORD_MAX); /* T2 */
	clear_errors();
	t->read = WAIT_READ;
	ret = SSL_read_ex(t->ssl, p, n, ret_n);
	if (ret == 1)
		return OK;
	rc = result(t, ret, errno, &t->read, e);
	if (rc != ERR_CLOSED)
		return rc;
	*ret_n = 0;
	return OK;
}

int tls_write(struct tls *t, const void *p, size_t n, size_t *ret_n, struct err *e)
{
	int ret;

	CHECK(t->ready && n > 0);
	clear_errors();
	t->write = WAIT_WRITE;
	ret = SSL_write_ex(t->ssl, p, n, ret_n);
	return ret == 1 ? OK : result(t, ret, errno, &t->write, e);
}

void tls_close_notify(struct tls *t)
{
	if (!t->ready || t->broken)
		return;
	ERR_clear_error();
	SSL_shutdown(t->ssl);
	ERR_clear_error();
}
