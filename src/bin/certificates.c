#include "bin/certificates.h"

#include <string.h>
#include <unistd.h>

#include "bin/pass_phrase.h"

static int at(struct err *e, const struct config_place *place)
{
	return err_wrap(e, "%s:%d", place->file, place->line);
}

/* What the two ends have in common. */
struct identity {
	const char *certificate, *key, *password_command;
	const struct config_place *certificate_at, *key_at, *password_command_at;
};

static int load_key(const struct identity *id, struct tls_context *c, struct err *e)
{
	const char *path = id->key ? id->key : id->certificate;
	struct buf phrase = BUF_INIT(0);
	int rc = OK;

	if (id->password_command)
		rc = pass_phrase_run(id->password_command, &phrase, e);
	if (rc != OK) {
		pass_phrase_free(&phrase);
		return at(e, id->password_command_at);
	}
	rc = tls_use_key(c, path, id->password_command ? (const char *)phrase.data : NULL, e);
	pass_phrase_free(&phrase);
	if (rc == ERR_NOKEY)
		err_set(e, ERR_INVAL,
			"'%s': the key is encrypted: password-command has to give its pass phrase",
			path);
	return rc == OK ? OK : at(e, id->key_at);
}

static int load_identity(const struct identity *id, struct tls_context *c, struct err *e)
{
	int rc = tls_use_certificate(c, id->certificate, e);

	return rc == OK ? load_key(id, c, e) : at(e, id->certificate_at);
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
	struct identity id;
	int rc;

	*ret = NULL;
	if (!ssl)
		return OK;
	id = (struct identity){ ssl->certificate, ssl->key, ssl->password_command,
		&ssl->certificate_at, &ssl->key_at, &ssl->password_command_at };
	rc = tls_context_new(&c, e);
	if (rc != OK)
		return rc;
	rc = load_identity(&id, c, e);
	if (rc == OK)
		rc = load_authorities(ssl, c, e);
	if (rc != OK) {
		tls_context_free(c);
		return rc;
	}
	*ret = c;
	return OK;
}

/* Without authorities, those that the system trusts; a word that ZEO passes over means the same. */
static int load_servers(const struct config_client_ssl *ssl, struct tls_context *c, struct err *e)
{
	int rc;

	if (ssl->authenticate && strcmp(ssl->authenticate, "DYNAMIC") != 0)
		rc = tls_use_authorities(c, ssl->authenticate, e);
	else
		rc = tls_use_system_authorities(c, e);
	return rc == OK ? OK : at(e, &ssl->authenticate_at);
}

int certificates_load_client(
	const struct config_client_ssl *ssl, struct tls_context **ret, struct err *e)
{
	struct tls_context *c = NULL;
	struct identity id;
	int rc;

	*ret = NULL;
	if (!ssl)
		return OK;
	id = (struct identity){ ssl->certificate, ssl->key, ssl->password_command,
		&ssl->certificate_at, &ssl->key_at, &ssl->password_command_at };
	rc = tls_context_new_client(ssl->check_hostname, &c, e);
	if (rc != OK)
		return rc;
	if (ssl->certificate)
		rc = load_identity(&id, c, e);
	if (rc == OK)
		rc = load_servers(ssl, c, e);
	if (rc != OK) {
		tls_context_free(c);
		return rc;
	}
	*ret = c;
	return OK;
}
