/* The table of the monitor's commands, and what a line means. */
#ifndef MONITOR_COMMANDS_H
#define MONITOR_COMMANDS_H

#include <jansson.h>
#include <pthread.h>

#include "base/buf.h"
#include "base/compiler.h"
#include "base/err.h"

/** One row: what `help` shows, and exactly one of report, write and program. */
struct monitor_command {
	const char *name;
	const char *arguments; /* "[PATH]"; "" for none */
	const char *help;      /* a sentence for `help`; after a newline, more for `help NAME` */
	/** Make the answer as an object: shown as text, or as JSON when --json was among the
	 * arguments (it is not in @argv, where argv[0] is the command). The reference in *ret is the
	 * monitor's. Returns 0, or a failure whose text is the answer. Threads: the monitor's; must
	 * not wait. */
	int (*report)(void *context, int argc, char *const *argv, json_t **ret, struct err *e);
	/** Write the answer itself. Otherwise as report(). */
	int (*write)(void *context, int argc, char *const *argv, struct buf *out, struct err *e);
	/** A program with perhaps some arguments, separated by white space; the line's follow. */
	const char *program;
	void *context;
};

enum { COMMANDS_MAX = 64, COMMAND_WORDS_MAX = 32 };

enum command_mode {
	MODE_SAME,        /* the connection goes on as it was */
	MODE_INTERACTIVE, /* from now on it stays open */
	MODE_QUIT,        /* from now on it closes after an answer */
};

struct command_row {
	struct monitor_command c;
	enum command_mode mode;
};

struct commands {
	pthread_mutex_t lock;                  /* over rows */
	struct command_row rows[COMMANDS_MAX]; /* sorted by name */
	size_t n;
};

/** What a line asked for. */
struct command_outcome {
	enum command_mode mode;
	/** The words of a program to run, NULL at the end; they point into the line and into program.
	 * argv[0] is NULL when the answer is complete. */
	char *argv[2 * COMMAND_WORDS_MAX + 1];
	char program[1024];
};

/** With the rows help, interactive and quit. */
void commands_init(struct commands *t);
void commands_free(struct commands *t);

/** Add a row, or replace the one of its name; the texts are borrowed for good. Returns 0, ERR_LIMIT
 * (the table is full) or ERR_EXISTS (help, interactive and quit stay). Threads: any. */
MUST_CHECK int commands_add(struct commands *t, const struct monitor_command *c, struct err *e);

/** Carry out @line (changed by it; not empty), and write the answer unless it comes from a program. */
void commands_run(struct commands *t, char *line, struct buf *out, struct command_outcome *ret);

#endif
