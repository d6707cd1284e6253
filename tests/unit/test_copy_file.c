#include "cmocka_all.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/copy_file.h"
#include "base/os.h"

enum { BYTES = (1 << 18) + 77 }; /* more than is copied at a time */

static char folder[] = "/tmp/test_copy_file.XXXXXX";
static char from[64], to[64];

static int setup(void **state)
{
	FILE *f;

	(void)state;
	strcpy(folder + strlen(folder) - 6, "XXXXXX");
	assert_non_null(mkdtemp(folder));
	snprintf(from, sizeof(from), "%s/from", folder);
	snprintf(to, sizeof(to), "%s/to", folder);
	f = fopen(from, "w");
	assert_non_null(f);
	for (int i = 0; i < BYTES; i++)
		putc(i % 251, f);
	return fclose(f);
}

static int teardown(void **state)
{
	(void)state;
	os_fault_hook = NULL;
	unlink(from);
	unlink(to);
	return rmdir(folder);
}

static void test_copy(void **state)
{
	struct err e = ERR_INIT;
	FILE *f;

	(void)state;
	assert_int_equal(copy_file(from, to, &e), OK);
	f = fopen(to, "r");
	assert_non_null(f);
	for (int i = 0; i < BYTES; i++)
		assert_int_equal(getc(f), i % 251);
	assert_int_equal(getc(f), EOF);
	fclose(f);
	assert_int_equal(copy_file(from, to, &e), ERR_EXISTS);
	assert_int_equal(access(to, F_OK), 0);
	unlink(from);
	assert_int_equal(copy_file(from, to, &e), ERR_NOENT);
}

static int disk_full(const char *call)
{
	return strcmp(call, "pwrite") == 0 ? ENOSPC : 0;
}

static void test_half_a_copy_goes(void **state)
{
	struct err e = ERR_INIT;

	(void)state;
	os_fault_hook = disk_full;
	assert_int_equal(copy_file(from, to, &e), ERR_NOSPC);
	assert_int_not_equal(access(to, F_OK), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_copy, setup, teardown),
		cmocka_unit_test_setup_teardown(test_half_a_copy_goes, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
