#include "bin/discovery.h"

#include <limits.h>
#include <stdio.h>
#include <unistd.h>

#include "base/log.h"
#include "base/mem.h"
#include "bin/monitor_rows.h"
#include "monitor/servers_command.h"
#include "zookeeper/registration.h"

#define LOGGER "zc.zkzeo"

enum { DEREGISTER_MS = 3000 };

struct discovery {
	struct monitor *monitor;
	struct registration *registration;
	struct monitor_view view;
	char session_file[PATH_MAX];
};

static void log_registration(void *ctx, int level, const char *text)
{
	(void)ctx;
	log_emit(level, LOGGER, "%s", text);
}

static int add_programs(struct monitor *m, const struct config_zookeeper *z, struct err *e)
{
	int rc = OK;

	for (size_t i = 0; i < z->monitor_commands_n && rc == OK; i++) {
		struct monitor_command c = {
			.name = z->monitor_commands[i].name,
			.arguments = "[ARGUMENT...]",
			.help = "A program of this site's",
			.program = z->monitor_commands[i].program,
		};

		rc = monitor_add(m, &c, e);
	}
	return rc;
}

/* A server without its monitor is better than none (T73). */
static int start_monitor(struct discovery *d, const struct config_zookeeper *z, struct err *e)
{
	char text[300];
	int rc;

	if (!z->monitor_server)
		return OK;
	rc = monitor_start(z->monitor_server, &d->monitor, e);
	if (rc != OK) {
		log_emit(LOG_WARNING, LOGGER, "no monitor server: %s", e->text);
		return OK;
	}
	rc = monitor_rows_add(d->monitor, &d->view, e);
	if (rc == OK)
		rc = add_programs(d->monitor, z, e);
	if (rc == OK)
		log_emit(LOG_INFO, LOGGER, "monitor server listening on %s",
			address_format(monitor_address(d->monitor), text, sizeof(text)));
	return rc;
}

/* The session is kept beside what is ours alone: the first data file, else the pid file. */
static const char *session_file(struct discovery *d, const struct server_config *c)
{
	const char *beside = c->pid_filename;

	for (size_t i = 0; i < c->storages_n; i++) {
		if (c->storages[i].kind == CONFIG_FILESTORAGE &&
			!c->storages[i].filestorage.read_only) {
			beside = c->storages[i].filestorage.path;
			break;
		}
	}
	if (!beside)
		return NULL;
	snprintf(d->session_file, sizeof(d->session_file), "%s.zksession", beside);
	return d->session_file;
}

static int start_registration(struct discovery *d, const struct server_config *c,
	const struct listener *listener, struct err *e)
{
	const struct config_zookeeper *z = &c->zookeeper;
	struct registration_options o = {
		.connection = z->connection,
		.path = z->path,
		.session_timeout_ms = z->session_timeout_ms,
		.pid = getpid(),
		.session_file = session_file(d, c),
		.must_connect = c->address.family == ADDRESS_INET && c->address.port == 0,
		.log = log_registration,
	};
	struct node_names monitor;
	int rc;

	if (!z->path)
		return OK;
	rc = names_find(&listener->bound, z->advertise, &o.names, e);
	if (rc != OK)
		return rc;
	if (d->monitor && monitor_address(d->monitor)->family == ADDRESS_INET &&
		names_find(monitor_address(d->monitor), NULL, &monitor, e) == OK)
		o.monitor = monitor.text[0]; /* one that others can reach */
	rc = registration_start(&o, &d->registration, e);
	if (rc == OK && d->monitor) {
		struct monitor_command row = servers_command(d->registration);

		rc = monitor_add(d->monitor, &row, e);
	}
	return rc;
}

int discovery_start(const struct server_config *c, const struct listener *listener,
	struct server *server, struct service *service, struct discovery **ret, struct err *e)
{
	struct discovery *d;
	int rc;

	if (!c->zookeeper.present)
		return OK;
	d = mem_zalloc(1, sizeof(*d));
	if (!d)
		return err_set(e, ERR_NOMEM, "no memory for the monitor");
	d->view = (struct monitor_view){ server, service };
	rc = start_monitor(d, &c->zookeeper, e);
	if (rc == OK)
		rc = start_registration(d, c, listener, e);
	if (rc == OK)
		*ret = d;
	else
		discovery_stop(d);
	return rc;
}

void discovery_stop(struct discovery *d)
{
	if (!d)
		return;
	monitor_stop(d->monitor); /* it looks at the registration */
	if (registration_stop(d->registration, DEREGISTER_MS) != OK)
		log_emit(LOG_WARNING, LOGGER,
			"ZooKeeper did not confirm the end in time: the "
			"node goes with its session");
	mem_free(d);
}
