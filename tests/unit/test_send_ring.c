/* One call for what several sockets get (net/send_ring.h). */
#include "cmocka_all.h"
#include "ring_descriptor.h"

#include <errno.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "net/send_ring.h"

enum { LARGE = 4 << 20 };

struct fixture {
	struct send_ring *ring;
	int here[SEND_RING_MAX];
	int there[SEND_RING_MAX];
	struct ring_send sends[SEND_RING_MAX];
};

static int fixture_open(void **state)
{
	static struct fixture f;

	memset(&f, 0, sizeof(f));
	f.ring = send_ring_new();
	for (int i = 0; i < SEND_RING_MAX; i++) {
		int fds[2];

		assert_int_equal(
			socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, fds), 0);
		f.here[i] = fds[0];
		f.there[i] = fds[1];
	}
	*state = &f;
	return 0;
}

static int fixture_close(void **state)
{
	struct fixture *f = *state;

	send_ring_free(f->ring);
	for (int i = 0; i < SEND_RING_MAX; i++) {
		close(f->here[i]);
		close(f->there[i]);
	}
	return 0;
}

static void need_ring(const struct fixture *f)
{
	if (f->ring)
		return;
	print_message("this process gets no io_uring\n");
	skip();
}

static void fill(struct fixture *f, size_t i, const char *a, const char *b)
{
	struct ring_send *rs = &f->sends[i];

	rs->fd = f->here[i];
	rs->iov[0] = (struct iovec){ (void *)a, strlen(a) };
	rs->iov[1] = (struct iovec){ (void *)b, b ? strlen(b) : 0 };
	rs->n_iov = b ? 2 : 1;
}

static void assert_got(struct fixture *f, size_t i, const char *want)
{
	char got[100] = "";
	ssize_t n = recv(f->there[i], got, sizeof(got) - 1, 0);

	assert_int_equal(n, strlen(want));
	assert_string_equal(got, want);
}

static void assert_nothing(struct fixture *f, size_t i)
{
	char c;

	assert_int_equal(recv(f->there[i], &c, 1, 0), -1);
	assert_int_equal(errno, EAGAIN);
}

/* All there is room for, in one and in several pieces; and again. */
static void test_each_gets_its_own(void **state)
{
	struct fixture *f = *state;
	char texts[SEND_RING_MAX][20];

	need_ring(f);
	for (int round = 0; round < 3; round++) {
		for (int i = 0; i < SEND_RING_MAX; i++) {
			snprintf(texts[i], sizeof(texts[i]), "%d of %d", i, round);
			fill(f, (size_t)i, texts[i], i % 2 ? NULL : "!");
		}
		assert_true(send_ring_go(f->ring, f->sends, SEND_RING_MAX));
		for (int i = 0; i < SEND_RING_MAX; i++) {
			assert_int_equal(f->sends[i].result, strlen(texts[i]) + (i % 2 == 0));
			if (i % 2 == 0)
				strcat(texts[i], "!");
			assert_got(f, (size_t)i, texts[i]);
		}
	}
}

/* What cannot be sent is told for that socket, without a wait and without a signal; the others get theirs. */
static void test_each_has_its_own_result(void **state)
{
	static uint8_t large[LARGE];
	struct fixture *f = *state;

	need_ring(f);
	fill(f, 0, "one", NULL);
	fill(f, 1, "never", NULL);
	while (send(f->here[1], large, sizeof(large), MSG_DONTWAIT) > 0)
		;
	fill(f, 2, "never", " at all");
	close(f->there[2]);
	f->there[2] = -1;
	f->sends[3] = (struct ring_send){
		.fd = f->here[3], .iov[0] = { large, sizeof(large) }, .n_iov = 1
	};
	fill(f, 4, "no socket", NULL);
	f->sends[4].fd = -1;
	fill(f, 5, "two", NULL);
	assert_true(send_ring_go(f->ring, f->sends, 6));
	assert_int_equal(f->sends[0].result, 3);
	assert_int_equal(f->sends[1].result, -EAGAIN);
	assert_int_equal(f->sends[2].result, -EPIPE);
	assert_in_range(f->sends[3].result, 1, LARGE - 1);
	assert_int_equal(f->sends[4].result, -EBADF);
	assert_int_equal(f->sends[5].result, 3);
	assert_got(f, 0, "one");
	assert_got(f, 5, "two");
}

static void *go(void *arg)
{
	struct fixture *f = arg;

	return send_ring_go(f->ring, f->sends, 2) ? f : NULL;
}

/* Loops move from thread to thread, and their rings with them. */
static void test_threads_in_turn(void **state)
{
	struct fixture *f = *state;

	need_ring(f);
	for (int i = 0; i < 4; i++) {
		pthread_t thread;
		void *ok;

		fill(f, 0, "one", NULL);
		fill(f, 1, "two", NULL);
		assert_int_equal(pthread_create(&thread, NULL, go, f), 0);
		pthread_join(thread, &ok);
		assert_non_null(ok);
		assert_got(f, 0, "one");
		assert_got(f, 1, "two");
		assert_non_null(go(f));
		assert_got(f, 0, "one");
		assert_got(f, 1, "two");
	}
}

/* What was not tried can be sent in another way. */
static void test_a_ring_that_breaks(void **state)
{
	struct fixture *f = *state;
	int fd;

	need_ring(f);
	fd = ring_descriptor();
	assert_in_range(fd, 3, 1023);
	for (size_t i = 0; i < 3; i++)
		fill(f, i, "text", NULL);
	assert_int_equal(dup2(f->here[9], fd), fd); /* no ring any more */
	assert_false(send_ring_go(f->ring, f->sends, 3));
	for (size_t i = 0; i < 3; i++) {
		assert_int_equal(f->sends[i].result, -ECANCELED);
		assert_nothing(f, i);
	}
}

static void *forbid_and_open(void *arg)
{
	struct sock_filter code[] = {
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_io_uring_setup, 0, 1),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | EPERM),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
	};
	struct sock_fprog filter = { .len = 4, .filter = code };
	struct send_ring **ret = arg;

	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0 ||
		prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &filter) != 0)
		return NULL;
	*ret = send_ring_new();
	return arg;
}

/* As in many containers. */
static void test_a_process_that_gets_none(void **state)
{
	struct send_ring *ring = (struct send_ring *)state;
	pthread_t thread; /* the filter is its own */
	void *forbidden;

	assert_int_equal(pthread_create(&thread, NULL, forbid_and_open, &ring), 0);
	pthread_join(thread, &forbidden);
	assert_non_null(forbidden);
	assert_null(ring);
	send_ring_free(NULL);
}

#define TEST(t) cmocka_unit_test_setup_teardown(t, fixture_open, fixture_close)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_each_gets_its_own),
		TEST(test_each_has_its_own_result),
		TEST(test_threads_in_turn),
		TEST(test_a_ring_that_breaks),
		cmocka_unit_test(test_a_process_that_gets_none),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
