#include "monitor/connection.h"

#include <errno.h>
#include <string.h>
#include <sys/socket.h>

#include "base/os.h"

enum {
	IDLE_US = 60 * 1000 * 1000,
	INTERACTIVE_IDLE_US = 600 * 1000 * 1000,
};

static void touch(struct connection *c, uint64_t now_us)
{
	c->deadline_us = now_us + (c->interactive ? INTERACTIVE_IDLE_US : IDLE_US);
}

void connection_init(struct connection *c, int fd, uint64_t now_us)
{
	memset(c, 0, sizeof(*c));
	c->fd = fd;
	touch(c, now_us);
}

void connection_close(struct connection *c)
{
	if (c->state == CONNECTION_RUNNING)
		program_end(&c->program, NULL);
	buf_free(&c->out);
	os_close(c->fd);
}

void connection_polls(const struct connection *c, struct pollfd *polls)
{
	bool running = c->state == CONNECTION_RUNNING;

	/* not while a program runs: a peer that is gone would wake us without an end */
	polls[0] = (struct pollfd){ running ? -1 : c->fd,
		c->state == CONNECTION_WRITING ? POLLOUT : POLLIN, 0 };
	polls[1] = (struct pollfd){ running ? c->program.output : -1, POLLIN, 0 };
	polls[2] = (struct pollfd){ running ? c->program.exited : -1, POLLIN, 0 };
}

uint64_t connection_deadline(const struct connection *c)
{
	return c->state == CONNECTION_RUNNING ? c->program.deadline_us : c->deadline_us;
}

/* Returns false when the peer is gone. */
static bool receive(struct connection *c, uint64_t now_us)
{
	while (c->in_len < MONITOR_LINE_MAX && !c->peer_done) {
		ssize_t n = recv(c->fd, c->in + c->in_len, MONITOR_LINE_MAX - c->in_len, 0);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return errno == EAGAIN;
		if (n == 0)
			c->peer_done = true;
		else
			touch(c, now_us);
		c->in_len += (size_t)n;
	}
	return true;
}

/* Move the next line to @line. A last one may come without its newline. */
static bool take_line(struct connection *c, char line[MONITOR_LINE_MAX + 1])
{
	char *end = memchr(c->in, '\n', c->in_len);
	size_t n = end ? (size_t)(end - c->in) : c->in_len;
	size_t used = end ? n + 1 : n;

	if (!end && !(c->peer_done && n))
		return false;
	memcpy(line, c->in, n);
	line[n] = 0;
	memmove(c->in, c->in + used, c->in_len - used);
	c->in_len -= used;
	return true;
}

static bool is_blank(const char *line)
{
	return line[strspn(line, " \t\r")] == 0;
}

static void start_program(struct connection *c, char *const *argv, uint64_t now_us)
{
	struct err e = ERR_INIT;

	c->state = CONNECTION_RUNNING;
	if (program_start(argv, now_us, &c->program, &e) == OK)
		return;
	buf_printf(&c->out, "%s\n", e.text);
	c->state = CONNECTION_WRITING;
}

static void run_line(struct connection *c, struct commands *t, char *line, uint64_t now_us)
{
	struct command_outcome outcome;

	if (is_blank(line) && !c->last[0])
		return;
	if (is_blank(line))
		strcpy(line, c->last);
	else
		strcpy(c->last, line);
	c->state = CONNECTION_WRITING;
	commands_run(t, line, &c->out, &outcome);
	if (outcome.mode != MODE_SAME)
		c->interactive = outcome.mode == MODE_INTERACTIVE;
	if (outcome.argv[0])
		start_program(c, outcome.argv, now_us);
}

static bool step_reading(struct connection *c, struct commands *t, uint64_t now_us)
{
	char line[MONITOR_LINE_MAX + 1];
	bool here = receive(c, now_us);

	while (c->state == CONNECTION_READING && take_line(c, line))
		run_line(c, t, line, now_us);
	if (c->state != CONNECTION_READING)
		return true;
	if (c->in_len == MONITOR_LINE_MAX) {
		buf_printf(&c->out, "The line is too long: at most %d bytes are possible\n",
			MONITOR_LINE_MAX - 1);
		c->interactive = false;
		c->state = CONNECTION_WRITING;
		return true;
	}
	return here && !c->peer_done && now_us < c->deadline_us;
}

static void step_running(struct connection *c, uint64_t now_us)
{
	if (!program_step(&c->program, &c->out, now_us))
		return;
	program_end(&c->program, &c->out);
	c->state = CONNECTION_WRITING;
	touch(c, now_us);
}

/* Let the peer read all of the answer: closing while bytes of its are unread would reset it. */
static void finish(struct connection *c)
{
	char rest[512];

	shutdown(c->fd, SHUT_WR);
	while (recv(c->fd, rest, sizeof(rest), 0) > 0)
		;
}

static bool step_writing(struct connection *c, uint64_t now_us)
{
	while (c->out_sent < c->out.len) {
		ssize_t n = send(
			c->fd, c->out.data + c->out_sent, c->out.len - c->out_sent, MSG_NOSIGNAL);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return errno == EAGAIN && now_us < c->deadline_us;
		c->out_sent += (size_t)n;
		touch(c, now_us);
	}
	buf_shrink(&c->out, 0);
	c->out_sent = 0;
	c->state = CONNECTION_READING;
	if (!c->interactive)
		finish(c);
	return c->interactive;
}

bool connection_step(struct connection *c, struct commands *t, uint64_t now_us)
{
	for (;;) {
		int before = c->state;
		bool on = true;

		if (c->state == CONNECTION_READING)
			on = step_reading(c, t, now_us);
		else if (c->state == CONNECTION_RUNNING)
			step_running(c, now_us);
		else
			on = step_writing(c, now_us);
		if (!on)
			return false;
		if ((int)c->state == before)
			return true;
	}
}
