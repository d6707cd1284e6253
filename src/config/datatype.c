#include "config/datatype.h"

#include <ctype.h>
#include <inttypes.h>
#include <math.h>
#include <pwd.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/log.h"
#include "base/logfile.h"
#include "config/zconfig.h"

static int no_memory(struct err *e)
{
	return err_set(e, ERR_NOMEM, "no memory to read the configuration");
}

static bool is_one_of(const char *text, const char *const *words)
{
	for (; *words; words++)
		if (strcasecmp(text, *words) == 0)
			return true;
	return false;
}

int datatype_boolean(const char *text, bool *ret, struct err *e)
{
	static const char *const yes[] = { "yes", "true", "on", NULL };
	static const char *const no[] = { "no", "false", "off", NULL };
	bool is_true = is_one_of(text, yes);

	if (!is_true && !is_one_of(text, no))
		return err_set(e, ERR_INVAL,
			"'%s' was found: true, yes, on, false, no or off was expected", text);
	*ret = is_true;
	return OK;
}

/* Digits with single '_' between them, white space around; at most @max. */
static bool parse_digits(const char *s, const char *end, uint64_t max, uint64_t *ret)
{
	uint64_t value = 0;
	bool digit_before = false;

	while (end > s && isspace((unsigned char)end[-1]))
		end--;
	if (s == end || end[-1] == '_')
		return false;
	for (; s < end; s++) {
		uint64_t digit = (uint64_t)(*s - '0');

		if (*s == '_' && digit_before) {
			digit_before = false;
			continue;
		}
		if (!isdigit((unsigned char)*s) || value > (max - digit) / 10)
			return false;
		value = value * 10 + digit;
		digit_before = true;
	}
	*ret = value;
	return true;
}

int datatype_integer(const char *text, int64_t min, int64_t max, int64_t *ret, struct err *e)
{
	const char *s = text;
	uint64_t magnitude = 0;
	bool negative;
	int64_t value;

	while (isspace((unsigned char)*s))
		s++;
	negative = *s == '-';
	if (*s == '-' || *s == '+')
		s++;
	if (!parse_digits(s, s + strlen(s), INT64_MAX, &magnitude))
		goto wrong;
	value = negative ? -(int64_t)magnitude : (int64_t)magnitude;
	if (value < min || value > max)
		goto wrong;
	*ret = value;
	return OK;
wrong:
	return err_set(e, ERR_INVAL,
		"'%s' was found: a whole number from %" PRId64 " to %" PRId64 " was expected", text,
		min, max);
}

int datatype_float(const char *text, double *ret, struct err *e)
{
	char *end = NULL;
	double value = strtod(text, &end);

	while (isspace((unsigned char)*end))
		end++;
	/* strtod() knows hexadecimal and words, which are no numbers here */
	if (end == text || *end || strpbrk(text, "xXnNiI") || !isfinite(value))
		return err_set(e, ERR_INVAL, "'%s' was found: a number was expected", text);
	*ret = value;
	return OK;
}

struct suffix {
	const char *text;
	uint64_t factor;
};

/* A number with one of @suffixes (all of the same length), or without. */
static bool parse_suffixed(const char *text, const struct suffix *suffixes, uint64_t *ret)
{
	size_t len = strlen(text);
	size_t n = strlen(suffixes->text);
	uint64_t factor = 1;

	for (; suffixes->text; suffixes++) {
		if (len < n || strcasecmp(text + len - n, suffixes->text) != 0)
			continue;
		factor = suffixes->factor;
		len -= n;
		break;
	}
	if (!parse_digits(text, text + len, INT64_MAX / factor, ret))
		return false;
	*ret *= factor;
	return true;
}

int datatype_bytes(const char *text, uint64_t *ret, struct err *e)
{
	static const struct suffix suffixes[] = {
		{ "kb", 1ull << 10 },
		{ "mb", 1ull << 20 },
		{ "gb", 1ull << 30 },
		{ NULL, 0 },
	};

	if (!parse_suffixed(text, suffixes, ret))
		return err_set(e, ERR_INVAL,
			"'%s' was found: a number of bytes, perhaps with KB, MB or GB, was "
			"expected",
			text);
	return OK;
}

int datatype_interval(const char *text, uint64_t *ret_s, struct err *e)
{
	static const struct suffix suffixes[] = {
		{ "s", 1 },
		{ "m", 60 },
		{ "h", 3600 },
		{ "d", 86400 },
		{ NULL, 0 },
	};

	if (!parse_suffixed(text, suffixes, ret_s))
		return err_set(e, ERR_INVAL,
			"'%s' was found: a number of seconds, or one with s, m, h or d, was "
			"expected",
			text);
	return OK;
}

int datatype_level(const char *text, int *ret, struct err *e)
{
	static const struct {
		const char *name;
		int level;
	} levels[] = {
		{ "critical", LOG_CRITICAL },
		{ "fatal", LOG_CRITICAL },
		{ "error", LOG_ERROR },
		{ "warn", LOG_WARNING },
		{ "warning", LOG_WARNING },
		{ "info", LOG_INFO },
		{ "blather", LOG_BLATHER },
		{ "debug", LOG_DEBUG },
		{ "trace", LOG_TRACE },
		{ "all", LOG_ALL },
		{ "notset", 0 },
	};
	int64_t number;
	size_t i;

	for (i = 0; i < ARRAY_LEN(levels); i++) {
		if (strcasecmp(text, levels[i].name) == 0) {
			*ret = levels[i].level;
			return OK;
		}
	}
	if (datatype_integer(text, 0, 50, &number, e))
		return err_set(e, ERR_INVAL,
			"'%s' was found: critical, error, warning, info, blather, debug, trace, "
			"all, notset or a number from 0 to 50 was expected",
			text);
	*ret = (int)number;
	return OK;
}

int datatype_dotted_name(const char *text, struct err *e)
{
	bool start = true;
	const char *s;

	for (s = text; *s; s++) {
		bool letter = isalpha((unsigned char)*s) || *s == '_';

		if (start ? !letter : !letter && !isdigit((unsigned char)*s) && *s != '.')
			break;
		start = *s == '.';
	}
	if (*s || start)
		return err_set(e, ERR_INVAL, "'%s' was found: a dotted name was expected", text);
	return OK;
}

int datatype_encoding(const char *text, struct err *e)
{
	static const char *const names[] = { "utf-8", "utf8", "utf_8", "u8", "ascii", "us-ascii",
		NULL };

	if (!is_one_of(text, names))
		return err_set(e, ERR_INVAL,
			"'%s' was found: utf-8 was expected, in which all logs are written", text);
	return OK;
}

/* The home folder that the first @len bytes of a path stand for, or NULL. */
static const char *home_of(const char *path, size_t len)
{
	const char *home = getenv("HOME");
	const struct passwd *pw;
	char user[256];

	if (len == 1 && home)
		return home;
	if (len > sizeof(user))
		return NULL;
	memcpy(user, path + 1, len - 1);
	user[len - 1] = 0;
	pw = len == 1 ? getpwuid(getuid()) : getpwnam(user);
	return pw ? pw->pw_dir : NULL;
}

int datatype_path(const char *text, struct arena *mem, const char **ret, struct err *e)
{
	size_t user_len = *text == '~' ? strcspn(text, "/") : 0;
	const char *home = user_len ? home_of(text, user_len) : NULL;
	size_t home_len;
	char *path;

	if (!home) {
		*ret = text;
		return OK;
	}
	home_len = strlen(home);
	while (home_len && home[home_len - 1] == '/')
		home_len--;
	path = arena_alloc(mem, home_len + strlen(text) + 1);
	if (!path)
		return no_memory(e);
	memcpy(path, home, home_len);
	strcpy(path + home_len, text + user_len);
	*ret = path;
	return OK;
}

int datatype_existing_path(const char *text, struct arena *mem, const char **ret, struct err *e)
{
	const char *path = NULL;
	struct stat st;
	int rc = datatype_path(text, mem, &path, e);

	if (rc)
		return rc;
	if (stat(path, &st))
		return err_set(e, ERR_INVAL,
			"'%s' was found: the path of something that exists was expected", text);
	*ret = path;
	return OK;
}

int datatype_dirpath(const char *text, struct arena *mem, const char **ret, struct err *e)
{
	const char *path = NULL;
	const char *dir;
	const char *slash;
	struct stat st;
	int rc = datatype_path(text, mem, &path, e);

	if (rc)
		return rc;
	slash = strrchr(path, '/');
	dir = slash ? zconfig_copy(mem, path, (size_t)(slash - path) + 1) : ".";
	if (!dir)
		return no_memory(e);
	if (slash && (stat(dir, &st) || !S_ISDIR(st.st_mode)))
		return err_set(e, ERR_INVAL,
			"'%s' was found: a path in a folder that exists was expected, and '%s' is "
			"none",
			text, dir);
	*ret = path;
	return OK;
}

static void insert_control_characters(char *s)
{
	static const char names[] = "ntbfr";
	static const char values[] = "\n\t\b\f\r";
	char *out = s;

	while (*s) {
		const char *name = s[0] == '\\' && s[1] ? strchr(names, s[1]) : NULL;

		*out++ = name ? values[name - names] : *s;
		s += name ? 2 : 1;
	}
	*out = 0;
}

int datatype_log_format(const char *text, struct arena *mem, const char **ret, struct err *e)
{
	char *format;
	int rc;

	if (!*text)
		text = "%(message)s";
	format = zconfig_copy(mem, text, strlen(text));
	if (!format)
		return no_memory(e);
	insert_control_characters(format);
	rc = logfile_check_format(format, e);
	if (rc == OK)
		*ret = format;
	return rc;
}

int datatype_command(const char *text, struct arena *mem, const char **ret_name,
	const char **ret_program, struct err *e)
{
	size_t len = strcspn(text, " \t");
	const char *program = text + len + strspn(text + len, " \t");
	const char *name;

	if (!len || !*program)
		return err_set(e, ERR_INVAL,
			"'%s' was found: the name of a command and a program were expected", text);
	name = zconfig_copy(mem, text, len);
	if (!name)
		return no_memory(e);
	*ret_name = name;
	*ret_program = program;
	return OK;
}
