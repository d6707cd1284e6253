/* zkrunzeo: the server's process, from its command line to its end. */
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/logfile.h"
#include "base/os.h"
#include "bin/certificates.h"
#include "bin/discovery.h"
#include "bin/logging.h"
#include "bin/options.h"
#include "bin/pidfile.h"
#include "bin/process.h"
#include "bin/storages.h"
#include "net/listen.h"
#include "resolver/resolvers.h"
#include "server/server.h"
#include "server/service.h"
#include "version.h"

#define LOGGER "zkrunzeo"

enum {
	EXIT_CONFIG = 2, /* wrong usage or configuration */
	GRACE_MS = 5000, /* for clients to finish what they have voted */
};

/* Everything that is open, in the order it was opened. */
struct run {
	const struct server_config *config;
	struct tls_context *tls; /* NULL: connections are not encrypted */
	struct storages storages;
	struct listener listener;
	struct resolver *resolver;
	char timeout_text[32];
	struct server server;
	struct service *service;
	struct discovery *discovery;
	const char *pid_file;
	char pid_file_room[PATH_MAX];
};

static void write_pid_file(struct run *r)
{
	struct err e = ERR_INIT;
	const char *path = r->config->pid_filename;

	if (r->config->read_only)
		return; /* as runzeo */
	if (!path)
		path = pidfile_default(r->pid_file_room);
	if (!path)
		return;
	if (pidfile_write(path, &e) != OK) {
		log_emit(LOG_ERROR, LOGGER, "%s", e.text);
		return;
	}
	r->pid_file = path;
	log_emit(LOG_INFO, LOGGER, "created PID file '%s'", path);
}

/* invalidation-age; below 0: not given. Longer than anyone keeps a cache is as good as for ever. */
static uint64_t age_us(double s)
{
	const double ever_s = 1e10;

	return s > 0 ? (uint64_t)((s < ever_s ? s : ever_s) * 1e6) : 0;
}

static int open_resolver(struct run *r, struct err *e)
{
	const struct config_resolver *c = r->config->resolver;
	struct helper_pool_options o;

	if (r->config->client_conflict_resolution)
		return OK; /* the clients do it */
	if (!c)
		return resolvers_open(NULL, &r->resolver, e);
	o = (struct helper_pool_options){
		.python = c->python,
		.path = c->path,
		.path_n = c->path_n,
		.processes = c->processes,
		.timeout_ms = (uint32_t)(c->timeout_s * 1e3),
	};
	return resolvers_open(&o, &r->resolver, e);
}

static int start_server(struct run *r, struct err *e)
{
	const struct server_config *c = r->config;
	struct server_options o = {
		.read_only = c->read_only,
		.msgpack = c->msgpack,
		.client_conflict_resolution = c->client_conflict_resolution,
		.invalidation_age_us = age_us(c->invalidation_age_s),
		.resolver = r->resolver,
		.transaction_timeout_us = (uint64_t)(c->transaction_timeout_s * 1e6),
		.transaction_timeout_text = r->timeout_text,
	};
	int rc;

	snprintf(r->timeout_text, sizeof(r->timeout_text), "%g", c->transaction_timeout_s);
	rc = server_init(
		&r->server, &o, &clock_system, r->storages.ids, r->storages.list, r->storages.n, e);
	if (rc != OK)
		return rc;
	return service_start(&r->server, &r->listener, r->tls,
		c->worker_threads ? c->worker_threads : os_cpus(), &r->service, e);
}

static void log_serving(const struct run *r)
{
	char address[300];

	address_format(&r->listener.bound, address, sizeof(address));
	for (size_t i = 0; i < r->storages.n; i++)
		log_emit(LOG_INFO, LOGGER, "storage '%s': %s, %s", r->storages.ids[i],
			r->storages.list[i]->name,
			r->config->read_only || r->storages.list[i]->read_only ? "read-only"
									       : "writable");
	log_emit(LOG_INFO, LOGGER, "zkrunzeo %s listening on %s%s", ZKZEO_VERSION, address,
		r->tls ? ", with TLS" : "");
}

static int start(struct run *r, struct err *e)
{
	int rc = storages_open(r->config, &r->storages, e);

	if (rc == OK)
		rc = listener_open(&r->config->address, &r->listener, e);
	if (rc == OK)
		rc = open_resolver(r, e);
	if (rc == OK)
		rc = start_server(r, e);
	if (rc == OK)
		rc = discovery_start(
			r->config, &r->listener, &r->server, r->service, &r->discovery, e);
	return rc;
}

/* The order matters: nobody finds us any more, nobody comes any more, those who are here finish,
 * and only then the storages close (T42). */
static void stop(struct run *r)
{
	discovery_stop(r->discovery);
	if (r->service) {
		unsigned cut = service_stop(r->service, GRACE_MS);

		if (cut)
			log_emit(LOG_WARNING, LOGGER,
				"%u connections were cut: their clients did not finish in time",
				cut);
	}
	server_fini(&r->server);
	resolvers_close(r->resolver);
	listener_close(&r->listener);
	storages_close(&r->storages);
	if (r->pid_file)
		pidfile_remove(r->pid_file);
}

static void reopen_logs(void)
{
	struct err e = ERR_INIT;

	if (logfile_reopen_all(&e) == OK)
		log_emit(LOG_INFO, LOGGER, "Log files reopened successfully");
	else
		log_emit(LOG_ERROR, LOGGER, "%s", e.text);
}

/* Until it is to end; returns the exit status. */
static int wait_for_end(void)
{
	for (;;) {
		int sig = process_wait_signal();

		if (sig == SIGUSR2) {
			reopen_logs();
			continue;
		}
		if (sig == SIGHUP)
			log_emit(LOG_INFO, LOGGER, "restarted by SIGHUP");
		else
			log_emit(LOG_INFO, LOGGER, "terminated by SIG%s", sigabbrev_np(sig));
		return sig == SIGHUP ? EXIT_FAILURE : EXIT_SUCCESS;
	}
}

static int serve(const struct server_config *c, struct tls_context *tls, bool test)
{
	struct run r = { .config = c, .tls = tls };
	struct err e = ERR_INIT;
	int status = EXIT_SUCCESS;
	int rc;

	write_pid_file(&r);
	rc = start(&r, &e);
	if (rc == ERR_CLOSED && process_is_to_end()) {
		status = wait_for_end(); /* it came while a storage waited for its server */
	} else if (rc != OK) {
		log_emit(LOG_CRITICAL, LOGGER, "cannot start: %s", e.text);
		fprintf(stderr, "zkrunzeo: %s\n", e.text);
		status = EXIT_FAILURE;
	} else {
		log_serving(&r);
		if (test)
			puts("testing exit immediately");
		else
			status = wait_for_end();
	}
	stop(&r);
	if (status == EXIT_SUCCESS)
		log_emit(LOG_INFO, LOGGER, "stopped");
	return status;
}

static int fail_config(const struct err *e)
{
	fprintf(stderr, "zkrunzeo: %s\n", e->text);
	return EXIT_CONFIG;
}

int main(int argc, char **argv)
{
	struct server_config *config = NULL;
	struct tls_context *tls = NULL;
	struct logging logging = { 0 };
	struct err e = ERR_INIT;
	struct options o;
	int status;

	process_block_signals();
	process_size_pool();
	if (options_parse(argc, argv, &o, &e) != OK)
		return fail_config(&e);
	if (o.action == OPTIONS_EXIT)
		return EXIT_SUCCESS;
	if (server_config_load_with(o.config, &o.overrides, &config, &e) != OK)
		return fail_config(&e);
	if (certificates_load(config->ssl, &tls, &e) != OK) {
		status = fail_config(&e);
	} else if (o.action == OPTIONS_CHECK) {
		printf("%s: the configuration is right\n", o.config ? o.config : "command line");
		status = EXIT_SUCCESS;
	} else if (logging_open(&config->eventlog, &logging, &e) != OK) {
		status = fail_config(&e);
	} else {
		process_raise_limits();
		status = serve(config, tls, o.action == OPTIONS_TEST);
		logging_close(&logging);
	}
	tls_context_free(tls);
	server_config_free(config);
	return status;
}
