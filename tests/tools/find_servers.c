/* Follow the servers at a path as a client does, and print what it would be told. */
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/log.h"
#include "client/finder.h"

/* Stands in for the client: the finder is linked without it. */
void client_on_seek(struct client *c, void (*seek)(void *arg), void *arg)
{
}

int client_set_addresses(struct client *c, const struct address *addresses, size_t n, struct err *e)
{
	char text[300];

	printf("client:");
	for (size_t i = 0; i < n; i++)
		printf(" %s", address_format(&addresses[i], text, sizeof(text)));
	putchar('\n');
	return OK;
}

static void log_line(void *arg, int level, const char *logger, const char *text)
{
	char scratch[16];

	printf("%s %s %s\n", logger, log_level_name(level, scratch), text);
}

int main(int argc, char **argv)
{
	struct client_events events = { .log = log_line };
	bool wait = argc < 4 || strcmp(argv[3], "--no-wait") != 0;
	struct finder *f = NULL;
	struct err e = ERR_INIT;

	if (argc < 3) {
		fprintf(stderr, "usage: find_servers CONNECTION PATH [--no-wait]\n");
		return 2;
	}
	setvbuf(stdout, NULL, _IOLBF, 0);
	if (finder_open(argv[1], argv[2], wait, NULL, &events, &f, &e)) {
		printf("error: %s: %s\n", err_name(e.code), e.text);
		return 1;
	}
	puts("opened");
	if (finder_attach(f, (struct client *)f, &e)) /* which one does not matter */
		printf("error: %s\n", e.text);
	while (getchar() != EOF)
		;
	finder_close(f);
	return 0;
}
