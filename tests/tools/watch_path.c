/* Watch nodes and print what is told of them, on command: lines of standard input say what to do next. */
#include <inttypes.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "zookeeper/live.h"
#include "zookeeper/watch.h"

enum { PATHS_MAX = 8 };

struct program {
	const char *connection;
	char **paths;
	size_t n;
	enum watch_kind kind;
	uint32_t wait_ms;
	uint32_t session_ms; /* a session of its own with this time limit; 0 = the shared one */
	struct live *live;
	struct watch *watches[PATHS_MAX];
};

static void changed(void *arg, const char *data, size_t len, size_t n)
{
	flockfile(stdout);
	printf("%s:", (const char *)arg);
	if (!n)
		printf(" %.*s", (int)len, data);
	for (; n; n--, data += strlen(data) + 1)
		printf(" %s", data);
	putchar('\n');
	funlockfile(stdout);
}

static void deleted(void *arg)
{
	printf("%s deleted\n", (const char *)arg);
}

static void connection(void *arg, bool connected)
{
	printf("%s %s\n", (const char *)arg, connected ? "connected" : "disconnected");
}

static int open_one(struct program *p, size_t i, struct err *e)
{
	struct watch_events events = { p->paths[i], changed, deleted, connection };

	if (p->session_ms)
		return live_watch_open(
			p->live, p->paths[i], p->kind, p->wait_ms, &events, &p->watches[i], e);
	return watch_open(
		p->connection, p->paths[i], p->kind, p->wait_ms, &events, &p->watches[i], e);
}

static void open_all(struct program *p)
{
	struct err e = ERR_INIT;
	int rc = p->session_ms ? live_open(p->connection, p->session_ms, &p->live, &e) : OK;

	for (size_t i = 0; rc == OK && i < p->n; i++)
		rc = open_one(p, i, &e);
	printf(rc ? "error: %s: %s\n" : "opened\n", err_name(rc), e.text);
}

static void close_all(struct program *p)
{
	for (size_t i = 0; i < p->n; i++) {
		if (p->session_ms)
			live_watch_close(p->watches[i]);
		else
			watch_close(p->watches[i]);
		p->watches[i] = NULL;
	}
	live_close(p->live);
	p->live = NULL;
	puts("closed");
}

/* T31: a child that goes through the motions must not disturb the parent, and may watch on its own. */
static void fork_child(struct program *p, bool opens)
{
	pid_t child = fork();
	int status = 0;

	if (child == 0) {
		close_all(p);
		if (opens) {
			open_all(p);
			close_all(p);
		}
		fflush(stdout);
		_exit(0);
	}
	waitpid(child, &status, 0);
	printf("child: %d\n", status);
}

static void *open_and_close(void *arg)
{
	struct program p = *(struct program *)arg;

	for (int i = 0; i < 50; i++) {
		struct err e = ERR_INIT;

		if (open_one(&p, (size_t)i % p.n, &e))
			printf("error: %s\n", e.text);
		else
			watch_close(p.watches[(size_t)i % p.n]);
	}
	return NULL;
}

static void many_threads(struct program *p)
{
	pthread_t threads[8];

	for (size_t i = 0; i < ARRAY_LEN(threads); i++)
		pthread_create(&threads[i], NULL, open_and_close, p);
	for (size_t i = 0; i < ARRAY_LEN(threads); i++)
		pthread_join(threads[i], NULL);
	puts("threads: done");
}

static void command(struct program *p, const char *line)
{
	if (strcmp(line, "open\n") == 0)
		open_all(p);
	else if (strcmp(line, "close\n") == 0)
		close_all(p);
	else if (strcmp(line, "fork\n") == 0)
		fork_child(p, false);
	else if (strcmp(line, "fork and open\n") == 0)
		fork_child(p, true);
	else if (strcmp(line, "hurry\n") == 0)
		watch_hurry(p->watches[0]);
	else if (strcmp(line, "threads\n") == 0)
		many_threads(p);
}

int main(int argc, char **argv)
{
	struct program p = { .kind = WATCH_CHILDREN, .wait_ms = 10000 };
	char line[100];
	int opt;

	setvbuf(stdout, NULL, _IOLBF, 0);
	while ((opt = getopt(argc, argv, "dw:s:")) != -1) {
		if (opt == 'd')
			p.kind = WATCH_DATA;
		else if (opt == 'w')
			p.wait_ms = (uint32_t)atoi(optarg);
		else if (opt == 's')
			p.session_ms = (uint32_t)atoi(optarg);
		else
			return 2;
	}
	if (argc - optind < 2 || argc - optind > PATHS_MAX) {
		fprintf(stderr,
			"usage: watch_path [-d] [-w WAIT-MS] [-s SESSION-MS] CONNECTION PATH...\n");
		return 2;
	}
	p.connection = argv[optind];
	p.paths = argv + optind + 1;
	p.n = (size_t)(argc - optind - 1);
	while (fgets(line, sizeof(line), stdin))
		command(&p, line);
	return 0;
}
