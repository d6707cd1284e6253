#include "monitor/servers_command.h"

#include <string.h>

#include "monitor/report.h"

static json_t *describe(const struct registration_status *s, size_t i)
{
	return json_pack("{s:s, s:s, s:s*, s:I}", "address", s->names.text[i], "path", s->path,
		"monitor", s->monitor[0] ? s->monitor : NULL, "pid", (json_int_t)s->pid);
}

static void write_all(const struct registration_status *s, struct buf *out)
{
	json_t *servers = json_array();

	for (size_t i = 0; i < s->names.n; i++)
		if (s->registered[i])
			json_array_append_new(servers, describe(s, i));
	report_write_json(servers, out);
	json_decref(servers);
}

static void write_addresses(const struct registration_status *s, const char *path, struct buf *out)
{
	bool here = strcmp(path, s->path) == 0 || strcmp(path, s->asked_path) == 0;
	const char *space = "";

	for (size_t i = 0; here && i < s->names.n; i++) {
		if (!s->registered[i])
			continue;
		buf_printf(out, "%s%s", space, s->names.text[i]);
		space = " ";
	}
	buf_put_u8(out, '\n');
}

static int write_servers(void *context, int argc, char *const *argv, struct buf *out, struct err *e)
{
	struct registration_status s;

	if (argc > 2)
		return err_set(e, ERR_INVAL, "usage: servers [PATH]");
	registration_status(context, &s);
	if (argc == 1 || strcmp(argv[1], "--json") == 0)
		write_all(&s, out);
	else
		write_addresses(&s, argv[1], out);
	return OK;
}

struct monitor_command servers_command(struct registration *r)
{
	return (struct monitor_command){
		.name = "servers",
		.arguments = "[PATH]",
		.help = "List the servers this process registered in ZooKeeper\n"
			"A JSON list of addresses with their paths and properties.  With a path,\n"
			"only the addresses that are registered there.",
		.write = write_servers,
		.context = r,
	};
}
