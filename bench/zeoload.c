/* A load generator that speaks ZEO's protocol. One thread, so that it
 * leaves the other cores to the server. Loaders keep `depth` loads of random objects in
 * flight; committers do one transaction after the other, each on objects of its own, as a
 * stock client does it: begin, stores and vote in one go, then finish. */
#include <dirent.h>
#include <errno.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <unistd.h>

#include "latency.h"
#include "message.h"
#include "wire.h"

enum {
	EVENTS = 256,
	TID = 8,
	OID = 8,
	REGISTER_ID = 1,
	SERIAL_ID = 2,
	VOTE_ID = 3,
	FINISH_ID = 4,
	FIRST_LOAD_ID = 100,
	TRANSACTION = 7
};

struct options {
	const char *address;
	const char *storage;
	unsigned loaders;
	unsigned committers;
	unsigned depth;
	unsigned txn_objects;
	unsigned object_bytes;
	uint64_t objects; /* in the database: loads take their oids below this */
	double warmup_s;
	double seconds;
	uint64_t seed;
	enum encoding enc;
	int pid;     /* the server's, for its CPU time; 0 = unknown */
	bool driven; /* begin and end are told on standard input */
};

/* GREETING -> REGISTERING -> (committers: SERIALS ->) READY -> RUNNING */
enum state { GREETING, REGISTERING, SERIALS, READY, RUNNING };

struct connection {
	struct stream stream;
	enum state state;
	bool commits;
	unsigned in_flight;
	uint64_t operations;  /* in the measured time */
	uint64_t *started_ns; /* of each load in flight, or of the transaction */
	uint64_t first_oid;
	unsigned serials_known;
	uint8_t (*serials)[TID];
};

struct load {
	struct options o;
	int epoll;
	struct connection *connections;
	unsigned connections_n;
	unsigned ready;
	struct bytes record; /* what is stored */
	uint64_t random;
	uint64_t start_ns; /* of the measured time; 0 = not yet known */
	uint64_t end_ns;
	bool issuing;
	uint64_t cpu_start_ns;
	uint64_t cpu_end_ns;
	uint64_t invalidations;
	uint64_t bytes_received;
	struct latency loads;
	struct latency commits;
};

static uint64_t random_next(struct load *l)
{
	l->random ^= l->random << 13;
	l->random ^= l->random >> 7;
	l->random ^= l->random << 17;
	return l->random;
}

static void oid_pack(uint64_t oid, uint8_t *ret)
{
	for (int i = 0; i < OID; i++)
		ret[i] = (uint8_t)(oid >> (56 - 8 * i));
}

/* CPU time of all threads of the server, in ns; /proc/PID/stat counts in ticks of 10 ms. */
static uint64_t server_cpu_ns(int pid)
{
	char path[300];
	uint64_t total = 0;
	struct dirent *entry;
	DIR *tasks;

	snprintf(path, sizeof(path), "/proc/%d/task", pid);
	tasks = pid ? opendir(path) : NULL;
	if (!tasks)
		return 0;
	while ((entry = readdir(tasks))) {
		unsigned long long ns;
		FILE *f;

		snprintf(path, sizeof(path), "/proc/%d/task/%s/schedstat", pid, entry->d_name);
		f = entry->d_name[0] == '.' ? NULL : fopen(path, "re");
		if (!f)
			continue;
		if (fscanf(f, "%llu", &ns) == 1)
			total += ns;
		fclose(f);
	}
	closedir(tasks);
	return total;
}

static void send_load(struct load *l, struct connection *c, uint32_t id, uint64_t oid)
{
	struct bytes *out = &c->stream.out;
	size_t mark = stream_begin(&c->stream);
	uint8_t packed[OID];

	oid_pack(oid, packed);
	put_call(out, l->o.enc, id, false, "loadBefore", 2);
	put_bytes(out, l->o.enc, packed, OID);
	put_bytes(out, l->o.enc, "\x7f\xff\xff\xff\xff\xff\xff\xff", TID);
	put_call_end(out, l->o.enc, 2);
	stream_end(&c->stream, mark);
}

static void send_call(struct load *l, struct connection *c, uint32_t id, const char *method)
{
	struct bytes *out = &c->stream.out;
	size_t mark = stream_begin(&c->stream);

	put_call(out, l->o.enc, id, false, method, 1);
	put_number(out, l->o.enc, TRANSACTION);
	put_call_end(out, l->o.enc, 1);
	stream_end(&c->stream, mark);
}

/* tpc_begin(id, user, description, extension, tid, status) */
static void send_begin(struct load *l, struct connection *c)
{
	struct bytes *out = &c->stream.out;
	size_t mark = stream_begin(&c->stream);

	put_call(out, l->o.enc, 0, true, "tpc_begin", 6);
	put_number(out, l->o.enc, TRANSACTION);
	put_bytes(out, l->o.enc, "", 0);
	put_bytes(out, l->o.enc, "", 0);
	put_empty_dict(out, l->o.enc);
	put_none(out, l->o.enc);
	put_text(out, l->o.enc, " ");
	put_call_end(out, l->o.enc, 6);
	stream_end(&c->stream, mark);
}

static void send_store(struct load *l, struct connection *c, unsigned i)
{
	struct bytes *out = &c->stream.out;
	size_t mark = stream_begin(&c->stream);
	uint8_t oid[OID];

	oid_pack(c->first_oid + i, oid);
	put_call(out, l->o.enc, 0, true, "storea", 4);
	put_bytes(out, l->o.enc, oid, OID);
	put_bytes(out, l->o.enc, c->serials[i], TID);
	put_bytes(out, l->o.enc, l->record.p, l->record.end);
	put_number(out, l->o.enc, TRANSACTION);
	put_call_end(out, l->o.enc, 4);
	stream_end(&c->stream, mark);
}

static void transaction_start(struct load *l, struct connection *c, uint64_t now)
{
	c->started_ns[0] = now;
	c->in_flight = 1;
	send_begin(l, c);
	for (unsigned i = 0; i < l->o.txn_objects; i++)
		send_store(l, c, i);
	send_call(l, c, VOTE_ID, "vote");
}

static void load_start(struct load *l, struct connection *c, unsigned slot, uint64_t now)
{
	c->started_ns[slot] = now;
	c->in_flight++;
	send_load(l, c, FIRST_LOAD_ID + slot, 1 + random_next(l) % (l->o.objects - 1));
}

static void count(struct load *l, struct connection *c, struct latency *latency, uint64_t started,
	uint64_t now)
{
	c->in_flight--;
	if (now < l->start_ns || now > l->end_ns)
		return;
	c->operations++;
	latency_add(latency, now - started);
}

static void register_sent(struct load *l, struct connection *c)
{
	struct bytes *out = &c->stream.out;
	size_t mark;

	/* the client's choice, whatever encoding the server announced */
	bytes_append(out, l->o.enc == ENCODING_MSGPACK ? "\0\0\0\2M5" : "\0\0\0\2Z5", 6);
	mark = stream_begin(&c->stream);
	put_call(out, l->o.enc, REGISTER_ID, false, "register", 2);
	put_text(out, l->o.enc, l->o.storage);
	put_false(out, l->o.enc); /* not read-only */
	put_call_end(out, l->o.enc, 2);
	stream_end(&c->stream, mark);
	c->state = REGISTERING;
}

static void connection_ready(struct load *l, struct connection *c)
{
	c->state = READY;
	l->ready++;
}

static void serial_received(struct load *l, struct connection *c, const struct message *m)
{
	const uint8_t *p = m->args;
	const uint8_t *tid;
	size_t n;

	(void)message_bytes(l->o.enc, &p, m->end, &n); /* the data */
	tid = message_bytes(l->o.enc, &p, m->end, &n);
	if (n != TID)
		die("a load's reply has a tid of %zu bytes", n);
	memcpy(c->serials[c->serials_known++], tid, TID);
	if (c->serials_known == l->o.txn_objects)
		connection_ready(l, c);
	else
		send_load(l, c, SERIAL_ID, c->first_oid + c->serials_known);
}

static void transaction_end(
	struct load *l, struct connection *c, const struct message *m, uint64_t now)
{
	const uint8_t *p = m->args;
	size_t n;
	const uint8_t *tid = message_bytes(l->o.enc, &p, m->end, &n);

	if (n != TID)
		die("a finish's reply has a tid of %zu bytes", n);
	for (unsigned i = 0; i < l->o.txn_objects; i++)
		memcpy(c->serials[i], tid, TID);
	count(l, c, &l->commits, c->started_ns[0], now);
	if (l->issuing)
		transaction_start(l, c, now);
}

static void reply_received(
	struct load *l, struct connection *c, const struct message *m, uint64_t now)
{
	unsigned slot = m->number - FIRST_LOAD_ID;

	if (m->flag == 2) {
		die("the server answers an error to message %u: %.*s", m->number,
			(int)(m->end - m->args), (const char *)m->args);
	}
	if (m->number >= FIRST_LOAD_ID && slot < l->o.depth) {
		count(l, c, &l->loads, c->started_ns[slot], now);
		if (l->issuing)
			load_start(l, c, slot, now);
	} else if (m->number == VOTE_ID) {
		send_call(l, c, FINISH_ID, "tpc_finish");
	} else if (m->number == FINISH_ID) {
		transaction_end(l, c, m, now);
	} else if (m->number == SERIAL_ID) {
		serial_received(l, c, m);
	} else if (m->number == REGISTER_ID) {
		c->state = SERIALS;
		if (c->commits)
			send_load(l, c, SERIAL_ID, c->first_oid);
		else
			connection_ready(l, c);
	} else {
		die("a reply to message %u, which was not sent", m->number);
	}
}

static void connection_readable(struct load *l, struct connection *c)
{
	const uint8_t *p;
	size_t n;
	uint64_t now;

	stream_read(&c->stream);
	if (c->stream.closed)
		die("the server closed a connection");
	now = now_ns();
	while (stream_next(&c->stream, &p, &n)) {
		struct message m;

		l->bytes_received += n + 4;
		if (c->state == GREETING) {
			if (n != 2 || p[1] != '5')
				die("the server speaks '%.*s', not protocol 5", (int)n,
					(const char *)p);
			register_sent(l, c);
			continue;
		}
		message_parse(l->o.enc, p, n, &m);
		if (message_is(&m, ".reply"))
			reply_received(l, c, &m, now);
		else if (message_is(&m, "invalidateTransaction"))
			l->invalidations++;
	}
}

static void connection_flush(struct load *l, struct connection *c)
{
	struct epoll_event e = { .events = EPOLLIN | EPOLLOUT, .data.ptr = c };

	if (!stream_flush(&c->stream) && epoll_ctl(l->epoll, EPOLL_CTL_MOD, c->stream.fd, &e))
		die("epoll_ctl: %s", strerror(errno));
}

/* Its end is that of the measured time. */
static void input_readable(struct load *l)
{
	char bytes[64];

	if (read(STDIN_FILENO, bytes, sizeof(bytes)) > 0)
		return;
	if (epoll_ctl(l->epoll, EPOLL_CTL_DEL, STDIN_FILENO, NULL) != 0)
		die("epoll_ctl: %s", strerror(errno));
	if (l->issuing)
		l->end_ns = now_ns();
}

static void turn(struct load *l, int timeout_ms)
{
	struct epoll_event events[EVENTS];
	int n = epoll_wait(l->epoll, events, EVENTS, timeout_ms);

	for (int i = 0; i < n; i++) {
		struct connection *c = events[i].data.ptr;

		if (!c) {
			input_readable(l);
			continue;
		}
		if (events[i].events & EPOLLOUT) {
			struct epoll_event e = { .events = EPOLLIN, .data.ptr = c };
			(void)epoll_ctl(l->epoll, EPOLL_CTL_MOD, c->stream.fd, &e);
		}
		if (events[i].events & ~(uint32_t)EPOLLOUT)
			connection_readable(l, c);
		connection_flush(l, c);
	}
}

static void *zeroed(size_t n, size_t size)
{
	void *p = calloc(n, size);

	if (!p)
		die("out of memory");
	return p;
}

static void connections_open(struct load *l)
{
	l->connections_n = l->o.loaders + l->o.committers;
	l->connections = zeroed(l->connections_n, sizeof(*l->connections));
	for (unsigned i = 0; i < l->connections_n; i++) {
		struct connection *c = &l->connections[i];
		struct epoll_event e = { .events = EPOLLIN, .data.ptr = c };

		c->commits = i >= l->o.loaders;
		c->started_ns = zeroed(l->o.depth, sizeof(*c->started_ns));
		c->serials = zeroed(l->o.txn_objects, TID);
		if (c->commits)
			c->first_oid = 1 + (uint64_t)(i - l->o.loaders) * l->o.txn_objects;
		c->stream.fd = wire_connect(l->o.address);
		if (epoll_ctl(l->epoll, EPOLL_CTL_ADD, c->stream.fd, &e) != 0)
			die("epoll_ctl: %s", strerror(errno));
	}
	while (l->ready < l->connections_n)
		turn(l, -1);
}

/* A pickled object as ZODB stores them, so that the file stays one that Python can open. */
static void record_make(struct load *l)
{
	static const char head[] = "\x80\x03"
				   "cpersistent.mapping\nPersistentMapping\n."
				   "\x80\x03}X\x04\0\0\0data}X\x01\0\0\0x";
	size_t around = sizeof(head) - 1 + 5 + 3; /* with BINBYTES' head, "ss." */
	uint8_t *text;
	size_t n;

	if (l->o.object_bytes < around + 256)
		die("an object has at least %zu bytes", around + 256);
	n = l->o.object_bytes - around;
	text = zeroed(1, n);
	bytes_append(&l->record, head, sizeof(head) - 1);
	put_bytes(&l->record, ENCODING_PICKLE, text, n);
	bytes_append(&l->record, "ss.", 3);
	free(text);
}

/* Say that all is ready, and wait for a line; the end of standard input is an event from then on. */
static void wait_for_begin(struct load *l)
{
	struct epoll_event e = { .events = EPOLLIN, .data.ptr = NULL };
	char line[64];

	fprintf(stderr, "ready\n");
	if (read(STDIN_FILENO, line, sizeof(line)) <= 0)
		die("standard input ended before the begin");
	if (epoll_ctl(l->epoll, EPOLL_CTL_ADD, STDIN_FILENO, &e) != 0)
		die("standard input is no pipe: %s", strerror(errno));
}

static void measuring_begins(struct load *l)
{
	l->cpu_start_ns = server_cpu_ns(l->o.pid);
	if (l->o.driven)
		fprintf(stderr, "measuring\n");
}

static void run(struct load *l)
{
	uint64_t now;
	bool measuring = false;

	if (l->o.driven)
		wait_for_begin(l);
	now = now_ns();
	l->start_ns = now + (uint64_t)(l->o.warmup_s * 1e9);
	l->end_ns = l->start_ns + (uint64_t)(l->o.seconds * 1e9);
	l->issuing = true;
	for (unsigned i = 0; i < l->connections_n; i++) {
		struct connection *c = &l->connections[i];

		c->state = RUNNING;
		if (c->commits)
			transaction_start(l, c, now);
		for (unsigned slot = 0; !c->commits && slot < l->o.depth; slot++)
			load_start(l, c, slot, now);
		connection_flush(l, c);
	}
	while ((now = now_ns()) < l->end_ns) {
		if (!measuring && now >= l->start_ns) {
			measuring = true;
			measuring_begins(l);
		}
		turn(l, 10);
	}
	l->o.seconds = (double)(l->end_ns - l->start_ns) / 1e9;
	l->cpu_end_ns = server_cpu_ns(l->o.pid);
	l->issuing = false;
}

/* What is in flight is waited for, so that no transaction is left half done. */
static void drain(struct load *l)
{
	for (unsigned i = 0; i < l->connections_n; i++) {
		while (l->connections[i].in_flight > 0)
			turn(l, -1);
		stream_free(&l->connections[i].stream);
	}
}

static void print_latency(const char *name, const struct latency *l, double seconds)
{
	printf("\"%s\": {\"count\": %llu, \"rate\": %.1f, \"p50_us\": %.1f, \"p90_us\": %.1f, "
	       "\"p99_us\": %.1f, \"p999_us\": %.1f, \"max_us\": %.1f}, ",
		name, (unsigned long long)l->count, (double)l->count / seconds,
		(double)latency_quantile(l, 0.5) / 1e3, (double)latency_quantile(l, 0.9) / 1e3,
		(double)latency_quantile(l, 0.99) / 1e3, (double)latency_quantile(l, 0.999) / 1e3,
		(double)l->max_ns / 1e3);
}

static void print_result(const struct load *l)
{
	uint64_t least = UINT64_MAX;
	uint64_t most = 0;
	uint64_t total = 0;

	for (unsigned i = 0; i < l->connections_n; i++) {
		uint64_t n = l->connections[i].operations;

		total += n;
		least = n < least ? n : least;
		most = n > most ? n : most;
	}
	printf("{");
	print_latency("loads", &l->loads, l->o.seconds);
	print_latency("commits", &l->commits, l->o.seconds);
	printf("\"operations\": %llu, \"rate\": %.1f, \"seconds\": %.3f, "
	       "\"connections\": {\"count\": %u, \"min\": %llu, \"max\": %llu}, "
	       "\"server_cpu_us_per_operation\": %.3f, \"invalidations\": %llu, "
	       "\"bytes_received\": %llu, \"seed\": %llu}\n",
		(unsigned long long)total, (double)total / l->o.seconds, l->o.seconds,
		l->connections_n, (unsigned long long)least, (unsigned long long)most,
		total ? (double)(l->cpu_end_ns - l->cpu_start_ns) / 1e3 / (double)total : 0.0,
		(unsigned long long)l->invalidations, (unsigned long long)l->bytes_received,
		(unsigned long long)l->o.seed);
}

static _Noreturn void usage(int status)
{
	fprintf(status ? stderr : stdout,
		"usage: zeoload [options] HOST:PORT|PATH\n"
		"  --loaders N       connections that load (default 0)\n"
		"  --depth N         loads in flight on each (1)\n"
		"  --committers N    connections that commit (default 0)\n"
		"  --txn-objects N   objects in each transaction (1)\n"
		"  --object-bytes N  size of a stored object (500)\n"
		"  --objects N       objects in the database (1000000)\n"
		"  --seconds S       measured time (3), after --warmup S (0.3)\n"
		"  --msgpack         messages in msgpack and not pickled\n"
		"  --storage NAME    (1)\n"
		"  --pid PID         of the server: its CPU time is reported\n"
		"  --seed N          of the random oids (1)\n"
		"  --driven          says \"ready\" on standard error, begins at a line on "
		"standard\n"
		"                    input, says \"measuring\" when the warm-up is over, ends "
		"with\n"
		"                    standard input (or after --seconds)\n"
		"The result is printed as JSON.\n");
	exit(status);
}

static void options_parse(int argc, char **argv, struct options *o)
{
	static const struct option table[] = { { "loaders", 1, 0, 'l' },
		{ "committers", 1, 0, 'c' }, { "depth", 1, 0, 'd' }, { "txn-objects", 1, 0, 't' },
		{ "object-bytes", 1, 0, 'b' }, { "objects", 1, 0, 'o' }, { "warmup", 1, 0, 'w' },
		{ "seconds", 1, 0, 's' }, { "storage", 1, 0, 'n' }, { "msgpack", 0, 0, 'm' },
		{ "pid", 1, 0, 'p' }, { "seed", 1, 0, 'r' }, { "driven", 0, 0, 'D' },
		{ "help", 0, 0, 'h' }, { 0 } };
	int c;

	while ((c = getopt_long(argc, argv, "h", table, NULL)) != -1) {
		unsigned long n = optarg ? strtoul(optarg, NULL, 10) : 0;

		switch (c) {
		case 'l':
			o->loaders = (unsigned)n;
			break;
		case 'c':
			o->committers = (unsigned)n;
			break;
		case 'd':
			o->depth = (unsigned)n;
			break;
		case 't':
			o->txn_objects = (unsigned)n;
			break;
		case 'b':
			o->object_bytes = (unsigned)n;
			break;
		case 'o':
			o->objects = n;
			break;
		case 'w':
			o->warmup_s = strtod(optarg, NULL);
			break;
		case 's':
			o->seconds = strtod(optarg, NULL);
			break;
		case 'n':
			o->storage = optarg;
			break;
		case 'm':
			o->enc = ENCODING_MSGPACK;
			break;
		case 'p':
			o->pid = (int)n;
			break;
		case 'r':
			o->seed = n;
			break;
		case 'D':
			o->driven = true;
			break;
		default:
			usage(c == 'h' ? 0 : 2);
		}
	}
	if (optind != argc - 1 || o->loaders + o->committers == 0 || o->depth == 0 ||
		o->txn_objects == 0 || o->objects < 2 || o->seed == 0)
		usage(2);
	if ((uint64_t)o->committers * o->txn_objects >= o->objects)
		die("%u committers have no %u objects each", o->committers, o->txn_objects);
	o->address = argv[optind];
}

int main(int argc, char **argv)
{
	static struct load l = { .o = { .storage = "1",
					 .depth = 1,
					 .txn_objects = 1,
					 .object_bytes = 500,
					 .objects = 1000000,
					 .warmup_s = 0.3,
					 .seconds = 3,
					 .seed = 1 } };

	options_parse(argc, argv, &l.o);
	l.random = l.o.seed * 0x9e3779b97f4a7c15u;
	l.epoll = epoll_create1(EPOLL_CLOEXEC);
	if (l.epoll < 0)
		die("epoll: %s", strerror(errno));
	record_make(&l);
	connections_open(&l);
	run(&l);
	drain(&l);
	print_result(&l);
	return 0;
}
