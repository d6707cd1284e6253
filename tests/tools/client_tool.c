/* A client of ZEO servers that does what it is told: a command a line, an answer a line. For tests/interop.
 *
 *     client_tool [-c CACHE] [-s STORAGE] [-l LABEL] [-n] [-r] [-f] [-p POLL_MS] [-w WAIT_MS] [-u] [-h NAME]
 *                 [-a AUTHORITIES [-t CERTIFICATE -k KEY]]
 *                 [-b BLOB_FOLDER [-S] [-B CACHE_BYTES]] ADDRESS...
 *
 * An answer is "ok ..." or "error CODE TEXT"; an event that came meanwhile is a line "event ..." before it. */
#include <inttypes.h>
#include <limits.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/mem.h"
#include "base/os.h"
#include "client/blobs.h"
#include "client/client.h"
#include "client/commit.h"
#include "net/tls.h"

enum {
	WORDS_MAX = 4096,
	ADDRESSES_MAX = 16,
};

static struct client *client;
static struct client_txn *txn;
static struct blobs *blobs;
static struct blobs_txn txn_blobs;
static struct blobs_options blob_options;
static pthread_mutex_t out_lock = PTHREAD_MUTEX_INITIALIZER;
static bool quiet;
static struct client_options options;
static struct address addresses[ADDRESSES_MAX];
static size_t n_addresses;

/* --- output --- */

static void say(const char *fmt, ...) PRINTF(1, 2);
static void say(const char *fmt, ...)
{
	va_list ap;

	pthread_mutex_lock(&out_lock);
	va_start(ap, fmt);
	vprintf(fmt, ap);
	va_end(ap);
	putchar('\n');
	fflush(stdout);
	pthread_mutex_unlock(&out_lock);
}

static void answer(int rc, const struct err *e)
{
	if (rc == OK)
		say("ok");
	else
		say("error %d %s", rc, e->text);
}

static char *hex(struct slice s)
{
	char *text = mem_alloc(2 * s.len + 1);

	if (!text)
		abort();
	for (size_t i = 0; i < s.len; i++)
		sprintf(text + 2 * i, "%02x", s.data[i]);
	text[2 * s.len] = 0;
	return text;
}

static int digit(char c)
{
	return c <= '9' ? c - '0' : c - 'a' + 10;
}

static size_t unhex(char *text, uint8_t **ret)
{
	size_t n = strlen(text) / 2;

	*ret = (uint8_t *)text;
	for (size_t i = 0; i < n; i++)
		(*ret)[i] = (uint8_t)(digit(text[2 * i]) << 4 | digit(text[2 * i + 1]));
	return n;
}

static uint64_t number(const char *word)
{
	return strtoull(word, NULL, 16);
}

/* --- events --- */

static void on_invalidate(void *arg, uint64_t tid, const uint64_t *oids, size_t n)
{
	char text[4096];
	int at = 0;

	if (quiet)
		return;
	for (size_t i = 0; i < n && at < 4000; i++)
		at += sprintf(text + at, " %" PRIx64, oids[i]);
	text[at] = 0;
	say("event invalidate %016" PRIx64 " %016" PRIx64 "%s", tid, client_last_tid(client), text);
}

static void on_invalidate_all(void *arg)
{
	say("event invalidate_all");
}

static void on_connected(void *arg)
{
	say("event connected");
}

static void on_disconnected(void *arg)
{
	say("event disconnected");
}

static void on_stale_cache(void *arg)
{
	say("event stale_cache");
}

static void on_info(void *arg)
{
	say("event info");
}

static void on_log(void *arg, int level, const char *logger, const char *text)
{
	fprintf(stderr, "%d %s %s\n", level, logger, text);
}

/* --- commands --- */

static void do_load(int n, char **word)
{
	struct client_record r;
	struct err e = ERR_INIT;
	uint64_t tid = n > 2 ? number(word[2]) : TID_MAX;
	int rc = client_load_before(client, number(word[1]), tid, &r, &e);
	char *text;

	if (rc != OK) {
		answer(rc, &e);
		return;
	}
	text = hex(r.data);
	say("ok %016" PRIx64 " %016" PRIx64 " %s", r.serial, r.end_tid, text);
	mem_free(text);
	client_record_end(&r);
}

static void do_begin(int n, char **word)
{
	struct err e = ERR_INIT;
	uint64_t tid = n > 1 ? number(word[1]) : TID_NONE;

	answer(client_txn_begin(
		       client, slice_str("user"), slice_str("tool"), NULL, tid, ' ', &txn, &e),
		&e);
}

static void do_store(int n, char **word)
{
	struct err e = ERR_INIT;
	uint8_t *data;
	size_t len = unhex(word[3], &data);

	answer(client_txn_store(txn, number(word[1]), number(word[2]), slice_of(data, len), &e),
		&e);
}

/* fill OID SERIAL BYTES: store so many bytes */
static void do_fill(int n, char **word)
{
	struct err e = ERR_INIT;
	size_t len = strtoull(word[3], NULL, 10);
	uint8_t *data = mem_zalloc(1, len);

	if (!data)
		abort();
	answer(client_txn_store(txn, number(word[1]), number(word[2]), slice_of(data, len), &e),
		&e);
	mem_free(data);
}

static void do_check(int n, char **word)
{
	struct err e = ERR_INIT;

	answer(client_txn_check(txn, number(word[1]), number(word[2]), &e), &e);
}

static void do_delete(int n, char **word)
{
	struct err e = ERR_INIT;

	answer(client_txn_delete(txn, number(word[1]), number(word[2]), &e), &e);
}

static void do_undo(int n, char **word)
{
	struct err e = ERR_INIT;

	answer(client_txn_undo(txn, number(word[1]), &e), &e);
}

static void do_vote(int n, char **word)
{
	struct err e = ERR_INIT;
	const struct client_conflict *conflicts;
	struct client_failure failure = { 0 };
	const uint64_t *resolved;
	size_t n_conflicts, n_resolved;
	int rc = client_txn_vote(txn, &conflicts, &n_conflicts, &failure, &e);

	if (rc == OK) {
		client_txn_resolved(txn, &resolved, &n_resolved);
		say("ok %zu %zu", n_conflicts, n_resolved);
	} else {
		say("error %d %s %s", rc, failure.class_name, e.text);
	}
	buf_free(&failure.reply);
}

static void told(void *arg, uint64_t tid)
{
	say("event told %016" PRIx64 " %016" PRIx64, tid, client_last_tid(client));
}

static void do_finish(int n, char **word)
{
	struct err e = ERR_INIT;
	uint64_t tid;
	int rc = client_txn_finish(txn, told, NULL, &tid, NULL, &e);

	txn = NULL;
	if (rc == OK && blobs)
		blobs_finished(blobs, &txn_blobs, tid);
	else if (blobs)
		blobs_aborted(blobs, &txn_blobs);
	if (rc == OK)
		say("ok %016" PRIx64, tid);
	else
		answer(rc, &e);
}

static void do_abort(int n, char **word)
{
	client_txn_abort(txn, n > 1 ? (uint32_t)strtoul(word[1], NULL, 10) : 0);
	txn = NULL;
	if (blobs)
		blobs_aborted(blobs, &txn_blobs);
	say("ok");
}

/* --- blobs --- */

/* storeblob OID SERIAL DATA FILE */
static void do_store_blob(int n, char **word)
{
	struct err e = ERR_INIT;
	uint8_t *data;
	size_t len = unhex(word[3], &data);

	answer(blobs_store(blobs, &txn_blobs, txn, number(word[1]), number(word[2]),
		       slice_of(data, len), word[4], &e),
		&e);
}

/* blob OID SERIAL: the file's name */
static void do_blob(int n, char **word)
{
	struct err e = ERR_INIT;
	char path[PATH_MAX];
	int rc = blobs_load(blobs, number(word[1]), number(word[2]), path, sizeof(path), &e);

	if (rc == OK)
		say("ok %s", path);
	else
		answer(rc, &e);
}

/* All that is read of it, as FNV-1a. */
static uint64_t digest(int fd, uint64_t *ret_size)
{
	uint8_t part[1 << 14];
	uint64_t h = UINT64_C(14695981039346656037);
	struct err e;
	size_t got = 1;

	for (*ret_size = 0; got; *ret_size += got) {
		if (os_pread(fd, part, sizeof(part), *ret_size, &got, &e) != OK)
			abort();
		for (size_t i = 0; i < got; i++)
			h = (h ^ part[i]) * UINT64_C(1099511628211);
	}
	return h;
}

struct opener {
	pthread_t thread;
	uint64_t oid, serial, digest, size;
	int rc;
	struct err err;
};

static void *open_blob(void *arg)
{
	struct opener *o = arg;
	int fd = -1;

	o->rc = blobs_open_file(blobs, o->oid, o->serial, &fd, NULL, 0, &o->err);
	if (o->rc == OK)
		o->digest = digest(fd, &o->size);
	os_close(fd);
	return NULL;
}

/* openblob OID SERIAL [THREADS]: size and digest; all threads at the same time */
static void do_open_blob(int n, char **word)
{
	struct opener o[64] = { 0 };
	unsigned threads = n > 3 ? (unsigned)strtoul(word[3], NULL, 10) : 1;

	for (unsigned i = 0; i < threads; i++) {
		o[i].oid = number(word[1]);
		o[i].serial = number(word[2]);
		if (pthread_create(&o[i].thread, NULL, open_blob, &o[i]))
			abort();
	}
	for (unsigned i = 0; i < threads; i++) {
		pthread_join(o[i].thread, NULL);
		if (o[i].rc == OK && o[i].digest != o[0].digest)
			o[0].rc = err_set(&o[0].err, ERR_CORRUPT, "they differ");
		else if (o[i].rc != OK)
			o[0] = o[i];
	}
	if (o[0].rc == OK)
		say("ok %" PRIu64 " %016" PRIx64, o[0].size, o[0].digest);
	else
		answer(o[0].rc, &o[0].err);
}

static void do_oid(int n, char **word)
{
	struct err e = ERR_INIT;
	uint64_t oid;
	int rc = client_new_oid(client, &oid, &e);

	if (rc == OK)
		say("ok %" PRIx64, oid);
	else
		answer(rc, &e);
}

static void do_wait(int n, char **word)
{
	struct err e = ERR_INIT;
	uint32_t ms = n > 1 ? (uint32_t)strtoul(word[1], NULL, 10) : 0;

	answer(client_wait(client, ms, &e), &e);
}

static void do_addresses(int n, char **word)
{
	struct address a[ADDRESSES_MAX];
	struct err e = ERR_INIT;
	int rc = OK;

	for (int i = 1; i < n && rc == OK; i++)
		rc = address_parse(word[i], "127.0.0.1", &a[i - 1], &e);
	if (rc == OK)
		rc = client_set_addresses(client, a, (size_t)n - 1, &e);
	answer(rc, &e);
}

static void do_state(int n, char **word)
{
	struct buf key = BUF_INIT(0);
	struct err e = ERR_INIT;
	char protocol[4];
	int rc = client_sort_key(client, &key, &e);

	client_protocol(client, protocol);
	say("ok connected=%d read_only=%d last=%016" PRIx64 " protocol=%s generation=%" PRIu64
	    " sort_key=%.*s verify=%s",
		client_is_connected(client), client_is_read_only(client), client_last_tid(client),
		protocol, client_generation(client), rc == OK ? (int)key.len : 0,
		(const char *)key.data, client_verify_result(client));
	buf_free(&key);
}

static void do_info(int n, char **word)
{
	struct buf b = BUF_INIT(0);
	struct err e = ERR_INIT;
	enum encoding encoding;
	int rc = client_info(client, &b, &encoding, &e);
	char *text = hex(buf_slice(&b));

	if (rc == OK)
		say("ok %d %s", encoding, text);
	else
		answer(rc, &e);
	mem_free(text);
	buf_free(&b);
}

static void do_ping(int n, char **word)
{
	struct err e = ERR_INIT;

	answer(client_ping(client, &e), &e);
}

/* call METHOD: one without arguments; the answer's frame in hex */
static void do_call(int n, char **word)
{
	struct err e = ERR_INIT;
	struct call k = { 0 };
	int rc = client_call(client, &k, word[1], NULL, 0, 0, &e);
	char *text = hex(k.reply);

	if (rc == OK)
		say("ok %s", text);
	else
		answer(rc, &e);
	mem_free(text);
	call_end(&k);
}

static void do_prefetch(int n, char **word)
{
	uint64_t oids[WORDS_MAX];
	struct err e = ERR_INIT;

	for (int i = 2; i < n; i++)
		oids[i - 2] = number(word[i]);
	answer(client_prefetch(client, oids, (size_t)n - 2, number(word[1]), &e), &e);
}

static void *room(void *arg, size_t len)
{
	return arg;
}

static void do_cached(int n, char **word)
{
	static uint8_t data[1 << 20];
	uint64_t serial, end_tid;
	int rc = client_cached(client, number(word[1]), n > 2 ? number(word[2]) : TID_MAX, room,
		data, &serial, &end_tid);

	if (rc == OK)
		say("ok %016" PRIx64 " %016" PRIx64, serial, end_tid);
	else
		say("ok none");
}

/* In a child: the parent's client is of no use; one of its own is. The exit status is 7. */
static int live_as_child(void)
{
	struct err e = ERR_INIT;
	struct client_record r;
	uint64_t tid;
	int rc = client_load_before(client, 0, TID_MAX, &r, &e);

	printf("event child %d %s\n", rc, e.text);
	client_txn_abort(txn, 1);
	client_close(client);
	if (rc != ERR_CLOSED)
		return 1;
	if (client_open(&options, addresses, n_addresses, &client, &e) != OK ||
		client_wait(client, 0, &e) != OK ||
		client_load_before(client, 1, TID_MAX, &r, &e) != OK) {
		printf("event child %s\n", e.text);
		return 2;
	}
	client_record_end(&r);
	if (client_txn_begin(client, slice_str(""), slice_str(""), NULL, TID_NONE, ' ', &txn, &e) !=
			OK ||
		client_txn_store(txn, 2, TID_NONE, slice_str("child's"), &e) != OK ||
		client_txn_vote(txn, &(const struct client_conflict *){ NULL }, &(size_t){ 0 },
			NULL, &e) != OK ||
		client_txn_finish(txn, NULL, NULL, &tid, NULL, &e) != OK)
		return 3;
	client_close(client);
	return 7;
}

/* fork: what a child sees */
static void do_fork(int n, char **word)
{
	int status;
	pid_t pid;

	fflush(stdout);
	pid = fork();
	if (pid == 0) {
		int rc = live_as_child();

		fflush(stdout);
		_exit(rc);
	}
	waitpid(pid, &status, 0);
	say("ok %d", WIFEXITED(status) ? WEXITSTATUS(status) : -1);
}

struct worker {
	pthread_t thread;
	uint64_t first, n;
	unsigned loads;
	int rc;
	struct err err;
};

static void *run_worker(void *arg)
{
	struct worker *w = arg;

	for (unsigned i = 0; i < w->loads && w->rc == OK; i++) {
		struct client_record r;

		w->rc = client_load_before(client, w->first + i % w->n, TID_MAX, &r, &w->err);
		if (w->rc == OK)
			client_record_end(&r);
	}
	return NULL;
}

/* loop FIRST N LOADS THREADS: each thread loads so many of N oids; microseconds in all */
static void do_loop(int n, char **word)
{
	struct worker w[64] = { 0 };
	unsigned threads = (unsigned)strtoul(word[4], NULL, 10);
	uint64_t start = clock_mono_us(&clock_system);
	int rc = OK;

	for (unsigned i = 0; i < threads; i++) {
		w[i].first = number(word[1]);
		w[i].n = strtoull(word[2], NULL, 10);
		w[i].loads = (unsigned)strtoul(word[3], NULL, 10);
		if (threads == 1)
			run_worker(&w[i]);
		else if (pthread_create(&w[i].thread, NULL, run_worker, &w[i]))
			abort();
	}
	for (unsigned i = 0; i < threads; i++) {
		if (threads > 1)
			pthread_join(w[i].thread, NULL);
		if (w[i].rc != OK)
			rc = w[i].rc;
	}
	if (rc == OK)
		say("ok %" PRIu64, clock_mono_us(&clock_system) - start);
	else
		say("error %d", rc);
}

static void do_quiet(int n, char **word)
{
	quiet = true;
	say("ok");
}

static void do_drop(int n, char **word)
{
	client_drop(client, "a test wants it");
	say("ok");
}

static const struct {
	const char *name;
	int words; /* at least, with the name */
	void (*run)(int n, char **word);
} commands[] = {
	{ "load", 2, do_load },
	{ "cached", 2, do_cached },
	{ "prefetch", 3, do_prefetch },
	{ "begin", 1, do_begin },
	{ "store", 4, do_store },
	{ "fill", 4, do_fill },
	{ "check", 3, do_check },
	{ "delete", 3, do_delete },
	{ "undo", 2, do_undo },
	{ "vote", 1, do_vote },
	{ "finish", 1, do_finish },
	{ "abort", 1, do_abort },
	{ "oid", 1, do_oid },
	{ "wait", 1, do_wait },
	{ "addresses", 1, do_addresses },
	{ "state", 1, do_state },
	{ "info", 1, do_info },
	{ "ping", 1, do_ping },
	{ "call", 2, do_call },
	{ "fork", 1, do_fork },
	{ "loop", 5, do_loop },
	{ "storeblob", 5, do_store_blob },
	{ "blob", 3, do_blob },
	{ "openblob", 3, do_open_blob },
	{ "quiet", 1, do_quiet },
	{ "drop", 1, do_drop },
};

static void obey(char *line)
{
	static char *word[WORDS_MAX];
	int n = 0;

	for (char *w = strtok(line, " \n"); w && n < WORDS_MAX; w = strtok(NULL, " \n"))
		word[n++] = w;
	for (size_t i = 0; n && i < ARRAY_LEN(commands); i++)
		if (strcmp(word[0], commands[i].name) == 0 && n >= commands[i].words) {
			commands[i].run(n, word);
			return;
		}
	say("error 0 no such command");
}

/* --- start --- */

/* -u first: the server's name is not checked; -a AUTHORITIES, -t CERTIFICATE, -k KEY. */
static void parse_tls(int opt, struct client_options *o)
{
	struct err e = ERR_INIT;
	int rc = OK;

	if (!o->tls)
		rc = tls_context_new_client(opt != 'u', &o->tls, &e);
	if (rc == OK && opt == 'a')
		rc = tls_use_authorities(o->tls, optarg, &e);
	if (rc == OK && opt == 't')
		rc = tls_use_certificate(o->tls, optarg, &e);
	if (rc == OK && opt == 'k')
		rc = tls_use_key(o->tls, optarg, NULL, &e);
	if (rc != OK) {
		fprintf(stderr, "%s\n", e.text);
		exit(2);
	}
}

static void parse_blobs(int opt)
{
	blob_options.check_percent = 10;
	if (opt == 'b') {
		blob_options.path = optarg;
	} else if (opt == 'S') {
		blob_options.shared = true;
	} else {
		blob_options.limited = true;
		blob_options.cache_bytes = strtoull(optarg, NULL, 10);
	}
}

static void parse(int argc, char **argv, struct client_options *o)
{
	int opt;

	while ((opt = getopt(argc, argv, "a:b:B:c:h:k:s:Sl:nrfp:w:t:u")) != -1) {
		switch (opt) {
		case 'a':
		case 'k':
		case 't':
		case 'u':
			parse_tls(opt, o);
			break;
		case 'b':
		case 'B':
		case 'S':
			parse_blobs(opt);
			break;
		case 'c':
			o->cache_path = optarg;
			break;
		case 's':
			o->storage = optarg;
			break;
		case 'h':
			o->tls_server_name = optarg;
			break;
		case 'l':
			o->label = optarg;
			break;
		case 'n':
			o->no_cache = true;
			break;
		case 'r':
			o->read_only = true;
			break;
		case 'f':
			o->read_only_fallback = true;
			break;
		case 'p':
			o->min_poll_ms = (uint32_t)strtoul(optarg, NULL, 10);
			break;
		case 'w':
			o->wait_timeout_ms = (uint32_t)strtoul(optarg, NULL, 10);
			break;
		default:
			exit(2);
		}
	}
}

int main(int argc, char **argv)
{
	struct err e = ERR_INIT;
	char *line = NULL;
	size_t room_of_line = 0;

	options.events = (struct client_events){
		.invalidate = on_invalidate,
		.invalidate_all = on_invalidate_all,
		.connected = on_connected,
		.disconnected = on_disconnected,
		.stale_cache = on_stale_cache,
		.info = on_info,
		.log = on_log,
	};
	parse(argc, argv, &options);
	for (int i = optind; i < argc; i++)
		if (address_parse(argv[i], "127.0.0.1", &addresses[n_addresses++], &e) != OK) {
			fprintf(stderr, "%s\n", e.text);
			return 2;
		}
	if (client_open(&options, addresses, n_addresses, &client, &e) != OK) {
		say("error %d %s", e.code, e.text);
		return 1;
	}
	if (blob_options.path && blobs_open(client, &blob_options, &blobs, &e) != OK) {
		say("error %d %s", e.code, e.text);
		client_close(client);
		return 1;
	}
	say("ok open");
	while (getline(&line, &room_of_line, stdin) > 0)
		obey(line);
	client_txn_abort(txn, 1);
	client_shut(client);
	if (blobs)
		blobs_aborted(blobs, &txn_blobs);
	blobs_close(blobs);
	client_close(client);
	tls_context_free(options.tls);
	free(line);
	say("ok closed");
	return 0;
}
