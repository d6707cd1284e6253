/* Register a server that is not there, and deregister on SIGTERM: what tests drive a registration
 * with. Lines of log and what happened go to standard output. */
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/log.h"
#include "monitor/monitor.h"
#include "monitor/servers_command.h"
#include "zookeeper/registration.h"

static void log_line(void *context, int level, const char *text)
{
	char scratch[16];

	(void)context;
	printf("%s %s\n", log_level_name(level, scratch), text);
}

/* T31: a child that goes through the motions must not disturb the parent. */
static void fork_child(struct registration *r)
{
	pid_t child = fork();
	int status = 0;

	if (child == 0) {
		registration_stop(r, 1000);
		_exit(0);
	}
	waitpid(child, &status, 0);
	printf("child: %d\n", WEXITSTATUS(status));
}

static struct monitor *start_monitor(const char *text, struct registration_options *o)
{
	static char name[300];
	struct monitor *m = NULL;
	struct address a;
	struct err e = ERR_INIT;

	if (address_parse(text, "127.0.0.1", &a, &e) || monitor_start(&a, &m, &e)) {
		printf("monitor: %s\n", e.text);
		return NULL;
	}
	address_format(monitor_address(m), name, sizeof(name));
	printf("monitor: %s\n", name);
	if (a.family == ADDRESS_INET)
		o->monitor = name;
	return m;
}

static int add_servers(struct monitor *m, struct registration *r, struct err *e)
{
	struct monitor_command c = servers_command(r);

	return m ? monitor_add(m, &c, e) : OK;
}

static void wait_for_signal(struct registration *r, const sigset_t *signals)
{
	int sig = 0;

	while (sigwait(signals, &sig) == 0 && sig == SIGUSR1)
		fork_child(r);
}

int main(int argc, char **argv)
{
	struct registration_options o = { .log = log_line, .session_timeout_ms = 10000 };
	struct registration *r = NULL;
	struct address bound;
	struct err e = ERR_INIT;
	const char *advertise = NULL;
	struct monitor *m = NULL;
	sigset_t signals;
	int opt, rc;

	setvbuf(stdout, NULL, _IOLBF, 0);
	sigemptyset(&signals);
	sigaddset(&signals, SIGTERM);
	sigaddset(&signals, SIGUSR1);
	pthread_sigmask(SIG_BLOCK, &signals, NULL);
	o.pid = getpid();
	while ((opt = getopt(argc, argv, "t:m:M:s:a:d")) != -1) {
		if (opt == 't')
			o.session_timeout_ms = (uint32_t)atoi(optarg);
		else if (opt == 'm')
			o.monitor = optarg;
		else if (opt == 'M')
			m = start_monitor(optarg, &o);
		else if (opt == 's')
			o.session_file = optarg;
		else if (opt == 'a')
			advertise = optarg;
		else if (opt == 'd')
			o.must_connect = true;
		else
			return 2;
	}
	if (argc - optind != 3) {
		fprintf(stderr, "usage: register_once [-t MS] [-m PROPERTY | -M MONITOR-ADDRESS] "
				"[-s SESSION-FILE] "
				"[-a ADVERTISE] [-d] CONNECTION PATH ADDRESS\n");
		return 2;
	}
	o.connection = argv[optind];
	o.path = argv[optind + 1];
	rc = address_parse(argv[optind + 2], "", &bound, &e);
	if (rc == OK)
		rc = names_find(&bound, advertise, &o.names, &e);
	if (rc == OK)
		rc = registration_start(&o, &r, &e);
	if (rc == OK)
		rc = add_servers(m, r, &e);
	if (rc) {
		printf("error: %s\n", e.text);
		return 1;
	}
	puts("started");
	wait_for_signal(r, &signals);
	monitor_stop(m);
	printf("stop: %d\n", registration_stop(r, 5000));
	return 0;
}
