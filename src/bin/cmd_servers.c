#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "bin/command.h"
#include "bin/zkzeo_connect.h"
#include "zookeeper/servers.h"

static void print_value(const char *name, const json_t *value)
{
	char *text = NULL;

	if (strcmp(name, "address") == 0 || strcmp(name, "path") == 0)
		return;
	if (!json_is_string(value))
		text = json_dumps(value, JSON_ENCODE_ANY | JSON_COMPACT);
	printf(" %s=%s", name, text ? text : json_string_value(value));
	free(text);
}

static void print_text(const json_t *servers)
{
	const json_t *server;
	size_t i;

	json_array_foreach(servers, i, server)
	{
		void *it = json_object_iter((json_t *)server);

		fputs(json_string_value(json_object_get(server, "address")), stdout);
		for (; it; it = json_object_iter_next((json_t *)server, it))
			print_value(json_object_iter_key(it), json_object_iter_value(it));
		putchar('\n');
	}
}

static void print_json(const json_t *servers)
{
	json_dumpf(servers, stdout, JSON_INDENT(2) | JSON_PRESERVE_ORDER);
	putchar('\n');
}

int cmd_servers(int argc, char **argv)
{
	bool as_json = argc == 3 && strcmp(argv[1], "--json") == 0;
	char path[ZK_PATH_MAX];
	struct err e = ERR_INIT;
	struct reader *r = NULL;
	json_t *servers = NULL;
	int rc;

	if (argc != 2 + as_json || !strchr(argv[argc - 1], '/'))
		return EXIT_USAGE;
	rc = zkzeo_connect(argv[argc - 1], &r, path, &e);
	if (rc == OK)
		rc = servers_read(r, path, &servers, &e);
	if (rc)
		fprintf(stderr, "zkzeo servers: %s\n", e.text);
	else if (as_json)
		print_json(servers);
	else
		print_text(servers);
	json_decref(servers);
	reader_close(r);
	return rc == OK ? EXIT_OK : EXIT_FAILED;
}
