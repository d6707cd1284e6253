/* Log files: formats as Python's logging has them, rotation, reopening; and what the log
 * does with control characters. */
#include "cmocka_all.h"

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>
#include <utime.h>

#include "base/log.h"
#include "base/logfile.h"
#include "base/logformat.h"

static const struct log_record record = {
	.wall_us = 1700000000123456u, /* 2023-11-14T22:13:20 UTC */
	.level = LOG_WARNING,
	.logger = "ZEO.Server",
	.text = "h\xc3\xa9llo %s",
};

static char content[65536];

static const char *read_file(const char *path)
{
	FILE *f = fopen(path, "r");
	size_t n;

	if (!f)
		return NULL;
	n = fread(content, 1, sizeof(content) - 1, f);
	content[n] = 0;
	fclose(f);
	return content;
}

static void write_file(const char *path, const char *text, time_t mtime)
{
	struct utimbuf times = { mtime, mtime };
	FILE *f = fopen(path, "w");

	assert_non_null(f);
	fputs(text, f);
	fclose(f);
	assert_int_equal(utime(path, &times), 0);
}

static int remove_files(void **state)
{
	DIR *dir = opendir(".");
	struct dirent *d;

	while ((d = readdir(dir)))
		if (d->d_name[0] != '.')
			unlink(d->d_name);
	closedir(dir);
	return 0;
}

static size_t count_files(void)
{
	DIR *dir = opendir(".");
	struct dirent *d;
	size_t n = 0;

	while ((d = readdir(dir)))
		n += d->d_name[0] != '.';
	closedir(dir);
	return n;
}

static int enter_folder(void **state)
{
	static char folder[] = "/tmp/logfile-XXXXXX";

	setenv("TZ", "UTC", 1);
	tzset();
	*state = folder;
	return !mkdtemp(folder) || chdir(folder);
}

static int leave_folder(void **state)
{
	remove_files(state);
	return chdir("/") || rmdir(*state);
}

static void expect_format(const char *format, const char *dateformat, const char *expected)
{
	struct buf out = BUF_INIT(0);
	struct err e = ERR_INIT;

	if (logfile_check_format(format, &e))
		fail_msg("%s", e.text);
	logformat_write(format, dateformat, &record, &out);
	buf_put_u8(&out, 0);
	assert_string_equal((const char *)out.data, expected);
	buf_free(&out);
}

static void test_default_format(void **state)
{
	expect_format(LOGFILE_FORMAT, LOGFILE_DATEFORMAT,
		"------\n2023-11-14T22:13:20 WARNING ZEO.Server h\xc3\xa9llo %s");
}

static void test_time(void **state)
{
	expect_format("%(asctime)s", "", "2023-11-14 22:13:20,123");
	expect_format("%(asctime)s", "%H", "22");
	expect_format("%(asctime)25s|", "%H:%M", "                    22:13|");
	expect_format("%(created)f", "", "1700000000.123456");
	expect_format("%(created)s", "", "1700000000.123456");
	expect_format("%(created)d", "", "1700000000");
	expect_format("%(msecs)03d %(msecs).1f", "", "123 123.5");
}

static void test_text(void **state)
{
	expect_format("%(levelname)-8s|", "", "WARNING |");
	expect_format("%(levelname)8s|", "", " WARNING|");
	expect_format("%(levelname).4s|", "", "WARN|");
	expect_format("%(message)-10s|", "", "h\xc3\xa9llo %s  |");
	expect_format("%(message).2s|", "", "h\xc3\xa9|");
	expect_format("100%% %(name)s", "", "100% ZEO.Server");
	expect_format("%(processName)s %(funcName)s", "", "MainProcess (unknown function)");
}

static void test_numbers(void **state)
{
	char pid[32];

	expect_format("%(levelno)d", "", "30");
	expect_format("%(levelno)s", "", "30");
	expect_format("%(levelno)05d", "", "00030");
	expect_format("%(levelno)+d", "", "+30");
	expect_format("%(levelno)-5d|", "", "30   |");
	expect_format("%(levelno)5d|", "", "   30|");
	expect_format("%(levelno)x", "", "1e");
	expect_format("%(levelno).2f", "", "30.00");
	expect_format("%(lineno)d", "", "0");
	snprintf(pid, sizeof(pid), "%d", (int)getpid());
	expect_format("%(process)d", "", pid);
}

static void expect_refused(const char *format, const char *expected)
{
	struct err e = ERR_INIT;

	assert_int_equal(logfile_check_format(format, &e), ERR_INVAL);
	assert_string_equal(e.text, expected);
}

static void test_refused_formats(void **state)
{
	expect_refused("", "the log format '' was found: a field like %(message)s was expected");
	expect_refused(
		"100%%", "the log format '100%%' was found: a field like %(message)s was expected");
	expect_refused("%s", "'%s' was found in a log format: %(NAME)s or %% was expected");
	expect_refused("%", "'%' was found in a log format: %(NAME)s or %% was expected");
	expect_refused("%(name", "'%(name' was found in a log format: %(NAME)s or %% was expected");
	expect_refused("%(nme)s",
		"the field 'nme' was found in a log format: name, levelno, levelname, asctime, "
		"created, msecs, message, process, thread or another one of Python's logging was "
		"expected");
	expect_refused("%(message)d",
		"'d' was found after %(message): one of the conversions 's' was expected");
	expect_refused("%(created)x",
		"'x' was found after %(created): one of the conversions 'sdiufFeEgG' was expected");
	expect_refused(
		"%(name)", "' ' was found after %(name): one of the conversions 's' was expected");
	expect_refused("%(levelno)99999d",
		"a width above 1000 was found at %(levelno): a smaller one was expected");
}

static void test_when(void **state)
{
	struct logfile_options o = { 0 };
	struct err e = ERR_INIT;

	assert_int_equal(logfile_parse_when("Midnight", &o, &e), OK);
	assert_int_equal(o.when, LOGFILE_MIDNIGHT);
	assert_int_equal(logfile_parse_when("w6", &o, &e), OK);
	assert_int_equal(o.when, LOGFILE_WEEKDAY);
	assert_int_equal(o.weekday, 6);
	assert_int_equal(logfile_parse_when("", &o, &e), OK);
	assert_int_equal(o.when, LOGFILE_NEVER);
	assert_int_equal(logfile_parse_when("W7", &o, &e), ERR_INVAL);
	assert_string_equal(e.text,
		"'W7' was found: S, M, H, D, MIDNIGHT or W0 to W6 (Monday to Sunday) was "
		"expected");
}

static struct logfile *open_log(struct logfile_options o)
{
	struct logfile *f = NULL;
	struct err e = ERR_INIT;

	o.path = o.path ? o.path : "x.log";
	o.format = o.format ? o.format : "%(message)s";
	if (logfile_open(&o, &f, &e))
		fail_msg("%s", e.text);
	return f;
}

static void test_append_and_level(void **state)
{
	struct logfile *f;

	write_file("x.log", "before\n", time(NULL));
	f = open_log((struct logfile_options){ .level = LOG_WARNING });
	log_emit(LOG_INFO, "a", "too low");
	log_emit(LOG_ERROR, "a", "one %d", 1);
	assert_string_equal(read_file("x.log"), "before\none 1\n");
	logfile_close(f);
	f = open_log((struct logfile_options){ .format = "%(name)s %(levelname)s" });
	log_emit(LOG_INFO, "a", "two");
	logfile_close(f);
	assert_string_equal(read_file("x.log"), "before\none 1\na INFO\n");
}

static void test_control_characters(void **state)
{
	struct logfile *f = open_log((struct logfile_options){ 0 });

	log_emit(LOG_INFO, "a", "%s", "x\ny\rz\t\x1b[31m\x7f \xc2\x9b \xc3\xa9");
	logfile_close(f);
	assert_string_equal(read_file("x.log"), "x\\ny\\x0dz\t\\x1b[31m\\x7f \\x9b \xc3\xa9\n");
}

static void test_delay(void **state)
{
	struct logfile *f = open_log((struct logfile_options){ .delay = true });

	assert_int_equal(access("x.log", F_OK), -1);
	log_emit(LOG_INFO, "a", "x");
	assert_string_equal(read_file("x.log"), "x\n");
	logfile_close(f);
}

static void test_cannot_open(void **state)
{
	struct logfile_options o = { .path = "none/x.log" };
	struct logfile *f = NULL;
	struct err e = ERR_INIT;

	assert_int_equal(logfile_open(&o, &f, &e), ERR_NOENT);
	assert_string_equal(
		e.text, "log file: cannot open 'none/x.log': No such file or directory");
	o = (struct logfile_options){ .path = "x.log", .format = "%(x)s" };
	assert_int_equal(logfile_open(&o, &f, &e), ERR_INVAL);
	assert_null(f);
	logfile_close(NULL);
}

/* Python rotates when a line would reach the size, and keeps old-files of them. */
static void test_rotation_by_size(void **state)
{
	struct logfile *f = open_log((struct logfile_options){ .max_size = 12, .old_files = 2 });

	log_emit(LOG_INFO, "a", "a123");
	log_emit(LOG_INFO, "a", "b123");
	log_emit(LOG_INFO, "a", "c123");
	assert_string_equal(read_file("x.log"), "c123\n");
	assert_string_equal(read_file("x.log.1"), "a123\nb123\n");
	log_emit(LOG_INFO, "a", "d123456789");
	log_emit(LOG_INFO, "a", "e");
	assert_string_equal(read_file("x.log"), "e\n");
	assert_string_equal(read_file("x.log.1"), "d123456789\n");
	assert_string_equal(read_file("x.log.2"), "c123\n");
	assert_int_equal(count_files(), 3);
	logfile_close(f);
}

static void test_large_line_in_empty_file(void **state)
{
	struct logfile *f = open_log((struct logfile_options){ .max_size = 4, .old_files = 2 });

	log_emit(LOG_INFO, "a", "0123456789");
	logfile_close(f);
	assert_int_equal(count_files(), 1);
}

/* A file left from an earlier time is rotated by the first line, and named after the
 * interval that it was begun in: as TimedRotatingFileHandler does. */
static void rotate_by_time(
	enum logfile_when when, uint32_t interval, uint8_t weekday, const char *expected)
{
	struct logfile *f;

	remove_files(NULL);
	write_file("x.log", "old\n", 1700000000);
	f = open_log((struct logfile_options){
		.when = when, .interval = interval, .weekday = weekday, .old_files = 3 });
	log_emit(LOG_INFO, "a", "new");
	log_emit(LOG_INFO, "a", "newer");
	logfile_close(f);
	assert_string_equal(read_file("x.log"), "new\nnewer\n");
	assert_non_null(read_file(expected));
	assert_string_equal(content, "old\n");
	assert_int_equal(count_files(), 2);
}

static void test_rotation_by_time(void **state)
{
	/* 2023-11-14 was a Tuesday */
	rotate_by_time(LOGFILE_SECONDS, 100, 0, "x.log.2023-11-14_22-13-20");
	rotate_by_time(LOGFILE_MINUTES, 5, 0, "x.log.2023-11-14_22-13");
	rotate_by_time(LOGFILE_HOURS, 0, 0, "x.log.2023-11-14_22");
	rotate_by_time(LOGFILE_DAYS, 7, 0, "x.log.2023-11-14");
	rotate_by_time(LOGFILE_MIDNIGHT, 1, 0, "x.log.2023-11-14");
	rotate_by_time(LOGFILE_WEEKDAY, 1, 1, "x.log.2023-11-08"); /* ends 15th, 0:00 */
	rotate_by_time(LOGFILE_WEEKDAY, 1, 0, "x.log.2023-11-14"); /* ends 21st, 0:00 */
}

static void test_summer_time(void **state)
{
	setenv("TZ", "Europe/Berlin", 1);
	tzset();
	remove_files(NULL);
	/* the day of 25 hours: 2023-10-29, 12:00 */
	write_file("x.log", "old\n", 1698577200);
	logfile_close(open_log((struct logfile_options){ 0 }));
	{
		struct logfile *f = open_log(
			(struct logfile_options){ .when = LOGFILE_MIDNIGHT, .old_files = 3 });

		log_emit(LOG_INFO, "a", "new");
		logfile_close(f);
	}
	assert_non_null(read_file("x.log.2023-10-29"));
	setenv("TZ", "UTC", 1);
	tzset();
}

static void test_not_yet_due(void **state)
{
	struct logfile *f =
		open_log((struct logfile_options){ .when = LOGFILE_HOURS, .old_files = 3 });

	log_emit(LOG_INFO, "a", "x");
	logfile_close(f);
	assert_int_equal(count_files(), 1);
}

static void test_old_files_are_deleted(void **state)
{
	struct logfile *f;

	write_file("x.log", "old\n", 1700000000);
	write_file("x.log.2023-11-01", "", 0);
	write_file("x.log.2023-11-02", "", 0);
	write_file("x.log.2023-11-03", "", 0);
	write_file("x.log.2023-11-03.gz", "", 0);
	write_file("x.log.kept", "", 0);
	write_file("y.log.2023-11-01", "", 0);
	f = open_log((struct logfile_options){ .when = LOGFILE_DAYS, .old_files = 2 });
	log_emit(LOG_INFO, "a", "new");
	logfile_close(f);
	assert_int_equal(access("x.log.2023-11-01", F_OK), -1);
	assert_int_equal(access("x.log.2023-11-02", F_OK), -1);
	assert_int_equal(access("x.log.2023-11-03", F_OK), -1);
	assert_int_equal(access("x.log.2023-11-03.gz", F_OK), 0);
	assert_int_equal(access("x.log.2023-11-14", F_OK), 0);
	assert_int_equal(count_files(), 5);
}

static void test_reopen(void **state)
{
	struct logfile *f = open_log((struct logfile_options){ 0 });
	struct err e = ERR_INIT;

	log_emit(LOG_INFO, "a", "1");
	assert_int_equal(rename("x.log", "moved"), 0);
	log_emit(LOG_INFO, "a", "2");
	assert_int_equal(logfile_reopen_all(&e), OK);
	log_emit(LOG_INFO, "a", "3");
	logfile_close(f);
	assert_string_equal(read_file("moved"), "1\n2\n");
	assert_string_equal(read_file("x.log"), "3\n");
}

static void test_reopen_rotates(void **state)
{
	struct logfile *f = open_log((struct logfile_options){ .max_size = 1000, .old_files = 2 });
	struct err e = ERR_INIT;

	log_emit(LOG_INFO, "a", "1");
	assert_int_equal(logfile_reopen_all(&e), OK);
	log_emit(LOG_INFO, "a", "2");
	logfile_close(f);
	assert_string_equal(read_file("x.log.1"), "1\n");
	assert_string_equal(read_file("x.log"), "2\n");
}

static void test_reopen_fails(void **state)
{
	struct logfile *f = open_log((struct logfile_options){ 0 });
	struct err e = ERR_INIT;

	log_emit(LOG_INFO, "a", "1");
	assert_int_equal(rename("x.log", "moved"), 0);
	assert_int_equal(mkdir("x.log", 0777), 0);
	assert_int_equal(logfile_reopen_all(&e), ERR_IO);
	assert_string_equal(e.text, "cannot open 'x.log': Is a directory");
	log_emit(LOG_INFO, "a", "2");
	logfile_close(f);
	assert_string_equal(read_file("moved"), "1\n2\n");
	rmdir("x.log");
}

static void test_null(void **state)
{
	log_add(&logfile_null);
	log_emit(LOG_CRITICAL, "a", "x");
	log_remove(&logfile_null);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_default_format),
		cmocka_unit_test(test_time),
		cmocka_unit_test(test_text),
		cmocka_unit_test(test_numbers),
		cmocka_unit_test(test_refused_formats),
		cmocka_unit_test(test_when),
		cmocka_unit_test_teardown(test_append_and_level, remove_files),
		cmocka_unit_test_teardown(test_control_characters, remove_files),
		cmocka_unit_test_teardown(test_delay, remove_files),
		cmocka_unit_test_teardown(test_cannot_open, remove_files),
		cmocka_unit_test_teardown(test_rotation_by_size, remove_files),
		cmocka_unit_test_teardown(test_large_line_in_empty_file, remove_files),
		cmocka_unit_test_teardown(test_rotation_by_time, remove_files),
		cmocka_unit_test_teardown(test_summer_time, remove_files),
		cmocka_unit_test_teardown(test_not_yet_due, remove_files),
		cmocka_unit_test_teardown(test_old_files_are_deleted, remove_files),
		cmocka_unit_test_teardown(test_reopen, remove_files),
		cmocka_unit_test_teardown(test_reopen_rotates, remove_files),
		cmocka_unit_test_teardown(test_reopen_fails, remove_files),
		cmocka_unit_test(test_null),
	};

	return cmocka_run_group_tests(tests, enter_folder, leave_folder);
}
