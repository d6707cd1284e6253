#include "bin/options.h"

#include <getopt.h>
#include <stdio.h>

#include "base/compiler.h"
#include "version.h"

enum { OPT_PID_FILE = 256, OPT_CHECK, OPT_TEST, OPT_VERSION };

/* One row an option: parsing and help come from the same place. */
static const struct {
	const char *name;
	int value;
	const char *arg; /* NULL: none */
	const char *help;
} rows[] = {
	{ "configure", 'C', "FILE", "read the configuration from FILE" },
	{ "address", 'a', "ADDRESS",
		"listen on ADDRESS: PORT, HOST:PORT or the path of a Unix socket" },
	{ "filename", 'f', "FILE",
		"serve the FileStorage FILE; may be repeated: storages 1, 2, ..." },
	{ "timeout", 't', "SECONDS", "time a client has to finish a transaction it has voted" },
	{ "pid-file", OPT_PID_FILE, "FILE", "write the process id to FILE" },
	{ "check", OPT_CHECK, NULL, "read the configuration, say whether it is right, and exit" },
	{ "test", OPT_TEST, NULL, "open storages and address, then exit" },
	{ "help", 'h', NULL, "print this help" },
	{ "version", OPT_VERSION, NULL, "print the version" },
};

static void print_help(void)
{
	puts("Usage: zkrunzeo -C FILE | -a ADDRESS -f FILE [OPTIONS]\n"
	     "Serve ZODB storages to ZEO clients, and register the server in ZooKeeper.\n");
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		char left[64];

		snprintf(left, sizeof(left), "%s%c%s--%s%s%s", rows[i].value < 256 ? "-" : " ",
			rows[i].value < 256 ? rows[i].value : ' ',
			rows[i].value < 256 ? ", " : "  ", rows[i].name, rows[i].arg ? " " : "",
			rows[i].arg ? rows[i].arg : "");
		printf("  %-30s %s\n", left, rows[i].help);
	}
	puts("\nSee zkrunzeo(1) for signals, exit codes and files.");
}

static void build(struct option *longs, char *shorts)
{
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		longs[i] = (struct option){ rows[i].name,
			rows[i].arg ? required_argument : no_argument, NULL, rows[i].value };
		if (rows[i].value < 256) {
			*shorts++ = (char)rows[i].value;
			if (rows[i].arg)
				*shorts++ = ':';
		}
	}
	longs[ARRAY_LEN(rows)] = (struct option){ 0 };
	*shorts = 0;
}

static int take(struct options *o, int opt, struct err *e)
{
	switch (opt) {
	case 'C':
		o->config = optarg;
		return OK;
	case 'a':
		o->overrides.address = optarg;
		return OK;
	case 'f':
		if (o->overrides.filenames_n == OPTIONS_FILES_MAX)
			return err_set(e, ERR_INVAL, "more than %d -f options", OPTIONS_FILES_MAX);
		o->filenames[o->overrides.filenames_n++] = optarg;
		return OK;
	case 't':
		o->overrides.timeout = optarg;
		return OK;
	case OPT_PID_FILE:
		o->overrides.pid_filename = optarg;
		return OK;
	case OPT_CHECK:
		o->action = OPTIONS_CHECK;
		return OK;
	case OPT_TEST:
		o->action = OPTIONS_TEST;
		return OK;
	case 'h':
		print_help();
		o->action = OPTIONS_EXIT;
		return OK;
	case OPT_VERSION:
		puts("zkrunzeo " ZKZEO_VERSION);
		o->action = OPTIONS_EXIT;
		return OK;
	default: /* getopt has said what is wrong */
		return err_set(e, ERR_INVAL, "see zkrunzeo --help");
	}
}

int options_parse(int argc, char **argv, struct options *ret, struct err *e)
{
	struct option longs[ARRAY_LEN(rows) + 1];
	char shorts[2 * ARRAY_LEN(rows) + 1];
	int rc = OK;
	int opt;

	*ret = (struct options){ .action = OPTIONS_SERVE };
	build(longs, shorts);
	while (rc == OK && ret->action != OPTIONS_EXIT &&
		(opt = getopt_long(argc, argv, shorts, longs, NULL)) != -1)
		rc = take(ret, opt, e);
	if (rc == OK && ret->action != OPTIONS_EXIT && optind < argc)
		rc = err_set(e, ERR_INVAL, "unexpected argument '%s'; see zkrunzeo --help",
			argv[optind]);
	ret->overrides.filenames = ret->filenames;
	return rc;
}
