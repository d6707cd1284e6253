/* The other side of a TLS connection, and certificates for both. */
#ifndef TESTS_TLS_CLIENT_H
#define TESTS_TLS_CLIENT_H

#define ERR_STATE OPENSSL_ERR_STATE /* a type of OpenSSL's, and one of our codes */
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>
#undef ERR_STATE
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include "net/tls.h"

static char pki[] = "/tmp/zkzeo-tls-XXXXXX";

static void pki_path(const char *name, const char *end, char out[64])
{
	snprintf(out, 64, "%s/%s.%s", pki, name, end);
}

static FILE *pki_file(const char *name, const char *end)
{
	char path[64];
	FILE *f;

	pki_path(name, end, path);
	f = fopen(path, "w");
	assert_non_null(f);
	return f;
}

static void add_extension(X509 *x, int nid, const char *value)
{
	X509V3_CTX ctx;
	X509_EXTENSION *ext;

	X509V3_set_ctx(&ctx, x, x, NULL, NULL, 0);
	ext = X509V3_EXT_conf_nid(NULL, &ctx, nid, value);
	assert_non_null(ext);
	assert_int_equal(X509_add_ext(x, ext, -1), 1);
	X509_EXTENSION_free(ext);
}

/* @name.pem, its own authority, and @name.key; locked with @phrase when that is not NULL. */
static void make_certificate(const char *name, const char *phrase)
{
	EVP_PKEY *key = EVP_EC_gen("P-256");
	X509 *x = X509_new();
	FILE *f;

	assert_true(key && x);
	X509_set_version(x, X509_VERSION_3);
	ASN1_INTEGER_set(X509_get_serialNumber(x), 1);
	X509_gmtime_adj(X509_getm_notBefore(x), -3600);
	X509_gmtime_adj(X509_getm_notAfter(x), 3600);
	X509_NAME_add_entry_by_txt(X509_get_subject_name(x), "CN", MBSTRING_ASC,
		(const unsigned char *)name, -1, -1, 0);
	X509_set_issuer_name(x, X509_get_subject_name(x));
	X509_set_pubkey(x, key);
	add_extension(x, NID_subject_key_identifier, "hash");
	add_extension(x, NID_basic_constraints, "critical,CA:TRUE");
	assert_true(X509_sign(x, key, EVP_sha256()) > 0);
	f = pki_file(name, "pem");
	assert_int_equal(PEM_write_X509(f, x), 1);
	fclose(f);
	f = pki_file(name, "key");
	assert_int_equal(PEM_write_PKCS8PrivateKey(f, key, phrase ? EVP_aes_128_cbc() : NULL,
				 phrase, phrase ? (int)strlen(phrase) : 0, NULL, NULL),
		1);
	fclose(f);
	X509_free(x);
	EVP_PKEY_free(key);
}

static int pki_setup(void **state)
{
	if (!mkdtemp(pki))
		return -1;
	make_certificate("server", NULL);
	make_certificate("client", NULL);
	make_certificate("stranger", NULL);
	make_certificate("locked", "open sesame");
	return 0;
}

static int pki_teardown(void **state)
{
	static const char *const names[] = { "server", "client", "stranger", "locked" };
	char path[64];

	for (size_t i = 0; i < ARRAY_LEN(names); i++) {
		pki_path(names[i], "pem", path);
		unlink(path);
		pki_path(names[i], "key", path);
		unlink(path);
	}
	return rmdir(pki);
}

/* With the server's certificate; the client's is let in. */
static struct tls_context *server_context(void)
{
	struct tls_context *c = NULL;
	struct err e = ERR_INIT;
	char path[64];

	assert_int_equal(tls_context_new(&c, &e), OK);
	pki_path("server", "pem", path);
	assert_int_equal(tls_use_certificate(c, path, &e), OK);
	pki_path("server", "key", path);
	assert_int_equal(tls_use_key(c, path, NULL, &e), OK);
	pki_path("client", "pem", path);
	assert_int_equal(tls_use_authorities(c, path, &e), OK);
	return c;
}

/* A client that takes any server; @name NULL: without a certificate. */
static SSL *client_new(int fd, const char *name)
{
	SSL_CTX *ctx = SSL_CTX_new(TLS_client_method());
	char path[64];
	SSL *ssl;

	assert_non_null(ctx);
	if (name) {
		pki_path(name, "pem", path);
		assert_int_equal(SSL_CTX_use_certificate_file(ctx, path, SSL_FILETYPE_PEM), 1);
		pki_path(name, "key", path);
		assert_int_equal(SSL_CTX_use_PrivateKey_file(ctx, path, SSL_FILETYPE_PEM), 1);
	}
	SSL_CTX_set_mode(ctx, SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER);
	ssl = SSL_new(ctx);
	SSL_CTX_free(ctx);
	assert_non_null(ssl);
	SSL_set_fd(ssl, fd);
	SSL_set_connect_state(ssl);
	return ssl;
}

/* A server's end in fds[0], a client's in fds[1]; none of them blocks. */
static void connect_pair(int fds[2])
{
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, fds), 0);
}

#endif
