#include "monitor/commands.h"

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "monitor/report.h"

static int write_help(void *context, int argc, char *const *argv, struct buf *out, struct err *e);

static int write_interactive(
	void *context, int argc, char *const *argv, struct buf *out, struct err *e)
{
	buf_put_str(out, "Interactive mode on.  Use \"quit\" To exit.\n");
	return OK;
}

static int write_quit(void *context, int argc, char *const *argv, struct buf *out, struct err *e)
{
	buf_put_str(out, "Goodbye.\n");
	return OK;
}

static const struct command_row basics[] = {
	{ { .name = "help",
		  .arguments = "[COMMAND]",
		  .help = "Get help about server commands\n"
			  "By default, a list of commands and summaries is printed.  Provide\n"
			  "a command name to get detailed documentation for a command.",
		  .write = write_help },
		MODE_SAME },
	{ { .name = "interactive",
		  .arguments = "",
		  .help = "Turn on monitor's interactive mode\n"
			  "Normally, the monitor releases the connection after a single command.\n"
			  "In interactive mode it stays until you enter the \"quit\" command.\n"
			  "An empty line repeats the last command.",
		  .write = write_interactive },
		MODE_INTERACTIVE },
	{ { .name = "quit",
		  .arguments = "",
		  .help = "Quit the monitor\n"
			  "This is only really useful in interactive mode (see the "
			  "\"interactive\"\n"
			  "command).",
		  .write = write_quit },
		MODE_QUIT },
};

static int compare(const void *a, const void *b)
{
	return strcmp(
		((const struct command_row *)a)->c.name, ((const struct command_row *)b)->c.name);
}

void commands_init(struct commands *t)
{
	pthread_mutex_init(&t->lock, NULL);
	memcpy(t->rows, basics, sizeof(basics));
	t->n = ARRAY_LEN(basics);
	for (size_t i = 0; i < t->n; i++)
		t->rows[i].c.context = t;
}

void commands_free(struct commands *t)
{
	pthread_mutex_destroy(&t->lock);
}

static struct command_row *find(struct commands *t, const char *name)
{
	for (size_t i = 0; i < t->n; i++)
		if (strcmp(t->rows[i].c.name, name) == 0)
			return &t->rows[i];
	return NULL;
}

static int add_locked(struct commands *t, const struct monitor_command *c, struct err *e)
{
	struct command_row *row = find(t, c->name);

	if (row && row->c.context == t)
		return err_set(e, ERR_EXISTS, "the monitor's own command '%s' cannot be replaced",
			c->name);
	if (!row && t->n == COMMANDS_MAX)
		return err_set(e, ERR_LIMIT, "the monitor has room for %d commands: no '%s'",
			COMMANDS_MAX, c->name);
	if (!row)
		row = &t->rows[t->n++];
	*row = (struct command_row){ *c, MODE_SAME };
	qsort(t->rows, t->n, sizeof(t->rows[0]), compare);
	return OK;
}

int commands_add(struct commands *t, const struct monitor_command *c, struct err *e)
{
	int rc;

	pthread_mutex_lock(&t->lock);
	rc = add_locked(t, c, e);
	pthread_mutex_unlock(&t->lock);
	return rc;
}

/* A copy of the row, so that no lock is held while its function runs. */
static bool take_row(struct commands *t, const char *name, struct command_row *ret)
{
	struct command_row *row;

	pthread_mutex_lock(&t->lock);
	row = find(t, name);
	if (row)
		*ret = *row;
	pthread_mutex_unlock(&t->lock);
	return row != NULL;
}

/* As zc.monitor says it; bytes that would change a terminal are shown as numbers. */
static void write_unknown(struct buf *out, const char *name)
{
	buf_put_str(out, "Invalid command '");
	for (; *name; name++) {
		if (isprint((unsigned char)*name))
			buf_put_u8(out, (uint8_t)*name);
		else
			buf_printf(out, "\\x%02x", (unsigned char)*name);
	}
	buf_put_str(out, "'\nTry \"help\".\n");
}

/* Write the first line of @text; returns what follows it. */
static const char *put_line(struct buf *out, const char *text)
{
	size_t n = strcspn(text, "\n");

	buf_put(out, text, n);
	buf_put_u8(out, '\n');
	return text[n] ? text + n + 1 : text + n;
}

static void write_list(struct commands *t, struct buf *out)
{
	buf_put_str(out, "Supported commands:\n");
	pthread_mutex_lock(&t->lock);
	for (size_t i = 0; i < t->n; i++) {
		buf_printf(out, "  %s -- ", t->rows[i].c.name);
		put_line(out, t->rows[i].c.help);
	}
	pthread_mutex_unlock(&t->lock);
}

static void write_details(const struct monitor_command *c, struct buf *out)
{
	const char *rest;

	buf_printf(out, "Help for %s:\n\n", c->name);
	rest = put_line(out, c->help);
	buf_put_u8(out, '\n');
	while (*rest) {
		buf_put_str(out, "    ");
		rest = put_line(out, rest);
	}
	buf_printf(out, "    usage: %s%s%s%s\n", c->name, c->report ? " [--json]" : "",
		c->arguments[0] ? " " : "", c->arguments);
}

static int write_help(void *context, int argc, char *const *argv, struct buf *out, struct err *e)
{
	struct command_row row;

	if (argc > 2)
		return err_set(e, ERR_INVAL, "usage: help [COMMAND]");
	if (argc == 1)
		write_list(context, out);
	else if (take_row(context, argv[1], &row))
		write_details(&row.c, out);
	else
		write_unknown(out, argv[1]);
	return OK;
}

/* Words of @text, in place. Returns how many, or -1 when there are too many. */
static int split(char *text, char **words, int max)
{
	char *rest = NULL;
	int n = 0;

	for (char *w = strtok_r(text, " \t\r\n", &rest); w; w = strtok_r(NULL, " \t\r\n", &rest)) {
		if (n == max)
			return -1;
		words[n++] = w;
	}
	return n;
}

static bool take_json_flag(char **words, int *n)
{
	int kept = 0;

	for (int i = 0; i < *n; i++)
		if (strcmp(words[i], "--json") != 0)
			words[kept++] = words[i];
	if (kept == *n)
		return false;
	*n = kept;
	return true;
}

static int write_report(
	const struct monitor_command *c, char **words, int n, struct buf *out, struct err *e)
{
	bool as_json = take_json_flag(words, &n);
	json_t *report = NULL;
	int rc = c->report(c->context, n, words, &report, e);

	if (rc == OK && as_json)
		report_write_json(report, out);
	else if (rc == OK)
		report_write_text(report, out);
	json_decref(report);
	return rc;
}

static int prepare_program(const struct monitor_command *c, char **words, int n,
	struct command_outcome *ret, struct err *e)
{
	int program_n;

	if ((size_t)snprintf(ret->program, sizeof(ret->program), "%s", c->program) >=
		sizeof(ret->program))
		return err_set(e, ERR_LIMIT, "the program's command line is too long");
	program_n = split(ret->program, ret->argv, COMMAND_WORDS_MAX);
	if (program_n < 1) {
		ret->argv[0] = NULL;
		return err_set(e, ERR_LIMIT, "the program's command line has no or too many words");
	}
	memcpy(ret->argv + program_n, words + 1, (size_t)(n - 1) * sizeof(*words));
	ret->argv[program_n + n - 1] = NULL;
	return OK;
}

static int run_row(const struct command_row *row, char **words, int n, struct buf *out,
	struct command_outcome *ret, struct err *e)
{
	if (row->c.report)
		return write_report(&row->c, words, n, out, e);
	if (row->c.write)
		return row->c.write(row->c.context, n, words, out, e);
	return prepare_program(&row->c, words, n, ret, e);
}

void commands_run(struct commands *t, char *line, struct buf *out, struct command_outcome *ret)
{
	char *words[COMMAND_WORDS_MAX];
	struct command_row row;
	struct err e = ERR_INIT;
	int n = split(line, words, COMMAND_WORDS_MAX);

	ret->mode = MODE_SAME;
	ret->argv[0] = NULL;
	if (n < 1) {
		buf_printf(out, "Too many words: at most %d are possible\n", COMMAND_WORDS_MAX);
	} else if (!take_row(t, words[0], &row)) {
		write_unknown(out, words[0]);
	} else {
		ret->mode = row.mode;
		if (run_row(&row, words, n, out, ret, &e))
			buf_printf(out, "%s: %s\n", row.c.name, e.text);
	}
}
