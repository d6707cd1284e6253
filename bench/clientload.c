/* The client library under the load of one thread: loads that the cache has not got, or commits of one object. What
 * zeoload does on one connection is its limit; what Python's package adds is seen beside it. */
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>

#include "base/address.h"
#include "client/client.h"
#include "client/commit.h"
#include "codec/tid.h"

enum { WARM = 200 };
#define BEFORE (UINT64_MAX >> 1) /* maxtid, as Python has it */

struct options {
	const char *address;
	bool commits;
	uint64_t objects;
	double seconds;
	uint64_t seed;
};

static _Noreturn void die(const char *what, const struct err *e)
{
	fprintf(stderr, "clientload: %s: %s\n", what, e->text);
	exit(1);
}

static double now_s(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static double cpu_s(void)
{
	struct rusage r;

	getrusage(RUSAGE_SELF, &r);
	return (double)(r.ru_utime.tv_sec + r.ru_stime.tv_sec) +
	       (double)(r.ru_utime.tv_usec + r.ru_stime.tv_usec) / 1e6;
}

static uint64_t random_next(uint64_t *state)
{
	*state ^= *state << 13;
	*state ^= *state >> 7;
	*state ^= *state << 17;
	return *state;
}

static void load(struct client *c, uint64_t oid)
{
	struct client_record r;
	struct err e = ERR_INIT;

	if (client_load_before(c, oid, BEFORE, &r, &e) != OK)
		die("a load", &e);
	client_record_end(&r);
}

static void commit(struct client *c, struct slice data, uint64_t *serial)
{
	const struct client_conflict *conflicts;
	struct client_txn *t;
	struct err e = ERR_INIT;
	struct val extension = { .type = VAL_DICT };
	size_t n;

	if (client_txn_begin(
		    c, slice_of("", 0), slice_of("", 0), &extension, TID_NONE, ' ', &t, &e) != OK ||
		client_txn_store(t, 1, *serial, data, &e) != OK ||
		client_txn_vote(t, &conflicts, &n, NULL, &e) != OK ||
		client_txn_finish(t, NULL, NULL, serial, NULL, &e) != OK)
		die("a commit", &e);
}

static void options_parse(int argc, char **argv, struct options *o)
{
	static const struct option table[] = { { "commits", 0, 0, 'c' }, { "objects", 1, 0, 'o' },
		{ "seconds", 1, 0, 's' }, { "seed", 1, 0, 'r' }, { 0 } };
	int c;

	while ((c = getopt_long(argc, argv, "", table, NULL)) != -1) {
		if (c == 'c')
			o->commits = true;
		else if (c == 'o')
			o->objects = strtoull(optarg, NULL, 10);
		else if (c == 's')
			o->seconds = strtod(optarg, NULL);
		else if (c == 'r')
			o->seed = strtoull(optarg, NULL, 10);
		else
			exit(2);
	}
	if (optind != argc - 1 || o->objects < 2 || !o->seed) {
		fprintf(stderr, "usage: clientload [--commits] [--objects N] [--seconds S] "
				"[--seed N] HOST:PORT\n");
		exit(2);
	}
	o->address = argv[optind];
}

static struct client *connect_to(const char *text)
{
	struct client_options o = { .no_cache = true };
	struct address a;
	struct client *c;
	struct err e = ERR_INIT;

	if (address_parse(text, "127.0.0.1", &a, &e) != OK)
		die(text, &e);
	if (client_open(&o, &a, 1, &c, &e) != OK || client_wait(c, 0, &e) != OK)
		die(text, &e);
	return c;
}

int main(int argc, char **argv)
{
	struct options o = { .objects = 1000000, .seconds = 3, .seed = 1 };
	struct client_record first;
	struct client *c;
	struct err e = ERR_INIT;
	uint64_t random, serial, n = 0;
	double start = 0, cpu = 0, end = 0;

	options_parse(argc, argv, &o);
	c = connect_to(o.address);
	random = o.seed * UINT64_C(0x9e3779b97f4a7c15);
	if (client_load_before(c, 1, BEFORE, &first, &e) != OK)
		die("the first load", &e);
	serial = first.serial;
	for (int64_t i = -WARM; i <= 0 || now_s() < end; i++) {
		if (i == 0) {
			start = now_s();
			cpu = cpu_s();
			end = start + o.seconds;
		}
		if (o.commits)
			commit(c, first.data, &serial);
		else
			load(c, 1 + random_next(&random) % (o.objects - 1));
		n += i >= 0;
	}
	end = now_s();
	cpu = cpu_s() - cpu;
	client_record_end(&first);
	client_close(c);
	printf("{\"operations\": %llu, \"seconds\": %.3f, \"cpu\": %.6f}\n", (unsigned long long)n,
		end - start, cpu);
	return 0;
}
