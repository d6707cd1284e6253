/* What a file and the command line mean to the server, and what is refused. */
#include "cmocka_all.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/mem.h"
#include "config/schema.h"
#include "config/server_config.h"

#define ZEO     "<zeo>\naddress 8100\n</zeo>\n"
#define MAPPING "<mappingstorage/>\n"
#define FILE_1  "<filestorage>\npath Data.fs\n</filestorage>\n"

static struct server_config *config;
static char folder[] = "/tmp/server-config-XXXXXX";

static int enter_folder(void **state)
{
	unsetenv("ZC_ZK_CONNECTION_STRING");
	unsetenv("ZEO_MSGPACK");
	return !mkdtemp(folder) || chdir(folder);
}

static int leave_folder(void **state)
{
	unlink("t.conf");
	return chdir("/") || rmdir(folder);
}

static int free_config(void **state)
{
	server_config_free(config);
	config = NULL;
	return 0;
}

static void write_config(const char *text)
{
	FILE *f = fopen("t.conf", "w");

	assert_non_null(f);
	fputs(text, f);
	fclose(f);
}

static const struct server_config *load(const char *text)
{
	struct err e = ERR_INIT;

	free_config(NULL);
	write_config(text);
	if (server_config_load("t.conf", &config, &e))
		fail_msg("%s", e.text);
	return config;
}

static void expect(const char *text, int code, const char *expected)
{
	struct server_config *c = NULL;
	struct err e = ERR_INIT;

	write_config(text);
	assert_int_equal(server_config_load("t.conf", &c, &e), code);
	assert_string_equal(e.text, expected);
	assert_int_equal(e.code, code);
	assert_null(c);
}

static void expect_error(const char *text, const char *expected)
{
	expect(text, ERR_INVAL, expected);
}

/* Right, but not offered: read() takes it, load() does not. */
static void expect_refused(const char *text, const char *expected)
{
	struct err e = ERR_INIT;

	expect(text, ERR_UNSUPPORTED, expected);
	free_config(NULL);
	if (server_config_read("t.conf", NULL, &config, &e))
		fail_msg("%s", e.text);
	assert_int_equal(server_config_check_offered(config, &e), ERR_UNSUPPORTED);
	assert_string_equal(e.text, expected);
}

static void test_defaults(void **state)
{
	const struct server_config *c = load(ZEO FILE_1);
	const struct config_storage *s = c->storages;

	assert_int_equal(c->address.port, 8100);
	assert_string_equal(c->address.host, "");
	assert_false(c->read_only);
	assert_int_equal(c->invalidation_queue_size, 100);
	assert_true(c->invalidation_age_s < 0);
	assert_true(c->transaction_timeout_s == 0);
	assert_null(c->pid_filename);
	assert_false(c->client_conflict_resolution);
	assert_false(c->msgpack);
	assert_null(c->ssl);
	assert_false(c->eventlog.present);
	assert_int_equal(c->eventlog.level, LOG_INFO);
	assert_int_equal(c->storages_n, 1);
	assert_string_equal(s->name, "1");
	assert_int_equal(s->kind, CONFIG_FILESTORAGE);
	assert_string_equal(s->filestorage.path, "Data.fs");
	assert_null(s->filestorage.blob_dir);
	assert_false(s->filestorage.create);
	assert_false(s->filestorage.read_only);
	assert_int_equal(s->filestorage.quota_bytes, 0);
	assert_true(s->filestorage.pack_gc);
	assert_true(s->filestorage.pack_keep_old);
	assert_null(c->refused);
}

static void test_zookeeper_defaults(void **state)
{
	const struct server_config *c = load(ZEO MAPPING);

	assert_false(c->zookeeper.present);
	c = load(ZEO MAPPING "<zookeeper/>");
	assert_true(c->zookeeper.present);
	assert_string_equal(c->zookeeper.connection, "127.0.0.1:2181");
	assert_null(c->zookeeper.path);
	assert_int_equal(c->zookeeper.session_timeout_ms, 10000);
	assert_null(c->zookeeper.advertise);
	assert_null(c->zookeeper.monitor_server);
	assert_int_equal(c->zookeeper.monitor_commands_n, 0);
}

static void test_environment(void **state)
{
	const struct server_config *c;

	setenv("ZC_ZK_CONNECTION_STRING", "zk9:2181", 1);
	setenv("ZEO_MSGPACK", "1", 1);
	c = load(ZEO MAPPING "<zookeeper/>");
	assert_string_equal(c->zookeeper.connection, "zk9:2181");
	assert_true(c->msgpack);
	c = load("<zeo>\naddress 1\nmsgpack false\n</zeo>\n" MAPPING
		 "<zookeeper>\nconnection zk1\n</zookeeper>");
	assert_string_equal(c->zookeeper.connection, "zk1");
	assert_false(c->msgpack);
	unsetenv("ZC_ZK_CONNECTION_STRING");
	unsetenv("ZEO_MSGPACK");
}

static void check_full_zeo(const struct server_config *c)
{
	assert_string_equal(c->address.host, "localhost");
	assert_int_equal(c->address.port, 8100);
	assert_true(c->read_only);
	assert_int_equal(c->invalidation_queue_size, 250);
	assert_true(c->transaction_timeout_s == 30);
	assert_string_equal(c->pid_filename, "zeo.pid");
	assert_true(c->client_conflict_resolution);
	assert_true(c->msgpack);
}

static void check_full_zookeeper(const struct config_zookeeper *z)
{
	assert_string_equal(z->connection, "zk1:2181,zk2:2181/chroot");
	assert_string_equal(z->path, "/databases/main");
	assert_int_equal(z->session_timeout_ms, 4000);
	assert_string_equal(z->monitor_server->host, "127.0.0.1");
	assert_int_equal(z->monitor_server->port, 9100);
	assert_string_equal(z->advertise, "db.example.com");
	assert_int_equal(z->monitor_commands_n, 2);
	assert_string_equal(z->monitor_commands[0].name, "disk");
	assert_string_equal(z->monitor_commands[0].program, "/bin/df -h");
	assert_string_equal(z->monitor_commands[1].name, "load");
}

static void check_full_storages(const struct server_config *c)
{
	const struct config_storage *s = c->storages;

	assert_int_equal(c->storages_n, 2);
	assert_string_equal(s->name, "main");
	assert_int_equal(s->line, 26);
	assert_string_equal(s->filestorage.path, "data.fs");
	assert_true(s->filestorage.create);
	assert_true(s->filestorage.read_only);
	assert_int_equal(s->filestorage.quota_bytes, 10ull << 30);
	assert_string_equal(s[1].name, "temporary");
	assert_int_equal(s[1].kind, CONFIG_MAPPINGSTORAGE);
	assert_string_equal(s[1].mapping.name, "In memory");
}

static void check_full_log(const struct config_eventlog *log)
{
	const struct logfile_options *o = log->logfiles;

	assert_true(log->present);
	assert_int_equal(log->level, LOG_DEBUG);
	assert_int_equal(log->logfiles_n, 3);
	assert_string_equal(o[0].path, "zeo.log");
	assert_int_equal(o[0].level, LOG_WARNING);
	assert_string_equal(o[0].format, "%(asctime)s\t%(message)s");
	assert_string_equal(o[0].dateformat, "%H:%M");
	assert_int_equal(o[0].max_size, 10 << 20);
	assert_int_equal(o[0].old_files, 5);
	assert_int_equal(o[0].when, LOGFILE_NEVER);
	assert_true(o[0].delay);
	assert_int_equal(o[1].when, LOGFILE_WEEKDAY);
	assert_int_equal(o[1].weekday, 0);
	assert_int_equal(o[1].interval, 2);
	assert_string_equal(o[2].path, "STDERR");
	assert_int_equal(o[2].level, 0);
	assert_string_equal(o[2].format, LOGFILE_FORMAT);
	assert_string_equal(o[2].dateformat, LOGFILE_DATEFORMAT);
}

static void test_full(void **state)
{
	struct err e = ERR_INIT;

	if (server_config_load(SOURCE_ROOT "/tests/data/config/full.conf", &config, &e))
		fail_msg("%s", e.text);
	check_full_zeo(config);
	check_full_zookeeper(&config->zookeeper);
	check_full_storages(config);
	check_full_log(&config->eventlog);
}

static void test_monitor_server(void **state)
{
	const struct server_config *c = load("<zeo>\naddress 10.0.0.1:8100\n</zeo>\n" MAPPING
					     "<zookeeper>\nmonitor-server true\n</zookeeper>");

	assert_string_equal(c->zookeeper.monitor_server->host, "10.0.0.1");
	assert_int_equal(c->zookeeper.monitor_server->port, 0);
	c = load("<zeo>\naddress ./s\n</zeo>\n" MAPPING
		 "<zookeeper>\nmonitor-server true\n</zookeeper>");
	assert_string_equal(c->zookeeper.monitor_server->host, "127.0.0.1");
	c = load(ZEO MAPPING "<zookeeper>\nmonitor-server no\n</zookeeper>");
	assert_null(c->zookeeper.monitor_server);
	c = load(ZEO MAPPING "<zookeeper>\nmonitor-server ./m.sock\n</zookeeper>");
	assert_int_equal(c->zookeeper.monitor_server->family, ADDRESS_UNIX);
}

static void test_keys(void **state)
{
	expect_error("<zeo>\nadress 1\n</zeo>",
		"t.conf:2: the key 'adress' was found in <zeo>: one of address, read-only, "
		"invalidation-queue-size, invalidation-age, transaction-timeout, pid-filename, "
		"client-conflict-resolution, msgpack, worker-threads was expected");
	expect_error(
		"key 1\n", "t.conf:1: the key 'key' was found: only sections were expected here");
	expect_error("<zeo>\naddress 1\nAddress 2\n</zeo>",
		"t.conf:3: the key 'address' was found again: line 2 of 't.conf' has it, and one "
		"was expected");
	expect_error("<zeo>\n</zeo>\n" MAPPING,
		"t.conf:1: <zeo> was found without the key 'address', which is required");
	expect_error(
		"<zeo>\naddress\n</zeo>", "t.conf:2: the key 'address' was found without a value");
}

static void test_values(void **state)
{
	expect_error("<zeo>\naddress 1\nread-only maybe\n</zeo>",
		"t.conf:3: read-only: 'maybe' was found: true, yes, on, false, no or off was "
		"expected");
	expect_error("<zeo>\naddress x:y\n</zeo>",
		"t.conf:2: address: 'y' in the address 'x:y' is not a port: a number from 0 to "
		"65535 was expected");
	expect_error("<zeo>\naddress a b:1\n</zeo>",
		"t.conf:2: address: 'a b' in the address 'a b:1' is not a host: a name or a number "
		"was expected");
	expect_error("<zeo>\naddress 1\ntransaction-timeout 1.5\n</zeo>",
		"t.conf:3: transaction-timeout: '1.5' was found: a whole number from 0 to "
		"4294967295 was expected");
	expect_error("<filestorage>\npath no/Data.fs\n</filestorage>",
		"t.conf:2: path: 'no/Data.fs' was found: a path in a folder that exists was "
		"expected, and 'no/' is none");
	expect_error("<filestorage>\npath x\nquota many\n</filestorage>",
		"t.conf:3: quota: 'many' was found: a number of bytes, perhaps with KB, MB or GB, "
		"was expected");
	expect_error("<zookeeper>\nmonitor-command x\n</zookeeper>",
		"t.conf:2: monitor-command: 'x' was found: the name of a command and a program "
		"were expected");
	expect_error(ZEO MAPPING "<zookeeper>\nconnection\n</zookeeper>",
		"t.conf:6: the key 'connection' was found without a value");
}

static void test_sections(void **state)
{
	expect_error("<zoe/>", "t.conf:1: <zoe> was found: no section of this type is known");
	expect_error(
		"<ssl/>", "t.conf:1: <ssl> was found outside of the section that it belongs to");
	expect_error("<zeo>\naddress 1\n<mappingstorage/>\n</zeo>",
		"t.conf:3: <mappingstorage> was found in <zeo>, where it has no place");
	expect_error(ZEO ZEO, "t.conf:4: <zeo> was found: one was expected, and it is there");
	expect_error(MAPPING, "t.conf:1: the file ends without <zeo>, which is required");
	expect_error(ZEO, "t.conf:3: the file ends without a storage, which is required");
	expect_error("<zlibstorage>\n</zlibstorage>",
		"t.conf:1: <zlibstorage> was found: '%import zc.zlibstorage' was expected before "
		"it");
	expect_error("%import relstorage",
		"t.conf:1: %import of 'relstorage' was found: ZEO, ZODB, zc.zkzeo, "
		"zc.zlibstorage, zdaemon or ZConfig.components.logger was expected");
}

static void test_storage_names(void **state)
{
	const struct server_config *c =
		load(ZEO "<mappingstorage A/>\n<mappingstorage/>\n<mappingstorage b/>\n");

	assert_string_equal(c->storages[0].name, "a");
	assert_string_equal(c->storages[1].name, "1");
	assert_string_equal(c->storages[2].name, "b");
	assert_string_equal(c->storages[0].mapping.name, "Mapping Storage");
	expect_error(ZEO "<mappingstorage a/>\n<mappingstorage A/>\n",
		"t.conf:5: <mappingstorage a> was found: line 4 of 't.conf' uses this name, and "
		"another one was expected");
	expect_error(ZEO "<mappingstorage 1/>\n<mappingstorage/>\n",
		"t.conf:5: a storage without a name, which is then called 1, was found: the "
		"storage of line 4 of 't.conf' is called so, and another name was expected");
	expect_error(ZEO "<mappingstorage/>\n<mappingstorage/>\n",
		"t.conf:5: a storage without a name, which is then called 1, was found: the "
		"storage of line 4 of 't.conf' is called so, and another name was expected");
}

static void test_logfile_rules(void **state)
{
#define EXPECT_LOG(keys, expected)                                                                 \
	expect_error(ZEO MAPPING "<eventlog>\n<logfile>\n" keys "\n</logfile>\n</eventlog>",       \
		"t.conf:" expected)
	EXPECT_LOG("path x\nmax-size 1KB",
		"6: rotation was found without 'old-files', which is required for it");
	EXPECT_LOG("path x\nmax-size 1KB\nwhen D\nold-files 1",
		"6: 'max-size' and 'when' were found: one was expected");
	EXPECT_LOG("path x\nold-files 1",
		"6: 'old-files' was found without 'max-size' or 'when', one of which was expected");
	EXPECT_LOG("path x\ninterval 1",
		"6: rotation was found without 'old-files', which is required for it");
	EXPECT_LOG("path STDOUT\nwhen D",
		"6: rotation of STDOUT was found: a file was expected for it");
	EXPECT_LOG("path STDERR\ndelay on",
		"6: delayed opening of STDERR was found: a file was expected for it");
	EXPECT_LOG("path STDERR\nencoding utf8",
		"6: an encoding of STDERR was found: a file was expected for it");
	EXPECT_LOG("path x\nwhen W8",
		"8: when: 'W8' was found: S, M, H, D, MIDNIGHT or W0 to W6 (Monday to Sunday) was "
		"expected");
	EXPECT_LOG("path x\nlevel loud",
		"8: level: 'loud' was found: critical, error, warning, info, blather, debug, "
		"trace, all, notset or a number from 0 to 50 was expected");
	EXPECT_LOG("path x\nencoding latin-1",
		"8: encoding: 'latin-1' was found: utf-8 was expected, in which all logs are "
		"written");
	EXPECT_LOG("path x\nformat %(message)d",
		"8: format: 'd' was found after %(message): one of the conversions 's' was "
		"expected");
#undef EXPECT_LOG
}

static void test_eventlog_without_handlers(void **state)
{
	const struct server_config *c = load(ZEO MAPPING "<eventlog/>");

	assert_true(c->eventlog.present);
	assert_int_equal(c->eventlog.logfiles_n, 0);
}

#define STORAGE(keys) ZEO "<filestorage>\npath x\n" keys "\n</filestorage>"

static void test_refused_filestorage(void **state)
{
	expect_refused(STORAGE("packer my.packer"),
		"t.conf:6: 'packer' in <filestorage> is not offered: it names a Python function, "
		"and this server packs by itself");
}

static void test_pack_keys(void **state)
{
	const struct config_storage *s;

	s = load(STORAGE("pack-gc OFF\npack-keep-old no\npack-bandwidth 20MB"))->storages;
	assert_false(s->filestorage.pack_gc);
	assert_false(s->filestorage.pack_keep_old);
	assert_int_equal(s->filestorage.pack_bandwidth, 20 << 20);
	free_config(NULL);
	s = load(STORAGE("pack-gc YES\npack-keep-old on"))->storages;
	assert_true(s->filestorage.pack_gc);
	assert_true(s->filestorage.pack_keep_old);
	assert_int_equal(s->filestorage.pack_bandwidth, 0);
}

static void test_refused_zeo(void **state)
{
	assert_true(load("<zeo>\naddress 1\ninvalidation-age 5.5\n</zeo>\n" MAPPING)
			    ->invalidation_age_s == 5.5);
	expect_refused("<zeo>\naddress 1\n<ssl>\ncertificate c\npassword-function a.b\n"
		       "authenticate SIGNED\n</ssl>\n</zeo>\n" MAPPING,
		"t.conf:5: 'password-function' in <ssl> is not offered: it names a Python "
		"function. 'password-command' takes a program that prints the pass phrase");
}

static void test_worker_threads(void **state)
{
	assert_int_equal(load(ZEO MAPPING)->worker_threads, 0);
	assert_int_equal(
		load("<zeo>\naddress 1\nworker-threads 3\n</zeo>\n" MAPPING)->worker_threads, 3);
	expect_error("<zeo>\naddress 1\nworker-threads 0\n</zeo>\n" MAPPING,
		"t.conf:3: '0' was found in 'worker-threads': 1 to 1024 were expected");
	expect_error("<zeo>\naddress 1\nworker-threads 1025\n</zeo>\n" MAPPING,
		"t.conf:3: '1025' was found in 'worker-threads': 1 to 1024 were expected");
}

#define RESOLVER(keys) ZEO MAPPING "<conflict-resolver>\n" keys "</conflict-resolver>\n"

static void test_conflict_resolver(void **state)
{
	const struct config_resolver *r;

	assert_null(load(ZEO MAPPING)->resolver);
	free_config(NULL);
	r = load(RESOLVER(""))->resolver;
	assert_string_equal(r->python, "python3");
	assert_int_equal(r->path_n, 0);
	assert_int_equal(r->processes, 1);
	assert_true(r->timeout_s == 10);
	free_config(NULL);
	r = load(RESOLVER("python /opt/app/bin/python\npath /a::/b c:\npath d\nprocesses 3\n"
			  "timeout 0.5\n"))
		    ->resolver;
	assert_string_equal(r->python, "/opt/app/bin/python");
	assert_int_equal(r->path_n, 3);
	assert_string_equal(r->path[0], "/a");
	assert_string_equal(r->path[1], "/b c");
	assert_string_equal(r->path[2], "d");
	assert_int_equal(r->processes, 3);
	assert_true(r->timeout_s == 0.5);
	expect_error(RESOLVER("processes 0\n"),
		"t.conf:6: '0' was found in 'processes': 1 to 64 were expected");
	expect_error(RESOLVER("processes 65\n"),
		"t.conf:6: '65' was found in 'processes': 1 to 64 were expected");
	expect_error(RESOLVER("timeout nan\n"),
		"t.conf:6: timeout: 'nan' was found: a number was expected");
	expect_error(RESOLVER("timeout 0\n"),
		"t.conf:6: '0' was found in 'timeout': seconds from 0.001 to 3600 were expected");
}

#define SSL(keys) "<zeo>\naddress 1\n<ssl>\n" keys "\n</ssl>\n</zeo>\n" MAPPING

static void test_ssl(void **state)
{
	const struct config_ssl *ssl = load(SSL("authenticate SIGNED\ncertificate c"))->ssl;

	assert_string_equal(ssl->certificate, "c");
	assert_string_equal(ssl->authenticate, "SIGNED");
	assert_null(ssl->key);
	assert_null(ssl->password_command);
	assert_string_equal(ssl->certificate_at.file, "t.conf");
	assert_int_equal(ssl->certificate_at.line, 5);
	assert_int_equal(ssl->key_at.line, 5);
	assert_int_equal(ssl->authenticate_at.line, 4);
	ssl = load(SSL("certificate c\nauthenticate a\nkey k\n"
		       "password-command cat '/a b' | tail -n 1"))
		      ->ssl;
	assert_string_equal(ssl->key, "k");
	assert_int_equal(ssl->key_at.line, 6);
	assert_string_equal(ssl->password_command, "cat '/a b' | tail -n 1");
	assert_int_equal(ssl->password_command_at.line, 7);
	expect_error(SSL("certificate c"),
		"t.conf:3: <ssl> was found without the key 'authenticate', which is required");
}

static void test_nested_storages(void **state)
{
	load(ZEO "<demostorage>\n<filestorage>\npath x\n</filestorage>\n"
		 "<mappingstorage changes/>\n</demostorage>");
	assert_int_equal(config->storages->demo.base->kind, CONFIG_FILESTORAGE);
	assert_int_equal(config->storages->demo.changes->kind, CONFIG_MAPPINGSTORAGE);
	load("%import zc.zlibstorage\n" ZEO
	     "<zlibstorage>\ncompress no\n<mappingstorage/>\n</zlibstorage>");
	assert_false(config->storages->zlib.compress);
	assert_int_equal(config->storages->zlib.base->kind, CONFIG_MAPPINGSTORAGE);
	load("%import zc.zlibstorage\n" ZEO
	     "<serverzlibstorage>\n<mappingstorage/>\n</serverzlibstorage>");
	assert_int_equal(config->storages->kind, CONFIG_SERVERZLIBSTORAGE);
	assert_true(config->storages->zlib.compress);
}

static void test_refused_storages(void **state)
{
	load(ZEO "<blobstorage>\nblob-dir b\n<mappingstorage/>\n</blobstorage>");
	assert_string_equal(config->storages->blob.blob_dir, "b");
	expect_refused("%import zc.zlibstorage\n" ZEO
		       "<zlibstorage>\ncompress no\n<fullstorage>\nenvdir x\n</fullstorage>\n"
		       "</zlibstorage>",
		"t.conf:7: <fullstorage> is not offered: ZODB itself has dropped its Berkeley DB "
		"storages");
}

static void test_refused_berkeley(void **state)
{
	expect_refused(ZEO "<fullstorage>\nenvdir x\n</fullstorage>",
		"t.conf:4: <fullstorage> is not offered: ZODB itself has dropped its Berkeley DB "
		"storages");
	expect_refused(ZEO "<minimalstorage>\nenvdir x\n</minimalstorage>",
		"t.conf:4: <minimalstorage> is not offered: ZODB itself has dropped its Berkeley "
		"DB storages");
}

static const struct config_client *read_client(const char *text)
{
	return &load(text)->storages->client;
}

/* As ZODB's schema and ClientStorage have them. */
static void test_zeoclient_defaults(void **state)
{
	const struct config_client *c = read_client(ZEO "<zeoclient>\nserver 8100\n</zeoclient>");

	assert_int_equal(config->storages->kind, CONFIG_ZEOCLIENT);
	assert_int_equal(c->servers_n, 1);
	assert_string_equal(c->servers[0].host, "127.0.0.1");
	assert_int_equal(c->servers[0].port, 8100);
	assert_null(c->zookeeper);
	assert_string_equal(c->storage, "1");
	assert_string_equal(c->name, "");
	assert_int_equal(c->cache_bytes, 20 << 20);
	assert_int_equal(c->blob_cache_bytes, 0);
	assert_int_equal(c->blob_cache_check, 10);
	assert_true(c->wait);
	assert_int_equal(c->wait_timeout_s, 30);
	assert_int_equal(c->min_poll_s, 5);
	assert_int_equal(c->max_poll_s, 300);
	assert_false(c->read_only || c->read_only_fallback || c->shared_blob_dir);
	assert_true(!c->client && !c->var && !c->cache_path && !c->blob_dir && !c->ssl);
}

static void test_zeoclient_keys(void **state)
{
	const struct config_client *c = read_client(
		ZEO "<zeoclient main>\nserver a:1\nserver /run/zeo.sock\nblob-dir "
		    "b\nshared-blob-dir on\n"
		    "blob-cache-size 1MB\nblob-cache-size-check 20\nstorage main\ncache-size 2MB\n"
		    "name n\nclient cl\nvar /v\nmin-disconnect-poll 2\nmax-disconnect-poll 3\nwait "
		    "off\n"
		    "read-only-fallback on\nusername u\npassword p\nrealm r\n"
		    "drop-cache-rather-verify on\nclient-label l\n</zeoclient>");

	assert_string_equal(config->storages->name, "main");
	assert_int_equal(c->servers_n, 2);
	assert_string_equal(c->servers[1].path, "/run/zeo.sock");
	assert_string_equal(c->blob_dir, "b");
	assert_true(c->shared_blob_dir);
	assert_int_equal(c->blob_cache_bytes, 1 << 20);
	assert_int_equal(c->blob_cache_check, 20);
	assert_string_equal(c->storage, "main");
	assert_int_equal(c->cache_bytes, 2 << 20);
	assert_string_equal(c->name, "n");
	assert_string_equal(c->client, "cl");
	assert_string_equal(c->var, "/v");
	assert_int_equal(c->min_poll_s, 2);
	assert_int_equal(c->max_poll_s, 3);
	assert_false(c->wait);
	assert_true(c->read_only_fallback);
	assert_string_equal(c->label, "l");
}

static void test_zkzeoclient(void **state)
{
	const struct config_client *c = read_client(
		"%import zc.zkzeo\n" ZEO
		"<zkzeoclient>\nserver /db\nzookeeper zk:2181\nwait-timeout 7\ncache-path c.zec\n"
		"server-sync on\n<ssl>\ncheck-hostname off\n</ssl>\n</zkzeoclient>");

	assert_int_equal(config->storages->kind, CONFIG_ZKZEOCLIENT);
	assert_string_equal(c->zookeeper, "zk:2181");
	assert_string_equal(c->path, "/db");
	assert_int_equal(c->servers_n, 0);
	assert_int_equal(c->wait_timeout_s, 7);
	assert_string_equal(c->cache_path, "c.zec");
	assert_int_equal(c->min_poll_s, 5);
	assert_false(c->ssl->check_hostname);
	assert_null(c->ssl->certificate);
	expect_error("%import zc.zkzeo\n" ZEO
		     "<zkzeoclient>\nserver /a\nserver /b\nzookeeper z:1\n</zkzeoclient>",
		"t.conf:7: the key 'server' was found again: line 6 of 't.conf' has it, and one "
		"was expected");
	expect_error("%import zc.zkzeo\n" ZEO "<zkzeoclient>\nserver /a\n</zkzeoclient>",
		"t.conf:5: <zkzeoclient> was found without the key 'zookeeper', which is required");
	expect_error("%import zc.zkzeo\n" ZEO
		     "<zkzeoclient>\nserver a:1\nzookeeper z:1\n</zkzeoclient>",
		"t.conf:6: 'a:1' was found in 'server': a path in ZooKeeper was expected");
}

static void test_clientstorage(void **state)
{
	const struct config_client *c = read_client(
		"%import ZEO\n" ZEO "<clientstorage>\nserver a:1\ncache-path c.zec\nwait-timeout "
		"3\nread-only on\n<ssl>\n"
		"certificate c.pem\nkey k.pem\npassword-command pass\nauthenticate a.pem\n"
		"server-hostname zeo\n</ssl>\n</clientstorage>");

	assert_int_equal(config->storages->kind, CONFIG_ZEOCLIENT);
	assert_string_equal(c->cache_path, "c.zec");
	assert_int_equal(c->wait_timeout_s, 3);
	assert_true(c->wait && c->read_only);
	assert_int_equal(c->min_poll_s, 1);
	assert_string_equal(c->ssl->certificate, "c.pem");
	assert_string_equal(c->ssl->key, "k.pem");
	assert_string_equal(c->ssl->password_command, "pass");
	assert_string_equal(c->ssl->authenticate, "a.pem");
	assert_true(c->ssl->check_hostname);
	assert_string_equal(c->ssl->server_hostname, "zeo");
	assert_int_equal(c->ssl->password_command_at.line, 13);
	expect_error("%import ZEO\n" ZEO
		     "<clientstorage>\nserver a:1\nread-only on\nread-only-fallback on\n"
		     "</clientstorage>",
		"t.conf:5: 'read-only' and 'read-only-fallback' were found in <clientstorage>: "
		"one was expected");
	expect_error(ZEO "<zeoclient>\nserver a:1\nblob-cache-size-check 100\n</zeoclient>",
		"t.conf:6: '100' was found in 'blob-cache-size-check': 0 to 99 were expected");
}

static void test_refused_log(void **state)
{
	expect_refused(ZEO MAPPING "<eventlog>\n<syslog/>\n</eventlog>",
		"t.conf:6: <syslog> is not offered yet: use <logfile>, and a program that "
		"forwards it");
	expect_refused(ZEO MAPPING "<eventlog>\n<email-notifier>\nfrom a\nto b\nto c\n"
				   "</email-notifier>\n</eventlog>",
		"t.conf:6: <email-notifier> is not offered yet: use <logfile>, and a program that "
		"forwards it");
	expect_refused(ZEO MAPPING "<eventlog>\n<http-logger/>\n</eventlog>",
		"t.conf:6: <http-logger> is not offered yet: use <logfile>, and a program that "
		"forwards it");
	expect_refused(ZEO MAPPING "<eventlog>\n<logfile>\npath x\nstyle Template\n</logfile>\n"
				   "</eventlog>",
		"t.conf:8: 'style' in <logfile> is not offered: only style classic, with %(name)s "
		"fields, is");
	expect(ZEO MAPPING "<eventlog>\n<logfile>\npath x\nformat {message}\nstyle format\n"
			   "</logfile>\n</eventlog>",
		ERR_UNSUPPORTED,
		"t.conf:9: 'style' in <logfile> is not offered: only style classic, with %(name)s "
		"fields, is");
	expect_refused(ZEO MAPPING "<eventlog>\n<logfile>\npath x\nformatter a.B\n</logfile>\n"
				   "</eventlog>",
		"t.conf:8: 'formatter' in <logfile> is not offered: it names a Python class; use "
		"format and dateformat");
}

static void test_demostorage_bases(void **state)
{
	expect_error(ZEO "<demostorage>\n<mappingstorage/>\n<mappingstorage x/>\n</demostorage>",
		"t.conf:6: <mappingstorage> was found in <demostorage>: line 5 of 't.conf' is its "
		"base, and a storage named 'changes' was expected");
	expect_error(ZEO "<blobstorage>\nblob-dir b\n</blobstorage>",
		"t.conf:4: <blobstorage> was found without a storage, which is required");
}

static void test_overrides(void **state)
{
	const char *files[] = { "one.fs", "two.fs" };
	const struct config_overrides o = {
		.address = "localhost:9",
		.filenames = files,
		.filenames_n = 2,
		.timeout = "1.5",
		.pid_filename = "p",
	};
	struct err e = ERR_INIT;

	write_config(ZEO "<demostorage/>");
	if (server_config_load_with("t.conf", &o, &config, &e))
		fail_msg("%s", e.text);
	assert_string_equal(config->address.host, "localhost");
	assert_int_equal(config->address.port, 9);
	assert_true(config->transaction_timeout_s == 1.5);
	assert_string_equal(config->pid_filename, "p");
	assert_int_equal(config->storages_n, 2);
	assert_string_equal(config->storages[1].name, "2");
	assert_int_equal(config->storages[1].kind, CONFIG_FILESTORAGE);
	assert_string_equal(config->storages[1].filestorage.path, "two.fs");
	assert_true(config->storages[1].filestorage.pack_gc);
}

static void expect_override_error(const struct config_overrides *o, const char *expected)
{
	struct err e = ERR_INIT;

	assert_int_equal(server_config_load_with(NULL, o, &config, &e), ERR_INVAL);
	assert_string_equal(e.text, expected);
}

static void test_without_a_file(void **state)
{
	const char *files[] = { "one.fs" };
	struct config_overrides o = { .filenames = files };
	struct err e = ERR_INIT;

	expect_override_error(&o, "no server address specified; use -a or -C");
	expect_override_error(NULL, "no server address specified; use -a or -C");
	o.address = "x:y";
	expect_override_error(&o, "no storages specified; use -f or -C");
	o.filenames_n = 1;
	expect_override_error(&o,
		"-a: 'y' in the address 'x:y' is not a port: a number from 0 to 65535 was "
		"expected");
	o.address = ":0";
	o.timeout = "soon";
	expect_override_error(&o, "-t: 'soon' was found: a number was expected");
	o.timeout = "-1";
	expect_override_error(&o, "-t: '-1' was found: 0 or more was expected");
	o.timeout = NULL;
	if (server_config_load_with(NULL, &o, &config, &e))
		fail_msg("%s", e.text);
	assert_int_equal(config->invalidation_queue_size, 100);
	assert_false(config->zookeeper.present);
	assert_string_equal(config->storages->name, "1");
}

static void test_missing_file(void **state)
{
	struct err e = ERR_INIT;

	assert_int_equal(server_config_load("none.conf", &config, &e), ERR_NOENT);
	assert_string_equal(e.text, "cannot open 'none.conf': No such file or directory");
}

static int allocations_left;

static int fail_allocation(void)
{
	return allocations_left-- <= 0;
}

/* Wherever memory runs out, the error says so and nothing is lost. */
static void test_no_memory(void **state)
{
	struct err e = ERR_INIT;
	int rc = ERR_NOMEM;
	int n;

	write_config("%define name X\n" ZEO "<filestorage $name-$name>\npath Data.fs\n"
		     "</filestorage>\n<mappingstorage>\nname $name$$\n</mappingstorage>\n"
		     "<demostorage d>\n<fullstorage>\nenvdir a\n</fullstorage>\n</demostorage>\n"
		     "<zookeeper/>\n<eventlog>\n<logfile>\npath x\n"
		     "</logfile>\n</eventlog>\n");
	for (n = 0; rc != OK; n++) {
		allocations_left = n;
		mem_fault_hook = fail_allocation;
		rc = server_config_read("t.conf", NULL, &config, &e);
		mem_fault_hook = NULL;
		if (rc != OK && (rc != ERR_NOMEM || e.code != rc))
			fail_msg("after %d allocations: %s", n, e.text);
	}
	assert_true(n > 3);
	assert_non_null(config->refused);
}

/* Every row of the tables is right, and described in the documentation. */
static char *read_documentation(void)
{
	FILE *f = fopen(SOURCE_ROOT "/docs/configuration.md", "r");
	static char text[256 * 1024];
	size_t n;

	assert_non_null(f);
	n = fread(text, 1, sizeof(text) - 1, f);
	text[n] = 0;
	fclose(f);
	return text;
}

/* The part of the text that is headed by the section, up to the next heading of the same
 * depth. */
static const char *part_of(const char *text, const char *type, size_t *ret_len)
{
	char heading[64];
	const char *start;
	const char *end;

	snprintf(heading, sizeof(heading), "\n### `<%s>`\n", type);
	start = strstr(text, heading);
	if (!start)
		fail_msg("docs/configuration.md has no part '### `<%s>`'", type);
	start += strlen(heading);
	end = strstr(start, "\n### ");
	*ret_len = end ? (size_t)(end - start) : strlen(start);
	return start;
}

static void check_documented(const char *text, const struct schema_section *s)
{
	size_t len;
	const char *part = part_of(text, s->type, &len);
	size_t i;

	for (; s; s = s->extends) {
		for (i = 0; i < s->keys_n; i++) {
			char key[64];

			assert_non_null(s->keys[i].help);
			snprintf(key, sizeof(key), "`%s`", s->keys[i].name);
			if (!memmem(part, len, key, strlen(key)))
				fail_msg("docs/configuration.md does not describe '%s' of <%s>",
					s->keys[i].name, s->type);
		}
	}
}

static void test_documented(void **state)
{
	const char *text = read_documentation();
	size_t i;

	for (i = 1; i < schema_sections_n; i++)
		check_documented(text, schema_sections[i]);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_teardown(test_defaults, free_config),
		cmocka_unit_test_teardown(test_zookeeper_defaults, free_config),
		cmocka_unit_test_teardown(test_environment, free_config),
		cmocka_unit_test_teardown(test_full, free_config),
		cmocka_unit_test_teardown(test_monitor_server, free_config),
		cmocka_unit_test(test_keys),
		cmocka_unit_test(test_values),
		cmocka_unit_test(test_sections),
		cmocka_unit_test_teardown(test_storage_names, free_config),
		cmocka_unit_test(test_logfile_rules),
		cmocka_unit_test_teardown(test_eventlog_without_handlers, free_config),
		cmocka_unit_test_teardown(test_refused_filestorage, free_config),
		cmocka_unit_test_teardown(test_pack_keys, free_config),
		cmocka_unit_test_teardown(test_refused_zeo, free_config),
		cmocka_unit_test_teardown(test_worker_threads, free_config),
		cmocka_unit_test_teardown(test_conflict_resolver, free_config),
		cmocka_unit_test_teardown(test_ssl, free_config),
		cmocka_unit_test_teardown(test_nested_storages, free_config),
		cmocka_unit_test_teardown(test_refused_storages, free_config),
		cmocka_unit_test_teardown(test_refused_berkeley, free_config),
		cmocka_unit_test_teardown(test_zeoclient_defaults, free_config),
		cmocka_unit_test_teardown(test_zeoclient_keys, free_config),
		cmocka_unit_test_teardown(test_zkzeoclient, free_config),
		cmocka_unit_test_teardown(test_clientstorage, free_config),
		cmocka_unit_test_teardown(test_refused_log, free_config),
		cmocka_unit_test(test_demostorage_bases),
		cmocka_unit_test_teardown(test_overrides, free_config),
		cmocka_unit_test_teardown(test_without_a_file, free_config),
		cmocka_unit_test(test_missing_file),
		cmocka_unit_test_teardown(test_no_memory, free_config),
		cmocka_unit_test(test_documented),
	};

	return cmocka_run_group_tests(tests, enter_folder, leave_folder);
}
