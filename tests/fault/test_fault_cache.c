/* The client's cache with every call and every allocation failing in its turn: it says why it does not open, or works as far as it
 * goes; what is left on the disk is right. */
#include "unit/cache_world.h"

#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>

#include "fault/fault.h"

struct scenario {
	char folder[40], path[60];
	uint64_t size; /* that the file is opened with: another one than it has */
};

static struct cache *must_open(struct scenario *s, uint64_t size)
{
	struct cache *c = NULL;
	struct err e = ERR_INIT;
	char note[256];

	if (cache_open(s->path, size, &c, note, &e) != OK)
		fail_msg("%s", e.text);
	return c;
}

static void work(struct cache *c)
{
	struct world w = { 1, 1 };

	for (int i = 0; i < 300; i++)
		world_step(&w, c);
}

static void run(void *ctx, bool all)
{
	struct world w = { 1, 1 };
	struct scenario *s = ctx;
	struct cache *c = NULL;
	struct err e = ERR_INIT;
	char note[256];

	(void)all;
	if (cache_open(s->path, s->size, &c, note, &e) == OK) {
		work(c);
		world_check_all(&w, c);
		cache_close(c);
	} else {
		assert_true(e.text[0]);
	}
	fault_off();
	c = must_open(s, s->size);
	world_check_all(&w, c);
	work(c);
	assert_true(world_check_all(&w, c) > 0);
	cache_close(c);
	cache_close(must_open(s, 20000));
}

static int setup(void **state)
{
	static struct scenario s;

	if (!world_folder(s.folder))
		return -1;
	snprintf(s.path, sizeof(s.path), "%s/cache", s.folder);
	s.size = 20000;
	*state = &s;
	return 0;
}

static int teardown(void **state)
{
	struct scenario *s = *state;
	char command[60];

	snprintf(command, sizeof(command), "rm -r %s", s->folder);
	return system(command);
}

static void test_calls(void **state)
{
	fail_until_ok(FAULT_OS, EIO, run, *state);
	fail_until_ok(FAULT_OS, ENOSPC, run, *state);
}

static void test_calls_and_another_size(void **state)
{
	struct scenario *s = *state;

	s->size = 60000;
	fail_until_ok(FAULT_OS, EIO, run, s);
}

static void test_allocations(void **state)
{
	struct scenario *s = *state;

	fail_until_ok(FAULT_ALLOC, 0, run, s);
	s->size = 60000;
	fail_until_ok(FAULT_ALLOC, 0, run, s);
}

static int no_space(const char *call)
{
	return strcmp(call, "fallocate") == 0 ? ENOSPC : 0;
}

static void test_a_full_disk_is_an_error_at_once(void **state)
{
	struct scenario *s = *state;
	struct cache *c = NULL;
	struct err e = ERR_INIT;
	char note[256];
	struct stat st;

	os_fault_hook = no_space;
	assert_int_equal(cache_open(s->path, 20000, &c, note, &e), ERR_NOSPC);
	fault_off();
	assert_non_null(strstr(e.text, s->path));
	assert_int_equal(stat(s->path, &st), 0);
	assert_int_equal(st.st_size, 0);
	cache_close(must_open(s, 20000));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_calls, setup, teardown),
		cmocka_unit_test_setup_teardown(test_calls_and_another_size, setup, teardown),
		cmocka_unit_test_setup_teardown(test_allocations, setup, teardown),
		cmocka_unit_test_setup_teardown(
			test_a_full_disk_is_an_error_at_once, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
