/* What <ssl> names, loaded: the server's certificate and key, and whose clients are let in. */
#ifndef BIN_CERTIFICATES_H
#define BIN_CERTIFICATES_H

#include "base/compiler.h"
#include "base/err.h"
#include "config/server_config.h"
#include "net/tls.h"

/** Texts start with the FILE:LINE of the key that is wrong. Runs password-command.
 * @ssl  NULL: *ret is NULL */
MUST_CHECK int certificates_load(
	const struct config_ssl *ssl, struct tls_context **ret, struct err *e);

/** The same for the connections of a client. */
MUST_CHECK int certificates_load_client(
	const struct config_client_ssl *ssl, struct tls_context **ret, struct err *e);

#endif
