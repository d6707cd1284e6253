#include "bin/certificates.h"

#include <string.h>
#include <unistd.h>

#include "bin/pass_phrase.h"

static int at(struct err *e, const struct config_place *place)
{
	return err_wrap(e, "%s:%d", place->file, place->line);
}

static int load_key(const struct config_ssl *ssl, struct tls_context *c, struct err *e)
{
	const char *path = ssl->key ? ssl->key : ssl->certificate;
	struct buf phrase = BUF_INIT(0);
	int rc = OK;

	if (ssl->password_command)
		rc = pass_phrase_run(ssl->password_command, &phrase, e);
	if (rc != OK) {
		pass_phrase_free(&phrase);
		return at(e, &ssl->password_command_at);
	}
	rc = tls_use_key(c, path, ssl->password_command ? (const char *)phrase.data : NULL, e);
	pass_phrase_free(&phrase);
	if (rc == ERR_NOKEY)
		err_set(e, ERR_INVAL,
			"'%s': the key is encrypted: password-command has to give its pass phrase",
			path);
	return rc == OK ? OK : at(e, &ssl->key_at);
}

/* ZEO's documentation has the words; a file or folder of that name wins, as with ZEO. */
static int load_authorities(const struct config_ssl *ssl, struct tls_context *c, struct err *e)
{
	const char *path = ssl->authenticate;
	int rc;

	if (access(path, F_OK) == 0)
		rc = tls_use_authorities(c, path, e);
	else if (strcmp(path, "SIGNED") == 0 || strcmp(path, "-") == 0)
		rc = tls_use_system_authorities(c, e);
	else if (strcmp(path, "DYNAMIC") == 0)
		rc = err_set(e, ERR_UNSUPPORTED,
			"'authenticate DYNAMIC' in <ssl> is not offered: a Python program would "
			"have to give the certificates. A file or a folder, or SIGNED, was "
			"expected");
	else
		rc = tls_use_authorities(c, path, e);
	return rc == OK ? OK : at(e, &ssl->authenticate_at);
}

int certificates_load(const struct config_ssl *ssl, struct tls_context **ret, struct err *e)
{
	struct tls_context *c = NULL;
	int rc;

	*ret = NULL;
	if (!ssl)
		return OK;
	rc = tls_context_new(&c, e);
	if (rc != OK)
		return rc;
	rc = tls_use_certificate(c, ssl->certificate, e);
	if (rc != OK)
		rc = at(e, &ssl->certificate_at);
	if (rc == OK)
		rc = load_key(ssl, c, e);
	if (rc == OK)
		rc = load_authorities(ssl, c, e);
	if (rc != OK) {
		tls_context_free(c);
		return rc;
	}
	*ret = c;
	return OK;
}
