/* The log: levels and logger names as Python's logging and ZODB have them.
 * Only server/, monitor/ and bin/ log; libraries return errors. Never payloads,
 * never passwords. */
#ifndef BASE_LOG_H
#define BASE_LOG_H

#include <stdint.h>

#include "base/compiler.h"

enum log_level {
	LOG_ALL = 1,
	LOG_TRACE = 5,
	LOG_DEBUG = 10,
	LOG_BLATHER = 15,
	LOG_INFO = 20,
	LOG_WARNING = 30,
	LOG_ERROR = 40,
	LOG_CRITICAL = 50,
};

/** One line of the log, on its way to the handlers. */
struct log_record {
	uint64_t wall_us;
	int level;
	const char *logger; /* "ZEO.StorageServer" */
	const char *text;   /* without a newline at its end */
};

/** Where lines go. Installed ones form a list; each filters by its own level. */
struct log_handler {
	struct log_handler *next; /* the log's own */
	int level;                /* records below it do not reach emit() */
	/** Called with the log's lock held: one at a time, in order. */
	void (*emit)(struct log_handler *h, const struct log_record *r);
};

/** Write one line at @level in the name of @logger, if some handler wants it.
 * Threads: any. Lines longer than 4 KiB are cut; control characters
 * but the tab are written as \n or \xNN. */
void log_emit(int level, const char *logger, const char *fmt, ...) PRINTF(3, 4);

/** True when a line of @level would reach a handler (to skip costly arguments). */
int log_enabled(int level);

/** Lines below @level are dropped before any handler sees them (default LOG_INFO). */
void log_set_level(int level);

/** Add a handler; without any, lines go to stderr in runzeo's default form.
 * @h stays the caller's and must live until log_remove(). */
void log_add(struct log_handler *h);
void log_remove(struct log_handler *h);

/** "INFO", "BLATHER", ... or "Level 7". */
const char *log_level_name(int level, char scratch[16]);

#endif
