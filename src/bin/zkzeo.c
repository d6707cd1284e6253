/* zkzeo: one command with subcommands. */
#include <stdio.h>
#include <string.h>

#include "base/compiler.h"
#include "bin/command.h"
#include "version.h"

static const struct command commands[] = {
	{ "tree", "CONNECTION[/PATH]", "print the nodes of a ZooKeeper tree with their properties",
		cmd_tree },
	{ "servers", "[--json] CONNECTION/PATH", "list the servers that are registered at a path",
		cmd_servers },
};

static void print_usage(FILE *f)
{
	fputs("usage: zkzeo COMMAND [ARGUMENT...]\n"
	      "       zkzeo --help | --version\n\n"
	      "commands:\n",
		f);
	for (size_t i = 0; i < ARRAY_LEN(commands); i++)
		fprintf(f, "  %s %s\n      %s\n", commands[i].name, commands[i].arguments,
			commands[i].help);
	fputs("\nCONNECTION is a list of ZooKeeper servers, HOST[:PORT] separated by commas.\n"
	      "exit status: 0 done, 1 failed, 2 wrong usage\n",
		f);
}

static const struct command *find(const char *name)
{
	for (size_t i = 0; i < ARRAY_LEN(commands); i++)
		if (strcmp(commands[i].name, name) == 0)
			return &commands[i];
	return NULL;
}

static int run(const struct command *c, int argc, char **argv)
{
	int status;

	if (argc == 2 && (strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "-h") == 0)) {
		printf("usage: zkzeo %s %s\n\n%s\n", c->name, c->arguments, c->help);
		return EXIT_OK;
	}
	status = c->run(argc, argv);
	if (status == EXIT_USAGE)
		fprintf(stderr, "usage: zkzeo %s %s\n", c->name, c->arguments);
	return status;
}

static int dispatch(int argc, char **argv)
{
	const char *name = argc > 1 ? argv[1] : "";
	const struct command *c = find(name);

	if (c)
		return run(c, argc - 1, argv + 1);
	if (strcmp(name, "--help") == 0 || strcmp(name, "-h") == 0) {
		print_usage(stdout);
		return EXIT_OK;
	}
	if (strcmp(name, "--version") == 0) {
		puts("zkzeo " ZKZEO_VERSION);
		return EXIT_OK;
	}
	if (name[0])
		fprintf(stderr, "zkzeo: '%s' is no command\n", name);
	print_usage(stderr);
	return EXIT_USAGE;
}

int main(int argc, char **argv)
{
	int status = dispatch(argc, argv);

	if (fflush(stdout) != 0) {
		perror("zkzeo: cannot write");
		return EXIT_FAILED;
	}
	return status;
}
