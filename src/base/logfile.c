#include "base/logfile.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/clock.h"
#include "base/logformat.h"
#include "base/mem.h"
#include "base/os.h"

enum { LINE_MAX_BYTES = 64 * 1024, LINE_KEPT_BYTES = 4096, DAY_S = 86400 };

struct logfile {
	struct log_handler handler;
	struct logfile *next;
	struct logfile_options o; /* its texts are this structure's own */
	char *path;
	char *format;
	char *dateformat;
	int fd;
	bool stream; /* STDERR or STDOUT */
	time_t rollover_at;
	struct buf line;
};

/* Guards all log files and their list. Taken inside of the log's own lock (emit) or alone. */
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static struct logfile *files;

static void emit_nothing(struct log_handler *h, const struct log_record *r)
{
}

struct log_handler logfile_null = { .level = LOG_CRITICAL, .emit = emit_nothing };

int logfile_check_format(const char *format, struct err *e)
{
	return logformat_check(format, e);
}

int logfile_parse_when(const char *text, struct logfile_options *o, struct err *e)
{
	static const struct {
		const char *name;
		enum logfile_when when;
	} names[] = {
		{ "", LOGFILE_NEVER },
		{ "s", LOGFILE_SECONDS },
		{ "m", LOGFILE_MINUTES },
		{ "h", LOGFILE_HOURS },
		{ "d", LOGFILE_DAYS },
		{ "midnight", LOGFILE_MIDNIGHT },
	};
	size_t i;

	for (i = 0; i < ARRAY_LEN(names); i++) {
		if (strcasecmp(text, names[i].name) != 0)
			continue;
		o->when = names[i].when;
		o->weekday = 0;
		return OK;
	}
	if ((*text != 'w' && *text != 'W') || text[1] < '0' || text[1] > '6' || text[2])
		return err_set(e, ERR_INVAL,
			"'%s' was found: S, M, H, D, MIDNIGHT or W0 to W6 (Monday to Sunday) was "
			"expected",
			text);
	o->when = LOGFILE_WEEKDAY;
	o->weekday = (uint8_t)(text[1] - '0');
	return OK;
}

static bool rotates(const struct logfile *f)
{
	return !f->stream && (f->o.max_size || f->o.when != LOGFILE_NEVER);
}

static int64_t interval_s(const struct logfile_options *o)
{
	static const int units[] = {
		[LOGFILE_SECONDS] = 1,
		[LOGFILE_MINUTES] = 60,
		[LOGFILE_HOURS] = 3600,
		[LOGFILE_DAYS] = DAY_S,
		[LOGFILE_MIDNIGHT] = DAY_S,
		[LOGFILE_WEEKDAY] = 7 * DAY_S,
	};

	return (int64_t)units[o->when] * (o->interval ? o->interval : 1);
}

static bool at_midnight(const struct logfile_options *o)
{
	return o->when == LOGFILE_MIDNIGHT || o->when == LOGFILE_WEEKDAY;
}

/* Midnight @days after the day of @t, whatever summer time does in between. */
static time_t midnight(time_t t, int64_t days)
{
	struct tm tm;

	localtime_r(&t, &tm);
	tm.tm_mday += (int)days;
	tm.tm_hour = tm.tm_min = tm.tm_sec = 0;
	tm.tm_isdst = -1;
	return mktime(&tm);
}

/* When a file that was begun at @t is full. */
static time_t next_rollover(const struct logfile_options *o, time_t t)
{
	struct tm tm;
	int today;

	if (!at_midnight(o))
		return t + interval_s(o);
	localtime_r(&t, &tm);
	today = (tm.tm_wday + 6) % 7; /* 0 = Monday */
	return midnight(t, o->when == LOGFILE_MIDNIGHT ? 1 : 1 + (o->weekday - today + 7) % 7);
}

static size_t format_suffix(enum logfile_when when, char *out, size_t room, const struct tm *tm)
{
	switch (when) {
	case LOGFILE_SECONDS:
		return strftime(out, room, "%Y-%m-%d_%H-%M-%S", tm);
	case LOGFILE_MINUTES:
		return strftime(out, room, "%Y-%m-%d_%H-%M", tm);
	case LOGFILE_HOURS:
		return strftime(out, room, "%Y-%m-%d_%H", tm);
	default:
		return strftime(out, room, "%Y-%m-%d", tm);
	}
}

/* The rotated file is named after the time at which it began. */
static void write_suffix(const struct logfile *f, char *out, size_t room)
{
	int64_t span = interval_s(&f->o);
	time_t begin = at_midnight(&f->o) ? midnight(f->rollover_at, -(span / DAY_S))
					  : f->rollover_at - (time_t)span;
	struct tm tm;

	localtime_r(&begin, &tm);
	out[format_suffix(f->o.when, out, room, &tm)] = 0;
}

/* True when @name is @base, a dot and digits where @suffix has digits. */
static bool is_rotated_name(const char *name, const char *base, const char *suffix)
{
	size_t n = strlen(base);
	const char *s = name + n + 1;

	if (strncmp(name, base, n) != 0 || name[n] != '.')
		return false;
	for (; *suffix; suffix++, s++) {
		bool digit = *suffix >= '0' && *suffix <= '9';

		if (digit ? *s < '0' || *s > '9' : *s != *suffix)
			return false;
	}
	return *s == 0 || *s == '.';
}

/* Count the rotated files and find the oldest, whose names sort by time. */
static size_t find_oldest(DIR *dir, const char *base, const char *suffix, char *oldest, size_t room)
{
	struct dirent *d;
	size_t count = 0;

	rewinddir(dir);
	while ((d = readdir(dir))) {
		if (!is_rotated_name(d->d_name, base, suffix))
			continue;
		if (!count++ || strcmp(d->d_name, oldest) < 0)
			snprintf(oldest, room, "%s", d->d_name);
	}
	return count;
}

static void delete_old(const struct logfile *f, const char *suffix)
{
	const char *slash = strrchr(f->path, '/');
	char folder[4096];
	char oldest[256];
	DIR *dir;

	snprintf(folder, sizeof(folder), "%.*s", slash ? (int)(slash - f->path) + 1 : 1,
		slash ? f->path : ".");
	dir = f->o.old_files ? opendir(folder) : NULL;
	if (!dir)
		return;
	while (find_oldest(dir, slash ? slash + 1 : f->path, suffix, oldest, sizeof(oldest)) >
		f->o.old_files)
		if (unlinkat(dirfd(dir), oldest, 0))
			break;
	closedir(dir);
}

static int open_file(const struct logfile *f, int *ret_fd, struct err *e)
{
	return os_open(f->path, O_WRONLY | O_CREAT | O_APPEND, ret_fd, e);
}

/* The old descriptor stays when there is no new one: lines are better there than nowhere. */
static int open_anew(struct logfile *f, struct err *e)
{
	int fd = -1;
	int rc = open_file(f, &fd, e);

	if (rc)
		return rc;
	os_close(f->fd);
	f->fd = fd;
	return OK;
}

static bool file_exists(const char *path)
{
	struct stat st;

	return lstat(path, &st) == 0;
}

static void numbered(const struct logfile *f, uint32_t number, char *out, size_t room)
{
	snprintf(out, room, "%s.%u", f->path, number);
}

/* path.1 becomes path.2 and so on; the last one goes. */
static int shift_numbered(const struct logfile *f, struct err *e)
{
	char from[4096];
	char to[4096];
	uint32_t n = 1;
	int rc = OK;

	for (; n < f->o.old_files; n++) {
		numbered(f, n, from, sizeof(from));
		if (!file_exists(from))
			break;
	}
	for (; n > 1 && rc == OK; n--) {
		numbered(f, n - 1, from, sizeof(from));
		numbered(f, n, to, sizeof(to));
		rc = os_rename(from, to, e);
	}
	numbered(f, 1, to, sizeof(to));
	return rc ? rc : os_rename(f->path, to, e);
}

static int rename_by_time(struct logfile *f, time_t now, struct err *e)
{
	char suffix[64];
	char to[4096];
	int rc;

	write_suffix(f, suffix, sizeof(suffix));
	snprintf(to, sizeof(to), "%s.%s", f->path, suffix);
	rc = os_rename(f->path, to, e);
	if (rc == OK)
		delete_old(f, suffix);
	f->rollover_at = next_rollover(&f->o, now);
	return rc;
}

static int rotate(struct logfile *f, time_t now, struct err *e)
{
	int rc = OK;

	if (f->o.when != LOGFILE_NEVER)
		rc = rename_by_time(f, now, e);
	else if (f->o.old_files)
		rc = shift_numbered(f, e);
	if (rc == ERR_NOENT)
		rc = OK; /* somebody moved it */
	if (rc)
		return rc;
	return open_anew(f, e);
}

/* Neither a device nor a pipe is ever rotated. */
static bool is_due(const struct logfile *f, time_t now)
{
	struct stat st;

	if (!rotates(f))
		return false;
	if (f->o.when != LOGFILE_NEVER && now < f->rollover_at)
		return false;
	if (fstat(f->fd, &st) || !S_ISREG(st.st_mode))
		return false;
	if (f->o.when != LOGFILE_NEVER)
		return true;
	return st.st_size > 0 && (uint64_t)st.st_size + f->line.len >= f->o.max_size;
}

static void write_line(int fd, struct slice line)
{
	while (line.len) {
		ssize_t n = write(fd, line.data, line.len);

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return;
		line.data += n;
		line.len -= (size_t)n;
	}
}

static void emit(struct log_handler *h, const struct log_record *r)
{
	struct logfile *f = CONTAINER_OF(h, struct logfile, handler);
	time_t now = (time_t)(r->wall_us / 1000000u);

	pthread_mutex_lock(&lock);
	buf_shrink(&f->line, LINE_KEPT_BYTES);
	logformat_write(f->format, f->dateformat, r, &f->line);
	buf_put_u8(&f->line, '\n');
	if (buf_ok(&f->line) && (f->fd >= 0 || open_file(f, &f->fd, NULL) == OK)) {
		if (is_due(f, now))
			rotate(f, now, NULL); /* where it fails, there is a file to write to */
		write_line(f->fd, buf_slice(&f->line));
	}
	pthread_mutex_unlock(&lock);
}

static int copy_options(struct logfile *f, const struct logfile_options *o, struct err *e)
{
	f->o = *o;
	f->path = mem_strdup(o->path);
	f->format = mem_strdup(o->format ? o->format : LOGFILE_FORMAT);
	f->dateformat = mem_strdup(o->dateformat ? o->dateformat : LOGFILE_DATEFORMAT);
	if (!f->path || !f->format || !f->dateformat)
		return err_set(e, ERR_NOMEM, "no memory for the log file '%s'", o->path);
	return OK;
}

static void set_rollover(struct logfile *f)
{
	time_t begin = (time_t)(clock_wall_us(&clock_system) / 1000000u);
	struct stat st;

	if (f->o.when == LOGFILE_NEVER)
		return;
	if (stat(f->path, &st) == 0)
		begin = st.st_mtime;
	f->rollover_at = next_rollover(&f->o, begin);
}

static int open_first(struct logfile *f, struct err *e)
{
	bool to_stderr = strcmp(f->path, "STDERR") == 0;
	int rc;

	f->stream = to_stderr || strcmp(f->path, "STDOUT") == 0;
	if (f->stream) {
		f->fd = to_stderr ? STDERR_FILENO : STDOUT_FILENO;
		return OK;
	}
	set_rollover(f);
	if (f->o.delay)
		return OK;
	rc = open_file(f, &f->fd, e);
	if (rc)
		err_wrap(e, "log file");
	return rc;
}

static void free_file(struct logfile *f)
{
	if (!f->stream)
		os_close(f->fd);
	buf_free(&f->line);
	mem_free(f->path);
	mem_free(f->format);
	mem_free(f->dateformat);
	mem_free(f);
}

static void install(struct logfile *f)
{
	f->handler.level = f->o.level;
	f->handler.emit = emit;
	pthread_mutex_lock(&lock);
	f->next = files;
	files = f;
	pthread_mutex_unlock(&lock);
	log_add(&f->handler);
}

int logfile_open(const struct logfile_options *o, struct logfile **ret, struct err *e)
{
	struct logfile *f = mem_zalloc(1, sizeof(*f));
	int rc;

	if (!f)
		return err_set(e, ERR_NOMEM, "no memory for the log file '%s'", o->path);
	f->fd = -1;
	f->line = (struct buf)BUF_INIT(LINE_MAX_BYTES);
	rc = copy_options(f, o, e);
	if (rc == OK)
		rc = logformat_check(f->format, e);
	if (rc == OK)
		rc = open_first(f, e);
	if (rc) {
		free_file(f);
		return rc;
	}
	install(f);
	*ret = f;
	return OK;
}

void logfile_close(struct logfile *f)
{
	struct logfile **p;

	if (!f)
		return;
	log_remove(&f->handler);
	pthread_mutex_lock(&lock);
	for (p = &files; *p; p = &(*p)->next) {
		if (*p == f) {
			*p = f->next;
			break;
		}
	}
	pthread_mutex_unlock(&lock);
	free_file(f);
}

static int reopen(struct logfile *f, struct err *e)
{
	if (f->stream || f->fd < 0)
		return OK;
	if (rotates(f))
		return rotate(f, (time_t)(clock_wall_us(&clock_system) / 1000000u), e);
	if (!f->o.delay)
		return open_anew(f, e);
	os_close(f->fd);
	f->fd = -1;
	return OK;
}

int logfile_reopen_all(struct err *e)
{
	struct logfile *f;
	int first = OK;

	pthread_mutex_lock(&lock);
	for (f = files; f; f = f->next) {
		int rc = reopen(f, first ? NULL : e);

		if (!first)
			first = rc;
	}
	pthread_mutex_unlock(&lock);
	return first;
}
