/* The client library under the load of one thread, as a C program has it: what bench/client_worker.py does, without
 * Python. What zeoload does on one connection is the limit of the rows that ask the server. */
#include <errno.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>

#include <zkzeo/zkzeo.h>

enum {
	WARM = 200,         /* operations before it is measured */
	CHUNK = 100,        /* operations between two looks at the clock */
	HIT_OBJECTS = 2000, /* they are in the cache */
};

struct options {
	const char *row;
	const char *address;
	uint64_t objects;
	double seconds;
	uint64_t seed;
};

/* What a row needs; step() does one operation. */
struct bench {
	struct zkzeo_client *client;
	struct zkzeo_db *db;
	struct zkzeo_connection *connection;
	uint64_t *oids; /* in random order, each once */
	size_t n_oids, next_oid;
	bool again; /* from the start when all were taken; else it is over */
	uint64_t before_tid;
	struct zkzeo_record stored;
};

struct row {
	const char *name;
	void (*prepare)(struct bench *b);
	void (*step)(struct bench *b);
};

static _Noreturn void die(const char *what, const char *why)
{
	fprintf(stderr, "clientload: %s: %s\n", what, why);
	exit(1);
}

static void check(int rc, const char *what, const struct zkzeo_error *e)
{
	if (rc != ZKZEO_OK)
		die(what, e->text);
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

/* --- oids --- */

static uint64_t random_next(uint64_t *state)
{
	*state ^= *state << 13;
	*state ^= *state >> 7;
	*state ^= *state << 17;
	return *state;
}

/* All oids but the root's. */
static void shuffle_oids(struct bench *b, const struct options *o)
{
	uint64_t random = o->seed * UINT64_C(0x9e3779b97f4a7c15);

	b->n_oids = o->objects - 1;
	b->oids = malloc(b->n_oids * sizeof(*b->oids));
	if (!b->oids)
		die("the oids", strerror(errno));
	for (size_t i = 0; i < b->n_oids; i++) {
		size_t other = random_next(&random) % (i + 1);

		b->oids[i] = b->oids[other];
		b->oids[other] = i + 1;
	}
}

static bool is_over(const struct bench *b)
{
	return b->next_oid == b->n_oids && !b->again;
}

static uint64_t next_oid(struct bench *b)
{
	if (b->next_oid == b->n_oids)
		b->next_oid = 0;
	return b->oids[b->next_oid++];
}

/* --- rows --- */

static void load(struct bench *b)
{
	struct zkzeo_record r;
	struct zkzeo_error e;
	int rc = zkzeo_client_load_before(b->client, next_oid(b), b->before_tid, &r, &e);

	check(rc, "a load", &e);
	zkzeo_record_end(&r);
}

static void prepare_hits(struct bench *b)
{
	if (b->n_oids > HIT_OBJECTS)
		b->n_oids = HIT_OBJECTS;
	for (size_t i = 0; i < b->n_oids; i++)
		load(b);
	b->again = true;
}

static void prepare_commits(struct bench *b)
{
	struct zkzeo_error e;

	check(zkzeo_client_load(b->client, 1, &b->stored, &e), "the first load", &e);
	b->again = true;
}

static void commit(struct bench *b)
{
	struct zkzeo_record *r = &b->stored;
	struct zkzeo_txn *t;
	struct zkzeo_error e;

	check(zkzeo_txn_begin(b->client, NULL, &t, &e), "a transaction", &e);
	check(zkzeo_txn_store(t, 1, r->serial, r->data, r->len, &e), "a store", &e);
	check(zkzeo_txn_vote(t, &e), "a vote", &e);
	check(zkzeo_txn_finish(t, &r->serial, &e), "a commit", &e);
}

static void prepare_objects(struct bench *b)
{
	struct zkzeo_error e;

	check(zkzeo_db_of_client(b->client, NULL, &b->db, &e), "the database", &e);
	check(zkzeo_connection_open(b->db, &b->connection, &e), "its connection", &e);
}

static void read_object(struct bench *b)
{
	struct zkzeo_object *o;
	const struct zkzeo_value *state;
	struct zkzeo_error e;

	check(zkzeo_connection_get(b->connection, next_oid(b), &o, &e), "an object", &e);
	check(zkzeo_object_state(o, &state, &e), "its state", &e);
	zkzeo_object_release(o);
}

static const struct row rows[] = {
	{ "cold", NULL, load },
	{ "hit", prepare_hits, load },
	{ "commit", prepare_commits, commit },
	{ "zodb-cold", prepare_objects, read_object },
};

/* --- measuring --- */

static uint64_t some(const struct row *row, struct bench *b)
{
	uint64_t n;

	for (n = 0; n < CHUNK && !is_over(b); n++)
		row->step(b);
	return n;
}

static void measure(const struct row *row, struct bench *b, double seconds)
{
	double start, cpu, end;
	uint64_t n = 0;

	for (unsigned i = 0; i < WARM / CHUNK; i++)
		(void)some(row, b);
	start = now_s();
	cpu = cpu_s();
	do {
		n += some(row, b);
		end = now_s();
	} while (end < start + seconds && !is_over(b));
	printf("{\"operations\": %llu, \"seconds\": %.6f, \"cpu\": %.6f}\n", (unsigned long long)n,
		end - start, cpu_s() - cpu);
}

static const struct row *row_named(const char *name)
{
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
		if (strcmp(rows[i].name, name) == 0)
			return &rows[i];
	die("there is no row", name);
}

static void options_parse(int argc, char **argv, struct options *o)
{
	static const struct option table[] = { { "objects", 1, 0, 'o' }, { "seconds", 1, 0, 's' },
		{ "seed", 1, 0, 'r' }, { 0 } };
	int c;

	while ((c = getopt_long(argc, argv, "", table, NULL)) != -1) {
		if (c == 'o')
			o->objects = strtoull(optarg, NULL, 10);
		else if (c == 's')
			o->seconds = strtod(optarg, NULL);
		else if (c == 'r')
			o->seed = strtoull(optarg, NULL, 10);
		else
			exit(2);
	}
	if (optind != argc - 2 || o->objects < 2 || !o->seed) {
		fprintf(stderr, "usage: clientload [--objects N] [--seconds S] [--seed N] "
				"cold|hit|commit|zodb-cold HOST:PORT\n");
		exit(2);
	}
	o->row = argv[optind];
	o->address = argv[optind + 1];
}

static struct zkzeo_client *connect_to(const char *address)
{
	struct zkzeo_options o = zkzeo_options_default();
	struct zkzeo_client *c;
	struct zkzeo_error e;

	o.addresses = &address;
	o.n_addresses = 1;
	check(zkzeo_client_open(&o, &c, &e), address, &e);
	return c;
}

int main(int argc, char **argv)
{
	struct options o = { .objects = 1000000, .seconds = 3, .seed = 1 };
	struct bench b = { 0 };
	const struct row *row;

	options_parse(argc, argv, &o);
	row = row_named(o.row);
	shuffle_oids(&b, &o);
	b.client = connect_to(o.address);
	b.before_tid = zkzeo_client_last_tid(b.client) + 1;
	if (row->prepare)
		row->prepare(&b);
	measure(row, &b, o.seconds);
	zkzeo_record_end(&b.stored);
	if (b.connection)
		zkzeo_connection_close(b.connection);
	if (b.db)
		zkzeo_db_close(b.db);
	zkzeo_client_close(b.client);
	free(b.oids);
	return 0;
}
