#include "bin/pass_phrase.h"

#include <poll.h>
#include <string.h>

#include "base/clock.h"
#include "base/mem.h"
#include "monitor/program.h"

enum { LINE_MAX_BYTES = 1024 };

/* Wait until there is output, or the end, or the time is over. */
static void wait_for(const struct program *p, uint64_t now_us)
{
	struct pollfd f[] = { { .fd = p->output, .events = POLLIN },
		{ .fd = p->exited, .events = POLLIN } };
	uint64_t left_us = p->deadline_us > now_us ? p->deadline_us - now_us : 0;

	poll(f, 2, (int)(left_us / 1000 + 1));
}

/* What is told of a failure comes from program_end() alone. */
static int run(char *const *argv, struct buf *out, struct err *e)
{
	struct buf why = BUF_INIT(0);
	struct program p;
	int rc = program_start(argv, clock_mono_us(&clock_system), &p, e);

	if (rc != OK)
		return rc;
	while (!program_step(&p, out, clock_mono_us(&clock_system)))
		wait_for(&p, clock_mono_us(&clock_system));
	program_end(&p, &why);
	if (p.overdue)
		rc = err_set(e, ERR_TIMEOUT, "it was stopped after %d seconds",
			PROGRAM_TIMEOUT_US / 1000000);
	else if (why.len)
		rc = err_set(e, ERR_INVAL, "%.*s", (int)why.len - 1, (const char *)why.data);
	buf_free(&why);
	return rc;
}

/* Leave the first line, as a string. */
static int take_line(struct buf *b, struct err *e)
{
	const uint8_t *end = b->len ? memchr(b->data, '\n', b->len) : NULL;
	size_t len = end ? (size_t)(end - b->data) : b->len;

	if (len && b->data[len - 1] == '\r')
		len--;
	if (len == 0)
		return err_set(e, ERR_INVAL, "its output does not start with a pass phrase");
	if (len > LINE_MAX_BYTES)
		return err_set(e, ERR_INVAL, "the first line of its output is longer than %d bytes",
			LINE_MAX_BYTES);
	b->data[len] = 0; /* a line has an end, else there is room reserved */
	return OK;
}

int pass_phrase_run(const char *command, struct buf *ret_phrase, struct err *e)
{
	char shell[] = "/bin/sh";
	char option[] = "-c";
	/* what it says of errors is no pass phrase */
	char script[] = "exec 2>/dev/null; eval \"$1\"";
	char name[] = "password-command";
	char *text = mem_strdup(command);
	char *argv[] = { shell, option, script, name, text, NULL };
	int rc;

	if (!text)
		return err_set(e, ERR_NOMEM, "no memory for password-command");
	rc = run(argv, ret_phrase, e);
	mem_free(text);
	if (rc == OK && !buf_reserve(ret_phrase, 1))
		rc = err_set(e, ERR_NOMEM, "no memory for a pass phrase");
	if (rc == OK)
		rc = take_line(ret_phrase, e);
	return rc == OK ? OK : err_wrap(e, "password-command");
}

void pass_phrase_free(struct buf *phrase)
{
	if (phrase->data)
		explicit_bzero(phrase->data, phrase->room);
	buf_free(phrase);
}
