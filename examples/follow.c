/* Say what others change, as it happens, until the input ends. */
#include <inttypes.h>

#include "servers.h"

static void invalidate(void *arg, uint64_t tid, const uint64_t *oids, size_t n)
{
	(void)arg;
	printf("0x%016" PRIx64 ":", tid);
	for (size_t i = 0; i < n; i++)
		printf(" 0x%" PRIx64, oids[i]);
	printf("\n");
	fflush(stdout);
}

static void connected(void *arg)
{
	(void)arg;
	printf("connected\n");
	fflush(stdout);
}

static void disconnected(void *arg)
{
	(void)arg;
	printf("disconnected\n");
	fflush(stdout);
}

static void log_line(void *arg, int level, const char *logger, const char *text)
{
	(void)arg;
	if (level >= 30)
		fprintf(stderr, "%s: %s\n", logger, text);
}

int main(int argc, char **argv)
{
	struct zkzeo_options o = zkzeo_options_default();
	struct zkzeo_client *client;
	struct zkzeo_error e;

	servers_of(argc, argv, &o);
	o.read_only = true;
	o.events.invalidate = invalidate;
	o.events.connected = connected;
	o.events.disconnected = disconnected;
	o.events.log = log_line;
	if (zkzeo_client_open(&o, &client, &e) != ZKZEO_OK)
		return failed("open", &e);
	while (getchar() != EOF)
		;
	zkzeo_client_close(client);
	return 0;
}
