/* Calls that a signal interrupts. */
#include "cmocka_all.h"

#include <errno.h>
#include <fcntl.h>
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

enum { TRUNCATED = 5000 };

static int the_fd;
static uint8_t bytes[16];

static int call_open(struct err *e)
{
	int fd;
	int rc = os_open("/dev/null", O_RDONLY, &fd, e);

	if (rc == OK)
		os_close(fd);
	return rc;
}

static int call_open_unnamed(struct err *e)
{
	int fd;
	int rc = os_open_unnamed("/tmp", &fd, e);

	if (rc == OK)
		os_close(fd);
	return rc;
}

static int call_pread(struct err *e)
{
	size_t n;

	return os_pread(the_fd, bytes, sizeof(bytes), 0, &n, e);
}

static int call_pread_nowait(struct err *e)
{
	size_t n;
	int rc = os_pread_nowait(the_fd, bytes, sizeof(bytes), 0, &n, e);

	return rc == ERR_UNSUPPORTED || rc == ERR_AGAIN ? OK : rc; /* as the file system likes */
}

static int call_pwrite(struct err *e)
{
	return os_pwrite(the_fd, bytes, sizeof(bytes), 0, e);
}

static int call_pwrite_dsync(struct err *e)
{
	return os_pwrite_dsync(the_fd, bytes, sizeof(bytes), 0, e);
}

static int call_fdatasync(struct err *e)
{
	return os_fdatasync(the_fd, e);
}

static int call_fsync(struct err *e)
{
	return os_fsync(the_fd, e);
}

static int call_ftruncate(struct err *e)
{
	return os_ftruncate(the_fd, TRUNCATED, e);
}

static int call_reserve(struct err *e)
{
	return os_reserve(the_fd, 0, 5000, e);
}

static const struct {
	const char *name; /* the hook's */
	int (*call)(struct err *e);
} calls[] = {
	{ "open", call_open },
	{ "open", call_open_unnamed },
	{ "pwrite", call_pwrite },
	{ "pwrite_dsync", call_pwrite_dsync },
	{ "pread", call_pread },
	{ "preadv2", call_pread_nowait },
	{ "fdatasync", call_fdatasync },
	{ "fsync", call_fsync },
	{ "ftruncate", call_ftruncate },
	{ "fallocate", call_reserve },
};

static int setup(void **state)
{
	struct err e = ERR_INIT;

	(void)state;
	return os_open_unnamed("/tmp", &the_fd, &e);
}

static int teardown(void **state)
{
	(void)state;
	os_fault_hook = NULL;
	os_close(the_fd);
	return 0;
}

/* A storage whose sync fails takes no more transactions: an interrupted one has not failed. */
static void test_interrupted(void **state)
{
	struct err e = ERR_INIT;
	uint64_t size;

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(calls); i++) {
		begin(calls[i].name, 2, EINTR);
		assert_int_equal(calls[i].call(&e), OK);
		assert_int_equal(interrupted.asked, 3);
	}
	assert_int_equal(os_size(the_fd, &size, &e), OK);
	assert_int_equal(size, TRUNCATED);
}

/* A failure is final. */
static void test_failed(void **state)
{
	struct err e = ERR_INIT;

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(calls); i++) {
		begin(calls[i].name, 1, EIO);
		assert_int_equal(calls[i].call(&e), ERR_IO);
		assert_int_equal(interrupted.asked, 1);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_interrupted, setup, teardown),
		cmocka_unit_test_setup_teardown(test_failed, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
