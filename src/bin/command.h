/* Subcommands of zkzeo: one row of one table each (zkzeo.c). */
#ifndef BIN_COMMAND_H
#define BIN_COMMAND_H

/** What zkzeo and its subcommands exit with. */
enum { EXIT_OK = 0, EXIT_FAILED = 1, EXIT_USAGE = 2 };

struct command {
	const char *name;
	const char *arguments; /* as the usage line shows them */
	const char *help;      /* one line */
	/** @argv[0] is the subcommand's name. Returns an exit status; EXIT_USAGE makes zkzeo print
	 * the usage line. */
	int (*run)(int argc, char **argv);
};

int cmd_tree(int argc, char **argv);
int cmd_servers(int argc, char **argv);

#endif
