#include "cmocka_all.h"

#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <arpa/inet.h>

#include "base/clock.h"
#include "monitor/monitor.h"
#include "monitor/program.h"
#include "monitor/report.h"

static char answer[1 << 21];

static int connect_to(const struct address *a)
{
	struct sockaddr_in in = { .sin_family = AF_INET, .sin_port = htons(a->port) };
	struct sockaddr_un un = { .sun_family = AF_UNIX };
	bool tcp = a->family == ADDRESS_INET;
	int fd = socket(tcp ? AF_INET : AF_UNIX, SOCK_STREAM, 0);

	in.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	strcpy(un.sun_path, a->path);
	assert_int_equal(
		connect(fd, tcp ? (void *)&in : (void *)&un, tcp ? sizeof(in) : sizeof(un)), 0);
	return fd;
}

static void send_text(int fd, const char *text)
{
	assert_int_equal(send(fd, text, strlen(text), MSG_NOSIGNAL), strlen(text));
}

/* Read until @end has come, or (NULL) until the monitor closes. */
static const char *read_until(int fd, const char *end)
{
	size_t n = 0;
	ssize_t r = 1;

	answer[0] = 0;
	while (!end || !strstr(answer, end)) {
		struct pollfd p = { fd, POLLIN, 0 };

		if (poll(&p, 1, 20000) != 1)
			fail_msg("no answer, only: %s", answer);
		r = recv(fd, answer + n, sizeof(answer) - 1 - n, 0);
		if (r <= 0)
			break;
		n += (size_t)r;
		answer[n] = 0;
	}
	if (end && r <= 0)
		fail_msg("closed after: %s", answer);
	assert_true(r >= 0);
	return answer;
}

static const char *ask(const struct monitor *m, const char *line)
{
	int fd = connect_to(monitor_address(m));

	send_text(fd, line);
	read_until(fd, NULL);
	close(fd);
	return answer;
}

static int report_sample(void *context, int argc, char *const *argv, json_t **ret, struct err *e)
{
	if (argc > 2)
		return err_set(e, ERR_INVAL, "usage: sample [NAME]");
	*ret = json_pack("{s:s, s:i, s:[s,s], s:[{s:s,s:b}]}", "name", argc > 1 ? argv[1] : "x",
		"count", *(int *)context, "list", "a", "b", "storages", "id", "1", "ok", 1);
	return OK;
}

static int sample_count = 42;

static void add(struct monitor *m, const char *name, const char *program)
{
	struct monitor_command c = {
		.name = name, .arguments = "", .help = "Run it", .program = program
	};
	struct err e = ERR_INIT;

	assert_int_equal(monitor_add(m, &c, &e), OK);
}

static int setup(void **state)
{
	struct address a = { .family = ADDRESS_INET, .host = "127.0.0.1" };
	struct monitor_command c = { .name = "sample",
		.arguments = "[NAME]",
		.help = "Show a sample\nIn two ways.",
		.report = report_sample,
		.context = &sample_count };
	struct monitor *m = NULL;
	struct err e = ERR_INIT;

	if (monitor_start(&a, &m, &e) || monitor_add(m, &c, &e))
		fail_msg("%s", e.text);
	add(m, "echo", "/bin/echo  said:");
	*state = m;
	return 0;
}

static int teardown(void **state)
{
	monitor_stop(*state);
	return 0;
}

static void help(void **state)
{
	assert_string_equal(ask(*state, "help\n"),
		"Supported commands:\n"
		"  echo -- Run it\n"
		"  help -- Get help about server commands\n"
		"  interactive -- Turn on monitor's interactive mode\n"
		"  quit -- Quit the monitor\n"
		"  sample -- Show a sample\n");
	assert_string_equal(ask(*state, "help sample\r\n"),
		"Help for sample:\n\nShow a sample\n\n    In two ways.\n"
		"    usage: sample [--json] [NAME]\n");
	assert_string_equal(ask(*state, "help help me\n"), "help: usage: help [COMMAND]\n");
}

static void unknown_command(void **state)
{
	assert_string_equal(ask(*state, "nope\n"), "Invalid command 'nope'\nTry \"help\".\n");
	assert_string_equal(
		ask(*state, "\x1b[1m\n"), "Invalid command '\\x1b[1m'\nTry \"help\".\n");
	assert_string_equal(ask(*state, "help nope\n"), "Invalid command 'nope'\nTry \"help\".\n");
}

static void reports(void **state)
{
	assert_string_equal(ask(*state, "sample\n"),
		"name: x\ncount: 42\nlist: a, b\nstorages:\n  - id: 1\n    ok: true\n");
	assert_string_equal(ask(*state, "sample --json y\n"),
		"{\"name\":\"y\",\"count\":42,\"list\":[\"a\",\"b\"],\"storages\":[{\"id\":\"1\","
		"\"ok\":true}]}\n");
	assert_string_equal(ask(*state, "sample a b\n"), "sample: usage: sample [NAME]\n");
}

static void line_without_its_end(void **state)
{
	int fd = connect_to(monitor_address(*state));

	send_text(fd, "quit");
	shutdown(fd, SHUT_WR);
	assert_string_equal(read_until(fd, NULL), "Goodbye.\n");
	close(fd);
}

static void interactive(void **state)
{
	int fd = connect_to(monitor_address(*state));

	send_text(fd, "\n\ninteractive\n");
	assert_string_equal(read_until(fd, "\n"), "Interactive mode on.  Use \"quit\" To exit.\n");
	send_text(fd, "echo a\n");
	assert_string_equal(read_until(fd, "\n"), "said: a\n");
	send_text(fd, "\n");
	assert_string_equal(read_until(fd, "\n"), "said: a\n");
	send_text(fd, "echo b\nsam");
	assert_string_equal(read_until(fd, "\n"), "said: b\n");
	send_text(fd, "ple --json\nquit\n");
	read_until(fd, NULL);
	assert_non_null(strstr(answer, "\"count\":42"));
	assert_non_null(strstr(answer, "Goodbye.\n"));
	close(fd);
}

static void programs(void **state)
{
	struct monitor *m = *state;

	add(m, "fails", "/bin/false");
	add(m, "missing", "/no/such/program");
	add(m, "empty", "");
	add(m, "killed", "sh -c kill${IFS}-TERM${IFS}$$");
	assert_string_equal(ask(m, "echo a  b\n"), "said: a b\n");
	assert_string_equal(ask(m, "fails\n"), "The program ended with status 1\n");
	assert_string_equal(
		ask(m, "missing\n"), "cannot run '/no/such/program': No such file or directory\n");
	assert_string_equal(
		ask(m, "empty\n"), "empty: the program's command line has no or too many words\n");
	assert_string_equal(ask(m, "killed\n"), "The program was ended by signal 15\n");
}

/* It inherits nothing: no descriptor, no blocked signal, no input. */
static void program_surroundings(void **state)
{
	add(*state, "fds", "/bin/ls /proc/self/fd");
	add(*state, "mask", "/bin/grep SigBlk /proc/self/status");
	add(*state, "cat", "/bin/cat");
	/* ls itself opens 3 */
	assert_string_equal(ask(*state, "fds\n"), "0\n1\n2\n3\n");
	assert_string_equal(ask(*state, "mask\n"), "SigBlk:\t0000000000000000\n");
	assert_string_equal(ask(*state, "cat\n"), "");
}

/* What a program leaves behind in its group goes with it, and does not hold the answer up. */
static void program_leaves_a_child(void **state)
{
	char script[] = "/tmp/zkzeo-test-XXXXXX";
	int fd = mkstemp(script);
	FILE *f = fdopen(fd, "w");
	char command[100];
	long child;

	fputs("sleep 1000 &\necho $!\n", f);
	fclose(f);
	snprintf(command, sizeof(command), "/bin/sh %s", script);
	add(*state, "leaves", command);
	child = atol(ask(*state, "leaves\n"));
	assert_true(child > 1);
	/* killed; until its new parent takes note it is a zombie */
	for (int i = 0; i < 500 && kill((pid_t)child, 0) == 0; i++) {
		char path[64], state_line[256] = "";
		FILE *stat;

		snprintf(path, sizeof(path), "/proc/%ld/stat", child);
		stat = fopen(path, "r");
		if (!stat || !fgets(state_line, sizeof(state_line), stat) ||
			strstr(state_line, ") Z"))
			i = 500;
		if (stat)
			fclose(stat);
		assert_true(i != 499);
		usleep(10000);
	}
	unlink(script);
}

static void program_with_too_much_output(void **state)
{
	add(*state, "yes", "/usr/bin/yes");
	ask(*state, "yes\n");
	assert_in_range(strlen(answer), PROGRAM_OUTPUT_MAX, PROGRAM_OUTPUT_MAX + 10000);
	assert_non_null(strstr(answer, "The program was stopped: more than 1048576 bytes"));
}

/* Others are answered while a program runs, and its time is limited. */
static void program_that_does_not_end(void **state)
{
	uint64_t start = clock_mono_us(&clock_system);
	int fd = connect_to(monitor_address(*state));

	add(*state, "sleep", "/bin/sleep 1000");
	send_text(fd, "sleep\n");
	assert_string_equal(ask(*state, "echo a\n"), "said: a\n");
	assert_string_equal(read_until(fd, NULL), "The program was stopped after 10 seconds\n");
	assert_in_range(clock_mono_us(&clock_system) - start, 9900000, 15000000);
	close(fd);
}

static void long_lines(void **state)
{
	char line[2001];

	memset(line, 'a', 2000);
	line[2000] = 0;
	ask(*state, line);
	assert_string_equal(answer, "The line is too long: at most 1023 bytes are possible\n");
	for (size_t i = 0; i < 200; i += 2)
		line[i] = ' ';
	line[200] = '\n';
	line[201] = 0;
	assert_string_equal(ask(*state, line), "Too many words: at most 32 are possible\n");
}

/* More connections than there is room for: the rest waits for its turn. */
static void many_connections(void **state)
{
	int fds[40];

	for (size_t i = 0; i < ARRAY_LEN(fds); i++)
		fds[i] = connect_to(monitor_address(*state));
	send_text(fds[39], "quit\n");
	for (size_t i = 0; i < 39; i++)
		close(fds[i]); /* T40: come and gone without a word */
	assert_string_equal(read_until(fds[39], NULL), "Goodbye.\n");
	close(fds[39]);
}

static void own_commands_stay(void **state)
{
	struct monitor_command c = { .name = "help", .arguments = "", .help = "x", .program = "x" };
	struct err e = ERR_INIT;
	char names[COMMANDS_MAX][8];
	int rc = OK;

	assert_int_equal(monitor_add(*state, &c, &e), ERR_EXISTS);
	for (int i = 0; i < COMMANDS_MAX && rc == OK; i++) {
		snprintf(names[i], sizeof(names[i]), "c%d", i);
		c.name = names[i];
		rc = monitor_add(*state, &c, &e);
	}
	assert_int_equal(rc, ERR_LIMIT);
}

static void stop_with_a_program_running(void **state)
{
	void *m;
	int fd;

	setup(&m);
	add(m, "sleep", "/bin/sh -c echo${IFS}$$;exec${IFS}sleep${IFS}1000");
	fd = connect_to(monitor_address(m));
	send_text(fd, "sleep\necho\n");
	assert_string_equal(ask(m, "echo\n"), "said:\n");
	monitor_stop(m);
	read_until(fd, NULL);
	close(fd);
}

static void unix_socket(void **state)
{
	struct address a = { .family = ADDRESS_UNIX };
	struct monitor *m = NULL, *second = NULL;
	struct sockaddr_un un = { .sun_family = AF_UNIX };
	struct err e = ERR_INIT;
	struct stat st;
	int stale;

	snprintf(a.path, sizeof(a.path), "/tmp/zkzeo-monitor-%d", (int)getpid());
	strcpy(un.sun_path, a.path);
	stale = socket(AF_UNIX, SOCK_STREAM, 0);
	assert_int_equal(bind(stale, (void *)&un, sizeof(un)), 0);
	close(stale);
	if (monitor_start(&a, &m, &e)) /* T73 */
		fail_msg("%s", e.text);
	assert_string_equal(ask(m, "quit\n"), "Goodbye.\n");
	assert_int_equal(monitor_start(&a, &second, &e), ERR_BUSY);
	monitor_stop(m);
	assert_int_equal(stat(a.path, &st), -1);
}

static void busy_port(void **state)
{
	struct monitor *second = NULL;
	struct err e = ERR_INIT;
	char expected[200];

	snprintf(expected, sizeof(expected),
		"unable to start zc.monitor server because the address 127.0.0.1:%u is in use.",
		monitor_address(*state)->port);
	assert_int_equal(monitor_start(monitor_address(*state), &second, &e), ERR_BUSY);
	assert_string_equal(e.text, expected);
}

static void check_text(const char *json, const char *expected)
{
	json_t *v = json_loads(json, JSON_DECODE_ANY, NULL);
	struct buf out = BUF_INIT(0);

	report_write_text(v, &out);
	buf_put_u8(&out, 0);
	assert_string_equal((const char *)out.data, expected);
	buf_free(&out);
	json_decref(v);
}

static void texts(void **state)
{
	check_text("\"x\"", "x\n");
	check_text("[]", "none\n");
	check_text("{\"a\":null,\"b\":1.5,\"c\":[],\"d\":{\"e\":true}}",
		"a: none\nb: 1.5\nc: none\nd:\n  e: true\n");
	check_text("[{\"a\":1,\"b\":[{\"c\":2},{\"c\":3}]},{\"a\":4}]",
		"- a: 1\n  b:\n    - c: 2\n    - c: 3\n- a: 4\n");
	check_text("{\"a\":[[1,2],[3]]}", "a:\n  - 1, 2\n  - 3\n");
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(help),
		TEST(unknown_command),
		TEST(reports),
		TEST(line_without_its_end),
		TEST(interactive),
		TEST(programs),
		TEST(program_surroundings),
		TEST(program_leaves_a_child),
		TEST(program_with_too_much_output),
		TEST(program_that_does_not_end),
		TEST(long_lines),
		TEST(many_connections),
		TEST(own_commands_stay),
		cmocka_unit_test(stop_with_a_program_running),
		cmocka_unit_test(unix_socket),
		TEST(busy_port),
		cmocka_unit_test(texts),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
