#include "base/logformat.h"

#include <ctype.h>
#include <inttypes.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

enum { WIDTH_MAX = 1000 };

enum field_kind {
	FIELD_TEXT,
	FIELD_INT,
	FIELD_REAL,
};

enum field_id {
	ID_NAME,
	ID_LEVELNO,
	ID_LEVELNAME,
	ID_PATHNAME,
	ID_MODULE,
	ID_LINENO,
	ID_FUNCNAME,
	ID_CREATED,
	ID_ASCTIME,
	ID_MSECS,
	ID_RELATIVE,
	ID_THREAD,
	ID_THREADNAME,
	ID_PROCESS,
	ID_PROCESSNAME,
	ID_MESSAGE,
};

/* The attributes of Python's LogRecord that mean something here. */
static const struct field {
	const char *name;
	enum field_kind kind;
	enum field_id id;
} fields[] = {
	{ "name", FIELD_TEXT, ID_NAME },
	{ "levelno", FIELD_INT, ID_LEVELNO },
	{ "levelname", FIELD_TEXT, ID_LEVELNAME },
	{ "pathname", FIELD_TEXT, ID_PATHNAME },
	{ "filename", FIELD_TEXT, ID_PATHNAME },
	{ "module", FIELD_TEXT, ID_MODULE },
	{ "lineno", FIELD_INT, ID_LINENO },
	{ "funcName", FIELD_TEXT, ID_FUNCNAME },
	{ "created", FIELD_REAL, ID_CREATED },
	{ "asctime", FIELD_TEXT, ID_ASCTIME },
	{ "msecs", FIELD_REAL, ID_MSECS },
	{ "relativeCreated", FIELD_REAL, ID_RELATIVE },
	{ "thread", FIELD_INT, ID_THREAD },
	{ "threadName", FIELD_TEXT, ID_THREADNAME },
	{ "process", FIELD_INT, ID_PROCESS },
	{ "processName", FIELD_TEXT, ID_PROCESSNAME },
	{ "message", FIELD_TEXT, ID_MESSAGE },
	{ "msg", FIELD_TEXT, ID_MESSAGE },
};

/* One %(name)... of a format. */
struct spec {
	const struct field *field; /* NULL: "%%" */
	bool left;
	bool zero;
	char sign; /* of numbers that are not negative: '+', ' ' or 0 */
	int width;
	int precision; /* -1: none */
	char conversion;
};

static const struct field *find_field(const char *name, size_t len)
{
	size_t i;

	for (i = 0; i < ARRAY_LEN(fields); i++)
		if (strlen(fields[i].name) == len && memcmp(fields[i].name, name, len) == 0)
			return &fields[i];
	return NULL;
}

static const char *parse_flags(const char *s, struct spec *spec)
{
	for (;; s++) {
		if (*s == '-')
			spec->left = true;
		else if (*s == '0')
			spec->zero = true;
		else if (*s == '+' || (*s == ' ' && !spec->sign))
			spec->sign = *s;
		else if (*s != ' ')
			return s;
	}
}

static const char *parse_count(const char *s, int *ret)
{
	int value = 0;

	for (; isdigit((unsigned char)*s); s++)
		if (value <= WIDTH_MAX)
			value = value * 10 + (*s - '0');
	*ret = value;
	return s;
}

static const char *conversions_of(enum field_kind kind)
{
	return kind == FIELD_TEXT ? "s" : kind == FIELD_INT ? "sdiuxXfFeEgG" : "sdiufFeEgG";
}

static int check_spec(const struct spec *s, struct err *e)
{
	const char *allowed = conversions_of(s->field->kind);

	if (!s->conversion || !strchr(allowed, s->conversion))
		return err_set(e, ERR_INVAL,
			"'%c' was found after %%(%s): one of the conversions '%s' was expected",
			s->conversion ? s->conversion : ' ', s->field->name, allowed);
	if (s->width > WIDTH_MAX || s->precision > WIDTH_MAX)
		return err_set(e, ERR_INVAL,
			"a width above %d was found at %%(%s): a smaller one was expected",
			WIDTH_MAX, s->field->name);
	if (s->precision >= 0 && strchr("diuxX", s->conversion))
		return err_set(e, ERR_INVAL,
			"a precision was found at %%(%s)%c: a width alone was expected",
			s->field->name, s->conversion);
	return OK;
}

/* What follows a '%'; *ret_end is behind it. */
static int parse_spec(const char *s, struct spec *spec, const char **ret_end, struct err *e)
{
	size_t len;

	*spec = (struct spec){ .precision = -1 };
	if (*s == '%') {
		*ret_end = s + 1;
		return OK;
	}
	len = strcspn(s, ")");
	if (*s != '(' || !s[len])
		return err_set(e, ERR_INVAL,
			"'%%%.16s' was found in a log format: %%(NAME)s or %%%% was expected", s);
	spec->field = find_field(s + 1, len - 1);
	if (!spec->field)
		return err_set(e, ERR_INVAL,
			"the field '%.*s' was found in a log format: name, levelno, levelname, "
			"asctime, created, msecs, message, process, thread or another one of "
			"Python's logging was expected",
			(int)len - 1, s + 1);
	s = parse_flags(s + len + 1, spec);
	s = parse_count(s, &spec->width);
	if (*s == '.')
		s = parse_count(s + 1, &spec->precision);
	spec->conversion = *s;
	*ret_end = *s ? s + 1 : s;
	return check_spec(spec, e);
}

int logformat_check(const char *format, struct err *e)
{
	const char *s = format;
	bool any = false;

	while ((s = strchr(s, '%'))) {
		struct spec spec;
		int rc = parse_spec(s + 1, &spec, &s, e);

		if (rc)
			return rc;
		any = any || spec.field;
	}
	if (!any)
		return err_set(e, ERR_INVAL,
			"the log format '%.64s' was found: a field like %%(message)s was expected",
			format);
	return OK;
}

/* Width counts characters, not bytes of UTF-8. */
static bool starts_character(char c)
{
	return ((unsigned char)c & 0xc0) != 0x80;
}

static size_t bytes_of(const char *s, size_t characters)
{
	size_t n = 0;

	for (; s[n]; n++)
		if (starts_character(s[n]) && characters-- == 0)
			break;
	return n;
}

static size_t count_characters(const char *s, size_t len)
{
	size_t count = 0;
	size_t i;

	for (i = 0; i < len; i++)
		count += starts_character(s[i]);
	return count;
}

static void pad(struct buf *out, char c, size_t n)
{
	while (n--)
		buf_put_u8(out, (uint8_t)c);
}

static void put_text(const struct spec *spec, const char *text, struct buf *out)
{
	size_t len = spec->precision < 0 ? strlen(text) : bytes_of(text, (size_t)spec->precision);
	size_t shown = count_characters(text, len);
	size_t fill = (size_t)spec->width > shown ? (size_t)spec->width - shown : 0;

	if (!spec->left)
		pad(out, ' ', fill);
	buf_put(out, text, len);
	if (spec->left)
		pad(out, ' ', fill);
}

/* @digits has no sign. */
static void put_number(const struct spec *spec, bool negative, const char *digits, struct buf *out)
{
	char sign = negative ? '-' : spec->sign;
	size_t shown = strlen(digits) + (sign ? 1 : 0);
	size_t fill = (size_t)spec->width > shown ? (size_t)spec->width - shown : 0;
	bool zeros = spec->zero && !spec->left;

	if (!zeros && !spec->left)
		pad(out, ' ', fill);
	if (sign)
		buf_put_u8(out, (uint8_t)sign);
	if (zeros)
		pad(out, '0', fill);
	buf_put_str(out, digits);
	if (spec->left)
		pad(out, ' ', fill);
}

/* As Python's str(): the shortest text that means this number. */
static void write_float(double value, char *out, size_t room)
{
	int precision;

	for (precision = 1; precision <= 17; precision++) {
		snprintf(out, room, "%.*g", precision, value);
		if (strtod(out, NULL) == value && !strchr(out, 'e'))
			break;
	}
	if (!strpbrk(out, ".e"))
		strncat(out, ".0", room - strlen(out) - 1);
}

static void put_real(const struct spec *spec, double value, struct buf *out)
{
	const int precision = spec->precision < 0 ? 6 : spec->precision;
	const double size = value < 0 ? -value : value;
	char digits[WIDTH_MAX + 400];
	char plain[64];

	switch (spec->conversion) {
	case 's':
		write_float(value, plain, sizeof(plain));
		put_text(spec, plain, out);
		return;
	case 'd':
	case 'i':
	case 'u':
		snprintf(digits, sizeof(digits), "%" PRIu64, (uint64_t)size);
		break;
	case 'e':
		snprintf(digits, sizeof(digits), "%.*e", precision, size);
		break;
	case 'E':
		snprintf(digits, sizeof(digits), "%.*E", precision, size);
		break;
	case 'g':
		snprintf(digits, sizeof(digits), "%.*g", precision, size);
		break;
	case 'G':
		snprintf(digits, sizeof(digits), "%.*G", precision, size);
		break;
	default:
		snprintf(digits, sizeof(digits), "%.*f", precision, size);
		break;
	}
	put_number(spec, value < 0, digits, out);
}

static void put_int(const struct spec *spec, int64_t value, struct buf *out)
{
	uint64_t size = value < 0 ? 0 - (uint64_t)value : (uint64_t)value;
	char digits[32];

	switch (spec->conversion) {
	case 's':
		snprintf(digits, sizeof(digits), "%" PRId64, value);
		put_text(spec, digits, out);
		return;
	case 'x':
		snprintf(digits, sizeof(digits), "%" PRIx64, size);
		break;
	case 'X':
		snprintf(digits, sizeof(digits), "%" PRIX64, size);
		break;
	case 'd':
	case 'i':
	case 'u':
		snprintf(digits, sizeof(digits), "%" PRIu64, size);
		break;
	default:
		put_real(spec, (double)value, out);
		return;
	}
	put_number(spec, value < 0, digits, out);
}

/* Python appends milliseconds where no date format is set. */
static const char *write_time(uint64_t wall_us, const char *dateformat, char *out, size_t room)
{
	time_t t = (time_t)(wall_us / 1000000u);
	struct tm tm;
	size_t n;

	localtime_r(&t, &tm);
	if (*dateformat) {
		/* configured; strftime() takes no further arguments that it could miss */
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wformat-nonliteral"
		n = strftime(out, room, dateformat, &tm);
#pragma GCC diagnostic pop
		out[n] = 0; /* undefined where nothing fits */
		return out;
	}
	n = strftime(out, room, "%Y-%m-%d %H:%M:%S", &tm);
	snprintf(out + n, room - n, ",%03u", (unsigned)(wall_us / 1000u % 1000u));
	return out;
}

static const char *text_of(const struct spec *spec, const char *dateformat,
	const struct log_record *r, char *scratch, size_t room)
{
	switch (spec->field->id) {
	case ID_NAME:
		return r->logger;
	case ID_LEVELNAME:
		return log_level_name(r->level, scratch);
	case ID_PATHNAME:
	case ID_MODULE:
		return "(unknown file)";
	case ID_FUNCNAME:
		return "(unknown function)";
	case ID_ASCTIME:
		return write_time(r->wall_us, dateformat, scratch, room);
	case ID_THREADNAME:
		return pthread_getname_np(pthread_self(), scratch, room) ? "" : scratch;
	case ID_PROCESSNAME:
		return "MainProcess";
	default:
		return r->text;
	}
}

static int64_t int_of(const struct spec *spec, const struct log_record *r)
{
	switch (spec->field->id) {
	case ID_LEVELNO:
		return r->level;
	case ID_THREAD:
		return gettid();
	case ID_PROCESS:
		return getpid();
	default:
		return 0; /* lineno: there is none */
	}
}

/* Milliseconds since the first record that asked. */
static double relative_ms(uint64_t wall_us)
{
	static _Atomic uint64_t start_us;
	uint64_t none = 0;

	atomic_compare_exchange_strong(&start_us, &none, wall_us);
	return ((double)wall_us - (double)atomic_load(&start_us)) / 1e3;
}

static double real_of(const struct spec *spec, const struct log_record *r)
{
	switch (spec->field->id) {
	case ID_CREATED:
		return (double)r->wall_us / 1e6;
	case ID_RELATIVE:
		return relative_ms(r->wall_us);
	default:
		return (double)(r->wall_us % 1000000u) / 1e3;
	}
}

static void put_field(const struct spec *spec, const char *dateformat, const struct log_record *r,
	struct buf *out)
{
	char scratch[256];

	if (!spec->field)
		buf_put_u8(out, '%');
	else if (spec->field->kind == FIELD_TEXT)
		put_text(spec, text_of(spec, dateformat, r, scratch, sizeof(scratch)), out);
	else if (spec->field->kind == FIELD_INT)
		put_int(spec, int_of(spec, r), out);
	else
		put_real(spec, real_of(spec, r), out);
}

void logformat_write(
	const char *format, const char *dateformat, const struct log_record *r, struct buf *out)
{
	const char *s = format;

	while (*s) {
		size_t plain = strcspn(s, "%");
		struct spec spec;

		buf_put(out, s, plain);
		s += plain;
		if (!*s || parse_spec(s + 1, &spec, &s, NULL))
			return;
		put_field(&spec, dateformat, r, out);
	}
}
