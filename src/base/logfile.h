/* Log handlers that write to files, as Python's logging and ZConfig's <logfile> do:
 * %-style formats, rotation by size or by time, reopening for logrotate. */
#ifndef BASE_LOGFILE_H
#define BASE_LOGFILE_H

#include <stdbool.h>
#include <stdint.h>

#include "base/compiler.h"
#include "base/err.h"
#include "base/log.h"

#define LOGFILE_FORMAT     "------\n%(asctime)s %(levelname)s %(name)s %(message)s"
#define LOGFILE_DATEFORMAT "%Y-%m-%dT%H:%M:%S"

enum logfile_when {
	LOGFILE_NEVER,
	LOGFILE_SECONDS,
	LOGFILE_MINUTES,
	LOGFILE_HOURS,
	LOGFILE_DAYS,
	LOGFILE_MIDNIGHT, /* local time, every day whatever the interval */
	LOGFILE_WEEKDAY,  /* midnight after the day @weekday */
};

/** What a <logfile> section says. */
struct logfile_options {
	const char *path;       /* a file, or STDERR or STDOUT */
	int level;              /* enum log_level; 0 = whatever the log passes */
	const char *format;     /* %(name)s fields, real line breaks; NULL = LOGFILE_FORMAT */
	const char *dateformat; /* strftime(); NULL = LOGFILE_DATEFORMAT */
	uint64_t max_size;      /* bytes; rotate before a line would reach it; 0 = no limit */
	uint32_t old_files;     /* how many rotated files are kept */
	enum logfile_when when;
	uint32_t interval; /* that many units of @when; 0 counts as 1 */
	uint8_t weekday;   /* LOGFILE_WEEKDAY: 0 = Monday */
	bool delay;        /* open the file with the first line */
};

struct logfile;

/** Check a format without using it: every field is known and its conversion fits.
 * Returns 0 or ERR_INVAL with a text that says what was found and what was expected. */
MUST_CHECK int logfile_check_format(const char *format, struct err *e);

/** Parse Python's names: S, M, H, D, MIDNIGHT, W0 to W6, in any case; "" is LOGFILE_NEVER.
 * Sets when and weekday of @o. Returns 0 or ERR_INVAL. */
MUST_CHECK int logfile_parse_when(const char *text, struct logfile_options *o, struct err *e);

/**
 * Open a log file and install it in the log.
 * @o  borrowed until return (copied)
 * Returns 0, ERR_INVAL (format), ERR_NOMEM or the system's refusal to open the path.
 * When a line cannot be written later, it is dropped.
 * Threads: any; so for the calls below.
 */
MUST_CHECK int logfile_open(const struct logfile_options *o, struct logfile **ret, struct err *e);

/** Remove it from the log and close it; NULL is fine. */
void logfile_close(struct logfile *f);

/** Open the files of all log files anew (SIGUSR2 after logrotate moved them); those that
 * rotate by themselves rotate instead. Streams stay. A file that cannot be opened stays as it
 * was; the first such failure is returned after all were tried. */
int logfile_reopen_all(struct err *e);

/** A handler that drops everything: an <eventlog> without handlers logs nothing. */
extern struct log_handler logfile_null;

#endif
