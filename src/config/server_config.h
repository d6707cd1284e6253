/* What zkrunzeo is configured to do: a configuration file in ZConfig's language, and the
 * command line, checked and converted. docs/configuration.md describes every key. */
#ifndef CONFIG_SERVER_CONFIG_H
#define CONFIG_SERVER_CONFIG_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/address.h"
#include "base/arena.h"
#include "base/compiler.h"
#include "base/err.h"
#include "base/logfile.h"

enum config_storage_kind {
	CONFIG_FILESTORAGE,
	CONFIG_MAPPINGSTORAGE,
	CONFIG_DEMOSTORAGE,
	CONFIG_BLOBSTORAGE,
	CONFIG_ZLIBSTORAGE,       /* <zlibstorage> */
	CONFIG_SERVERZLIBSTORAGE, /* <serverzlibstorage> */
	CONFIG_ZEOCLIENT,         /* <zeoclient>, <clientstorage>: a storage of another server */
	CONFIG_ZKZEOCLIENT,       /* <zkzeoclient>: the same, found through ZooKeeper */
	CONFIG_OTHERSTORAGE,      /* known to ZODB's schema and to nobody else: not offered */
};

struct config_place {
	const char *file;
	int line;
};

/** TLS towards a server. */
struct config_client_ssl {
	const char *certificate;      /* NULL: the server asks for none */
	const char *key;              /* NULL: in the certificate's file */
	const char *password_command; /* for the shell; NULL */
	const char *authenticate;     /* NULL: whom the system trusts */
	bool check_hostname;
	const char *server_hostname; /* NULL: the address's host */
	struct config_place certificate_at, key_at, password_command_at, authenticate_at;
};

/** A storage of another server: <zeoclient>, <clientstorage>, <zkzeoclient>. */
struct config_client {
	const struct address *servers; /* none when they are found through ZooKeeper */
	size_t servers_n;
	const char *zookeeper; /* the ensemble */
	const char *path;      /* in it */
	const char *storage;   /* the name served */
	const char *name;      /* "" = from the addresses */
	const char *label;
	const char *client, *var; /* together: a cache file of ZEO's name */
	const char *cache_path;   /* wins over client and var */
	uint64_t cache_bytes;
	const char *blob_dir;
	bool shared_blob_dir;
	uint64_t blob_cache_bytes; /* 0 = no limit */
	uint32_t blob_cache_check; /* percent */
	bool read_only;
	bool read_only_fallback;
	bool wait;
	uint32_t wait_timeout_s;
	uint32_t min_poll_s, max_poll_s;
	const struct config_client_ssl *ssl; /* NULL = not given */
};

/** Texts are NULL when not given. */
struct config_storage {
	/** Section name; "1" for the unnamed one. NULL only inside another storage. */
	const char *name;
	enum config_storage_kind kind;
	const char *file; /* where the section starts, for error texts */
	int line;
	union {
		struct {
			const char *path;
			const char *blob_dir;
			bool create; /* start with an empty file, also when there is one */
			bool read_only;
			uint64_t quota_bytes; /* 0 = none */
			bool pack_gc;
			bool pack_keep_old;
			uint64_t pack_bandwidth; /* bytes a second, 0 = no limit */
		} filestorage;
		struct {
			const char *name; /* "Mapping Storage" */
		} mapping;
		struct {
			const char *name;
			const struct config_storage *base;    /* NULL = an empty one */
			const struct config_storage *changes; /* NULL = one in memory */
		} demo;
		struct {
			const char *blob_dir;
			const struct config_storage *base;
		} blob;
		struct {
			const struct config_storage *base;
			bool compress;
		} zlib;
		struct config_client client;
	};
};

struct config_monitor_command {
	const char *name;
	const char *program; /* the rest of the line: a path, perhaps with arguments */
};

struct config_zookeeper {
	bool present;
	const char *connection; /* ZC_ZK_CONNECTION_STRING or 127.0.0.1:2181 by default */
	const char *path;       /* NULL: do not register */
	uint32_t session_timeout_ms;
	const char *advertise; /* HOST or HOST:PORT; NULL */
	/** NULL: no monitor server. "true" is resolved: the host of <zeo>'s address (127.0.0.1
	 * when that is a Unix path) and a port chosen by the system. */
	const struct address *monitor_server;
	const struct config_monitor_command *monitor_commands;
	size_t monitor_commands_n;
};

struct config_ssl {
	const char *certificate;
	const char *key;              /* NULL: in the certificate's file */
	const char *password_command; /* for the shell; NULL */
	const char *authenticate;     /* a path, or a word that names no file */
	struct config_place certificate_at, key_at, password_command_at, authenticate_at;
};

/** <conflict-resolver>: processes that run the user's Python. */
struct config_resolver {
	const char *python;      /* a path, or a name looked for in PATH */
	const char *const *path; /* entries in front of Python's sys.path */
	size_t path_n;
	uint32_t processes; /* 1 to 64 */
	double timeout_s;   /* 0.001 to 3600 */
};

struct config_eventlog {
	bool present; /* without it the log goes to stderr at INFO (base/log.h's default) */
	int level;    /* for log_set_level() */
	const struct logfile_options *logfiles; /* none: nothing is logged (logfile_null) */
	size_t logfiles_n;
};

/** Everything in it lives until server_config_free(). */
struct server_config {
	struct address address; /* host "" = all interfaces; port 0 = chosen by the system */
	bool read_only;
	uint32_t invalidation_queue_size;
	double invalidation_age_s;    /* below 0 = not given */
	double transaction_timeout_s; /* 0 = none */
	const char *pid_filename;     /* NULL = not given */
	bool client_conflict_resolution;
	bool msgpack;                 /* M5 is spoken instead of Z5 */
	uint32_t worker_threads;      /* 0 = not given */
	const struct config_ssl *ssl; /* NULL = not given */
	struct config_zookeeper zookeeper;
	const struct config_resolver *resolver; /* NULL = not given */
	const struct config_storage *storages;  /* at least one, names unique */
	size_t storages_n;
	struct config_eventlog eventlog;

	const char *refused; /* server_config_check_offered()'s text, or NULL */
	struct arena mem;
};

/** What the command line says; each wins over the file. NULL or 0 = not given. */
struct config_overrides {
	const char *address;          /* -a */
	const char *const *filenames; /* -f: FileStorages named 1, 2, ... in place of the file's */
	size_t filenames_n;
	const char *timeout;      /* -t, seconds, may have a fraction */
	const char *pid_filename; /* --pid-file */
};

/**
 * Read a configuration, apply the command line, check it and refuse what is not offered.
 * @path  NULL: everything comes from @o, which then needs address and filenames
 * @o     borrowed; may be NULL
 * Returns 0 or ERR_INVAL, ERR_UNSUPPORTED (right, but not offered here), ERR_NOENT, ERR_IO,
 * ERR_NOMEM. Texts about the file start with FILE:LINE.
 */
MUST_CHECK int server_config_load_with(const char *path, const struct config_overrides *o,
	struct server_config **ret, struct err *e);

/** The same without a command line. */
MUST_CHECK int server_config_load(const char *path, struct server_config **ret, struct err *e);

/** The first half of server_config_load_with(): what is not offered passes. */
MUST_CHECK int server_config_read(const char *path, const struct config_overrides *o,
	struct server_config **ret, struct err *e);

/** Returns 0, or ERR_UNSUPPORTED naming the first key or section that is not offered yet. */
MUST_CHECK int server_config_check_offered(const struct server_config *c, struct err *e);

/** NULL is fine. */
void server_config_free(struct server_config *c);

#endif
