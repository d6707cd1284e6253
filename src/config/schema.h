/* What a configuration of zkrunzeo may say: the tables of its sections and keys
 * (schema_tables.c), and what checks a file against them and takes its values out. */
#ifndef CONFIG_SCHEMA_H
#define CONFIG_SCHEMA_H

#include <stdbool.h>
#include <stddef.h>

#include "base/arena.h"
#include "base/compiler.h"
#include "base/err.h"
#include "config/zconfig.h"

/** The datatype of a key, and the C type of the field it fills. */
enum schema_type {
	TYPE_STRING,          /* const char *; NULL when empty */
	TYPE_TEXT,            /* const char *; may be empty */
	TYPE_BOOLEAN,         /* bool */
	TYPE_INTEGER,         /* uint32_t */
	TYPE_SECONDS,         /* double, a whole number in the file */
	TYPE_FLOAT,           /* double */
	TYPE_BYTES,           /* uint64_t */
	TYPE_INTERVAL,        /* uint64_t, seconds */
	TYPE_LEVEL,           /* int */
	TYPE_DIRPATH,         /* const char *; its folder exists; NULL when empty */
	TYPE_EXISTING_PATH,   /* const char *; NULL when empty */
	TYPE_BIND_ADDRESS,    /* struct address */
	TYPE_CONNECT_ADDRESS, /* struct address */
	TYPE_LOG_FORMAT,      /* const char * */
	TYPE_LOG_WHEN,        /* when and weekday of the struct logfile_options */
	TYPE_DOTTED_NAME,     /* the rest is checked and fills nothing */
	TYPE_ENCODING,
	TYPE_LOG_STYLE,
	TYPE_COMMAND,
	TYPE_MONITOR_SERVER,
};

enum schema_flags {
	KEY_REQUIRED = 1,
	KEY_MULTI = 2,      /* may be repeated */
	KEY_IF_CHANGED = 4, /* the refusal is for values other than the default */
};

#define SCHEMA_NO_FIELD ((size_t)-1)

struct schema_key {
	const char *name;
	enum schema_type type;
	const char *def; /* as in a file; NULL: the field stays as it was */
	unsigned flags;
	size_t offset;       /* of the field; SCHEMA_NO_FIELD */
	const char *refusal; /* what follows "'KEY' in <SECTION> "; NULL: it is offered */
	const char *help;
};

/** What a section can stand for in another one. */
enum schema_class {
	CLASS_NONE,
	CLASS_STORAGE, /* ZODB.storage */
	CLASS_HANDLER, /* ZConfig.logger.handler */
	CLASS_LOG,     /* ZConfig.logger.log */
};

struct schema_child {
	const char *type; /* NULL: any section of the class */
	enum schema_class class;
	bool required;
	bool multi;
	const struct schema_section
		*section; /* has other keys in this place than elsewhere; or NULL */
};

struct schema_section {
	const char *type; /* "" for the whole file */
	enum schema_class class;
	const char *import;                   /* known after this %import; NULL: always */
	int storage_kind;                     /* enum config_storage_kind, of CLASS_STORAGE */
	const struct schema_section *extends; /* has its keys, too */
	const struct schema_key *keys;
	size_t keys_n;
	const struct schema_child *children;
	size_t children_n;
	/** More than one key has to be looked at; NULL when not. */
	int (*check)(const struct zconfig_node *node, struct err *e);
	const char *refusal; /* what follows "<SECTION> "; NULL: it is offered */
	bool ignored;        /* it speaks to another program: nothing in it is refused */
	const char *help;
};

/** All sections; the first is the whole file. */
extern const struct schema_section *const schema_sections[];
extern const size_t schema_sections_n;

/** The section of this type, or NULL. */
const struct schema_section *schema_find(const char *type);

/** The section of this type inside of a @parent, or NULL. */
const struct schema_section *schema_find_in(const struct schema_section *parent, const char *type);

/** The last key @name of a section in a file, or NULL. */
const struct zconfig_node *schema_get(const struct zconfig_node *node, const char *name);

/** Check a whole file: names, values, repetitions, what is missing.
 * @mem  takes what conversion needs
 * Returns 0, ERR_INVAL with FILE:LINE, or ERR_NOMEM. */
MUST_CHECK int schema_check(const struct zconfig_node *file, struct arena *mem, struct err *e);

/**
 * Fill a structure from a section that was checked; defaults where a key is not there.
 * @node    NULL: defaults only
 * @target  the structure that the offsets of @s belong to
 * Texts in it live in the file's arena or in @mem.
 */
MUST_CHECK int schema_fill(const struct schema_section *s, const struct zconfig_node *node,
	void *target, struct arena *mem, struct err *e);

/** The first key or section that is not offered.
 * @skip_storages  the command line has put others in the place of the storages
 * Returns 0 or ERR_UNSUPPORTED with FILE:LINE. */
MUST_CHECK int schema_check_offered(
	const struct zconfig_node *file, bool skip_storages, struct err *e);

#endif
