/* The client's cache: what it says is what the storage had (C1), whatever happened to its process, its file and its disk (C2, T28). */
#include "cache_world.h"

#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "base/lock_file.h"
#include "base/os.h"
#include "client/cache_file.h"
#include "client/cache_index.h"

static char folder[40], path[60];
static char note[256];
static uint64_t first_seed;

static int setup(void **state)
{
	(void)state;
	if (!world_folder(folder))
		return -1;
	snprintf(path, sizeof(path), "%s/cache", folder);
	return 0;
}

static int teardown(void **state)
{
	char command[80];

	(void)state;
	os_fault_hook = NULL;
	snprintf(command, sizeof(command), "rm -r %s", folder);
	return system(command);
}

static struct cache *must_open(const char *at, uint64_t size)
{
	struct cache *c = NULL;
	struct err e = ERR_INIT;

	if (cache_open(at, size, &c, note, &e) != OK)
		fail_msg("%s", e.text);
	return c;
}

static void put(struct cache *c, uint64_t oid, uint64_t serial, uint64_t end, const char *text)
{
	cache_store(c, oid, serial, end, slice_str(text));
}

/* "TEXT SERIAL END" of what the cache gives, "-" for nothing. */
static const char *look(struct cache *c, uint64_t oid, uint64_t tid)
{
	static char out[200];
	struct world_room got;
	uint64_t serial = 0, end = 0;

	if (cache_load_before(c, oid, tid, world_take, &got, &serial, &end) != OK)
		return "-";
	snprintf(out, sizeof(out), "%.*s %llu %llu", (int)got.len, (const char *)got.bytes,
		(unsigned long long)serial, (unsigned long long)end);
	return out;
}

/* --- what it keeps --- */

static void test_revisions(void **state)
{
	struct cache *c = must_open(NULL, 1 << 20);

	(void)state;
	assert_true(cache_is_empty(c));
	assert_string_equal(look(c, 7, TID_MAX), "-");
	put(c, 7, 10, TID_NONE, "ten");
	assert_false(cache_is_empty(c));
	assert_string_equal(look(c, 7, 10), "-");
	assert_string_equal(look(c, 7, 11), "ten 10 0");
	assert_true(cache_has(c, 7, 11));
	assert_false(cache_has(c, 7, 10));
	cache_invalidate(c, 7, 20);
	assert_string_equal(look(c, 7, 20), "ten 10 20");
	assert_string_equal(look(c, 7, 21), "-");
	put(c, 7, 20, TID_NONE, "twenty");
	put(c, 7, 3, 8, "three");
	assert_string_equal(look(c, 7, 8), "three 3 8");
	assert_string_equal(look(c, 7, 9), "-"); /* nothing is known of [8, 10) */
	assert_string_equal(look(c, 7, 15), "ten 10 20");
	assert_string_equal(look(c, 7, TID_MAX), "twenty 20 0");
	cache_invalidate(c, 7, 20); /* of the commit that wrote it */
	assert_string_equal(look(c, 7, TID_MAX), "twenty 20 0");
	cache_invalidate(c, 7, TID_NONE);
	assert_string_equal(look(c, 7, TID_MAX), "-");
	assert_string_equal(look(c, 7, 15), "ten 10 20");
	cache_clear(c);
	assert_true(cache_is_empty(c));
	assert_string_equal(look(c, 7, 15), "-");
	cache_close(c);
}

/* Answers that were overtaken by an invalidation, and others that contradict what is there. */
static void test_contradictions(void **state)
{
	struct cache *c = must_open(NULL, 1 << 20);

	(void)state;
	put(c, 1, 10, TID_NONE, "a");
	put(c, 1, 10, TID_NONE, "again");
	assert_string_equal(look(c, 1, 99), "a 10 0");
	cache_invalidate(c, 1, 20);
	put(c, 1, 10, TID_NONE, "late");
	assert_string_equal(look(c, 1, 15), "a 10 20");
	assert_string_equal(look(c, 1, 99), "-");
	put(c, 1, 15, TID_NONE, "late"); /* ended at 20 at the latest */
	assert_string_equal(look(c, 1, 99), "-");
	put(c, 1, 20, TID_NONE, "b");
	put(c, 1, 5, TID_NONE, "very late");
	assert_string_equal(look(c, 1, 8), "-");
	put(c, 1, 30, TID_NONE, "c"); /* then b has ended, nobody knows when */
	assert_string_equal(look(c, 1, 25), "-");
	assert_string_equal(look(c, 1, 99), "c 30 0");
	put(c, 1, 30, 40, "c");
	assert_string_equal(look(c, 1, 40), "c 30 40");
	assert_string_equal(look(c, 1, 99), "-");
	put(c, 2, 30, 30, "never");
	assert_string_equal(look(c, 2, 99), "-");
	cache_close(c);
}

static void test_last_tid(void **state)
{
	struct cache *c = must_open(path, 1 << 20);

	(void)state;
	assert_int_equal(cache_last_tid(c), 0);
	cache_set_last_tid(c, 5);
	cache_set_last_tid(c, 9);
	cache_set_last_tid(c, 7);
	assert_int_equal(cache_last_tid(c), 9);
	cache_close(c);
	c = must_open(path, 1 << 20);
	assert_int_equal(cache_last_tid(c), 9);
	cache_clear(c);
	assert_int_equal(cache_last_tid(c), 0);
	cache_close(c);
	c = must_open(path, 1 << 20);
	assert_int_equal(cache_last_tid(c), 0);
	cache_set_last_tid(c, 3);
	cache_close(c);
	c = must_open(path, 1 << 20);
	assert_int_equal(cache_last_tid(c), 3);
	cache_close(c);
}

/* An object that changes all the time keeps its newest revisions. */
static void test_many_revisions_of_one_object(void **state)
{
	struct cache *c = must_open(NULL, 1 << 20);
	struct cache_stats st;

	(void)state;
	for (uint64_t tid = 1; tid <= 1000; tid++) {
		cache_invalidate(c, 5, tid);
		put(c, 5, tid, TID_NONE, "x");
	}
	assert_string_equal(look(c, 5, TID_MAX), "x 1000 0");
	assert_string_equal(look(c, 5, 1000), "x 999 1000");
	assert_string_equal(look(c, 5, 1001 - REVISIONS_MAX + 1), "x 969 970");
	assert_string_equal(look(c, 5, 900), "-");
	put(c, 5, 2, 3, "old");
	assert_string_equal(look(c, 5, 3), "-");
	cache_stats(c, &st);
	assert_int_equal(st.entries, REVISIONS_MAX);
	cache_close(c);
}

/* --- eviction --- */

static void test_objects_of_all_sizes(void **state)
{
	enum { SIZE = 64 * 1024, RING = SIZE - CACHE_HEAD_BYTES };
	struct cache *c = must_open(path, SIZE);
	static uint8_t data[SIZE];
	struct cache_stats st;

	(void)state;
	put(c, 1, 1, TID_NONE, "small");
	cache_store(c, 2, 1, TID_NONE, slice_of(data, RING)); /* with its head it never fits */
	assert_false(cache_has(c, 2, 9));
	assert_true(cache_has(c, 1, 9));
	for (size_t n = RING - CACHE_RECORD_BYTES; n > RING - 200; n -= 7) {
		cache_store(c, n, 1, TID_NONE, slice_of(data, n));
		assert_true(cache_has(c, n, 9));
		put(c, 1, 2 * RING - n, TID_NONE,
			"small"); /* then the ring does not begin at its start */
		assert_true(cache_has(c, 1, TID_MAX));
		if (n > RING - CACHE_RECORD_BYTES - 64)
			assert_false(cache_has(c, n, 9)); /* they do not fit both */
	}
	cache_stats(c, &st);
	assert_true(st.used_bytes <= RING && st.size_bytes == SIZE);
	cache_store(c, 3, 1, TID_NONE, slice_of(data, 0));
	assert_true(cache_has(c, 3, 9));
	cache_close(c);
	c = must_open(path, SIZE);
	assert_string_equal(note, "");
	assert_true(cache_has(c, 3, 9) && cache_has(c, 1, TID_MAX));
	cache_close(c);
}

/* First in, first out, but what is read stays. */
static void test_eviction_order(void **state)
{
	struct cache *c = must_open(NULL, 64 * 1024);
	uint8_t data[500] = { 0 };
	struct cache_stats st;
	struct world_room got;
	uint64_t serial = 0, end = 0;

	(void)state;
	for (uint64_t oid = 0; oid < 1000; oid++) {
		cache_store(c, oid, 1, TID_NONE, slice_of(data, sizeof(data)));
		assert_int_equal(
			cache_load_before(c, 3 > oid ? oid : 3, 9, world_take, &got, &serial, &end),
			OK);
	}
	assert_true(cache_has(c, 999, 9) && cache_has(c, 930, 9));
	assert_false(cache_has(c, 2, 9));
	assert_false(cache_has(c, 500, 9));
	cache_stats(c, &st);
	assert_int_equal(st.hits, 1000);
	assert_int_equal(st.stores, 1000);
	assert_int_equal(st.entries + st.evictions, 1000);
	assert_in_range(st.entries, 105, 110); /* 61,440 bytes of 560 */
	cache_close(c);
}

static void *no_room(void *arg, size_t len)
{
	(void)arg;
	(void)len;
	return NULL;
}

static void test_room_is_made_ahead(void **state)
{
	struct cache *c = must_open(NULL, 1 << 20);
	uint8_t data[500] = { 0 };
	struct cache_stats before, prepared, after;

	(void)state;
	for (uint64_t oid = 0; oid < 3000; oid++)
		cache_store(c, oid, 1, TID_NONE, slice_of(data, sizeof(data)));
	cache_stats(c, &before);
	cache_prepare(c);
	cache_prepare(c); /* there is room already */
	cache_stats(c, &prepared);
	assert_in_range(before.entries - prepared.entries, 1, 2);
	assert_int_equal(prepared.evictions - before.evictions, before.entries - prepared.entries);
	assert_true(cache_has(c, 2999, 9));
	cache_store(c, 3000, 1, TID_NONE, slice_of(data, sizeof(data)));
	cache_stats(c, &after);
	assert_int_equal(after.evictions, prepared.evictions);
	assert_int_equal(after.entries, prepared.entries + 1);
	cache_prepare_many(c, 100, 100 * sizeof(data)); /* for a transaction */
	cache_stats(c, &prepared);
	assert_in_range(prepared.evictions - after.evictions, 98, 104);
	for (uint64_t oid = 4000; oid < 4100; oid++)
		cache_store(c, oid, 1, TID_NONE, slice_of(data, sizeof(data)));
	cache_stats(c, &after);
	assert_int_equal(after.evictions, prepared.evictions);
	assert_true(cache_has(c, 4000, 9) && cache_has(c, 4099, 9));
	cache_prepare_many(c, 1000000,
		1000000 * sizeof(data)); /* more than there is: not all of it is given away */
	cache_stats(c, &after);
	assert_in_range(after.entries, 1000, 1500);
	cache_close(c);
}

/* Room for a transaction is not made of the objects that are read all the time, wherever in the ring it begins. */
static void test_what_is_read_stays(void **state)
{
	enum { HOT = 600, TXN = 100 };
	struct cache *c = must_open(NULL, 1 << 20);
	uint8_t data[500] = { 0 };
	struct world_room got;
	struct cache_stats stats;
	uint64_t serial = 1, end = 2;

	(void)state;
	for (uint64_t oid = 0; oid < HOT; oid++)
		cache_store(c, oid, 1, TID_NONE, slice_of(data, sizeof(data)));
	for (uint64_t txn = 1; txn <= 50; txn++) {
		for (uint64_t oid = 0; oid < HOT; oid++)
			assert_int_equal(
				cache_load_before(c, oid, 9, world_take, &got, &serial, &end), OK);
		cache_prepare_many(c, TXN, TXN * sizeof(data));
		cache_stats(c, &stats);
		assert_true(stats.used_bytes <= stats.size_bytes - TXN * sizeof(data));
		for (uint64_t i = 0; i < TXN; i++)
			cache_store(c, txn * 1000 + i, 1, TID_NONE, slice_of(data, sizeof(data)));
		cache_stats(c, &stats);
		assert_true(txn < 20 || stats.entries > 1600); /* nor of more than it needs */
	}
	cache_close(c);
}

static void test_no_room_for_the_answer(void **state)
{
	struct cache *c = must_open(NULL, 0);
	uint64_t serial = 1, end = 2;

	(void)state;
	put(c, 7, 10, TID_NONE, "ten");
	assert_int_equal(cache_load_before(c, 7, 11, no_room, NULL, &serial, &end), ERR_NOENT);
	assert_true(serial == 1 && end == 2);
	cache_close(c);
}

/* --- random histories --- */

/* Room for everything: what was stored is there until it is forgotten. */
static void test_nothing_is_lost(void **state)
{
	(void)state;
	for (uint64_t seed = first_seed; seed < first_seed + 5; seed++) {
		struct world w = { seed, seed };
		struct cache *c = must_open(NULL, 8 << 20);
		uint64_t stored[WORLD_OIDS] = { 0 }; /* the newest serial */
		uint64_t serial = 0, end = 0;

		for (int i = 0; i < 300; i++) {
			uint64_t oid = world_random(&w, WORLD_OIDS);

			world_commit(&w, c);
			assert_true(world_revision(
				&w, oid, cache_last_tid(c) + 1, cache_last_tid(c), &serial, &end));
			world_store(&w, c, oid, serial, end);
			stored[oid] = serial;
			for (oid = 0; oid < WORLD_OIDS; oid++)
				assert_true(!stored[oid] || world_check(&w, c, oid, stored[oid] + 1,
								    cache_last_tid(c)));
		}
		world_check_all(&w, c);
		cache_close(c);
	}
}

static void random_history(uint64_t seed)
{
	static const uint64_t sizes[] = { 0, 20000, 64 * 1024, 1 << 20 };
	struct world w = { seed, seed };
	struct cache *c = must_open(path, sizes[seed % 4]);
	unsigned known = 0;

	for (int i = 0; i < 20; i++) {
		for (int k = 0; k < 400; k++)
			world_step(&w, c);
		known += world_check_all(&w, c);
		if (world_random(&w, 20) == 0)
			cache_clear(c);
		uint64_t last = cache_last_tid(c);
		unsigned before = world_check_all(&w, c);
		uint64_t size = sizes[(seed + world_random(&w, 2)) % 4];
		struct cache_stats st;

		cache_stats(c, &st);
		cache_close(c);
		c = must_open(path, size);
		assert_string_equal(note, "");
		assert_int_equal(cache_last_tid(c), last);
		if (size >= st.size_bytes) /* all of it fits */
			assert_int_equal(world_check_all(&w, c), before);
	}
	assert_true(known > 0);
	cache_close(c);
	unlink(path);
}

static void test_random_histories(void **state)
{
	(void)state;
	for (uint64_t seed = first_seed; seed < first_seed + 8; seed++)
		random_history(seed);
}

/* --- kills and power cuts --- */

static void work_until_killed(uint64_t seed, uint64_t size, int pipe_fd)
{
	struct world w = { seed, (uint64_t)getpid() };
	struct cache *c = must_open(path, size);

	for (;;) {
		for (int i = 0; i < 20; i++)
			world_step(&w, c);
		if (write(pipe_fd, "", 1) != 1)
			_exit(1);
	}
}

static void test_kill(void **state)
{
	struct world w = { first_seed, first_seed };
	unsigned known = 0, kept = 0;

	(void)state;
	for (int round = 0; round < 60; round++) {
		uint64_t size = round % 20 < 10 ? 30000 : 200000;
		int fds[2], status;
		char byte;
		pid_t pid;
		struct cache *c;

		assert_int_equal(pipe(fds), 0);
		pid = fork();
		if (pid == 0)
			work_until_killed(w.seed, size, fds[1]);
		close(fds[1]);
		for (uint64_t n = 1 + world_random(&w, 10); n > 0; n--)
			assert_int_equal(read(fds[0], &byte, 1), 1);
		for (volatile uint64_t n = world_random(&w, 100000); n > 0; n--)
			; /* somewhere in the middle */
		kill(pid, SIGKILL);
		assert_int_equal(waitpid(pid, &status, 0), pid);
		assert_true(WIFSIGNALED(status));
		close(fds[0]);
		c = must_open(path, size);
		if (note[0])
			fail_msg("round %d: %s", round, note);
		kept += !cache_is_empty(c);
		known += world_check_all(&w, c);
		cache_close(c);
	}
	assert_true(kept > 50 && known > 10000);
}

enum { PAGE = 4096, IMAGE_MAX = 80 * 1024, VERSIONS = 8 };

/* What of the file may be on the disk: as it was synced last, and as it was at some moments since. */
static struct {
	uint8_t bytes[VERSIONS][IMAGE_MAX];
	size_t len[VERSIONS];
	unsigned n;
} versions;

static void see_file(void)
{
	struct err e = ERR_INIT;
	int fd;

	if (versions.n == VERSIONS)
		versions.n--;
	if (os_open(path, O_RDONLY, &fd, &e) != OK)
		return;
	assert_int_equal(os_pread(fd, versions.bytes[versions.n], IMAGE_MAX, 0,
				 &versions.len[versions.n], &e),
		OK);
	versions.n++;
	os_close(fd);
}

static struct world *cutting; /* a power cut comes in each sync, too */

static bool lose_power(struct world *w, bool same_boot);

static int on_call(const char *call)
{
	if (strcmp(call, "fdatasync") == 0) {
		if (cutting)
			lose_power(cutting, false);
		os_fault_hook = NULL;
		versions.n = 0;
		see_file();
		os_fault_hook = on_call;
	}
	return 0;
}

static bool lose_power(struct world *w, bool same_boot)
{
	static uint8_t image[IMAGE_MAX];
	uint64_t *in_use = (uint64_t *)(void *)(image + 32);
	char other[80];
	struct err e = ERR_INIT;
	struct cache *c;
	size_t len;
	bool kept;
	int fd;

	os_fault_hook = NULL;
	see_file();
	len = versions.len[0];
	for (size_t off = 0; off < len; off += PAGE)
		memcpy(image + off, versions.bytes[world_random(w, versions.n)] + off, PAGE);
	if (*in_use && !same_boot)
		*in_use ^= UINT64_C(1) << 40;
	snprintf(other, sizeof(other), "%s/image", folder);
	assert_int_equal(os_open(other, O_RDWR | O_CREAT | O_TRUNC, &fd, &e), OK);
	assert_int_equal(os_pwrite(fd, image, len, 0, &e), OK);
	os_close(fd);
	c = must_open(other, len);
	kept = !cache_is_empty(c);
	world_check_all(w, c);
	cache_close(c);
	os_fault_hook = on_call;
	return kept;
}

static void test_power_cuts(void **state)
{
	struct world w = { first_seed, first_seed };
	bool same_boot = getenv("TEST_CACHE_SAME_BOOT") != NULL; /* shows that the test can fail */
	unsigned kept = 0, lost = 0;

	(void)state;
	for (int round = 0; round < 160; round++) {
		struct cache *c;

		os_fault_hook = on_call;
		cutting = &w;
		c = must_open(path, 64 * 1024);
		/* in short rounds most of what changes is that a revision ended */
		for (int i = 0; i < (round % 4 ? 3 : 60); i++) {
			for (int k = 0; k < 10; k++)
				world_step(&w, c);
			if (world_random(&w, 10) == 0)
				see_file();
			if (world_random(&w, 20) == 0)
				lose_power(&w, same_boot) ? kept++ : lost++;
		}
		cache_close(c);
		see_file();
		lose_power(&w, same_boot) ? kept++ : lost++;
	}
	cutting = NULL;
	assert_true(kept >= 10 && lost >= 60);
}

/* --- files that are wrong --- */

static void flip(uint64_t off)
{
	struct err e = ERR_INIT;
	uint8_t byte;
	size_t n;
	int fd;

	assert_int_equal(os_open(path, O_RDWR, &fd, &e), OK);
	assert_int_equal(os_pread(fd, &byte, 1, off, &n, &e), OK);
	byte ^= 0x10;
	assert_int_equal(os_pwrite(fd, &byte, 1, off, &e), OK);
	os_close(fd);
}

/* A bit anywhere: what is given is right, or not given. */
static void test_damage(void **state)
{
	unsigned fewer = 0;

	(void)state;
	for (uint64_t seed = first_seed; seed < first_seed + 80; seed++) {
		struct world w = { seed, seed };
		struct cache *c = must_open(path, 20000);
		unsigned before;

		for (int k = 0; k < 400; k++)
			world_step(&w, c);
		before = world_check_all(&w, c);
		cache_close(c);
		flip(world_random(&w, 3) ? world_random(&w, 20000) : world_random(&w, 88));
		c = must_open(path, 20000);
		fewer += world_check_all(&w, c) < before;
		for (int k = 0; k < 400; k++) /* and what is damaged is replaced */
			world_step(&w, c);
		cache_close(c);
		unlink(path);
	}
	assert_true(fewer > 20);
}

static void test_damaged_data_are_asked_for_again(void **state)
{
	struct cache *c = must_open(path, 20000);

	(void)state;
	put(c, 1, 10, TID_NONE, "data");
	cache_close(c);
	flip(CACHE_HEAD_BYTES + CACHE_RECORD_BYTES);
	c = must_open(path, 20000);
	assert_string_equal(look(c, 1, 11), "-");
	put(c, 1, 10, TID_NONE, "data");
	assert_string_equal(look(c, 1, 11), "data 10 0");
	cache_close(c);
}

static void write_file(const char *text)
{
	FILE *f = fopen(path, "w");

	fputs(text, f);
	fclose(f);
}

static void test_foreign_files(void **state)
{
	char other[80], text[20] = "";
	struct cache *c;
	FILE *f;

	(void)state;
	write_file("ZEC3 and so on");
	c = must_open(path, 20000);
	assert_non_null(strstr(note, ".bad"));
	put(c, 1, 10, TID_NONE, "ten");
	cache_close(c);
	snprintf(other, sizeof(other), "%s.bad", path);
	f = fopen(other, "r");
	assert_non_null(fgets(text, sizeof(text), f));
	fclose(f);
	assert_string_equal(text, "ZEC3 and so on");
	assert_int_equal(truncate(path, 12000), 0);
	c = must_open(path, 20000);
	assert_non_null(strstr(note, "shorter"));
	assert_true(cache_is_empty(c));
	cache_close(c);
	flip(9); /* the version */
	c = must_open(path, 20000);
	assert_non_null(strstr(note, "version"));
	cache_close(c);
}

static void test_one_process_at_a_time(void **state)
{
	struct cache *c = must_open(path, 20000), *other = NULL;
	struct err e = ERR_INIT;
	pid_t pid;
	int status;

	(void)state;
	assert_int_equal(cache_open(path, 20000, &other, note, &e), ERR_BUSY);
	put(c, 1, 10, TID_NONE, "ten");
	pid = fork();
	if (pid == 0) { /* a child lets go of it, and nothing changes */
		cache_close(c);
		_exit(0);
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_int_equal(status, 0);
	assert_int_equal(cache_open(path, 20000, &other, note, &e), ERR_BUSY);
	put(c, 2, 10, TID_NONE, "ten");
	cache_close(c);
	c = must_open(path, 20000);
	assert_string_equal(note, "");
	assert_true(cache_has(c, 1, 11) && cache_has(c, 2, 11));
	cache_close(c);
}

/* Somebody cuts the file off while it is in use: no signal, no answer from there. */
static void test_pages_that_are_gone(void **state)
{
	struct cache *c;
	struct world w = { first_seed, first_seed };

	(void)state;
#ifdef __SANITIZE_THREAD__
	skip(); /* its functions for atomics hold a lock when the signal comes */
#endif
	c = must_open(path, 64 * 1024);
	for (int k = 0; k < 2000; k++)
		world_step(&w, c);
	assert_int_equal(truncate(path, CACHE_HEAD_BYTES), 0);
	for (int k = 0; k < 2000; k++)
		world_step(&w, c);
	cache_close(c);
	c = must_open(path, 64 * 1024);
	assert_true(note[0]);
	assert_true(cache_is_empty(c));
	for (int k = 0; k < 2000; k++)
		world_step(&w, c);
	assert_false(cache_is_empty(c));
	cache_close(c);
}

/* --- threads --- */

enum { READERS = 8 };

static struct {
	struct cache *cache;
	struct world world;
	_Atomic(bool) stop;
	_Atomic(uint64_t) hits;
} shared;

static void *read_on(void *arg)
{
	struct world w = { shared.world.seed, (uint64_t)(uintptr_t)arg };
	uint64_t hits = 0;

	while (!atomic_load(&shared.stop)) {
		uint64_t last = cache_last_tid(shared.cache);
		uint64_t oid = world_random(&w, WORLD_OIDS);
		uint64_t back = world_random(&w, 3);

		hits += world_check(&w, shared.cache, oid, last > back ? last + 1 - back : 1, last);
	}
	atomic_fetch_add(&shared.hits, hits);
	return NULL;
}

static void test_threads(void **state)
{
	pthread_t threads[READERS];
	struct timespec start, now;

	(void)state;
	shared.cache = must_open(path, 40000);
	shared.world = (struct world){ first_seed, first_seed };
	for (uint64_t i = 0; i < READERS; i++)
		assert_int_equal(
			pthread_create(&threads[i], NULL, read_on, (void *)(uintptr_t)i), 0);
	clock_gettime(CLOCK_MONOTONIC, &start);
	do {
		for (int i = 0; i < 100; i++)
			world_step(&shared.world, shared.cache);
		clock_gettime(CLOCK_MONOTONIC, &now);
	} while (now.tv_sec - start.tv_sec < 1);
	atomic_store(&shared.stop, true);
	for (size_t i = 0; i < READERS; i++)
		pthread_join(threads[i], NULL);
	assert_true(atomic_load(&shared.hits) > 1000);
	cache_close(shared.cache);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_revisions, setup, teardown),
		cmocka_unit_test_setup_teardown(test_contradictions, setup, teardown),
		cmocka_unit_test_setup_teardown(test_last_tid, setup, teardown),
		cmocka_unit_test_setup_teardown(test_many_revisions_of_one_object, setup, teardown),
		cmocka_unit_test_setup_teardown(test_objects_of_all_sizes, setup, teardown),
		cmocka_unit_test_setup_teardown(test_eviction_order, setup, teardown),
		cmocka_unit_test_setup_teardown(test_room_is_made_ahead, setup, teardown),
		cmocka_unit_test_setup_teardown(test_what_is_read_stays, setup, teardown),
		cmocka_unit_test_setup_teardown(test_no_room_for_the_answer, setup, teardown),
		cmocka_unit_test_setup_teardown(test_nothing_is_lost, setup, teardown),
		cmocka_unit_test_setup_teardown(test_random_histories, setup, teardown),
		cmocka_unit_test_setup_teardown(test_kill, setup, teardown),
		cmocka_unit_test_setup_teardown(test_power_cuts, setup, teardown),
		cmocka_unit_test_setup_teardown(test_damage, setup, teardown),
		cmocka_unit_test_setup_teardown(
			test_damaged_data_are_asked_for_again, setup, teardown),
		cmocka_unit_test_setup_teardown(test_foreign_files, setup, teardown),
		cmocka_unit_test_setup_teardown(test_one_process_at_a_time, setup, teardown),
		cmocka_unit_test_setup_teardown(test_pages_that_are_gone, setup, teardown),
		cmocka_unit_test_setup_teardown(test_threads, setup, teardown),
	};
	const char *seed = getenv("TEST_CACHE_SEED");

	first_seed = seed ? strtoull(seed, NULL, 10) : (uint64_t)time(NULL);
	printf("TEST_CACHE_SEED=%llu\n", (unsigned long long)first_seed);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
