/* ZConfig's datatypes: from the text of a key to its value. Every failure is ERR_INVAL with a
 * text of the form "'X' was found: Y was expected". */
#ifndef CONFIG_DATATYPE_H
#define CONFIG_DATATYPE_H

#include <stdbool.h>
#include <stdint.h>

#include "base/arena.h"
#include "base/compiler.h"
#include "base/err.h"

/** yes, true, on; no, false, off; in any case. */
MUST_CHECK int datatype_boolean(const char *text, bool *ret, struct err *e);

/** A whole number as Python's int() reads it: sign, digits, single '_' between digits. */
MUST_CHECK int datatype_integer(
	const char *text, int64_t min, int64_t max, int64_t *ret, struct err *e);

/** A number that is not an infinity, as Python's float() reads it. */
MUST_CHECK int datatype_float(const char *text, double *ret, struct err *e);

/** Bytes, with KB, MB or GB (powers of 1024) behind the number. */
MUST_CHECK int datatype_bytes(const char *text, uint64_t *ret, struct err *e);

/** Seconds, or s, m, h, d behind the number. */
MUST_CHECK int datatype_interval(const char *text, uint64_t *ret_s, struct err *e);

/** A name of a log level, or 0 to 50. "notset" is 0. */
MUST_CHECK int datatype_level(const char *text, int *ret, struct err *e);

/** identifier.identifier... */
MUST_CHECK int datatype_dotted_name(const char *text, struct err *e);

/** "utf-8" and its other names. */
MUST_CHECK int datatype_encoding(const char *text, struct err *e);

/** The path with a leading "~" or "~user" replaced; in @mem. */
MUST_CHECK int datatype_path(const char *text, struct arena *mem, const char **ret, struct err *e);

/** As datatype_path(); the path exists. */
MUST_CHECK int datatype_existing_path(
	const char *text, struct arena *mem, const char **ret, struct err *e);

/** As datatype_path(); the folder in front of its last part exists. */
MUST_CHECK int datatype_dirpath(
	const char *text, struct arena *mem, const char **ret, struct err *e);

/** A log format: \n, \t, \b, \f and \r replaced, fields checked. "" is %(message)s. */
MUST_CHECK int datatype_log_format(
	const char *text, struct arena *mem, const char **ret, struct err *e);

/** NAME PROGRAM...: both parts, in @mem. */
MUST_CHECK int datatype_command(const char *text, struct arena *mem, const char **ret_name,
	const char **ret_program, struct err *e);

#endif
