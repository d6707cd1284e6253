/* Calls that a signal interrupts. */
#include "cmocka_all.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "base/os.h"

static struct {
	const char *call;
	int n; /* so often */
	int errnum;
	int asked;
} interrupted;

static int interrupt(const char *call)
{
	if (strcmp(call, interrupted.call) != 0)
		return 0;
	return interrupted.asked++ < interrupted.n ? interrupted.errnum : 0;
}

static void begin(const char *call, int n, int errnum)
{
	interrupted.call = call;
	interrupted.n = n;
	interrupted.errnum = errnum;
	interrupted.asked = 0;
	os_fault_hook = interrupt;
}

static int teardown(void **state)
{
	(void)state;
	os_fault_hook = NULL;
	return 0;
}

/* A storage whose sync fails takes no more transactions: an interrupted one has not failed. */
static void test_interrupted(void **state)
{
	struct err e = ERR_INIT;
	uint64_t size;
	int fd;

	(void)state;
	assert_int_equal(os_open_unnamed("/tmp", &fd, &e), OK);
	begin("ftruncate", 2, EINTR);
	assert_int_equal(os_ftruncate(fd, 5000, &e), OK);
	assert_int_equal(interrupted.asked, 3);
	assert_int_equal(os_size(fd, &size, &e), OK);
	assert_int_equal(size, 5000);
	begin("fdatasync", 2, EINTR);
	assert_int_equal(os_fdatasync(fd, &e), OK);
	assert_int_equal(interrupted.asked, 3);
	begin("fsync", 2, EINTR);
	assert_int_equal(os_fsync(fd, &e), OK);
	assert_int_equal(interrupted.asked, 3);
	os_close(fd);
}

/* A failure is final. */
static void test_failed(void **state)
{
	struct err e = ERR_INIT;
	int fd;

	(void)state;
	assert_int_equal(os_open_unnamed("/tmp", &fd, &e), OK);
	begin("ftruncate", 1, EIO);
	assert_int_equal(os_ftruncate(fd, 5000, &e), ERR_IO);
	assert_int_equal(interrupted.asked, 1);
	begin("fdatasync", 1, EIO);
	assert_int_equal(os_fdatasync(fd, &e), ERR_IO);
	assert_int_equal(interrupted.asked, 1);
	begin("fsync", 1, ENOSPC);
	assert_int_equal(os_fsync(fd, &e), ERR_NOSPC);
	assert_int_equal(interrupted.asked, 1);
	os_close(fd);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_teardown(test_interrupted, teardown),
		cmocka_unit_test_teardown(test_failed, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
