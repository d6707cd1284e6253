/* The whole server but its sockets, threads, disks and clock, driven by a seed: clients on two event
 * loops commit and load, connections break, reads are cold, writes and syncs fail, the power goes.
 * Every answer is compared with the model; after each power cut the file is.
 *
 * usage: sim [SEED [STEPS]]; without arguments a fixed list of seeds. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "client.h"
#include "server/server.h"
#include "sim_disk.h"
#include "storage/filestorage/fs.h"

enum { CLIENTS = 6, HUBS = 2, JOBS = 64, TIMEOUT_US = 30000000 };

struct sim_hub {
	struct hub hub;
	struct hub_io io;
	struct exec exec;
	bool woken;
	struct job *jobs[JOBS];
	unsigned n_jobs;
};

static struct {
	uint64_t random;
	uint64_t now_us;
	struct clock clock;
	struct sim_disk *disk;
	struct storage *storage;
	struct server server;
	struct sim_hub hubs[HUBS];
	struct client clients[CLIENTS];
	struct model model;
	struct pub_cursor cursor; /* of the model */
	unsigned n_crashes;
} w;

static uint64_t pick(uint64_t n)
{
	return sim_random(&w.random) % n;
}

static uint64_t wall_us(const struct clock *c)
{
	(void)c;
	return UINT64_C(1700000000000000) + w.now_us -
	       (w.now_us % 7 == 0 ? 5000000 : 0); /* steps back */
}

static uint64_t mono_us(const struct clock *c)
{
	(void)c;
	return w.now_us;
}

static void io_wake(struct hub_io *io)
{
	CONTAINER_OF(io, struct sim_hub, io)->woken = true;
}

static void submit(struct exec *x, struct job *j)
{
	struct sim_hub *h = CONTAINER_OF(x, struct sim_hub, exec);

	SIM_CHECK(h->n_jobs < JOBS, "jobs");
	h->jobs[h->n_jobs++] = j;
}

static void run_job(struct sim_hub *h)
{
	struct job *j;
	unsigned i;

	if (!h->n_jobs)
		return;
	i = (unsigned)pick(h->n_jobs);
	j = h->jobs[i];
	h->jobs[i] = h->jobs[--h->n_jobs];
	j->work(j);
	j->done(j);
}

static void on_publish(struct pub_cursor *c)
{
	(void)c; /* taken before anything else happens: take_publications() */
}

static void take_publications(void)
{
	struct publication *p;

	while ((p = pub_cursor_peek(&w.cursor))) {
		model_published(&w.model, w.storage, p->tid, p->oids, p->n_oids);
		pub_cursor_take(&w.cursor, p);
	}
}

/* Of two that have voted, none may write what the other one has. */
static void on_voted(struct client *c)
{
	const struct attempt *a = &w.model.attempts[c->attempt];

	for (unsigned i = 0; i < CLIENTS; i++)
		for (uint32_t r = 0; r < a->n && &w.clients[i] != c; r++)
			SIM_CHECK(!client_holds(&w.clients[i], a->oids[r]),
				"two have voted on oid %" PRIu64, a->oids[r]);
}

static bool disk_has_failed(void)
{
	return w.disk->n_writes_failed || w.disk->n_syncs_failed;
}

static void open_world(void)
{
	struct filestorage_options fo = { .recent_txns = 1 << 30, .clock = &w.clock };
	struct server_options so = {
		.transaction_timeout_us = TIMEOUT_US,
		.transaction_timeout_text = "30",
	};
	const char *id = "1";
	struct err e = ERR_INIT;
	int rc;

	w.disk->fail_write = w.disk->fail_sync = 0;
	rc = filestorage_core_open(&w.disk->file, &fo, &w.storage, &e);
	SIM_CHECK(rc == OK, "open: %s", e.text);
	model_check_reopened(&w.model, w.storage);
	w.disk->fail_write = pick(2) ? 300 : 0;
	w.disk->fail_sync = pick(4) ? 0 : 1500;
	rc = server_init(&w.server, &so, &w.clock, &id, &w.storage, 1, &e);
	SIM_CHECK(rc == OK, "%s", e.text);
	w.cursor.wake = on_publish;
	pub_cursor_attach(w.storage->pubs, &w.cursor);
	for (unsigned i = 0; i < HUBS; i++) {
		struct sim_hub *h = &w.hubs[i];

		h->io.wake = io_wake;
		h->exec.submit = submit;
		rc = hub_init(&h->hub, &w.server, &h->exec, &h->io, &e);
		SIM_CHECK(rc == OK, "%s", e.text);
	}
}

/* All goes, and nothing that happens from here on is the model's. */
static void close_world(void)
{
	bool busy = true;

	for (unsigned i = 0; i < CLIENTS; i++)
		client_disconnect(&w.clients[i]);
	while (busy) {
		busy = filestorage_step(w.storage);
		for (unsigned i = 0; i < HUBS; i++) {
			run_job(&w.hubs[i]);
			hub_turn(&w.hubs[i].hub);
			busy |= !hub_is_idle(&w.hubs[i].hub) || w.hubs[i].n_jobs;
		}
	}
	pub_cursor_detach(w.storage->pubs, &w.cursor);
	for (unsigned i = 0; i < HUBS; i++)
		hub_fini(&w.hubs[i].hub);
	server_fini(&w.server);
	filestorage_core_drop(w.storage);
}

static void crash(void)
{
	struct sim_disk *survivor = sim_disk_copy(w.disk);

	w.n_crashes++;
	sim_disk_crash(survivor);
	close_world();
	sim_disk_free(w.disk);
	w.disk = survivor;
	open_world();
}

/* R5: who has held its objects for too long is being closed. */
static void check_timeouts(struct hub *h)
{
	for (unsigned i = 0; i < CLIENTS; i++) {
		struct client *c = &w.clients[i];

		SIM_CHECK(c->commit != COMMIT_HELD || c->hub != h || c->close_asked ||
				  w.now_us < c->held_us + TIMEOUT_US,
			"R5: held for %" PRIu64 " us", w.now_us - c->held_us);
	}
}

static void step(void)
{
	struct client *c = &w.clients[pick(CLIENTS)];
	struct sim_hub *h = &w.hubs[pick(HUBS)];

	w.now_us += pick(20000);
	switch (pick(16)) {
	case 0:
		hub_tick(&h->hub);
		check_timeouts(&h->hub);
		break;
	case 1:
	case 2:
		if (h->woken) {
			h->woken = false;
			hub_turn(&h->hub);
		}
		break;
	case 3:
	case 4:
		run_job(h);
		break;
	case 5:
	case 6:
		filestorage_step(w.storage);
		break;
	case 7:
		if (!c->session)
			client_connect(c, &w.hubs[pick(HUBS)].hub);
		else if (c->close_asked || sim_once_in(&w.random, 300))
			client_disconnect(c);
		break;
	case 8:
		if (sim_once_in(&w.random, 400))
			crash();
		else if (sim_once_in(&w.random, 100))
			w.now_us += TIMEOUT_US + 1000000; /* beyond the transaction timeout */
		break;
	case 9:
	case 10:
		client_send_some(c);
		break;
	case 11:
	case 12:
		client_receive_some(c);
		break;
	default:
		client_act(c);
		break;
	}
	while (hub_next_dirty(&h->hub))
		;
	take_publications();
}

static void run(uint64_t seed, unsigned steps)
{
	unsigned commits = 0, conflicts = 0, loads = 0;

	memset(&w, 0, sizeof(w));
	fprintf(stderr, "seed %" PRIu64 " ...\n", seed); /* stays when it aborts: it replays */
	log_set_level(LOG_CRITICAL + 1);
	w.random = seed;
	w.clock = (struct clock){ wall_us, mono_us };
	w.disk = sim_disk_new(&w.random);
	w.disk->cold = 5;
	client_on_voted = on_voted;
	client_may_be_refused = disk_has_failed;
	for (unsigned i = 0; i < CLIENTS; i++) {
		w.clients[i].model = &w.model;
		w.clients[i].random = &w.random;
		w.clients[i].arena = (struct arena)ARENA_INIT(1 << 24);
	}
	open_world();
	for (unsigned i = 0; i < steps; i++)
		step();
	crash();
	close_world();
	for (unsigned i = 0; i < CLIENTS; i++) {
		commits += w.clients[i].n_commits;
		conflicts += w.clients[i].n_conflicts;
		loads += w.clients[i].n_loads;
		client_free(&w.clients[i]);
	}
	printf("seed %" PRIu64 ": %u transactions published, %u acknowledged, %u votes refused, "
	       "%u loads, %u power cuts\n",
		seed, w.model.n_txns, commits, conflicts, loads, w.n_crashes);
	SIM_CHECK(commits > 0 && loads > 0, "a run that did nothing");
	model_free(&w.model);
	sim_disk_free(w.disk);
}

int main(int argc, char **argv)
{
	unsigned steps = argc > 2 ? (unsigned)atoi(argv[2]) : 200000;

	if (argc > 1) {
		run(strtoull(argv[1], NULL, 10), steps);
		return 0;
	}
	for (uint64_t seed = 1; seed <= 20; seed++)
		run(seed, steps);
	return 0;
}
