#include "config/server_config.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "config/datatype.h"
#include "config/schema.h"
#include "config/zconfig.h"

enum { ARENA_MAX = 64 * 1024 * 1024 };

/* A configuration while it is put together. */
struct build {
	struct server_config *c;
	const struct zconfig_node *file; /* NULL: there is none */
	const struct config_overrides *o;
	struct err *e;
};

static int build_storage(
	struct build *b, const struct zconfig_node *node, struct config_storage *s);

static int no_memory(struct err *e)
{
	return err_set(e, ERR_NOMEM, "no memory to read the configuration");
}

/* @n cleared elements; never NULL for want of elements. */
static void *new_array(struct build *b, size_t n, size_t size)
{
	void *p = arena_alloc(&b->c->mem, n ? n * size : 1);

	if (p)
		memset(p, 0, n ? n * size : 1);
	return p;
}

static const struct zconfig_node *next_of_class(
	const struct zconfig_node *n, enum schema_class class)
{
	for (; n; n = n->next)
		if (n->kind == ZCONFIG_SECTION && schema_find(n->name)->class == class)
			return n;
	return NULL;
}

static size_t count_class(const struct zconfig_node *parent, enum schema_class class)
{
	const struct zconfig_node *n = next_of_class(parent->children, class);
	size_t count = 0;

	for (; n; n = next_of_class(n->next, class))
		count++;
	return count;
}

static const struct zconfig_node *find_section(const struct zconfig_node *parent, const char *type)
{
	const struct zconfig_node *n;

	for (n = parent ? parent->children : NULL; n; n = n->next)
		if (n->kind == ZCONFIG_SECTION && strcmp(n->name, type) == 0)
			return n;
	return NULL;
}

static int fill(struct build *b, const char *type, const struct zconfig_node *node, void *target)
{
	return schema_fill(schema_find(type), node, target, &b->c->mem, b->e);
}

/* Where the key stands, or @otherwise when it is not given. */
static struct config_place place_of(
	const struct zconfig_node *section, const char *name, struct config_place otherwise)
{
	const struct zconfig_node *key = schema_get(section, name);

	return key ? (struct config_place){ key->file, key->line } : otherwise;
}

static int build_ssl(struct build *b, const struct zconfig_node *node)
{
	struct config_place section;
	struct config_ssl *ssl;

	if (!node)
		return OK;
	ssl = new_array(b, 1, sizeof(*ssl));
	if (!ssl)
		return no_memory(b->e);
	b->c->ssl = ssl;
	section = (struct config_place){ node->file, node->line };
	ssl->certificate_at = place_of(node, "certificate", section);
	ssl->key_at = place_of(node, "key", ssl->certificate_at);
	ssl->password_command_at = place_of(node, "password-command", section);
	ssl->authenticate_at = place_of(node, "authenticate", section);
	return fill(b, "ssl", node, ssl);
}

static int build_zeo(struct build *b)
{
	const struct zconfig_node *node = find_section(b->file, "zeo");
	const char *msgpack = getenv("ZEO_MSGPACK");
	int rc;

	b->c->invalidation_age_s = -1;
	b->c->msgpack = msgpack && *msgpack;
	rc = fill(b, "zeo", node, b->c);
	if (rc)
		return rc;
	return build_ssl(b, find_section(node, "ssl"));
}

/* "true" means a port of the system's choice on the host that clients use, too. */
static int build_monitor_server(struct build *b, const struct zconfig_node *key)
{
	struct address *a;
	bool on = false;

	if (!key || (datatype_boolean(key->value, &on, NULL) == OK && !on))
		return OK;
	a = new_array(b, 1, sizeof(*a));
	if (!a)
		return no_memory(b->e);
	b->c->zookeeper.monitor_server = a;
	if (!on)
		return address_parse(key->value, "", a, b->e);
	a->family = ADDRESS_INET;
	strcpy(a->host, b->c->address.family == ADDRESS_UNIX ? "127.0.0.1" : b->c->address.host);
	return OK;
}

static int build_monitor_commands(struct build *b, const struct zconfig_node *node)
{
	struct config_monitor_command *commands;
	const struct zconfig_node *n;
	size_t count = 0;
	int rc = OK;

	for (n = node->children; n; n = n->next)
		count += n->kind == ZCONFIG_KEY && strcmp(n->name, "monitor-command") == 0;
	commands = new_array(b, count, sizeof(*commands));
	if (!commands)
		return no_memory(b->e);
	b->c->zookeeper.monitor_commands = commands;
	b->c->zookeeper.monitor_commands_n = count;
	for (n = node->children; n && rc == OK; n = n->next) {
		if (n->kind != ZCONFIG_KEY || strcmp(n->name, "monitor-command") != 0)
			continue;
		rc = datatype_command(
			n->value, &b->c->mem, &commands->name, &commands->program, b->e);
		commands++;
	}
	return rc;
}

static int default_connection(struct build *b)
{
	const char *env = getenv("ZC_ZK_CONNECTION_STRING");

	if (!env || !*env)
		return OK;
	b->c->zookeeper.connection = zconfig_copy(&b->c->mem, env, strlen(env));
	return b->c->zookeeper.connection ? OK : no_memory(b->e);
}

static int build_zookeeper(struct build *b)
{
	const struct zconfig_node *node = find_section(b->file, "zookeeper");
	struct config_zookeeper *z = &b->c->zookeeper;
	const struct zconfig_node *connection = schema_get(node, "connection");
	int rc = fill(b, "zookeeper", node, z);

	if (rc == OK && !connection)
		rc = default_connection(b);
	if (rc || !node)
		return rc;
	if (!z->connection)
		return zconfig_error(connection, ERR_INVAL, b->e,
			"the key 'connection' was found without a value");
	z->present = true;
	rc = build_monitor_server(b, schema_get(node, "monitor-server"));
	if (rc)
		return rc;
	return build_monitor_commands(b, node);
}

static int build_inner(
	struct build *b, const struct zconfig_node *node, const struct config_storage **ret)
{
	struct config_storage *s;

	if (!node)
		return OK;
	s = new_array(b, 1, sizeof(*s));
	if (!s)
		return no_memory(b->e);
	*ret = s;
	return build_storage(b, node, s);
}

static int build_servers(struct build *b, const struct zconfig_node *node, struct config_client *c)
{
	const struct zconfig_node *n;
	struct address *servers;
	size_t count = 0;
	int rc = OK;

	for (n = node->children; n; n = n->next)
		count += n->kind == ZCONFIG_KEY && strcmp(n->name, "server") == 0;
	servers = new_array(b, count, sizeof(*servers));
	if (!servers)
		return no_memory(b->e);
	c->servers = servers;
	c->servers_n = count;
	for (n = node->children; n && rc == OK; n = n->next)
		if (n->kind == ZCONFIG_KEY && strcmp(n->name, "server") == 0)
			rc = address_parse(n->value, "127.0.0.1", servers++, b->e);
	return rc;
}

static int build_client_ssl(
	struct build *b, const struct zconfig_node *client, struct config_client *c)
{
	const struct zconfig_node *node = find_section(client, "ssl");
	struct config_place section;
	struct config_client_ssl *ssl;

	if (!node)
		return OK;
	ssl = new_array(b, 1, sizeof(*ssl));
	if (!ssl)
		return no_memory(b->e);
	c->ssl = ssl;
	section = (struct config_place){ node->file, node->line };
	ssl->certificate_at = place_of(node, "certificate", section);
	ssl->key_at = place_of(node, "key", ssl->certificate_at);
	ssl->password_command_at = place_of(node, "password-command", section);
	ssl->authenticate_at = place_of(node, "authenticate", section);
	return schema_fill(
		schema_find_in(schema_find(client->name), "ssl"), node, ssl, &b->c->mem, b->e);
}

/* What only the other section has the key of is as that one has it by default. */
static void set_client_defaults(struct config_client *c)
{
	c->wait = true;
	c->wait_timeout_s = 30;
	c->min_poll_s = 1; /* ClientStorage's own */
	c->max_poll_s = 1;
}

static int build_client(struct build *b, const struct zconfig_node *node, struct config_storage *s)
{
	int rc = OK;

	if (s->kind == CONFIG_ZEOCLIENT)
		rc = build_servers(b, node, &s->client);
	return rc ? rc : build_client_ssl(b, node, &s->client);
}

static int build_demo(struct build *b, const struct zconfig_node *node, struct config_storage *s)
{
	const struct zconfig_node *n = next_of_class(node->children, CLASS_STORAGE);
	int rc = OK;

	for (; n && rc == OK; n = next_of_class(n->next, CLASS_STORAGE))
		rc = build_inner(b, n,
			n->value && strcmp(n->value, "changes") == 0 ? &s->demo.changes
								     : &s->demo.base);
	return rc;
}

static int build_storage(struct build *b, const struct zconfig_node *node, struct config_storage *s)
{
	const struct schema_section *section = schema_find(node->name);
	int rc;

	s->kind = (enum config_storage_kind)section->storage_kind;
	if (s->kind == CONFIG_ZEOCLIENT || s->kind == CONFIG_ZKZEOCLIENT)
		set_client_defaults(&s->client);
	rc = schema_fill(section, node, s, &b->c->mem, b->e);
	s->name = node->value;
	s->file = node->file;
	s->line = node->line;
	if (rc)
		return rc;
	switch (s->kind) {
	case CONFIG_DEMOSTORAGE:
		return build_demo(b, node, s);
	case CONFIG_BLOBSTORAGE:
		return build_inner(b, next_of_class(node->children, CLASS_STORAGE), &s->blob.base);
	case CONFIG_ZLIBSTORAGE:
	case CONFIG_SERVERZLIBSTORAGE:
		return build_inner(b, next_of_class(node->children, CLASS_STORAGE), &s->zlib.base);
	case CONFIG_ZEOCLIENT:
	case CONFIG_ZKZEOCLIENT:
		return build_client(b, node, s);
	default:
		return OK;
	}
}

/* The unnamed storage is "1". */
static int name_storages(struct build *b, struct config_storage *s, size_t n)
{
	const struct config_storage *first = NULL; /* the one that is "1" */
	size_t i;

	for (i = 0; i < n; i++) {
		if (s[i].name && strcmp(s[i].name, "1") != 0)
			continue;
		if (first)
			return err_set(b->e, ERR_INVAL,
				"%s:%d: a storage without a name, which is then called 1, was "
				"found: the storage of line %d of '%s' is called so, and another "
				"name was expected",
				s[i].file, s[i].line, first->line, first->file);
		first = &s[i];
		s[i].name = "1";
	}
	return OK;
}

static int build_storages(struct build *b)
{
	size_t n = count_class(b->file, CLASS_STORAGE);
	struct config_storage *s = new_array(b, n, sizeof(*s));
	const struct zconfig_node *node = next_of_class(b->file->children, CLASS_STORAGE);
	size_t i;
	int rc = OK;

	if (!s)
		return no_memory(b->e);
	b->c->storages = s;
	b->c->storages_n = n;
	for (i = 0; node && rc == OK; node = next_of_class(node->next, CLASS_STORAGE))
		rc = build_storage(b, node, &s[i++]);
	return rc ? rc : name_storages(b, s, n);
}

static int set_filename(struct build *b, size_t i, struct config_storage *s)
{
	const char *path = b->o->filenames[i];
	char name[24];
	int rc = fill(b, "filestorage", NULL, s);

	if (rc)
		return rc;
	snprintf(name, sizeof(name), "%zu", i + 1);
	s->kind = CONFIG_FILESTORAGE;
	s->name = zconfig_copy(&b->c->mem, name, strlen(name));
	s->filestorage.path = zconfig_copy(&b->c->mem, path, strlen(path));
	s->file = "-f";
	return s->name && s->filestorage.path ? OK : no_memory(b->e);
}

static int storages_of_command_line(struct build *b)
{
	size_t n = b->o->filenames_n;
	struct config_storage *s = new_array(b, n, sizeof(*s));
	size_t i;
	int rc = OK;

	if (!s)
		return no_memory(b->e);
	b->c->storages = s;
	b->c->storages_n = n;
	for (i = 0; i < n && rc == OK; i++)
		rc = set_filename(b, i, &s[i]);
	return rc;
}

static int build_logfiles(struct build *b, const struct zconfig_node *node)
{
	size_t n = count_class(node, CLASS_HANDLER);
	struct logfile_options *files = new_array(b, n, sizeof(*files));
	size_t count = 0;
	int rc = OK;

	if (!files)
		return no_memory(b->e);
	for (node = node->children; node && rc == OK; node = node->next)
		if (node->kind == ZCONFIG_SECTION && strcmp(node->name, "logfile") == 0)
			rc = fill(b, "logfile", node, &files[count++]);
	b->c->eventlog.logfiles = files;
	b->c->eventlog.logfiles_n = count;
	return rc;
}

static int build_eventlog(struct build *b)
{
	const struct zconfig_node *node = find_section(b->file, "eventlog");
	int rc = fill(b, "eventlog", node, &b->c->eventlog);

	b->c->eventlog.present = node != NULL;
	if (rc || !node)
		return rc;
	return build_logfiles(b, node);
}

static int override_address(struct build *b)
{
	int rc;

	if (!b->o->address)
		return OK;
	rc = address_parse(b->o->address, "", &b->c->address, b->e);
	if (rc)
		err_wrap(b->e, "-a");
	return rc;
}

static int override_timeout(struct build *b)
{
	double seconds = 0;
	int rc;

	if (!b->o->timeout)
		return OK;
	rc = datatype_float(b->o->timeout, &seconds, b->e);
	if (rc == OK && seconds < 0)
		rc = err_set(
			b->e, ERR_INVAL, "'%s' was found: 0 or more was expected", b->o->timeout);
	if (rc)
		err_wrap(b->e, "-t");
	else
		b->c->transaction_timeout_s = seconds;
	return rc;
}

static int override_pid_filename(struct build *b)
{
	const char *path = b->o->pid_filename;

	if (!path)
		return OK;
	b->c->pid_filename = zconfig_copy(&b->c->mem, path, strlen(path));
	return b->c->pid_filename ? OK : no_memory(b->e);
}

static int apply_overrides(struct build *b)
{
	int rc = override_address(b);

	if (rc == OK)
		rc = override_timeout(b);
	return rc ? rc : override_pid_filename(b);
}

/* What is not offered is told later, by server_config_check_offered(). */
static int note_refusal(struct build *b)
{
	struct err refusal = ERR_INIT;

	if (!b->file || schema_check_offered(b->file, b->o->filenames_n > 0, &refusal) == OK)
		return OK;
	b->c->refused = zconfig_copy(&b->c->mem, refusal.text, strlen(refusal.text));
	return b->c->refused ? OK : no_memory(b->e);
}

static int check_complete(struct build *b)
{
	if (b->file)
		return OK;
	if (!b->o->address)
		return err_set(b->e, ERR_INVAL, "no server address specified; use -a or -C");
	if (!b->o->filenames_n)
		return err_set(b->e, ERR_INVAL, "no storages specified; use -f or -C");
	return OK;
}

/* One "path" is some folders with ':' between them. @n is where the next one goes; @to NULL: they
 * are only counted. */
static int split_path(struct build *b, const char *text, const char **to, size_t *n)
{
	while (*text) {
		size_t len = strcspn(text, ":");
		char *part;
		int rc;

		if (len && to) {
			part = zconfig_copy(&b->c->mem, text, len);
			rc = part ? datatype_path(part, &b->c->mem, &to[*n], b->e)
				  : no_memory(b->e);
			if (rc)
				return rc;
		}
		*n += len != 0;
		text += len + (text[len] == ':');
	}
	return OK;
}

static int split_paths(struct build *b, const struct zconfig_node *node, const char **to, size_t *n)
{
	*n = 0;
	for (node = node->children; node; node = node->next) {
		if (node->kind == ZCONFIG_KEY && strcmp(node->name, "path") == 0) {
			int rc = split_path(b, node->value, to, n);

			if (rc)
				return rc;
		}
	}
	return OK;
}

static int build_resolver(struct build *b)
{
	const struct zconfig_node *node = find_section(b->file, "conflict-resolver");
	struct config_resolver *r;
	const char **path;
	int rc;

	if (!node)
		return OK;
	r = new_array(b, 1, sizeof(*r));
	if (!r)
		return no_memory(b->e);
	b->c->resolver = r;
	rc = fill(b, "conflict-resolver", node, r);
	if (rc == OK)
		rc = split_paths(b, node, NULL, &r->path_n);
	if (rc)
		return rc;
	path = new_array(b, r->path_n, sizeof(*path));
	if (!path)
		return no_memory(b->e);
	r->path = path;
	return split_paths(b, node, path, &r->path_n);
}

static int build(struct build *b)
{
	int rc = check_complete(b);

	if (rc == OK)
		rc = build_zeo(b);
	if (rc == OK)
		rc = apply_overrides(b);
	if (rc == OK)
		rc = build_zookeeper(b); /* after the address, which "true" looks at */
	if (rc == OK)
		rc = b->o->filenames_n ? storages_of_command_line(b) : build_storages(b);
	if (rc == OK)
		rc = build_resolver(b);
	if (rc == OK)
		rc = build_eventlog(b);
	return rc ? rc : note_refusal(b);
}

int server_config_read(const char *path, const struct config_overrides *o,
	struct server_config **ret, struct err *e)
{
	static const struct config_overrides none;
	struct server_config *c = mem_zalloc(1, sizeof(*c));
	struct zconfig_node *file = NULL;
	struct build b = { c, NULL, o ? o : &none, e };
	int rc = OK;

	if (!c)
		return no_memory(e);
	c->mem = (struct arena)ARENA_INIT(ARENA_MAX);
	if (path)
		rc = zconfig_read(path, &c->mem, &file, e);
	if (rc == OK && path)
		rc = schema_check(file, &c->mem, e);
	b.file = file;
	if (rc == OK)
		rc = build(&b);
	if (rc == OK) {
		*ret = c;
		c = NULL;
	}
	server_config_free(c);
	return rc;
}

int server_config_check_offered(const struct server_config *c, struct err *e)
{
	return c->refused ? err_set(e, ERR_UNSUPPORTED, "%s", c->refused) : OK;
}

int server_config_load_with(const char *path, const struct config_overrides *o,
	struct server_config **ret, struct err *e)
{
	struct server_config *c = NULL;
	int rc = server_config_read(path, o, &c, e);

	if (rc)
		return rc;
	rc = server_config_check_offered(c, e);
	if (rc == OK) {
		*ret = c;
		c = NULL;
	}
	server_config_free(c);
	return rc;
}

int server_config_load(const char *path, struct server_config **ret, struct err *e)
{
	return server_config_load_with(path, NULL, ret, e);
}

void server_config_free(struct server_config *c)
{
	if (!c)
		return;
	arena_free(&c->mem);
	mem_free(c);
}
