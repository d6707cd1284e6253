/* Every section and key that a configuration of zkrunzeo may have, one row each. Names, types
 * and defaults of those that ZEO, ZODB, ZConfig, zdaemon, zc.zlibstorage and zc.zkzeo know are
 * theirs; docs/configuration.md describes them for people. */
#include <string.h>

#include "config/datatype.h"
#include "config/schema.h"
#include "config/server_config.h"

#define NO          SCHEMA_NO_FIELD
#define KEYS(k)     .keys = (k), .keys_n = ARRAY_LEN(k)
#define CHILDREN(c) .children = (c), .children_n = ARRAY_LEN(c)
#define AT(f)       offsetof(struct server_config, f)
#define ZK(f)       offsetof(struct config_zookeeper, f)
#define FS(f)       offsetof(struct config_storage, filestorage.f)
#define SSL(f)      offsetof(struct config_ssl, f)
#define LOG(f)      offsetof(struct logfile_options, f)

/* <ssl> */

static const struct schema_key ssl_keys[] = {
	{ "certificate", TYPE_DIRPATH, NULL, KEY_REQUIRED, SSL(certificate), NULL,
		"file with the server's certificate, and what is between it and its root" },
	{ "key", TYPE_DIRPATH, NULL, 0, SSL(key), NULL,
		"file with the certificate's key; default: the file of the certificate" },
	{ "password-function", TYPE_STRING, NULL, 0, NO,
		"is not offered: it names a Python function. 'password-command' takes a program "
		"that prints the pass phrase",
		"dotted name of a Python function that returns the key's pass phrase" },
	{ "password-command", TYPE_STRING, NULL, 0, SSL(password_command), NULL,
		"shell command that prints the pass phrase of the key" },
	{ "authenticate", TYPE_STRING, NULL, KEY_REQUIRED, SSL(authenticate), NULL,
		"file or folder with the certificates that clients' are checked with, or SIGNED" },
};

static const struct schema_section ssl_section = {
	.type = "ssl",
	KEYS(ssl_keys),
	.help = "TLS for the clients' connections",
};

/* <zeo> */

static const struct schema_key zeo_keys[] = {
	{ "address", TYPE_BIND_ADDRESS, NULL, KEY_REQUIRED, AT(address), NULL,
		"where to listen: PORT, HOST, HOST:PORT, [IPV6]:PORT or a path with a '/'" },
	{ "read-only", TYPE_BOOLEAN, "false", 0, AT(read_only), NULL, "refuse every write" },
	{ "invalidation-queue-size", TYPE_INTEGER, "100", 0, AT(invalidation_queue_size), NULL,
		"how many transactions are kept in memory for clients that come back" },
	{ "invalidation-age", TYPE_FLOAT, NULL, 0, AT(invalidation_age_s), NULL,
		"seconds for which clients that come back are served from the data file" },
	{ "transaction-timeout", TYPE_SECONDS, NULL, 0, AT(transaction_timeout_s), NULL,
		"seconds a client may take from vote to finish; 0 = no limit" },
	{ "pid-filename", TYPE_DIRPATH, NULL, 0, AT(pid_filename), NULL,
		"file for the server's process id" },
	{ "client-conflict-resolution", TYPE_BOOLEAN, "false", 0, AT(client_conflict_resolution),
		NULL, "send conflicts to the client, which resolves them" },
	{ "msgpack", TYPE_BOOLEAN, NULL, 0, AT(msgpack), NULL,
		"encode messages as msgpack; default: ZEO_MSGPACK of the environment is not "
		"empty" },
	{ "worker-threads", TYPE_INTEGER, NULL, 0, AT(worker_threads), NULL,
		"event loops that serve the connections; default: one a processor" },
};

static int check_zeo(const struct zconfig_node *node, struct err *e)
{
	const struct zconfig_node *workers = schema_get(node, "worker-threads");
	int64_t n;

	if (workers && datatype_integer(workers->value, 1, 1024, &n, NULL) != OK)
		return zconfig_error(workers, ERR_INVAL, e,
			"'%s' was found in 'worker-threads': 1 to 1024 were expected",
			workers->value);
	return OK;
}

static const struct schema_child zeo_children[] = { { .type = "ssl" } };

static const struct schema_section zeo_section = {
	.type = "zeo",
	KEYS(zeo_keys),
	CHILDREN(zeo_children),
	.check = check_zeo,
	.help = "the server",
};

/* <zookeeper> */

static const struct schema_key zookeeper_keys[] = {
	{ "connection", TYPE_STRING, "127.0.0.1:2181", 0, ZK(connection), NULL,
		"the ensemble: HOST:PORT,HOST:PORT...; default: ZC_ZK_CONNECTION_STRING of the "
		"environment" },
	{ "path", TYPE_STRING, NULL, 0, ZK(path), NULL,
		"where to register; without it the server does not" },
	{ "session-timeout", TYPE_INTEGER, "10000", 0, ZK(session_timeout_ms), NULL,
		"milliseconds after which ZooKeeper gives up a silent server" },
	{ "monitor-server", TYPE_MONITOR_SERVER, NULL, 0, NO, NULL,
		"address of the monitor server, or true" },
	{ "advertise", TYPE_STRING, NULL, 0, ZK(advertise), NULL,
		"HOST or HOST:PORT to register in place of the bound address" },
	{ "monitor-command", TYPE_COMMAND, NULL, KEY_MULTI, NO, NULL,
		"NAME PROGRAM: a command of the monitor server that runs a program" },
};

static const struct schema_section zookeeper_section = {
	.type = "zookeeper",
	KEYS(zookeeper_keys),
	.help = "registration in ZooKeeper, and the monitor server",
};

/* <conflict-resolver> */

static int check_resolver(const struct zconfig_node *node, struct err *e)
{
	const struct zconfig_node *processes = schema_get(node, "processes");
	const struct zconfig_node *timeout = schema_get(node, "timeout");
	double timeout_s = 1;
	int64_t n;

	if (processes && datatype_integer(processes->value, 1, 64, &n, NULL) != OK)
		return zconfig_error(processes, ERR_INVAL, e,
			"'%s' was found in 'processes': 1 to 64 were expected", processes->value);
	if (timeout && (datatype_float(timeout->value, &timeout_s, NULL) != OK ||
			       !(timeout_s >= 0.001 && timeout_s <= 3600)))
		return zconfig_error(timeout, ERR_INVAL, e,
			"'%s' was found in 'timeout': seconds from 0.001 to 3600 were expected",
			timeout->value);
	return OK;
}

static const struct schema_key resolver_keys[] = {
	{ "python", TYPE_TEXT, "python3", 0, offsetof(struct config_resolver, python), NULL,
		"the interpreter that has ZODB and the classes of the application" },
	{ "path", TYPE_TEXT, NULL, KEY_MULTI, NO, NULL,
		"folders with the application's modules, ':' between them" },
	{ "processes", TYPE_INTEGER, "1", 0, offsetof(struct config_resolver, processes), NULL,
		"how many conflicts are resolved at a time" },
	{ "timeout", TYPE_FLOAT, "10", 0, offsetof(struct config_resolver, timeout_s), NULL,
		"seconds after which a process that does not answer is killed" },
};

static const struct schema_section resolver_section = {
	.type = "conflict-resolver",
	KEYS(resolver_keys),
	.check = check_resolver,
	.help = "processes that resolve conflicts of the application's own classes",
};

/* Storages */

static const struct schema_key filestorage_keys[] = {
	{ "path", TYPE_DIRPATH, NULL, KEY_REQUIRED, FS(path), NULL, "the data file" },
	{ "blob-dir", TYPE_DIRPATH, NULL, 0, FS(blob_dir), NULL, "folder of the blobs" },
	{ "create", TYPE_BOOLEAN, "false", 0, FS(create), NULL,
		"start with an empty file, also when there is one" },
	{ "read-only", TYPE_BOOLEAN, "false", 0, FS(read_only), NULL, "refuse every write" },
	{ "quota", TYPE_BYTES, "0", 0, FS(quota_bytes), NULL,
		"refuse commits that would make the file larger; 0 = no limit" },
	{ "packer", TYPE_STRING, NULL, 0, NO,
		"is not offered: it names a Python function, and this server packs by itself",
		"Python function that packs in place of ZODB's" },
	{ "pack-gc", TYPE_BOOLEAN, "true", 0, FS(pack_gc), NULL,
		"remove unreachable objects when packing" },
	{ "pack-keep-old", TYPE_BOOLEAN, "true", 0, FS(pack_keep_old), NULL,
		"keep the file as it was before a pack as .old" },
	{ "pack-bandwidth", TYPE_BYTES, "0", 0, FS(pack_bandwidth), NULL,
		"bytes a second that a pack reads and writes at most; 0 = no limit" },
};

static const struct schema_section filestorage_section = {
	.type = "filestorage",
	.class = CLASS_STORAGE,
	.storage_kind = CONFIG_FILESTORAGE,
	KEYS(filestorage_keys),
	.help = "a data file in ZODB's FileStorage format",
};

static const struct schema_key mappingstorage_keys[] = {
	{ "name", TYPE_TEXT, "Mapping Storage", 0, offsetof(struct config_storage, mapping.name),
		NULL, "the name that clients are told" },
};

static const struct schema_section mappingstorage_section = {
	.type = "mappingstorage",
	.class = CLASS_STORAGE,
	.storage_kind = CONFIG_MAPPINGSTORAGE,
	KEYS(mappingstorage_keys),
	.help = "a storage in memory",
};

static const struct schema_child base_storages[] = {
	{ .class = CLASS_STORAGE, .multi = true },
};

static const struct schema_child base_storage[] = {
	{ .class = CLASS_STORAGE, .required = true },
};

static int check_demostorage(const struct zconfig_node *node, struct err *e)
{
	const struct zconfig_node *base = NULL;
	const struct zconfig_node *n;

	for (n = node->children; n; n = n->next) {
		if (n->kind != ZCONFIG_SECTION || (n->value && strcmp(n->value, "changes") == 0))
			continue;
		if (base)
			return zconfig_error(n, ERR_INVAL, e,
				"<%s> was found in <demostorage>: line %d of '%s' is its base, and "
				"a storage named 'changes' was expected",
				n->name, base->line, base->file);
		base = n;
	}
	return OK;
}

static const struct schema_key demostorage_keys[] = {
	{ "name", TYPE_STRING, NULL, 0, offsetof(struct config_storage, demo.name), NULL,
		"the name that clients are told" },
};

static const struct schema_section demostorage_section = {
	.type = "demostorage",
	.class = CLASS_STORAGE,
	.storage_kind = CONFIG_DEMOSTORAGE,
	KEYS(demostorage_keys),
	CHILDREN(base_storages),
	.check = check_demostorage,
	.help = "changes on top of a storage that stays as it is",
};

static const struct schema_key blobstorage_keys[] = {
	{ "blob-dir", TYPE_STRING, NULL, KEY_REQUIRED,
		offsetof(struct config_storage, blob.blob_dir), NULL, "folder of the blobs" },
};

static const struct schema_section blobstorage_section = {
	.type = "blobstorage",
	.class = CLASS_STORAGE,
	.storage_kind = CONFIG_BLOBSTORAGE,
	KEYS(blobstorage_keys),
	CHILDREN(base_storage),
	.help = "blobs for a storage that has none",
};

static const struct schema_key zlibstorage_keys[] = {
	{ "compress", TYPE_BOOLEAN, "true", 0, offsetof(struct config_storage, zlib.compress), NULL,
		"compress new records; false: only read compressed ones" },
};

static const struct schema_section zlibstorage_section = {
	.type = "zlibstorage",
	.class = CLASS_STORAGE,
	.import = "zc.zlibstorage",
	.storage_kind = CONFIG_ZLIBSTORAGE,
	KEYS(zlibstorage_keys),
	CHILDREN(base_storage),
	.help = "compressed records, which clients see uncompressed",
};

static const struct schema_section serverzlibstorage_section = {
	.type = "serverzlibstorage",
	.class = CLASS_STORAGE,
	.import = "zc.zlibstorage",
	.storage_kind = CONFIG_SERVERZLIBSTORAGE,
	KEYS(zlibstorage_keys),
	CHILDREN(base_storage),
	.help = "compressed records, which clients get as they are",
};

/* Storages of other servers */

#define CLIENT(f)     offsetof(struct config_storage, client.f)
#define CLIENT_SSL(f) offsetof(struct config_client_ssl, f)

static bool is_on(const struct zconfig_node *node, const char *key);

static const struct schema_key client_ssl_keys[] = {
	{ "certificate", TYPE_DIRPATH, NULL, 0, CLIENT_SSL(certificate), NULL,
		"file with the client's certificate" },
	{ "key", TYPE_DIRPATH, NULL, 0, CLIENT_SSL(key), NULL,
		"file with the certificate's key; default: the file of the certificate" },
	{ "password-function", TYPE_STRING, NULL, 0, NO,
		"is not offered: it names a Python function. 'password-command' takes a program "
		"that prints the pass phrase",
		"dotted name of a Python function that returns the key's pass phrase" },
	{ "password-command", TYPE_STRING, NULL, 0, CLIENT_SSL(password_command), NULL,
		"shell command that prints the pass phrase of the key" },
	{ "authenticate", TYPE_DIRPATH, NULL, 0, CLIENT_SSL(authenticate), NULL,
		"file or folder with the certificates that the server's is checked with" },
	{ "check-hostname", TYPE_BOOLEAN, "true", 0, CLIENT_SSL(check_hostname), NULL,
		"the server's certificate must have its name" },
	{ "server-hostname", TYPE_STRING, NULL, 0, CLIENT_SSL(server_hostname), NULL,
		"that name; default: the address's host" },
};

static const struct schema_section client_ssl_section = {
	.type = "ssl",
	KEYS(client_ssl_keys),
	.help = "TLS for the connection to the server",
};

static int check_read_only(const struct zconfig_node *node, struct err *e)
{
	if (is_on(node, "read-only") && is_on(node, "read-only-fallback"))
		return zconfig_error(node, ERR_INVAL, e,
			"'read-only' and 'read-only-fallback' were found in <%s>: one was expected",
			node->name);
	return OK;
}

static int check_client(const struct zconfig_node *node, struct err *e)
{
	const struct zconfig_node *check = schema_get(node, "blob-cache-size-check");
	int64_t n;

	if (check && datatype_integer(check->value, 0, 99, &n, NULL) != OK)
		return zconfig_error(check, ERR_INVAL, e,
			"'%s' was found in 'blob-cache-size-check': 0 to 99 were expected",
			check->value);
	return check_read_only(node, e);
}

static int check_zkclient(const struct zconfig_node *node, struct err *e)
{
	const struct zconfig_node *path = schema_get(node, "server");

	if (*path->value != '/')
		return zconfig_error(path, ERR_INVAL, e,
			"'%s' was found in 'server': a path in ZooKeeper was expected",
			path->value);
	return check_client(node, e);
}

static const struct schema_key zeoclient_keys[] = {
	{ "server", TYPE_CONNECT_ADDRESS, NULL, KEY_REQUIRED | KEY_MULTI, NO, NULL,
		"address of a server" },
	{ "blob-dir", TYPE_STRING, NULL, 0, CLIENT(blob_dir), NULL, "folder of the blob cache" },
	{ "shared-blob-dir", TYPE_BOOLEAN, "no", 0, CLIENT(shared_blob_dir), NULL,
		"the blob folder is the server's own" },
	{ "blob-cache-size", TYPE_BYTES, NULL, 0, CLIENT(blob_cache_bytes), NULL,
		"size of the blob cache" },
	{ "blob-cache-size-check", TYPE_INTEGER, "10", 0, CLIENT(blob_cache_check), NULL,
		"percent of it after which it is checked" },
	{ "storage", TYPE_STRING, "1", 0, CLIENT(storage), NULL,
		"name of the storage on the server" },
	{ "cache-size", TYPE_BYTES, "20MB", 0, CLIENT(cache_bytes), NULL, "size of the cache" },
	{ "name", TYPE_TEXT, "", 0, CLIENT(name), NULL, "name of the storage here" },
	{ "client", TYPE_STRING, NULL, 0, CLIENT(client), NULL,
		"name of a cache file that is kept" },
	{ "var", TYPE_STRING, NULL, 0, CLIENT(var), NULL, "folder of that file" },
	{ "min-disconnect-poll", TYPE_INTEGER, "5", 0, CLIENT(min_poll_s), NULL,
		"shortest pause in seconds" },
	{ "max-disconnect-poll", TYPE_INTEGER, "300", 0, CLIENT(max_poll_s), NULL,
		"longest pause in seconds" },
	{ "wait", TYPE_BOOLEAN, "on", 0, CLIENT(wait), NULL, "wait for the first connection" },
	{ "read-only", TYPE_BOOLEAN, "off", 0, CLIENT(read_only), NULL, "refuse every write" },
	{ "read-only-fallback", TYPE_BOOLEAN, "off", 0, CLIENT(read_only_fallback), NULL,
		"take a read-only server when there is no other" },
	{ "username", TYPE_STRING, NULL, 0, NO, NULL, "user name" },
	{ "password", TYPE_STRING, NULL, 0, NO, NULL, "its password" },
	{ "realm", TYPE_STRING, NULL, 0, NO, NULL, "realm of the user name" },
	{ "drop-cache-rather-verify", TYPE_BOOLEAN, "off", 0, NO, NULL,
		"drop the cache where checking it would cost much" },
	{ "client-label", TYPE_STRING, NULL, 0, CLIENT(label), NULL, "label in the server's log" },
};

static const struct schema_section zeoclient_section = {
	.type = "zeoclient",
	.class = CLASS_STORAGE,
	.storage_kind = CONFIG_ZEOCLIENT,
	KEYS(zeoclient_keys),
	.check = check_client,
	.help = "a storage of another server",
};

static const struct schema_child client_children[] = {
	{ .type = "ssl", .section = &client_ssl_section },
};

static const struct schema_key zkzeoclient_keys[] = {
	{ "zookeeper", TYPE_STRING, NULL, KEY_REQUIRED, CLIENT(zookeeper), NULL, "the ensemble" },
	{ "server", TYPE_STRING, NULL, KEY_REQUIRED, CLIENT(path), NULL,
		"path in ZooKeeper where the servers are registered" },
	{ "cache-path", TYPE_STRING, NULL, 0, CLIENT(cache_path), NULL, "cache file that is kept" },
	{ "server-sync", TYPE_BOOLEAN, "off", 0, NO, NULL, "ask the server at each begin" },
	{ "wait-timeout", TYPE_INTEGER, "30", 0, CLIENT(wait_timeout_s), NULL,
		"seconds to wait for a connection" },
};

static const struct schema_section zkzeoclient_section = {
	.type = "zkzeoclient",
	.class = CLASS_STORAGE,
	.import = "zc.zkzeo",
	.storage_kind = CONFIG_ZKZEOCLIENT,
	.extends = &zeoclient_section,
	KEYS(zkzeoclient_keys),
	CHILDREN(client_children),
	.check = check_zkclient,
	.help = "a storage of a server that is found through ZooKeeper",
};

static const struct schema_key clientstorage_keys[] = {
	{ "server", TYPE_CONNECT_ADDRESS, NULL, KEY_REQUIRED | KEY_MULTI, NO, NULL,
		"address of a server" },
	{ "cache-size", TYPE_BYTES, "20MB", 0, CLIENT(cache_bytes), NULL, "size of the cache" },
	{ "cache-path", TYPE_STRING, NULL, 0, CLIENT(cache_path), NULL, "cache file that is kept" },
	{ "blob-dir", TYPE_STRING, NULL, 0, CLIENT(blob_dir), NULL, "folder of the blob cache" },
	{ "shared-blob-dir", TYPE_BOOLEAN, "no", 0, CLIENT(shared_blob_dir), NULL,
		"the blob folder is the server's own" },
	{ "blob-cache-size", TYPE_BYTES, NULL, 0, CLIENT(blob_cache_bytes), NULL,
		"size of the blob cache" },
	{ "blob-cache-size-check", TYPE_INTEGER, "10", 0, CLIENT(blob_cache_check), NULL,
		"percent of it after which it is checked" },
	{ "read-only", TYPE_BOOLEAN, "off", 0, CLIENT(read_only), NULL, "refuse every write" },
	{ "read-only-fallback", TYPE_BOOLEAN, "off", 0, CLIENT(read_only_fallback), NULL,
		"take a read-only server when there is no other" },
	{ "server-sync", TYPE_BOOLEAN, "off", 0, NO, NULL, "ask the server at each begin" },
	{ "wait-timeout", TYPE_INTEGER, "30", 0, CLIENT(wait_timeout_s), NULL,
		"seconds to wait for a connection" },
	{ "client-label", TYPE_STRING, NULL, 0, CLIENT(label), NULL, "label in the server's log" },
	{ "storage", TYPE_STRING, "1", 0, CLIENT(storage), NULL,
		"name of the storage on the server" },
	{ "name", TYPE_TEXT, "", 0, CLIENT(name), NULL, "name of the storage here" },
};

static const struct schema_section clientstorage_section = {
	.type = "clientstorage",
	.class = CLASS_STORAGE,
	.import = "ZEO",
	.storage_kind = CONFIG_ZEOCLIENT,
	KEYS(clientstorage_keys),
	CHILDREN(client_children),
	.check = check_client,
	.help = "a storage of another server",
};

static const struct schema_key fullstorage_keys[] = {
	{ "envdir", TYPE_STRING, NULL, KEY_REQUIRED, NO, NULL, "folder of the database" },
	{ "interval", TYPE_INTERVAL, "2m", 0, NO, NULL, "between checkpoints" },
	{ "kbyte", TYPE_INTEGER, "0", 0, NO, NULL, "log size for a checkpoint" },
	{ "min", TYPE_INTEGER, "0", 0, NO, NULL, "minutes for a checkpoint" },
	{ "logdir", TYPE_STRING, NULL, 0, NO, NULL, "folder of the logs" },
	{ "cachesize", TYPE_BYTES, "128MB", 0, NO, NULL, "size of the cache" },
	{ "frequency", TYPE_INTERVAL, "0", 0, NO, NULL, "between packs" },
	{ "packtime", TYPE_INTERVAL, "4h", 0, NO, NULL, "age of what is packed" },
	{ "gcpack", TYPE_INTEGER, "0", 0, NO, NULL, "packs for each garbage collection" },
	{ "read-only", TYPE_BOOLEAN, "off", 0, NO, NULL, "refuse every write" },
};

#define BERKELEY "is not offered: ZODB itself has dropped its Berkeley DB storages"

static const struct schema_section fullstorage_section = {
	.type = "fullstorage",
	.class = CLASS_STORAGE,
	.storage_kind = CONFIG_OTHERSTORAGE,
	KEYS(fullstorage_keys),
	.refusal = BERKELEY,
	.help = "a Berkeley DB storage of old",
};

static const struct schema_section minimalstorage_section = {
	.type = "minimalstorage",
	.class = CLASS_STORAGE,
	.storage_kind = CONFIG_OTHERSTORAGE,
	.extends = &fullstorage_section,
	.refusal = BERKELEY,
	.help = "a Berkeley DB storage of old",
};

/* The log */

static const struct schema_key eventlog_keys[] = {
	{ "level", TYPE_LEVEL, "info", 0, offsetof(struct config_eventlog, level), NULL,
		"the least level that is logged" },
};

static const struct schema_child handlers[] = { { .class = CLASS_HANDLER, .multi = true } };

static const struct schema_section eventlog_section = {
	.type = "eventlog",
	.class = CLASS_LOG,
	KEYS(eventlog_keys),
	CHILDREN(handlers),
	.help = "the log",
};

static const struct schema_key logger_keys[] = {
	{ "propagate", TYPE_BOOLEAN, "true", 0, NO, NULL, "log in the parent, too" },
	{ "name", TYPE_DOTTED_NAME, NULL, 0, NO, NULL, "name of the logger" },
};

static const struct schema_section logger_section = {
	.type = "logger",
	.class = CLASS_LOG,
	.extends = &eventlog_section,
	KEYS(logger_keys),
	CHILDREN(handlers),
	.help = "a log of one part of the program that <runner> runs",
};

static const struct schema_key handler_keys[] = {
	{ "formatter", TYPE_DOTTED_NAME, NULL, 0, NO,
		"is not offered: it names a Python class; use format and dateformat",
		"Python class that formats" },
	{ "dateformat", TYPE_TEXT, LOGFILE_DATEFORMAT, 0, LOG(dateformat), NULL,
		"strftime() format of %(asctime)s" },
	{ "level", TYPE_LEVEL, "notset", 0, LOG(level), NULL, "the least level that is written" },
	{ "style", TYPE_LOG_STYLE, "classic", KEY_IF_CHANGED, NO,
		"is not offered: only style classic, with %(name)s fields, is",
		"how fields are written in format" },
	{ "arbitrary-fields", TYPE_BOOLEAN, "false", KEY_IF_CHANGED, NO,
		"is not offered: no field is known but those that Python's logging has",
		"accept unknown fields in format" },
};

static const struct schema_section handler_section = {
	.type = "ZConfig.logger.base-log-handler",
	KEYS(handler_keys),
	.help = "what all handlers have",
};

static bool is_given(const struct zconfig_node *node, const char *key)
{
	const struct zconfig_node *n = schema_get(node, key);

	return n && *n->value;
}

static bool is_number(const struct zconfig_node *node, const char *key)
{
	const struct zconfig_node *n = schema_get(node, key);

	return n && strpbrk(n->value, "123456789");
}

static bool is_on(const struct zconfig_node *node, const char *key)
{
	const struct zconfig_node *n = schema_get(node, key);
	bool on = false;

	return n && datatype_boolean(n->value, &on, NULL) == OK && on;
}

static int check_stream(const struct zconfig_node *node, const char *path, struct err *e)
{
	if (is_number(node, "max-size") || is_number(node, "old-files") || is_given(node, "when"))
		return zconfig_error(node, ERR_INVAL, e,
			"rotation of %s was found: a file was expected for it", path);
	if (is_on(node, "delay"))
		return zconfig_error(node, ERR_INVAL, e,
			"delayed opening of %s was found: a file was expected for it", path);
	if (is_given(node, "encoding"))
		return zconfig_error(node, ERR_INVAL, e,
			"an encoding of %s was found: a file was expected for it", path);
	return OK;
}

/* The rules of ZConfig's FileHandlerFactory. */
static int check_logfile(const struct zconfig_node *node, struct err *e)
{
	const char *path = schema_get(node, "path")->value;
	bool when = is_given(node, "when");
	bool size = is_number(node, "max-size");
	bool old = is_number(node, "old-files");

	if (strcmp(path, "STDERR") == 0 || strcmp(path, "STDOUT") == 0)
		return check_stream(node, path, e);
	if (!when && !size && !old && !is_number(node, "interval"))
		return OK;
	if (!old)
		return zconfig_error(node, ERR_INVAL, e,
			"rotation was found without 'old-files', which is required for it");
	if (when && size)
		return zconfig_error(
			node, ERR_INVAL, e, "'max-size' and 'when' were found: one was expected");
	if (!when && !size)
		return zconfig_error(node, ERR_INVAL, e,
			"'old-files' was found without 'max-size' or 'when', one of which was "
			"expected");
	return OK;
}

static const struct schema_key logfile_keys[] = {
	{ "path", TYPE_STRING, NULL, KEY_REQUIRED, LOG(path), NULL, "a file, STDERR or STDOUT" },
	{ "old-files", TYPE_INTEGER, "0", 0, LOG(old_files), NULL,
		"how many rotated files are kept" },
	{ "max-size", TYPE_BYTES, "0", 0, LOG(max_size), NULL, "rotate at this size" },
	{ "when", TYPE_LOG_WHEN, "", 0, 0, NULL, "rotate by time: S, M, H, D, MIDNIGHT, W0 to W6" },
	{ "interval", TYPE_INTEGER, "0", 0, LOG(interval), NULL, "that many units of when" },
	{ "format", TYPE_LOG_FORMAT, "------\\n%(asctime)s %(levelname)s %(name)s %(message)s", 0,
		LOG(format), NULL, "how a line is written" },
	{ "encoding", TYPE_ENCODING, NULL, 0, NO, NULL, "utf-8" },
	{ "delay", TYPE_BOOLEAN, "false", 0, LOG(delay), NULL, "open with the first line" },
};

static const struct schema_section logfile_section = {
	.type = "logfile",
	.class = CLASS_HANDLER,
	.extends = &handler_section,
	KEYS(logfile_keys),
	.check = check_logfile,
	.help = "a file, or a stream, that the log is written to",
};

#define ONLY_LOGFILE "is not offered yet: use <logfile>, and a program that forwards it"

static const struct schema_key syslog_keys[] = {
	{ "facility", TYPE_STRING, "user", 0, NO, NULL, "facility" },
	{ "address", TYPE_BIND_ADDRESS, "localhost:514", 0, NO, NULL, "address of the daemon" },
	{ "format", TYPE_LOG_FORMAT, "%(name)s %(message)s", 0, NO, NULL, "how a line is written" },
};

static const struct schema_section syslog_section = {
	.type = "syslog",
	.class = CLASS_HANDLER,
	.extends = &handler_section,
	KEYS(syslog_keys),
	.refusal = ONLY_LOGFILE,
	.help = "the log goes to syslog",
};

static const struct schema_key win32_keys[] = {
	{ "appname", TYPE_STRING, "Zope", 0, NO, NULL, "name of the program" },
	{ "format", TYPE_LOG_FORMAT, "%(levelname)s %(name)s %(message)s", 0, NO, NULL,
		"how a line is written" },
};

static const struct schema_section win32_section = {
	.type = "win32-eventlog",
	.class = CLASS_HANDLER,
	.extends = &handler_section,
	KEYS(win32_keys),
	.refusal = "is not offered: this is not Windows",
	.help = "the log goes to the event log of Windows",
};

static const struct schema_key http_keys[] = {
	{ "url", TYPE_STRING, "http://localhost/", 0, NO, NULL, "where to send" },
	{ "method", TYPE_STRING, "GET", 0, NO, NULL, "GET or POST" },
	{ "format", TYPE_LOG_FORMAT, "%(asctime)s %(levelname)s %(name)s %(message)s", 0, NO, NULL,
		"how a line is written" },
};

static const struct schema_section http_section = {
	.type = "http-logger",
	.class = CLASS_HANDLER,
	.extends = &handler_section,
	KEYS(http_keys),
	.refusal = ONLY_LOGFILE,
	.help = "the log goes to a web server",
};

static const struct schema_key email_keys[] = {
	{ "from", TYPE_STRING, NULL, KEY_REQUIRED, NO, NULL, "sender" },
	{ "to", TYPE_STRING, NULL, KEY_REQUIRED | KEY_MULTI, NO, NULL, "receiver" },
	{ "subject", TYPE_STRING, "Message from Zope", 0, NO, NULL, "subject" },
	{ "smtp-server", TYPE_BIND_ADDRESS, "localhost", 0, NO, NULL, "mail server" },
	{ "smtp-username", TYPE_STRING, "", 0, NO, NULL, "user name" },
	{ "smtp-password", TYPE_STRING, "", 0, NO, NULL, "its password" },
	{ "format", TYPE_LOG_FORMAT, "%(asctime)s %(levelname)s %(name)s %(message)s", 0, NO, NULL,
		"how a line is written" },
};

static const struct schema_section email_section = {
	.type = "email-notifier",
	.class = CLASS_HANDLER,
	.extends = &handler_section,
	KEYS(email_keys),
	.refusal = ONLY_LOGFILE,
	.help = "the log goes to people by mail",
};

/* <runner>: for zdaemon, which reads the same file. Its values are checked as far as a type
 * of ZConfig itself does. */

static const struct schema_key runner_keys[] = {
	{ "program", TYPE_STRING, NULL, KEY_REQUIRED, NO, NULL, "what zdaemon runs" },
	{ "python", TYPE_EXISTING_PATH, NULL, 0, NO, NULL, "the Python interpreter" },
	{ "zdrun", TYPE_EXISTING_PATH, NULL, 0, NO, NULL, "the zdrun.py script" },
	{ "socket-name", TYPE_STRING, "zdsock", 0, NO, NULL, "zdaemon's socket" },
	{ "daemon", TYPE_BOOLEAN, "on", 0, NO, NULL, "run in the background" },
	{ "directory", TYPE_STRING, NULL, 0, NO, NULL, "working directory" },
	{ "backoff-limit", TYPE_INTEGER, "10", 0, NO, NULL, "longest pause before a restart" },
	{ "forever", TYPE_BOOLEAN, "false", 0, NO, NULL, "restart without an end" },
	{ "exit-codes", TYPE_STRING, "0,2", 0, NO, NULL, "exit codes without a restart" },
	{ "start-test-program", TYPE_STRING, NULL, 0, NO, NULL, "tells whether it has started" },
	{ "start-timeout", TYPE_INTEGER, "300", 0, NO, NULL, "seconds for that" },
	{ "stop-timeout", TYPE_INTEGER, "300", 0, NO, NULL, "seconds for a stop" },
	{ "user", TYPE_STRING, NULL, 0, NO, NULL, "user to run as" },
	{ "umask", TYPE_STRING, "022", 0, NO, NULL, "umask" },
	{ "hang-around", TYPE_BOOLEAN, "false", 0, NO, NULL, "stay when the program stops" },
	{ "default-to-interactive", TYPE_BOOLEAN, "true", 0, NO, NULL, "zdctl's mode" },
	{ "logfile", TYPE_DIRPATH, NULL, 0, NO, NULL, "what zdctl's logtail shows" },
	{ "transcript", TYPE_DIRPATH, NULL, 0, NO, NULL, "file for the program's output" },
	{ "prompt", TYPE_STRING, NULL, 0, NO, NULL, "zdctl's prompt" },
};

static const struct schema_child runner_children[] = { { .class = CLASS_LOG } };

static const struct schema_section runner_section = {
	.type = "runner",
	KEYS(runner_keys),
	CHILDREN(runner_children),
	.ignored = true,
	.help = "settings of zdaemon, which this server reads over",
};

/* The whole file */

static const struct schema_child file_children[] = {
	{ .type = "zeo", .required = true },
	{ .type = "runner" },
	{ .class = CLASS_STORAGE, .required = true, .multi = true },
	{ .type = "eventlog" },
	{ .type = "zookeeper" },
	{ .type = "conflict-resolver" },
};

static const struct schema_section file_section = {
	.type = "",
	CHILDREN(file_children),
	.help = "the whole file",
};

const struct schema_section *const schema_sections[] = {
	&file_section,
	&zeo_section,
	&ssl_section,
	&zookeeper_section,
	&resolver_section,
	&filestorage_section,
	&mappingstorage_section,
	&demostorage_section,
	&blobstorage_section,
	&zlibstorage_section,
	&serverzlibstorage_section,
	&zeoclient_section,
	&zkzeoclient_section,
	&clientstorage_section,
	&fullstorage_section,
	&minimalstorage_section,
	&eventlog_section,
	&logger_section,
	&logfile_section,
	&syslog_section,
	&win32_section,
	&http_section,
	&email_section,
	&runner_section,
};
const size_t schema_sections_n = ARRAY_LEN(schema_sections);
